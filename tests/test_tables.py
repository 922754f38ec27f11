"""The user's own split, labels that are one word to people, and the same bytes twice: in tables, folders, groups and commands"""
import json, warnings
from pathlib import Path
import pandas as pd, pytest
from PIL import Image
from animal_clf.core.settings import DataError
from animal_clf.data.folders import find_rows
from animal_clf.data.labels import group_classes
from animal_clf.data.splits import read_photos
from animal_clf.evaluation.holdout import slice_by_source

@pytest.fixture
def folder(tmp_path):
    "12 different plain photos of fox and seal, 6 of each"
    for i in range(12):
        Image.effect_noise((40, 40), 20 + i*17).convert('RGB').save(tmp_path/f'{i}.png')
    return tmp_path

names = ['fox']*6 + ['seal']*6
split = ['train', 'train', 'train', 'valid', 'test', 'test']*2

def table(folder, **columns):
    "A CSV of the photos with these columns"
    rows = pd.DataFrame({k: (v*12)[:12] for k,v in ({'path': [f'{i}.png' for i in range(12)], 'label': names} | columns).items()})
    rows.to_csv(folder/'photos.csv', index=False)
    return folder/'photos.csv'

def splits_of(photos): return [photos.table.set_index('path').split[o] for o in sorted(photos.table.path, key=lambda o: int(Path(o).stem))]

def recorded(function, *args, **kwargs):
    "(result, sentences that were warned of)"
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter('always')
        found = function(*args, **kwargs)
    return found, [str(o.message) for o in told if issubclass(o.category, UserWarning)]


# --- the split

@pytest.mark.parametrize('column', ['split', 'Split', 'SPLIT', ' split ', 'subset', 'Set', 'FOLD', 'partition'])
def test_a_split_is_kept_whatever_its_column_is_called(folder, column):
    photos, told = recorded(read_photos, table(folder, **{column: [o.upper() for o in split]}))
    assert (splits_of(photos), told, photos.held_out) == (split, [], '')

@pytest.mark.parametrize('yes,no', [('True', 'False'), ('1', '0'), (1.0, 0.0), (True, False)])
def test_is_valid_of_fastai_is_kept_and_the_test_set_is_held_out_from_training(folder, yes, no):
    given = [no, no, no, no, yes, yes]*2
    found = splits_of(read_photos(table(folder, is_valid=given)))
    assert [o == 'valid' for o in found] == [o == yes for o in given]
    assert found.count('test') == 2     # a third of the four training photos of each class, rounded down

def test_what_is_not_used_is_told(folder):
    photos, told = recorded(read_photos, table(folder, fold=[0, 1, 2, 3, 4], Patient=['a'], source=['flickr']), n_test=1)
    assert told == [f"{folder}/photos.csv: nothing reads the columns `fold`, `Patient`; none holds a split in words (train, valid or test), so a split is made"]
    assert photos.held_out
    assert recorded(find_rows, table(folder, split=split, is_valid=[True]))[1] == [f'{folder}/photos.csv: nothing reads the column `is_valid`']

def test_the_first_column_of_pandas_is_no_field_too_many(folder):
    file = table(folder, split=split)
    pd.read_csv(file).to_csv(file)      # with its row numbers, under no name
    assert splits_of(read_photos(file)) == split

@pytest.mark.parametrize('columns,part', [(dict(Split=split, split=split), 'the columns `Split` and `split`'), (dict(subset=['train', 'later']), "subset 'later'"),
                                          (dict(is_valid=['True', '7']), "is_valid '7'"), (dict(set=['train', '']), '6 rows without a split')])
def test_a_split_that_can_not_be_meant_is_an_error(folder, columns, part):
    with pytest.raises(DataError, match=part): read_photos(table(folder, **columns))

def test_slices_find_path_and_source_under_any_spelling(folder):
    file = table(folder, Source=['flickr', 'zoo'])
    file.write_text(file.read_text().replace('path', ' Path', 1))
    assert slice_by_source([str(folder/'0.png'), str(folder/'3.png')], file) == ['flickr', 'zoo']

def test_the_command_keeps_the_split_and_tells_what_it_does_not_use(folder, capsys):
    from animal_clf.cli.main import main
    file = table(folder, Subset=split, age=[3])
    assert main(['train', '--data', str(file), '--out', str(folder/'model'), '--recipe', 'head', '--arch', 'tf_efficientnet_lite0']) in (0, None)
    out, err = capsys.readouterr()
    assert '12 photos of 2 classes (6 train, 2 validation, 4 test)' in out
    assert [o for o in err.split('\n') if 'nothing reads' in o] == [f'animal-clf: {file}: nothing reads the column `age`']


# --- labels

composed, decomposed = 'caf\xe9', 'cafe\u0301'

def test_one_word_is_one_label_in_tables(folder):
    assert sorted(set(find_rows(table(folder, label=['fox', 'fox ', composed, decomposed, '\xa0fox', ' fox'])).label)) == [composed, 'fox']

def test_one_word_is_one_label_in_folders_and_their_splits(tmp_path):
    for i,o in enumerate(('train/fox', 'valid/fox ', 'test/fox', f'train/{composed}', f'valid/{decomposed}', f'test/{composed}')):
        (tmp_path/o).mkdir(parents=True)
        Image.effect_noise((40, 40), 20 + 9*i).convert('RGB').save(tmp_path/o/'1.png')
    rows = find_rows(tmp_path)
    assert rows.groupby('label').split.apply(sorted).to_dict() == {o: ['test', 'train', 'valid'] for o in (composed, 'fox')}

@pytest.mark.parametrize('paths', [('Fox/1.png', 'fox/1.png'), ('train/Fox/1.png', 'test/fox/1.png')])
def test_twins_by_case_are_an_error_that_names_both_in_folders(tmp_path, paths):
    for o in paths:
        (tmp_path/o).parent.mkdir(parents=True)
        Image.new('RGB', (9, 9)).save(tmp_path/o)
    with pytest.raises(DataError, match="the labels 'Fox' and 'fox'"): find_rows(tmp_path)

def test_twins_by_case_are_an_error_in_tables_and_groups(folder):
    with pytest.raises(DataError, match="the labels 'Fox' and 'fox'"): find_rows(table(folder, label=['fox', 'seal', 'Fox']))
    photos = read_photos(table(folder))
    with pytest.raises(DataError, match="the labels 'Pet' and 'pet'"): group_classes(photos, dict(fox='Pet', seal='pet'))

def test_groups_are_found_by_one_spelling(folder):
    photos = read_photos(table(folder, label=[composed]*6 + ['seal']*6))
    (folder/'groups.csv').write_text(f' Class,GROUP\n{decomposed}, land\nseal ,sea\n', encoding='utf8')
    assert group_classes(photos, folder/'groups.csv').groups == {composed: 'land', 'seal': 'sea'}

def test_classes_to_collect_are_one_spelling_too(tmp_path):
    from animal_clf.scraping.download import collect_photos
    asked = []
    def search(term): asked.append(term); return iter(())
    rows = collect_photos([f'{decomposed} ', 'fox'], 1, tmp_path/'data', '', search=search)
    assert [o['class'] for o in rows] == [composed, 'fox'] == asked


# --- the same bytes

def copy(folder, a, b): (folder/f'{b}.png').write_bytes((folder/f'{a}.png').read_bytes())

def test_the_same_bytes_in_a_given_split(folder):
    copy(folder, 0, 1)      # twice in training, one label
    copy(folder, 2, 8)      # twice in training, two labels
    copy(folder, 4, 5)      # twice in the test, one label
    copy(folder, 6, 4)      # in the test under another label than in training
    photos, told = recorded(read_photos, table(folder, split=split))
    left_out = {Path(o.path).name: (o.code, o.reason) for o in photos.skipped.itertuples()}
    assert left_out == {'4.png': ('duplicate', 'has the same bytes as a photo with another label')}
    assert told == [f'4 training or validation photos with the same bytes as another, 3 of them under two labels; the first: `{folder}/1.png` and `{folder}/0.png`']

def test_a_test_photo_that_comes_twice_counts_once(folder):
    copy(folder, 4, 5)
    photos, told = recorded(read_photos, table(folder, split=split))
    assert [(Path(o.path).name, o.reason) for o in photos.skipped.itertuples()] == [('5.png', f'has the same bytes as `{folder}/4.png`')]
    assert (len(photos.test), told) == (3, [])
