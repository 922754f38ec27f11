"""What ends a run or misleads elsewhere: HEIC, folders that are none of the user's, archives as they come, reasons that are lost"""
import io, os, shutil, sys
from pathlib import Path
import numpy as np, pytest
from PIL import Image
from animal_clf.app.uploads import open_upload
from animal_clf.cleaning.detect import find_issues
from animal_clf.core.images import open_photo, register_heic
from animal_clf.core.settings import DataError, PhotoError, offline_arch, percent
from animal_clf.core.settings import percent
from animal_clf.data.folders import find_ignored, find_rows
from animal_clf.data.labels import warn_imbalance
from animal_clf.data.splits import read_photos
from animal_clf.inference.bulk import iter_photos
from animal_clf.scraping.decode import inspect_photo
from animal_clf.synthetic.animals import draw_animal
from animal_clf.training.model_info import read_info
from commands import done, fails, shell
from files import contents

@pytest.fixture(autouse=True)
def alone(empty_folder): pass

def fill(folder, animal='fox', n=4, start=1, suffix='png'):
    "`n` drawings"
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(start, start + n): draw_animal(animal, index=i, px=96).save(folder/f'{i}.{suffix}')
    return folder

def two_classes(folder='pets'): return fill(f'{folder}/fox').parent, fill(f'{folder}/seal', 'seal').parent


# --- HEIC

@pytest.fixture
def phone():
    "A photo as phones store it, held sideways, and its upright pixels"
    import pillow_heif
    img = draw_animal('fox', index=1, px=160)
    pillow_heif.from_pillow(img).save('IMG_1.HEIC', quality=95)
    return Path('IMG_1.HEIC'), img

@pytest.fixture
def no_heic(own_cache, monkeypatch):
    "As where pillow-heif is not installed"
    monkeypatch.setitem(sys.modules, 'pillow_heif', None)
    for o in ('OPEN', 'MIME', 'EXTENSION'): monkeypatch.delitem(getattr(Image, o), 'HEIF', raising=False)
    register_heic.cache_clear()
    yield
    register_heic.cache_clear()

def close(a, b): return np.abs(np.asarray(a.convert('RGB'), int) - np.asarray(b.convert('RGB'), int)).mean() < 6

def test_photos_of_phones_are_opened_everywhere(phone):
    file, img = phone
    assert close(open_photo(file), img) and close(open_upload(file.read_bytes()), img)
    assert inspect_photo(file, 400)['code'] == ''
    two_classes()
    shutil.copy(file, 'pets/fox/phone.HEIC')
    photos = read_photos('pets')
    assert len(photos.skipped) == 0 and photos.table.path.str.endswith('.HEIC').sum() == 1

def test_without_the_package_the_reason_names_it(phone, no_heic):
    two_classes()
    shutil.copy(phone[0], 'pets/fox/phone.HEIC')
    with pytest.raises(PhotoError, match=r"is a HEIC photo; pip install 'animal-clf\[heic\]' to read it"): open_photo(phone[0])
    row = read_photos('pets').skipped.iloc[0]
    assert (Path(row.path).name, row.code) == ('phone.HEIC', 'no_decoder') and 'animal-clf[heic]' in row.reason

def test_what_only_lacks_a_decoder_is_not_set_aside(phone, no_heic):
    two_classes()
    shutil.copy(phone[0], 'pets/fox/phone.HEIC')
    Path('pets/fox/broken.jpg').write_bytes(b'')
    issues = find_issues('pets').table.set_index('path')
    assert issues.action['fox/phone.HEIC'] == 'look' and issues.action['fox/broken.jpg'] == 'drop'
    done('clean', 'pets', '--apply')
    assert Path('pets/fox/phone.HEIC').exists() and not Path('pets/fox/broken.jpg').exists()

def test_a_damaged_one_says_so(phone):
    Path('cut.heic').write_bytes(phone[0].read_bytes()[:200])
    with pytest.raises(PhotoError) as e: open_photo('cut.heic')
    assert e.value.code == 'unreadable'


# --- folders that are none of the user's

def test_a_run_in_its_own_folder_can_be_repeated(monkeypatch):
    two_classes()
    monkeypatch.chdir('pets')
    done('train', '--data', '.', '--arch', offline_arch)
    assert Path('models/pets/model.json').exists()
    said = done('train', '--data', '.', '--arch', offline_arch)
    assert read_info('models/pets').classes == ['fox', 'seal'] and 'models: holds models, not photos' in said

@pytest.mark.parametrize('name', ['__MACOSX', '$RECYCLE.BIN', '@eaDir', 'lost+found', 'annotations'])
def test_folders_of_the_system_do_not_stop_a_run(name):
    folder = two_classes()[0]
    fill(folder/name/'fox' if name == 'annotations' else folder/name)
    (folder/name/'note.txt').write_text('x')
    assert set(find_rows(folder).label) == {'fox', 'seal'}
    if name == 'annotations': assert find_ignored(folder)[['path', 'reason']].values.tolist() == [[str(folder/name), 'holds annotations, not photos']]

def test_folders_without_photos_are_listed_together():
    two_classes()
    for name in ('a', 'b', 'c'): Path('pets', name).mkdir()
    with pytest.raises(DataError, match='no photos in `pets/a`, `pets/b`, `pets/c`; .* remove those folders'): find_rows('pets')


# --- archives as they come

def test_kaggles_cats_and_dogs():
    "training_set/training_set/cats, test_set/test_set/cats: the splits are what they are called"
    for split,n,start in (('training', 4, 1), ('test', 3, 7)):
        for animal in ('fox', 'seal'): fill(f'archive/{split}_set/{split}_set/{animal}s', animal, n, start)
    rows = find_rows('archive')
    assert rows.groupby(['split', 'label']).size().to_dict() == {('test', 'foxs'): 3, ('test', 'seals'): 3, ('train', 'foxs'): 4, ('train', 'seals'): 4}
    assert set(read_photos('archive').table.split) == {'train', 'valid', 'test'}

def test_oxfords_pets():
    "images/Abyssinian_1.jpg beside annotations/: the labels are in the names, and that is said; a table of them is what leads on"
    for name,animal in (('Abyssinian', 'fox'), ('Bengal', 'seal'), ('english_setter', 'wolf')):
        for i in range(1, 5): draw_animal(animal, index=i, px=96).save(fill('pets/images', n=0)/f'{name}_{i}.png')
    fill('pets/annotations/trimaps')
    for folder in ('pets', 'pets/images'):
        said = fails('train', '--data', folder, '--arch', offline_arch)
        assert 'begin with the class (Abyssinian, Bengal, english_setter): write a table path,label' in said
    photos = sorted(Path('pets/images').iterdir())
    Path('pets/photos.csv').write_text('path,label\n' + ''.join(f"images/{o.name},{o.stem.rpartition('_')[0]}\n" for o in photos))
    assert read_photos('pets/photos.csv').classes == ('Abyssinian', 'Bengal', 'english_setter')

def test_breeds_within_species():
    "Following the words of the error leads to a model that knows both levels"
    for group,names in dict(dog=('fox', 'wolf'), cat=('tiger', 'seal')).items():
        for name in names: fill(f'pets/{group}/{name}', name, 5)
    said = fails('train', '--data', 'pets', '--arch', offline_arch)
    assert 'photos two levels below `pets`' in said and '--groups folders' in said
    done('train', '--data', 'pets', '--groups', 'folders', '--arch', offline_arch)
    info = read_info('models/pets')
    assert info.classes == ['fox', 'seal', 'tiger', 'wolf'] and info.groups == dict(fox='dog', wolf='dog', tiger='cat', seal='cat')
    for group,names in dict(dog=('fox', 'wolf'), cat=('tiger', 'seal')).items():
        for name in names: fill(f'new/{group}/{name}', name, 2, start=20)
    assert 'test accuracy' in done('evaluate', 'models/pets', '--data', 'new')

def test_one_class_in_two_groups_is_refused():
    for group in ('a', 'b'): fill(f'pets/{group}/fox')
    with pytest.raises(DataError, match="the class 'fox' in two groups"): find_rows('pets', two_levels=True)


# --- reasons

def test_a_class_whose_photos_all_fail_says_why(no_heic):
    fill('pets/fox')
    Path('pets/seal').mkdir()
    for i in range(9): Path(f'pets/seal/{i}.heic').write_bytes(b'\0\0\0\x18ftypheic' + bytes(90))
    with pytest.raises(DataError, match=r"0 readable photos of 'seal' in `pets`; 9 can not be used \(9 no_decoder\), such as `pets/seal/0.heic` is a HEIC photo; pip install .*; `pets/seal/1.heic` .*; `pets/seal/2.heic` "): read_photos('pets')

def test_wrong_paths_in_a_table_say_why():
    fill('pets/fox')
    Path('pets/photos.csv').write_text('path,label\n' + ''.join(f'fox/{i}.png,fox\n' for i in range(1, 5)) + ''.join(f'seals/{i}.png,seal\n' for i in range(5)))
    with pytest.raises(DataError, match=r"0 readable photos of 'seal' .* 5 can not be used \(5 missing\), such as `pets/seals/0.png` is not there"): read_photos('pets/photos.csv')

def test_the_same_photos_in_two_classes_say_why():
    two_classes()
    for o in Path('pets/fox').iterdir(): shutil.copy(o, Path('pets')/'seal'/f'fox {o.name}')
    fill('pets/wolf', 'wolf')
    shutil.rmtree('pets/seal'); shutil.copytree('pets/fox', 'pets/seal')
    code, _, err = shell('train', '--data', 'pets', '--arch', offline_arch)
    assert code == 1 and err.count('\n') == 1 and ("another label" in err or 'duplicate' in err or 'copies' in err)


# --- names

@pytest.mark.parametrize('name', ['①', '10²', '٣', 'Ⅷ'])
def test_digits_that_are_no_numbers(name):
    fill(f'pets/{name}')
    fill('pets/fox', 'wolf')
    assert name in find_rows('pets').label.tolist()
    done('train', '--data', 'pets', '--arch', offline_arch)

@pytest.mark.skipif(os.name == 'nt', reason='names are text there')
def test_a_class_folder_that_is_not_utf8_is_told_at_once():
    fill('pets/fox')
    os.mkdir(os.fsencode('pets') + b'/f\xe9lin')
    shutil.copy('pets/fox/1.png', os.fsdecode(b'pets/f\xe9lin/1.png'))
    before = contents('.')
    said = fails('train', '--data', 'pets', '--arch', offline_arch)
    assert r'the label `f\xe9lin` in `pets`; expected a name in UTF-8' in said and contents('.') == before


# --- fonts

def make_font(file, name, letters):
    "A font with a square for each of `letters`"
    from fontTools.fontBuilder import FontBuilder
    from fontTools.pens.ttGlyphPen import TTGlyphPen
    pen = TTGlyphPen(None)
    for place,move in (((0, 0), pen.moveTo), ((0, 700), pen.lineTo), ((700, 700), pen.lineTo), ((700, 0), pen.lineTo)): move(place)
    pen.closePath()
    glyphs = {'.notdef': pen.glyph(), **{f'g{i}': pen.glyph() for i in range(len(letters))}}
    font = FontBuilder(1000, isTTF=True)
    font.setupGlyphOrder(list(glyphs)); font.setupCharacterMap({ord(o): f'g{i}' for i,o in enumerate(letters)}); font.setupGlyf(glyphs)
    font.setupHorizontalMetrics({o: (800, 0) for o in glyphs}); font.setupHorizontalHeader(ascent=800, descent=-200)
    font.setupNameTable(dict(familyName=name, styleName='Regular')); font.setupOS2(); font.setupPost(); font.save(file)

@pytest.fixture
def drawn_warnings():
    "What matplotlib warns of while a picture is drawn"
    import warnings
    from matplotlib import rc_context
    with warnings.catch_warnings(record=True) as told, rc_context():
        warnings.simplefilter('always')
        yield told

chinese = dict(classes=['狐', '狼', 'fox'], confusion=[[3, 1, 0], [0, 4, 0], [1, 0, 3]])

def draw_confusion():
    import matplotlib.pyplot as plt
    from animal_clf.evaluation.plots import plot_confusion_matrix
    ax = plot_confusion_matrix(chinese)
    ax.figure.canvas.draw()
    plt.close(ax.figure)
    return {o.get_text() for o in ax.get_yticklabels()}

def test_names_that_no_font_has_are_numbers(drawn_warnings, monkeypatch):
    from matplotlib.font_manager import fontManager
    monkeypatch.setattr(fontManager, 'ttflist', [o for o in fontManager.ttflist if o.name == 'DejaVu Sans'])
    assert draw_confusion() == {'1', '2', 'fox'}
    told = [str(o.message) for o in drawn_warnings]
    assert not [o for o in told if 'Glyph' in o] and any('2 of 3 class names' in o and 'fonts-noto-cjk' in o for o in told)

def test_a_font_of_the_system_is_used(drawn_warnings, monkeypatch):
    from matplotlib.font_manager import fontManager
    make_font('kitsune.ttf', 'Kitsune Test', '狐狼')
    monkeypatch.setattr(fontManager, 'ttflist', [o for o in fontManager.ttflist if o.name == 'DejaVu Sans'])
    fontManager.addfont('kitsune.ttf')
    assert draw_confusion() == {'狐', '狼', 'fox'} and not drawn_warnings

def test_the_report_says_which_number_is_which(monkeypatch):
    from matplotlib.font_manager import fontManager
    monkeypatch.setattr(fontManager, 'ttflist', [o for o in fontManager.ttflist if o.name == 'DejaVu Sans'])
    for name,animal in (('狐', 'fox'), ('seal', 'seal'), ('🐯', 'tiger')): fill(f'pets/{name}', animal, 6)
    code, out, err = shell('run', '--data', 'pets', '--arch', offline_arch)
    assert code == 0 and err.count('\n') == 1 and '2 of 3 class names: pictures have numbers' in err
    page = Path('models/pets/report/report.html').read_text(encoding='utf8')
    assert ': 2 狐, 3 🐯.' in page and 'fonts-noto-cjk' in page


# --- rough edges

def test_a_photo_of_a_pixel_is_a_row():
    folder = two_classes()[0]
    Image.new('RGB', (1, 1)).save(folder/'fox'/'counter.gif')
    row = read_photos(folder).skipped.iloc[0]
    assert (Path(row.path).name, row.code, row.reason) == ('counter.gif', 'too_small', 'is 1 × 1 px, at least 4 needed')

@pytest.mark.parametrize('name,mark', [('pets/photos.tsv', '\t'), ('pets/photos.txt', ';'), ('pets/photos.csv', ',')])
def test_tables_with_tabs_or_semicolons(name, mark):
    "Read by `run` and by `predict`"
    two_classes()
    rows = [f'{o}/{i}.png{mark}{o}' for o in ('fox', 'seal') for i in range(1, 5)]
    Path(name).write_text(f'path{mark}label\n' + '\n'.join(rows) + '\n')
    assert find_rows(name).label.tolist() == ['fox']*4 + ['seal']*4
    assert [Path(o).name for o in iter_photos(name)] == [f'{i}.png' for i in (1, 2, 3, 4)]*2

def test_a_byte_order_mark_on_standard_input(monkeypatch):
    stdin = type('Stdin', (), dict(buffer=io.BytesIO(b'\xef\xbb\xbfa.jpg\r\n\r\n  \nb.jpg')))
    monkeypatch.setattr('sys.stdin', stdin)
    assert list(iter_photos('-')) == ['a.jpg', 'b.jpg']

def test_balance_is_not_recommended_where_it_is_chosen():
    fill('pets/fox', n=9); fill('pets/seal', 'seal', n=3)
    photos = read_photos('pets', n_test=1)
    assert '--balance' in warn_imbalance(photos) and '--balance' not in warn_imbalance(photos, balance='loss')

def test_shares_are_not_rounded_to_all_or_nothing():
    assert [percent(o) for o in (1, .998, .9951, 2/1994, .00001, 0, .5)] == ['100%', '99.8%', '99.5%', '0.1%', '0.1%', '0%', '50%']
