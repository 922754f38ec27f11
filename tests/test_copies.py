"""One pass over a data set, when the photos or the cache do not stay as they are: two processes at once, nothing that can be written, photos that vanish or change"""
import json, os, shutil, subprocess, sys
from collections import Counter
from pathlib import Path

import pytest
from PIL import Image

from animal_clf.core.copies import copy_px, scan_photos
from animal_clf.core.settings import Code, offline_arch, PhotoError
from animal_clf.data.splits import read_photos
from animal_clf.evaluation import evaluate   # gives a learner its `evaluate`
from animal_clf.synthetic.animals import draw_animals
from animal_clf.training.train import train
from animal_clf.vision.features import get_features
from animal_clf.vision.backbone import load_backbone
from commands import done, shell
from files import contents, read

animals = ('fox', 'seal', 'zebra')
run = '--arch', offline_arch, '--recipe', 'head'


def draw(folder, n=9):
    "Drawn photos, each twice as large as a working copy"
    draw_animals(folder, n, classes=animals)
    for path in sorted(Path(folder).glob('*/*.jpg')):
        with Image.open(path) as img: large = img.resize((4*copy_px, 3*copy_px))
        large.save(path, quality=90)
    return folder

def copies(cache): return [o for o in (cache/'photos').rglob('*') if o.is_file()]

def numbers(model): return {k: v for k,v in read(Path(model)/'report/report.json').items() if k in ('accuracy', 'confusion', 'ece', 'n_test', 'log_loss')}


def test_two_processes_fill_one_cache(own_cache):
    draw('data')
    code = "import sys; from pathlib import Path; from animal_clf.core.copies import scan_photos; print(*(o.sha256 for o in scan_photos(sorted(Path('data').glob('*/*.jpg')))))"
    started = [subprocess.Popen([sys.executable, '-c', code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    answers = [o.communicate(timeout=120) for o in started]
    facts = scan_photos(sorted(Path('data').glob('*/*.jpg')))
    assert answers == [(' '.join(o.sha256 for o in facts) + '\n', '')]*2
    assert sorted(o.name for o in copies(own_cache)) == sorted({o.sha256 for o in facts})   # and no half of a file

@pytest.mark.parametrize('kind', ('file', 'full'))
def test_a_cache_that_can_not_be_written(own_cache, monkeypatch, kind):
    "The same result, with one line that says so"
    draw('data')
    assert 'test accuracy' in done('run', '--data', 'data', '--out', 'usual', *run)
    Path('bad').mkdir()
    if kind == 'file': (Path('bad')/'photos').write_text('in the way')
    else: monkeypatch.setattr('animal_clf.core.copies.atomic_write', full_disk)
    for o in own_cache.iterdir():
        if o.is_symlink(): (Path('bad')/o.name).symlink_to(o.resolve())
    monkeypatch.setenv('ANIMAL_CLF_CACHE', os.path.abspath('bad'))
    code, out, err = shell('run', '--data', 'data', '--out', 'model', *run)
    assert code == 0 and numbers('model') == numbers('usual')
    lines = [o for o in err.splitlines() if 'working copies of photos can not be kept' in o]
    assert len(lines) == 1 and 'each step opens the photos again' in lines[0]

def full_disk(path): raise OSError(28, 'No space left on device', str(path))

def test_photos_that_vanish_after_the_pass(own_cache):
    "Their copies serve for training and the test; without copies they are rows with a reason"
    draw('data')
    whole = train(read_photos('data', n_test=3), 'head', offline_arch).learn
    photos = read_photos('data', n_test=3)
    shutil.rmtree('data')
    learn = train(photos, 'head', offline_arch).learn
    result = learn.evaluate(photos)
    assert str(result) == str(whole.evaluate(photos)) and len(result.answers) == len(photos.test)
    shutil.rmtree(own_cache/'photos'); shutil.rmtree(own_cache/'features')
    lost = get_features(photos.test, load_backbone(offline_arch)).skipped
    assert {o['code'] for o in lost} == {Code.missing} and len(lost) == len(photos.test)
    with pytest.raises(PhotoError, match="9 of 9 photos, which can't be read"): learn.features(photos.test)

def test_photos_that_change_after_the_pass(own_cache):
    "What was read is what is used; where that is lost, nothing else takes its place"
    draw('data')
    photos = read_photos('data', n_test=3)
    before = get_features(photos.test, load_backbone(offline_arch)).values
    first, second = photos.test.path[:2]
    shutil.copy(second, first)
    shutil.rmtree(own_cache/'features')
    assert (get_features(photos.test, load_backbone(offline_arch)).values == before).all()
    shutil.rmtree(own_cache/'photos'); shutil.rmtree(own_cache/'features')
    skipped = get_features(photos.test, load_backbone(offline_arch)).skipped
    assert [(o['path'], o['code'], o['reason']) for o in skipped] == [(first, Code.changed, 'has changed since it was first opened')]

def test_hostile_copies_are_made_again(own_cache):
    "Somebody who can write into the cache can't change a result or stop a run"
    draw('data')
    done('run', '--data', 'data', '--out', 'usual', *run)
    whole, other = copies(own_cache), contents('data')
    for i,path in enumerate(whole):
        content = path.read_bytes()
        if i % 4 == 0: path.write_bytes(content[:len(content)//2])                    # torn
        elif i % 4 == 1: path.write_bytes(whole[i-1].read_bytes())                    # of another photo, torn
        elif i % 4 == 2: path.unlink(); os.mkfifo(path)                               # would be waited for
        else: path.write_bytes(b'{"sha256": "' + path.name.encode() + b'", "width": 9999999, "height": 1, "digest": ""}\n' + content)
    shutil.rmtree(own_cache/'features')
    done('run', '--data', 'data', '--out', 'model', *run)
    assert numbers('model') == numbers('usual') and contents('data') == other
    assert len(copies(own_cache)) == len(whole)

def test_each_photo_is_opened_once_by_a_run(own_cache):
    "Counted by Python itself, in a process of its own"
    draw('data')
    code = """import atexit, os, sys
opened = []
sys.addaudithook(lambda event, args: opened.append(os.fsdecode(args[0])) if event == 'open' and isinstance(args[0], (str, bytes)) and os.fsdecode(args[0]).endswith('.jpg') else None)
from animal_clf.cli.main import main
code = main()
print('\\n'.join(['opened'] + [os.path.abspath(o) for o in opened if '/data/' in os.path.abspath(o)]))
sys.exit(code)"""
    found = subprocess.run([sys.executable, '-W', 'ignore', '-c', code, 'run', '--data', 'data', '--out', 'model', *run], capture_output=True, text=True, timeout=300)
    assert found.returncode == 0, found.stderr
    counts = Counter(found.stdout.split('opened\n')[1].split('\n')[:-1])
    assert set(counts.values()) == {1} and len(counts) == 27

def test_cache_command(own_cache):
    "Says its size, and empties itself"
    for o in own_cache.iterdir(): o.unlink()   # what is shared with other tests stays
    draw('data')
    done('run', '--data', 'data', '--out', 'model', *run)
    size = sum(o.stat().st_size for o in copies(own_cache))
    photos, = [o for o in json.loads(done('cache', '--json'))['parts'] if o['name'] == 'photos']
    assert (photos['files'], photos['bytes']) == (27, size) and f'{size/1e6:.1f} MB in 27 files' in done('cache')
    assert 'emptied' in done('cache', '--clear') and not copies(own_cache) and not list((own_cache/'features').rglob('*.npy'))
