"""The real timm and huggingface_hub clients against a local stand-in for the hub, and weights files of one's own"""
import pickle, signal, time
from contextlib import contextmanager
from pathlib import Path
import pytest
from servers import HubServer, serving, use_hub

arch, file_name = 'resnet18', 'model.safetensors'
ways_out = ['Three ways out', 'weights/resnet18.safetensors', '--arch tf_efficientnet_lite0', '--recipe scratch']


# --- what the tests share

@pytest.fixture(scope='module')
def tensors():
    "What a pretrained network would be: random here, so that nothing else could give the same"
    import timm, torch
    torch.manual_seed(1)
    return timm.create_model(arch).state_dict()

@pytest.fixture(scope='module')
def weights_bytes(tensors):
    from safetensors.torch import save
    return save(tensors)

@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path):
    "Our cache folder, empty"
    monkeypatch.setenv('ANIMAL_CLF_CACHE', str(tmp_path/'cache'))
    return tmp_path/'cache'

@pytest.fixture
def hub(weights_bytes, monkeypatch, tmp_path):
    with serving(HubServer(**{file_name: weights_bytes})) as server:
        use_hub(monkeypatch, server.url, tmp_path)
        yield server

@pytest.fixture
def no_hub(monkeypatch, tmp_path): use_hub(monkeypatch, 'http://127.0.0.1:9', tmp_path)

def load(name=arch):
    from animal_clf.vision.backbone import load_weights
    return load_weights(name)

def same(one, other):
    import torch
    return list(one) == list(other) and all(torch.equal(one[k], other[k]) for k in one)

def refused(match='', name=arch):
    "The `WeightsError` that `load` raises, in one line"
    from animal_clf.core.settings import WeightsError
    with pytest.raises(WeightsError, match=match) as e: load(name)
    assert '\n' not in str(e.value)
    return str(e.value)

class TooLong(BaseException): "No `TimeoutError`: HTTP clients take that for one of theirs"

@contextmanager
def at_most(seconds):
    "End the block by an exception when it takes longer"
    def ring(*_): raise TooLong(f'not done within {seconds} s')
    old = signal.signal(signal.SIGALRM, ring)
    signal.alarm(seconds)
    try: yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, old)

def put(cache, name, data=b''):
    "A file in the user's own weights folder"
    path = cache/'weights'/name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


# --- from the hub

def test_fetched_once_then_from_the_cache_even_when_the_hub_is_gone(hub, tensors, monkeypatch, tmp_path):
    assert same(load(), tensors)
    assert hub.downloads == [f'/timm/resnet18.a1_in1k/resolve/main/{file_name}']
    asked = len(hub.seen)
    assert same(load(), tensors) and len(hub.seen) == asked
    use_hub(monkeypatch, 'http://127.0.0.1:9', tmp_path)
    assert same(load(), tensors)

def test_the_backbone_has_the_fetched_weights(hub, tensors):
    import torch
    from animal_clf.vision.backbone import load_backbone
    body = load_backbone(arch).module.state_dict()
    assert len(body) == len(tensors) - 2 and all(torch.equal(body[k], tensors[k]) for k in body)   # all but fc

def test_a_broken_connection_is_resumed(hub, tensors, weights_bytes):
    "The hub's client asks for the rest"
    hub.cut_at = len(weights_bytes)//2
    def heal(path):
        if len(hub.downloads) > 1: hub.cut_at = None
    hub.hangs = heal
    assert same(load(), tensors) and len(hub.downloads) == 2

@pytest.mark.parametrize('method,status', [('HEAD', 403), ('HEAD', 500), ('GET', 404), ('GET', 500)])
def test_a_refusal_names_the_three_ways_out(hub, method, status):
    hub.status[method] = status
    told = refused('no pretrained weights')
    assert all(o in told for o in ways_out)

def test_a_missing_file_names_the_three_ways_out(hub):
    hub.files.clear()
    told = refused('no pretrained weights')
    assert all(o in told for o in ways_out)

def test_a_shortened_file_is_refused_and_not_kept(hub, weights_bytes, tensors):
    hub.shortened_to = len(weights_bytes)//2
    told = refused('no pretrained weights')
    assert all(o in told for o in ways_out)
    hub.shortened_to = None
    assert same(load(), tensors)

def test_a_connection_that_always_breaks_at_the_same_place(hub, weights_bytes):
    hub.cut_at = len(weights_bytes)//2
    with at_most(20): told = refused('no pretrained weights')
    assert all(o in told for o in ways_out)

@pytest.mark.parametrize('body', [b'', b'<html>log in</html>', b'\x08\0\0\0\0\0\0\0{}      '], ids=['empty', 'page', 'no tensors'])
def test_what_is_no_weights_file_is_refused_by_name(hub, tmp_path, body):
    hub.files[file_name] = body
    assert str(tmp_path/'hub') in refused("does not fit 'resnet18'")

def test_weights_of_another_network_are_refused_by_name(hub, tmp_path):
    import timm
    from safetensors.torch import save
    hub.files[file_name] = save(timm.create_model('resnet34').state_dict())
    assert str(tmp_path/'hub') in refused("does not fit 'resnet18'")

def test_a_silent_hub_is_given_up_within_seconds(hub):
    hub.hangs = lambda path: True
    start = time.perf_counter()
    told = refused('no (answer from|connection to) http://127.0.0.1')
    assert time.perf_counter() - start < 8 and all(o in told for o in ways_out)

def test_a_hub_that_only_greets_is_given_up_within_seconds(hub):
    hub.hangs = lambda path: path != '/'
    with at_most(9): refused('no pretrained weights')

def test_no_hub_is_said_within_seconds(no_hub):
    start = time.perf_counter()
    told = refused('no connection to http://127.0.0.1:9')
    assert time.perf_counter() - start < 8 and all(o in told for o in ways_out)

def test_offline_on_purpose(hub, monkeypatch):
    import huggingface_hub
    monkeypatch.setattr(huggingface_hub.constants, 'HF_HUB_OFFLINE', True)
    refused('HF_HUB_OFFLINE is set')
    assert hub.seen == []

def test_an_address_that_is_none(monkeypatch, tmp_path, capfd):
    use_hub(monkeypatch, 'http://127.0.0.1:99999', tmp_path)
    told = refused('no pretrained weights')
    assert all(o in told for o in ways_out) and capfd.readouterr().err == ''


# --- a file of one's own

@pytest.mark.parametrize('suffix', ['.pth', '.safetensors'])
def test_own_file(no_hub, cache, tensors, weights_bytes, suffix):
    import torch
    file = put(cache, arch + suffix, weights_bytes)
    if suffix == '.pth': torch.save(tensors, file)
    assert same(load(), tensors)

def test_own_file_from_torchvision(no_hub, cache):
    import torch, torchvision
    theirs = torchvision.models.resnet18().state_dict()
    torch.save(theirs, put(cache, 'resnet18.pth'))
    ours = load()
    assert len(ours) == len(theirs) and all(torch.equal(ours[k], theirs[k]) for k in theirs)

def test_own_file_goes_before_the_hub(hub, cache, tensors):
    import torch
    torch.save({k: torch.zeros_like(v) for k,v in tensors.items()}, put(cache, 'resnet18.pth'))
    assert not load()['fc.weight'].any() and hub.seen == []

def test_names_in_another_order_are_never_mixed_up(no_hub, cache):
    "safetensors sorts by name, so there the order says nothing: `blocks.10` comes before `blocks.2`, and all blocks have the same shapes"
    import timm, torch
    from safetensors.torch import save
    from animal_clf.core.settings import WeightsError
    name = 'vit_tiny_patch16_224'
    theirs = timm.create_model(name).state_dict()
    theirs = {k: torch.full_like(v, i) for i,(k,v) in enumerate(theirs.items())}
    put(cache, f'{name}.safetensors', save({f'model.{k}': v for k,v in theirs.items()}))
    try: assert same(load(name), theirs)
    except WeightsError: pass

@pytest.mark.parametrize('what', ['text', 'empty', 'list', 'tensor', 'numbers', 'half', 'nested'])
def test_own_file_that_is_no_weights_file_is_refused_by_name(no_hub, cache, tensors, what):
    import torch
    file = put(cache, 'resnet18.pth', b'' if what == 'empty' else b'not a network')
    things = dict(list=[1, 2], tensor=torch.zeros(3), numbers={k: 1 for k in tensors}, half=tensors, nested={'state_dict': tensors})
    if what in things: torch.save(things[what], file)
    if what == 'half': file.write_bytes(file.read_bytes()[:100_000])
    assert str(file) in refused("does not fit 'resnet18'")

class _Evil:
    "Unpickling it makes a file"
    def __init__(self, path): self.path = path
    def __reduce__(self): return Path.touch, (self.path,)

@pytest.mark.parametrize('packed', [True, False], ids=['torch.save', 'pickle'])
def test_a_pickle_that_runs_code_is_refused_and_does_not_run(no_hub, cache, tmp_path, packed):
    import torch
    trap, file = tmp_path/'trapped', put(cache, 'resnet18.pth')
    if packed: torch.save({'conv1.weight': _Evil(trap)}, file)
    else: file.write_bytes(pickle.dumps(_Evil(trap), protocol=2))
    try:
        told = refused("does not fit 'resnet18'")
        assert str(file) in told and not any(o in told for o in ('weights_only', 'can still be loaded', '\x1b'))     # torch's advice is to switch the check off, in bold
    finally: assert not trap.exists()

def test_the_offline_backbone_needs_no_hub(no_hub):
    assert len(load('tf_efficientnet_lite0')) == 296
