"""Two real processes on one machine train as one does; `python test_distributed.py PHOTOS OUT` is what each of them runs"""
import hashlib, json, os, random, subprocess, sys, time
from pathlib import Path

import pytest

from animal_clf.core.settings import SettingsError
from animal_clf.training.distributed import broadcast_bool, single_process, is_main, main_first, n_processes, share_training
from animal_clf.synthetic.animals import draw_animals


def create(photos):
    "A network that learns fast, on photos that are the same each time they are looked at"
    from fastai.vision.all import BnFreeze, CrossEntropyLossFlat, F1Score, ImageDataLoaders, Learner, Normalize, Resize, error_rate, nn, params
    from animal_clf.vision.backbone import load_backbone
    from animal_clf.core.settings import offline_arch
    backbone = load_backbone(offline_arch)
    dls = ImageDataLoaders.from_folder(photos, valid_pct=.24, seed=1, item_tfms=Resize(96, method='squish'),
                                       batch_tfms=Normalize.from_stats(backbone.mean, backbone.std, cuda=False), bs=16, num_workers=0, device='cpu')
    learn = Learner(dls, nn.Sequential(backbone.module, nn.Linear(1280, dls.c)), loss_func=CrossEntropyLossFlat(), metrics=[error_rate, F1Score(average='macro')],
                    splitter=lambda net: [params(net[0]), params(net[1])], train_bn=False, cbs=BnFreeze())
    learn.freeze()
    return learn

def fit(learn, epochs, lr):
    from fastai.callback.core import Callback
    def seed_shuffling(self): self.dl.rng = random.Random(self.epoch)   # as a run does that can be resumed
    learn.fit(epochs, lr, cbs=Callback(before_train=seed_shuffling))
    return dict(values=[list(map(float, o)) for o in learn.recorder.values], losses=list(map(float, learn.recorder.losses)))

def work(photos, out):
    "Everything that two processes do together; what came of it is in `out/RANK.json`"
    import torch
    from fastai.callback.training import BnFreeze
    from fastai.torch_core import no_random
    rank, told = int(os.environ.get('RANK', 0)), dict(n=n_processes(), main=is_main())
    with main_first():
        told['found_file'] = (out/'file').exists()
        if is_main(): time.sleep(.3); (out/'file').touch()
    told['agreed'] = [broadcast_bool(rank == 0), broadcast_bool(rank == 1)]
    with no_random(1):
        learn = create(photos)
        with learn.no_bar(), learn.no_logging():
            with share_training(learn):
                told['head'] = fit(learn, 3, 1e-3)
                told['shared_answers'] = learn.get_preds()[0].tolist()
            with single_process(): told['answers'] = learn.get_preds()[0].tolist() if is_main() else None
            learn.remove_cb(BnFreeze); learn.unfreeze()
            with share_training(learn): told['all_layers'] = fit(learn, 3, 5e-4)
        told['random'] = float(torch.rand(1))
    told['batch_size'], told['n_valid'] = [o.bs for o in learn.dls], learn.dls.valid.n
    told['weights'] = hashlib.sha256(b''.join(o.numpy().tobytes() for o in learn.model.state_dict().values())).hexdigest()
    (out/f'{rank}.json').write_text(json.dumps(told))

def read(out, rank): return json.loads((out/f'{rank}.json').read_text())

@pytest.fixture(scope='module')
def runs(tmp_path_factory):
    "What one process tells, and what each of two does; and what they print"
    pytest.importorskip('accelerate')
    folder = tmp_path_factory.mktemp('distributed')
    photos = draw_animals(folder/'animals', n_per_class=30, classes=['fox', 'seal', 'zebra'])
    for o in ('one', 'two'): (folder/o).mkdir()
    loopback = dict(GLOO_SOCKET_IFNAME='lo') if sys.platform == 'linux' else {}
    env = {**os.environ, **loopback, 'OMP_NUM_THREADS': '1', 'PYTHONWARNINGS': 'ignore::FutureWarning'} # fastai's own, on import
    launcher = ['-m', 'torch.distributed.run', '--standalone', '--local-addr', '127.0.0.1', '--nproc_per_node', '2']
    said = []
    for args in ([__file__, photos, folder/'one'], [*launcher, __file__, photos, folder/'two']):
        done = subprocess.run([sys.executable, *args], env=env, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
        said.append(done.stdout + done.stderr)
    return read(folder/'one', 0), read(folder/'two', 0), read(folder/'two', 1), said

def test_both_end_with_the_same_weights_and_numbers(runs):
    _, main, other, _ = runs
    assert main['weights'] == other['weights']   # bit by bit, batch norm's statistics too
    for o in ('head', 'all_layers', 'shared_answers'): assert main[o] == other[o]

def test_loss_metrics_and_answers_are_those_of_one_process(runs):
    one, main, _, _ = runs
    assert len(one['head']['losses']) == len(main['head']['losses']) > 3  # a step is as large as it was
    assert main['head']['losses'] == pytest.approx(one['head']['losses'], abs=1e-4)
    for a,b in zip(one['head']['values'], main['head']['values']): assert b == pytest.approx(a, abs=1e-4)
    for a,b in zip(one['answers'], main['shared_answers']): assert b == pytest.approx(a, abs=1e-3)
    for a,b in zip(main['answers'], main['shared_answers']): assert b == pytest.approx(a, abs=1e-3)
    assert len(main['answers']) == len(main['shared_answers']) == one['n_valid'] == 21    # an odd number: one photo is looked at twice, and counted once

def test_as_accurate_as_one_process_where_batch_norm_differs(runs):
    one, main, _, _ = runs
    wrong = [o['all_layers']['values'][-1][2]*21 for o in (one, main)]
    assert max(wrong) <= 7                       # by chance: 14
    assert abs(wrong[0] - wrong[1]) <= 4         # two standard deviations of a difference of two counts, of 21 at one in eight
    assert wrong[1] == pytest.approx(round(wrong[1]), abs=1e-4)

def test_the_main_process_goes_first_and_decides(runs):
    one, main, other, _ = runs
    assert [o['n'] for o in (one, main, other)] == [1, 2, 2]
    assert [o['main'] for o in (one, main, other)] == [True, True, False]
    assert [o['found_file'] for o in (one, main, other)] == [False, False, True]
    assert one['agreed'] == main['agreed'] == other['agreed'] == [True, False]

def test_everything_is_left_as_it_was(runs):
    one, main, other, said = runs
    assert one['batch_size'] == main['batch_size'] == other['batch_size'] == [16, 16]
    assert main['random'] != other['random']     # each its own flips and turns
    assert said == ['', '']                      # no warning, not even on parting

def test_one_process_loads_nothing_to_know_that_it_is_the_only_one():
    code = 'import sys; from animal_clf.training.distributed import *; assert is_main() and n_processes() == 1\nwith main_first(), single_process(), share_training(None): broadcast_bool(True)\nprint({"torch", "fastai", "accelerate"} & set(sys.modules))'
    env = {k:v for k,v in os.environ.items() if k not in ('RANK', 'WORLD_SIZE')}
    assert subprocess.run([sys.executable, '-c', code], env=env, capture_output=True, text=True, timeout=60).stdout == 'set()\n'

def test_without_accelerate_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setenv('WORLD_SIZE', '2')
    monkeypatch.setitem(sys.modules, 'accelerate', None)
    with pytest.raises(SettingsError, match=r"2 processes, but no accelerate; .* pip install 'animal-clf\[distributed\]'"):
        with share_training(None): pass

def test_more_processes_than_gpus(monkeypatch):
    monkeypatch.setenv('WORLD_SIZE', '2')
    monkeypatch.setenv('LOCAL_RANK', '1')
    monkeypatch.setattr('torch.cuda.device_count', lambda: 1)
    with pytest.raises(SettingsError, match='process 2 on a machine with 1 GPU; .*`--nproc_per_node 1`'):
        with main_first(): pass


if __name__ == '__main__': work(Path(sys.argv[1]), Path(sys.argv[2]))
