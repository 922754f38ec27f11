"""What strangers may send to the web app: each kind, what it gets, and that nothing is left of it"""
import io, json, os, pickle, struct, tempfile, zipfile, zlib
from pathlib import Path

import pytest
from PIL import Image

from animal_clf.app.service import load_app_model
from animal_clf.synthetic.animals import draw_animal
from animal_clf.app.uploads import UploadLimits
from apps import animal, chunk, encode, form, make_model, png, post, request, running, talk
from files import contents

fox = animal('fox')
limits = UploadLimits(photos=20, photo_bytes=2_000_000, body_bytes=6_000_000, read_s=1, open_s=2)


# --- files

def tiff(*tags, order='<'):
    "A TIFF of these tags: (number, type, count, value)"
    mark = b'II*\0' if order == '<' else b'MM\0*'
    return mark + struct.pack(f'{order}IH', 8, len(tags)) + b''.join(struct.pack(f'{order}HHII', *o) for o in tags) + bytes(64)

def tiff_of(width, height, *more): return tiff((256, 4, 1, width), (257, 4, 1, height), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1), (273, 4, 1, 8), (277, 3, 1, 1), (278, 4, 1, height), (279, 4, 1, 64), *more)

def bmp(width, height): return b'BM' + struct.pack('<IHHIIiiHHIIiiII', 154, 0, 0, 54, 40, width, height, 1, 24, 0, 100, 0, 0, 0, 0) + bytes(100)

def webp(width, height):
    bits = (width-1) | (height-1) << 14
    data = b'\x2f' + struct.pack('<I', bits) + bytes(60)
    return b'RIFF' + struct.pack('<I', len(data) + 12) + b'WEBPVP8L' + struct.pack('<I', len(data)) + data

def gif_of_frames(n):
    frames = [Image.effect_noise((8, 8), 90) for _ in range(n)]
    return encode(frames[0], 'GIF', save_all=True, append_images=frames[1:])

def passes(n, side=7900):
    "A JPEG of one colour and of `n` passes over it"
    whole = encode(Image.new('L', (side, side), 90), progressive=True)
    at = whole.rindex(b'\xff\xda')
    return whole[:at] + whole[at:-2]*n + whole[-2:]

def with_segments(*segments):
    "A fox with more segments in its head"
    return fox[:2] + b''.join(b'\xff' + bytes([mark]) + struct.pack('>H', len(data) + 2) + data for mark,data in segments) + fox[2:]

def zipped():
    file = io.BytesIO()
    with zipfile.ZipFile(file, 'w') as z: z.writestr('run.sh', 'rm -rf /')
    return file.getvalue()

class Bad:
    def __reduce__(self): return os.system, ('touch /tmp/unpickled',)

def text_chunk(n): return chunk(b'zTXt', b'note\0\0' + zlib.compress(bytes(n), 9))

exif = b'Exif\0\0II*\0\x08\0\0\0'
rgb = draw_animal('fox', index=98)
files = {   # name: (what is sent, what is said: of an error, or the class)
    'empty': (b'', 'it is empty'), 'one byte': (b'\xff', 'no photo that can be read'), 'zeros': (bytes(5000), 'no photo that can be read'),
    'PNG of 30,000 x 30,000': (png(30000, 30000), 'more than 64 million pixels'), 'PNG just over the limit': (png(8001, 8001), 'more than 64 million pixels'),
    'PNG of 2 billion x 2 billion': (png(2**31-1, 2**31-1), 'more than 64 million pixels'), 'PNG without its pixels': (png(5000, 5000), 'damaged'), 'PNG of no size': (png(0, 0), 'it is'),
    'PNG with a text of 200 MB': (png(100, 100, extra=text_chunk(200_000_000)), 'damaged'), 'PNG with wrong sums': (png(100, 100)[:-20] + bytes(20), 'damaged'),
    'PNG of pixels without end': (png(1000, 1000, 8, 2, data=zlib.compress(bytes(30_000_000), 9)), 'ok'), 'PNG of 200,000 chunks': (png(8, 8, extra=chunk(b'abCd', b'')*160_000), 'ok or slow'),
    'GIF of 2,000 frames': (gif_of_frames(2000), 'ok'), 'GIF of 65,535 x 65,535': (b'GIF89a' + struct.pack('<HHBBB', 65535, 65535, 0, 0, 0) + b'\x2c' + struct.pack('<HHHHB', 0, 0, 65535, 65535, 0) + b'\x08\x01\x00\x00;', 'more than 64 million pixels'),
    'GIF without a frame': (b'GIF89a' + struct.pack('<HHBBB', 9, 9, 0, 0, 0) + b';', 'it is'), 'GIF that is a script': (b'GIF89a/*' + bytes(20) + b'*/=alert(1)', 'it is'),
    'WebP of 16,383 x 16,383': (webp(16383, 16383), 'it '), 'WebP cut off': (encode(rgb, 'WEBP')[:200], 'it is'),
    'TIFF of 60,000 x 60,000': (tiff_of(60000, 60000), 'more than 64 million pixels'), 'TIFF of 4 billion entries': (tiff_of(100, 100, (34665, 4, 2**32-1, 8)), 'damaged'),
    'TIFF of huge tiles': (tiff((256, 4, 1, 100), (257, 4, 1, 100), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1), (322, 4, 1, 2**31-16), (323, 4, 1, 2**31-16), (324, 4, 1, 8), (325, 4, 1, 64)), 'damaged'),
    'TIFF that leads to itself': (b'II*\0' + struct.pack('<IHHHIII', 8, 1, 330, 4, 1, 8, 8), 'it is'),
    'BMP of negative width': (bmp(-100, 100), 'more than 64 million pixels'), 'BMP of 2 billion x 2 billion': (bmp(2**31-1, 2**31-1), 'more than 64 million pixels'), 'BMP of the least height': (bmp(10, -2**31), 'more than 64 million pixels'),
    'JPEG of 10 bytes': (fox[:10], 'it is'), 'JPEG half': (fox[:len(fox)//2], 'damaged'), 'JPEG without its end': (fox[:-2], 'ok or damaged'), 'JPEG of 62 million pixels': (encode(Image.new('L', (7900, 7900))), 'ok'),
    'JPEG of 3,000 passes': (passes(3000), 'more than 2 s'), 'JPEG of 450,000 segments': (with_segments(*[(0xe1, b'')]*450_000), 'ok or slow'), 'JPEG with the size of zero': (fox.replace(b'\xff\xc0', b'\xff\xc0\0\x11\x08\0\0\0\0', 1), 'it is'),
    'broken EXIF': (with_segments((0xe1, exif + b'\xff'*500)), 'ok'), 'EXIF that leads to itself': (with_segments((0xe1, exif + struct.pack('<HHHIII', 1, 0x8769, 4, 1, 8, 8))), 'ok'), 'EXIF turned by 99': (with_segments((0xe1, exif + struct.pack('<HHHIHHI', 1, 0x112, 3, 1, 99, 0, 0))), 'ok'),
    'ICC profile of 1.5 MB': (with_segments(*[(0xe2, b'ICC_PROFILE\0' + bytes([i, 24]) + b'x'*64000) for i in range(1, 25)]), 'ok'),
    'photo and ZIP in one': (fox + zipped(), 'ok'), 'photo and web page in one': (with_segments((0xfe, b'<script>alert(1)</script>')), 'ok'),
    'web page': (b'<!DOCTYPE html><script>alert(1)</script>', 'web page'), 'SVG': (b'<?xml version="1.0"?><svg onload="alert(1)"/>', 'SVG'), 'PDF': (b'%PDF-1.7\n', 'PDF'), 'ZIP': (zipped(), 'no photo'), 'program': (b'MZ' + bytes(2000), 'no photo'),
    'ELF': (b'\x7fELF' + bytes(2000), 'no photo'), 'pickle': (pickle.dumps(Bad()), 'no photo'), 'EPS': (b'%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(touch /tmp/printed) (w) file\n', 'PostScript'),
    'ICO': (encode(rgb.resize((64, 64)), 'ICO'), 'no photo that can be read'), 'PPM': (encode(rgb, 'PPM'), 'ok'), 'TGA': (encode(rgb, 'TGA'), 'no photo that can be read'), 'PSD': (b'8BPS\0\1' + bytes(60), 'no photo that can be read'),
    'MPO of two photos': (encode(rgb, 'MPO', save_all=True, append_images=[rgb]), 'ok'), '16 bit PNG': (encode(Image.new('I;16', (99, 99), 30000), 'PNG'), 'ok'), 'CMYK JPEG': (encode(rgb.convert('CMYK')), 'ok'), 'floating TIFF': (encode(Image.new('F', (99, 99), .5), 'TIFF'), 'ok'),
    'transparent palette': (encode(rgb.convert('P'), 'PNG', transparency=3), 'ok'), '1 x 1': (encode(Image.new('RGB', (1, 1))), 'ok'), '60,000 x 1': (encode(Image.new('RGB', (60000, 1))), 'ok'), 'AVIF cut off': (encode(rgb, 'AVIF')[:150], 'it is'),
}


# --- names

names = {'../../etc/passwd': 'passwd', '/etc/passwd': 'passwd', '..\\\\..\\\\boot.ini': 'boot.ini', 'nul\0.jpg': 'nul\ufffd.jpg', 'x'*5000 + '.jpg': 'x'*39 + '…' + 'x'*36 + '.jpg', 'a\x1b[31m\x07.jpg': 'a\ufffd[31m\ufffd.jpg',
         '<script>alert(1)</script>': 'script>', '<img src=x onerror=alert(1)>': '<img src=x onerror=alert(1)>', '\u202egpj.exe': '\ufffdgpj.exe', '': None, b'\xff\xfe\xfd': '\ufffd\ufffd\ufffd', '${x}`id`%00': '${x}`id`%00', "'; DROP TABLE photos;--": "'; DROP TABLE photos;--"}


# --- requests

kind = 'Content-Type: multipart/form-data; boundary=b'
part = b'--b\r\nContent-Disposition: form-data; name="photos"; filename="x.jpg"\r\n\r\n'
good = form(('fox.jpg', fox))
requests = {   # name: (pieces, status, what is said)
    'form without a boundary': ([request(headers=['Content-Type: multipart/form-data'], body=good)], 400, 'without a boundary'),
    'form of another boundary': ([request(headers=['Content-Type: multipart/form-data; boundary=c'], body=good)], 400, 'can not be read'),
    'boundary of 300 letters': ([request(headers=[f'Content-Type: multipart/form-data; boundary={"b"*300}'], body=good)], 400, 'can not be read'),
    'form without an end': ([request(headers=[kind], body=good[:-6])], 400, 'breaks off'), 'form that ends in a head': ([request(headers=[kind], body=part[:40])], 400, 'breaks off'),
    'form of nothing': ([request(headers=[kind], body=b'')], 400, 'breaks off'), 'form of no parts': ([request(headers=[kind], body=b'--b--\r\n')], 422, 'no photo'),
    'form of noise': ([request(headers=[kind], body=bytes(range(256))*40)], 400, 'can not be read'), 'form of 1 MB of almost boundaries': ([request(headers=[kind], body=part + b'\r\n--c'*200_000 + b'\r\n--b--\r\n')], 200, 'no photo that can be read'),
    'part without a name': ([request(headers=[kind], body=b'--b\r\nContent-Disposition: form-data\r\n\r\nx\r\n--b--\r\n')], 400, 'without a name'), 'part without a head': ([request(headers=[kind], body=b'--b\r\n\r\nx\r\n--b--\r\n')], 400, 'without a name'),
    'part of 1,000 headers': ([request(headers=[kind], body=b'--b\r\n' + b'X-A: b\r\n'*1000 + part[5:] + b'x\r\n--b--\r\n')], 400, 'can not be read'), 'part with a header of 100 KB': ([request(headers=[kind], body=b'--b\r\nX-A: ' + b'b'*100_000 + b'\r\n' + part[5:] + b'x\r\n--b--\r\n')], 400, 'can not be read'),
    'form within a form': ([request(headers=[kind], body=part[:-2] + b'Content-Type: multipart/mixed; boundary=c\r\n\r\n--c\r\n\r\nx\r\n--c--\r\n--b--\r\n')], 200, 'no photo that can be read'),
    'part in base64': ([request(headers=[kind], body=part[:-2] + b'Content-Transfer-Encoding: base64\r\n\r\n/9j/4AAQ\r\n--b--\r\n')], 200, 'no photo that can be read'),
    '10,000 fields': ([request(headers=[kind], body=form(fields=[(f'f{i}', b'x') for i in range(10_000)]))], 413, 'more than 8 fields'), 'field of 1 MB': ([request(headers=[kind], body=form(fields=[('f', b'x'*10**6)]))], 413, 'field `f` of more than'),
    '21 photos': ([post(*[('x.jpg', b'x')]*21)], 413, 'more than 20 photos'), '1,000 empty photos': ([post(*[('', b'')]*1000)], 413, 'parts'), 'photo over the limit': ([post(('x.jpg', bytes(2_000_001)))], 413, '`x.jpg` of more than 2,000,000 bytes'),
    'bare photo over the limit': ([request(headers=['Content-Type: image/jpeg'], body=bytes(2_000_001))], 413, 'a photo of more than'), 'body of a terabyte, as it says': ([request(headers=[kind], length=10**12)], 413, 'more than 6,000,000 bytes'),
    'body over the limit, asked for first': ([request(headers=[kind, 'Expect: 100-continue'], length=7_000_000)], 413, 'more than 6,000,000 bytes'), 'body that is waited for': ([request(headers=[kind, 'Expect: 100-continue'], body=good)], 200, '"fox"'),
    'body in chunks without end': ([b'POST /predict HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n' + kind.encode() + b'\r\n\r\n' + f'{len(part):x}\r\n'.encode() + part + b'\r\n', *[b'100000\r\n' + bytes(2**20) + b'\r\n']*12], 413, 'more than 2,000,000 bytes'),
    'body longer than it says': ([request(headers=[kind], body=good, length=len(good)-50)], 400, 'breaks off'), 'body that does not come': ([request(headers=[kind], body=good[:100], length=len(good))], 408, 'did not arrive in 1 s'),
    'body by drops': ([request(headers=[kind], body=b'', length=len(good)), *[bytes([o]) for o in good[:15]]], 408, 'did not arrive in 1 s'), 'head that does not end': ([b'POST /predict HTTP/1.1\r\nHost: localhost\r\n'], 0, ''),
    'nothing at all': ([b''], 0, ''), 'web page as a body': ([request(headers=['Content-Type: text/html'], body=b'<html>')], 415, '`text/html`'), 'JSON as a body': ([request(headers=['Content-Type: application/json'], body=b'{}')], 415, '`application/json`'),
    'body without a type': ([request(body=fox)], 415, 'without a type'), 'type with controls in it': ([request(headers=['Content-Type: \x80\x9f/<b>'], body=b'x')], 415, 'a body of type'), 'body packed by gzip': ([request(headers=[kind, 'Content-Encoding: gzip'], body=b'\x1f\x8b')], 415, 'gzip'),
    'bare photo': ([request(headers=['Content-Type: image/jpeg'], body=fox)], 200, '"photo"'), 'bare nothing': ([request(headers=['Content-Type: image/jpeg'])], 422, 'no photo'),
    'other host': ([request('GET', '/', host='evil.example')], 400, 'the host `evil.example`'), 'no host': ([b'GET / HTTP/1.1\r\n\r\n'], 400, 'nvalid'), 'two hosts': ([request('GET', '/', ['Host: evil.example'])], 400, 'nvalid'),
    'page of another site': ([post(('x', fox), headers=['Origin: http://evil.example'])], 403, 'another site'), 'origin null': ([post(('x', fox), headers=['Origin: null'])], 403, 'another site'), 'origin of another port': ([post(('x', fox), headers=['Origin: http://127.0.0.1:1'])], 403, 'another site'),
    'fetched across sites': ([post(('x', fox), headers=['Sec-Fetch-Site: cross-site'])], 403, 'another site'), 'form across sites': ([post(('x', fox), path='/', headers=['Origin: http://evil.example'])], 403, 'another site'),
    'folders upwards': ([request('GET', '/static/../../../etc/passwd')], 404, 'no such page'), 'folders upwards, in code': ([request('GET', '/static/%2e%2e/%2e%2e/etc/passwd')], 404, 'no such page'), 'folders upwards, twice in code': ([request('GET', '/static/%252e%252e/app.py')], 404, 'no such page'),
    'another file': ([request('GET', '/static/app.py')], 404, 'no such page'), 'two slashes': ([request('GET', '//etc/passwd')], 404, 'no such page'), 'NUL in the path': ([request('GET', '/static/app.css%00.jpg')], 404, 'no such page'), 'key of sessions': ([request('GET', '/.sesskey')], 404, 'no such page'),
    'no such example': ([request(path='/', headers=[kind], body=form(fields=[('example', b'99')]))], 422, 'no example'), 'example of a path': ([request(path='/', headers=[kind], body=form(fields=[('example', b'../../etc/passwd')]))], 422, 'no example'), 'example that is no number': ([request(path='/answers', headers=[kind], body=form(fields=[('example', '²'.encode())]))], 422, 'no example'),
    **{f'method {o}': ([request(o, '/predict')], 405, 'method') for o in ('GET', 'PUT', 'DELETE', 'PATCH', 'TRACE', 'OPTIONS', 'PROPFIND')}, 'method CONNECT': ([b'CONNECT evil.example:80 HTTP/1.1\r\nHost: localhost\r\n\r\n'], 404, ''),
    'header of 100 KB': ([request('GET', '/', ['X-A: ' + 'b'*100_000])], (431, 400), ''), 'header of 1 MB': ([request('GET', '/', ['X-A: ' + 'b'*10**6])], (0, 400), ''), '20,000 headers': ([request('GET', '/', ['X-A: b']*20_000)], (0, 400, 431), ''), 'path of 100 KB': ([request('GET', '/' + 'a'*100_000)], (431, 400), ''),
    'two lengths': ([b'POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\nContent-Length: 40\r\n\r\nxxxx'], 400, 'nvalid'), 'negative length': ([request(length=-1)], 400, 'nvalid'), 'length in words': ([request(length='ten')], 400, 'nvalid'),
    'length and chunks': ([b'POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n0\r\n\r\nGET /health HTTP/1.1\r\nHost: localhost\r\n\r\n'], 400, 'two lengths'),
    'chunks of a strange kind': ([b'POST /predict HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n'], 400, 'nvalid'), 'chunk of a negative length': ([b'POST /predict HTTP/1.1\r\nHost: localhost\r\n' + kind.encode() + b'\r\nTransfer-Encoding: chunked\r\n\r\n-5\r\n'], 400, ''),
    'blank before the colon': ([b'GET / HTTP/1.1\r\nHost : localhost\r\n\r\n'], 400, 'nvalid'), 'TLS': ([b'\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03' + bytes(200)], 400, 'nvalid'), 'HTTP 0.9': ([b'GET /\r\n\r\n'], 400, 'nvalid'),
    'WebSocket': ([request('GET', '/', ['Upgrade: websocket', 'Sec-WebSocket-Version: 13', 'Sec-WebSocket-Key: x3JJHMbDL1EzLkh9GBhXDw=='])], 200, 'Which animal'), 'HTTP/2 over': ([b'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'], 400, 'the host ``'),
}


# --- what they get

@pytest.fixture(scope='module')
def cache(tmp_path_factory): return tmp_path_factory.mktemp('cache')

@pytest.fixture(scope='module')
def app(cache, tmp_path_factory):
    folder = make_model(tmp_path_factory.mktemp('made'), cache)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv('ANIMAL_CLF_CACHE', str(cache))
        patch.setattr('animal_clf.app.server._Protocol.patience_s', 1)
        with running(load_app_model(folder), limits) as service:
            service.folder = folder
            yield service

def ask_file(app, content): return talk(app.port, post(('x.jpg', content)))

@pytest.fixture(scope='module', autouse=True)
def nothing_is_left(app, cache):
    "Whatever is sent, nothing is written on its account, not even for a moment, and the app is as it was"
    def refuse(*args): raise AssertionError('a temporary file')
    before, here = (contents(cache), contents(app.folder)), set(os.listdir())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tempfile, '_mkstemp_inner', refuse)   # the app runs in this process
        yield
    assert (contents(cache), contents(app.folder)) == before and set(os.listdir()) == here
    assert not Path('/tmp/unpickled').exists() and not Path('/tmp/printed').exists()
    assert (app.capacity.n_photos, app.capacity.n_bytes) == (0, 0)

@pytest.mark.parametrize('name', files)
def test_files(app, name):
    content, said = files[name]
    status, headers, body = ask_file(app, content)
    row, = json.loads(body)
    assert status == 200 and row['path'] == 'x.jpg' and 'set-cookie' not in headers
    if not said.startswith('ok'): assert said in row['error']
    elif said == 'ok' or not row['error']: assert row['error'] is None and row['label']
    else: assert {'ok or slow': 'more than 2 s', 'ok or damaged': 'damaged'}[said] in row['error']

@pytest.mark.parametrize('name', names, ids=lambda o: ascii(o)[:30])
def test_names(app, name):
    status, _, body = talk(app.port, post((name, fox) if name else ('', fox)))
    row, = json.loads(body)
    assert status == 200 and row['error'] is None and row['path'] == (names[name] or 'photo')
    html = talk(app.port, post((name, fox), path='/'))[2].decode()
    assert html.count('<script') == 1 and '\x1b' not in html and '\0' not in html and '/etc/' not in html

@pytest.mark.parametrize('name', requests)
def test_requests(app, name):
    pieces, code, said = requests[name]
    status, headers, body = talk(app.port, *pieces, pause=.1 if 'drops' in name else 0)
    assert status in (code if isinstance(code, tuple) else (code,)) and said in body.decode('utf8')
    if status >= 400 and headers.get('content-type', '').startswith('application/json'): assert list(json.loads(body)) == ['error']

def test_the_app_is_well_after_all_that(app):
    status, _, body = ask_file(app, fox)
    assert status == 200 and json.loads(body)[0]['label'] == 'fox'

def test_one_broken_photo_spoils_none_of_the_others(app):
    rows = json.loads(talk(app.port, post(('a', fox), ('b', b''), ('c', png(30000, 30000)), ('d', fox)))[2])
    assert [(o['path'], o['label'], bool(o['error'])) for o in rows] == [('a', 'fox', False), ('b', None, True), ('c', None, True), ('d', 'fox', False)]

def test_a_refusal_is_read_by_who_is_still_sending(app):
    "The reason comes through, though the body was not read to its end"
    for _ in range(5):
        status, headers, body = talk(app.port, request(headers=[kind], body=bytes(8_000_000)))
        assert status == 413 and b'more than 6,000,000 bytes' in body and headers['connection'] == 'close'
