"""Fast prediction where it counts: killed runs that go on, flat memory, workers that die"""
import io, itertools, json, os, shutil, signal, subprocess, time, tracemalloc
from pathlib import Path

import pandas as pd, psutil, pytest
from commands import done, fails

from animal_clf.data.splits import read_photos
from animal_clf.learner import load_classifier, save_model, train
from animal_clf.inference.predictor import Predictor
from animal_clf.synthetic.animals import draw_animals
from animal_clf.inference.bulk import iter_photos, write_predictions

pytestmark = pytest.mark.usefixtures('empty_folder')

@pytest.fixture(scope='module')
def drawn(tmp_path_factory): return draw_animals(tmp_path_factory.mktemp('drawn')/'drawn', n_per_class=6)

@pytest.fixture(scope='module')
def model(drawn, cache, tmp_path_factory):
    "A model folder"
    os.environ['ANIMAL_CLF_CACHE'] = str(cache)
    data = read_photos(drawn, n_test=1)
    return save_model(train(data, 'head', arch='tf_efficientnet_lite0'), data, tmp_path_factory.mktemp('models')/'drawn')

@pytest.fixture
def listed(drawn, tmp_path):
    "A table of 62 photos, one of them broken and one gone: few enough for the engine that is ready soonest"
    (tmp_path/'broken.jpg').write_bytes(b'\xff\xd8\xff')
    photos = list(itertools.islice(itertools.cycle(iter_photos(drawn)), 60))
    paths = [*map(str, photos[:10]), 'broken.jpg', 'gone.jpg', *map(str, photos[10:])]
    pd.DataFrame(dict(path=paths)).to_csv(tmp_path/'list.csv', index=False)
    return tmp_path/'list.csv'

def program(*args): return subprocess.Popen([shutil.which('animal-clf'), *map(str, args)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

def wait_for_rows(run, n):
    "Until `n` rows or more are in a file that is being written"
    deadline = time.time() + 120
    while time.time() < deadline and run.poll() is None:
        parts = list(Path().glob('out.*.part'))
        if parts and parts[0].read_bytes().count(b'\n') > n: return
        time.sleep(.002)
    raise AssertionError(f'no {n} rows: {run.communicate()}')

@pytest.mark.parametrize('file,how', [('out.csv', signal.SIGKILL), ('out.jsonl', signal.SIGINT)], ids=['kill', 'ctrl-c'])
def test_an_interrupted_run_goes_on(model, listed, file, how):
    args = ('predict', model, listed, f"--{file.split('.')[1]}", file)
    for n in (20,) if how == signal.SIGINT else (1, 20):   # a killed one is killed again
        run = program(*args)
        wait_for_rows(run, n)
        run.send_signal(how)
        told = run.communicate(timeout=60)[1]
        assert not Path(file).exists()
        if how == signal.SIGINT: assert told == 'animal-clf: stopped; the same command goes on from there\n' and run.returncode == 130
    assert 'from a run that was interrupted' in done(*args) and [o.name for o in Path().glob('out.*')] == [file]
    rows = pd.read_csv(file) if file.endswith('csv') else pd.read_json(file, lines=True)
    wanted = pd.read_csv(listed).path
    assert [Path(o).name for o in rows.path] == [Path(o).name for o in wanted] and rows.label.isna().sum() == 2
    alone = list(Predictor(load_classifier(model), 'torch').predict(rows.path[:10]))
    assert rows.label[:10].tolist() == [o['label'] for o in alone]

def test_paths_on_standard_input(model, drawn, monkeypatch):
    photos = list(map(str, iter_photos(drawn)))[:70]
    monkeypatch.setattr('sys.stdin', io.TextIOWrapper(io.BytesIO('\n'.join(photos).encode() + b'\n')))
    done('predict', model, '-', '--jsonl', 'out.jsonl')
    assert [json.loads(o)['path'] for o in Path('out.jsonl').read_text().splitlines()] == photos

def test_nobody_is_nearest_to_nothing(model, monkeypatch):
    monkeypatch.setattr('sys.stdin', io.TextIOWrapper(io.BytesIO()))
    assert 'no photos in `standard input`' in fails('lookalike', model, '-')

def test_a_folder_with_all_its_folders(model, drawn):
    rows = json.loads(done('predict', model, drawn, '--json'))
    assert [o['path'] for o in rows] == [str(o) for o in iter_photos(drawn)] and len(rows) == 60

def test_a_live_list_is_answered_while_it_grows(model, drawn):
    learn, photos = load_classifier(model), list(iter_photos(drawn))
    rows = Predictor(learn, 'torch').predict(itertools.cycle(photos))
    assert [next(rows)['path'] for _ in range(150)] == [str(o) for o in itertools.islice(itertools.cycle(photos), 150)]

def test_memory_stays_flat(model, drawn):
    "A hundred photos or seven hundred: the same memory at the most (of Python and numpy, which hold the pixels)"
    predictor, photos = Predictor(load_classifier(model)), list(iter_photos(drawn))
    def predict(n, file): write_predictions(predictor, itertools.islice(itertools.cycle(photos), n), file)
    def most(n, file):
        tracemalloc.start()
        try:
            predict(n, file)
            return tracemalloc.get_traced_memory()[1]
        finally: tracemalloc.stop()
    predict(100, 'first.csv')     # an engine is chosen
    few = most(100, 'few.csv')
    assert most(700, 'many.csv') - few < 10e6   # 600 photos as pixels would be 90 MB

def test_export_and_what_is_refused(model, drawn):
    photo = next(iter_photos(drawn))
    assert 'model.onnx' in done('export', model, '--onnx', 'model.onnx') and Path('model.onnx').stat().st_size > 1e6
    fails('export', model, '--onnx', 'model.pkl', code=2)
    fails('predict', photo, '--workers', 'ray', code=2)
    fails('predict', model, photo, '--csv', '.', code=2)
    fails('export', 'nowhere', '--onnx', 'model.onnx')

# --- Ray

def workers(): return [o for o in psutil.process_iter(['cmdline']) if 'MapWorker' in ' '.join(o.info['cmdline'] or [])]

@pytest.mark.slow
def test_a_killed_ray_worker_costs_no_row_and_doubles_none(model, drawn):
    ray = pytest.importorskip('ray')
    from animal_clf.inference.bulk import RayPredictor
    photos = [str(o) for o in itertools.islice(itertools.cycle(iter_photos(drawn)), 4000)]
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    try:
        rows, found = RayPredictor(model, 2).predict(photos, block=100), []
        for row in rows:
            found.append(row)
            if len(found) == 600:
                before = workers()
                assert len(before) == 2
                before[0].kill()
        assert [o['path'] for o in found] == photos and not [o for o in found if o['error']]
    finally: ray.shutdown()
    alone = list(Predictor(load_classifier(model)).predict(photos[:60]))
    assert [o['label'] for o in found[:60]] == [o['label'] for o in alone]
