"""The web app under duress: decoders that are stopped or killed, connections that say nothing, the end in the middle of an upload, a model that is replaced"""
import io, json, os, shutil, signal, socket, subprocess, sys, threading, time
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psutil, pytest
from PIL import Image

from animal_clf.app.service import load_app_model
from animal_clf.app.uploads import UploadLimits, clean_name
from animal_clf.core.workers import WorkerPool, _Child
from apps import animal, encode, folder, form, model, post, request, running, talk
from files import contents

fox, kind = animal('fox'), 'Content-Type: multipart/form-data; boundary=b'
needs_stop = pytest.mark.skipif(not hasattr(signal, 'SIGSTOP'), reason='Windows can not stop a process')


@pytest.fixture
def quick(monkeypatch): monkeypatch.setattr(WorkerPool, 'grace_s', .3)   # the clock in the app, a little after that of a decoder

def ask(port, *photos, path='/predict', **kwargs):
    status, headers, body = talk(port, post(*photos or [('fox.jpg', fox)], path=path), **kwargs)
    return status, headers, json.loads(body) if headers.get('content-type') == 'application/json' else body.decode()

def is_well(port):
    status, _, rows = ask(port, wait_s=20)
    return status == 200 and rows[0]['label'] == 'fox'

def until(found, wait_s=15):
    end = time.time() + wait_s
    while not (o := found()): assert time.time() < end; time.sleep(.02)
    return o


# --- decoders

@needs_stop
@pytest.mark.parametrize('path', ['/predict', '/answers', '/'])
def test_a_decoder_that_is_stopped_is_replaced(model, quick, path):
    "Its watchdog is stopped with it: the app ends it, and says 503"
    with running(model, UploadLimits(open_s=1)) as service:
        stopped = [o.process for o in service.decoders.children]
        for o in stopped: o.send_signal(signal.SIGSTOP)
        status, headers, said = ask(service.port, ('a', fox), ('b', fox), path=path)
        assert status == 503 and headers['retry-after'] == '1' and 'a decoder that did not answer' in str(said)
        until(lambda: all(o.poll() is not None for o in stopped))
        assert is_well(service.port)
        assert all(o.poll() == -signal.SIGKILL for o in stopped) and service.capacity.n_photos == 0

@needs_stop
def test_photos_that_wait_for_stopped_decoders(model, quick):
    "Nobody waits for longer than one deadline and what is before them"
    with running(model, UploadLimits(open_s=1)) as service:
        for o in service.decoders.children: o.process.send_signal(signal.SIGSTOP)
        found = []
        threads = [threading.Thread(target=lambda: found.append(ask(service.port)[0])) for _ in range(8)]
        for o in threads: o.start()
        for o in threads: o.join()
        assert sorted(found) == [200]*6 + [503]*2

class Killing:
    "Kills what `_start_program` starts, at once, `times` times"
    def __init__(self, monkeypatch, times, sign=signal.SIGKILL):
        from animal_clf.core import workers
        self.left, self.sign, self.start = times, sign, workers._start_program
        monkeypatch.setattr(workers, '_start_program', self)

    def __call__(self, *args):
        process, self.left = self.start(*args), self.left - 1
        if self.left >= 0: process.send_signal(self.sign)
        return process

def kill_all(service):
    for o in service.decoders.children: o.process.kill(), o.process.wait()

@pytest.mark.parametrize('times', [1, 2])
def test_a_decoder_that_is_killed_while_it_starts_is_started_again(model, monkeypatch, times):
    with running(model) as service:
        kill_all(service)
        Killing(monkeypatch, times)
        assert is_well(service.port)

@pytest.mark.parametrize('path', ['/predict', '/'])
def test_decoders_that_never_start(model, monkeypatch, path, caplog):
    "Tried three times, then 503, and no traceback; as soon as one starts again, there are answers again"
    with running(model) as service:
        kill_all(service)
        killing = Killing(monkeypatch, 10**6)
        for _ in range(3):
            status, headers, said = ask(service.port, path=path)
            assert status == 503 and headers['retry-after'] == '1' and 'ended at once' in str(said) and 'Traceback' not in str(said)
        assert 10**6 - killing.left == 9 and not [o for o in caplog.records if o.exc_info]
        killing.left = 0
        assert is_well(service.port)

def test_the_app_starts_while_its_decoders_are_killed(model, monkeypatch):
    killing = Killing(monkeypatch, 10**6)
    with running(model) as service:
        assert ask(service.port)[0] == 503 and talk(service.port, request('GET', '/'))[0] == 200
        killing.left = 0
        assert is_well(service.port)

@needs_stop
def test_a_decoder_that_is_stopped_while_it_starts(model, monkeypatch):
    with running(model) as service:
        kill_all(service)
        monkeypatch.setattr(_Child, 'start_s', .3)
        killing = Killing(monkeypatch, 10**6, signal.SIGSTOP)
        status, _, said = ask(service.port)
        assert status == 503 and 'did not start in 0.3 s' in said['error']
        killing.left = 0
        monkeypatch.undo()
        assert is_well(service.port)

def test_a_network_that_hangs(model):
    with running(model, UploadLimits(answer_s=.3)) as service:
        released = threading.Event()
        service.batcher.call(released.wait)
        status, headers, said = ask(service.port)
        released.set()
        assert status == 503 and 'no answer in 0.3 s' in said['error'] and is_well(service.port)
        assert service.capacity.n_photos == 0


# --- connections

def connect(port, sent=b'', source='127.0.0.1'):
    s = socket.create_connection(('127.0.0.1', port), timeout=10, source_address=(source, 0))
    if sent: s.sendall(sent)
    return s

@contextmanager
def crowd(port, n, sent, source='127.0.0.1'):
    "`n` connections that have sent so much, and say no more"
    with ExitStack() as stack: yield [stack.enter_context(connect(port, sent, source)) for _ in range(n)]

def replies(s, wait_s=10):
    "What comes until the other side closes"
    s.settimeout(wait_s)
    found = b''
    try:
        while o := s.recv(65536): found += o
    except ConnectionError: pass
    return found

silent = {'nothing': b'', 'half a head': b'POST /predict HTTP/1.1\r\nHost: 127.0.0.1\r\n', 'no body': request(headers=[kind], length=5000), 'half a body': request(headers=[kind], body=form(('fox.jpg', fox))[:2000], length=5000)}

@pytest.mark.parametrize('what', silent)
def test_connections_that_say_no_more_shut_nobody_out(model, what):
    "510 of them from one address: others are answered at once; of the many themselves, as many as one address may have are listened to"
    with running(model) as service, crowd(service.port, 510, silent[what], '127.0.0.2') as many:
        with connect(service.port, post(('fox.jpg', fox))) as other: assert b'"fox"' in replies(other)
        refused = [o for o in (replies(s, 5) for s in many[64:90])]
        if 'body' in what: assert all(o.startswith(b'HTTP/1.1 429 ') and b'--per-address' in o and b'retry-after: 1' in o.lower() for o in refused)
        else: assert refused == [b'']*26

def test_the_head_has_a_clock_that_no_byte_sets_back(model, monkeypatch):
    monkeypatch.setattr('animal_clf.app.server._Protocol.patience_s', .5)
    with running(model) as service, connect(service.port) as s:
        with pytest.raises(OSError):
            for o in request('GET', '/', ['X-A: ' + 'b'*200]): s.send(bytes([o])); time.sleep(.05)   # it would take 12 s

@pytest.mark.parametrize('n', [0, 500])
def test_a_body_by_drops(model, n):
    "The clock is not set back by a byte, whatever has come before"
    whole = request(headers=[kind], body=form(('fox.jpg', fox)))
    with running(model, UploadLimits(pause_s=.6)) as service, connect(service.port, whole[:250 + n]) as s:
        def drip():
            try:
                for o in whole[250 + n:]: s.send(bytes([o])); time.sleep(.05)
            except OSError: pass
        thread = threading.Thread(target=drip)
        thread.start()
        said = replies(s)
        thread.join()
        assert said.startswith(b'HTTP/1.1 408 ') and b'did not arrive in 0.6 s' in said and len(whole) > 1000 and service.capacity.n_bytes == 0

def test_what_is_refused_is_forgotten_at_once(model, monkeypatch):
    "Who sent too much may be told so for two seconds; what they sent is not kept for as long"
    from animal_clf.app import uploads
    readers, choose = [], uploads._choose_reader
    monkeypatch.setattr(uploads, '_choose_reader', lambda *args: readers.append(choose(*args)) or readers[-1])
    for what in (kind, 'Content-Type: image/jpeg'):
        with running(model, UploadLimits(photo_bytes=100_000)) as service, connect(service.port, request(headers=[what], body=form(('x.jpg', bytes(100_001)), end=False), length=10**6)) as s:
            assert s.recv(1000).startswith(b'HTTP/1.1 413 ') and vars(readers[-1]) == {} and service.capacity.n_bytes == 0

def test_a_request_has_an_end(model, monkeypatch):
    monkeypatch.setattr('animal_clf.app.server._Protocol.request_s', .5)
    with running(model) as service, connect(service.port, silent['no body']) as s: assert replies(s) == b''

def test_who_does_not_read_an_answer(model, monkeypatch):
    "The app does not keep it for ever"
    for o in ('drain_s', 'request_s'): monkeypatch.setattr(f'animal_clf.app.server._Protocol.{o}', .5)
    monkeypatch.setattr('animal_clf.app.server._Protocol.patience_s', .5)
    with running(model) as service, socket.socket() as s:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        s.connect(('127.0.0.1', service.port))
        process = psutil.Process()
        there = lambda: [o for o in process.net_connections('tcp') if o.laddr.port == service.port and o.status == 'ESTABLISHED']
        assert until(there)
        s.sendall(request('GET', '/').replace(b'Connection: close\r\n', b'')*300)   # 300 pages of 60 KB: more than the kernel keeps
        until(lambda: not there())

def test_all_connections_together(model, monkeypatch):
    monkeypatch.setattr('animal_clf.app.server._Protocol.most', 8)
    with running(model, per_address=5) as service, crowd(service.port, 4, silent['no body'], '127.0.0.2'), crowd(service.port, 4, silent['no body'], '127.0.0.3'):
        with connect(service.port, post(('fox.jpg', fox), path='/')) as s: said = replies(s)
        assert said.startswith(b'HTTP/1.1 503 ') and b'retry-after: 1' in said.lower() and b'more than 8 connections' in said and b'role="alert"' in said
    with running(model, per_address=0) as service, crowd(service.port, 7, silent['no body']): assert is_well(service.port)   # behind a proxy

def test_far_too_many_are_closed_without_a_word(model, monkeypatch):
    monkeypatch.setattr('animal_clf.app.server._Protocol.most', 2)
    monkeypatch.setattr('animal_clf.app.server._Protocol.spare', 2)
    monkeypatch.setattr('animal_clf.app.server._Protocol.refused_s', 3)
    with running(model) as service, crowd(service.port, 4, b''), connect(service.port) as s: assert replies(s) == b''

def test_whom_a_connection_comes_from():
    from animal_clf.app.server import _origin_of
    assert _origin_of(('2001:db8:1:2:3::4', 1)) == _origin_of(('2001:db8:1:2:ffff::9', 1)) != _origin_of(('2001:db8:1:3::', 1))
    assert _origin_of(('10.0.0.1', 1)) != _origin_of(('10.0.0.2', 1)) and _origin_of(None) is None


# --- the end, and a new model

program = 'import sys; from functools import partial; from animal_clf.app import server; server.create_server = partial(server.create_server, timeout_graceful_shutdown=3)\ntry: server.serve(sys.argv[1], port=0, tell=lambda o: print(o, flush=True))\nexcept KeyboardInterrupt: pass'

@contextmanager
def process(folder, cache, cwd):
    "The app as a process, and its port"
    with subprocess.Popen([sys.executable, '-W', 'ignore', '-c', program, str(folder)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=cwd, env=os.environ | dict(ANIMAL_CLF_CACHE=str(cache))) as o:
        try: yield o, int(o.stdout.readline().rsplit(':', 1)[1])
        finally: o.kill()

def test_the_end_in_the_middle_of_an_upload(folder, model, cache, tmp_path):
    "What arrives in time is answered, what goes on is told to come again; no traceback, no decoder left"
    with process(folder, cache, tmp_path) as (app, port):
        decoders = psutil.Process(app.pid).children(recursive=True)
        whole = request(headers=[kind], body=form(('fox.jpg', fox)))
        quick, slow = connect(port, whole[:-50]), connect(port, request(headers=['Content-Type: image/jpeg'], length=2_000_000))
        stalled = connect(port, b'POST /predict HTTP/1.1\r\n')
        time.sleep(.3)
        app.send_signal(signal.SIGINT)
        time.sleep(.3)
        quick.sendall(whole[-50:])
        assert b'"fox"' in replies(quick) and replies(stalled) == b''
        def go_on():
            try:
                while True: slow.sendall(bytes(4000)); time.sleep(.1)
            except OSError: pass
        threading.Thread(target=go_on, daemon=True).start()
        said = replies(slow, 20)
        assert said.startswith(b'HTTP/1.1 503 ') and b'being ended' in said
        _, err = app.communicate(timeout=20)
    assert app.returncode == 0 and 'Traceback' not in err and not any(o.is_running() for o in decoders)

def test_a_model_that_is_replaced_under_the_app(folder, cache, tmp_path, monkeypatch):
    "The app goes on with the model that it has, all of it: classes, answers, examples, heat"
    from animal_clf.data.splits import read_photos
    from animal_clf.learner import save_model, train
    from animal_clf.core.settings import offline_arch
    from animal_clf.synthetic.animals import draw_animals
    from animal_clf.training.recipes import get_recipe
    monkeypatch.setenv('ANIMAL_CLF_CACHE', str(cache))
    mine = Path(shutil.copytree(folder, tmp_path/'mine'))
    def answers(port):
        rows = ask(port, ('fox.jpg', fox), ('zebra.jpg', animal('zebra')))[2]
        html = [talk(port, post(('fox.jpg', fox), path='/', fields=[('explain', b'on')]))[2], talk(port, request('GET', '/'))[2]]
        html += [talk(port, request(path='/answers', headers=[kind], body=form(fields=[('example', str(i).encode())])))[2] for i in range(4)]
        return rows, html
    with running(load_app_model(mine)) as service:
        before = answers(service.port)
        data = read_photos(draw_animals(tmp_path/'others', 16, ('wolf', 'zebra')), n_test=4)
        save_model(train(data, get_recipe('head', keep_known=.7), offline_arch), data, mine, force=True)
        assert answers(service.port) == before
    with running(load_app_model(mine)) as service: assert {name for name,_ in ask(service.port)[2][0]['top']} == {'wolf', 'zebra'}


# --- in a browser

html_name = '"><img src=x onerror=document.title=1><script>document.title=2<'   # without a slash, as a file is called so
script = '</p><script>document.title="exif"</script><img src=x onerror="document.title=3">'

def with_exif(img):
    exif = Image.Exif()
    exif[0x010e], exif[0x013b], exif[0x8298] = script, script, script   # description, artist, copyright
    return encode(img, exif=exif, comment=script.encode())

@pytest.mark.parametrize('scripts', [True, False])
def test_names_and_exif_in_a_browser(browser, model, tmp_path, scripts):
    "Markup and characters that steer a terminal are text; what is in the EXIF of a photo does not come back, not even in its picture"
    from base64 import b64decode
    from animal_clf.synthetic.animals import draw_animal
    photo = with_exif(draw_animal('fox', index=98))
    assert script.encode() in photo
    names = [f'{html_name}.jpg', 'a\x1b[31m\x07\nb.jpg', '\u202egpj.exe.jpg', '&lt;b&gt;&#x3c;.jpg', '${alert(1)}`id`.jpg']
    for o in names: (tmp_path/o).write_bytes(photo)
    with running(model, UploadLimits(photos=5)) as service:
        browser.execute_cdp_cmd('Emulation.setScriptExecutionDisabled', dict(value=not scripts))
        browser.get_log('browser')
        browser.get(f'http://127.0.0.1:{service.port}/')
        if not scripts: names = names[:1]
        for n,o in enumerate(names, 1):
            give_file(browser, o, photo) if '\n' in o else browser.find_element('css selector', '#photos').send_keys(str(tmp_path/o))
            if not scripts: browser.find_element('css selector', '#ask').click()
            until(lambda: len(browser.find_elements('css selector', 'article')) == n)
        shown = [o.get_attribute('textContent') for o in browser.find_elements('css selector', 'article h3')]
        assert sorted(shown) == sorted(clean(o) for o in names) and browser.title == 'Which animal is it?'
        assert len(browser.find_elements('css selector', 'article script, article [onerror], main script')) == 0
        if scripts:
            browser.find_element('css selector', '.why button').click()
            until(lambda: browser.find_elements('css selector', '.why img'))
        html, pictures = browser.page_source, [o.get_attribute('src') for o in browser.find_elements('css selector', 'article img')]
        assert 'exif' not in html and '\x1b' not in html and '\u202e' not in html
        assert len(pictures) >= 4*n and all(b'onerror' not in (o := b64decode(p.split(',', 1)[1])) and b'Exif' not in o and b'<script' not in o for p in pictures)
        assert [o['message'] for o in browser.get_log('browser')] == []   # nothing was tried that the policy refused
    browser.execute_cdp_cmd('Emulation.setScriptExecutionDisabled', dict(value=False))

def clean(name): return clean_name(name.replace('"', '%22').replace('\n', '%0A').encode())   # Chromium writes them so

def give_file(browser, name, content):
    "Drop a file of any name on the page"
    from base64 import b64encode
    browser.execute_script('''const data = new DataTransfer(), bytes = Uint8Array.from(atob(arguments[0]), o => o.charCodeAt(0));
data.items.add(new File([bytes], arguments[1], {type: 'image/jpeg'}));
document.body.dispatchEvent(new DragEvent('drop', {dataTransfer: data, bubbles: true, cancelable: true}));''', b64encode(content).decode(), name)
