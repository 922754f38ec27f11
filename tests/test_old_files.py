"""What users have on their disks: what the code of commit 8ca4ff5 wrote (see `old/make.py`) is read today as it was read then"""
import json, os, shutil
from pathlib import Path

import pandas as pd, pytest, torch
from animal_clf.core.files import resolve_path
from animal_clf.data.manifest import count_rows, read_manifest, recover, write_manifest
from animal_clf.data.splits import Photos
from animal_clf.evaluation.compare import read_report
from animal_clf.inference.lookalike import find_lookalikes
from animal_clf.inference.predictor import Predictor
from animal_clf.learner import Trained, count_tests, load_classifier, read_info, read_log, save_model, record_test
from animal_clf.scraping.fetch import Limits, is_retryable
from animal_clf.synthetic.animals import draw_animals
from commands import done
from files import contents, read
from safetensors.torch import load_file

pytestmark = pytest.mark.usefixtures('empty_folder')
old = Path(__file__).parent/'old'
model, said = old/'model', read(old/'expected.json')

def copied(name):
    "A copy to write to"
    return Path(shutil.copytree(old/name, name))


# --- a model

@pytest.fixture(scope='module')
def photos(tmp_path_factory):
    "Those that the old model was asked about; one shows none of its classes"
    classes = [*said['model']['info']['classes'], 'gorilla']
    return sorted(draw_animals(tmp_path_factory.mktemp('asked')/'asked', 1, classes, px=160, seed=7).glob('*/*.jpg'))

def check_answers(folder, photos):
    "The model answers as it did"
    for row,was in zip(Predictor(load_classifier(folder), 'torch', 'fp32').predict(photos), said['model']['answers'], strict=True):
        assert (Path(row['path']).parent.name, row['label'], row['known']) == (was['photo'], was['label'], was['known'])
        assert dict(row['top']) == pytest.approx(was['probabilities'], abs=1e-3)

def test_an_old_model_answers_as_it_did(photos): check_answers(model, photos)

def test_an_old_model_finds_the_nearest_classes_as_it_did(photos):
    found = find_lookalikes(load_classifier(model), photos)
    assert [o['known'] for o in found] == [o['known'] for o in said['model']['answers']]
    for row,was in zip(found, said['model']['nearest'], strict=True):
        assert {name: share for name,share,_ in row['nearest']} == pytest.approx(was, abs=.01)

def test_what_is_noted_beside_an_old_model():
    info, was = read_info(model), said['model']
    assert {k: getattr(info, k) for k in was['info']} == was['info']
    assert read_log(model).valid_loss.tolist() == was['log']
    assert count_tests(info, was['test_photos']) == was['n_tests'] == 2

def test_an_old_report_is_read_and_told_again():
    report, line = read_report(model), said['model']['report']
    assert str(report) == line and line in done('report', model)
    assert report.answers.right.sum() == report.values['n_correct'] and report.values['model']['sha256'] == read_info(model).sha256
    assert json.loads(done('report', model, '--json')) == read(model/'report'/'report.json')

def test_another_test_of_an_old_model_counts_beside_the_old_ones():
    folder, was = copied('model'), said['model']
    info = record_test(folder, read_info(folder).test, 'other photos')
    assert [count_tests(info, o) for o in ('other photos', was['test_photos'])] == [1, was['n_tests']]
    assert str(read_report(folder)) == was['report']

def test_an_old_model_saved_again_is_the_same(photos):
    info, table = read_info(model), pd.read_csv(model/'photos.csv', dtype=dict(sha256=str))
    data = Photos(table, pd.DataFrame(columns=['path', 'label', 'split', 'reason']), info.data['source'], info.groups)
    trained = Trained(load_classifier(model), info.recipe, info.arch, info.seed, read_log(model), valid=dict(error_rate=1 - info.valid_accuracy))
    again = save_model(trained, data, 'again')
    before, after = (load_file(o/'model.safetensors') for o in (model, again))
    assert before.keys() == after.keys() and all(torch.equal(o, after[k]) for k,o in before.items())
    assert {k: getattr(read_info(again), k) for k in said['model']['info']} == said['model']['info']
    assert all((model/o).read_bytes() == (again/o).read_bytes() for o in ('skipped.csv', 'log.csv'))
    now = pd.read_csv(again/'photos.csv', dtype=dict(sha256=str))
    assert [resolve_path(o, again) for o in now.path] == [os.path.normpath(o) for o in table.path] and now.drop(columns='path').equals(table.drop(columns='path'))
    check_answers(again, photos)


# --- a data set

limits = {'usual': {}, 'no opt-out': dict(opt_out=False), 'private': dict(private=True)}

def tell(folder):
    "What a manifest amounts to, as expected.json has it"
    rows = read_manifest(folder)
    failed = [o for o in rows if o['status'] == 'failed']
    retry = {k: [o['url'] for o in failed if is_retryable(o['code'], o['http_status'], Limits(**v))] for k,v in limits.items()}
    return dict(counts=count_rows(rows), retry=retry)

@pytest.mark.parametrize('name', ['data', 'older', 'killed'])
def test_an_old_manifest_says_what_it_said(name): assert tell(old/name) == {k: said[name][k] for k in ('counts', 'retry')}

def test_an_old_manifest_written_again_is_the_same_and_has_codes():
    folder = copied('data')
    rows = read_manifest(folder)
    write_manifest(rows, folder)
    assert read_manifest(folder) == rows and all(bool(o['code']) == (o['status'] in ('failed', 'set aside', 'missing')) for o in rows)
    before, after = (pd.read_csv(o/'manifest.csv', dtype=str, keep_default_na=False) for o in (old/'data', folder))
    pd.testing.assert_frame_equal(after.drop(columns='code'), before)

def test_a_manifest_of_before_time_and_phash():
    assert read_manifest(old/'older') == [o | dict(time='', phash='') for o in read_manifest(old/'data')]

def test_nothing_is_fetched_for_an_old_data_set_that_is_complete():
    "What is kept counts, and what is noted of the others stays"
    found = json.loads(done('download', '--classes', 'fox', 'seal', '-n', 1, '--out', copied('data'), '--json'))
    assert found['classes'] == said['data']['again'] and {k: found[k] for k in said['data']['counts']} == said['data']['counts']

def test_what_was_set_aside_goes_back():
    folder = copied('data')
    done('clean', folder, '--undo')
    assert count_rows(read_manifest(folder)) == said['data']['undone']
    assert not list(folder.glob('set-aside/**/*.jpg')) and len(list(folder.glob('photos/*/*.jpg'))) == said['data']['undone']['kept']

def test_a_run_that_was_killed_then_is_completed_now():
    folder = copied('killed')
    recover(folder)
    assert list(contents(folder)) == ['manifest.csv', 'set-aside/label/fox/1.jpg'] and tell(folder) == said['killed']
