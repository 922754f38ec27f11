"""Odd folders and tables, and splits that keep groups of photos together"""
from collections import Counter

import numpy as np, pandas as pd, pytest
from animal_clf.core.settings import DataError
from animal_clf.data.splits import choose_validation, hold_out, read_photos
from animal_clf.data.folders import find_ignored, find_rows
from animal_clf.synthetic.animals import draw_animals

def lay_out(folder, *paths):
    for o in paths:
        (folder/o).parent.mkdir(parents=True, exist_ok=True)
        (folder/o).touch()
    return folder

def short(rows, folder): return sorted(o.removeprefix(f'{folder}/') for o in rows.path)

# shape: files that are photos of a class, files that are left out with a reason, files that are nobody's business
shapes = dict(
    classes=(['fox/1.jpg', 'seal/1.jpg'], ['1.jpg', 'fox/a/b/c.png'], ['set-aside/duplicate/fox/1.jpg', 'Set-Aside/x.jpg', '.git/x.jpg', 'fox/.x.jpg', 'fox/notes.txt']),
    splits=(['train/fox/1.jpg', 'TEST/fox/1.jpg', 'val/fox/1.webp'], ['1.jpg', 'train/1.jpg', 'val/fox/more/1.jpg'], ['set-aside/leak/fox/1.jpg', 'train/set-aside/fox/1.jpg']),
    collection=(['photos/fox/1.jpg', 'photos/seal/1.jpg'], ['photos/1.jpg', 'photos/fox/more/1.jpg'], ['raw/fox/1.png', 'raw/wolf/1.png', 'set-aside/label/fox/1.jpg', 'manifest.csv', 'review.png']),
    collection_with_more=(['photos/fox/1.jpg', 'photos/seal/1.jpg'], [], ['raw/fox/1.png', 'mine/1.jpg', 'manifest.csv']),
    class_called_photos=(['photos/1.jpg', 'fox/1.jpg'], [], []),
    set_aside_alone_beside=(['photos/train/1.jpg'], [], ['set-aside/train/1.jpg']),
)

@pytest.mark.parametrize('shape', shapes)
def test_what_is_read_what_is_ignored_and_what_is_set_aside(shape, tmp_path):
    photos, ignored, others = shapes[shape]
    lay_out(tmp_path, *photos, *ignored, *others)
    assert short(find_rows(tmp_path), tmp_path) == sorted(photos)
    left = find_ignored(tmp_path)
    assert short(left, tmp_path) == sorted(ignored) and (left.reason != '').all()
    assert set(find_rows(tmp_path).label) & {'set-aside', 'Set-Aside'} == set()

def test_splits_with_photos_but_without_classes(tmp_path):
    lay_out(tmp_path, 'train/cat.1.jpg', 'train/dog.1.jpg', 'test/1.jpg')
    with pytest.raises(DataError, match='photos directly in .*(train|test)`, so nothing says what they show.*Sort them'): find_rows(tmp_path)

def test_a_folder_beside_splits(tmp_path):
    lay_out(tmp_path, 'train/fox/1.jpg', 'test/fox/1.jpg', 'pictures/1.jpg')
    with pytest.raises(DataError, match='pictures` beside `test'): find_rows(tmp_path)

def test_what_was_ignored_is_among_the_skipped(tmp_path):
    draw_animals(tmp_path/'drawn', 4, ['fox', 'seal'], px=64)
    (tmp_path/'drawn'/'fox'/'more').mkdir()
    for o in ('fox_9.jpg', 'fox/more/fox_9.jpg'): (tmp_path/'drawn'/o).write_bytes((tmp_path/'drawn'/'fox'/'fox_0001.jpg').read_bytes())
    data = read_photos(tmp_path/'drawn')
    assert len(data.table) == 8 and data.classes == ('fox', 'seal')
    assert data.skipped.label.tolist() == ['', 'fox'] and data.skipped.reason.str.contains('lies ').all()

def test_a_table_ignores_nothing(tmp_path):
    lay_out(tmp_path, 'a.jpg', 'b.jpg')
    (tmp_path/'t.csv').write_text('path,label\na.jpg,fox\n')
    assert len(find_ignored(tmp_path/'t.csv')) == 0


# --- splits

def rows_of(rng, n_classes, groups=0):
    "Some classes of 3 to 60 photos, in groups if wanted, the rows numbered anyhow"
    labels = np.repeat([f'c{i}' for i in range(n_classes)], rng.integers(3, 60, n_classes))
    rows = pd.DataFrame(dict(label=labels), index=rng.permutation(1000)[:len(labels)])
    return rows.assign(group=rng.integers(groups, size=len(rows))) if groups else rows

@pytest.mark.parametrize('seed', range(20))
def test_without_groups_the_split_is_the_plain_one(seed):
    rng = np.random.default_rng(seed)
    rows = rows_of(rng, 5).sample(frac=1, random_state=seed)
    size = rows.groupby('label').label.transform('size')
    n_test, share = int(rng.integers(1, 30)), rng.uniform(.05, .8)
    first = rows.groupby('label').cumcount() < np.minimum(n_test, np.maximum(size//3, 1))
    order = pd.Series(np.random.default_rng(seed).random(len(rows)), rows.index)
    some = order.groupby(rows.label).rank(method='first') <= np.maximum(np.round(size*share), 1)
    for o in (rows, rows.assign(group=rng.permutation(len(rows)))):
        pd.testing.assert_series_equal(hold_out(o, n_test), first, check_names=False)
        pd.testing.assert_series_equal(choose_validation(o, share, seed), some, check_names=False)

@pytest.mark.parametrize('seed', range(40))
def test_groups_stay_together_and_no_split_goes_without(seed):
    rng = np.random.default_rng(seed)
    rows = rows_of(rng, 4, groups=int(rng.integers(20, 200)))
    test = hold_out(rows, 20)
    rest = rows[~test]
    valid = choose_validation(rest, .2, seed)
    assert not set(rows.group[test]) & set(rest.group) and not set(rest.group[valid]) & set(rest.group[~valid])
    size = rows.label.value_counts()
    for name,n in rows.label[test].value_counts().items(): assert n <= max(min(20, size[name]//3), rows.groupby('group').size().max())
    for name in size.index[rows.groupby('label').group.nunique().reindex(size.index) >= 6]:
        for o in (rows.label[test], rest.label[valid], rest.label[~valid]): assert name in set(o)

def test_large_groups_leave_something_for_each_split():
    rows = pd.DataFrame(dict(label='fox', group=[0]*7 + [1, 2]))
    test = hold_out(rows)
    valid = choose_validation(rows[~test], .5)
    assert Counter(rows.group[test]) == {1: 1} and Counter(rows[~test].group[valid]) == {2: 1}

def test_read_data_keeps_groups_together(tmp_path):
    folder = draw_animals(tmp_path/'drawn', 12, ['fox', 'seal'], px=64)
    data = read_photos(folder, n_test=4, find_groups=lambda paths: [int(o[-6:-4]) % 5 for o in paths])
    assert data.table.groupby('group').split.nunique().max() == 1 and set(data.table.split) == {'train', 'valid', 'test'}

def test_ready_splits_are_not_looked_at(tmp_path):
    draw_animals(tmp_path/'drawn', 6, ['fox', 'seal'], px=64)
    rows = find_rows(tmp_path/'drawn').assign(split=['train', 'valid', 'test']*4)
    rows.to_csv(tmp_path/'t.csv', index=False)
    data = read_photos(tmp_path/'t.csv', find_groups=lambda paths: pytest.fail('asked for groups'))
    assert data.table.split.tolist() == rows.split.tolist()
