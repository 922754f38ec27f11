"""What strangers name their files and classes, where it is printed and where it is written: a terminal and a spreadsheet obey none of it"""
import contextlib, csv, json, re, shutil
from pathlib import Path

import pandas as pd, pytest

from animal_clf.cli.main import main
from animal_clf.core.settings import DataError, offline_arch, printable
from animal_clf.data.folders import find_rows
from animal_clf.evaluation.compare import read_report
from animal_clf.evaluation.holdout import read_training_photos
from animal_clf.synthetic.animals import draw_animals
from commands import done, shell

run = '--arch', offline_arch, '--recipe', 'head'
classes = {'fox': '=1+1|x', 'seal': 'se\x1b[31mal', 'zebra': '@z\u202e\x07'}
obeyed = re.compile('[\x00-\x09\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]')   # all control characters but the end of line


@pytest.fixture(scope='module')
def made(tmp_path_factory, cache):
    "A folder with `data` and `model`, of classes and photos with hostile names"
    folder = tmp_path_factory.mktemp('made')
    draw_animals(folder/'data', 12, classes=tuple(classes))
    for name,odd in classes.items():
        (folder/'data'/name).rename(folder/'data'/odd)
        photos = sorted((folder/'data'/odd).iterdir())
        photos[0].rename(photos[0].with_name('-2+3\x1b]0;title\x07.jpg'))
        photos[1].rename(photos[1].with_name('+1.jpg'))
    (folder/'data'/classes['seal']/'\x1b[2Jbad.jpg').write_bytes(b'no photo')
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv('ANIMAL_CLF_CACHE', str(cache))
        patch.chdir(folder)
        said = shell('run', '--data', 'data', '--out', 'model', *run)
    assert said[0] == 0
    return folder, said

@pytest.fixture
def here(made, cache, monkeypatch):
    monkeypatch.setenv('ANIMAL_CLF_CACHE', str(cache))
    monkeypatch.chdir(made[0])

def harmless(*args, code=0):
    got = shell(*args)
    assert got[0] == code and not obeyed.search(got[1] + got[2]), (got, obeyed.search(got[1] + got[2]))
    return got[1] + got[2]

def test_a_run_prints_no_control_characters(made): assert not obeyed.search(made[1][1] + made[1][2]) and r'\x1b[2Jbad.jpg' in made[1][1]

def test_commands_print_none(here):
    harmless('evaluate', 'model', '--data', 'data')
    assert r'se\x1b[31mal' in harmless('report', 'model')
    photos = sorted(Path('data', classes['seal']).iterdir())
    assert r'\x1b]0;title\x07.jpg' in harmless('predict', 'model', *photos)
    assert json.loads(shell('predict', 'model', *photos, '--json')[1])[0]['path'] == str(photos[0])
    harmless('predict', 'model', *photos, '--json')
    harmless('lookalike', 'model', *photos[1:3])
    harmless('clean', 'data')
    harmless('report', 'model', 'model')

def test_errors_and_wrong_usage_print_none(here):
    harmless('predict', 'model', '\x1b[2J.jpg', code=1)
    harmless('predict', 'model', 'a.jpg', '--\x1b[2J', code=2)
    harmless('train', '--data', '\x1b[2J', code=1)
    assert not obeyed.search(str(DataError('\x1b', '\x07', '\x9b'))) and printable('fuchs\udcfc') == r'fuchs\xfc'

def test_a_strangers_report_prints_none(here, tmp_path):
    shutil.copytree('model', tmp_path/'model')
    file = tmp_path/'model/report/report.json'
    values = json.loads(file.read_text())
    values['warnings'].append('\x1b]0;owned\x07'); values['checklist'][0].update(item='\x1b[2J', figure='\x9b2J')
    file.write_text(json.dumps(values))
    assert r'\x1b]0;owned\x07' in harmless('report', tmp_path/'model')

def cells(file):
    with open(file, newline='', encoding='utf8', errors='surrogateescape') as f: return [o for row in csv.reader(f) for o in row]

def test_no_cell_is_a_formula_and_all_is_read_back(here):
    photos = [o.name for o in sorted(Path('data', classes['fox']).iterdir()) if not o.name.startswith('-')]   # which would be an option
    with contextlib.chdir(Path('data', classes['fox'])): done('predict', '../../model', *photos, '--csv', '../../found.csv')
    for file in ('model/photos.csv', 'model/skipped.csv', 'model/report/answers.csv', 'found.csv'):
        text = [o for o in cells(file) if not re.fullmatch(r'-?[\d.]+(e-?\d+)?', o)]
        assert not [o for o in text if o.startswith(tuple('=+-@\t\r'))], file
    assert set(read_training_photos('model').label) == set(classes.values()) == set(read_report('model').answers.label)
    assert "'+1.jpg" in cells('found.csv')

def test_an_interrupted_table_is_gone_on_with(here, tmp_path, monkeypatch):
    "The names in it are compared as they were before they were written"
    photos = [o.name for o in sorted(Path('data', classes['fox']).iterdir())]
    monkeypatch.chdir(Path('data', classes['fox']))
    model, file = Path('../../model'), tmp_path/'found.csv'
    from animal_clf.inference.bulk import write_predictions
    from animal_clf.inference.predictor import Predictor
    from animal_clf.training.model_file import load_classifier
    predictor = Predictor(load_classifier(model), engine='torch')
    def stop(paths, n_top):
        for i,row in enumerate(real(paths, n_top)):
            if i == 3: raise KeyboardInterrupt
            yield row
    real = predictor.predict
    monkeypatch.setattr(predictor, 'predict', stop)
    with pytest.raises(KeyboardInterrupt): write_predictions(predictor, photos, file)
    monkeypatch.setattr(predictor, 'predict', real)
    assert write_predictions(predictor, photos, file)['n_before'] == 3
    assert len(list(find_table(file))) == len(photos)

def find_table(file):
    from animal_clf.inference.bulk import iter_photos
    found = list(iter_photos(file))
    assert all('+1.jpg' != o.name[1:] or o.name == '+1.jpg' for o in found) and any(o.name == '+1.jpg' for o in found)
    return found

def test_a_table_of_labels_with_such_cells(here, tmp_path):
    photos = sorted(Path('data', classes['fox']).resolve().iterdir())
    for i,o in enumerate(photos): (tmp_path/f'-{i}.jpg').write_bytes(o.read_bytes())
    pd.DataFrame([dict(path=f"'-{i}.jpg", label="'=1+1") for i in range(len(photos))] + [dict(path=f'-{i}.jpg', label='fox') for i in range(len(photos))]).to_csv(tmp_path/'t.csv', index=False)
    rows = find_rows(tmp_path/'t.csv')
    assert set(rows.label) == {'=1+1', 'fox'} and all(Path(o).exists() for o in rows.path)
