"""Fetching, verifying and resizing against a real web server on this machine, good and bad"""
import csv, hashlib, os, signal, socket, subprocess, sys, time
from collections import Counter
from functools import partial
from pathlib import Path
from urllib.parse import quote
import numpy as np
import pytest
from PIL import Image, ImageOps
from animal_clf.core import DataError, FileError, find_photos, open_photo, SettingsError
from animal_clf.download import collect, download, manifest_columns, read_manifest, resize, set_aside, verify, write_manifest
from animal_clf.search import NoNetworkError, NothingFoundError, RateLimitError, search_images
from servers import cut_short, draw_photo, dripping, endless, photo_bytes, photo_hits


def rows_of(server, *paths, name='fox'): return [{'class': name, 'url': server.url + o} for o in paths]
def fetch(server, folder, *paths, name='fox', **limits): return download(rows_of(server, *paths, name=name), folder, **limits)
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

bad = {
    '/404.jpg': (404, 'HTTP 404 Not Found'), '/403.jpg': (403, 'HTTP 403 Forbidden'), '/500.jpg': (500, 'HTTP 500 Internal Server Error'),
    '/page.jpg': (lambda h: h.answer('<!DOCTYPE html>log in'), 'not a photo but text/html'),
    '/drawing.svg': (lambda h: h.answer('<svg/>', content_type='image/svg+xml'), 'not a photo but image/svg+xml'),
    '/empty.jpg': (b'', 'empty (0 bytes)'),
    '/cut.jpg': (cut_short(photo_bytes(draw_photo(1))), 'peer closed connection'),
    '/rude.jpg': (lambda h: h.connection.shutdown(socket.SHUT_RDWR), 'disconnected'),
    '/endless.jpg': (endless, 'larger than 1 MB'),
    '/loop.jpg': ('/loop.jpg', 'Exceeded maximum allowed redirects'),
    '/file.jpg': ('file:///etc/hostname', 'unsupported protocol'),
    '/port.jpg': ('http://127.0.0.1:99999/', 'Invalid port'),
    '/nowhere.jpg': ('http://127.0.0.1:9/', 'All connection attempts failed')}

def test_every_failure_is_told_and_none_stops_the_others(photo_server, tmp_path):
    photo_server.routes.update({k: route for k,(route,_) in bad.items()})
    photo_server.routes.update({'/good.jpg': photo_bytes(draw_photo()), '/moved.jpg': '/there.jpg?x', '/there.jpg?x': photo_bytes(draw_photo(3))})
    rows = fetch(photo_server, tmp_path, *bad, '/good.jpg', '/moved.jpg', max_mb=1)
    for row,(path,(_,reason)) in zip(rows, bad.items()):
        assert row['status'] == 'failed' and reason in row['reason'], (path, row['reason'])
    assert [o['status'] for o in rows[-2:]] == ['fetched']*2
    assert files_under(tmp_path) == sorted(['manifest.csv', rows[-2]['raw'], rows[-1]['raw']])    # no half file
    assert read_manifest(tmp_path) == rows

def test_the_time_limit_is_for_the_whole_photo(photo_server, tmp_path):
    photo_server.routes.update({'/drip.jpg': dripping(photo_bytes(draw_photo(2))), '/silent.jpg': lambda h: time.sleep(3)})
    start = time.perf_counter()
    rows = fetch(photo_server, tmp_path, *photo_server.routes, timeout_s=1)
    assert time.perf_counter() - start < 2.5
    assert {(o['status'], o['reason'], o['http_status']) for o in rows} == {('failed', 'not whole within 1 s', None)}
    assert files_under(tmp_path) == ['manifest.csv']

nasty = ['http://', 'http://127.0.0.1:99999/x.jpg', 'http://127.0.0.1:x/', 'http://[::1', 'http://ex ample/', 'http://\x00/', 'http://a..b/x.jpg', 'http://' + 'x'*300,
         'http://\ud83d/', 'http://127.0.0.1:9/' + 'x'*100_000, 'ftp://127.0.0.1/x.jpg', 'file:///etc/passwd', 'data:image/png;base64,AAAA', 'fox.jpg', '//x', 'http://%00/']

def test_nasty_addresses(tmp_path):
    rows = download([{'class': 'fox', 'url': o} for o in nasty], tmp_path, timeout_s=5)
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

def test_who_we_are(photo_server, tmp_path):
    fetch(photo_server, tmp_path, '/a.jpg')
    agent = photo_server.seen[0][1]['User-Agent']
    assert agent.startswith('animal-clf/') and 'Mozilla' not in agent

def test_nothing_is_fetched_twice_but_what_may_work_next_time(photo_server, tmp_path):
    photo_server.routes.update({'/good.jpg': photo_bytes(draw_photo()), '/gone.jpg': 404, '/busy.jpg': 503})
    paths = list(photo_server.routes)
    fetch(photo_server, tmp_path, *paths, *paths)
    assert Counter(o for o,_ in photo_server.seen) == dict.fromkeys(paths, 1)
    photo_server.routes['/busy.jpg'] = photo_bytes(draw_photo(1))
    assert [o['status'] for o in fetch(photo_server, tmp_path, *paths)] == ['fetched', 'failed', 'fetched']
    assert Counter(o for o,_ in photo_server.seen) == {'/good.jpg': 1, '/gone.jpg': 1, '/busy.jpg': 2}

def test_files_of_a_killed_run_are_adopted(photo_server, tmp_path):
    photo_server.routes.update({f'/{i}.jpg': photo_bytes(draw_photo(i)) for i in range(5)})
    rows = fetch(photo_server, tmp_path, *photo_server.routes)
    write_manifest([o | dict(status='found', raw='', path='', http_status=None, sha256='') for o in rows], tmp_path)   # as it was before
    assert [o['status'] for o in fetch(photo_server, tmp_path, *photo_server.routes)] == ['fetched']*5
    assert len(photo_server.seen) == 5
    assert {o['raw']: o['sha256'] for o in verify(tmp_path)} == {o['raw']: o['sha256'] for o in rows}

def test_interrupt_leaves_whole_files_and_a_manifest(photo_server, tmp_path):
    photo_server.routes.update({f'/{i}.jpg': photo_bytes(draw_photo(i)) for i in range(4)} | {f'/slow{i}.jpg': dripping(photo_bytes(draw_photo(i))) for i in range(4)})
    code = f'from animal_clf.download import download; download([{{"class": "fox", "url": "{photo_server.url}" + o}} for o in {list(photo_server.routes)!r}], {str(tmp_path)!r})'
    run = subprocess.Popen([sys.executable, '-c', code], stderr=subprocess.PIPE, text=True)
    deadline = time.time() + 10
    while len(photo_server.seen) < 8 and time.time() < deadline: time.sleep(.02)
    time.sleep(.2)
    run.send_signal(signal.SIGINT)
    assert 'KeyboardInterrupt' in run.communicate(timeout=5)[1]
    assert Counter(o['status'] for o in read_manifest(tmp_path)) == dict(fetched=4, found=4)
    assert len(files_under(tmp_path)) == 5

@pytest.mark.parametrize('limits', [dict(workers=0), dict(timeout_s=-1), dict(max_mb=0)])
def test_limits_are_checked_first(photo_server, tmp_path, limits):
    with pytest.raises(SettingsError): fetch(photo_server, tmp_path, '/a.jpg', **limits)
    assert files_under(tmp_path) == [] and photo_server.seen == []

@pytest.mark.parametrize('name', ['', '..', '.fox', 'a/b', 'a\\b', '../fox', ' fox', 'fox\n', 'f\0x', 'x'*201, None, 5])
def test_classes_that_cannot_be_folders(photo_server, tmp_path, name):
    with pytest.raises(SettingsError, match='a name that can be a folder'): fetch(photo_server, tmp_path/'data', '/a.jpg', name=name)
    assert files_under(tmp_path) == []

def test_a_disk_that_refuses_is_not_a_bad_photo(photo_server, tmp_path):
    photo_server.routes['/a.jpg'] = photo_bytes(draw_photo())
    (tmp_path/'raw').mkdir()
    (tmp_path/'raw'/'fox').write_text('a file where the folder should be')
    with pytest.raises(FileError, match='can not be written'): fetch(photo_server, tmp_path, '/a.jpg')
    assert read_manifest(tmp_path)[0]['status'] == 'found'


# --- the manifest

def test_manifest_keeps_everything(tmp_path):
    row = dict.fromkeys(manifest_columns, '') | {'class': 'fox', 'url': 'http://x/?a=1&b="2",3', 'title': 'two\nlines, "quoted"; Füchse 狐 \ud83d', 'http_status': 200, 'width': 640, 'height': None, 'rating': '5'}
    write_manifest([row, row | {'url': 'y'}], tmp_path)
    assert read_manifest(tmp_path) == [row, row | {'url': 'y'}]
    with open(tmp_path/'manifest.csv', newline='', encoding='utf-8', errors='surrogatepass') as f: assert next(csv.reader(f)) == [*manifest_columns, 'rating']

def test_manifest_saved_by_a_spreadsheet(tmp_path):
    write_manifest([dict.fromkeys(manifest_columns, 'x') | dict(http_status=200, width=1, height=2)], tmp_path)
    path = tmp_path/'manifest.csv'
    path.write_bytes(b'\xef\xbb\xbf' + path.read_bytes().replace(b'\r\n', b'\n'))
    assert read_manifest(tmp_path)[0]['width'] == 1

header = ','.join(manifest_columns)
@pytest.mark.parametrize('text', [b'class,url\nfox,x\n', b'\xff\xfe\x00', header.encode() + b'\na,b\n', header.encode() + b'\n' + b','*20 + b'\n',
                                  header.encode() + b'\n' + b','*10 + b'wide,,,,\n'])
def test_damaged_manifest(tmp_path, text):
    (tmp_path/'manifest.csv').write_bytes(text)
    with pytest.raises(DataError, match='is damaged'): read_manifest(tmp_path)
    assert (tmp_path/'manifest.csv').read_bytes() == text


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

def test_a_bomb_is_too_large(tmp_path, monkeypatch):
    put(tmp_path, 'bomb.png', photo_bytes(Image.new('1', (3000, 3000)), 'PNG'))
    monkeypatch.setattr(Image, 'MAX_IMAGE_PIXELS', 1_000_000)
    assert verify(tmp_path)[0]['path'] == 'set-aside/too-large/fox/bomb.png'

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

def test_setting_aside_takes_photo_and_raw_file(tmp_path):
    put(tmp_path, 'a.jpg', photo_bytes(draw_photo()))
    resize(tmp_path)
    row, = rows = read_manifest(tmp_path)
    set_aside(row, tmp_path, 'no-animal', 'a person said so')
    write_manifest(rows, tmp_path)
    assert files_under(tmp_path) == ['manifest.csv', 'set-aside/no-animal/fox/a-2.jpg', 'set-aside/no-animal/fox/a.jpg']
    assert row['status'] == 'set aside' and resize(tmp_path) == []

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
    server.routes.update({f'/{term}/{i}.jpg?size=full&x=%20': photo_bytes(draw_photo(i + 100*len(term), size=(640, 480))) for i in range(n)})
    return photo_hits(n + broken, url=server.url + f'/{term}/{{}}.jpg?size=full&x=%20')

def test_from_names_to_photos(search_proxy, photo_server, tmp_path):
    "The real search client, the real HTTP client"
    search = partial(search_images, **search_proxy.options)
    search_proxy.answers.update(duckduckgo=403, bing=hits_of(photo_server, 12, broken=3))
    fox, = collect(['fox'], 15, tmp_path, search=search)
    assert fox == {'class': 'fox', 'found': 15, 'kept': 12, 'failed': 3, 'set_aside': 0, 'status': 'collected', 'reason': '3 × HTTP 404 Not Found'}
    rows = accounted(tmp_path)
    assert {o['query'] for o in rows} == {'fox photo'} and {o['engine'] for o in rows} == {'bing'}
    assert rows[3]['page'] == 'https://pages.example/3' and rows[3]['title'] == 'photo 3' and (rows[3]['width'], rows[3]['height']) == (640, 480)
    assert {open_photo(o).size for o in find_photos(tmp_path/'photos'/'fox')} == {(400, 300)}

    search_proxy.answers.update(duckduckgo=hits_of(photo_server, 4, 'белый медведь'))
    asked = len(photo_server.seen)
    bear = collect(['fox', 'белый медведь'], 4, tmp_path, search=search)
    assert [(o['status'], o['kept']) for o in bear] == [('already there', 12), ('collected', 4)]
    assert len(photo_server.seen) == asked + 4
    asked = len(photo_server.seen), len(search_proxy.seen)
    assert [o['status'] for o in collect(['fox', 'белый медведь'], 4, tmp_path, search=search)] == ['already there']*2
    assert (len(photo_server.seen), len(search_proxy.seen)) == asked
    assert len(accounted(tmp_path)) == 19

def test_a_class_without_photos_does_not_stop_the_others(search_proxy, photo_server, tmp_path):
    hits = hits_of(photo_server, 3)
    def search(term, n):
        search_proxy.answers['duckduckgo'] = [] if term.startswith('snark') else hits
        return search_images(term, n, **search_proxy.options)
    snark, fox = collect(['snark', 'polar bear'], 3, tmp_path, search=search)
    assert (snark['status'], snark['kept'], fox['status'], fox['kept']) == ('nothing found', 0, 'collected', 3)
    assert 'no photo for "snark photo"' in snark['reason']
    with pytest.raises(NothingFoundError): collect(['snark'], 3, tmp_path, search=search)

def test_refused_or_offline(search_proxy, tmp_path):
    search_proxy.answers.update(duckduckgo=403, bing=429)
    with pytest.raises(RateLimitError): collect(['fox', 'wolf'], 3, tmp_path, search=partial(search_images, **search_proxy.options))
    start = time.perf_counter()
    with pytest.raises(NoNetworkError): collect([f'class {i}' for i in range(50)], 3, tmp_path, search=partial(search_images, proxy='http://127.0.0.1:9'))
    assert time.perf_counter() - start < 3

def test_an_interrupted_class_goes_on_without_a_search(photo_server, tmp_path):
    hits = hits_of(photo_server, 5)
    rows = download([{'class': 'fox', 'url': o['image']} for o in hits], tmp_path)
    write_manifest(rows[:3] + [o | dict(status='found', raw='', path='', http_status=None) for o in rows[3:]], tmp_path)
    for o in rows[3:]: (tmp_path/o['raw']).unlink()
    fox, = collect(['fox'], 5, tmp_path, search=None)
    assert (fox['status'], fox['kept']) == ('collected', 5)
    assert Counter(Counter(o for o,_ in photo_server.seen).values()) == {1: 3, 2: 2}

def test_no_connection_at_first_is_tried_again(photo_server, tmp_path):
    urls = [f'{photo_server.url}/{i}.jpg' for i in range(3)]
    search = lambda term, n: [dict(url=o) for o in urls]
    photo_server.routes.update({f'/{i}.jpg': 503 for i in range(3)})
    assert collect(['fox'], 3, tmp_path, search=search)[0]['kept'] == 0
    photo_server.routes.update({f'/{i}.jpg': photo_bytes(draw_photo(i)) for i in range(3)})
    assert collect(['fox'], 3, tmp_path, search=search)[0]['kept'] == 3

@pytest.mark.parametrize('classes,n,px', [([], 5, 400), (['fox', 'FOX'], 5, 400), (['fox'], 0, 400), (['fox'], 5, 3), (['../fox'], 5, 400), ('fox', 5, 400)])
def test_everything_is_checked_before_anything_happens(tmp_path, classes, n, px):
    with pytest.raises(SettingsError): collect(classes, n, tmp_path/'data', px=px, search=None)
    assert not (tmp_path/'data').exists()

def test_workers_do_not_matter(photo_server, tmp_path):
    hits = hits_of(photo_server, 8, broken=2)
    for workers in (1, 8): download([{'class': 'fox', 'url': o['image']} for o in hits], tmp_path/str(workers), workers=workers)
    assert read_manifest(tmp_path/'1') == read_manifest(tmp_path/'8')
