"""A model folder changes whole or not at all: killed after every single file operation, on a full disk, read while it is written; and what a stranger's folder names"""
import json, os, shutil, signal, subprocess, sys, time
from dataclasses import replace
from pathlib import Path

import pandas as pd, pytest
from PIL import Image

from animal_clf.app.service import choose_examples
from animal_clf.core.copies import as_photos
from animal_clf.core.files import folder_lock
from animal_clf.core.images import open_photo
from animal_clf.core.settings import FileError, ModelFileError, offline_arch, PhotoError
from animal_clf.data.splits import read_photos
from animal_clf.evaluation.holdout import read_training_photos
from animal_clf.inference.lookalike import embed_photos
from animal_clf.synthetic.animals import draw_animals
from animal_clf.training.model_file import load_classifier, read_log, record_test, save_model
from animal_clf.training.model_folder import read_table
from animal_clf.training.model_info import read_info, table_names
from animal_clf.training.train import train
from commands import done, fails
from files import contents, put_table, read, without_copies

animals, run = ('fox', 'seal', 'zebra'), ('--arch', offline_arch, '--recipe', 'head')


@pytest.fixture(scope='module')
def models(tmp_path_factory, cache):
    "Two models of different photos: `Trained` and `Photos` of each"
    folder = tmp_path_factory.mktemp('models')
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv('ANIMAL_CLF_CACHE', str(cache))
        photos = [read_photos(draw_animals(folder/f'data{i}', 9 + i, seed=i, classes=animals), n_test=3) for i in range(2)]
        return [(train(o, 'head', offline_arch), o) for o in photos]

# --- killed after every operation

saver = """
import os, signal, sys
from pathlib import Path
from animal_clf.training.model_folder import replace_model
from animal_clf.training.model_info import read_info, table_names
from animal_clf.core.files import folder_lock
from animal_clf.vision.backbone import get_arch   # what checks a model loads it

get_arch('resnet18')
count, stop = 0, None
def counted(name):
    real = getattr(os, name)
    def operation(*args, **kwargs):
        global count
        found = real(*args, **kwargs)
        count += 1
        if count == stop: os.kill(os.getpid(), signal.SIGKILL)
        return found
    setattr(os, name, operation)
for name in ('open', 'replace', 'rename', 'unlink', 'mkdir', 'rmdir', 'fsync', 'close', 'write', 'remove'): counted(name)

def save(folder, source):
    source = Path(source)
    with folder_lock(folder):
        replace_model(folder, read_info(source), {o: (source/o).read_bytes() for o in ('model.safetensors', *table_names)})

for line in sys.stdin:   # a process each, which need not import again
    folder, source, at = line.rstrip().split('\\t')
    pid = os.fork()
    if not pid:
        count, stop = 0, int(at) or None
        save(folder, source)
        os._exit(0)
    _, status = os.waitpid(pid, 0)
    print(os.waitstatus_to_exitcode(status), flush=True)
"""

@pytest.fixture
def saved(models, empty_folder):
    "Folders of the two models"
    return [save_model(trained, photos, f'model{i}') for i,(trained, photos) in enumerate(models)]

def facts(folder):
    "What a reader gets: numbers, and every table"
    info = read_info(folder)
    return info.sha256, *(read_table(folder, o) for o in table_names)

def test_killed_after_every_single_operation_of_saving(saved):
    whole = [facts(o) for o in saved]
    with subprocess.Popen([sys.executable, '-c', saver], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        found, at, killed = [], 0, True
        while killed:
            at += 1
            shutil.rmtree('kept', ignore_errors=True)
            shutil.copytree(saved[0], 'kept')
            print('kept', saved[1], at, sep='\t', file=process.stdin, flush=True)
            killed = int(process.stdout.readline()) == -signal.SIGKILL
            found.append(whole.index(facts('kept')))         # the whole old one or the whole new one
            if at % 5 == 0: load_classifier('kept')
            print('kept', saved[1], 0, sep='\t', file=process.stdin, flush=True)
            assert process.stdout.readline() == '0\n'        # the next run tidies up
            assert facts('kept') == whole[1] and set(contents('kept')) == {'model.json', 'model.safetensors', *table_names}
        process.stdin.close()
    assert found == sorted(found) and set(found) == {0, 1} and at > 20   # at one moment, and not before

def test_a_full_disk_at_every_write(saved, models, monkeypatch):
    whole, real, count = facts(saved[0]), os.fsync, 0
    for at in range(1, 5):
        def fsync(file):
            nonlocal count
            count += 1
            if count == at: raise OSError(28, 'No space left on device')
            real(file)
        count = 0
        monkeypatch.setattr(os, 'fsync', fsync)
        with pytest.raises(FileError, match='can not be written: No space left'): save_model(*models[1], saved[0], force=True)
        assert facts(saved[0]) == whole and not Path(saved[0], '.next').exists()
    monkeypatch.setattr(os, 'fsync', real)
    assert save_model(*models[1], saved[0], force=True) and facts(saved[0]) == facts(saved[1])

def test_a_reader_beside_a_writer(saved):
    "Always one of the two, never an error"
    whole = [facts(o) for o in saved]
    shutil.copytree(saved[0], 'kept')
    with subprocess.Popen([sys.executable, '-c', saver], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        for i in range(40): print('kept', saved[i % 2], 0, sep='\t', file=process.stdin)
        process.stdin.close()
        seen, end = set(), time.monotonic() + 60
        while process.poll() is None and time.monotonic() < end:
            numbers = read_info('kept').sha256
            photos = read_table('kept', 'photos.csv')
            seen.add((numbers, photos) if numbers == read_info('kept').sha256 else 'between')
        assert process.stdout.read() == '0\n'*40
    assert seen - {'between'} <= {o[:2] for o in whole}

# --- two at once

def test_two_runs_into_one_folder(empty_folder, models):
    "The second ends in one line, and the first is not disturbed"
    photos = models[0][1].source
    with folder_lock('model'):
        code = 'import sys; from animal_clf.cli.main import main; sys.exit(main())'
        for command in (('run', '--data', photos, '--out', 'model', *run), ('train', '--data', photos, '--out', 'model', *run)):
            second = subprocess.run([sys.executable, '-W', 'ignore', '-c', code, *command], capture_output=True, text=True)
            assert (second.returncode, second.stderr.count('\n')) == (1, 1) and 'is being changed by another run' in second.stderr
    done('run', '--data', photos, '--out', 'model', *run)
    with folder_lock('model'):
        second = subprocess.run([sys.executable, '-W', 'ignore', '-c', code, 'evaluate', 'model', '--data', photos], capture_output=True, text=True)
        assert second.returncode == 1 and 'is being changed by another run' in second.stderr
    assert read('model/report/report.json')['model']['sha256'] == read_info('model').sha256

def test_a_run_that_fails_leaves_nothing(empty_folder):
    assert 'nowhere' in fails('run', '--data', 'nowhere', '--out', 'models/x', *run)
    assert not Path('models/x').exists()

# --- whose photos these are

def test_no_home_folder_in_a_model(saved, models):
    for file in ('model.json', 'photos.csv', 'skipped.csv'):
        assert str(Path(models[0][1].source).parent) not in Path(saved[0], file).read_text()
    assert read_info(saved[0]).data['source'] == os.path.relpath(models[0][1].source)
    seen = read_training_photos(saved[0])
    assert seen.path.map(os.path.isfile).all() and set(seen.sha256) == set(models[0][1].learnable.sha256)

def test_folders_that_moved_together(empty_folder, monkeypatch):
    draw_animals('here/data', 9, classes=animals)
    done('run', '--data', 'here/data', '--out', 'here/models/m', *run)
    Path('there').mkdir()
    shutil.move('here', 'there/now')
    monkeypatch.chdir('there')
    assert read_training_photos('now/models/m').path.map(os.path.isfile).all()
    done('evaluate', 'now/models/m', '--data', 'now/data')
    assert [o['figure'] for o in read('now/models/m/report/report.json')['checklist'] if 'training photos' in o['figure'] and 'none among' in o['figure']]

def test_a_stranger_s_model_shows_none_of_my_files(saved, cache, monkeypatch, tmp_path):
    "Its table names a file of mine: it is not shown, because it is not what the model was trained on"
    monkeypatch.setenv('ANIMAL_CLF_CACHE', str(without_copies(cache, tmp_path/'no-copies')))
    Image.new('RGB', (300, 300), 'red').save('mine.png')
    table = pd.read_csv(Path(saved[0], 'photos.csv')).assign(path=os.path.abspath('mine.png'))
    stranger = Path(shutil.copytree(saved[0], 'stranger'))
    put_table(stranger, 'photos.csv', table.to_csv(index=False))
    learn, seen = load_classifier(stranger), read_training_photos(stranger)
    assert seen.path.map(os.path.isfile).all()                                    # it is there
    assert not len(embed_photos(learn, seen[seen.split == 'train']).paths)        # but it is not one of them
    assert all(isinstance(o.photo, Image.Image) for o in choose_examples(list(learn.dls.vocab), seen))   # drawn ones
    with pytest.raises(PhotoError, match='has changed'): open_photo(as_photos(seen)[0])

@pytest.mark.parametrize('name,text', [('log.csv', 'a,b\n1,"2'), ('log.csv', 'epoch,train_loss\n1,x\n'), ('log.csv', 'train_loss\n1\n'), ('photos.csv', 'path\nx\n'),
                                       ('photos.csv', ''), ('photos.csv', 'path,label,split,sha256\na.jpg,unicorn,train,' + '0'*64 + '\n'), ('photos.csv', 'path,label,split,sha256\na.jpg,fox,train,../../x\n')])
def test_tables_that_make_no_sense(saved, models, name, text):
    put_table(saved[0], name, text)
    assert name in fails('evaluate', saved[0], '--data', models[0][1].source)

def test_tables_that_somebody_changed(saved):
    for name,read_it in (('photos.csv', read_training_photos), ('log.csv', read_log)):
        Path(saved[0], name).write_text(Path(saved[0], name).read_text() + ' ')
        with pytest.raises(ModelFileError, match=f'{name}.*is damaged or of another model'): read_it(saved[0])
        Path(saved[0], name).unlink(); os.mkfifo(Path(saved[0], name))
        with pytest.raises(ModelFileError, match='pipe'): read_it(saved[0])

# --- names, and what a killed run left

def test_the_longest_names(empty_folder, saved):
    photo = next(Path(read_training_photos(saved[0]).path[0]).parent.glob('*.jpg'))
    done('predict', saved[0], photo, '--csv', 'x'*251 + '.csv')
    assert os.path.isfile('x'*251 + '.csv')
    for too_long in ('x'*256 + '.csv', 'x'*300 + '.csv'): assert 'x'*200 in fails('predict', saved[0], photo, '--csv', too_long)
    assert 'can not be written' in fails('run', '--data', Path(photo).parent.parent, '--out', 'x'*256, *run)

def test_parts_of_a_killed_run_are_swept(saved, models):
    for o in ('.model.json.1.2.part', '.photos.csv.3.4.part'): Path(saved[0], o).touch()
    save_model(*models[0], saved[0])
    assert not list(Path(saved[0]).glob('.*.part'))

def test_a_note_of_a_test_is_kept(saved, models):
    record_test(saved[0], dict(accuracy=1.), 'some')
    assert read_info(save_model(*models[1], saved[0], force=True)).tests[0]['photos'] == 'some' and read_info(saved[0]).test is None
