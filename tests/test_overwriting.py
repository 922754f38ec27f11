"""What is never replaced unasked: a model of other photos, files that are none of ours, a table that is read, a checkpoint, outputs of other kinds"""
import os, shutil
from pathlib import Path
import numpy as np, pandas as pd, pytest
from PIL import Image
from safetensors.numpy import save_file
from animal_clf.cleaning.issues import decision_columns, write_decisions
from animal_clf.core.settings import FileError, offline_arch
from animal_clf.data.splits import read_photos
from animal_clf.synthetic.animals import draw_animals
from animal_clf.training.callbacks import TrackBest
from animal_clf.training.loop import RunConfig
from animal_clf.training.model_file import load_classifier, save_model
from animal_clf.training.model_folder import check_folder
from animal_clf.training.model_info import read_info
from animal_clf.training.recipes import get_recipe
from animal_clf.training.train import train
from commands import done, fails
from files import contents, read

animals, offline = ('fox', 'seal', 'zebra'), ('--arch', offline_arch)

@pytest.fixture(autouse=True)
def alone(empty_folder): pass

@pytest.fixture(scope='module')
def pets(tmp_path_factory):
    "Two folders of one name with different photos"
    home = tmp_path_factory.mktemp('home')
    for i,name in enumerate('ab'): draw_animals(home/name/'pets', 9, animals, px=96 + 32*i)
    return home/'a'/'pets', home/'b'/'pets'

@pytest.fixture(scope='module')
def trained(pets, cache, tmp_path_factory):
    "A model of the first of them, trained by `train`"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv('ANIMAL_CLF_CACHE', str(cache))
        folder = tmp_path_factory.mktemp('trained')/'model'
        done('train', '--data', pets[0], '--out', folder, *offline)
    return folder

@pytest.fixture
def model(trained, tmp_path): return shutil.copytree(trained, tmp_path/'models'/'pets')

def refused(*args):
    "The line that a command ends with, which has changed nothing in `models`"
    before = contents('models')
    said = fails(*args)
    assert contents('models') == before
    return said


# --- a model

def test_a_model_of_other_photos_stays(pets, trained):
    a, b = pets
    done('run', '--data', a, *offline)
    said = refused('run', '--data', b, *offline)
    assert f'`models/pets` holds a model of other photos (`{os.path.relpath(a)}`)' in said and '--out' in said and '--force' in said
    assert '--force' in refused('train', '--data', b, '--out', 'models/pets', *offline)
    assert 'replaced when training has ended' in done('train', '--data', b, '--force', *offline)
    assert Path(read_info('models/pets').data['source']).resolve() == b.resolve()
    assert os.path.relpath(b) in refused('run', '--data', a, *offline)

def test_a_model_of_the_same_photos_is_replaced_and_that_is_said(pets, model, tmp_path):
    source = shutil.copytree(pets[0], tmp_path/'own')
    done('train', '--data', source, '--out', 'models/own', *offline)
    before = read_info('models/own').sha256
    next((source/'fox').iterdir()).unlink()                                     # as after `clean`
    (tmp_path/'link').symlink_to(source)
    for name in (source, 'own', './own/../own', 'link'):
        said = done('train', '--data', name, '--out', 'models/own', *offline)
        assert 'holds a model of the same photos: replaced when training has ended' in said
    assert read_info('models/own').sha256 != before and len(read('models/own/model.json')['classes']) == 3

def test_a_new_folder_needs_no_word(pets): assert 'replaced' not in done('train', '--data', pets[0], '--out', 'models/new', *offline)

@pytest.mark.parametrize('name', ['model.json', 'model.safetensors', 'photos.csv', 'skipped.csv', 'log.csv', 'report/report.html', 'report/answers.csv'])
def test_files_under_our_names_that_no_training_has_written_stay(pets, name):
    file = Path('models/pets')/name
    file.parent.mkdir(parents=True)
    file.write_text('{"mine": 1}')
    said = refused('train', '--data', pets[0], *offline)
    assert f'`models/pets` holds `{name}`, which no training has written' in said and '--out' in said and '--force' in said
    assert f'`{name}`' in done('train', '--data', pets[0], '--force', *offline) and load_classifier('models/pets')

def test_a_table_that_was_edited_stays(pets, model):
    (model/'photos.csv').write_text('path,label\nmy.jpg,fox\n')
    assert 'holds `photos.csv`, which no training has written' in refused('train', '--data', pets[0], '--out', model, *offline)

@pytest.mark.parametrize('force', [(), ('--force',)])
def test_a_table_that_is_read_is_never_replaced(pets, force):
    folder = Path('models/mine')
    folder.mkdir(parents=True)
    rows = [dict(path=o, label=o.parent.name) for o in sorted(pets[0].rglob('*.jpg'))]
    pd.DataFrame(rows).to_csv(folder/'photos.csv', index=False)
    pd.DataFrame({'class': animals, 'group': ['land', 'sea', 'land']}).to_csv(folder/'log.csv', index=False)
    assert "the table `models/mine/photos.csv`, whose place the model's own `photos.csv` would take" in refused('train', '--data', folder/'photos.csv', '--out', folder, *offline, *force)
    assert 'whose place' in refused('run', '--data', pets[0], '--groups', folder/'log.csv', '--out', folder, *offline, *force)
    done('train', '--data', folder/'photos.csv', '--out', 'models/other', *offline)

def test_what_only_looks_like_ours_is_left_alone(pets):
    "A web site's folder `.next`, and somebody's hidden file that ends in .part"
    model = Path('models/new')
    mine = [model/'.next'/'server'/'page.js', model/'.film.part']
    mine[0].parent.mkdir(parents=True)
    for o in mine: o.write_text('mine')
    done('train', '--data', pets[0], '--out', model, *offline)
    assert [o.read_text() for o in mine] == ['mine']*2

def test_calls_refuse_too(pets, model):
    a, b = (read_photos(o, n_test=2) for o in pets)
    trained = train(b, 'head', offline_arch)
    before = contents(model)
    for save in (lambda **k: save_model(trained, b, model, **k), lambda **k: trained.learn.save_classifier(model, b, **k)):
        with pytest.raises(FileError, match=r'a model of other photos .*`force=True`'): save()
    assert contents(model) == before
    save_model(trained, b, model, force=True)
    save_model(trained, b, model)
    assert Path(read_info(model).data['source']).resolve() == Path(b.source).resolve()


# --- a checkpoint

@pytest.fixture
def stopped(pets):
    "A training of the first photos, interrupted after an epoch"
    folder, photos = Path('models/pets'), read_photos(pets[0], n_test=2)
    with pytest.MonkeyPatch.context() as patch:
        save = TrackBest._save
        def save_and_stop(self):
            save(self)
            raise KeyboardInterrupt
        patch.setattr(TrackBest, '_save', save_and_stop)
        with pytest.raises(KeyboardInterrupt): train(photos, get_recipe('scratch'), 'test_resnet', 2, run=RunConfig(folder))
    return folder

def test_a_checkpoint_of_other_photos_stays(pets, stopped):
    assert set(contents(stopped)) == {'checkpoint.csv', 'checkpoint.safetensors'}
    said = refused('train', '--data', pets[1], *offline)
    assert 'of an interrupted training on other photos' in said and '--force' in said
    assert '--resume) would have gone on with it' in done('train', '--data', pets[0], *offline)     # the same photos
    assert not list(stopped.glob('checkpoint*'))

@pytest.mark.parametrize('name', ['checkpoint.safetensors', 'checkpoint.csv'])
def test_a_checkpoint_of_another_program_stays(pets, name):
    folder = Path('models/pets')
    folder.mkdir(parents=True)
    if name.endswith('csv'): (folder/name).write_text('place,time\nstart,0\n')
    else: save_file({'weight': np.zeros(3, np.float32)}, folder/name)
    said = refused('train', '--data', pets[0], *offline)
    assert name in said and ('which no training has written' in said or 'is not the log of an interrupted training' in said)


# --- outputs of other commands

@pytest.mark.parametrize('make', ['tsne', 'lookalike', 'export', 'csv', 'jsonl', 'review', 'compare', 'decisions'])
def test_an_output_replaces_nothing_but_its_like(pets, model, make):
    photo = next((pets[0]/'fox').iterdir())
    if make == 'compare':
        done('evaluate', model, '--data', pets[1])
    command, name = dict(
        tsne=(('tsne', model, '--data', pets[0], '--out'), 'holiday.png'), lookalike=(('lookalike', model, photo, '--out'), 'holiday.png'),
        export=(('export', model, '--onnx'), 'net.onnx'), csv=(('predict', model, photo, '--csv'), 'labels.csv'), jsonl=(('predict', model, photo, '--jsonl'), 'labels.jsonl'),
        review=(('clean', pets[0], '--review'), 'page.html'), compare=(('report', model, model, '--out'), 'page.html'), decisions=(None, 'decisions.csv'))[make]
    if make == 'decisions': write = lambda: write_decisions(pd.DataFrame([['a.jpg'] + ['']*(len(decision_columns) - 1)], columns=decision_columns), name)
    else: write = lambda: done(*command, name)
    Image.new('RGB', (8, 8)).save('holiday.png')
    Path(name).write_bytes(mine := Path('holiday.png').read_bytes() if name.endswith('png') else b'path,label\nmy notes\n')
    if make == 'decisions':
        with pytest.raises(FileError, match='is there already and is not'): write()
    else:
        said = fails(*command, name)
        assert f'`{name}` is there already and is not ' in said and 'Give another name' in said
    assert Path(name).read_bytes() == mine
    Path(name).unlink()
    write()
    first = Path(name).read_bytes()
    write()                                                                     # its like is replaced
    assert len(first) > 20 and Path(name).exists()

def test_an_empty_file_may_be_filled(pets, model):
    Path('out.csv').touch()
    done('predict', model, next((pets[0]/'fox').iterdir()), '--csv', 'out.csv')
    assert Path('out.csv').read_text().startswith('path,label,')

def test_a_manifest_of_somebody_elses_is_not_written_over():
    Path('data').mkdir()
    Path('data/manifest.csv').write_text('ship,port\nMary,Hull\n')
    fails('download', '--classes', 'fox', 'seal', '--out', 'data')
    assert Path('data/manifest.csv').read_text() == 'ship,port\nMary,Hull\n'
