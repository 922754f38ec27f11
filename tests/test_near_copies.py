"""Different photos are not taken for copies because they share a frame, a scene or a page; what nobody can tell is told, and not done without a person"""
import shutil
from pathlib import Path
import numpy as np, pytest
from PIL import Image, ImageDraw, ImageOps
from animal_clf.cleaning.detect import find_issues
from animal_clf.core.copies import grey_thumbnail
from animal_clf.data.splits import read_photos
from animal_clf.evaluation.holdout import data_notes
from animal_clf.synthetic.animals import draw_animal
from animal_clf.vision.duplicates import find_copies, find_near_duplicates
from commands import done
from files import contents

@pytest.fixture(autouse=True)
def alone(empty_folder): pass

animals = ('fox', 'wolf', 'seal', 'zebra', 'tiger', 'gorilla')

@pytest.fixture(scope='module')
def photos(): return [draw_animal(name, 42, i, 400) for i in range(1, 11) for name in animals]

def noisy(img, seed, light=1.):
    pixels = np.asarray(img, float)*light + np.random.default_rng(seed).normal(0, 4, (*img.size[::-1], 1))
    return Image.fromarray(pixels.clip(0, 255).astype('uint8'))

def saved(img, name='saved.jpg', quality=40):
    img.save(name, quality=quality)
    return Image.open(name).convert('RGB')

def groups_of(pictures):
    "Groups of two or more"
    found = find_near_duplicates(np.stack([grey_thumbnail(o) for o in pictures]))
    return sorted(tuple(np.flatnonzero(found == o).tolist()) for o in set(found) if (found == o).sum() > 1)

@pytest.mark.parametrize('colour', ['white', 'black', '#808080'])
@pytest.mark.parametrize('width', [8, 20, 40])
def test_a_frame_is_no_likeness(photos, width, colour):
    "60 different photos in one frame, and the first and the last of them saved again: two pairs"
    framed = [ImageOps.expand(o, width, colour) for o in photos]
    assert groups_of([*framed, saved(framed[0]), saved(framed[-1])]) == [(0, 60), (59, 61)]

def camera(n, empty=0, seed=0):
    "Pictures of one scene, with a ball somewhere in all but the first `empty`"
    scene, rng = draw_animal('wolf', 42, 5, 400), np.random.default_rng(seed)
    found = []
    for i in range(n):
        img = scene.copy()
        if i >= empty: ImageDraw.Draw(img).circle((int(rng.integers(30, img.width - 30)), int(rng.integers(30, img.height - 30))), 22, fill='orange')
        found.append(noisy(img, i, rng.uniform(.9, 1.05)))
    return found

def test_a_fixed_camera_is_no_likeness(photos):
    "36 pictures of one scene are 36 pictures; one that was saved again is a copy"
    frames = camera(36)
    assert groups_of(frames) == []
    assert groups_of([*frames, saved(frames[7])]) == [(7, 36)]

def test_pages_and_digits():
    from sklearn.datasets import load_digits
    digits = [Image.fromarray((255 - o*15.9).astype('uint8')).resize((128, 128), Image.Resampling.BICUBIC).convert('RGB') for o in load_digits().images[:150]]
    assert groups_of([*digits, saved(digits[3])]) == [(3, 150)]

def test_a_chain_is_no_group():
    "Six windows that wander over one wide picture: each like the next, the first not like the last"
    wide = np.asarray(draw_animal('tiger', 42, 7, 640).resize((640, 400)))
    steps = [Image.fromarray(wide[:, 60*i:60*i + 340]) for i in range(6)]
    found = groups_of(steps)
    assert not any({0, 5} <= set(o) for o in found) and max(map(len, found), default=1) < 5

def test_copies_of_plain_photos_are_found_as_before(photos):
    alter = dict(saved=saved, small=lambda o: o.resize((220, 165)), cropped=lambda o: o.crop((10, 8, o.width - 20, o.height - 16)), mirrored=ImageOps.mirror, mirrored_crop=lambda o: ImageOps.mirror(o.crop((0, 12, o.width - 25, o.height))))
    pictures, wanted = list(photos), []
    for i,make in enumerate(alter.values()):
        pictures.append(make(photos[7*i]))
        wanted.append((7*i, len(pictures) - 1))
    assert groups_of(pictures) == wanted

def test_more_versions_than_anybody_makes():
    "Twelve versions of one picture, where everything else is unlike: not believed, and told"
    versions = [saved(draw_animal('fox', 42, 1, 400), quality=o) for o in range(12, 96, 7)]
    found = find_copies(np.stack([grey_thumbnail(o) for o in [*versions, *(draw_animal('seal', 42, i, 400) for i in range(1, 30))]]))
    assert len(set(found.group[:12])) == 12 and len(set(found.maybe[:12])) == 1 and found.doubt.startswith('12 photos look so much alike')
    assert len(set(found.maybe[12:])) == 29

def test_the_same_pixels_are_sure_among_what_is_doubtful():
    frames = camera(12, empty=12)
    frames.append(frames[2].copy())
    found = find_copies(np.stack([grey_thumbnail(o) for o in frames]))
    assert found.group.tolist() == [*range(12), 2] and len(set(found.maybe)) == 1 and '12 photos look' in found.doubt   # different ones

@pytest.fixture
def traps():
    "A collection as of camera traps: a class `empty`, and a class with a ball"
    for label,frames in dict(empty=camera(14, empty=14), ball=camera(14, seed=1)).items():
        Path('traps', label).mkdir(parents=True)
        for i,o in enumerate(frames): o.save(f'traps/{label}/{i}.jpg', quality=92)
    shutil.copy('traps/empty/3.jpg', 'traps/empty/again.jpg')
    return Path('traps')

def test_a_doubtful_collection_is_split_and_that_is_told(traps):
    photos = read_photos(traps)
    assert len(photos.classes) == 2 and 'photos look so much alike' in photos.doubt and f'{photos.doubt}.' in data_notes(photos)
    same = photos.table[photos.table.path.str.endswith(('empty/3.jpg', 'empty/again.jpg'))]
    assert same.split.nunique() == 1                                                            # the same bytes stay together
    said = done('train', '--data', traps, '--arch', 'tf_efficientnet_lite0')
    assert 'warning' in said and 'look so much alike' in said
    assert read_photos_plain().doubt == ''

def read_photos_plain():
    for name in ('fox', 'seal'):
        Path('plain', name).mkdir(parents=True)
        for i in range(1, 9): draw_animal(name, index=i, px=128).save(f'plain/{name}/{i}.png')
    return read_photos('plain')

def test_nothing_doubtful_is_set_aside_without_a_person(traps):
    before = contents(traps)
    issues = find_issues(traps)
    alike = issues.table[issues.table.kind == 'duplicate']
    assert (alike.action == 'look').sum() >= 10 and alike[alike.action == 'drop'].path.tolist() in (['empty/again.jpg'], ['empty/3.jpg'])
    assert any('look so much alike' in o for o in issues.notes)
    said = done('clean', traps, '--apply')
    assert 'look so much alike' in said and '1 photo moved' in said
    gone = set(before) - set(contents(traps))
    assert gone in ({'empty/again.jpg'}, {'empty/3.jpg'})
