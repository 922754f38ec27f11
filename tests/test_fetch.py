"""Fetching from servers that do everything wrong: one answer per address, in plain words, and no half file"""
import asyncio, gzip, hashlib, os, subprocess, sys, threading, time, tracemalloc
from datetime import datetime, timedelta, timezone
from email.utils import format_datetime

import pytest
from animal_clf.scraping import fetch, urls
from animal_clf.core.settings import FileError, SettingsError
from animal_clf.scraping.urls import nonpublic_kind
from animal_clf.scraping.fetch import Fetcher, run_bounded, remove_partial_files
from animal_clf.scraping.throttle import Limits, read_retry_after
from servers import (PhotoServer, SearchProxy, cut_short, draw_photo, dripping, endless, hanging_up, in_turn, photo_bytes, sending, sending_raw, serving,
                     silent)

photo = photo_bytes(draw_photo(1))
here = ('127.0.0.1/32',)   # the one address of this machine that the tests may fetch from

def fetch_all(urls, folder, **limits):
    "The answers for `urls`, all fetched in one run"
    async def run():
        answers = {}
        async with Fetcher(Limits(**dict(private=here, tries=1) | limits)) as fetcher:
            async def one(numbered): answers[numbered[0]] = await fetcher.fetch(numbered[1], folder/f'{numbered[0]}')
            await run_bounded(enumerate(urls), one)
        return [answers[i] for i in range(len(urls))]
    return asyncio.run(run())

def fetch_one(server, path, folder, **limits): return fetch_all([server.url + path], folder, **limits)[0]

def files(folder): return sorted(o.name for o in folder.rglob('*') if o.is_file())

@pytest.fixture
def quick(monkeypatch):
    "Back-off in hundredths of a second; the pauses that were asked for"
    pauses, real = [], asyncio.sleep
    async def sleep(seconds):
        if seconds: pauses.append(seconds)
        await real(seconds/100)
    monkeypatch.setattr(fetch.asyncio, 'sleep', sleep)
    return pauses


# --- what works

def test_a_photo(photo_server, tmp_path):
    photo_server.routes['/fox.jpg'] = photo
    answer = fetch_one(photo_server, '/fox.jpg', tmp_path/'new'/'folder')
    assert (answer.status, answer.http_status, answer.suffix, answer.size, answer.reason) == ('fetched', 200, '.jpg', len(photo), '')
    assert answer.sha256 == hashlib.sha256(photo).hexdigest()
    assert abs(datetime.fromisoformat(answer.time) - datetime.now(timezone.utc)) < timedelta(seconds=10)
    assert (tmp_path/'new'/'folder'/'0.jpg').read_bytes() == photo and files(tmp_path) == ['0.jpg']
    headers = photo_server.seen[0][1]
    assert headers['User-Agent'].startswith('animal-clf/') and headers['Accept-Encoding'] == 'identity' and 'Cookie' not in headers

def test_the_bytes_say_what_it_is(photo_server, tmp_path):
    bodies = [photo_bytes(draw_photo(2), o) for o in ('PNG', 'GIF', 'WEBP', 'BMP', 'TIFF')]
    for i,o in enumerate(bodies): photo_server.routes[f'/{i}.jpg'] = sending(body=o, Content_Type='text/html')
    answers = fetch_all([f'{photo_server.url}/{i}.jpg' for i in range(5)], tmp_path)
    assert [o.suffix for o in answers] == ['.png', '.gif', '.webp', '.bmp', '.tif']

def test_without_a_length_and_in_chunks(photo_server, tmp_path):
    photo_server.routes['/open'] = sending_raw(b'HTTP/1.0 200 OK\r\n\r\n' + photo)
    photo_server.routes['/chunked'] = sending_raw(b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n' % (len(photo), photo))
    assert {o.size for o in fetch_all([photo_server.url + o for o in ('/open', '/chunked')], tmp_path)} == {len(photo)}

def test_the_journal_hears_of_it_first(photo_server, tmp_path):
    photo_server.routes['/fox.jpg'], heard = photo, []
    async def run():
        async with Fetcher(Limits(private=here)) as fetcher:
            await fetcher.fetch(photo_server.url + '/fox.jpg', tmp_path/'fox', lambda answer: heard.append((answer.status, answer.suffix, files(tmp_path))))
    asyncio.run(run())
    (status, suffix, (part,)), = heard
    assert (status, suffix, part[:9], part.endswith(f'.{os.getpid()}.part'), files(tmp_path)) == ('fetched', '.jpg', '.fox.jpg.', True, ['fox.jpg'])

@pytest.mark.parametrize('path', ['/red%20fox.jpg?sig=%2Fa%3D&u=x+y', '/a~b/%7E.jpg', '/100%.jpg', "/(a)'b!$,;@.jpg"])
def test_addresses_go_out_as_they_came(photo_server, tmp_path, path):
    photo_server.routes[path] = photo
    assert fetch_one(photo_server, path, tmp_path).status == 'fetched' and photo_server.count(path) == 1

@pytest.mark.parametrize('path,sent', [('/red fox|.jpg', '/red%20fox%7C.jpg'), ('/лиса.jpg', '/%D0%BB%D0%B8%D1%81%D0%B0.jpg'), ('/a\r\nX: y', '/a%0D%0AX:%20y'), ('#x', '/')])
def test_what_cannot_be_sent_is_quoted(photo_server, tmp_path, path, sent):
    photo_server.routes[sent] = photo
    assert fetch_one(photo_server, path, tmp_path).status == 'fetched'

def test_redirects_are_followed(photo_server, tmp_path):
    photo_server.routes |= {'/a': '/b', '/b': photo_server.url + '/c', '/c': '/d%20e?f', '/d%20e?f': photo}
    assert fetch_one(photo_server, '/a', tmp_path).status == 'fetched'


# --- hostile answers: path -> (route, reason, HTTP status)

raw = lambda data, **kw: sending_raw(data.encode('latin-1'), **kw)
ok = 'HTTP/1.1 200 OK\r\n'
hostile = {
    'gone': (404, 'HTTP 404 Not Found', 404),
    'forbidden': (403, 'HTTP 403 Forbidden', 403),
    'broken': (500, 'HTTP 500 Internal Server Error', 500),
    'no content': (sending(204), 'HTTP 204 No Content', 204),
    'page': (sending(body=b'<!doctype html>', Content_Type='text/html; charset=utf-8'), 'not a photo but text/html', 200),
    'page called photo': (sending(body=b'<!doctype html>', Content_Type='image/jpeg'), 'not a photo but a web page or a drawing', 200),
    'text': (sending(body=b'hello', Content_Type='image/jpeg'), 'not a photo but something else', 200),
    'odd type': (sending(body=b'hello', Content_Type='a\tb; c'), 'not a photo but a b', 200),
    'empty': (b'', 'empty (0 bytes)', 200),
    'two bytes': (b'\xff\xd8', 'not a photo but something else', 200),
    'gzip': (sending(body=gzip.compress(photo), Content_Type='image/jpeg', Content_Encoding='gzip'), 'not a photo but packed data (gzip)', 200),
    'too large': (sending(body=photo + bytes(200_000)), 'larger than 0.1 MB', 200),
    'too large, in chunks': (sending_raw(f'{ok}Transfer-Encoding: chunked\r\n\r\n{200_000:x}\r\n'.encode() + photo + bytes(200_000)), 'larger than 0.1 MB', 200),
    'endless': (endless, 'larger than 0.1 MB', 200),
    'cut short': (cut_short(photo), 'cut short', None),
    'cut short in its head': (sending_raw(f'{ok}Content-Length: 100\r\n\r\n'.encode() + b'\xff\xd8'), 'cut short', None),
    'cut short in chunks': (sending_raw(f'{ok}Transfer-Encoding: chunked\r\n\r\nffff\r\n'.encode() + photo[:999]), 'cut short', None),
    'chunked garbage': (sending_raw(f'{ok}Transfer-Encoding: chunked\r\n\r\nxyz\r\n'.encode() + photo), None, None),
    'chunk without end': (sending_raw(f'{ok}Transfer-Encoding: chunked\r\n\r\n'.encode() + b'1'*100_000), None, None),
    'drip': (dripping(photo, .1, 20), 'not whole within 0.8 s', None),
    'drip in the head': (lambda handler: [handler.wfile.write(b'%c' % o) and time.sleep(.1) for o in ok.encode()], 'not whole within 0.8 s', None),
    'silent': (silent(3), 'not a byte within 0.5 s', None),
    'silent after its head': (raw(ok + 'Content-Length: 99\r\n\r\n', hold_s=2), 'not a byte within 0.5 s', None),
    'silent in the middle': (sending_raw(f'{ok}Content-Length: {len(photo)}\r\n\r\n'.encode() + photo[:999], hold_s=2), 'not a byte within 0.5 s', None),
    'hangs up': (hanging_up, 'the connection broke', None),
    'says nothing': (sending_raw(b''), 'the connection broke', None),
    'not http': (raw('220 smtp.example ESMTP\r\n'), None, None),
    'odd status': (raw('HTTP/1.1 abc OK\r\n\r\n'), None, None),
    'status 999': (raw('HTTP/1.1 999 No\r\nContent-Length: 0\r\n\r\n'), 'HTTP 999 No', 999),
    'status 1000': (raw('HTTP/1.1 1000 No\r\n\r\n'), None, None),
    'status 0': (raw('HTTP/1.1 000 \r\nContent-Length: 0\r\n\r\n'), None, None),
    'reason in red': (raw('HTTP/1.1 404 \x1b[31mred\r\nContent-Length: 0\r\n\r\n'), None, None),
    'only 100': (raw('HTTP/1.1 100 Continue\r\n\r\n'*3, hold_s=2), 'not whole within 0.8 s', None),
    'switching': (raw('HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n'), None, None),
    'giant header': (raw(ok + 'X: ' + 'x'*1_000_000 + '\r\n\r\n'), None, None),
    'headers without end': (raw(ok + 'X: y\r\n'*50_000), None, None),
    'odd headers': (raw(ok + 'no colon\r\n: none\r\n\x00: 1\r\n\r\n'), None, None),
    'negative length': (raw(ok + 'Content-Length: -1\r\n\r\n'), None, None),
    'two lengths': (raw(ok + 'Content-Length: 1\r\nContent-Length: 2\r\n\r\nxx'), None, None),
    'huge length': (raw(ok + 'Content-Length: 99999999999999999999\r\n\r\nxx'), None, None),
    'odd length': (raw(ok + 'Content-Length: ten\r\n\r\nxx'), None, None),
    'loop': ('/loop', 'redirected in a circle', 302),
    'file': ('file:///etc/passwd', 'redirected to an address that is not of the web: file:///etc/passwd', 302),
    'ftp': ('ftp://127.0.0.1/x', 'redirected to an address that is not of the web: ftp://127.0.0.1/x', 302),
    'data': ('data:image/jpeg;base64,/9j/4AAQ', 'redirected to an address that is not of the web: data:image/jpeg;base64,/9j/4AAQ', 302),
    'nowhere': (sending(302), 'HTTP 302 without a place to go to', 302),
    'bad port': ('http://127.0.0.1:99999/', 'redirected to an address that is none: http://127.0.0.1:99999/', 302),
    'no host': ('http:///x', None, None),
    'bad v6': ('http://[::1/', None, 302),
    'odd place': (raw('HTTP/1.1 302 Found\r\nLocation: http://\xff\xfe\x80/\r\nContent-Length: 0\r\n\r\n'), None, None),
    'loopback': ('http://127.0.0.2/x', 'its address is not public: 127.0.0.2 (loopback)', 302),
    'this machine': ('http://0.0.0.0/x', None, 302),
    'private': ('http://10.0.0.1/x', 'its address is not public: 10.0.0.1 (private)', 302),
    'v6 loopback': ('http://[::1]/x', 'its address is not public: ::1 (loopback)', 302),
    'metadata': ('http://169.254.169.254/latest/meta-data', 'its address is not public: 169.254.169.254 (link-local)', 302),
    'mapped': ('http://[::ffff:10.0.0.1]/x', None, 302),
    'short for loopback': ('http://127.2/x', None, 302),
    'a number': ('http://2130706434/x', None, 302),
    'hex': ('http://0x7f000002/x', None, 302),
}

@pytest.fixture(scope='module')
def hostile_answers(tmp_path_factory):
    "All of them fetched in one run: name -> answer"
    folder = tmp_path_factory.mktemp('hostile')
    with serving(PhotoServer()) as server:
        server.routes |= {'/' + o.replace(' ', '%20'): route for o,(route,*_) in hostile.items()}
        answers = fetch_all([f'{server.url}/{o}' for o in hostile], folder, max_mb=.1, first_byte_s=.5, photo_s=.8, per_host=64)
        assert files(folder) == []
    return dict(zip(hostile, answers))

@pytest.mark.parametrize('name', hostile)
def test_hostile_answers(hostile_answers, name):
    answer, (_, reason, status) = hostile_answers[name], hostile[name]
    print(answer)
    assert answer.status == 'failed' and answer.reason and answer.reason.isprintable() and len(answer.reason) < 300
    assert answer.sha256 == answer.suffix == '' and answer.time
    if reason: assert (answer.reason, answer.http_status) == (reason, status)
    elif status: assert answer.http_status == status
    assert 'makes no sense' not in answer.reason


def test_addresses_that_are_none(tmp_path):
    urls = ['', ' ', 'fox.jpg', 'ftp://h/x', 'file:///etc/passwd', 'data:image/png;base64,AAAA', 'javascript:alert(1)', 'http://', 'http:///x.jpg',
            'http://h:99999/', 'http://h:port/', 'http://h:0/', 'http://[::1/', 'http://[zz]/', 'http://\ud800.example/', 'http://a b.example/x',
            'http://' + 'x'*300 + '.example/', 'http://a..b.example/', 'http://\x00/', 'http://h\\@127.0.0.1/', 'http://.../x']
    for url,o in zip(urls, fetch_all(urls, tmp_path, connect_s=3)):
        assert o.status == 'failed' and o.http_status is None and o.reason.isprintable() and 'no sense' not in o.reason, (url, o)
    assert files(tmp_path) == []

def test_nobody_listens(tmp_path):
    answer = fetch_all(['http://127.0.0.1:9/x'], tmp_path)[0]
    assert answer.reason == 'no connection: Connection refused'

def test_a_certificate_that_is_not_trusted(tmp_path, tmp_path_factory):
    import socket
    authority = SearchProxy(tmp_path_factory.mktemp('tls'))
    listener = socket.create_server(('127.0.0.1', 0))
    def serve():
        connection, _ = listener.accept()
        try: authority.authority.context('photos.example').wrap_socket(connection, server_side=True)
        except OSError: pass
    threading.Thread(target=serve, daemon=True).start()
    answer = fetch_all([f'https://127.0.0.1:{listener.getsockname()[1]}/x'], tmp_path)[0]
    authority.server_close(); listener.close()
    assert answer.reason.startswith('no safe connection: ') and 'certificate' in answer.reason

def test_the_disk_is_our_own_fault(photo_server, tmp_path):
    photo_server.routes['/fox.jpg'] = photo
    (tmp_path/'file').write_text('')
    with pytest.raises(FileError, match='can not be written'): fetch_one(photo_server, '/fox.jpg', tmp_path/'file')


@pytest.mark.parametrize('error', [OSError(5, 'Input/output error'), ValueError('a bug'), TypeError('a bug')])
def test_a_journal_that_fails_is_our_own_fault_too(photo_server, tmp_path, error):
    photo_server.routes['/fox.jpg'] = photo
    def journal(answer): raise error
    async def run():
        async with Fetcher(Limits(private=here)) as fetcher: await fetcher.fetch(photo_server.url + '/fox.jpg', tmp_path/'fox', journal)
    with pytest.raises(type(error), match=str(error.args[-1])): asyncio.run(run())
    assert files(tmp_path) == []


# --- your own network

@pytest.mark.parametrize('ip,kind', [('127.0.0.1', 'loopback'), ('127.9.9.9', 'loopback'), ('10.0.0.1', 'private'), ('172.16.0.1', 'private'),
    ('192.168.1.1', 'private'), ('169.254.169.254', 'link-local'), ('100.64.0.1', 'reserved'), ('0.0.0.0', 'unspecified'), ('224.0.0.1', 'multicast'),
    ('255.255.255.255', 'private'), ('240.0.0.1', 'private'), ('198.18.0.1', 'private'), ('::1', 'loopback'), ('::', 'unspecified'), ('fe80::1%lo', 'link-local'),
    ('fd12::1', 'private'), ('ff02::1', 'multicast'), ('fec0::1', 'reserved'), ('::ffff:127.0.0.1', 'loopback'), ('::ffff:10.0.0.1', 'private'),
    ('::127.0.0.1', 'loopback'), ('64:ff9b::10.0.0.1', 'private'), ('64:ff9b:1::1', 'reserved'), ('2002:7f00:1::', 'loopback'), ('2001::1', 'private'),
    ('2001:db8::1', 'private'), ('8.8.8.8', ''), ('2606:4700:4700::1111', ''), ('::ffff:8.8.8.8', ''), ('64:ff9b::8.8.8.8', ''), ('2002:808:808::', '')])
def test_kinds_of_addresses(ip, kind): assert nonpublic_kind(ip) == kind

@pytest.mark.parametrize('host', ['127.0.0.1', 'localhost', 'LOCALHOST', '[::1]', '[::ffff:127.0.0.1]', '0.0.0.0', '127.1', '2130706433', '0x7f.1', '017700000001'])
def test_this_machine_is_refused(photo_server, tmp_path, host):
    photo_server.routes['/fox.jpg'] = photo
    answer = fetch_all([f'http://{host}:{photo_server.server_port}/fox.jpg'], tmp_path, private=False)[0]
    assert answer.status == 'failed' and answer.http_status is None and photo_server.seen == []
    assert 'is not public: ' in answer.reason and '(' in answer.reason or 'canonical' in answer.reason

def test_a_name_that_leads_home(photo_server, tmp_path, monkeypatch):
    "What the name server says in the moment of connecting counts"
    look_up = urls.socket.getaddrinfo
    monkeypatch.setattr(urls.socket, 'getaddrinfo', lambda host, port, **kw: look_up('127.0.0.1', port, **kw))
    photo_server.routes['/fox.jpg'] = photo
    url = f'http://photos.example:{photo_server.server_port}/fox.jpg'
    assert fetch_all([url], tmp_path, private=False)[0].reason == 'its address is not public: 127.0.0.1 (loopback)'
    assert photo_server.seen == []
    assert fetch_all([url], tmp_path)[0].status == 'fetched'

def test_several_addresses_of_one_name(tmp_path, monkeypatch):
    info = lambda ip: (10 if ':' in ip else 2, 1, 6, '', (ip, 80, 0, 0) if ':' in ip else (ip, 80))
    monkeypatch.setattr(urls.socket, 'getaddrinfo', lambda *args, **kw: [info('::1'), info('127.0.0.1'), info('10.0.0.1')])
    answer = fetch_all(['http://photos.example/'], tmp_path, private=False)[0]
    print(answer)
    assert answer.reason.startswith('its address is not public: ')

def test_allowed_networks(photo_server, tmp_path):
    photo_server.routes['/fox.jpg'] = photo
    for private in (True, ('127.0.0.0/8',), ('10.0.0.0/8', '127.0.0.1/32'), ['127.0.0.1']):
        assert fetch_one(photo_server, '/fox.jpg', tmp_path, private=private).status == 'fetched'
    assert 'not public' in fetch_one(photo_server, '/fox.jpg', tmp_path, private=('127.0.0.2/32', '10.0.0.0/8')).reason

@pytest.mark.parametrize('host', ['127.0.0.1', '127.1', '2130706433', 'localhost', 'router', 'nas.local', 'a.internal.', '[::1]', '169.254.169.254'])
def test_a_proxy_is_not_asked_for_what_is_near(photo_server, tmp_path, monkeypatch, host):
    monkeypatch.setenv('http_proxy', photo_server.url)
    monkeypatch.setenv('no_proxy', '')
    assert 'not public' in fetch_all([f'http://{host}/x'], tmp_path, private=False)[0].reason and photo_server.seen == []

def test_through_a_proxy(photo_server, tmp_path, monkeypatch):
    monkeypatch.setenv('http_proxy', photo_server.url.removeprefix('http://'))
    monkeypatch.setenv('no_proxy', 'near.example')
    photo_server.routes['http://photos.example/fox.jpg'] = photo
    assert fetch_all(['http://photos.example/fox.jpg'], tmp_path, private=False)[0].status == 'fetched'
    assert fetch_all(['http://photos.near.example/fox.jpg'], tmp_path, private=False)[0].status == 'failed' and len(photo_server.seen) == 1

def test_a_proxy_that_is_none(monkeypatch):
    monkeypatch.setenv('https_proxy', 'socks5://user:secret@127.0.0.1:9')
    with pytest.raises(SettingsError, match='socks5|one that speaks HTTP') as e: Fetcher()
    assert 'secret' not in str(e.value)


# --- manners

@pytest.mark.parametrize('status', [408, 425, 429, 500, 502, 503, 504])
def test_tried_again_later_and_later(photo_server, tmp_path, quick, status):
    photo_server.routes['/fox.jpg'] = in_turn(status, status, photo)
    assert fetch_one(photo_server, '/fox.jpg', tmp_path, tries=3).status == 'fetched'
    assert photo_server.count('/fox.jpg') == 3 and .5 <= quick[0] <= 1 and 1 <= quick[1] <= 2

def test_tries_are_counted(photo_server, tmp_path, quick):
    photo_server.routes['/fox.jpg'] = 503
    answer = fetch_one(photo_server, '/fox.jpg', tmp_path, tries=4)
    assert (answer.http_status, answer.reason, photo_server.count('/fox.jpg'), len(quick)) == (503, 'HTTP 503 Service Unavailable', 4, 3)

@pytest.mark.parametrize('route', [404, 403, 410, 451, b'<html>'])
def test_what_is_final_is_not_tried_again(photo_server, tmp_path, quick, route):
    photo_server.routes['/fox.jpg'] = route
    assert fetch_one(photo_server, '/fox.jpg', tmp_path, tries=3).status == 'failed' and photo_server.count('/fox.jpg') == 1 and quick == []

@pytest.mark.parametrize('route', [hanging_up, cut_short(photo)])
def test_a_broken_connection_is_tried_again(photo_server, tmp_path, quick, route):
    photo_server.routes['/fox.jpg'] = in_turn(route, route, photo)
    assert fetch_one(photo_server, '/fox.jpg', tmp_path, tries=3).status == 'fetched'
    assert (tmp_path/'0.jpg').read_bytes() == photo and files(tmp_path) == ['0.jpg']

@pytest.mark.parametrize('date', [False, True])
def test_a_busy_host_is_left_alone_by_all(photo_server, tmp_path, date):
    photo_server.routes |= {f'/{i}.jpg': photo for i in range(20)}
    when = format_datetime(datetime.now(timezone.utc) + timedelta(seconds=2), usegmt=True) if date else 1
    times = []
    def busy(handler):
        times.append(time.monotonic())
        sending(429, Retry_After=when)(handler) if len(times) == 1 else handler.answer(photo)
    photo_server.routes['/busy'] = busy
    for i in range(20): photo_server.routes[f'/{i}.jpg'] = lambda handler: times.append(time.monotonic()) or handler.answer(photo)
    answers = fetch_all([photo_server.url + o for o in ('/busy', *(f'/{i}.jpg' for i in range(20)))], tmp_path, per_host=1, tries=2)
    assert {o.status for o in answers} == {'fetched'}
    assert times[1] - times[0] >= (.6 if date else 1)

@pytest.mark.parametrize('value,seconds', [('7', 7), ('0', 0), (' 7 ', 7), ('9'*9, 86400), ('9'*400, None), ('-1', None), ('1.5', None), ('soon', None), ('', None),
    ('Wed, 21 Oct 2015 07:28:00 GMT', 0), ('Wed, 21 Oct 9999 07:28:00 GMT', 86400), ('Wed, 99 Oct 2015 07:28:00 GMT', None), ('²', None)])
def test_retry_after(value, seconds): assert read_retry_after(value) == seconds

def test_a_host_that_is_busy_for_long(photo_server, tmp_path):
    "It is left alone for this run, and the rows stay open for the next"
    photo_server.routes |= {'/busy': sending(503, Retry_After=3600), '/fox.jpg': photo}
    busy, other = fetch_all([photo_server.url + o for o in ('/busy', '/fox.jpg')], tmp_path, per_host=1, tries=3)
    assert busy.reason == 'HTTP 503 Service Unavailable, and come back after 3600 s' and busy.http_status == 503
    assert other.reason.startswith('not asked: its host wants to be left alone for 3') and other.http_status is None
    assert len(photo_server.seen) == 1

def test_a_few_at_a_time_from_one_host(tmp_path):
    there, most, lock = [0], [0], threading.Lock()
    def route(handler):
        with lock: there[0] += 1; most[0] = max(most[0], there[0])
        time.sleep(.03)
        with lock: there[0] -= 1
        handler.answer(photo)
    with serving(PhotoServer('0.0.0.0')) as server:
        server.routes |= {f'/{i}': route for i in range(40)}
        assert {o.status for o in fetch_all([f'{server.url}/{i}' for i in range(40)], tmp_path, per_host=3)} == {'fetched'}
        assert most == [3]
        urls = [f'http://127.0.0.{1+i%5}:{server.server_port}/{i}' for i in range(40)]
        most[0] = 0
        fetch_all(urls, tmp_path, per_host=3, workers=7, private=True)
        assert 5 <= most[0] <= 7

def test_silent_servers_keep_nobody_waiting(tmp_path):
    with serving(PhotoServer('0.0.0.0')) as server:
        server.routes |= {'/silent': silent(6)} | {f'/{i}': photo for i in range(30)}
        urls = [f'http://127.0.0.{i+2}:{server.server_port}/silent' for i in range(4)] + [f'{server.url}/{i}' for i in range(30)]
        start = time.monotonic()
        answers = fetch_all(urls, tmp_path, workers=4, private=True, first_byte_s=3)
        assert [o.status for o in answers] == ['failed']*4 + ['fetched']*30 and time.monotonic() - start < 5
        assert max(o.time for o in answers[4:]) < answers[0].time

def test_the_time_of_the_run(photo_server, tmp_path):
    photo_server.routes |= {'/slow': dripping(photo, .2, 20), '/fox.jpg': photo, '/busy': 503}
    start = time.monotonic()
    answers = fetch_all([photo_server.url + o for o in ['/fox.jpg', '/busy'] + ['/slow']*30], tmp_path, total_s=1, per_host=4, tries=9)
    assert time.monotonic() - start < 2 and answers[0].status == 'fetched' and answers[1].http_status == 503
    assert {(o.status, o.reason) for o in answers[2:]} == {('found', 'the time was up')} and files(tmp_path) == ['0.jpg']


# --- the owner's will

@pytest.mark.parametrize('tags', ['noai', 'noimageai', 'NoAI', 'noindex, noai', ['noindex', 'noimageai'], 'somebot: noai', 'otherbot: noindex, somebot:noai',
                                  'unavailable_after: 25 Jun 2010 15:00:00 PST, noai'])
def test_owners_who_say_no(photo_server, tmp_path, tags):
    photo_server.routes['/fox.jpg'] = sending(body=photo, X_Robots_Tag=tags)
    answer = fetch_one(photo_server, '/fox.jpg', tmp_path)
    word = 'noimageai' if 'noimageai' in tags else 'noai'
    assert answer.reason == f'its owner does not want it used to train models: X-Robots-Tag {word}' and answer.http_status == 200
    assert files(tmp_path) == []
    assert fetch_one(photo_server, '/fox.jpg', tmp_path, opt_out=False).status == 'fetched'

@pytest.mark.parametrize('tags', ['noindex', 'noarchive, nosnippet', 'noaid', 'max-image-preview: large', ''])
def test_owners_who_say_other_things(photo_server, tmp_path, tags):
    photo_server.routes['/fox.jpg'] = sending(body=photo, X_Robots_Tag=tags)
    assert fetch_one(photo_server, '/fox.jpg', tmp_path).status == 'fetched'

def test_owners_who_say_no_before_a_redirect(photo_server, tmp_path):
    photo_server.routes |= {'/a': sending(302, Location='/b', X_Robots_Tag='noai'), '/b': photo}
    assert 'does not want' in fetch_one(photo_server, '/a', tmp_path).reason


# --- memory, interruptions

def test_memory_stays_flat(photo_server, tmp_path):
    "Endless bodies, headers and a gzip bomb, 20 at a time"
    bomb = gzip.compress(bytes(200_000_000), 9)
    photo_server.routes |= {'/endless': endless, '/bomb': sending(body=bomb, Content_Encoding='gzip', Content_Type='image/jpeg'),
                            '/headers': sending_raw(b'HTTP/1.1 200 OK\r\n' + b'X: y\r\n'*200_000)}
    urls = [photo_server.url + o for o in ('/endless', '/bomb', '/headers')]
    fetch_all(urls, tmp_path, max_mb=.1)
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        answers = fetch_all(urls*7, tmp_path, max_mb=10)
        peak = tracemalloc.get_traced_memory()[1] - before
    finally: tracemalloc.stop()
    assert {o.status for o in answers} == {'failed'} and files(tmp_path) == []
    assert peak < 25e6, peak   # the server's side of it is in here too

def test_cancelled_at_once(photo_server, tmp_path):
    photo_server.routes |= {'/drip': dripping(photo, .2, 20), '/silent': silent(5), '/busy': sending(503, Retry_After=50)}
    async def run():
        async with Fetcher(Limits(private=here)) as fetcher:
            urls = [photo_server.url + o for o in ('/drip', '/silent', '/busy', '/drip', '/drip')]
            await run_bounded(enumerate(urls), lambda o: fetcher.fetch(o[1], tmp_path/str(o[0])))
    async def main():
        task = asyncio.ensure_future(run())
        await asyncio.sleep(.7)
        assert any(o.endswith('.part') for o in files(tmp_path))
        task.cancel()
        start = time.monotonic()
        with pytest.raises(asyncio.CancelledError): await task
        return time.monotonic() - start
    assert asyncio.run(main()) < .3 and files(tmp_path) == []

killed = """
import asyncio, sys
from pathlib import Path
from animal_clf.scraping.fetch import *
async def run():
    async with Fetcher(Limits(private=True)) as fetcher: await fetcher.fetch(sys.argv[1], Path(sys.argv[2])/'fox')
asyncio.run(run())
"""

@pytest.mark.parametrize('how', ['SIGKILL', 'SIGINT'])
def test_killed(photo_server, tmp_path, how):
    import signal
    photo_server.routes['/drip'] = dripping(photo*9, .2, 200)
    process = subprocess.Popen([sys.executable, '-c', killed, photo_server.url + '/drip', str(tmp_path)], stderr=subprocess.PIPE)
    there = lambda: list(tmp_path.glob(f'.fox.jpg.*.{process.pid}.part'))
    for _ in range(200):
        if there(): break
        time.sleep(.05)
    assert there() and remove_partial_files(tmp_path) == 0      # it is alive
    start = time.monotonic()
    process.send_signal(getattr(signal, how))
    process.communicate()
    assert time.monotonic() - start < 1.5
    assert remove_partial_files(tmp_path) == (how == 'SIGKILL') and files(tmp_path) == []

def test_what_is_swept(tmp_path):
    (tmp_path/'raw'/'fox').mkdir(parents=True)
    dead = subprocess.Popen([sys.executable, '-c', '']); dead.wait()
    names = dict(orphan=f'raw/fox/.a.jpg.{dead.pid}.part', mine=f'raw/fox/.b.jpg.{os.getpid()}.part', reused=f'.manifest.csv.{os.getpid()}.part',
                 other='raw/fox/.c.part', photo=f'raw/fox/d.jpg.{dead.pid}.part', large='.e.jpg.999999999999.part')
    for o in names.values(): (tmp_path/o).write_text('')
    os.utime(tmp_path/names['reused'], (0, 0))
    assert remove_partial_files(tmp_path) == 2
    assert {k for k,o in names.items() if (tmp_path/o).exists()} == {'mine', 'other', 'photo', 'large'}


# --- many at once

def test_for_each_takes_from_a_generator_as_it_goes():
    taken, most, running = [], [0], [0]
    async def work(i):
        running[0] += 1; most[0] = max(most[0], running[0])
        await asyncio.sleep(.001)
        running[0] -= 1
        assert i >= len(taken) - 10
    asyncio.run(run_bounded((taken.append(i) or i for i in range(200)), work, 10))
    assert len(taken) == 200 and most[0] == 10

def test_for_each_stops_at_the_first_error():
    ended = []
    async def work(i):
        try: await asyncio.sleep(0 if i == 3 else 30)
        finally: ended.append(i)
        raise FileError('a full disk', 'room', 'Make room')
    with pytest.raises(FileError): asyncio.run(run_bounded(range(10), work))
    assert sorted(ended) == list(range(10))

@pytest.mark.parametrize('options', [dict(workers=0), dict(workers=1.5), dict(per_host=-1), dict(tries=0), dict(photo_s=0), dict(max_mb=float('nan')),
                                     dict(connect_s=None), dict(total_s=-1), dict(first_byte_s='1'), dict(private=('here',)), dict(private=7)])
def test_limits_are_checked(options):
    with pytest.raises(SettingsError): Limits(**options)

def test_importing_is_fast():
    code = 'import sys; import animal_clf.scraping.fetch; print(*{"aiohttp", "pandas", "torch", "fastai"} & set(sys.modules))'
    assert subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True).stdout.strip() == ''
