"""Fetching, verifying and resizing against a real web server on this machine, good and bad"""
import hashlib, os, random, signal, subprocess, sys, time
from collections import Counter
from contextlib import nullcontext
from functools import lru_cache, partial
from pathlib import Path
from urllib.parse import quote
import numpy as np
import pytest
from PIL import Image, ImageOps
from animal_clf.core.settings import DataError, FileError, SettingsError
from animal_clf.core.images import open_photo
from animal_clf.core.photo_files import find_photos, natural_key
from animal_clf.scraping.decode import DecoderPool
from animal_clf.scraping.download import collect_photos, download
from animal_clf.scraping.throttle import Limits
from animal_clf.scraping.resize import resize, verify
from animal_clf.data.manifest import read_manifest, quarantine, write_manifest
from animal_clf.scraping.search import iter_pages, NoNetworkError, NothingFoundError, RateLimitError
from servers import draw_photo, draw_scene, dripping, photo_bytes, photo_hits, png_of_size

here = Limits(private=True, tries=1)   # the stand-ins are on this machine

@pytest.fixture(scope='module')
def decoders():
    with DecoderPool() as o: yield o

@pytest.fixture(autouse=True)
def shared_decoders(monkeypatch, decoders):
    "The same processes look at the photos of all tests here; in `test_kill.py` each run has its own"
    for room in ('download', 'resize'): monkeypatch.setattr(f'animal_clf.scraping.{room}.DecoderPool', lambda: nullcontext(decoders))

def rows_of(server, *paths, name='fox'): return [{'class': name, 'url': server.url + o} for o in paths]
def fetch(server, folder, *paths, name='fox', **limits): return download(rows_of(server, *paths, name=name), folder, Limits(**dict(private=True, tries=1) | limits))
def files_under(folder): return sorted(o.relative_to(folder).as_posix() for o in folder.rglob('*') if o.is_file())
def put(folder, name, data, class_name='fox'):
    path = folder/'raw'/class_name/name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path
def row_of(folder, raw_name): return next(o for o in read_manifest(folder) if o['raw'].endswith('/' + raw_name) or o['path'].endswith('/' + raw_name))

def accounted(folder):
    "Every file of the data set has its row, and every row that names a file has it"
    rows = read_manifest(folder)
    named = {o for row in rows for o in (row['raw'], row['path']) if o}
    assert set(files_under(folder)) == named | {'manifest.csv'}
    return rows


# --- fetching

formats = dict(jpg=('JPEG', 'RGB'), png=('PNG', 'RGBA'), webp=('WEBP', 'RGB'), gif=('GIF', 'P'), bmp=('BMP', 'RGB'),
               tif=('TIFF', 'RGB'), avif=('AVIF', 'RGB'))

def test_good_photos_of_every_format(photo_server, tmp_path):
    for i,(suffix,(format,mode)) in enumerate(formats.items()):
        photo_server.routes[f'/{i}.php'] = photo_bytes(draw_photo(i, mode=mode), format)     # the name says nothing
    rows = fetch(photo_server, tmp_path, *photo_server.routes)
    assert [o['status'] for o in rows] == ['fetched']*7 and [o['http_status'] for o in rows] == [200]*7
    assert [Path(o['raw']).suffix[1:] for o in rows] == list(formats)
    for row,data in zip(rows, photo_server.routes.values()):
        assert (tmp_path/row['raw']).read_bytes() == data and row['sha256'] == hashlib.sha256(data).hexdigest()
    assert [o['status'] for o in resize(tmp_path)] == ['kept']*7
    assert len(accounted(tmp_path)) == 7

def test_every_failure_is_told_and_none_stops_the_others(photo_server, tmp_path):
    photo_server.routes.update({'/404.jpg': 404, '/page.jpg': lambda h: h.answer('<!DOCTYPE html>log in'), '/drip.jpg': dripping(photo_bytes(draw_photo(2))),
                                '/big.jpg': photo_bytes(draw_photo(size=(4000, 3000)), 'BMP'), '/good.jpg': photo_bytes(draw_photo())})
    rows = fetch(photo_server, tmp_path, *photo_server.routes, max_mb=1, photo_s=1)
    assert [o['reason'] for o in rows] == ['HTTP 404 Not Found', 'not a photo but text/html', 'not whole within 1 s', 'larger than 1 MB', '']
    assert [o['status'] for o in rows] == ['failed']*4 + ['fetched'] and all(o['time'] for o in rows)
    assert files_under(tmp_path) == ['manifest.csv', rows[-1]['raw']]            # no half file
    assert read_manifest(tmp_path) == rows

nasty = ['http://', 'http://127.0.0.1:99999/x.jpg', 'http://127.0.0.1:x/', 'http://[::1', 'http://ex ample/', 'http://\x00/', 'http://a..b/x.jpg', 'http://' + 'x'*300,
         'http://\ud83d/', 'http://127.0.0.1:9/' + 'x'*100_000, 'ftp://127.0.0.1/x.jpg', 'file:///etc/passwd', 'data:image/png;base64,AAAA', 'fox.jpg', '//x', 'http://%00/']

def test_nasty_addresses(tmp_path):
    rows = download([{'class': 'fox', 'url': o} for o in nasty], tmp_path, Limits(private=True, tries=1, photo_s=5))
    assert {o['status'] for o in rows} == {'failed'} and all(o['reason'] for o in rows)
    assert [o['url'] for o in read_manifest(tmp_path)] == nasty

def test_the_query_of_an_address_counts(photo_server, tmp_path):
    photo_server.routes.update({f'/img?id={i}': photo_bytes(draw_photo(i)) for i in range(4)})
    rows = fetch(photo_server, tmp_path, *photo_server.routes)
    assert len({o['sha256'] for o in rows}) == len({o['raw'] for o in rows}) == 4

def test_same_names_do_not_collide(photo_server, tmp_path):
    photo_server.routes.update({f'/{i}/a.jpg': photo_bytes(draw_photo(i)) for i in range(20)} | {'/' + 'x'*300 + '.jpg': photo_bytes(draw_photo(30))})
    fetch(photo_server, tmp_path, *photo_server.routes)
    assert len(find_photos(tmp_path/'raw'/'fox')) == 21

def test_nothing_is_fetched_twice_but_what_may_work_next_time(photo_server, tmp_path):
    photo_server.routes.update({'/good.jpg': photo_bytes(draw_photo()), '/gone.jpg': 404, '/busy.jpg': 503})
    paths = list(photo_server.routes)
    fetch(photo_server, tmp_path, *paths, *paths)
    assert Counter(o for o,_ in photo_server.seen) == dict.fromkeys(paths, 1)
    photo_server.routes['/busy.jpg'] = photo_bytes(draw_photo(1))
    assert [o['status'] for o in fetch(photo_server, tmp_path, *paths)] == ['fetched', 'failed', 'fetched']
    assert Counter(o for o,_ in photo_server.seen) == {'/good.jpg': 1, '/gone.jpg': 1, '/busy.jpg': 2}

def test_what_is_final_by_nature_is_not_tried_again(photo_server, tmp_path):
    photo_server.routes.update({'/away.jpg': 'http://127.0.0.2/x.jpg', '/own.jpg': lambda h: h.answer(photo_bytes(draw_photo()), X_Robots_Tag='noai')})
    rows = rows_of(photo_server, '/away.jpg', '/own.jpg') + [{'class': 'fox', 'url': o} for o in ('fox.jpg', 'http://127.0.0.3/x.jpg')]
    strict = Limits(private=('127.0.0.1/32',), tries=1)
    before = download(rows, tmp_path, strict)
    assert [o['status'] for o in before] == ['failed']*4
    assert [o['time'] for o in download(rows, tmp_path, Limits(tries=1))] == [o['time'] for o in before] and len(photo_server.seen) == 2
    own = download(rows, tmp_path, Limits(private=True, opt_out=False, tries=1))       # other limits, another try
    assert [o['status'] for o in own] == ['failed', 'fetched', 'failed', 'failed'] and 'no connection' in own[0]['reason'] + own[3]['reason']

def test_files_of_a_killed_run_are_adopted(photo_server, tmp_path):
    photo_server.routes.update({f'/{i}.jpg': photo_bytes(draw_photo(i)) for i in range(5)})
    rows = fetch(photo_server, tmp_path, *photo_server.routes)
    write_manifest([o | dict(status='found', raw='', path='', http_status=None, sha256='') for o in rows], tmp_path)   # as it was before
    assert [o['status'] for o in fetch(photo_server, tmp_path, *photo_server.routes)] == ['fetched']*5
    assert len(photo_server.seen) == 5
    assert {o['raw']: o['sha256'] for o in verify(tmp_path)} == {o['raw']: o['sha256'] for o in rows}
    write_manifest([o | dict(status='found', raw='', path='', http_status=None, sha256='') for o in rows], tmp_path)
    assert [o['url'] for o in verify(tmp_path)] == [o['url'] for o in sorted(rows, key=lambda o: natural_key(o['raw']))]     # by `verify` too

def test_interrupt_leaves_whole_files_and_a_manifest(photo_server, tmp_path):
    photo_server.routes.update({f'/{i}.jpg': photo_bytes(draw_photo(i)) for i in range(4)} | {f'/slow{i}.jpg': dripping(photo_bytes(draw_photo(i))) for i in range(4)})
    code = f'from animal_clf.scraping.download import download; from animal_clf.scraping.throttle import Limits; download([{{"class": "fox", "url": "{photo_server.url}" + o}} for o in {list(photo_server.routes)!r}], {str(tmp_path)!r}, Limits(private=True))'
    run = subprocess.Popen([sys.executable, '-c', code], stderr=subprocess.PIPE, text=True)
    deadline = time.time() + 10
    while len(photo_server.seen) < 8 and time.time() < deadline: time.sleep(.02)
    time.sleep(.2)
    run.send_signal(signal.SIGINT)
    assert 'KeyboardInterrupt' in run.communicate(timeout=5)[1]
    assert Counter(o['status'] for o in read_manifest(tmp_path)) == dict(fetched=4, found=4)
    assert len(files_under(tmp_path)) == 5

@pytest.mark.parametrize('limits', [dict(workers=0), dict(photo_s=-1), dict(max_mb=0)])
def test_limits_are_checked_first(photo_server, tmp_path, limits):
    with pytest.raises(SettingsError): fetch(photo_server, tmp_path, '/a.jpg', **limits)
    assert files_under(tmp_path) == [] and photo_server.seen == []

def test_classes_that_cannot_be_folders(photo_server, tmp_path):
    with pytest.raises(SettingsError, match='a name that can be a folder'): fetch(photo_server, tmp_path/'data', '/a.jpg', name='../fox')
    assert files_under(tmp_path) == []

def test_a_disk_that_refuses_is_not_a_bad_photo(photo_server, tmp_path):
    photo_server.routes['/a.jpg'] = photo_bytes(draw_photo())
    (tmp_path/'raw').mkdir()
    (tmp_path/'raw'/'fox').write_text('a file where the folder should be')
    with pytest.raises(FileError, match='can not be written'): fetch(photo_server, tmp_path, '/a.jpg')
    assert read_manifest(tmp_path)[0]['status'] == 'found'


# --- verifying

def test_bad_files_are_set_aside_with_the_reason(tmp_path):
    good = photo_bytes(draw_photo())
    put(tmp_path, 'good.jpg', good)
    for name,data in {'empty.jpg': b'', 'page.jpg': b'<!DOCTYPE html><p>no', 'half.jpg': good[:len(good)//2], 'junk.jpg': b'\xff\xd8\xff' + bytes(50), 'photo': good[::-1]}.items():
        put(tmp_path, name, data)
    rows = verify(tmp_path)
    assert {Path(o['path']).name: (o['path'].split('/')[1], o['status']) for o in rows} == {
        'good.jpg': ('fox', 'verified'), 'empty.jpg': ('empty', 'set aside'), 'page.jpg': ('not-a-photo', 'set aside'),
        'half.jpg': ('unreadable', 'set aside'), 'junk.jpg': ('not-a-photo', 'set aside'), 'photo': ('not-a-photo', 'set aside')}
    assert row_of(tmp_path, 'page.jpg')['reason'] == 'is a web page (HTML), not a photo'
    assert all(o['reason'] and str(tmp_path) not in o['reason'] for o in rows if o['status'] == 'set aside')
    accounted(tmp_path)
    assert [o['status'] for o in verify(tmp_path)] == ['verified']           # again: nothing new

def test_a_bomb_is_too_large(tmp_path):
    put(tmp_path, 'bomb.png', png_of_size(40_000, 40_000))
    assert verify(tmp_path)[0]['path'] == 'set-aside/too-large/fox/bomb.png'

broken_notes = dict(junk=b'junk', nowhere=b'II*\0\xff\xff\xff\x7f', text=b'II*\0\x08\0\0\0\x01\0\x12\x01\x02\0\x04\0\0\0abc\0\0\0\0\0', cut=b'II*\0\x08\0\0\0\x09\0\x12')

@pytest.mark.parametrize('format', ['JPEG', 'PNG', 'WEBP'])
def test_good_pixels_with_broken_notes_are_kept(tmp_path, format):
    for name,notes in broken_notes.items(): put(tmp_path, f'{name}.jpg', photo_bytes(draw_scene(len(notes)), format, exif=b'Exif\0\0' + notes))
    assert {(o['status'], o['width'], o['height']) for o in resize(tmp_path)} == {('kept', 320, 240)}

def test_copies_within_a_class_are_set_aside(tmp_path):
    one = photo_bytes(draw_photo(1))
    for name,class_name in [('b.jpg', 'fox'), ('a.png', 'fox'), ('c.jpg', 'wolf')]: put(tmp_path, name, one, class_name)
    put(tmp_path, 'd.jpg', photo_bytes(draw_photo(2)))
    verify(tmp_path)
    row = row_of(tmp_path, 'b.jpg')
    assert (row['path'], row['reason']) == ('set-aside/duplicate/fox/b.jpg', 'the same bytes as raw/fox/a.png')
    assert files_under(tmp_path/'raw') == ['fox/a.png', 'fox/d.jpg', 'wolf/c.jpg']

def test_of_two_copies_the_one_with_a_photo_stays(tmp_path):
    put(tmp_path, 'b.jpg', photo_bytes(draw_photo()))
    resize(tmp_path)
    put(tmp_path, 'a.jpg', photo_bytes(draw_photo()))
    resize(tmp_path)
    assert files_under(tmp_path) == ['manifest.csv', 'photos/fox/b.jpg', 'raw/fox/b.jpg', 'set-aside/duplicate/fox/a.jpg']

def test_nothing_set_aside_is_overwritten(tmp_path):
    for i in range(3):
        put(tmp_path, 'bad.jpg', b'junk %d' % i)
        verify(tmp_path)
    assert sorted(o.read_bytes() for o in (tmp_path/'set-aside'/'not-a-photo'/'fox').iterdir()) == [b'junk 0', b'junk 1', b'junk 2']
    assert len(accounted(tmp_path)) == 3

def test_what_was_set_aside_stays_there(tmp_path):
    put(tmp_path, 'a.jpg', photo_bytes(draw_photo()))
    resize(tmp_path)
    row, = rows = read_manifest(tmp_path)
    quarantine(row, tmp_path, 'no-animal', 'a person said so')
    write_manifest(rows, tmp_path)
    assert files_under(tmp_path) == ['manifest.csv', 'raw/fox/a.jpg', 'set-aside/no-animal/fox/a.jpg']
    assert resize(tmp_path) == verify(tmp_path) == [] and files_under(tmp_path/'photos') == []
    accounted(tmp_path)

def test_files_that_vanish_are_told(tmp_path):
    path = put(tmp_path, 'a.jpg', photo_bytes(draw_photo()))
    data = path.read_bytes()
    verify(tmp_path)
    path.unlink()
    assert verify(tmp_path) == [] and read_manifest(tmp_path)[0]['status'] == 'missing'
    path.write_bytes(data)
    assert resize(tmp_path)[0]['status'] == 'kept'

def test_only_the_classes_asked_for(tmp_path):
    for name in ('fox', 'wolf'): put(tmp_path, 'a.jpg', photo_bytes(draw_photo()), name)
    assert [o['class'] for o in verify(tmp_path, ['wolf'])] == ['wolf']
    assert [o['path'] for o in resize(tmp_path, classes=['wolf'])] == ['photos/wolf/a.jpg']
    with pytest.raises(SettingsError): verify(tmp_path, ['../wolf'])


# --- resizing

def photo_of(folder, name):
    "The resized photo of raw file `name`, and its row"
    row = next(o for o in read_manifest(folder) if o['raw'] == f'raw/fox/{name}')
    return Image.open(folder/row['path']), row

def moving(): return photo_bytes(draw_photo(1), 'GIF', save_all=True, append_images=[draw_photo(2), draw_photo(3)])
def sixteen_bit(): return photo_bytes(Image.fromarray(np.asarray(draw_photo(mode='L')).astype(np.uint16)*257), 'PNG')
def sideways(seed=0):
    exif = Image.Exif(); exif[274], exif[271] = 6, 'Camera'
    return photo_bytes(draw_photo(seed).rotate(90, expand=True), exif=exif)

def in_mode(mode, format): return lambda: photo_bytes(draw_photo(mode=mode), format)
modes = {'cmyk.jpg': in_mode('CMYK', 'JPEG'), 'grey.png': in_mode('L', 'PNG'), 'rgba.png': in_mode('RGBA', 'PNG'), 'palette.gif': in_mode('P', 'GIF'),
         'one.png': in_mode('1', 'PNG'), 'sixteen.png': sixteen_bit, 'moving.gif': moving, 'sideways.jpg': sideways}

def test_photos_of_every_mode(tmp_path):
    for name,make in modes.items(): put(tmp_path, name, make())
    assert {o['status'] for o in resize(tmp_path, px=160)} == {'kept'}
    for name in modes:
        img, row = photo_of(tmp_path, name)
        assert (img.format, img.mode, img.size, row['width'], row['height']) == ('JPEG', 'RGB', (160, 120), 320, 240), name
        assert not img.getexif()
        expected = np.asarray(open_photo(tmp_path/row['raw']).resize((160, 120), Image.Resampling.BICUBIC), float)
        limit = 12 if name in ('one.png', 'palette.gif') else 5          # dots of a dither suffer most from JPEG
        assert abs(np.asarray(img, float) - expected).mean() < limit, name

def test_transparent_becomes_white(tmp_path):
    put(tmp_path, 'a.png', photo_bytes(Image.new('RGBA', (50, 50), (255, 0, 0, 0)), 'PNG'))
    resize(tmp_path)
    assert photo_of(tmp_path, 'a.png')[0].getpixel((25, 25)) == (255, 255, 255)

@pytest.mark.parametrize('size,px,out', [((1200, 900), 400, (400, 300)), ((900, 1200), 400, (300, 400)), ((100, 60), 400, (100, 60)), ((401, 400), 400, (400, 399)), ((2000, 100), 400, (400, 20))])
def test_sizes(tmp_path, size, px, out):
    put(tmp_path, 'a.png', photo_bytes(draw_photo(size=size, mode='L'), 'PNG'))
    resize(tmp_path, px)
    assert photo_of(tmp_path, 'a.png')[0].size == out

@pytest.mark.parametrize('size', [(3000, 2), (2, 3000), (5, 5), (3000, 100)])
def test_strips_and_specks_are_set_aside(tmp_path, size):
    put(tmp_path, 'a.png', photo_bytes(Image.new('RGB', size), 'PNG'))
    put(tmp_path, 'b.png', photo_bytes(draw_photo(), 'PNG'))
    resize(tmp_path)
    assert row_of(tmp_path, 'a.png')['path'] == 'set-aside/too-small/fox/a.png' and row_of(tmp_path, 'b.png')['status'] == 'kept'

def test_names_that_would_collide(tmp_path):
    for i,name in enumerate(['k.png', 'k.jpg', 'K.JPG', 'k.png.jpg', 'k-2.jpg', 'k']): put(tmp_path, name, photo_bytes(draw_photo(i), 'PNG'))
    (tmp_path/'photos'/'fox').mkdir(parents=True)
    (tmp_path/'photos'/'fox'/'k.jpg').write_bytes(b'put here by somebody')
    rows = resize(tmp_path)
    assert len({o['path'].lower() for o in rows}) == 6 and {o['status'] for o in rows} == {'kept'}
    assert (tmp_path/'photos'/'fox'/'k.jpg').read_bytes() == b'put here by somebody'
    for i,row in enumerate(sorted(rows, key=lambda o: ['k.png', 'k.jpg', 'K.JPG', 'k.png.jpg', 'k-2.jpg', 'k'].index(Path(o['raw']).name))):
        assert abs(np.asarray(Image.open(tmp_path/row['path']), float) - np.asarray(draw_photo(i), float)).mean() < 6

def test_what_is_up_to_date_stays(tmp_path):
    for i in range(3): put(tmp_path, f'{i}.jpg', photo_bytes(draw_photo(i)))
    resize(tmp_path)
    photos = find_photos(tmp_path/'photos'/'fox')
    before = {o.name: o.stat().st_mtime_ns for o in photos}
    photos[0].unlink()
    photos[1].write_bytes(b'\xff\xd8\xff broken')
    put(tmp_path, '9.jpg', photo_bytes(draw_photo(9)))
    resize(tmp_path)
    after = {o.name: o.stat().st_mtime_ns for o in find_photos(tmp_path/'photos'/'fox')}
    assert list(after) == ['0.jpg', '1.jpg', '2.jpg', '9.jpg'] and after['2.jpg'] == before['2.jpg']
    assert all(open_photo(o).size == (320, 240) for o in find_photos(tmp_path/'photos'/'fox'))

def test_real_photos(tmp_path):
    source = Path(os.environ.get('ANIMAL_CLF_PHOTOS', ''))/'originals'
    if not os.environ.get('ANIMAL_CLF_PHOTOS') or not source.is_dir(): pytest.skip('set ANIMAL_CLF_PHOTOS to a folder with `originals/*.jpg`')
    originals = find_photos(source)
    for o in originals: put(tmp_path, o.name, o.read_bytes())
    assert [o['status'] for o in resize(tmp_path)] == ['kept']*len(originals)
    for o in originals:
        img, row = photo_of(tmp_path, o.name)
        upright = ImageOps.exif_transpose(Image.open(o)).convert('RGB')
        assert max(img.size) == min(400, max(upright.size)) and (row['width'], row['height']) == upright.size
        small = np.asarray(upright.resize(img.size, Image.Resampling.BICUBIC), float)
        assert abs(np.asarray(img, float) - small).mean() < 6, o.name
    accounted(tmp_path)


# --- all of it

def hits_of(server, n, term='fox', broken=0):
    "`n` hits with a photo each on `server`, and `broken` without"
    term = quote(term)
    server.routes.update({f'/{term}/{i}.jpg?size=full&x=%20': photo_bytes(draw_scene(i + 100*len(term), size=(640, 480))) for i in range(n)})
    return photo_hits(n + broken, url=server.url + f'/{term}/{{}}.jpg?size=full&x=%20')

def test_from_names_to_photos(search_proxy, photo_server, tmp_path):
    "The real search client, the real HTTP client"
    search = partial(iter_pages, pause_s=0, **search_proxy.options)
    search_proxy.answers.update(duckduckgo=403, bing=hits_of(photo_server, 12, broken=3))
    fox, = collect_photos(['fox'], 15, tmp_path, search=search, limits=here)
    assert fox == {'class': 'fox', 'found': 15, 'kept': 12, 'failed': 3, 'set_aside': 0, 'duplicate': 0, 'status': 'collected', 'reason': '3 × HTTP 404 Not Found'}
    rows = accounted(tmp_path)
    assert {o['query'] for o in rows} == {'fox photo'} and {o['engine'] for o in rows} == {'bing'} and all(o['time'] for o in rows)
    assert rows[3]['page'] == 'https://pages.example/3' and rows[3]['title'] == 'photo 3' and (rows[3]['width'], rows[3]['height']) == (640, 480)
    assert {open_photo(o).size for o in find_photos(tmp_path/'photos'/'fox')} == {(400, 300)}

    search_proxy.answers.update(duckduckgo=hits_of(photo_server, 6, 'белый медведь'))
    asked = len(photo_server.seen)
    fox, bear = collect_photos(['fox', 'белый медведь'], 4, tmp_path, search=search, limits=here)
    assert [(o['status'], o['found'], o['kept']) for o in (fox, bear)] == [('already there', 15, 12), ('collected', 6, 4)]
    assert len(photo_server.seen) == asked + 4                                          # two were not needed
    asked = len(photo_server.seen), len(search_proxy.seen)
    assert [o['status'] for o in collect_photos(['fox', 'белый медведь'], 4, tmp_path, search=search, limits=here)] == ['already there']*2
    assert (len(photo_server.seen), len(search_proxy.seen)) == asked
    assert len(accounted(tmp_path)) == 21

def test_a_class_without_photos_does_not_stop_the_others(search_proxy, photo_server, tmp_path):
    search_proxy.answers['duckduckgo'] = {'polar bear photo': hits_of(photo_server, 3)}
    search = partial(iter_pages, **search_proxy.options)
    snark, bear = collect_photos(['snark', 'polar bear'], 3, tmp_path, search=search, limits=here)
    assert (snark['status'], snark['kept'], bear['status'], bear['kept']) == ('nothing found', 0, 'collected', 3)
    assert 'no photo for "snark photo"' in snark['reason']
    with pytest.raises(NothingFoundError): collect_photos(['snark'], 3, tmp_path, search=search, limits=here)

def test_refused_or_offline(search_proxy, tmp_path):
    search_proxy.answers.update(duckduckgo=403, bing=429)
    with pytest.raises(RateLimitError): collect_photos(['fox', 'wolf'], 3, tmp_path/'data', search=partial(iter_pages, pause_s=0, **search_proxy.options))
    start = time.perf_counter()
    with pytest.raises(NoNetworkError): collect_photos([f'class {i}' for i in range(50)], 3, tmp_path/'data', search=partial(iter_pages, proxy='http://127.0.0.1:9'))
    assert time.perf_counter() - start < 3 and not (tmp_path/'data').exists()

def test_what_was_found_before_the_network_went_is_still_fetched(photo_server, tmp_path):
    photo_server.routes.update({f'/{i}.jpg': photo_bytes(draw_scene(i)) for i in range(4)})
    asked = []
    def search(term):
        asked.append(term)
        if term == 'wolf': raise NoNetworkError('no cable', 'a cable', 'Plug it in')
        yield [dict(url=f'{photo_server.url}/{i}.jpg') for i in range(4)]
    results = collect_photos(['fox', 'wolf', 'seal', 'bear'], 4, tmp_path, '', search=search, limits=here)
    assert [(o['status'], o['kept']) for o in results] == [('collected', 4)] + [('nothing found', 0)]*3 and asked == ['fox', 'wolf']
    assert results[0]['reason'] == '' and {o['reason'] for o in results[1:]} == {'no cable; expected a cable. Plug it in'}

def test_classes_whose_searches_fail_differently(photo_server, tmp_path):
    photo_server.routes['/a.jpg'] = photo_bytes(draw_scene(1))
    def search(term):
        if term == 'fox': raise RateLimitError('refused', 'an answer', 'Wait')
        if term == 'wolf': raise NothingFoundError('nothing', 'a photo', 'Think')
        yield [dict(url=photo_server.url + '/a.jpg')]
        raise RateLimitError('refused on page 2', 'an answer', 'Wait')
    results = collect_photos(['fox', 'wolf', 'seal'], 3, tmp_path, '', search=search, limits=here)
    assert [(o['status'], o['kept'], o['reason'].split(';')[0]) for o in results] == [
        ('nothing found', 0, 'refused'), ('nothing found', 0, 'nothing'), ('collected', 1, 'refused on page 2')]

def test_searches_that_never_end(photo_server, tmp_path):
    pages = []
    def again(term):
        while True: yield [dict(url=f'{photo_server.url}/{i}.jpg') for i in range(3)]
    def rubbish(term):
        for i in range(10**9):
            pages.append(i)
            yield [dict(url=f'http://10.0.{i}.{j}/x.jpg') for j in range(200)]
    fox, = collect_photos(['fox'], 2, tmp_path, search=again, limits=here)
    assert (fox['status'], fox['found'], fox['reason']) == ('nothing kept', 3, '3 × HTTP 404 Not Found')
    wolf, = collect_photos(['wolf'], 2, tmp_path, search=rubbish, limits=Limits(tries=1))
    assert (wolf['found'], wolf['reason'], len(pages)) == (1000, '1000 × its address is not public', 6)
    start = time.perf_counter()
    collect_photos(['wolf'], 2, tmp_path, search=rubbish, limits=Limits(tries=1))          # again: none of them is tried
    assert time.perf_counter() - start < 2 and len(pages) == 12

@pytest.mark.parametrize('page', [[{}], [{'url': None}], [{'url': 5}]])
def test_a_search_that_gives_no_addresses(tmp_path, page):
    with pytest.raises(DataError, match='row 0 has no `url`'): collect_photos(['fox'], 2, tmp_path, search=lambda term: [page], limits=here)

@pytest.mark.parametrize('work', [lambda folder: collect_photos(['fox'], 2, folder, search=no_search), lambda folder: download([{'class': 'fox', 'url': 'http://x.example/'}], folder)])
def test_a_folder_that_cannot_be_written_is_told_first(tmp_path, work):
    (tmp_path/'file').write_text('')
    with pytest.raises(FileError, match='can not be written'): work(tmp_path/'file'/'data')

def no_search(term): raise AssertionError('nobody should search')

def test_an_interrupted_class_goes_on_without_a_search(photo_server, tmp_path):
    hits = hits_of(photo_server, 5)
    rows = download([{'class': 'fox', 'url': o['image']} for o in hits], tmp_path, here)
    write_manifest(rows[:3] + [o | dict(status='found', raw='', path='', http_status=None) for o in rows[3:]], tmp_path)
    for o in rows[3:]: (tmp_path/o['raw']).unlink()
    fox, = collect_photos(['fox'], 5, tmp_path, search=no_search, limits=here)
    assert (fox['status'], fox['kept']) == ('collected', 5)
    assert Counter(Counter(o for o,_ in photo_server.seen).values()) == {1: 3, 2: 2}

def test_no_connection_at_first_is_tried_again(photo_server, tmp_path):
    search = lambda term: [[dict(url=f'{photo_server.url}/{i}.jpg') for i in range(3)]]
    photo_server.routes.update({f'/{i}.jpg': 503 for i in range(3)})
    assert collect_photos(['fox'], 3, tmp_path, search=search, limits=here)[0]['kept'] == 0
    photo_server.routes.update({f'/{i}.jpg': photo_bytes(draw_scene(i)) for i in range(3)})
    assert collect_photos(['fox'], 3, tmp_path, search=search, limits=here)[0]['kept'] == 3

@pytest.mark.parametrize('classes,n,px,license', [([], 5, 400, None), (['fox', 'FOX'], 5, 400, None), (['caf\u00e9', 'cafe\u0301'], 5, 400, None), (['fox'], 0, 400, None), (['fox'], 5, 3, None),
                                                  (['../fox'], 5, 400, None), ('fox', 5, 400, None), (['fox'], 5, 400, 'free'), (['set-aside'], 5, 400, None)])
def test_everything_is_checked_before_anything_happens(tmp_path, classes, n, px, license):
    with pytest.raises(SettingsError): collect_photos(classes, n, tmp_path/'data', px=px, search=no_search, license=license)
    assert not (tmp_path/'data').exists()

def test_workers_do_not_matter(photo_server, tmp_path):
    hits = hits_of(photo_server, 8, broken=2)
    without_time = lambda folder: [o | dict(time='') for o in read_manifest(folder)]
    for workers in (1, 8): download([{'class': 'fox', 'url': o['image']} for o in hits], tmp_path/str(workers), Limits(private=True, workers=workers))
    assert without_time(tmp_path/'1') == without_time(tmp_path/'8')

def paged(server, counts, size=5):
    "A search that finds `counts[term]` addresses on `server`, `size` on a page; `asked` lists the pages"
    def search(term, **options):
        for i in range(0, counts[term], size):
            search.asked.append((term, i//size, options))
            yield [dict(url=f'{server.url}/{quote(term)}/{j}.jpg', query=term) for j in range(i, min(counts[term], i+size))]
    search.asked = []
    return search

@lru_cache(None)
def scene_bytes(seed, format='JPEG'): return photo_bytes(draw_scene(seed), format)

def wild(server, term, n, seed, slow_s=0):
    "Routes for `n` addresses: good photos, copies, broken ones; each answered after a random time"
    luck = random.Random(seed)
    def late(route):
        def send(handler):
            time.sleep(luck.random()*slow_s)
            handler.answer(route, content_type='image/jpeg') if isinstance(route, bytes) else handler.answer('no', route)
        return send
    for i in range(n):
        photo = 1000*len(term) + i - i % 3 if i % 4 == 2 else 1000*len(term) + i      # some the same as one before
        route = 404 if i % 5 == 3 else b'\xff\xd8\xff junk that is no photo' if i % 7 == 6 else scene_bytes(photo, 'PNG' if i % 2 else 'JPEG')
        server.routes[f'/{quote(term)}/{i}.jpg'] = late(route)

def snapshot(folder):
    "All that a run leaves: rows without their time, and the bytes of each file"
    return [o | dict(time='') for o in read_manifest(folder)], {o: (folder/o).read_bytes() for o in files_under(folder) if not o.startswith('manifest')}

def test_what_is_kept_does_not_depend_on_who_is_faster(photo_server, tmp_path):
    search, seen = paged(photo_server, {'fox': 60, 'wolf': 60, 'seal': 12}), []
    for seed in range(3):
        for term in ('fox', 'wolf', 'seal'): wild(photo_server, term, 60, seed, slow_s=.05*seed)
        search.asked.clear()
        results = collect_photos(['fox', 'wolf', 'seal'], 12, tmp_path/str(seed), '', 100, search, limits=Limits(private=True, tries=1, per_host=64, workers=[1, 64, 5][seed]))
        seen.append((results, snapshot(tmp_path/str(seed)), sorted((term, page) for term,page,_ in search.asked)))
    assert seen[0] == seen[1] == seen[2]
    assert [o['kept'] for o in seen[0][0]][:2] == [12, 12] and seen[0][0][2]['kept'] < 12 and seen[0][0][0]['duplicate'] > 2
    accounted(tmp_path/'0')

def test_the_first_of_two_copies_stays_even_if_it_comes_last(photo_server, tmp_path):
    photo = draw_scene(5)
    slow = lambda h: (time.sleep(.7), h.answer(photo_bytes(photo), content_type='image/jpeg'))
    photo_server.routes.update({'/fox/0.jpg': slow, '/fox/1.jpg': photo_bytes(photo.resize((640, 480)), 'PNG'), '/fox/2.jpg': photo_bytes(photo), '/fox/3.jpg': photo_bytes(draw_scene(6))})
    fox, = collect_photos(['fox'], 3, tmp_path, '', search=paged(photo_server, {'fox': 4}), limits=here)
    rows = accounted(tmp_path)
    assert (fox['kept'], fox['duplicate']) == (2, 2)
    assert [o['status'] for o in rows] == ['kept', 'set aside', 'set aside', 'kept']
    assert [o['reason'] for o in rows[1:3]] == [f'the same picture as {rows[0]["path"]}', f'the same bytes as {rows[0]["path"]}']
    assert all(o['path'].startswith('set-aside/duplicate/fox/') and o['raw'].startswith('raw/fox/') for o in rows[1:3])

def test_pages_are_asked_for_until_enough_are_kept(photo_server, tmp_path):
    photo_server.routes.update({f'/fox/{i}.jpg': photo_bytes(draw_scene(i)) if i % 10 == 0 else 404 for i in range(100)})
    search = paged(photo_server, {'fox': 100})
    assert collect_photos(['fox'], 4, tmp_path, '', search=search, limits=here)[0]['kept'] == 4
    assert len(search.asked) == 7 and len(photo_server.seen) == 31                       # the fourth is number 30
    collect_photos(['fox'], 6, tmp_path, '', search=search, limits=here)
    assert len(photo_server.seen) == 51 == len({o for o,_ in photo_server.seen})         # goes on behind it

def test_many_classes(photo_server, tmp_path):
    terms = [f'animal {i}' for i in range(40)]
    photo_server.routes.update({f'/{quote(o)}/{i}.jpg': photo_bytes(draw_scene(10*t + i, (64, 48))) for t,o in enumerate(terms) for i in range(4)})
    results = collect_photos(terms, 3, tmp_path, '', search=paged(photo_server, dict.fromkeys(terms, 4)), limits=Limits(private=True, per_host=64))
    assert [(o['class'], o['kept']) for o in results] == [(o, 3) for o in terms] and len(photo_server.seen) == 120
    assert [o['class'] for o in accounted(tmp_path)] == [o for o in terms for _ in range(4)]

def test_the_time_of_the_run_is_up(photo_server, tmp_path):
    photo_server.routes.update({f'/fox/{i}.jpg': photo_bytes(draw_scene(i)) for i in range(3)} | {f'/fox/{i}.jpg': lambda h: time.sleep(5) for i in range(3, 30)})
    start = time.perf_counter()
    fox, = collect_photos(['fox'], 20, tmp_path, '', search=paged(photo_server, {'fox': 30}), limits=Limits(private=True, tries=1, total_s=1.5))
    assert time.perf_counter() - start < 4 and (fox['status'], fox['kept']) == ('time up', 3)
    assert {o['status'] for o in accounted(tmp_path)} == {'kept', 'found'}
    photo_server.routes.update({f'/fox/{i}.jpg': photo_bytes(draw_scene(i)) for i in range(30)})
    assert collect_photos(['fox'], 20, tmp_path, '', search=paged(photo_server, {'fox': 30}), limits=here)[0]['kept'] == 20

def test_licence_and_limits_are_passed_on(photo_server, tmp_path):
    def opted_out(h): h.answer(photo_bytes(draw_scene(1)), content_type='image/jpeg', X_Robots_Tag='noai')
    photo_server.routes['/fox/0.jpg'] = opted_out
    search = paged(photo_server, {'fox': 1})
    collect_photos(['fox'], 1, tmp_path, '', search=search, license='public')
    assert search.asked == [('fox', 0, dict(license='public'))] and photo_server.seen == []
    assert 'not public' in read_manifest(tmp_path)[0]['reason']
    assert 'does not want' in collect_photos(['fox'], 1, tmp_path, '', search=search, limits=here)[0]['reason']
    assert collect_photos(['fox'], 1, tmp_path, '', search=search, limits=Limits(private=True, opt_out=False))[0]['kept'] == 1

def test_a_set_of_an_older_version_goes_on(photo_server, tmp_path):
    "Without perceptual hashes; a copy of what is there is still found"
    photo_server.routes.update({f'/fox/{i}.jpg': photo_bytes(draw_scene(i % 3).resize((320 + 10*i, 240 + 7*i))) for i in range(6)})
    search = paged(photo_server, {'fox': 6})
    collect_photos(['fox'], 2, tmp_path, '', search=search, limits=here)
    write_manifest([{k: v for k,v in o.items() if k not in ('time', 'phash')} | dict(phash='', time='') for o in read_manifest(tmp_path)], tmp_path)
    fox, = collect_photos(['fox'], 6, tmp_path, '', search=search, limits=here)
    assert (fox['kept'], fox['duplicate']) == (3, 3) and len(photo_server.seen) == 6
    accounted(tmp_path)

def test_photos_that_are_gone_are_made_again(photo_server, tmp_path):
    photo_server.routes.update({f'/fox/{i}.jpg': photo_bytes(draw_scene(i)) for i in range(4)})
    search = paged(photo_server, {'fox': 4})
    collect_photos(['fox'], 4, tmp_path, '', search=search, limits=here)
    before = snapshot(tmp_path)
    for o in find_photos(tmp_path/'photos'/'fox')[:2]: o.unlink()
    assert collect_photos(['fox'], 4, tmp_path, '', search=no_search, limits=here)[0]['kept'] == 4
    assert snapshot(tmp_path) == before and len(photo_server.seen) == 4

def test_what_a_person_set_aside_does_not_come_back(photo_server, tmp_path):
    photo_server.routes.update({'/fox/0.jpg': photo_bytes(draw_scene(0)), '/fox/1.jpg': photo_bytes(draw_scene(0)), '/fox/2.jpg': photo_bytes(draw_scene(2))})
    search = paged(photo_server, {'fox': 3})
    collect_photos(['fox'], 1, tmp_path, '', search=search, limits=here)
    rows = read_manifest(tmp_path)
    quarantine(rows[0], tmp_path, 'label', 'the villain of that name')
    write_manifest(rows, tmp_path)
    collect_photos(['fox'], 1, tmp_path, '', search=search, limits=here)
    rows = accounted(tmp_path)
    assert [o['status'] for o in rows] == ['set aside', 'set aside', 'kept'] and rows[1]['reason'] == f'the same bytes as {rows[0]["path"]}'

def test_files_put_under_raw_by_hand_are_left_alone(photo_server, tmp_path):
    photo_server.routes['/fox/0.jpg'] = photo_bytes(draw_scene(0))
    put(tmp_path, 'mine.jpg', photo_bytes(draw_scene(1)))
    collect_photos(['fox'], 1, tmp_path, '', search=paged(photo_server, {'fox': 1}), limits=here)
    resize(tmp_path)
    assert Counter(o['status'] for o in accounted(tmp_path)) == dict(kept=2)

def test_a_full_disk_stops_the_run_and_loses_nothing(photo_server, tmp_path, monkeypatch):
    photo_server.routes.update({f'/fox/{i}.jpg': photo_bytes(draw_scene(i)) for i in range(20)})
    from animal_clf.scraping import download as module
    write, left = module.write_photo, [5]
    def full(path, data):
        left[0] -= 1
        if left[0] < 0: raise FileError('no room', 'room', 'Make room')
        return write(path, data)
    search = paged(photo_server, {'fox': 20})
    with monkeypatch.context() as m, pytest.raises(FileError, match='no room'):
        m.setattr(module, 'write_photo', full)
        collect_photos(['fox'], 20, tmp_path, '', search=search, limits=here)
    assert Counter(o['status'] for o in read_manifest(tmp_path))['kept'] == 5
    assert collect_photos(['fox'], 20, tmp_path, '', search=search, limits=here)[0]['kept'] == 20
    assert len({o for o,_ in photo_server.seen}) == 20 and len(accounted(tmp_path)) == 20

small_disk = """
import resource
resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, 30_000))
from animal_clf.scraping.download import download
from animal_clf.scraping.throttle import Limits
download([{'class': 'fox', 'url': %r}], %r, Limits(private=True, tries=1))
"""

def test_a_disk_that_takes_half_a_photo(photo_server, tmp_path):
    "The system writes as many bytes as there is room for, and says so only to those who ask"
    photo_server.routes['/a.jpg'] = photo_bytes(draw_scene(1, (1600, 1200)), quality=98)
    assert len(photo_server.routes['/a.jpg']) > 60_000
    run = subprocess.run([sys.executable, '-c', small_disk % (photo_server.url + '/a.jpg', str(tmp_path))], capture_output=True, text=True)
    assert 'FileError' in run.stderr and 'never retrieved' not in run.stderr
    assert files_under(tmp_path) == ['manifest.csv'] and read_manifest(tmp_path)[0]['status'] == 'found'
