"""Photos keep their colours: profiles are converted to sRGB wherever a photo is opened, stored or shown; TIFFs stand upright"""
import base64, io
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
import numpy as np, pytest
from PIL import Image
from animal_clf.app.uploads import open_upload
from animal_clf.core.copies import load_copy, scan_photo
from animal_clf.core.images import image_url, make_thumbnail, open_photo, open_upright
from animal_clf.data.block import PILPhoto
from animal_clf.scraping.decode import inspect_photo
from animal_clf.scraping.resize import resize
from animal_clf.data.manifest import read_manifest
from profiles import delta_e, grey_profile, ink_to_srgb, matrix_profile, print_profile, reference_srgb, spaces

@pytest.fixture(autouse=True)
def alone(empty_folder): pass

patches = np.array([(230, 40, 40), (40, 200, 60), (50, 60, 210), (128, 128, 128), (250, 220, 60), (250, 250, 250), (90, 50, 30), (20, 20, 20)], 'uint8')

def checks(pixels, side=24):
    "A picture of the patches, each large enough to be seen in a thumbnail"
    return np.kron(pixels.reshape(2, 4, -1), np.ones((side, side, 1), 'uint8')).astype('uint8')

def colours(img):
    "The colours of the patches in a picture of any size, from their middles"
    w, h = img.width/4, img.height/2
    return np.array([[img.convert('RGB').getpixel((int(w*(i + .5)), int(h*(j + .5)))) for i in range(4)] for j in range(2)]).reshape(-1, 3)

def write(path, kind, profile, **how):
    Image.fromarray(checks(patches)).save(path, kind, icc_profile=profile, **how)
    return path

lossless = dict(PNG={}, TIFF={}, WEBP=dict(lossless=True), JPEG=dict(quality=100, subsampling=0))

def shown(url): return Image.open(io.BytesIO(base64.b64decode(url.split(',')[1])))

# how a photo comes to be seen: {name: path of a photo -> picture}
places = {
    'opened': open_photo,
    'opened in blocks': lambda o: open_photo(io.BytesIO(Path(o).read_bytes())),
    'working copy': lambda o: load_copy(o).open(),
    'stored by download': lambda o: Image.open(io.BytesIO(inspect_photo(o, 400)['photo'])),
    'thumbnail': lambda o: Image.open(io.BytesIO(make_thumbnail(o)[0])),
    'on a page': lambda o: shown(image_url(open_photo(o))),
    'picture in memory on a page': lambda o: shown(image_url(Image.open(o))),
    'sent to the app': lambda o: open_upload(Path(o).read_bytes()),
    'given to fastai': lambda o: PILPhoto.create(o),
    'given to fastai as a picture': lambda o: PILPhoto.create(Image.open(o))}

@pytest.mark.parametrize('space', spaces)
@pytest.mark.parametrize('place', places)
def test_colours_are_those_of_the_profile(space, place):
    photo = write('photo.png', 'PNG', matrix_profile(space))
    found, wanted = colours(places[place](photo)), reference_srgb(space, patches)
    assert delta_e(found, wanted).max() < (5 if place in ('thumbnail', 'on a page', 'picture in memory on a page', 'stored by download') else 1)   # a JPEG's own error
    if space == 'ProPhoto': assert delta_e(patches, wanted).max() > 20          # what it was before

def test_the_red_of_an_iphone():
    "Display P3 (200, 60, 60) is sRGB (217, 42, 52) by the published formulae"
    Image.new('RGB', (64, 64), (200, 60, 60)).save('p3.png', icc_profile=matrix_profile('Display P3'))
    assert abs(np.array(open_photo('p3.png').getpixel((9, 9))) - (217, 42, 52)).max() <= 1

@pytest.mark.parametrize('kind', lossless)
def test_every_format_brings_its_profile(kind):
    write('photo', kind, matrix_profile('Adobe RGB'), **lossless[kind])
    assert delta_e(colours(open_photo('photo')), reference_srgb('Adobe RGB', patches)).max() < 3

def test_large_photos_that_are_opened_in_strips(monkeypatch):
    monkeypatch.setattr('animal_clf.core.images._large', 2**10)
    photo = write('photo.png', 'PNG', matrix_profile('Display P3'))
    assert delta_e(colours(open_photo(photo, 8)), reference_srgb('Display P3', patches)).max() < 1.5

def test_print_with_and_without_a_profile():
    inks = np.random.default_rng(0).integers(0, 256, (8, 4)).astype('uint8')
    img = Image.frombytes('CMYK', (96, 48), checks(inks).tobytes())
    img.save('print.tif', icc_profile=print_profile()); img.save('plain.tif')
    assert delta_e(colours(open_photo('print.tif')), ink_to_srgb(inks)).max() < 5 < 15 < delta_e(colours(open_photo('plain.tif')), ink_to_srgb(inks)).max()
    assert (colours(open_photo('plain.tif')) == colours(img.convert('RGB'))).all()                                    # as before
    img.save('print.jpg', quality=100, subsampling=0, icc_profile=print_profile())
    assert delta_e(colours(open_photo('print.jpg')), ink_to_srgb(inks)).max() < 6

def test_grey_photos():
    grey = Image.new('L', (64, 64), 100)
    grey.save('grey.png', icc_profile=grey_profile(1.0))              # light itself: (100/255)^1 is 168 in sRGB
    grey.save('coloured.png', icc_profile=matrix_profile('ProPhoto')) # gamma 1.8: lighter than sRGB's
    grey.save('plain.png')
    assert [open_photo(o).getpixel((5, 5)) for o in ('grey.png', 'plain.png')] == [(168,)*3, (100,)*3]
    assert abs(np.array(open_photo('coloured.png').getpixel((5, 5))) - reference_srgb('ProPhoto', (100, 100, 100))).max() <= 1
    seen = Image.new('LA', (64, 64), (100, 0)); seen.save('clear.png', icc_profile=grey_profile(1.0))
    assert open_photo('clear.png').getpixel((5, 5)) == (255, 255, 255)

def test_transparency_and_palettes():
    img = Image.fromarray(checks(patches))
    half = img.copy(); half.putalpha(128); half.save('half.png', icc_profile=matrix_profile('Display P3'))
    wanted = reference_srgb('Display P3', patches)*128/255 + 127
    assert abs(colours(open_photo('half.png')) - wanted).max() <= 2
    img.quantize(16).save('palette.png', icc_profile=matrix_profile('Display P3'))
    assert delta_e(colours(open_photo('palette.png')), reference_srgb('Display P3', patches)).max() < 4

bad = {'no profile': b'something', 'cut short': matrix_profile('ProPhoto')[:300], 'zeros': bytes(3000), 'huge': matrix_profile('ProPhoto') + bytes(5*2**20),
       'of paper': print_profile(3), 'of a grey scanner': grey_profile(1.8), 'wrong lengths': matrix_profile('ProPhoto').replace(b'\0\0\0\x14', b'\xff\xff\xff\xf0')}

@pytest.mark.parametrize('name', bad)
def test_a_profile_of_no_use_does_no_harm(name, recwarn):
    write('photo.tif', 'TIFF', bad[name])   # a PNG's profile is limited to 1 MB
    assert (colours(open_photo('photo.tif')) == patches).all() and scan_photo('photo.tif').code == '' and not recwarn.list

def test_no_stored_photo_keeps_a_stale_profile():
    photo = write('photo.png', 'PNG', matrix_profile('ProPhoto'))
    for o in (open_photo(photo), places['stored by download'](photo), places['thumbnail'](photo), places['sent to the app'](photo)): assert 'icc_profile' not in o.info
    open_photo(photo).save('again.webp'); assert 'icc_profile' not in Image.open('again.webp').info
    assert b'ICC' not in inspect_photo(photo, 400)['photo'] and inspect_photo(photo, 400)['code'] == ''

def test_small_photos_that_serve_as_their_own_copy_are_converted_each_time():
    photo = write('photo.jpg', 'JPEG', matrix_profile('Adobe RGB'), quality=100, subsampling=0)
    copy = load_copy(photo)
    assert copy.photo == Path(photo).read_bytes()
    for img in (copy.open(), load_copy(photo).open(32)): assert delta_e(colours(img), reference_srgb('Adobe RGB', patches)).max() < 3

def test_threads_share_the_transforms():
    photos = {space: write(f'{space}.png', 'PNG', matrix_profile(space)) for space in spaces}
    with ThreadPoolExecutor(8) as pool: found = list(pool.map(lambda o: (o, open_photo(photos[o]).tobytes()), list(spaces)*40))
    assert len(set(found)) == len(spaces)

def test_copies_of_earlier_versions_are_not_used(monkeypatch):
    "Copies made before photos were opened in their colours lie in another folder"
    photo = write('photo.png', 'PNG', matrix_profile('ProPhoto'))
    monkeypatch.setattr('animal_clf.core.copies.opening_version', 1)
    old = load_copy(photo)
    monkeypatch.undo()
    from animal_clf.core.copies import _copy_file
    assert not _copy_file(old.sha256).exists()


# --- TIFFs held sideways

turns = {1: lambda a: a, 2: lambda a: a[:, ::-1], 3: lambda a: a[::-1, ::-1], 4: lambda a: a[::-1], 5: lambda a: a.transpose(1, 0, 2),
         6: lambda a: np.rot90(a), 7: lambda a: a.transpose(1, 0, 2)[::-1, ::-1], 8: lambda a: np.rot90(a, 3)}   # how the pixels lie for EXIF's number, so that they stand upright

@pytest.mark.parametrize('turn', turns)
@pytest.mark.parametrize('how', ['tag', 'xmp', 'tag, compressed'])
def test_tiffs_stand_upright_in_their_size(turn, how):
    upright = checks(patches)
    options = dict(exif=Image.Exif()) if 'tag' in how else {}
    if 'tag' in how: options['exif'][274] = turn
    else: options['tiffinfo'] = {700: f'<x:xmpmeta tiff:Orientation="{turn}"/>'.encode()}
    if 'compressed' in how: options['compression'] = 'tiff_lzw'
    Path('raw/fox').mkdir(parents=True)
    Image.fromarray(np.ascontiguousarray(turns[turn](upright))).save('raw/fox/1.tif', **options)
    img, size = open_upright('raw/fox/1.tif')
    assert (img.size, size) == ((96, 48), (96, 48)) and (colours(img) == patches).all()
    facts = scan_photo('raw/fox/1.tif')
    assert (facts.width, facts.height) == (96, 48)
    resize('.', 400)
    row = read_manifest('.')[0]
    assert (int(row['width']), int(row['height']), Image.open(row['path']).size) == (96, 48, (96, 48))
    assert delta_e(colours(Image.open(row['path'])), patches).max() < 12
