"""Training that is killed, stopped, starved and misled: real processes, real signals, memory and disk really taken away"""
import contextlib, json, os, random, resource, shutil, signal, subprocess, sys, time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np, pandas as pd, pytest

from animal_clf.core.files import hash_file
from animal_clf.core.settings import DataError, SettingsError
from animal_clf.synthetic.animals import draw_animals
from files import contents, read

animals, nowhere = ('fox', 'seal', 'zebra'), 'http://127.0.0.1:9'  # refuses every connection


# --- `animal-clf` in processes of its own, which need not load PyTorch each time

launcher = """
import gc, json, os, resource, signal, sys, traceback
import animal_clf.evaluation.evaluate, animal_clf.training.train
from animal_clf.cli.main import main

def at(name, count, do):
    "`do` when the count-th file is about to get the name `name`"
    seen, real = [], os.replace
    def replace(part, path):
        if os.path.basename(path) == name: seen.append(path)
        if os.path.basename(path) == name and len(seen) == count: do()
        real(part, path)
    os.replace = replace

def kill(): os.kill(os.getpid(), signal.SIGKILL)

def hunger(mb, limit_mb=3072):
    "Until the first epoch is over, training takes `mb` per photo (never touched), and there are only `limit_mb`"
    import timm.models.resnet, torch
    def forward(model, x, real=timm.models.resnet.ResNet.forward_features):
        if model.training: torch.empty(len(x)*mb*2**20, dtype=torch.uint8)
        return real(model, x)
    timm.models.resnet.ResNet.forward_features = forward
    there = int(open('/proc/self/statm').read().split()[0])*resource.getpagesize()
    def limit(bytes): resource.setrlimit(resource.RLIMIT_AS, (bytes, resource.RLIM_INFINITY))
    limit(there + limit_mb*2**20)
    at('checkpoint.csv', 1, lambda: limit(resource.RLIM_INFINITY))

gc.freeze()
for line in sys.stdin:
    o = json.loads(line)
    pid = os.fork()
    if not pid:
        os.setsid()
        signal.alarm(100)
        for i,name in enumerate((os.devnull, o['out'], o['err'])): os.dup2(os.open(name, os.O_RDWR | os.O_CREAT), i)
        os.chdir(o['cwd'])
        os.environ.update(o['env'])
        if o['kill_at']: at(*o['kill_at'], kill)
        if o['mb_per_photo']: hunger(o['mb_per_photo'])
        if o['file_mb']: resource.setrlimit(resource.RLIMIT_FSIZE, (int(o['file_mb']*2**20), resource.RLIM_INFINITY))
        try: code = main(o['args'])
        except SystemExit as e: code = e.code
        except BaseException: traceback.print_exc(); code = 1
        sys.stdout.flush(); sys.stderr.flush()
        os._exit(code)      # to clear up all that PyTorch brought takes a second
    print(pid, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
"""

def environment(**more): return os.environ | dict(HF_ENDPOINT=nowhere, OMP_NUM_THREADS='1') | more

@dataclass
class Ended:
    "How a process ended"
    code:int
    out:str
    err:str

class Launcher:
    "Forks a process for each command, one at a time"
    def __init__(self, folder, cache):
        self.folder, self.n, self.pid = folder, 0, None
        self.process = subprocess.Popen([sys.executable, '-c', launcher], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
                                        env=environment(ANIMAL_CLF_CACHE=str(cache)))

    def start(self, *args, kill_at=None, mb_per_photo=None, file_mb=None, **env):
        "Begin `animal-clf ARGS`: to be killed when the n-th file of a name is whole (`kill_at`), hungry (of 3072 MB that there are), or on a disk with room for smaller files only"
        if self.pid is not None:                           # of a test that failed
            with contextlib.suppress(ProcessLookupError): os.killpg(self.pid, signal.SIGKILL)
            self.end()
        self.n += 1
        self.files = [self.folder/f'{self.n}.{o}' for o in ('out', 'err')]
        what = dict(args=[str(o) for o in args], cwd=os.getcwd(), env=env, out=str(self.files[0]), err=str(self.files[1]), kill_at=kill_at, mb_per_photo=mb_per_photo, file_mb=file_mb)
        print(json.dumps(what), file=self.process.stdin, flush=True)
        self.pid = int(self.process.stdout.readline())

    def alive(self): return Path(f'/proc/{self.pid}').exists()

    def end(self):
        code, self.pid = int(self.process.stdout.readline()), None
        return Ended(code, *(o.read_text() for o in self.files))

    def __call__(self, *args, **how):
        self.start(*args, **how)
        return self.end()

    def done(self, *args, **how):
        "What a command prints when all is well"
        ended = self(*args, **how)
        assert (ended.code, ended.err) == (0, ''), ended.err
        return ended.out

    def fails(self, *args, code=1, **how):
        "The one line of a command that fails"
        ended = self(*args, **how)
        assert ended.code == code and ended.err.count('\n') == 1 and ended.err.startswith('animal-clf: '), ended
        return ended.err

    def killed(self, *args, **how): assert self(*args, **how).code == -signal.SIGKILL

@pytest.fixture(scope='module')
def clf(tmp_path_factory, cache):
    launcher = Launcher(tmp_path_factory.mktemp('said'), cache)
    yield launcher
    launcher.process.kill()
    launcher.process.wait()

pytestmark = pytest.mark.usefixtures('empty_folder')

@pytest.fixture(scope='module')
def drawn(tmp_path_factory): return draw_animals(tmp_path_factory.mktemp('drawn')/'animals', 9, animals, px=96)

def script(*args, **env):
    "The console script itself, Ctrl-C and all"
    command = shutil.which('animal-clf', path=str(Path(sys.executable).parent)) or shutil.which('animal-clf')
    return subprocess.Popen([command, *map(str, args)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True, env=environment(**env))

def log_of(folder):
    "The log of a model, or of the training that is under way"
    file = Path(folder)/'checkpoint.csv'
    return pd.read_csv(file if file.exists() else Path(folder)/'log.csv').drop(columns='seconds', errors='ignore').to_dict('records')
def left(folder):
    "All that a training leaves, but for how long its epochs took: the hash of each file, and the log"
    found = contents(folder)
    found.pop('log.csv')
    found['model.json'] = read(Path(folder)/'model.json')
    found['model.json']['files'].pop('log.csv')
    return found, log_of(folder)

def wait_for(found, alive, seconds=60):
    deadline = time.monotonic() + seconds
    while not found() and alive() and time.monotonic() < deadline: time.sleep(.005)
    assert found()


# --- killed

steady = ('--workers', 0, '--precision', 'fp32', '--batch-size', 4)
small, offline = ('--arch', 'test_resnet', *steady), ('--arch', 'tf_efficientnet_lite0', *steady)
trainings = dict(
    scratch=('--recipe', 'scratch', '--epochs', 4, *small),
    head=('--recipe', 'head', *small),
    fine_tune=('--recipe', 'fine_tune', '--epochs', 3, '--lr', 1e-3, *small),
    custom=('--recipe', 'custom_head', '--head', 16, 8, '--dropout', .5, .3, '--epochs', 2, '--balance', 'sampling', '--lr', 3e-4, *small),
    early=('--recipe', 'early_stopping', '--patience', 2, '--lr', 1e-3, *small))
n_epochs = dict(scratch=4, fine_tune=3, custom=2)

def bring_weights(model, cache):
    "Put the backbone of a model of `test_resnet` where a user would put pretrained weights for it"
    from safetensors.numpy import load_file, save_file
    tensors = load_file(model/'model.safetensors')
    body = {k.removeprefix('0.model.'): v for k,v in tensors.items() if k.startswith('0.model.')}
    (cache/'weights').mkdir(parents=True, exist_ok=True)
    save_file(body | {'fc.weight': np.zeros((1000, tensors['1.2.weight'].shape[1]), np.float32), 'fc.bias': np.zeros(1000, np.float32)}, cache/'weights'/'test_resnet.safetensors')

@pytest.fixture(scope='module')
def undisturbed(clf, drawn, cache, tmp_path_factory):
    "Function that gives the model folder of one of `trainings` that nobody disturbed"
    folders = {}
    def get(name):
        if name not in folders:
            folders[name] = tmp_path_factory.mktemp('undisturbed')/name
            clf.done('train', '--data', drawn, '--out', folders[name], *trainings[name])
        return folders[name]
    bring_weights(get('scratch'), cache)
    return get

kills = [('scratch', 'checkpoint.safetensors', 1), ('scratch', 'checkpoint.safetensors', 3), ('scratch', 'model.safetensors', 1), ('fine_tune', 'checkpoint.safetensors', 2), ('fine_tune', 'model.json', 2),
         ('custom', 'checkpoint.safetensors', 2), ('early', 'checkpoint.safetensors', 2)]

@pytest.mark.parametrize('name,file,count', kills, ids=lambda o: str(o))
def test_killed_while_a_file_is_written_then_resumed_is_as_if_nothing_had_happened(clf, drawn, undisturbed, name, file, count):
    wanted = left(undisturbed(name))
    clf.killed('train', '--data', drawn, '--out', 'model', *trainings[name], kill_at=(file, count))
    before = (Path('model')/'checkpoint.safetensors').exists()
    assert before == (file != 'checkpoint.safetensors' or count > 1)
    out = clf.done('train', '--data', drawn, '--out', 'model', *trainings[name], '--resume')
    assert ('was the last' in out, 'no checkpoint in model: training starts from the beginning' in out) == (before, not before)
    if file == 'checkpoint.safetensors' and before: assert f'epoch {count-1} was the last' in out
    assert not [o for o in contents('model') if 'checkpoint' in o or o.endswith('.part')]   # nor the half of one
    assert left('model') == wanted
    assert [o['epoch'] for o in log_of('model')] == list(range(1, len(wanted[1])+1)) and len(wanted[1]) == n_epochs.get(name, len(wanted[1]))

many = ('--recipe', 'scratch', '--arch', 'test_resnet', '--epochs', 5, '--workers', 2, '--precision', 'fp32', '--batch-size', 4)

def test_killed_in_the_middle_of_epochs(clf, drawn, cache):
    "By chance, twice: the console script with its worker processes first"
    import psutil
    luck, checkpoint = random.Random(5), Path('killed/checkpoint.safetensors')
    run = script('train', '--data', drawn, '--out', 'killed', *many, ANIMAL_CLF_CACHE=str(cache))
    wait_for(checkpoint.exists, lambda: run.poll() is None)
    time.sleep(luck.uniform(0, .3))
    workers = psutil.Process(run.pid).children(recursive=True)
    run.kill()
    run.communicate()
    assert run.returncode == -signal.SIGKILL
    clf.start('train', '--data', drawn, '--out', 'killed', *many, '--resume')
    time.sleep(luck.uniform(.3, 1))
    os.kill(clf.pid, signal.SIGKILL)
    clf.end()
    clf.done('train', '--data', drawn, '--out', 'killed', *many, '--resume')
    clf.done('train', '--data', drawn, '--out', 'whole', *many)
    assert left('killed') == left('whole') and [o['epoch'] for o in log_of('killed')] == list(range(1, 6))
    psutil.wait_procs(workers, 30)
    assert not [o for o in workers if o.is_running()]

def test_ctrl_c_names_the_way_on(clf, drawn, cache, undisturbed):
    args = ('train', '--data', drawn, '--out', 'model', '--recipe', 'fine_tune', '--epochs', 500, *offline, '--workers', 2)
    run = script(*args, ANIMAL_CLF_CACHE=str(cache))
    wait_for(Path('model/checkpoint.safetensors').exists, lambda: run.poll() is None)
    os.killpg(run.pid, signal.SIGINT)       # as a terminal does: to the workers too
    _, err = run.communicate(timeout=60)
    assert (run.returncode, err) == (130, 'animal-clf: stopped; --resume goes on from the last checkpoint\n'), err
    assert read('model/model.json')['choices'] is None and not [o for o in contents('model') if o.endswith('.part')]   # the head is there, and works
    assert len(json.loads(clf.done('predict', 'model', drawn/'fox', '--json'))) == 9

def test_a_run_that_went_on_with_the_offline_backbone_is_resumed_with_it(clf, drawn):
    "The way on that Ctrl-C names is the same command with --resume"
    args = ('run', '--data', drawn, '--out', 'model', '--arch', 'resnet18', '--recipe', 'fine_tune', '--epochs', 2, *steady)
    clf.killed(*args, kill_at=('checkpoint.safetensors', 2))
    assert 'epoch 1 was the last' in clf.done(*args, '--resume')
    assert read('model/model.json')['arch'] == 'tf_efficientnet_lite0' and len(log_of('model')) == 2


# --- checkpoints that don't fit

@pytest.fixture(scope='module')
def interrupted(clf, drawn, undisturbed, tmp_path_factory):
    "A folder with an older model, and the checkpoint of a training that was killed in its third epoch"
    folder = tmp_path_factory.mktemp('interrupted')/'model'
    shutil.copytree(undisturbed('scratch'), folder)
    clf.killed('train', '--data', drawn, '--out', folder, *trainings['scratch'], kill_at=('checkpoint.safetensors', 3))
    return folder

def _other_classes(drawn): shutil.copytree(drawn, 'photos'), Path('photos/zebra').rename('photos/horse')
def _another_photo(drawn): shutil.copytree(drawn, 'photos'), Path('photos/fox/fox_0007.jpg').unlink()

unfit = {
    'classes': (_other_classes, (), ['its classes is fox, seal, zebra', 'expected fox, horse, seal']),
    'photos': (_another_photo, (), ['its photos is']),
    'architecture': (None, ('--arch', 'test_efficientnet'), ['its arch is test_resnet', 'expected test_efficientnet']),
    'recipe': (None, ('--recipe', 'fine_tune'), ['its recipe is scratch', 'expected fine_tune']),
    'recipe without epochs': (None, ('--recipe', 'auto'), ['its recipe is scratch', 'expected auto']),
    'epochs': (None, ('--epochs', 5), ['its recipe epochs is 4', 'expected 5']),
    'learning rate': (None, ('--lr', 1e-2), ['its recipe lr is 0.001', 'expected 0.01']),
    'balance': (None, ('--balance', 'loss'), ['its recipe balance is none']),
    'head': (None, ('--head', 8), ['its recipe head is']),
    'batch size': (None, ('--batch-size', 5), ['its batch_size is 4', 'expected 5']),
    'seed': (None, ('--seed', 1), ['its seed is 42', 'expected 1'])}

@pytest.mark.parametrize('make,args,told', unfit.values(), ids=unfit)
def test_a_checkpoint_of_another_training_is_one_line_and_left_alone(clf, drawn, interrupted, make, args, told):
    if make: make(drawn)
    before = contents(interrupted)
    if make: args = (*args, '--force')   # of another folder: that it may be replaced does not make it fit
    err = clf.fails('train', '--data', 'photos' if make else drawn, '--out', interrupted, *trainings['scratch'], *args, '--resume')
    assert contents(interrupted) == before
    for o in ('of another training', *told, 'nothing was changed'): assert o in err, err

def _half(file): os.truncate(file, file.stat().st_size//2)
def _nothing(file): file.write_bytes(b'')
def _page(file): file.write_text('<html>')
def _pickle(file):
    import pickle
    file.write_bytes(pickle.dumps(dict(train_state=1)))
def _other_tensors(file):
    "The numbers of a model, without the course of a training"
    from safetensors.numpy import load_file, save_file
    save_file({k: v for k,v in load_file(file).items() if k.startswith('model.')}, file)
def _fewer_tensors(file): _rewrite(file, lambda tensors, header: tensors.pop('model.0.model.bn1.weight'))
def _later_version(file): _rewrite(file, lambda tensors, header: header.update(course=json.dumps(json.loads(header['course']) | dict(weather='fine'))))
def _rewrite(file, change):
    from safetensors.numpy import load_file, save_file, safe_open
    with safe_open(file, 'np') as f: header = f.metadata()
    tensors = load_file(file)
    change(tensors, header)
    save_file(tensors, file, header)

@pytest.mark.parametrize('spoil', [_half, _nothing, _page, _pickle, _other_tensors, _fewer_tensors, _later_version], ids=lambda o: o.__name__.strip('_'))
def test_a_damaged_checkpoint_is_one_line_and_left_alone(clf, drawn, interrupted, spoil):
    shutil.copytree(interrupted, 'model')
    spoil(Path('model/checkpoint.safetensors'))
    before = contents('model')
    err = clf.fails('train', '--data', drawn, '--out', 'model', *trainings['scratch'], '--resume')
    assert 'model/checkpoint.safetensors' in err and 'without `resume` (--resume)' in err and contents('model') == before

def test_without_resume_a_checkpoint_is_replaced_and_that_is_told(clf, drawn, interrupted, undisturbed):
    shutil.copytree(interrupted, 'model')
    _half(Path('model/checkpoint.safetensors'))
    out = clf.done('train', '--data', drawn, '--out', 'model', *trainings['scratch'])
    assert 'checkpoint.safetensors of an interrupted training is replaced' in out and left('model') == left(undisturbed('scratch'))


# --- memory and disk

def test_a_batch_too_large_for_memory_is_halved(clf, drawn):
    args = ('train', '--data', drawn, *trainings['scratch'], '--batch-size')
    told = [o for o in clf.done(*args, 15, '--out', 'model', mb_per_photo=600).splitlines() if o.startswith('memory')]
    assert [o.partition(' a batch of ')[2] for o in told] == [f'{o} photos does not fit into memory; going on with {o//2}' for o in (15, 7)]
    clf.done(*args, 3, '--out', 'small')
    assert left('model') == left('small')

def test_killed_after_batches_were_halved(clf, drawn):
    args = ('train', '--data', drawn, '--out', 'model', *trainings['scratch'], '--batch-size', 15)
    clf.killed(*args, mb_per_photo=600, kill_at=('checkpoint.safetensors', 3))
    clf.done(*args, '--resume')
    clf.done('train', '--data', drawn, '--out', 'small', *trainings['scratch'], '--batch-size', 3)
    assert left('model') == left('small')

def test_too_little_memory_for_one_photo_is_one_line(clf, drawn):
    assert 'memory' in clf.fails('train', '--data', drawn, '--out', 'model', *trainings['scratch'], mb_per_photo=4000)

def test_memory_that_is_short_while_precisions_are_timed(clf, drawn, tmp_path):
    out = clf.done('train', '--data', drawn, '--out', 'model', *trainings['scratch'], '--precision', 'auto', mb_per_photo=1200, ANIMAL_CLF_CACHE=str(tmp_path/'cache'))
    assert 'a batch of 4 photos does not fit into memory; going on with 2' in out and len(log_of('model')) == 4

def test_memory_that_is_short_after_resuming_loses_no_epoch(clf, drawn):
    args = ('train', '--data', drawn, '--out', 'model', *trainings['scratch'], '--batch-size', 15)
    clf.killed(*args, kill_at=('checkpoint.safetensors', 3))
    before = log_of('model')[:2]
    out = clf.done(*args, '--resume', mb_per_photo=600)
    assert 'going on with 3' in out and log_of('model')[:2] == before and [o['epoch'] for o in log_of('model')] == [1, 2, 3, 4]

def test_a_full_disk_is_one_line_and_leaves_the_old_model(clf, drawn, undisturbed):
    shutil.copytree(undisturbed('scratch'), 'model')
    before = contents('model')
    err = clf.fails('train', '--data', drawn, '--out', 'model', *trainings['scratch'], file_mb=1)
    assert 'checkpoint.safetensors' in err
    assert {k: v for k,v in contents('model').items() if k != 'checkpoint.csv'} == before


# --- numbers that are none

def test_a_learning_rate_far_too_high_from_scratch_is_one_line(clf, drawn):
    err = clf.fails('train', '--data', drawn, '--out', 'model', *trainings['scratch'], '--lr', 1e30)
    assert 'the loss is ' in err and 'of epoch 1; the likely cause is' in err and 'learning rate' in err and '--lr' in err
    assert contents('.') == {}

def test_a_learning_rate_far_too_high_leaves_the_head(clf, drawn, undisturbed):
    clf.done('train', '--data', drawn, '--out', 'head', '--recipe', 'head', *small)
    out = clf.done('train', '--data', drawn, '--out', 'model', *trainings['fine_tune'], '--lr', 1e30)
    note = next(o for o in out.splitlines() if o.startswith('note'))
    assert 'of epoch 1' in note and 'learning rate' in note and 'the head is kept' in note
    assert contents('model')['model.safetensors'] == contents('head')['model.safetensors'] and 'checkpoint.safetensors' not in contents('model')


# --- wrong input

wrong = {
    'near architecture': (('--arch', 'resnet_18'), ["architecture 'resnet_18'", 'Did you mean', 'resnet18']),
    'no architecture': (('--arch', 'qqqq'), ["architecture 'qqqq'", 'Did you mean']),
    'dropout alone': (('--dropout', .5), ['--dropout without --head']),
    'too few dropouts': (('--head', 8, 8, '--dropout', .5), ['(0.5,)', '(8, 8)', 'one for each', '--dropout']),
    'dropout 1': (('--head', 8, '--dropout', 1), ['a dropout of 1.0', '--dropout']),
    'head 0': (('--head', 0), ['--head']), 'lr 0': (('--lr', 0), ['lr = 0.0', 'above 0']), 'lr nan': (('--lr', 'nan'), ['lr = nan']), 'lr inf': (('--lr', 'inf'), ['lr = inf']), 'lr below 0': (('--lr', -1), ['lr = -1.0']), 'lr text': (('--lr', 'high'), ['--lr']),
    'patience 0': (('--patience', 0), ['--patience']), 'precision': (('--precision', 'fp8'), ['--precision', 'bf16']), 'balance': (('--balance', 'weights'), ['--balance', 'sampling']),
    'no groups': (('--groups', 'none.csv'), ['--groups none.csv']), 'groups in a folder': (('--groups', '.'), ['--groups .']),
    'batch 0': (('--batch-size', 0), ['--batch-size']), 'workers': (('--workers', -1), ['--workers']), 'budget': (('--budget', 0), ['--budget']), 'epochs': (('--epochs', 0), ['--epochs'])}

@pytest.mark.parametrize('args,told', wrong.values(), ids=wrong)
def test_wrong_options_are_told_before_anything_happens(clf, drawn, args, told):
    ended = clf('train', '--data', drawn, '--out', 'models/new', *offline, *args)
    assert ended.code == 2 and ended.out == '' and 'Traceback' not in ended.err and contents('.') == {} and not Path('models').exists()
    for o in told: assert o in ended.err.splitlines()[-1], ended.err

tables = {'other columns': ('name;kind\nfox;land\n', ['columns name;kind', 'class,group']), 'empty': ('', ['columns none']), 'latin1': ('class,group\nfüchse,a\n', ['groups.csv is not a table', 'UTF-8']),
          'a class missing': ('class,group\nfox,land\nseal,sea\n', ["no group for 1 of 3 classes, 'zebra' first"]), 'one group': ('class,group\n' + ''.join(f'{o},x\n' for o in animals), ["all classes in the group 'x'"]),
          'no group': ('class,group\nfox,land\nseal,sea\nzebra,\n', ['zebra'])}

@pytest.mark.parametrize('text,told', tables.values(), ids=tables)
def test_wrong_groups_are_told_before_anything_is_trained(clf, drawn, text, told):
    Path('groups.csv').write_text(text, encoding='latin1')
    err = clf.fails('train', '--data', drawn, '--out', 'model', '--groups', 'groups.csv', *offline)
    for o in told: assert o in err, err
    assert list(contents('.')) == ['groups.csv']

def test_a_class_empty_in_validation_is_told(clf, drawn):
    rows = [(o, o.parent.name, 'test' if i % 9 > 6 else 'train' if i % 9 < 5 or o.parent.name == 'seal' else 'valid') for i,o in enumerate(sorted(drawn.glob('*/*.jpg')))]
    pd.DataFrame(rows, columns=['path', 'label', 'split']).to_csv('photos.csv', index=False)
    assert "no readable valid photos of 'seal'" in clf.fails('train', '--data', 'photos.csv', '--out', 'model', *offline)
    assert list(contents('.')) == ['photos.csv']

@pytest.fixture(scope='module')
def data(drawn):
    from animal_clf.data.splits import read_photos
    return read_photos(drawn)

def test_wrong_input_from_python(data):
    from animal_clf.learner import Head, Recipe, Run, get_recipe, train
    for told,make in {
        "architecture 'resnet_18'.*resnet18": lambda: train(data, 'scratch', 'resnet_18'),
        "recipe 'finetune'.*Did you mean 'fine_tune'": lambda: train(data, 'finetune'),
        'epochs = 0': lambda: train(data, 'scratch', epochs=0),
        'budget = 0': lambda: train(data, 'scratch', budget=0),
        'budget = nan': lambda: train(data, 'scratch', budget=float('nan')),
        "precision 'fp8'": lambda: Run(precision='fp8'),
        '`resume` without `folder`': lambda: Run(resume=True),
        "balance 'weights'": lambda: get_recipe('scratch', balance='weights'),
        'patience = 0': lambda: get_recipe('early_stopping', patience=0),
        'lr = 0': lambda: get_recipe('scratch', lr=0),
        '`speed` of a recipe': lambda: get_recipe('scratch', speed=1),
        'a recipe that trains nothing': lambda: Recipe('mine', fit_head=False),
        'a hidden layer of 0': lambda: Head((8, 0))}.items():
        with pytest.raises(SettingsError, match=told): make()
    assert contents('.') == {}

def test_data_that_nothing_can_be_learnt_from_is_told_in_python(data):
    from animal_clf.learner import train
    photos, offline_arch = data.table, 'tf_efficientnet_lite0'
    few = replace(data, table=photos.assign(label=[f'{a} {i}' for i,a in enumerate(photos.label)]))
    with pytest.raises(DataError, match="in train, valid and test"): train(few, arch=offline_arch)
    no_valid = replace(data, table=photos[(photos.split != 'valid') | (photos.label != 'seal')])
    with pytest.raises(DataError, match="no readable valid photos of 'seal'"): train(no_valid, arch=offline_arch)

@pytest.mark.parametrize('batch_size', [0, -3])
def test_a_batch_of_no_photos_is_told_in_python(data, batch_size):
    from animal_clf.learner import train
    with pytest.raises(SettingsError, match='batch'): train(data, 'scratch', 'test_resnet', epochs=1, batch_size=batch_size)

@pytest.mark.parametrize('workers,spoil', [(2, Path.unlink), (0, lambda o: o.write_bytes(b'junk'))], ids=['gone, worker processes', 'damaged, none'])
def test_a_photo_that_is_spoilt_while_training_runs_is_one_line(clf, cache, drawn, workers, spoil):
    shutil.copytree(drawn, 'photos')
    foxes = list(Path('photos/fox').glob('*.jpg'))
    hashes = set(map(hash_file, foxes))
    clf.start('train', '--data', 'photos', '--out', 'model', '--recipe', 'scratch', '--arch', 'test_resnet', '--epochs', 2000, '--precision', 'fp32', '--batch-size', 4, '--workers', workers)
    wait_for(Path('model/checkpoint.safetensors').exists, clf.alive)
    copies = [o for o in (cache/'photos').rglob('*') if o.name in hashes]
    assert len(copies) == len(foxes)
    for o in foxes: spoil(o)
    epoch = log_of('model')
    wait_for(lambda: len(log_of('model')) > len(epoch) + 1, clf.alive)
    assert len(log_of('model')) > len(epoch) + 1           # it goes on with the working copies
    for o in copies: o.unlink()                            # those of the other classes could be made again meanwhile
    ended = clf.end()
    assert ended.code == 1 and ended.err.count('\n') == 1 and 'fox_00' in ended.err, ended.err


# --- what training is to give

@pytest.mark.parametrize('name', ['head', 'custom', 'fine_tune', 'scratch'])
def test_a_seed_gives_a_model_and_another_seed_another(clf, drawn, tmp_path, undisturbed, name):
    bring_weights(undisturbed('scratch'), tmp_path/'cache')
    for folder,seed in dict(again=42, other=1).items():     # computed again, not remembered
        clf.done('train', '--data', drawn, '--out', folder, *trainings[name], '--seed', seed, ANIMAL_CLF_CACHE=str(tmp_path/'cache'))
    assert left('again') == left(undisturbed(name))
    assert left('other')[0]['model.safetensors'] != left('again')[0]['model.safetensors']

def test_auto_with_a_budget_keeps_the_best_of_what_it_compared(clf, drawn, undisturbed):
    out = clf.done('train', '--data', drawn, '--out', 'model', '--budget', 3, *small)
    from animal_clf.training.callbacks import ranking_key
    info = read('model/model.json')
    kept, = [o for o in info['choices'] if o['kept']]
    assert [o['candidate'] for o in info['choices']] == ['head', 'whole network', 'halfway']
    assert ranking_key(kept) == min(map(ranking_key, info['choices'])) and info['valid_accuracy'] == pytest.approx(1 - kept['error_rate'])
    told, = [o for o in out.splitlines() if o.startswith('choice')]
    assert f"Kept: {kept['candidate']}" in told and all(o['candidate'] in told for o in info['choices'])

def test_auto_without_a_budget_says_what_a_budget_would_do(clf, drawn, undisturbed):
    out = clf.done('train', '--data', drawn, '--out', 'model', *small)
    assert '--budget SECONDS' in out and read('model/model.json')['choices'] is None

def test_the_head_has_no_epochs(clf, drawn, undisturbed):
    "As the command says"
    out = clf.done('train', '--data', drawn, '--out', 'model', '--recipe', 'head', '--epochs', 1, *small)
    assert ('recipe head has no epochs' in out) == (read('model/model.json')['choices'] is None)

def test_a_custom_head_groups_and_balance_from_the_shell(clf, drawn, undisturbed):
    Path('groups.csv').write_text('class,group\nfox,land\nseal,sea\nzebra,land\n')
    out = clf.done('train', '--data', drawn, '--out', 'model', '--recipe', 'custom_head', '--head', 16, 8, '--dropout', .5, .3, '--groups', 'groups.csv', '--balance', 'loss', *small)
    info = read('model/model.json')
    assert info['head'] == dict(sizes=[16, 8], dropouts=[.5, .3], log_softmax=True) and info['groups'] == dict(fox='land', seal='sea', zebra='land')
    assert (info['recipe'], info['version']) == ('custom_head', 6) and 'validation accuracy' in out
    report = json.loads(clf.done('evaluate', 'model', '--data', drawn, '--json'))
    groups = report['groups']
    assert report['n_test'] == 9 and set(groups['classes']) == {'land', 'sea'} and groups['accuracy'] >= report['accuracy']
    assert read('model/report/report.json')['groups'] == groups
    rows = json.loads(clf.done('predict', 'model', drawn/'seal', '--json'))
    assert len(rows) == 9 and all(abs(sum(p for _,p in o['top']) - 1) < 1e-6 for o in rows)

@pytest.mark.parametrize('balance', ['loss', 'sampling'])
def test_balanced_training_is_compared_by_balanced_accuracy(clf, drawn, balance, undisturbed):
    shutil.copytree(drawn, 'photos')
    for o in sorted(Path('photos/fox').glob('*.jpg'))[4:]: o.unlink()
    out = clf.done('train', '--data', 'photos', '--out', 'model', '--recipe', 'fine_tune', '--epochs', 1, '--balance', balance, *small)
    assert 'training photos: ' in out and 'classes of unequal size' in out
    choices = read('model/model.json')['choices']
    assert all('balanced_accuracy_score' in o for o in choices) and 'balanced_accuracy_score' in log_of('model')[0]
    assert max(o['balanced_accuracy_score'] for o in choices) == next(o for o in choices if o['kept'])['balanced_accuracy_score']

@pytest.mark.parametrize('recipe', ['early_stopping', 'scratch'])
def test_patience_ends_training_and_the_best_is_kept(clf, drawn, recipe, undisturbed):
    out = clf.done('train', '--data', drawn, '--out', 'model', '--recipe', recipe, '--patience', 1, '--epochs', 12, '--lr', 1e-3, *small)
    from animal_clf.training.callbacks import ranking_key
    rows = log_of('model')
    assert len(rows) < 12 and '1 epochs without a better one' in out
    best = min(rows, key=ranking_key)['epoch']
    assert f"The model is that of epoch {best if recipe == 'early_stopping' else len(rows)}" in out and len(rows) == best + 1   # scratch keeps the last one
