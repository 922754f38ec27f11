"""The cache is no reason to fail: where nothing can be written, where files in it are damaged, hostile or no files at all"""
import io, json, os, zipfile
from functools import partial
from pathlib import Path

import numpy as np, pytest

from animal_clf.core.files import read_cache, read_note, write_cache, write_note
from animal_clf.core.settings import offline_arch
from animal_clf.synthetic.animals import draw_animals
from animal_clf.training.train import train   # what fastai warns of while it is loaded is no concern of these tests
from animal_clf.vision.image_stats import stats_dtype
from commands import done, shell

wanted = [f'{i:064x}' for i in range(3)]
rows = dict(zip(wanted, np.arange(12, dtype=np.float32).reshape(3, 4)))
run = '--arch', offline_arch, '--recipe', 'head'

def same(found): return set(found) <= set(rows) and all(np.array_equal(v, rows[k]) for k,v in found.items())


def test_any_bit_may_flip(tmp_path):
    write_cache(tmp_path, rows)
    file, = tmp_path.iterdir()
    whole, kept = file.read_bytes(), 0
    for i in range(8*len(whole)):
        damaged = bytearray(whole)
        damaged[i//8] ^= 1 << i % 8
        file.write_bytes(damaged)
        found = read_cache(tmp_path, set(wanted))
        assert same(found) and (found or not file.exists()), i
        kept += bool(found)
    assert kept < 8*len(whole)/4   # dates and the like, which nobody reads

def save(change=lambda o: o, compressed=False, **arrays):
    "The bytes of a file as `write_cache` makes it, but for `arrays`"
    out = io.BytesIO()
    (np.savez_compressed if compressed else np.savez)(out, **(dict(hashes=np.array(wanted), features=np.stack(list(rows.values()))) | arrays))
    return change(out.getvalue())

def giant(content):
    "As `save` makes it, with a header that promises 4 TB, and the right checksum for it"
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(out, 'w') as new:
        for name in old.namelist(): new.writestr(name, old.read(name).replace(b'(3, 4), }           ', b'(3, 999999999999), }'))
    assert b'999999999999' in out.getvalue()
    return out.getvalue()

def with_entry(name, text):
    out = io.BytesIO()
    with zipfile.ZipFile(out, 'w') as o: o.writestr('hashes.npy', text); o.writestr(name, text)
    return out.getvalue()

bad_files = {'NaN': save(features=np.full((3, 4), np.nan, np.float32)), 'infinite': save(features=np.full((3, 4), np.inf, np.float32)), 'a row is missing': save(features=np.ones((2, 4), np.float32)),
             'a row too many': save(features=np.ones((4, 4), np.float32)), 'text': save(features=np.array([['a']*4]*3)), 'whole numbers': save(features=np.ones((3, 4), int)), 'three sides': save(features=np.ones((3, 4, 1), np.float32)),
             'no sides': save(features=np.float32(1)), 'pickled': save(features=np.array([[{}]*4]*3, object)), 'compressed': save(compressed=True), 'records': save(features=np.zeros(3, stats_dtype)), 'hashes in a square': save(hashes=np.array([wanted]*3)),
             'promises 4 TB': save(giant), 'empty': b'', 'JSON': b'{}', 'half': save()[:600], 'no header': with_entry('features.npy', b'\x93NUMPY\1\0'), 'a program': with_entry('features.npy', b'cos\nsystem\n(S"touch /tmp/owned"\ntR.')}

@pytest.mark.parametrize('content', bad_files.values(), ids=bad_files)
def test_a_file_that_is_not_right_goes(tmp_path, content):
    write_cache(tmp_path, {'f'*64: np.ones(4, np.float32)})
    (tmp_path/'0.npz').write_bytes(content)
    assert set(read_cache(tmp_path, {*wanted, 'f'*64})) == {'f'*64} and not (tmp_path/'0.npz').exists()
    assert not read_cache(tmp_path, set(wanted), stats_dtype)

@pytest.mark.skipif(os.name == 'nt', reason='no pipes with names on Windows')
def test_what_is_no_file_goes(tmp_path):
    write_cache(tmp_path, rows)
    os.mkfifo(tmp_path/'0.npz')
    (tmp_path/'1.npz').mkdir()
    (tmp_path/'2.npz').symlink_to('/dev/zero')
    (tmp_path/'3.npz').symlink_to('nowhere')
    assert same(found := read_cache(tmp_path, set(wanted))) and len(found) == 3
    assert len(list(tmp_path.iterdir())) == 1

notes = {'half': '[{"engine": "onn', 'a list': '[]', 'a number': '3', 'null': 'null', 'another engine': '[{"engine": "rm -rf", "precision": "fp32"}]', 'NaN': '[{"engine": NaN, "precision": 1}]', 'deep': '['*10**5, 'no text': '\xff', 'large': '['+'1,'*10**6+'1]'}

@pytest.mark.parametrize('text', notes.values(), ids=notes)
def test_notes_are_checked(tmp_path, text):
    file = tmp_path/'note.json'
    file.write_bytes(text.encode('latin1'))
    assert read_note(file, lambda o: o[0]['engine'] in ('onnx', 'torch')) is None and not file.exists()
    write_note(file, [dict(engine='onnx')])
    assert read_note(file, lambda o: o[0]['engine'] in ('onnx', 'torch')) == [dict(engine='onnx')]


# --- the whole program

@pytest.fixture(scope='module')
def model(tmp_path_factory, cache):
    folder = tmp_path_factory.mktemp('made')
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv('ANIMAL_CLF_CACHE', str(cache))
        draw_animals(folder/'data', 9, classes=('fox', 'seal', 'zebra'))
        done('train', '--data', folder/'data', '--out', folder/'model', *run)
    return folder

@pytest.mark.parametrize('kind', ['a file', 'nothing can be made there'])
def test_nothing_can_be_kept(model, empty_folder, kind, monkeypatch):
    "Answers in bulk, training and the app: the same as ever, and one line that says so"
    from animal_clf.app.service import load_app_model
    photos = sorted((model/'data').glob('*/*.jpg'))
    done('predict', model/'model', *photos, '--csv', 'usual.csv')
    if kind == 'a file': Path('cache').write_text('in the way')
    monkeypatch.setenv('ANIMAL_CLF_CACHE', os.path.abspath('cache') if kind == 'a file' else '/proc/animal-clf')
    code, out, err = shell('predict', model/'model', *photos, '--csv', 'here.csv')
    assert code == 0 and Path('here.csv').read_text() == Path('usual.csv').read_text()
    assert all(o.startswith('animal-clf: nothing is kept for the next time') for o in err.splitlines()) and len(err.splitlines()) <= 2
    with pytest.warns(UserWarning): assert load_app_model(model/'model').learn
    code, out, err = shell('train', '--data', model/'data', '--out', 'model', *run)
    assert code == 0 and 'validation accuracy' in out and 'Traceback' not in err

@pytest.mark.skipif(os.name == 'nt', reason='no pipes with names on Windows')
def test_everything_in_it_is_damaged(model, empty_folder, tmp_path, monkeypatch):
    cache = tmp_path/'own'
    monkeypatch.setenv('ANIMAL_CLF_CACHE', str(cache))
    done('run', '--data', model/'data', '--out', 'first', *run)
    files = [o for o in cache.rglob('*') if o.is_file()]
    assert {o.relative_to(cache).parts[0] for o in files} >= {'features', 'photos'}
    for i,o in enumerate(sorted(files)):
        o.unlink()
        if i % 3 == 0: os.mkfifo(o)
        elif i % 3 == 1: o.write_bytes(b'\0'*99)
        else: o.write_bytes(b'{"engine": []}')
    done('run', '--data', model/'data', '--out', 'second', *run)
    assert [json.loads(Path(o, 'report/report.json').read_text())['confusion'] for o in ('first', 'second')][0] == json.loads(Path('second/report/report.json').read_text())['confusion']
