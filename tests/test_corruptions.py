"""Planted faults: what they do to a folder, and whether they are what they say"""
import shutil
from collections import Counter
from pathlib import Path

import numpy as np, pytest
from PIL import Image, ImageFilter, ImageOps
from animal_clf.core.settings import DataError, PhotoError, SettingsError
from animal_clf.core.images import open_photo
from animal_clf.core.photo_files import find_photos
from animal_clf.cleaning.corruptions import copy_kinds, corruption_kinds, picture_kinds, add_corruptions
from animal_clf.data.folders import find_rows
from animal_clf.synthetic.animals import draw_animal, draw_animals
from files import contents

classes = ('fox', 'seal', 'zebra')

@pytest.fixture(scope='module')
def drawn(tmp_path_factory): return draw_animals(tmp_path_factory.mktemp('drawn')/'animals', 20, classes, px=96)

@pytest.fixture
def flat(drawn, tmp_path): return shutil.copytree(drawn, tmp_path/'flat')

@pytest.fixture
def split(drawn, tmp_path):
    "Ready splits, under names of their own"
    for o in drawn.glob('*/*.jpg'):
        to = tmp_path/'split'/('Testing' if int(o.stem[-4:]) <= 5 else 'training')/o.parent.name
        to.mkdir(parents=True, exist_ok=True)
        shutil.copy(o, to)
    return tmp_path/'split'

def pixels(path, size=(32, 32)): return np.asarray(open_photo(path).resize(size, Image.Resampling.BOX), float)

def test_nothing_is_overwritten_or_lost(flat):
    before = contents(flat)
    table = add_corruptions(flat)
    after = contents(flat)
    moved = table[table.kind == 'wrong_label']
    assert Counter(table.kind) == dict.fromkeys(corruption_kinds, 3) and len(after) == len(before) + len(table) - len(moved)
    for old,new in zip(moved.source, moved.path): assert old not in after and after[new] == before[old]
    assert all(after[o] == before[o] for o in set(before) - set(moved.source))
    assert set(table.path) == set(after) - set(before)

def test_names_that_are_taken_are_left_alone(flat):
    one = add_corruptions(flat, dict(exact=60))
    before = contents(flat)
    other = add_corruptions(flat, dict(exact=120))                                 # every photo a second time
    assert set(one.source) < set(other.source) and not set(other.path) & set(before)
    assert {k: v for k,v in contents(flat).items() if k in before} == before

@pytest.mark.parametrize('across', [False, True])
def test_copies_stand_where_they_should(split, across):
    side = {Path(o.path).relative_to(split).as_posix(): o.split for o in find_rows(split).itertuples()}
    table = add_corruptions(split, dict.fromkeys(copy_kinds, 4), across=across)
    for o in table.itertuples():
        assert (side[o.source] != o.split) == across and o.label == Path(o.source).parent.name == Path(o.path).parent.name
        assert Path(o.path).parts[0] == dict(test='Testing', train='training')[o.split] and (split/o.path).is_file()
    assert set(table.split) == {'train', 'test'} and len(find_rows(split)) == len(side) + 24

def test_copies_show_the_same_and_the_rest_does_not(flat):
    table = add_corruptions(flat, dict.fromkeys([*copy_kinds, 'no_animal', 'logo'], 6))
    apart = {o.path: abs(pixels(flat/o.path) - (pixels(flat/o.source)[:, ::-1] if o.kind == 'mirrored' else pixels(flat/o.source))).mean() for o in table.itertuples()}
    apart = table.assign(apart=table.path.map(apart)).groupby('kind').apart
    assert (apart.max()[['exact', 'recompressed', 'rescaled', 'mirrored']] < 6).all() and apart.max()['exact'] == 0
    assert (apart.min()[['watermarked', 'cropped']] > .5).all() and apart.mean()['watermarked'] < 15 and apart.min()['no_animal'] > 12

def test_each_variety_takes_its_turn(flat):
    table = add_corruptions(flat, dict(rescaled=6, recompressed=8, unreadable=6, no_animal=12, tiny=4, wrong_label=5)).groupby('kind').detail
    assert Counter(table.get_group('rescaled')) == {'0.5x': 2, '0.7x': 2, '1.4x': 2}
    assert Counter(o.split()[0] for o in table.get_group('recompressed')) == dict(JPEG=4, WEBP=2, PNG=2)
    assert Counter(table.get_group('unreadable')) == {'torn off': 2, 'web page': 2, 'empty': 2}
    assert set(Counter(table.get_group('no_animal')).values()) == {2}
    assert table.get_group('wrong_label').str.match(f'was ({"|".join(classes)})$').all()

def test_sizes_and_damage(flat):
    table = add_corruptions(flat, dict(rescaled=3, cropped=3, tiny=4, unreadable=6, blurred=3))
    for o in table.itertuples():
        size = open_photo(flat/o.source).size
        if o.kind == 'unreadable':
            with pytest.raises(PhotoError): open_photo(flat/o.path)
            continue
        got = open_photo(flat/o.path).size
        if o.kind == 'rescaled': assert got == tuple(round(float(o.detail[:-1])*i) for i in size)
        if o.kind == 'cropped': assert got == tuple(round(.9*i) for i in size)
        if o.kind == 'tiny': assert max(got) == (24 if o.detail == '24 px' else max(size))
        if o.kind == 'blurred':
            edges = [np.asarray(open_photo(flat/i).convert('L').filter(ImageFilter.FIND_EDGES).crop((2, 2, 60, 60))).std() for i in (o.path, o.source)]
            assert edges[0] < edges[1]

def test_planted_by_seed(drawn, tmp_path):
    tables = [add_corruptions(shutil.copytree(drawn, tmp_path/name), seed=seed) for name,seed in (('a', 1), ('b', 1), ('c', 2))]
    assert tables[0].equals(tables[1]) and contents(tmp_path/'a') == contents(tmp_path/'b') != contents(tmp_path/'c')

def test_a_share_of_the_photos(flat):
    table = add_corruptions(flat, dict(wrong_label=.05, exact=.1))
    assert Counter(table.kind) == dict(wrong_label=3, exact=6)

def test_a_second_call_leaves_the_first_alone(flat):
    one = add_corruptions(flat, dict(exact=20, wrong_label=10))
    other = add_corruptions(flat, dict(mirrored=30), planted=one)
    assert not {*other.source, *other.path} & {*one.source, *one.path}
    with pytest.raises(SettingsError, match='at most one for each photo'): add_corruptions(flat, dict(exact=61), planted=one)

def test_broken_photos_are_no_hosts(flat):
    for o in find_photos(flat/'fox'): o.write_bytes(b'')
    table = add_corruptions(flat, dict(exact=40))
    assert set(table.label) == {'seal', 'zebra'}
    with pytest.raises(SettingsError, match='41 faults for 40 readable photos'): add_corruptions(flat, dict(exact=41), planted=table.assign(source=''))

def test_a_collection_as_download_makes_it(drawn, tmp_path):
    shutil.copytree(drawn, tmp_path/'c'/'photos')
    for o in ('raw/fox/1.png', 'set-aside/label/fox/1.jpg', 'manifest.csv'):
        (tmp_path/'c'/o).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path/'c'/o).touch()
    table = add_corruptions(tmp_path/'c')
    assert table.path.str.startswith('photos/').all() and set(table.label) == set(classes)

def test_given_pictures_come_first(flat, tmp_path):
    draw_animal('wolf', px=300).save(tmp_path/'mine.png')
    grey = np.full((50, 500), 120, np.uint8)
    table = add_corruptions(flat, dict(no_animal=4), non_animals=[grey, str(tmp_path/'mine.png'), Image.new('RGBA', (20, 20))])
    assert table.detail.tolist() == ['given', 'mine.png', 'given', 'gradient']
    assert all(max(open_photo(flat/o.path).size) <= max(open_photo(flat/o.source).size) for o in table.itertuples())

def test_what_is_refused_changes_nothing(flat, tmp_path):
    before = contents(flat)
    for wrong in (dict(counts=dict(exakt=1)), dict(counts=dict(exact=1.5)), dict(counts=dict(exact=-1)), dict(counts=dict(exact=61)), dict(across=True)):
        with pytest.raises((SettingsError, DataError)): add_corruptions(flat, **wrong)
    assert contents(flat) == before
    with pytest.raises(DataError, match='no folder'): add_corruptions(tmp_path/'none')
    shutil.rmtree(flat/'fox'); shutil.rmtree(flat/'seal')
    with pytest.raises(DataError, match='2 or more for wrong labels'): add_corruptions(flat, dict(wrong_label=1))
    assert len(add_corruptions(flat, dict.fromkeys(picture_kinds, 1))) == len(picture_kinds)
