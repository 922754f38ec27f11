"""Model files from a stranger: whatever is in them, they are refused in a line, soon, without much memory, and nothing in them is run"""
import hashlib, json, os, pickle, socket, struct, subprocess, sys, time
from pathlib import Path
from shutil import copytree

import numpy as np, pandas as pd, pytest, torch
from animal_clf.core.settings import ModelFileError
from animal_clf.data.splits import read_photos
from animal_clf.training.open_set import ClassCentroids, OpenSetDetector
from animal_clf.data import block # gives `Photos` its `dataloaders`
from animal_clf.training.model_file import Trained, load_classifier, read_log, save_model, record_test
from animal_clf.training.model_info import read_info
from animal_clf.training.learner import animal_learner
from animal_clf.synthetic.animals import draw_animals
from commands import fails
from files import contents, read
from safetensors.torch import load_file, save

pytestmark = pytest.mark.usefixtures('empty_folder')
classes, weight = ['fox', 'seal', 'wolf'], '1.2.weight'

@pytest.fixture(scope='module')
def drawn(tmp_path_factory): return draw_animals(tmp_path_factory.mktemp('drawn')/'animals', 6, classes, px=64)

@pytest.fixture(scope='module')
def model(drawn, tmp_path_factory):
    "A small network that was not trained, with all the tables a model can have"
    data = read_photos(drawn, n_test=1)
    learn = animal_learner(data.dataloaders(64, num_workers=0), 'test_resnet', pretrained=False)
    learn.posthoc.open_set, learn.posthoc.centroids = OpenSetDetector(np.full((3, 1000), .001, np.float32), .5), ClassCentroids(np.eye(3, 96, dtype=np.float32), .06)
    return save_model(Trained(learn, 'scratch', 'test_resnet', 42, pd.DataFrame(dict(epoch=[1]))), data, tmp_path_factory.mktemp('models')/'good')


# --- ways to spoil a model

def edit(**values): return lambda m: (m/'model.json').write_text(json.dumps(read(m/'model.json') | values), encoding='utf8')
def text(change): return lambda m: (m/'model.json').write_bytes(change((m/'model.json').read_bytes()))
def drop(name): return lambda m: (m/name).unlink()
def both(*spoils): return lambda m: [o(m) for o in spoils]

def numbers(change):
    "Other bytes as `model.safetensors`, with the sum that model.json tells"
    def spoil(m):
        file = m/'model.safetensors'
        file.write_bytes(change(file.read_bytes()))
        edit(sha256=hashlib.sha256(file.read_bytes()).hexdigest())(m)
    return spoil

def tensors(change):
    "Other tensors, properly written"
    def spoil(m):
        found = load_file(m/'model.safetensors')
        change(found)
        numbers(lambda old: save(found))(m)
    return spoil

def header(change):
    "Another header over the same bytes; `change` edits the parsed one, or gives bytes"
    def rewrite(old):
        n = struct.unpack('<Q', old[:8])[0]
        parsed = json.loads(old[8:8+n])
        new = change(parsed)
        new = new if isinstance(new, bytes) else json.dumps(parsed).encode()
        return struct.pack('<Q', len(new)) + new + old[8+n:]
    return numbers(rewrite)

def one(**values): return header(lambda h: h[weight].update(values))
def shift(h):
    "All tensors 4 bytes further on, but the first: a hole"
    for o in sorted(h.values(), key=lambda o: o['data_offsets'])[1:]: o['data_offsets'] = [i+4 for i in o['data_offsets']]

def fill(value, name=weight): return tensors(lambda t: t[name].view(-1)[3:4].fill_(value))

def replaced(name, make):
    "Something else than a file under that name"
    def spoil(m):
        (m/name).unlink()
        make(m/name)
    return spoil

def listen(path):
    os.chdir(path.parent)   # the path of a socket must be short
    with socket.socket(socket.AF_UNIX) as o: o.bind(path.name)

class Bomb:
    "Makes a file when it is unpickled"
    def __reduce__(self): return Path.write_text, (Path('boom'), 'run')

def export_fastai(path): load_classifier(path.parent.parent/'good').export(path)
def torch_save(path, **kwargs): torch.save(dict(model=Bomb()), path, **kwargs)
def with_sum(name, make): return both(replaced(name, make), numbers(lambda o: o)) if name == 'model.safetensors' else replaced(name, make)
def pad(data): return lambda old: data + old[len(data):]   # as long as the right one

json_file, numbers_file = 'model.json', 'model.safetensors'
pickles = {'pickle': lambda p: p.write_bytes(pickle.dumps(Bomb())), 'pickle of the right length': lambda p: p.write_bytes(pickle.dumps(Bomb()).ljust(1_530_000, b'\0')),
           'torch.save': torch_save, 'old torch.save': lambda p: torch_save(p, _use_new_zipfile_serialization=False)}
strange = {'folder': (Path.mkdir, "can't be read"), 'pipe': (os.mkfifo, 'is a pipe'), 'device without end': (lambda p: p.symlink_to('/dev/zero'), 'is a pipe or a device'),
           'link to itself': (lambda p: p.symlink_to(p.name), "can't be read"), 'link to nothing': (lambda p: p.symlink_to('nothing'), "can't be read"), 'socket': (listen, "can't be read")}

hostile = {
    # --- model.json as a file
    **{f'{json_file} is a {k}': (replaced(json_file, make), told) for k,(make,told) in strange.items()},
    **{f'{json_file} is a {k}': (replaced(json_file, make), 'is damaged') for k,make in pickles.items()},
    'empty JSON': (text(lambda o: b''), 'is damaged'),
    'half of it': (text(lambda o: o[:300]), 'is damaged'),
    '17 MB of spaces': (text(lambda o: o + b' '*17*2**20), 'at most 16,777,216'),
    '10 GB that take no room': (lambda m: os.truncate(m/json_file, 10**10), 'at most 16,777,216'),
    '5 million lists': (text(lambda o: b'[' + b'[],'*5*10**6 + b'[]]'), 'more than 1,000,000 lists'),
    '2 million keys': (text(lambda o: b'{' + b'"":0,'*2*10**6 + b'"":0}'), 'more than 1,000,000 lists'),
    '900,000 lists': (edit(test=[[]]*900_000), '`test: '),
    'lists in lists': (text(lambda o: b'['*10**5), 'lists in lists without end'),
    'lists in lists, closed': (edit(test=json.loads('{"a":'*300 + '1' + '}'*300)), '`test: '),
    'a key twice': (text(lambda o: o.replace(b'"px"', b'"px": 64, "px"')), "key 'px' comes twice"),
    'not UTF-8': (text(lambda o: o.replace(b'fox', b'f\xf6x')), 'is damaged'),
    'UTF-16': (text(lambda o: o.decode().encode('utf16')), 'is damaged'),
    'a list': (text(lambda o: b'[1]'), 'of another kind'),
    'of another tool': (edit(format='keras'), 'of another kind'),
    'an unknown key': (edit(**{'\x1b[2J\n__class__': 'os.system'}), 'unknown key \\x1b[2J\\n__class__'),
    'a missing key': (lambda m: (m/json_file).write_text(json.dumps({k: v for k,v in read(m/json_file).items() if k != 'px'})), "argument: 'px'"),
    # --- its values
    'a newer version': (edit(version=99), 'version 99'), 'version true': (edit(version=True), 'version True'), 'version in words': (edit(version='4\n'), "version '4\\n'"), 'version 0': (edit(version=0), 'version 0'),
    'a number of 5000 digits': (text(lambda o: o.replace(b'"px": 64', b'"px": ' + b'9'*5000)), '4300 digits'),
    'a number of 4000 digits': (text(lambda o: o.replace(b'"px": 64', b'"px": ' + b'9'*4000)), '`px: 999'),
    'px NaN': (edit(px=float('nan')), '`px: nan'), 'px 1e999': (text(lambda o: o.replace(b'"px": 64', b'"px": 1e999')), '`px: inf'), 'px true': (edit(px=True), '`px: True'), 'px 64.0': (edit(px=64.), '`px: 64.0'), 'px a million': (edit(px=10**6), '`px: '),
    'method': (edit(method=['crop']), '`method: '), 'mean of four': (edit(mean=[0]*4), '`mean: '), 'mean true': (edit(mean=[True]*3), '`mean: '), 'std 0': (edit(std=[1, 1, 0]), '`std: '), 'std NaN': (edit(std=[1, 1, float('nan')]), '`std: '),
    'a million classes': (edit(classes=[f'c{i}' for i in range(10**6)]), '`classes: '), 'a class twice': (edit(classes=['fox', 'fox', 'wolf']), '`classes: '), 'a class of 10 MB': (edit(classes=['fox', 'seal', 'w'*10**7]), '`classes: '),
    'half a character': (edit(classes=['fox', 'seal', '\ud800']), '`classes: '), 'a class without a name': (edit(classes=['fox', 'seal', '']), '`classes: '), 'numbers for classes': (edit(classes=[1, 2, 3]), '`classes: '),
    'recipe': (edit(recipe={'a': 1}), '`recipe: '), 'seed': (edit(seed='42'), '`seed: '), 'seed 10**300': (edit(seed=10**300), '`seed: '), 'sha256': (edit(sha256='../../etc/passwd'), '`sha256: '), 'sha256 null': (edit(sha256=None), '`sha256: '),
    'valid_accuracy': (edit(valid_accuracy='best'), '`valid_accuracy: '), 'data': (edit(data=dict(source=['a'])), '`data: '), 'data with more': (edit(data=dict(command='rm')), '`data: '), 'versions': (edit(versions={'timm': {}}), '`versions: '),
    'temperature 0': (edit(temperature=0), '`temperature: '), 'temperature -Infinity': (edit(temperature=-float('inf')), '`temperature: '), 'mirror': (edit(mirror=1), '`mirror: '), 'groups': (edit(groups=dict(fox='a')), '`groups: '),
    'choices': (edit(choices=[dict(candidate='head')]), '`choices: '), 'test': (edit(test=[1]), '`test: '), 'test NaN': (edit(test=dict(accuracy=float('nan'))), '`test: '), 'tests': (edit(tests=[dict(photos=1, model='')]), '`tests: '),
    'lookalike': (edit(lookalike=dict(limit=.5, keep=.9, scale=0)), '`lookalike: '), '10,000 hidden layers': (edit(head=dict(sizes=[1]*10**4)), '`head: '), 'a hidden layer of a billion': (edit(head=dict(sizes=[10**9])), '`head: '),
    'a head with a program': (edit(head=dict(sizes=[8], layers='os.system')), '`head: '), 'a dropout too many': (edit(head=dict(sizes=[8], dropouts=[.1, .1])), '`head: '),
    # --- networks
    **{f'arch {o[:60]!r}': (edit(arch=o), '`arch: ') for o in ('hf-hub:timm/resnet18.a1_in1k', 'hf_hub:timm/resnet18', 'local-dir:/etc', 'timm/resnet18', '../../resnet18', '/etc/passwd', 'resnet18.no_such_tag', 'resnet18\n', '', 'r'*10**6, '__import__("os")')},
    'arch 7': (edit(arch=7), '`arch: '),
    'a network of 1.8 billion': (edit(arch='vit_gigantic_patch14_224', px=224), 'bytes, where 7,371,'),
    'hidden layers of 65536 x 65536': (edit(head=dict(sizes=[65536]*16)), 'bytes, where 257,'),
    '100,000 classes': (edit(classes=[f'c{i}' for i in range(10**5)]), 'bytes, where '),
    'another network': (edit(arch='test_efficientnet'), 'does not fit model.json'),
    'a network with the channels last': (edit(arch='swin_tiny_patch4_window7_224', px=224), 'channels first'),
    'photos of a size that it does not take': (edit(arch='vit_tiny_patch16_224'), "for photos of 64 px"),
    # --- model.safetensors as a file
    'no numbers': (drop(numbers_file), 'no '),
    **{f'{numbers_file} is a {k}': (replaced(numbers_file, make), told) for k,(make,told) in strange.items()},
    **{f'{numbers_file} is a {k}': (with_sum(numbers_file, make), 'looks like a pickle') for k,make in pickles.items()},
    'export.pkl of fastai': (with_sum(numbers_file, export_fastai), 'looks like a pickle'),
    'zip': (numbers(pad(b'PK\3\4')), 'looks like a pickle'),
    'no bytes': (numbers(lambda o: b''), 'it has 0 bytes'), 'eight bytes': (numbers(lambda o: o[:8]), 'it has 8 bytes'), 'one byte short': (numbers(lambda o: o[:-1]), 'not fully covered'), 'a tail of 9 bytes': (numbers(lambda o: o + b'123456789'), 'not fully covered'),
    'a tail of 1 TB that takes no room': (lambda m: os.truncate(m/numbers_file, 10**12), 'it has 1,000,000,000,000 bytes'),
    'another sum': (edit(sha256='0'*64), 'damaged or of another model'),
    # --- its header
    'a header of 2**60': (numbers(pad(struct.pack('<Q', 2**60))), 'a header of 1,152,921,504,606,846,976 bytes'), 'a header of 2**64-1': (numbers(pad(b'\xff'*8)), 'a header of 18,446,744,073,709,551,615 bytes'), 'a header of 99 MB': (numbers(pad(struct.pack('<Q', 99_000_000))), 'a header of 99,000,000 bytes'), 'a header of 0': (numbers(pad(b'\0'*8)), 'does not fit'),
    'a header of zeros': (header(lambda h: b'\0'*5000), 'does not fit'), 'a header of lists in lists': (header(lambda h: b'{"a":' + b'['*9000), 'does not fit'), 'a header that is a list': (header(lambda h: b'[]'.ljust(5000)), 'does not fit'), 'an empty header': (header(lambda h: b'{}'.ljust(8000)), 'does not fit'),
    'a name twice': (header(lambda h: json.dumps(h).encode()[:-1] + f', "{weight}": {json.dumps(h[weight])}}}'.encode()), 'does not fit'),
    'a hole': (header(shift), 'does not fit'), 'all at one place': (header(lambda h: [o.update(data_offsets=h[weight]['data_offsets']) for o in h.values()] and None), 'does not fit'),
    'offsets beyond the end': (one(data_offsets=[0, 2**40]), 'does not fit'), 'offsets of 2**64': (one(data_offsets=[2**64, 2**64+1]), 'does not fit'), 'negative offsets': (one(data_offsets=[-8, 0]), 'does not fit'), 'offsets in words': (one(data_offsets='all'), 'does not fit'),
    'a shape of 2**40': (one(shape=[2**40, 2**40]), 'does not fit'), 'a shape below 0': (one(shape=[-3, -96]), 'does not fit'), 'another shape of that size': (one(shape=[96, 3]), '1.2.weight is 96 x 3, where 3 x 96'), 'no shape': (one(shape=None), 'does not fit'),
    'an unknown type': (one(dtype='EVIL'), 'does not fit'), 'whole numbers': (one(dtype='I32'), 'int32, where float32'),
    # --- its numbers
    'a tensor more': (tensors(lambda t: t.update({'__class__\n': torch.zeros(1)})), '__class__\\n was not expected'), 'a tensor less': (tensors(lambda t: t.pop('1.2.bias')), 'no 1.2.bias'), 'a tensor by another name': (tensors(lambda t: t.update(bias=t.pop('1.2.bias'))), 'does not fit'),
    'float64': (tensors(lambda t: t.update({weight: t[weight].double()})), 'float64, where float32'), 'float16': (tensors(lambda t: t.update({weight: t[weight].half()})), 'float16, where float32'), 'all of it float16': (tensors(lambda t: t.update({k: v.half() for k,v in t.items()})), 'bytes, where'),
    'int8': (tensors(lambda t: t.update({weight: t[weight].to(torch.int8)})), 'int8, where float32'), 'a count as a fraction': (tensors(lambda t: t.update({'0.model.bn1.num_batches_tracked': torch.zeros(())})), 'float32, where int64'),
    'NaN': (fill(float('nan')), f'{weight} holds NaN'), 'infinity': (fill(-float('inf'), '0.model.bn1.weight'), '0.model.bn1.weight holds NaN or infinity'), 'a variance below 0': (fill(-1., '0.model.bn1.running_var'), 'negative variance'),
    'NaN in the look-alikes': (fill(float('nan'), 'lookalike.means'), 'lookalike.means holds NaN'), 'profiles of 2': (fill(2., 'lookalike.profiles'), 'impossible numbers'),
}

def spoilt(model, name):
    "A copy of the model, next to a good one, spoilt as `name` says"
    copytree(model, Path('models')/'good', dirs_exist_ok=True)
    folder = Path('models').absolute()/'hostile'
    copytree(model, folder)
    here = os.getcwd()
    try: hostile[name][0](folder)
    finally: os.chdir(here)
    return folder

def refuse(folder):
    "What `load_classifier` says, and the seconds until it does"
    start = time.perf_counter()
    with pytest.raises(ModelFileError) as told: load_classifier(folder)
    return str(told.value), time.perf_counter() - start

@pytest.mark.parametrize('name', hostile)
def test_a_hostile_file_is_refused(model, drawn, name):
    folder = spoilt(model, name)
    before = sorted(Path().rglob('*'))
    message, seconds = refuse(folder)
    assert hostile[name][1] in message and seconds < 10
    assert len(message) < 1000 and message.isprintable()
    assert hostile[name][1] in fails('predict', folder, drawn/'fox'/'fox_0001.jpg')   # one line, exit code 1
    assert sorted(Path().rglob('*')) == before and not Path('boom').exists()

def test_the_bomb_goes_off_where_it_is_unpickled():
    pickle.loads(pickle.dumps(Bomb()))
    assert Path('boom').exists()

_measured = '''
import json, re, sys
from pathlib import Path
from animal_clf.core.settings import ModelFileError
from animal_clf.training.model_file import load_classifier
load_classifier(Path('models')/'good')
memory = lambda name: int(re.search(name + r':\\s+(\\d+)', Path('/proc/self/status').read_text())[1])/1024
grown = {}
for o in sys.argv[1:]:
    Path('/proc/self/clear_refs').write_text('5')   # the peak starts anew
    before = memory('VmRSS')
    try: load_classifier(o)
    except ModelFileError: grown[o] = memory('VmHWM') - before
print(json.dumps(grown))
'''
worst = ['10 GB that take no room', '17 MB of spaces', '5 million lists', '2 million keys', '900,000 lists', 'lists in lists', 'a million classes', 'a class of 10 MB', 'a network of 1.8 billion', 'hidden layers of 65536 x 65536', '100,000 classes', 'a tail of 1 TB that takes no room',
         'model.safetensors is a device without end', 'model.json is a device without end', 'a header of 2**60', 'a header of lists in lists', 'a shape of 2**40', 'all at one place']

@pytest.mark.skipif(not Path('/proc/self/clear_refs').exists(), reason='measured as Linux does it')
def test_the_worst_take_little_memory(model):
    for i,name in enumerate(worst): spoilt(model, name).rename(f'worst{i}')
    done = subprocess.run([sys.executable, '-W', 'ignore', '-c', _measured, *(f'worst{i}' for i in range(len(worst)))], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    grown = {worst[int(k[5:])]: round(v) for k,v in json.loads(done.stdout).items()}   # MB
    assert list(grown) == worst and max(grown.values()) < 300, grown

@pytest.mark.skipif(os.geteuid() == 0, reason='root may read everything')
@pytest.mark.parametrize('name', [json_file, numbers_file])
def test_a_file_that_may_not_be_read(model, name):
    folder = copytree(model, 'locked')
    os.chmod(Path(folder)/name, 0)
    assert "can't be read (Permission denied)" in refuse(folder)[0]


# --- what is not refused

def test_a_link_to_a_file_is_a_file(model):
    Path('linked').mkdir()
    for o in (json_file, numbers_file): Path('linked', o).symlink_to(model/o)
    assert list(load_classifier('linked').dls.vocab) == classes

def test_odd_names_of_classes_are_names(model):
    folder, odd = Path(copytree(model, 'odd')), ['a\nb', '__class__', '😀'*500]
    edit(classes=odd)(folder)
    assert list(load_classifier(folder).dls.vocab) == odd

def test_what_is_written_can_be_read(model):
    folder = Path(copytree(model, 'tested'))
    record_test(folder, dict(accuracy=.5, roc_auc=float('nan'), confusion=np.eye(1200, dtype=int).tolist()), 'test set')
    assert read_info(folder).test['roc_auc'] is None and len(read_info(folder).test['confusion']) == 1200
    assert list(load_classifier(folder).dls.vocab) == classes

def test_a_file_that_is_exchanged_while_it_is_checked(model, monkeypatch):
    "It is read once: what was checked is what is used"
    folder, real = Path(copytree(model, 'exchanged')), hashlib.sha256
    def exchange(*data):
        if data: (folder/numbers_file).write_bytes(pickle.dumps(Bomb()))   # without, it is of something else that is taken bit by bit
        return real(*data)
    monkeypatch.setattr(hashlib, 'sha256', exchange)
    learn = load_classifier(folder)
    assert (folder/numbers_file).read_bytes() == pickle.dumps(Bomb())
    assert torch.equal(learn.model.state_dict()[weight], load_file(model/numbers_file)[weight]) and not Path('boom').exists()

def test_the_log_of_a_stranger(model):
    folder = Path(copytree(model, 'log'))
    assert len(read_log(folder)) == 1
    replaced('log.csv', os.mkfifo)(folder)
    with pytest.raises(ModelFileError, match='is a pipe'): read_log(folder)
