"""Photos that are programs, bombs, pipes or without end, and photos that vanish: each is a row or a line, and what can be done is done"""
import ast, io, os, shutil, signal, struct, subprocess, sys, zlib
from pathlib import Path

import pytest
from PIL import EpsImagePlugin, Image

import animal_clf
from animal_clf.core import copies
from animal_clf.core.copies import scan_photo, scan_photos
from animal_clf.core.files import hash_photos
from animal_clf.core.images import open_photo
from animal_clf.core.settings import Code, DataError, offline_arch, PhotoError
from animal_clf.data.block import PILPhoto
from animal_clf.data.splits import read_photos
from animal_clf.evaluation import evaluate   # gives a learner its `evaluate`
from animal_clf.scraping.decode import inspect_photo
from animal_clf.synthetic.animals import draw_animals
from animal_clf.training.loop import RunConfig
from animal_clf.training.model_file import save_model
from animal_clf.training.train import train
from animal_clf.vision.features import get_features
from animal_clf.vision.backbone import load_backbone
from commands import fails, shell

animals = ('fox', 'seal', 'zebra')
program = b'%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n(here I am) print flush showpage\n%%EOF\n'
pipes = pytest.mark.skipif(not hasattr(os, 'mkfifo'), reason='no named pipes here')


@pytest.fixture(autouse=True)
def bounded():
    "Who waits for a pipe fails, and does not wait for ever"
    def stop(*_): raise TimeoutError('a minute and a half is over')
    if not hasattr(signal, 'alarm'): yield; return
    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(90)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)

@pytest.fixture
def ghostscript(tmp_path, monkeypatch):
    "Stands in for Ghostscript, and notes that it was started"
    started, gs = tmp_path/'started', tmp_path/'bin'/'gs'
    gs.parent.mkdir()
    gs.write_text(f'#!/bin/sh\necho started >> {started}\nexit 1\n')
    gs.chmod(0o755)
    monkeypatch.setenv('PATH', f'{gs.parent}{os.pathsep}{os.environ["PATH"]}')
    monkeypatch.setattr(EpsImagePlugin, 'gs_binary', None)
    return started

def in_process(code, *args):
    "What `code` prints, run in a process of its own"
    found = subprocess.run([sys.executable, '-W', 'ignore', '-c', code, *map(str, args)], capture_output=True, text=True, timeout=100)
    assert found.returncode == 0, found.stderr
    return found.stdout

def save_png(path, side, mode='RGB'):
    "A picture of one colour, `side` px wide and high"
    Image.new(mode, (side, side), 'white' if mode != '1' else 1).save(path, 'PNG', compress_level=1)


@pytest.mark.skipif(os.name == 'nt', reason='the stand-in is a shell script')
@pytest.mark.parametrize('how', ('open', 'file', 'scan', 'inspect', 'fastai', 'predict'))
def test_a_photo_starts_no_program(own_cache, ghostscript, how):
    Path('fox.jpg').write_bytes(program)
    if how == 'predict': assert 'is not a photo that can be read' in shell('predict', 'fox.jpg')[1]
    elif how in ('scan', 'inspect'):
        found = scan_photo('fox.jpg').code if how == 'scan' else inspect_photo('fox.jpg')['code']
        assert found == Code.not_a_photo
    else:
        opened = dict(open=lambda: open_photo('fox.jpg'), file=lambda: open_photo(io.BytesIO(program)), fastai=lambda: PILPhoto.create(program))[how]
        with pytest.raises(PhotoError, match='is not a photo that can be read'): opened()
    assert not ghostscript.exists()

def test_every_photo_is_opened_as_one_of_the_allowed_kinds():
    "No call of `Image.open` in the package leaves the choice to Pillow"
    for path in Path(animal_clf.__file__).parent.rglob('*.py'):
        for o in ast.walk(ast.parse(path.read_text(encoding='utf8'))):
            if isinstance(o, ast.Call) and ast.unparse(o.func) == 'Image.open': assert 'formats' in {k.arg for k in o.keywords}, f'{path}:{o.lineno}'

def test_threads_share_one_budget_of_memory(own_cache):
    "Six large photos in eight threads: decoded at once they would take 2.4 GB, and as much again to be converted"
    if not sys.platform.startswith('linux'): pytest.skip('how much memory was taken is counted as Linux does')
    for i in range(6): save_png(f'{i}.png', 10_000 + i)
    code = """import os, resource, sys
os.cpu_count = lambda: 8
from animal_clf.core.copies import scan_photos
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
facts = scan_photos(sys.argv[1:])
print(*(o.width or o.reason for o in facts), (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)//1024)"""
    *widths, megabytes = in_process(code, *[f'{i}.png' for i in range(6)]).split()
    assert widths == [str(10_000 + i) for i in range(6)] and int(megabytes) < 1300

def test_too_little_memory_is_a_row(own_cache):
    "`predict --csv` with room for small photos only"
    if not sys.platform.startswith('linux'): pytest.skip('memory is limited as Linux does')
    Path('photos').mkdir()
    save_png('photos/large.png', 12_000)
    for i in range(3): save_png(f'photos/small{i}.png', 100 + i)
    code = """import resource, psutil
from animal_clf.cli.main import main
assert main(['predict', 'photos/small0.png', 'photos/small1.png', '--csv', 'warm.csv']) == 0
most = psutil.Process().memory_info().vms + 350*2**20
resource.setrlimit(resource.RLIMIT_AS, (most, most))
print(main(['predict', 'photos', '--csv', 'out.csv']))"""
    assert in_process(code).splitlines()[-1] == '0'
    first, *rows = Path('out.csv').read_text().splitlines()
    assert len(rows) == 4 and [o for o in rows if 'takes more memory than there is' in o] == [o for o in rows if 'large' in o]

bombs = {'group4.tif': dict(compression='group4'), 'lzw.tif': dict(compression='tiff_lzw'), 'plain.gif': {}, 'plain.avif': dict(speed=10), 'progressive.jpg': dict(progressive=True)}

@pytest.mark.parametrize('name', bombs)
def test_bombs_in_other_formats_are_opened_small(own_cache, name):
    side = 6000
    Image.new('1' if 'group4' in name else 'L', (side, side), 1).save(name, **bombs[name])
    assert max(open_photo(name).size) < 1600
    found = scan_photo(name)
    assert (found.code, found.width, found.height) == ('', side, side)

def png_with(kind, content):
    "A small PNG with another chunk"
    plain = io.BytesIO()
    Image.new('RGB', (99, 99), 'green').save(plain, 'PNG')
    data = plain.getvalue()
    return data[:33] + struct.pack('>I', len(content)) + kind + content + struct.pack('>I', zlib.crc32(kind + content)) + data[33:]

def test_bombs_in_the_notes_of_a_photo_are_rows(own_cache):
    "100 MB of zeros in a profile and in a text, a header that lies about the size, a photo of 200 frames, more pixels than are opened"
    zeros = zlib.compress(bytes(10**8), 9)
    for name,kind in (('profile.png', b'iCCP'), ('text.png', b'zTXt')): Path(name).write_bytes(png_with(kind, b'x\0\0' + zeros))
    small = io.BytesIO()
    Image.new('RGB', (64, 64), 'blue').save(small, 'JPEG')
    liar = bytearray(small.getvalue())
    place = liar.index(b'\xff\xc0')
    liar[place+5:place+9] = struct.pack('>HH', 65500, 65500)
    Path('liar.jpg').write_bytes(liar)
    frames = [Image.new('P', (300, 300), i) for i in range(200)]
    frames[0].save('frames.gif', save_all=True, append_images=frames[1:])
    save_png('bits.png', 14_000, '1')
    found = {o.path: o.code for o in scan_photos(['profile.png', 'text.png', 'liar.jpg', 'frames.gif', 'bits.png'])}
    assert found == {'profile.png': Code.unreadable, 'text.png': Code.unreadable, 'liar.jpg': Code.too_large, 'frames.gif': '', 'bits.png': Code.too_large}

def test_a_photo_of_126_megapixels_is_opened(own_cache):
    Image.new('L', (12_970, 9_730), 90).save('large.jpg')
    found = scan_photo('large.jpg')
    assert (found.code, found.width, found.height) == ('', 12_970, 9_730) and max(open_photo('large.jpg').size) < 1700

@pipes
def test_what_is_no_regular_file_or_too_large_is_a_row(own_cache):
    os.mkfifo('pipe.jpg')
    Path('zero.jpg').symlink_to('/dev/zero')
    with open('sparse.jpg', 'wb') as f: f.truncate(60*10**9)
    names = ['pipe.jpg', 'zero.jpg', 'sparse.jpg']
    codes = [Code.not_a_photo, Code.not_a_photo, Code.too_large]
    assert [o.code for o in scan_photos(names)] == codes
    assert [o.code for o in hash_photos(names)[1].values()] == codes
    assert [inspect_photo(o)['code'] for o in names] == codes
    assert [o['code'] for o in get_features(names, load_backbone(offline_arch), keep=False).skipped] == codes

@pipes
def test_a_table_that_is_no_file_is_a_line(own_cache):
    os.mkfifo('pipe.csv')
    Path('zero.csv').symlink_to('/dev/zero')
    with open('sparse.csv', 'wb') as f: f.truncate(60*10**9)
    draw_animals('data', 4, classes=animals)
    for o in ('pipe.csv', 'zero.csv'):
        for args in (('train', '--data', o, '--out', 'model', '--arch', offline_arch), ('predict', 'data/fox/fox_0.jpg', o), ('clean', 'data', '--decisions', o)):
            assert 'is a pipe or a device' in fails(*args)
    assert 'is not a table' in fails('train', '--data', 'sparse.csv', '--out', 'model', '--arch', offline_arch)
    assert 'sparse.csv' in fails('clean', 'data', '--decisions', 'sparse.csv')

@pipes
def test_a_photo_replaced_between_look_and_open(own_cache, monkeypatch):
    "It was a file when it was looked at, and is a pipe when it is opened: nobody waits for the pipe"
    save_png('fox.png', 99)
    def look_and_replace(path):
        Path(path).unlink()
        os.mkfifo(path)
    monkeypatch.setattr(copies, 'check_file', look_and_replace)
    assert scan_photo('fox.png').code == Code.not_a_photo

def test_a_large_file_that_changes_while_it_is_decoded(own_cache, monkeypatch):
    "It is not held in memory, so it is hashed once more afterwards"
    monkeypatch.setattr(copies, '_held', 0)
    save_png('fox.png', 700)
    assert scan_photo('fox.png').code == ''
    def copy_and_change(content, sha256, make_copy=copies.make_copy):
        found = make_copy(content, sha256)
        with open('fox.png', 'ab') as f: f.write(b'more')
        return found
    monkeypatch.setattr(copies, 'make_copy', copy_and_change)
    with open('fox.png', 'ab') as f: f.write(b'new')
    assert scan_photo('fox.png').code == Code.changed


def draw(folder):
    draw_animals(folder, 12, classes=animals)
    return read_photos(folder, n_test=3)

def lose(paths, cache):
    "Delete photos, and what the cache has of them"
    for o in paths: Path(o).unlink()
    for name in ('photos', 'features'): shutil.rmtree(cache/name, ignore_errors=True)

def check_left_out(photos, gone, trained):
    "Photos that vanished are rows, and the rest is tested"
    assert sorted(photos.skipped.path) == sorted(gone) and set(photos.skipped.code) == {'missing'} and not set(gone) & set(photos.table.path)
    save_model(trained, photos, 'model')
    assert all(o in Path('model/skipped.csv').read_text() for o in gone) and not any(o in Path('model/photos.csv').read_text() for o in gone)
    assert len(trained.learn.evaluate(photos, thorough=False).answers) == len(photos.test)

lines = 'can not be opened any more, and left out; the first: .* is not there'

def test_training_goes_on_without_photos_that_vanish(own_cache):
    "With a line, and a row with code and reason; those that stay are trained on and tested"
    photos = draw('data')
    gone = [*photos.train.path[:2], photos.valid.path[0]]
    lose(gone, own_cache)
    with pytest.warns(UserWarning, match=lines): trained = train(photos, 'head', offline_arch)
    check_left_out(photos, gone, trained)
    test = photos.test.path[0]
    lose([test], own_cache)
    with pytest.warns(UserWarning, match='1 photo ' + lines): result = trained.learn.evaluate(photos, thorough=False)
    assert len(result.answers) == 8 and result.metrics['n_test'] == 8 and photos.skipped.path.iloc[-1] == test

def test_photos_that_vanish_when_the_network_is_being_trained(own_cache):
    "After the loaders were made, in processes that load batches"
    photos = draw('data')
    gone = [*photos.train.path[3:5], photos.valid.path[1]]
    def tell(what, text):
        if what == 'speed': lose(gone, own_cache)
    run = RunConfig('model', precision='fp32', num_workers=2, tell=tell)
    with pytest.warns(UserWarning, match='3 photos ' + lines): trained = train(photos, 'scratch', 'resnet10t', epochs=1, run=run)
    check_left_out(photos, gone, trained)

def test_a_class_that_loses_all_its_photos_is_an_error(own_cache):
    photos = draw('data')
    lose(sorted(Path('data/seal').glob('*.jpg')), own_cache)
    with pytest.raises(DataError, match="none of the training photos of 'seal' can be opened any more"): train(photos, 'head', offline_arch)
