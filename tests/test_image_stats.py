"""Looks of photos and groups of copies: odd pictures, damaged caches, order, and what is not a copy"""
import os, shutil, warnings
from pathlib import Path

import numpy as np, pytest
from PIL import Image, ImageOps
from animal_clf.core.settings import SettingsError
from animal_clf.vision.duplicates import find_candidates, find_near_duplicates, group_near_duplicates
from animal_clf.vision.image_stats import compute_image_stats, image_stats
from animal_clf.synthetic.animals import draw_animal

@pytest.fixture(autouse=True)
def alone(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv('ANIMAL_CLF_CACHE', str(tmp_path/'cache'))

def numbers(look): return [float(look[o]) for o in look.dtype.names if o != 'grey']
def groups(numbers): return sorted(tuple(np.flatnonzero(numbers == o)) for o in set(numbers))
def greys(*pictures):
    for i,img in enumerate(pictures): img.save(f'{i}.png')
    return np.stack([image_stats(f'{i}.png')['grey'] for i in range(len(pictures))])


# --- looks

@pytest.mark.parametrize('mode', ['1', 'L', 'LA', 'P', 'RGB', 'RGBA', 'CMYK', 'I;16'])
@pytest.mark.parametrize('size', [(1, 1), (3, 500), (500, 3), (2, 2), (300, 200)], ids=str)
def test_every_size_and_mode_has_a_finite_look(mode, size):
    for value in (0, 1) if mode == '1' else (0, 255):
        name = 'a.tif' if mode in ('CMYK', 'I;16') else 'a.png'
        Image.new(mode, size, value if mode in ('1', 'L', 'P', 'I;16') else (value,)*len(Image.new(mode, (1, 1)).getbands())).save(name)
        with warnings.catch_warnings():
            warnings.simplefilter('error')
            look = image_stats(name)
        assert np.isfinite(numbers(look)).all() and (look['width'], look['height']) == size
        assert look['sharpness'] < 1 and look['flatness'] > .9 and look['colours'] == 1 and look['seam'] == 0

def test_a_photo_held_sideways_has_the_look_of_its_upright_copy():
    fox, exif = draw_animal('fox', index=1, px=128), Image.Exif()
    exif[274] = 6
    fox.save('a.png')
    fox.transpose(Image.Transpose.ROTATE_90).save('b.png', exif=exif)
    assert (image_stats('a.png')['grey'] == image_stats('b.png')['grey']).all()

def test_order_copies_and_unreadable_files():
    for name,i in dict(a=1, b=2, c=3).items(): draw_animal('fox', index=i, px=64).save(f'{name}.png')
    shutil.copy('b.png', 'same.png')
    for name in ('x.jpg', 'y.jpg'): Path(name).write_text('<html>')
    paths = ['y.jpg', 'c.png', 'same.png', 'a.png', 'gone.png', 'x.jpg', 'b.png', 'c.png']
    for _ in range(2):   # the second time from the cache
        looks = compute_image_stats(paths)
        assert [o.name for o in looks.paths] == ['c.png', 'same.png', 'a.png', 'b.png', 'c.png'] and len(looks) == len(looks.hashes) == 5
        assert (looks.values[1] == looks.values[3]) and (looks.values[0] == looks.values[4]) and looks.values[0] != looks.values[2]
        assert {Path(o['path']).name for o in looks.skipped} == {'x.jpg', 'y.jpg', 'gone.png'} and all(o['reason'] for o in looks.skipped)

@pytest.mark.parametrize('damage', [b'', b'junk', None], ids=['empty', 'junk', 'half'])
def test_a_damaged_cache_is_made_anew(damage):
    draw_animal('fox', index=1, px=64).save('a.png')
    wanted = compute_image_stats(['a.png']).values
    file, = Path('cache/stats').rglob('*.npz')
    file.write_bytes(file.read_bytes()[:300] if damage is None else damage)
    assert (compute_image_stats(['a.png']).values == wanted).all()

def test_a_photo_that_changes_gets_a_new_look():
    draw_animal('fox', index=1, px=64).save('a.png')
    old = compute_image_stats(['a.png']).values
    draw_animal('seal', index=1, px=64).save('a.png')
    assert (compute_image_stats(['a.png']).values != old).all()


# --- copies

def altered(img):
    w, h = img.size
    return [img, img.resize((w//2, h//2)), img.crop((w//20, h//20, w*19//20, h*19//20)), ImageOps.mirror(img)]

@pytest.mark.parametrize('seed', range(3))
def test_groups_do_not_depend_on_the_order(seed):
    pictures = [o for i in (1, 2, 3) for o in altered(draw_animal('fox', index=i, px=160))] + [draw_animal('wolf', index=i, px=160) for i in (4, 5, 6)]
    grey, order = greys(*pictures), np.random.default_rng(seed).permutation(len(pictures))
    wanted = [(0, 1, 2, 3), (4, 5, 6, 7), (8, 9, 10, 11), (12,), (13,), (14,)]
    assert groups(find_near_duplicates(grey)) == wanted
    mixed = find_near_duplicates(grey[order])
    assert sorted(tuple(sorted(order[list(o)])) for o in groups(mixed)) == wanted
    assert all(mixed[o[0]] == min(o) for o in groups(mixed))   # a group has the number of its first photo

def test_blank_pictures_are_copies_only_of_their_like():
    colours = ['white', 'black', 'white', 'grey']
    assert groups(find_near_duplicates(greys(*[Image.new('RGB', (50, 40 + i), o) for i,o in enumerate(colours)]))) == [(0, 2), (1,), (3,)]

def test_few_photos():
    one = greys(draw_animal('fox', index=1, px=64))
    assert find_near_duplicates(one[:0]).tolist() == [] and find_near_duplicates(one).tolist() == [0] and find_near_duplicates(one[[0, 0]]).tolist() == [0, 0]
    assert find_candidates(one).shape == (0, 2) and group_near_duplicates([]).tolist() == []

def test_unreadable_photos_are_groups_of_their_own():
    for name in ('a', 'b'): draw_animal('fox', index=1, px=64).save(f'{name}.png')
    for name in ('x', 'y'): Path(f'{name}.png').write_bytes(b'')
    assert group_near_duplicates(['x.png', 'a.png', 'y.png', 'b.png', 'gone.png']).tolist() == [0, 1, 2, 1, 4]

@pytest.mark.parametrize('threshold', [0, -1, 1.1, float('nan')])
def test_a_threshold_that_makes_no_sense(threshold):
    with pytest.raises(SettingsError): find_near_duplicates(np.zeros((2, 32, 32), np.uint8), threshold=threshold)
