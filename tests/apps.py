"""The web app, running in a thread on a free port of this computer, and requests of any shape to it"""
import io, socket, struct, threading, time, zlib
from contextlib import contextmanager
from http.client import HTTPException, HTTPResponse

import pytest
from PIL import Image

from animal_clf.app.server import _listen, create_app, create_server
from animal_clf.core.settings import offline_arch
from animal_clf.data.splits import read_photos
from animal_clf.app.service import InferenceService, load_app_model
from animal_clf.learner import save_model, train
from animal_clf.training.recipes import get_recipe
from animal_clf.synthetic.animals import draw_animal, draw_animals


def make_model(folder, cache, classes=('fox', 'gorilla', 'seal', 'zebra'), n=20):
    "A model of drawn animals under `folder`, which takes seconds"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv('ANIMAL_CLF_CACHE', str(cache))
        data = read_photos(draw_animals(folder/'drawn', n, classes), n_test=4)
        return save_model(train(data, get_recipe('head', keep_known=.7), offline_arch), data, folder/'model')

@contextmanager
def running(model, limits=None, capacity=None, host='127.0.0.1', **options):
    "The app for an `AppModel`, while the block runs; gives its `InferenceService`, with its `port`"
    service = InferenceService(model, **{k: v for k,v in dict(limits=limits, capacity=capacity).items() if v})
    with _listen(host, 0) as listener:
        server, service.port = create_server(create_app(service, host), log_level='critical', **options), listener.getsockname()[1]
        thread = threading.Thread(target=server.run, kwargs=dict(sockets=[listener]), daemon=True)
        thread.start()
        while not server.started: time.sleep(.01)
        try: yield service
        finally:
            server.should_exit = True
            thread.join(20)

def talk(port, *pieces, pause=0, wait_s=15):
    "(status, headers, body) of what comes back for raw bytes; status 0 if the connection is closed without a word"
    with socket.create_connection(('127.0.0.1', port), timeout=wait_s) as s:
        s.settimeout(wait_s)
        try:
            for i,o in enumerate(pieces):
                if i: time.sleep(pause)
                s.sendall(o)
        except OSError: pass   # refused in the middle: what was said before counts
        reply = HTTPResponse(s)
        try: reply.begin()
        except (OSError, HTTPException): return 0, {}, b''
        headers = {k.lower(): v for k,v in reply.getheaders()}
        try: return reply.status, headers, reply.read()
        except OSError: return reply.status, headers, b''   # closed over what was still being sent

def request(method='POST', path='/predict', headers=(), body=b'', length=None, host='127.0.0.1'):
    "A request as it goes over the line"
    lines = [f'{method} {path} HTTP/1.1', f'Host: {host}', *headers]
    if method == 'POST' or body: lines.append(f'Content-Length: {len(body) if length is None else length}')
    return '\r\n'.join([*lines, 'Connection: close', '', '']).encode('latin-1') + body

def form(*photos, boundary='b', fields=(), end=True):
    "The body of a form with `photos`, (name, bytes) each, and fields"
    parts = [(f'name="photos"; filename="{name}"'.encode() if isinstance(name, str) else b'name="photos"; filename="' + name + b'"', content) for name,content in photos]
    parts += [(f'name="{name}"'.encode(), content) for name,content in fields]
    body = b''.join(b'--' + boundary.encode() + b'\r\nContent-Disposition: form-data; ' + head + b'\r\n\r\n' + content + b'\r\n' for head,content in parts)
    return body + (f'--{boundary}--\r\n'.encode() if end else b'')

def post(*photos, path='/predict', boundary='b', headers=(), **kwargs):
    "A request with a form"
    return request('POST', path, [f'Content-Type: multipart/form-data; boundary={boundary}', *headers], form(*photos, boundary=boundary, **kwargs))

def encode(img, kind='JPEG', **options):
    file = io.BytesIO()
    img.save(file, kind, **options)
    return file.getvalue()

def animal(name='fox', index=98): return encode(draw_animal(name, index=index))

def chunk(kind, data): return struct.pack('>I', len(data)) + kind + data + struct.pack('>I', zlib.crc32(kind + data))

def png(width, height, depth=1, colour=0, extra=b'', data=None):
    "A PNG that says it has so many pixels; by itself it has one row of them"
    head = struct.pack('>IIBBBBB', width, height, depth, colour, 0, 0, 0)
    return b'\x89PNG\r\n\x1a\n' + chunk(b'IHDR', head) + extra + chunk(b'IDAT', zlib.compress(bytes(100)) if data is None else data) + chunk(b'IEND', b'')


# --- fixtures of the files that import them

@pytest.fixture(scope='module')
def folder(cache, tmp_path_factory): return make_model(tmp_path_factory.mktemp('made'), cache)

@pytest.fixture(scope='module')
def model(folder, cache):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv('ANIMAL_CLF_CACHE', str(cache))
        return load_app_model(folder)
