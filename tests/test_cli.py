"""The shell command from end to end: what it makes of good, odd and bad input, and what an interruption leaves behind"""
import html, json, os, shutil, signal, subprocess, sys, time
from contextlib import chdir, contextmanager
from functools import partial
from io import BytesIO, TextIOWrapper
from pathlib import Path
import pandas as pd, pytest
from lxml.html import fromstring
from PIL import Image
from animal_clf.cli.main import main
from animal_clf.core.photo_files import find_photos
from animal_clf.core.settings import read_settings
from animal_clf.scraping.download import collect_photos
from animal_clf.synthetic.animals import draw_animal, draw_animals
from animal_clf.scraping.search import iter_pages, licenses
from commands import done, fails, shell
from files import contents, read
from servers import draw_photo, photo_bytes, photo_hits, use_hub

animals, offline = ('fox', 'seal', 'zebra'), ('--arch', 'tf_efficientnet_lite0')
nowhere = 'http://127.0.0.1:9' # refuses every connection


# --- what the tests share

@pytest.fixture(autouse=True)
def alone(empty_folder, tmp_path, monkeypatch):
    "No way out"
    monkeypatch.setenv('DDGS_PROXY', nowhere)
    use_hub(monkeypatch, nowhere, tmp_path)

def environment(**more): return os.environ | dict(HF_ENDPOINT=nowhere, OMP_NUM_THREADS='1') | more

def command(*args, **options):
    "The console script in a process of its own, Ctrl-C and all"
    here = Path(sys.executable).parent
    script = shutil.which('animal-clf', path=str(here)) or shutil.which('animal-clf')
    return subprocess.Popen([script, *map(str, args)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, encoding='utf8',
                            start_new_session=True, env=environment(), **options)

@pytest.fixture(scope='module')
def drawn(tmp_path_factory): return draw_animals(tmp_path_factory.mktemp('drawn')/'three animals', 9, animals, px=128)

@pytest.fixture(scope='module')
def trained(drawn, cache, tmp_path_factory):
    "(Model folder, what `run` printed) for the three drawn animals"
    folder = tmp_path_factory.mktemp('trained')/'model'
    with pytest.MonkeyPatch.context() as patch, chdir(folder.parent):
        patch.setenv('ANIMAL_CLF_CACHE', str(cache))
        return folder, done('run', '--data', drawn, '--out', folder, *offline)

@pytest.fixture
def model(trained): return trained[0]

def report_of(folder): return read(folder/'report'/'report.json')
def answers(model, *photos): return json.loads(done('predict', model, *photos, '--json'))

def fill(folder, animal, count, start=1):
    "`count` drawings of `animal`"
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(start, start+count): draw_animal(animal, index=i, px=128).save(folder/f'{i}.png')
    return folder


# --- the usual way

def test_help_imports_nothing_heavy():
    script = Path(sys.executable).parent/'animal-clf'
    found = subprocess.run([sys.executable, '-X', 'importtime', script, '--help'], capture_output=True, text=True, check=True)
    imported = {line.split('|')[-1].strip().split('.')[0] for line in found.stderr.splitlines() if line.startswith('import time:')}
    assert 'usage: animal-clf' in found.stdout and 'argparse' in imported
    assert not imported & {'torch', 'fastai', 'fastcore', 'timm', 'numpy', 'pandas', 'PIL', 'sklearn', 'matplotlib', 'ddgs', 'aiohttp'}

def test_run_says_each_step_and_the_report_has_every_number(trained):
    folder, out = trained
    said = [line.split()[0] for line in out.splitlines()]
    assert [o for o in said if o != 'warning'] == ['data', 'classes', 'head', 'training', 'note', 'test', 'report', 'next']
    assert said.index('test') < said.index('warning') < said.index('report')   # nine drawings are too few for any claim
    assert 'say nothing about photos' in out and str(folder) in out
    report = report_of(folder)
    wanted = """classes n_test accuracy accuracy_ci95 error_rate per_class micro_avg macro_avg weighted_avg confusion
                roc_auc ece leaks baseline_accuracy timings warnings"""
    assert set(wanted.split()) <= set(report)
    assert report['classes'] == list(animals) and report['n_test'] == 9 == sum(map(sum, report['confusion']))
    assert report['accuracy'] > .5 and report['leaks'] == [] and 0 < report['timings']['to_test_result']
    assert report['warnings'][0].startswith('These are drawings')
    info = read(folder/'model.json')
    assert (info['arch'], info['recipe'], info['px'], info['mean']) == ('tf_efficientnet_lite0', 'auto', 224, [.5, .5, .5])
    assert info['test']['accuracy'] == report['accuracy'] and info['data']['train'] == 15
    assert not [o for o in contents(folder) if o.endswith(('.pkl', '.pth', '.part'))]

def test_run_with_the_same_seed_gives_the_same_model(trained, drawn):
    done('train', '--data', drawn, '--out', 'again', *offline)
    one, other = contents(trained[0]), contents('again')
    assert all(one[o] == other[o] for o in ('model.safetensors', 'photos.csv', 'log.csv'))

def test_evaluate_leaves_out_what_was_trained_on(model, drawn):
    before = report_of(model)
    result = json.loads(done('evaluate', model, '--data', drawn, '--json'))
    assert (result['n_test'], result['accuracy'], result['confusion']) == (9, before['accuracy'], before['confusion'])
    assert '18 photos that the model was trained on were left out.' in result['warnings'] and result['leaks'] == []
    assert 'were left out' in done('evaluate', model, '--data', drawn)

def test_predict_for_programs(model, drawn):
    photos = sorted(drawn.glob('*/*.jpg'))[::5]
    rows = answers(model, *photos)
    assert [o['path'] for o in rows] == [str(o) for o in photos]
    for o in rows:
        assert set(o) == {'path', 'label', 'probability', 'top', 'known', 'error'} and o['error'] is None
        assert [o['label'], o['probability']] == o['top'][0] and abs(sum(p for _,p in o['top']) - 1) < 1e-6
    done('predict', model, *photos, '--csv', 'sub/answers.csv')
    assert pd.read_csv('sub/answers.csv').label.tolist() == [o['label'] for o in rows]

def test_predict_goes_on_after_a_photo_that_is_none(model, drawn):
    photo = drawn/'fox'/'fox_0001.jpg'
    Path('page.jpg').write_text('<html>')
    rows = answers(model, 'page.jpg', photo, 'no such.jpg', photo)
    assert [bool(o['error']) for o in rows] == [True, False, True, False]
    assert 'web page' in rows[0]['error'] and rows[0]['label'] is None and rows[1] == rows[3]

def test_predict_of_nothing_but_bad_photos_fails(model):
    Path('page.jpg').write_text('<html>')
    fails('predict', model, 'page.jpg', 'no such.jpg', '--json')

@pytest.mark.parametrize('name,encoding', [(b'f\xfcchs.jpg', 'utf8'), ('лиса.jpg'.encode(), 'ascii')], ids=['name that is no text', 'ASCII terminal'])
def test_names_that_the_terminal_cannot_print(model, drawn, monkeypatch, name, encoding):
    shutil.copy(drawn/'fox'/'fox_0001.jpg', os.fsdecode(name))
    out = TextIOWrapper(BytesIO(), encoding=encoding)
    monkeypatch.setattr(sys, 'stdout', out)
    assert main(['predict', str(model), os.fsdecode(name)]) == 0

def test_tsne(model, drawn):
    done('tsne', model, '--data', drawn, '--out', 'there/tsne.png')
    with Image.open('there/tsne.png') as img: assert min(img.size) > 300


# --- photos of every kind, and files that are none

odd_classes = ('polar bear', 'медведь 熊', '<b>"o\'neil" & co')
modes = dict(grey=('L', 'jpg'), cmyk=('CMYK', 'jpg'), rgba=('RGBA', 'png'), palette=('P', 'png'), bits16=('I;16', 'png'), bits16tif=('I;16', 'tif'),
             bilevel=('1', 'png'), grey_alpha=('LA', 'png'), webp=('RGB', 'webp'), bmp=('RGB', 'bmp'))
no_photos = {'empty.jpg': (b'', 'is empty (0 bytes)'), 'page.jpg': (b'<!DOCTYPE html><p>not found', 'is a web page (HTML)'), 'text.png': (b'hello', 'is not a photo'),
             'drawing.jpg': (b'<svg xmlns="http://www.w3.org/2000/svg"/>', 'is a drawing (SVG)'), 'half.jpg': (None, 'is damaged')}

def _deep(img):
    "`img` in grey, 16 bits deep"
    import numpy as np
    return Image.fromarray(np.asarray(img.convert('L')).astype('uint16')*257)

def _fill_oddly(folder, animal):
    "One drawing in every mode, an animation, one held sideways, and all that is no photo"
    folder.mkdir(parents=True)
    for i,(name,(mode,suffix)) in enumerate(modes.items(), 1):
        img = draw_animal(animal, index=i, px=128)
        (_deep(img) if mode == 'I;16' else img.convert(mode)).save(folder/f'{name}.{suffix}')
    img = draw_animal(animal, index=20, px=128)
    frames = [img, img.transpose(Image.Transpose.FLIP_LEFT_RIGHT), img.transpose(Image.Transpose.ROTATE_180)]
    for suffix in ('gif', 'webp'): frames[0].save(folder/f'moving.{suffix}', save_all=True, append_images=frames[1:])
    exif = Image.Exif()
    exif[274] = 6
    draw_animal(animal, index=21, px=128).transpose(Image.Transpose.ROTATE_90).save(folder/'sideways.jpg', exif=exif, quality=95)
    for name,(data,_) in no_photos.items(): (folder/name).write_bytes((folder/'grey.jpg').read_bytes()[:900] if data is None else data)

@pytest.fixture(scope='module')
def zoo(tmp_path_factory):
    folder = tmp_path_factory.mktemp('zoo')/'data'
    for name,animal in zip(odd_classes, animals): _fill_oddly(folder/name, animal)
    return folder

@pytest.fixture(scope='module')
def zoo_run(zoo, cache):
    "The model folder, and the finished process of the console script that made it; the photos are as they were"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv('ANIMAL_CLF_CACHE', str(cache))
        before = contents(zoo)
        process = command('run', '--data', 'data', '--out', 'model', *offline, cwd=zoo.parent)
        process.out, process.err = process.communicate(timeout=120)
    assert contents(zoo) == before
    return zoo.parent/'model', process

def test_every_kind_of_photo_trains_and_every_other_file_is_counted(zoo, zoo_run):
    folder, process = zoo_run
    assert process.returncode == 0, process.err
    assert f'{3*(len(modes)+3)} photos of 3 classes' in process.out
    assert '12 more; all are in skipped.csv' in process.out and 'Traceback' not in process.err
    used, skipped = (pd.read_csv(folder/f'{o}.csv') for o in ('photos', 'skipped'))
    names = lambda table: {(o.label, Path(o.path).name) for o in table.itertuples()}
    assert names(skipped) == {(c, name) for c in odd_classes for name in no_photos}
    assert names(used) == {(o.parent.name, o.name) for o in zoo.glob('*/*')} - names(skipped)
    for o in skipped.itertuples(): assert no_photos[Path(o.path).name][1] in o.reason
    assert 'Left out because they could not be read: 15.' in report_of(folder)['warnings']

def test_a_good_run_says_nothing_on_stderr(zoo_run):
    "But that a name can not be drawn, where that is so"
    assert all('no font of this machine has the letters of 1 of 3 class names' in o for o in zoo_run[1].err.splitlines())

def test_class_names_survive(zoo, zoo_run):
    folder, _ = zoo_run
    page = (folder/'report'/'report.html').read_text(encoding='utf8')
    assert set(read(folder/'model.json')['classes']) == set(odd_classes) == set(report_of(folder)['per_class'])
    assert set(odd_classes) <= set(fromstring(page).xpath('//td/text()')) and not fromstring(page).xpath('//b')
    rows = answers(folder, *(zoo/o/'grey.jpg' for o in odd_classes))
    assert {name for o in rows for name,_ in o['top']} == set(odd_classes)

def test_every_kind_of_photo_is_predicted(zoo, zoo_run):
    photos = sorted(zoo.glob('*/*'))
    for photo,o in zip(photos, answers(zoo_run[0], *photos)):
        if photo.name in no_photos: assert no_photos[photo.name][1] in o['error'] and o['label'] is None
        else: assert o['error'] is None and o['probability'] >= 1/3

def test_a_photo_held_sideways_is_predicted_as_its_upright_copy(model, tmp_path):
    turns = {1: None, 2: 'FLIP_LEFT_RIGHT', 3: 'ROTATE_180', 4: 'FLIP_TOP_BOTTOM', 5: 'TRANSPOSE', 6: 'ROTATE_90', 7: 'TRANSVERSE', 8: 'ROTATE_270'}
    upright, exif = draw_animal('fox', index=2, px=160), Image.Exif()
    for number,turn in turns.items():
        exif[274] = number
        (upright.transpose(Image.Transpose[turn]) if turn else upright).save(f'{number}.png', exif=exif)
    upright.save('upright.png')
    first, *others = answers(model, 'upright.png', *(f'{o}.png' for o in turns))
    assert len(others) == 8 and all(dict(o['top']) == pytest.approx(dict(first['top']), abs=1e-5) for o in others)

@pytest.mark.parametrize('kind', ['avif', 'exif'])
def test_a_damaged_photo_is_a_row_whatever_pillow_raises(model, kind):
    if kind == 'avif':
        data = bytearray(photo_bytes(draw_photo(1, (80, 60)), 'AVIF'))
        for i in range(len(data)-200, len(data), 7): data[i] ^= 0xff
    else:
        exif = Image.Exif()
        exif[274], exif[0x010e] = 6, 'x'*50
        data = photo_bytes(draw_photo(1, (80, 60)), exif=exif).replace(b'\x01\x0e\x00\x02', b'\x01\x01\x00\x02')     # a height in letters
    Path(f'bad.{kind}.jpg').write_bytes(data)
    draw_photo(2).save('good.jpg')
    rows = answers(model, f'bad.{kind}.jpg', 'good.jpg')
    assert rows[1]['label'] and (rows[0]['error'] or kind == 'exif')


# --- tables, ready splits, leaks

def splits_of(folder): return pd.read_csv(folder/'photos.csv').groupby(['label', 'split']).size().unstack().loc[:, ['train', 'valid', 'test']].values.tolist()

def test_two_classes_in_ready_splits_with_a_planted_leak(drawn):
    for split,rows in dict(train=range(1, 5), val=range(5, 7), test=range(7, 10)).items():
        for name in ('fox', 'zebra'):
            folder = Path('photos')/split/name
            folder.mkdir(parents=True)
            for i in rows: shutil.copy(drawn/name/f'{name}_{i:04}.jpg', folder)
    shutil.copy('photos/train/fox/fox_0002.jpg', 'photos/test/fox/another name.jpg')
    shutil.copy('photos/val/zebra/zebra_0005.jpg', 'photos/test/zebra/copy.jpg')
    done('run', '--data', 'photos', '--out', 'model', *offline)
    model, report = Path('model'), report_of(Path('model'))
    assert splits_of(model) == [[4, 2, 4], [4, 2, 4]] and report['n_test'] == 8
    assert {(Path(o['test']).name, Path(o['trained_on']).name) for o in report['leaks']} == {('another name.jpg', 'fox_0002.jpg'), ('copy.jpg', 'zebra_0005.jpg')}
    told = next(o for o in report['warnings'] if 'also trained on' in o)
    assert '2 of 8' in told and told in html.unescape((model/'report'/'report.html').read_text(encoding='utf8'))
    rows = answers(model, *sorted(Path('photos/train').glob('*/*')))
    assert [o['label'] for o in rows] == ['fox']*4 + ['zebra']*4
    assert all(abs(sum(p for _,p in o['top']) - 1) < 1e-6 for o in rows)
    assert len(json.loads(done('evaluate', model, '--data', 'photos', '--json'))['leaks']) == 2

def test_a_table_with_splits(drawn):
    names = dict(zip(range(1, 10), ['train', 'Training', 'train', 'train', 'val', 'validation', 'test', 'test', 'test ']))
    rows = [(drawn/o/f'{o}_{i:04}.jpg' if i % 2 else os.path.relpath(drawn/o/f'{o}_{i:04}.jpg', 'tables'), f'my {o}, "big"', names[i]) for o in ('fox', 'seal') for i in names]
    Path('tables').mkdir()
    pd.DataFrame(rows, columns=['path', 'label', 'split']).to_csv('tables/photos.csv', index=False, encoding='utf-8-sig')
    done('train', '--data', 'tables/photos.csv', *offline)
    assert splits_of(Path('models/photos')) == [[4, 2, 3]]*2
    assert read('models/photos/model.json')['classes'] == ['my fox, "big"', 'my seal, "big"']

def test_a_table_without_splits_holds_out_the_first_of_each_class(drawn):
    rows = [(o, o.parent.name) for o in sorted(drawn.glob('*/*.jpg'), reverse=True)]
    pd.DataFrame(rows + [('gone.jpg', 'fox')], columns=['path', 'label']).to_csv('photos.csv', index=False)
    assert 'gone.jpg: is not there' in done('train', '--data', 'photos.csv', '--out', 'model', *offline)
    table = pd.read_csv('model/photos.csv')
    assert {Path(o).name for o in table[(table.split == 'test') & (table.label == 'fox')].path} == {f'fox_{i:04}.jpg' for i in (7, 8, 9)}

def test_one_photo_with_two_labels_is_told(drawn):
    rows = [(o, o.parent.name) for o in drawn.glob('*/*.jpg')] + [(drawn/'fox'/'fox_0001.jpg', 'seal')]
    pd.DataFrame(rows, columns=['path', 'label']).to_csv('photos.csv', index=False)
    code, out, err = shell('train', '--data', 'photos.csv', *offline)
    assert 'fox_0001.jpg' in out + err


def test_a_copy_is_left_out_and_not_called_unreadable(drawn):
    shutil.copytree(drawn, 'data')
    shutil.copy('data/fox/fox_0001.jpg', 'data/fox/copy.jpg')
    done('run', '--data', 'data', '--out', 'model', *offline)
    report, skipped = report_of(Path('model')), pd.read_csv('model/skipped.csv')
    assert [Path(o).name for o in skipped.path] in (['copy.jpg'], ['fox_0001.jpg']) and 'same bytes' in skipped.reason[0]
    assert report['leaks'] == [] and not [o for o in report['warnings'] if 'could not be read' in o]

def test_a_class_name_that_looks_like_a_formula(drawn):
    rows = [(o, '$\\frac{1$' if o.parent.name == 'fox' else '5 $') for o in drawn.glob('*/*.jpg')]
    pd.DataFrame(rows, columns=['path', 'label']).to_csv('photos.csv', index=False)
    done('run', '--data', 'photos.csv', '--out', 'model', *offline)

def test_the_model_is_named_after_the_whole_name_of_the_data(drawn):
    shutil.copytree(drawn, 'animals.v2')
    done('train', '--data', 'animals.v2', *offline)
    assert Path('models/animals.v2/model.json').exists()


# --- data that can't be trained on

def table(text, encoding='utf8'): return lambda drawn: Path('data.csv').write_bytes(text.encode(encoding))
def _one_class(drawn): fill(Path('data/fox'), 'fox', 5)
def _two_photos(drawn): fill(Path('data/fox'), 'fox', 5), fill(Path('data/seal'), 'seal', 2)
def _two_readable(drawn): fill(Path('data/fox'), 'fox', 5), fill(Path('data/seal'), 'seal', 2), Path('data/seal/3.jpg').write_text('<html>')
def _empty_class(drawn): fill(Path('data/fox'), 'fox', 5), fill(Path('data/seal'), 'seal', 5), Path('data/bear').mkdir()
def _too_deep(drawn): fill(Path('data'), 'fox', 5)
def _too_high(drawn): [fill(Path('data/all')/o, o, 3) for o in ('fox', 'seal')]
def _too_high_with_splits(drawn): [fill(Path('data/all')/s/o, o, 3) for o in ('fox', 'seal') for s in ('train', 'test')]
def _only_bad(drawn): [(Path('data')/o).mkdir(parents=True) or [(Path('data')/o/f'{i}.jpg').write_bytes(b'') for i in range(4)] for o in ('fox', 'seal')]
def _no_training(drawn): [fill(Path('data/train')/o, o, 3) for o in ('fox',)], [fill(Path('data/test')/o, o, 3) for o in ('fox', 'seal')]
def _photo(drawn): shutil.copy(drawn/'fox'/'fox_0001.jpg', 'data.csv')

bad_data = {
    'nothing there': (lambda drawn: None, ['no `data`', 'Check the path']),
    'empty folder': (lambda drawn: Path('data').mkdir(), ['`data` is empty', '--classes']),
    'empty class folders': (lambda drawn: [(Path('data')/o).mkdir(parents=True) for o in 'ab'], ['2 folders but no photos']),
    'one class': (_one_class, ['1 class', 'fox', '2 or more']),
    'two photos': (_two_photos, ["2 readable photos of 'seal'", '3 or more']),
    'two readable photos': (_two_readable, ["2 readable photos of 'seal'", '3 or more']),
    'an empty class': (_empty_class, ['no photos in `data/bear`']),
    'too deep': (_too_deep, ['5 photos directly in `data`', 'Try its parent']),
    'too high': (_too_high, ['Try one level deeper, `data/all`']),
    'too high, with splits': (_too_high_with_splits, ['Try one level deeper, `data/all`']),
    'no photo can be read': (_only_bad, ['none of 8 photos', 'is empty (0 bytes)']),
    'a class without training photos': (_no_training, ["no readable train photos of 'seal'"]),
    'no rows': (table('path,label\n'), ['no rows in data.csv']),
    'other columns': (table('file;class\na.jpg;fox\n'), ['columns file;class in data.csv', 'path,label']),
    'unknown split': (table('path,label,split\na.jpg,fox,holdout\n'), ["split 'holdout'", 'train, valid or test']),
    'some splits': (table('path,label,split\na.jpg,fox,test\nb.jpg,fox,\n'), ['1 rows without a split']),
    'photos that are gone': (table('path,label\na.jpg,fox\nb.jpg,seal\n'), ['none of 2 photos', '2 missing', '`a.jpg` is not there']),
    'empty table': (table(''), ['data.csv']),
    'not a table': (_photo, ['data.csv', 'CSV']),
    'another encoding': (table('path,label\na.jpg,Füchse\n', 'latin1'), ['data.csv', 'UTF-8']),
    'too many fields': (table('path,label\na.jpg,fox\nb.jpg,seal,x,y\n'), ['line 3 of data.csv', 'fields']),
    'too many fields in all rows': (table('path,label\na.jpg,fox,x\nb.jpg,seal,y\n'), ['line 2 of data.csv', 'fields']),
    'too few fields': (table('path,label,split\na.jpg,fox,test\nb.jpg,seal\n'), ['line 3 of data.csv', 'fields']),
    'an empty label': (table('path,label\na.jpg,fox\nb.jpg,\n'), ['line 3 of data.csv', 'label'])}

@pytest.mark.parametrize('make,told', bad_data.values(), ids=bad_data)
def test_bad_data_is_one_line_and_loses_nothing(drawn, make, told):
    make(drawn)
    before = contents('.')
    err = fails('train', '--data', 'data.csv' if Path('data.csv').exists() else 'data', '--out', 'model', *offline)
    assert all(o in err for o in told), err
    assert contents('.') == before and not Path('model').exists()

def test_photos_of_other_classes_cannot_test_a_model(model):
    [fill(Path('data')/o, o, 3, start=50) for o in ('wolf', 'gorilla')]
    before = contents(model)
    assert "test photos of 'gorilla', 'wolf'" in fails('evaluate', model, '--data', 'data')
    assert contents(model) == before

def test_photos_of_other_classes_are_left_out_of_a_test(model, tmp_path):
    kept = shutil.copytree(model, tmp_path/'kept')
    [fill(Path('data')/o, o, 3, start=50) for o in ('fox', 'wolf')]
    said = done('evaluate', kept, '--data', 'data')
    assert 'in one that the model does not know: 3.' in said and report_of(kept)['n_test'] == 3
    assert [o['reason'] for o in report_of(kept)['skipped']] == ["the model has no class 'wolf'"]*3

def test_nothing_is_left_to_test_with(model, drawn):
    for o in sorted((drawn/'fox').glob('*.jpg'))[3:]: Path('data/fox').mkdir(parents=True, exist_ok=True), shutil.copy(o, 'data/fox')
    assert 'no test photos in `data`: 6 photos trained on' in fails('evaluate', model, '--data', 'data')


# --- models that can't be used

def _edit(**values): return lambda m: (m/'model.json').write_text(json.dumps(read(m/'model.json') | values), encoding='utf8')
def _shorten(name): return lambda m: (m/name).write_bytes((m/name).read_bytes()[:1000])
def _drop(name): return lambda m: (m/name).unlink()

bad_models = {
    'no folder': (shutil.rmtree, ['no model in', 'no such folder', 'animal-clf train']),
    'no model.json': (_drop('model.json'), ['no model in', 'model.json']),
    'no numbers': (_drop('model.safetensors'), ['model.safetensors', 'Copy the whole model folder']),
    'newer': (_edit(version=99, versions={'animal-clf': '7.1'}), ['version 99', 'animal-clf 7.1', 'pip install --upgrade animal-clf']),
    'another tool': (_edit(format='keras'), ['model.json of another kind']),
    'half of model.json': (_shorten('model.json'), ['model.json is damaged']),
    'half the numbers': (_shorten('model.safetensors'), ['model.safetensors does not fit']),
    'no numbers at all': (lambda m: (m/'model.safetensors').write_bytes(b''), ['model.safetensors does not fit']),
    'a page': (lambda m: (m/'model.safetensors').write_text('<html>'), ['model.safetensors does not fit']),
    'another network': (_edit(arch='resnet18'), ['model.safetensors does not fit', "'resnet18'"]),
    'another number of classes': (_edit(classes=['fox', 'seal']), ['model.safetensors does not fit', '2 classes']),
    'unknown key': (_edit(magic=1), ['unknown key magic']),
    'unknown network': (_edit(arch='resnet_from_the_future'), ['model.json', 'resnet_from_the_future']),
    'newer, and it keeps versions elsewhere': (_edit(version=99, versions=['7.1']), ['version 99', 'pip install --upgrade']),
    'no size': (_edit(px=0), ['model.json', 'px']),
    'no classes': (_edit(classes=[]), ['model.json', 'classes']),
    'wrong mean': (_edit(mean=[.5]), ['model.json', 'mean'])}

@pytest.mark.parametrize('spoil,told', bad_models.values(), ids=bad_models)
def test_bad_model_is_one_line(model, drawn, spoil, told):
    shutil.copytree(model, 'bad')
    spoil(Path('bad'))
    err = fails('predict', 'bad', drawn/'fox'/'fox_0001.jpg')
    assert all(o in err for o in told), err

def test_the_model_file_says_how_photos_are_normalised(model, drawn):
    photo = drawn/'fox'/'fox_0001.jpg'
    shutil.copytree(model, 'other')
    _edit(mean=[0, 0, 0], std=[1, 1, 1])(Path('other'))
    assert answers('other', photo)[0]['top'] != answers(model, photo)[0]['top']

@pytest.mark.parametrize('text', [pytest.param(None, id='missing'), pytest.param('', id='empty'), pytest.param('a,b\n1,2\n', id='other')])
def test_without_the_table_of_photos_nothing_is_tested(model, drawn, text):
    shutil.copytree(model, 'bad')
    Path('bad/photos.csv').unlink()
    if text is not None: Path('bad/photos.csv').write_text(text)
    assert 'photos.csv' in fails('evaluate', 'bad', '--data', drawn)


# --- no internet

def test_train_without_weights_names_the_three_ways_out(drawn):
    err = fails('train', '--data', drawn, '--out', 'model', '--arch', 'resnet18')
    for o in ('no connection', 'weights/resnet18.safetensors', '--arch tf_efficientnet_lite0', '--recipe scratch'): assert o in err
    assert list(Path().iterdir()) == []

def test_run_without_weights_goes_on_with_the_offline_backbone(drawn):
    out = done('run', '--data', drawn, '--out', 'model', '--arch', 'resnet18')
    told, = [o for o in out.splitlines() if o.startswith('weights')]
    assert 'no connection' in told and 'going on with the offline backbone tf_efficientnet_lite0' in told
    assert read('model/model.json')['arch'] == 'tf_efficientnet_lite0' == report_of(Path('model'))['model']['arch']

@pytest.mark.parametrize('args', [('run', '--classes', 'fox', 'wolf'), ('download', '--classes', 'fox', '--out', 'data')], ids=lambda o: o[0])
def test_no_network_is_one_line_within_seconds(args):
    start = time.perf_counter()
    err = fails(*args)
    assert 'Connection refused' in err and 'a connection to the internet' in err and time.perf_counter() - start < 15
    assert contents('.') == {}

def test_no_network_in_a_shell():
    process = command('download', '--classes', 'polar bear', '--out', 'data')
    out, err = process.communicate(timeout=15)
    assert (process.returncode, err.count('\n')) == (1, 1) and err.startswith('animal-clf: no photo for "polar bear photo"')


# --- from names to a model

@pytest.fixture
def web(search_proxy, photo_server, monkeypatch):
    "Search finds what `web.photos[class]` holds; `web.asked` lists the terms"
    def search(term):
        search_proxy.asked.append(term)
        name = term.removesuffix(' photo')
        photos = search_proxy.photos.get(name, [])
        photo_server.routes.update({f'/{animals.index(name)}/{i}.jpg': o for i,o in enumerate(photos)} if photos else {})
        search_proxy.answers['duckduckgo'] = photo_hits(len(photos), url=f'{photo_server.url}/{animals.index(name)}/{{}}.jpg') if photos else []
        return iter_pages(term, pause_s=0, **search_proxy.options)
    search_proxy.asked, search_proxy.photos = [], {}
    monkeypatch.setattr('animal_clf.scraping.download.collect_photos', partial(collect_photos, search=search))
    return search_proxy

def drawings(animal, count): return [photo_bytes(draw_animal(animal, index=i, px=128)) for i in range(1, count+1)]

def test_from_names_to_a_model(web):
    web.photos = {o: [b'<html>'] + drawings(o, 6) for o in ('fox', 'seal')}
    Path('settings.ini').write_text('[DEFAULT]\nn_photos = 6\narch = tf_efficientnet_lite0\n')
    out = done('run', '--classes', 'fox', 'seal', '--allow-private')
    assert 'fox: collected, 6 kept of 7 found, 1 failed' in out
    assert report_of(Path('models/fox-seal'))['classes'] == ['fox', 'seal'] and len(find_photos('data/fox-seal/photos/fox')) == 6
    assert 'fox: already there, 6 kept' in done('run', '--classes', 'fox', 'seal', '--allow-private') and len(web.asked) == 2

def test_no_class_is_found(web):
    assert 'no photo for "snark photo" (duckduckgo: nothing found; bing: nothing found)' in fails('run', '--classes', 'snark', 'boojum', *offline)
    assert not Path('models').exists()

def test_one_class_is_found_and_its_photos_are_kept(web):
    web.photos = {'fox': drawings('fox', 4)}
    assert "no photos of 'snark'" in fails('run', '--classes', 'fox', 'snark', '--allow-private', *offline)
    assert not Path('models').exists() and len(find_photos('data/fox-snark/photos/fox')) == 4

def test_download_prints_its_counts(web):
    web.photos = {'fox': [b'<html>'] + drawings('fox', 3) + drawings('fox', 1)}
    counts = json.loads(done('download', '--classes', 'fox', '-n', '9', '--out', 'data/fox', '--allow-private', '--json'))
    assert {o: counts[o] for o in ('found', 'kept', 'failed', 'set_aside', 'duplicate')} == dict(found=5, kept=3, failed=1, set_aside=1, duplicate=1)
    assert counts['classes']['fox']['kept'] == 3

def test_download_stays_away_from_private_addresses(web):
    web.photos = {'fox': drawings('fox', 3)}
    out = done('download', '--classes', 'fox', '-n', '3', '--out', 'data/fox')
    assert '0 kept of 3 found, 3 failed' in out and '127.0.0.1' in out

def test_download_refuses_unknown_licences(web): assert all(o in fails('download', '--classes', 'fox', '--out', 'x', '--license', 'mine', code=2) for o in licenses)

def test_help_names_the_licences(): assert all(o in ''.join(done('download', '--help').split()) for o in licenses)   # argparse breaks lines at hyphens

def test_one_class_is_refused_before_anything_is_searched(web):
    web.photos = {'fox': drawings('fox', 4)}
    assert '2 or more' in fails('run', '--classes', 'fox', *offline, code=2)
    assert web.asked == [] and contents('.') == {}

def test_other_classes_go_to_another_folder(monkeypatch):
    from animal_clf.cli.train import _name_of
    assert _name_of(('polar', 'bear-cub')) != _name_of(('polar-bear', 'cub'))


# --- options are checked before anything happens

wrong_options = [('--arch', 'resnet_18'), ('--seed', '-1'), ('--epochs', '0'), ('--epochs', 'many'), ('--budget', '0'), ('--budget', 'nan'), ('--recipe', 'magic'), ('--magic',)]

@pytest.mark.parametrize('wrong', wrong_options, ids=' '.join)
def test_wrong_options_are_refused_before_anything_happens(web, wrong):
    web.photos = {o: drawings(o, 3) for o in ('fox', 'seal')}
    code, out, err = shell('run', '--classes', 'fox', 'seal', *wrong)
    assert (code, out) == (2, '') and err and 'Traceback' not in err
    assert web.asked == [] and list(Path().iterdir()) == []

@pytest.mark.parametrize('classes', [('../fox', 'seal'), ('fox', 'Fox'), ('', 'fox'), ('a/b', 'c')], ids=str)
def test_wrong_classes_are_refused_before_anything_happens(web, classes):
    assert 'class' in fails('run', '--classes', *classes, *offline, code=2)
    assert web.asked == [] and list(Path().iterdir()) == []

@pytest.mark.parametrize('args', [(), ('fly',), ('run', '--sample', '--data', 'x'), ('train',), ('predict', 'model'), ('tsne', 'm', '--data', 'd', '--out', 't.jpg')], ids=str)
def test_wrong_usage_is_exit_2(args):
    code, out, err = shell(*args)
    assert (code, out) == (2, '') and err

def test_a_seed_too_large(drawn): assert 'seed' in fails('train', '--data', drawn, '--seed', 2**70, *offline, code=2)

@pytest.mark.parametrize('text', ['classes: [fox]', '\x00\xff',
                                  '[DEFAULT]\nepochs = many\n', '[DEFAULT]\nepochs = 3\nsede = 1\n', '[DEFAULT]\nseed = -1\n'])
def test_wrong_settings_are_told_with_their_place(text):
    Path('settings.ini').write_text(text, encoding='latin1')
    told = fails('train', '--data', 'x', code=2)
    assert 'settings.ini' in told or '`seed` is -1' in told

def test_options_go_before_settings(monkeypatch):
    Path('settings.ini').write_text('[DEFAULT]\nepochs = 7\nseed = 5\n')
    assert (read_settings(seed=6).epochs, read_settings(seed=6).seed) == (7, 6)


# --- places that can't be written

no_places = ['file', 'file/model', '/proc/nowhere/model']

@pytest.mark.parametrize('place', no_places)
def test_a_model_folder_that_cannot_be_made_is_told_before_training(drawn, place):
    Path('file').write_text('mine')
    code, out, err = shell('train', '--data', drawn, '--out', place, *offline)
    assert code in (1, 2) and err.count('\n') == 1 and place in err and 'training' not in out
    assert Path('file').read_text() == 'mine'

@pytest.mark.parametrize('args', [('tsne', 'MODEL', '--data', 'DRAWN', '--out', 'file/t.png'), ('predict', 'MODEL', 'DRAWN/fox', '--csv', 'file/t.csv'),
                                  ('predict', 'MODEL', 'DRAWN/fox', '--jsonl', 'file/t.jsonl'), ('sample', 'file/sample')], ids=lambda o: ' '.join(o[:1] + o[-1:]))
def test_a_file_that_cannot_be_made_is_told(model, drawn, args):
    Path('file').write_text('mine')
    err = fails(*(o.replace('MODEL', str(model)).replace('DRAWN', str(drawn)) for o in args))
    assert '`file' in err and 'can not be written' in err and Path('file').read_text() == 'mine'

def test_answers_do_not_replace_a_folder(model, drawn):
    Path('folder').mkdir()
    assert '`folder`, which is a folder' in fails('predict', model, drawn/'fox', '--csv', 'folder', code=2)


@contextmanager
def full_disk(limit=1_000_000):
    "No file may grow beyond `limit` bytes"
    import resource
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try: yield
    finally: resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

def test_a_full_disk_is_one_line_and_leaves_nothing_half(model, drawn):
    shutil.copytree(model, 'model')
    before = contents('model')
    with full_disk(): err = fails('train', '--data', drawn, '--out', 'model', *offline)
    assert 'model.safetensors' in err and contents('model') == before

def test_a_cache_that_cannot_be_written_does_not_matter(model, drawn, monkeypatch):
    Path('file').write_text('mine')
    monkeypatch.setenv('ANIMAL_CLF_CACHE', 'file/cache')
    assert answers(model, drawn/'fox'/'fox_0001.jpg')[0]['label']

def test_a_damaged_cache_is_made_anew(model, drawn, monkeypatch):
    "As a power cut leaves it"
    from animal_clf.vision.features import get_features
    from animal_clf.learner import feature_extractor, load_classifier
    monkeypatch.setenv('ANIMAL_CLF_CACHE', 'cache')
    photos = [drawn/'fox']*9   # enough for an engine to be chosen
    backbone = feature_extractor(load_classifier(model))
    def see(): return get_features(find_photos(drawn/'fox'), backbone, 'torch').values
    wanted, seen = answers(model, *photos), see()
    files = [*Path('cache').rglob('*.npz'), *Path('cache').rglob('*.json')]
    assert {o.suffix for o in files} == {'.npz', '.json'}
    whole = {o: o.read_bytes() for o in files}
    for spoil in (lambda o: b'', lambda o: b'junk', lambda o: o[:len(o)//2]):
        for file,good in whole.items(): file.write_bytes(spoil(good))
        assert [o['label'] for o in answers(model, *photos)] == [o['label'] for o in wanted]
        assert (see() == seen).all()


# --- interruptions

def test_ctrl_c_is_one_line_and_leaves_no_model_or_a_whole_one(drawn):
    "The head is saved as soon as it is fitted"
    process = command('run', '--data', drawn, '--out', 'model', '--recipe', 'fine_tune', '--epochs', 500, *offline)
    assert process.stdout.readline().startswith('data')
    time.sleep(3) # into training, with its worker processes
    os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130 and err.startswith('animal-clf: stopped') and err.count('\n') == 1
    from animal_clf.learner import load_classifier, read_info
    if contents('.'): assert read_info('model').recipe == 'head' and load_classifier('model')

_kill_script = """
import os, signal, sys, threading
from pathlib import Path
import animal_clf.evaluation.evaluate
from animal_clf.cli.main import main

def kill_at(count, folder, real=os.replace):
    "Cut the count-th file for `folder` in half before it gets its name, and kill the process"
    seen, lock = [], threading.Lock()      # no other thread finishes a file meanwhile
    def replace(part, path):
        with lock:
            if Path(folder) in Path(path).parents: seen.append(path)
            if len(seen) == count:
                os.truncate(part, os.path.getsize(part)//2)
                os.kill(os.getpid(), signal.SIGKILL)
            real(part, path)
    os.replace = replace

for i in (0, 1, 2, 5): # children, because importing fastai takes longer than all of them together
    child = os.fork()
    if not child:
        if i: kill_at(i, f'killed {i}')
        else: # in training, at the features
            os.environ['ANIMAL_CLF_CACHE'] = 'cold'
            kill_at(1, 'cold')
        os._exit(main([*sys.argv[1:], '--out', f'killed {i}']))
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""

@pytest.fixture(scope='module')
def killed(model_pair, cache):
    "Folders in which an old model was to be replaced by a new one, each killed at another file; then the old and the new one"
    folders = [model_pair/f'killed {i}' for i in (0, 1, 2, 5)]
    for o in folders: shutil.copytree(model_pair/'old', o)
    found = subprocess.run([sys.executable, '-c', _kill_script, 'train', '--data', 'new.csv', '--force', *offline], cwd=model_pair,
                           env=environment(ANIMAL_CLF_CACHE=str(cache)), capture_output=True, text=True, timeout=120)
    assert [o for o in found.stdout.split('\n') if o == '-9'] == ['-9']*4, found.stdout + found.stderr
    return folders, model_pair/'old', model_pair/'new'

@pytest.fixture(scope='module')
def model_pair(drawn, cache, tmp_path_factory):
    "Two models with as many classes and other labels: what one calls a fox is a zebra to the other"
    folder, other = tmp_path_factory.mktemp('kill'), dict(zip(animals, animals[1:] + animals[:1]))
    pd.DataFrame([(o, other[o.parent.name]) for o in sorted(drawn.glob('*/*.jpg'))], columns=['path', 'label']).to_csv(folder/'new.csv', index=False)
    with pytest.MonkeyPatch.context() as patch, chdir(folder):
        patch.setenv('ANIMAL_CLF_CACHE', str(cache))
        done('train', '--data', drawn, '--out', 'old', *offline)
        done('train', '--data', 'new.csv', '--out', 'new', *offline)
    return folder

def test_a_kill_leaves_no_half_file_under_a_final_name(killed):
    folders, old, new = killed
    whole = [contents(old), contents(new)]
    for folder in folders:
        final = {k: v for k,v in contents(folder).items() if not k.endswith('.part') and not k.startswith('.next/')}   # where new files wait
        assert set(final) == set(whole[0])
        for name,digest in final.items(): assert digest in {o[name] for o in whole}, f'{folder.name}: {name}'

def test_a_kill_in_training_leaves_the_old_model_and_a_cache_that_works(killed, monkeypatch):
    folders, old, new = killed
    assert contents(folders[0]) == contents(old)
    left = list((folders[0].parent/'cold').rglob('*.*'))
    assert {o.suffix for o in left} == {'.part'}          # one of each thread that was writing
    monkeypatch.setenv('ANIMAL_CLF_CACHE', str(folders[0].parent/'cold'))
    monkeypatch.chdir(folders[0].parent)
    done('train', '--data', 'new.csv', '--out', 'after', *offline)
    assert contents('after')['photos.csv'] == contents(new)['photos.csv']

def test_a_kill_never_mixes_two_models(killed, drawn):
    folders, *pair = killed
    photos = sorted(drawn.glob('*/*.jpg'))
    label_by_model = {read(m/'model.json')['data']['source']: [o['label'] for o in answers(m, *photos)] for m in pair}
    for folder in folders:
        code, out, err = shell('predict', folder, *photos, '--json')
        assert code == 0, err
        assert [o['label'] for o in json.loads(out)] == label_by_model[read(folder/'model.json')['data']['source']], folder.name
