"""What must not hurt: decoders that crash, hang and eat memory; Ctrl-C and kill -9 of a run, in real processes"""
import hashlib, math, random, signal, subprocess, sys, time
from functools import partial
from pathlib import Path
import pytest
from animal_clf.core.photo_files import find_photos
from animal_clf.scraping.decode import DecoderPool
from animal_clf.scraping.download import collect_photos
from animal_clf.scraping.throttle import Limits
from animal_clf.scraping.resize import verify
from animal_clf.data.manifest import read_manifest
from servers import PhotoServer, draw_scene, photo_bytes, serving

here = Limits(private=True, tries=1)

def files_under(folder): return sorted(o.relative_to(folder).as_posix() for o in folder.rglob('*') if o.is_file())
def snapshot(folder):
    "All that a run leaves: rows without their time, and the bytes of each file"
    return [o | dict(time='') for o in read_manifest(folder)], {o: (folder/o).read_bytes() for o in files_under(folder) if o != 'manifest.csv'}


# --- decoders

deadly_decoder = """
import os, sys, time
if 'animal_clf.scraping.decode' in ' '.join(sys.orig_argv):     # only in the processes that decode
    from PIL import Image
    sys.modules['pillow_heif'] = None     # whose place it takes
    def accept(head):
        if b'CRASH' in head: os.abort()
        if b'HANG' in head: time.sleep(600)
        if b'EAT' in head: bytearray(10**11)
        if b'ODD' in head: raise AssertionError('this kind of photo')
    Image.register_open('HEIF', None, accept)   # a kind that is asked first, and only where somebody has registered it
"""

@pytest.fixture
def deadly(tmp_path, monkeypatch):
    "A decoder plugin that does to the process what its file says, as a faulty one in C might"
    (tmp_path/'site'/'sitecustomize.py').parent.mkdir()
    (tmp_path/'site'/'sitecustomize.py').write_text(deadly_decoder)
    monkeypatch.setenv('PYTHONPATH', str(tmp_path/'site'))
    monkeypatch.setattr('animal_clf.scraping.download.DecoderPool', partial(DecoderPool, limit_s=1.5))
    monkeypatch.setattr('animal_clf.scraping.resize.DecoderPool', partial(DecoderPool, limit_s=1.5))

def deadly_photo(what): return b'\xff\xd8\xff\xe0' + what.encode() + bytes(100)

deadly_reasons = {'CRASH': ('unreadable', 'the decoder crashed on it'), 'HANG': ('unreadable', 'the decoder hung on it (more than 1.5 s)'),
                  'EAT': ('too-large', 'takes more memory than there is'), 'ODD': ('unreadable', 'the decoder failed on it: AssertionError this kind of photo')}

def test_decoders_that_crash_hang_or_eat_cost_one_photo_each(deadly, photo_server, tmp_path):
    photo_server.routes.update({f'/{what}.jpg': deadly_photo(what) for what in deadly_reasons} | {f'/{i}.jpg': photo_bytes(draw_scene(i)) for i in range(8)})
    search = lambda term: [[dict(url=photo_server.url + o) for o in photo_server.routes]]
    fox, = collect_photos(['fox'], 12, tmp_path/'data', search=search, limits=here)
    rows = read_manifest(tmp_path/'data')
    assert {o['url'].rsplit('/', 1)[-1][:-4]: (o['path'].split('/')[1], o['reason']) for o in rows if o['status'] == 'set aside'} == deadly_reasons
    assert (fox['kept'], fox['set_aside']) == (8, 4) and len(find_photos(tmp_path/'data'/'photos'/'fox')) == 8

def test_verify_survives_them_too(deadly, tmp_path):
    raw = tmp_path/'data'/'raw'/'fox'
    raw.mkdir(parents=True)
    for what in ('CRASH', 'ODD'): (raw/f'{what}.jpg').write_bytes(deadly_photo(what))
    for i in range(3): draw_scene(i).save(raw/f'{i}.jpg')
    assert {Path(o['path']).stem: o['reason'] for o in verify(tmp_path/'data')} == {'CRASH': deadly_reasons['CRASH'][1], 'ODD': deadly_reasons['ODD'][1], '0': '', '1': '', '2': ''}

def test_decoders_do_not_outlive_a_killed_program(tmp_path):
    import psutil
    draw_scene(0).save(tmp_path/'a.jpg')
    code = f"from animal_clf.scraping.decode import DecoderPool; import time; d = DecoderPool(1); d.inspect_photo({str(tmp_path/'a.jpg')!r}); print(d.children[0].process.pid, flush=True); time.sleep(60)"
    program = subprocess.Popen([sys.executable, '-c', code], stdout=subprocess.PIPE, text=True)
    child = psutil.Process(int(program.stdout.readline()))
    program.kill()
    program.wait()
    child.wait(5)

def test_decoders_do_not_load_what_they_do_not_need():
    code = "import sys, animal_clf.scraping.decode; print(sorted({'torch', 'fastai', 'pandas', 'aiohttp', 'httpx', 'matplotlib'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, '-c', code], capture_output=True, text=True).stdout == '[]\n'


# --- killed programs

program = """
from animal_clf.scraping.download import collect_photos
from animal_clf.scraping.throttle import Limits                  # no `if __name__ == '__main__'`: people don't write it
def search(term):
    for i in range(0, 40, 8): yield [dict(url=f'{site}/{{term}}/{{j}}.jpg', query=term) for j in range(i, i+8)]
collect_photos(['fox', 'wolf', 'seal'], 14, {folder!r}, '', 200, search, Limits(private=True, tries=1, workers=6, per_host=6))
"""

@pytest.fixture(scope='module')
def web():
    "Photos, copies, broken files and errors, all a bit slow; requests beyond `limit` wait"
    def slow(route):
        def send(handler):
            time.sleep(.02)
            deadline = time.time() + 40
            while len(server.seen) > server.limit and time.time() < deadline: time.sleep(.01)
            handler.answer(route, content_type='image/jpeg') if isinstance(route, bytes) else handler.answer('no', route)
        return send
    with serving(PhotoServer()) as server:
        server.limit = math.inf
        for t,term in enumerate(('fox', 'wolf', 'seal')):
            for i in range(40):
                photo = photo_bytes(draw_scene(100*t + i - (i % 3 == 2)))
                server.routes[f'/{term}/{i}.jpg'] = slow(404 if i % 5 == 4 else photo[:1000] if i % 7 == 6 else photo)
        yield server

@pytest.fixture(scope='module')
def undisturbed(web, tmp_path_factory):
    "What a run leaves that nobody stops"
    folder = tmp_path_factory.mktemp('undisturbed')/'data'
    finish(web, folder)
    return snapshot(folder)

def start(server, folder):
    script = folder.with_suffix('.py')
    script.write_text(program.replace('{site}', server.url).replace('{{', '{').replace('}}', '}').replace('{folder!r}', repr(str(folder))))
    return subprocess.Popen([sys.executable, str(script)], stderr=subprocess.PIPE, text=True)

def finish(server, folder):
    run = start(server, folder)
    assert run.communicate(timeout=60)[1] == '' and run.returncode == 0

def stop_after(server, run, requests, how):
    "Send signal `how` when `requests` more have come; the error output. The run must not have ended by itself"
    aim, deadline = len(server.seen) + requests, time.time() + 30
    server.limit = aim    # a busy machine may look too late
    while len(server.seen) < aim and run.poll() is None and time.time() < deadline: time.sleep(.002)
    assert run.poll() is None, 'the run was over before it was stopped: too many requests waited for'
    run.send_signal(how)
    told, server.limit = run.communicate(timeout=20)[1], math.inf
    return told

def whole_files(folder): return {Path(o).stem for o in files_under(folder) if o.split('/')[0] in ('raw', 'set-aside')}
def stem_of(server, path): return hashlib.sha256((server.url + path).encode()).hexdigest()[:16]

@pytest.mark.parametrize('how', [signal.SIGKILL, signal.SIGINT], ids=['kill', 'ctrl-c'])
def test_a_stopped_run_goes_on_and_ends_the_same(web, undisturbed, tmp_path, how):
    luck, checks = random.Random(3), []
    for _ in range(3):
        told = stop_after(web, start(web, tmp_path/'stopped'), luck.randrange(1, 20), how)     # of about 100 that a whole run takes
        if how == signal.SIGINT:
            assert 'KeyboardInterrupt' in told and not [o for o in files_under(tmp_path/'stopped') if o.endswith('.part') or 'journal' in o]
        checks.append((whole_files(tmp_path/'stopped'), len(web.seen)))
    finish(web, tmp_path/'stopped')
    assert snapshot(tmp_path/'stopped') == undisturbed
    for done, n_before in checks: assert not done & {stem_of(web, o) for o,_ in web.seen[n_before:]}    # nothing whole is fetched again

missed = """
import asyncio, signal, threading
from animal_clf.scraping.download import _run_async
async def work():
    await asyncio.sleep(1)                                        # until the main thread waits
    signal.pthread_kill(threading.get_ident(), signal.SIGINT)     # it is not woken by what another thread is sent
    await asyncio.sleep(60)
_run_async(work)
"""

@pytest.mark.skipif(not hasattr(signal, 'pthread_kill'), reason='signals of single threads')
def test_ctrl_c_is_heard_even_if_it_does_not_wake_the_main_thread():
    run = subprocess.run([sys.executable, '-c', missed], stderr=subprocess.PIPE, text=True, timeout=50)
    assert run.stderr.endswith('KeyboardInterrupt\n')
