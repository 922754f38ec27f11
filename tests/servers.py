"""Local stand-ins for the internet: a search service behind a TLS proxy, a server of photos, a hub of weights

Everything listens on 127.0.0.1 and is made on the fly: certificates by `cryptography`, pictures by Pillow.
`SearchProxy` is what the real `ddgs` client gets as `proxy=`, with `verify=proxy.ca_file`.
"""
import datetime, hashlib, html, io, json, random, socket, ssl, struct, threading, time, zlib
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from PIL import Image, ImageDraw


# --- certificates

def _name(text): return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])

def _certificate(subject, key, issuer, issuer_key, ca):
    "Start of every certificate here: valid for a day, signed by `issuer_key`"
    now = datetime.datetime.now(datetime.timezone.utc)
    made = (x509.CertificateBuilder().subject_name(_name(subject)).issuer_name(_name(issuer))
            .public_key(key.public_key()).serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(hours=1)).not_valid_after(now + datetime.timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True))
    if not ca:
        made = made.add_extension(x509.SubjectAlternativeName([x509.DNSName(subject)]), critical=False)
        made = made.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
    return made.sign(issuer_key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)

def _pem(key):
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())

class Authority:
    "A certificate authority of our own, which answers for any host"
    def __init__(self, folder):
        self.folder, self.key, self.contexts = Path(folder), ec.generate_private_key(ec.SECP256R1()), {}
        self.ca_file = self.folder/'ca.pem'
        self.ca_file.write_bytes(_certificate('animal-clf tests', self.key, 'animal-clf tests', self.key, ca=True))

    def context(self, host):
        "TLS context that speaks for `host`"
        if host not in self.contexts:
            key, pem = ec.generate_private_key(ec.SECP256R1()), self.folder/f'{host}.pem'
            pem.write_bytes(_pem(key) + _certificate(host, key, 'animal-clf tests', self.key, ca=False))
            self.contexts[host] = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self.contexts[host].load_cert_chain(pem)
        return self.contexts[host]


# --- servers

class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128
    def handle_error(self, request, client_address): "Clients may hang up; that is no fault of the test"

class _Handler(BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'
    timeout = 10
    def log_message(self, *args): pass

    def answer(self, body, status=200, content_type='text/html', **headers):
        body = body.encode() if isinstance(body, str) else body
        self.send_response(status)
        for k,v in {'Content-Type': content_type, 'Content-Length': len(body), **headers}.items():
            self.send_header(k.replace('_', '-'), str(v))
        self.end_headers()
        self.wfile.write(body)

@contextmanager
def serving(server):
    "Run `server` in a thread while the block runs"
    thread = threading.Thread(target=server.serve_forever, kwargs=dict(poll_interval=.02), daemon=True)
    thread.start()
    try: yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)


# --- the search service

def photo_hits(n, start=0, url='https://photos.example/{}.jpg', title='photo {}'):
    "`n` hits as a search service knows them"
    return [dict(image=url.format(i), url=f'https://pages.example/{i}', title=title.format(i), width=640, height=480,
                 thumbnail=f'https://thumbs.example/{i}', source='Bing') for i in range(start, start+n)]

class _SearchHandler(_Handler):
    host = ''
    def do_CONNECT(self):
        "Speak TLS in the name of the host that the client asked for"
        self.host = self.path.split(':')[0]
        self.send_response(200, 'Connection established')
        self.end_headers()
        try: self.connection = self.server.authority.context(self.host).wrap_socket(self.connection, server_side=True)
        except (ssl.SSLError, OSError):
            self.close_connection = True
            return
        self.rfile, self.wfile = self.connection.makefile('rb', -1), self.connection.makefile('wb', 0)
        self.close_connection = False

    def do_GET(self):
        url = urlsplit(self.path)
        query = {k:v[0] for k,v in parse_qs(url.query).items()}
        self.server.seen.append((self.host, url.path, query))
        routes = {('duckduckgo.com', '/'): self.duckduckgo_home, ('duckduckgo.com', '/i.js'): self.duckduckgo_images,
                  ('www.bing.com', '/images/async'): self.bing_images}
        routes.get((self.host, url.path), self.nothing)(query)

    def nothing(self, query): self.answer('no such page', 404)

    def hits(self, engine, query, first, count):
        "The page's hits, or `None` once an HTTP status has been sent instead"
        time.sleep(self.server.delay_s)
        hits = self.server.answers[engine]
        if isinstance(hits, dict): hits = hits.get(query['q'], [])
        if isinstance(hits, list): return hits[first:first+count]
        self.answer('sorry', hits) if isinstance(hits, int) else self.answer(hits)

    def duckduckgo_home(self, query):
        status = self.server.home_status
        self.answer(f'<html><script>vqd="4-{len(query["q"])}"</script></html>' if status == 200 else 'sorry', status)

    def duckduckgo_images(self, query):
        if query.get('vqd') != f'4-{len(query["q"])}': return self.answer('no vqd', 403)
        if (hits := self.hits('duckduckgo', query, int(query.get('s', 0)), 100)) is not None:
            self.answer(json.dumps({'results': hits, 'next': 'i.js?s=100'}), content_type='application/x-javascript')

    def bing_images(self, query):
        if (hits := self.hits('bing', query, int(query['first'])-1, int(query['count']))) is not None:
            self.answer('<html><body>' + ''.join(map(_bing_card, hits)) + '</body></html>')

def _bing_card(hit):
    facts = dict(murl=hit['image'], purl=hit['url'], turl=hit['thumbnail'], t=hit['title'])
    return ('<div><div class="imgpt"><a class="iusc" m="' + html.escape(json.dumps(facts)) + '"></a>'
            f'<div class="img_info"><span class="nowrap">{hit["width"]} × {hit["height"]} · jpeg</span></div></div>'
            '<div class="infopt"><div class="lnkw"><a>pages.example</a></div></div></div>')

class SearchProxy(_Server):
    """A proxy that answers in the name of duckduckgo.com and www.bing.com

    `answers[engine]` is a list of hits (or such lists by search term), an HTTP status, or a whole page's text; `home_status` is that of
    DuckDuckGo's start page; `seen` lists (host, path, query) of each request."""
    def __init__(self, folder):
        super().__init__(('127.0.0.1', 0), _SearchHandler)
        self.authority, self.seen, self.delay_s, self.home_status = Authority(folder), [], 0, 200
        self.answers = dict(duckduckgo=[], bing=[])

    @property
    def url(self): return f'http://127.0.0.1:{self.server_port}'
    @property
    def ca_file(self): return str(self.authority.ca_file)
    @property
    def options(self): return dict(proxy=self.url, verify=self.ca_file)


# --- the photos

def draw_photo(seed=0, size=(320, 240), mode='RGB'):
    "A picture that differs for each `seed`"
    img = Image.new('RGB', size, ((seed*67) % 256, (seed*29+90) % 256, (seed*151+40) % 256))
    pen, (w,h) = ImageDraw.Draw(img), size
    for i in range(1 + seed % 5): pen.ellipse([w*i//8, h*i//9, w*(i+4)//8, h*(i+5)//9], fill=((seed*31+50*i) % 256, 200-30*i, 60))
    return img.convert(mode)

def draw_scene(seed=0, size=(320, 240)):
    "A picture whose shapes differ for each `seed`, so that no two have the same perceptual hash"
    luck, (w,h) = random.Random(seed), size
    img = Image.new('RGB', size, tuple(luck.randrange(256) for _ in range(3)))
    pen = ImageDraw.Draw(img)
    for _ in range(8):
        x, y = luck.randrange(w), luck.randrange(h)
        pen.ellipse([x-w//6, y-h//6, x+w//6, y+h//6], fill=tuple(luck.randrange(256) for _ in range(3)))
    return img

def png_of_size(width, height):
    "The first bytes of a PNG that says it has this size, and is a bomb if it is large"
    head = b'IHDR' + struct.pack('>IIBBBBB', width, height, 8, 2, 0, 0, 0)
    return b'\x89PNG\r\n\x1a\n' + struct.pack('>I', 13) + head + struct.pack('>I', zlib.crc32(head)) + struct.pack('>I', 1000) + b'IDAT' + bytes(1004)

def photo_bytes(img, format='JPEG', **options):
    "`img` as the bytes of a file"
    out = io.BytesIO()
    img.save(out, format, **options)
    return out.getvalue()

class _PhotoHandler(_Handler):
    def do_GET(self):
        self.server.seen.append((self.path, dict(self.headers)))
        route = self.server.routes.get(self.path, 404)
        if callable(route): return route(self)
        if isinstance(route, bytes): return self.answer(route, content_type='image/jpeg')
        if isinstance(route, int): return self.answer('<html>sorry</html>', route)
        self.answer(b'', 302, Location=route)

class PhotoServer(_Server):
    """A server of photos: `routes[path]` is bytes, an HTTP status, a place to redirect to, or a function of the handler

    The path keeps its query string. `seen` lists (path, headers) of each request."""
    def __init__(self, address='127.0.0.1'):
        super().__init__((address, 0), _PhotoHandler)
        self.routes, self.seen = {}, []

    @property
    def url(self): return f'http://127.0.0.1:{self.server_port}'
    def count(self, path): return [o for o,_ in self.seen].count(path)

def sending(status=200, body=b'', **headers):
    "A route that answers with this status, body and headers (`Retry_After` is `Retry-After`); a list of values is several headers"
    def send(handler):
        handler.send_response(status)
        for k,values in {'Content_Length': len(body), **headers}.items():
            for v in values if isinstance(values, list) else [values]: handler.send_header(k.replace('_', '-'), str(v))
        handler.end_headers()
        handler.wfile.write(body)
    return send

def sending_raw(data, hold_s=0):
    "A route that answers with these bytes, HTTP or not, and hangs up after `hold_s`"
    def send(handler):
        handler.wfile.write(data)
        handler.wfile.flush()
        time.sleep(hold_s)
        handler.close_connection = True
    return send

def in_turn(*routes):
    "A route that is each of `routes` in turn, then the last one for ever"
    left = list(routes)
    def take(handler):
        route = left.pop(0) if len(left) > 1 else left[0]
        if callable(route): return route(handler)
        handler.answer(route, content_type='image/jpeg') if isinstance(route, bytes) else handler.answer('sorry', route)
    return take

def hanging_up(handler):
    "A route that resets the connection"
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
    handler.connection.close()
    handler.close_connection = True

def silent(seconds=60):
    "A route that says nothing for so long"
    def wait(handler):
        time.sleep(seconds)
        handler.close_connection = True
    return wait

def dripping(data, pause_s=.2, step=200):
    "A route that sends `data` a few bytes at a time"
    def drip(handler):
        handler.send_response(200)
        handler.send_header('Content-Length', str(len(data)))
        handler.end_headers()
        for i in range(0, len(data), step):
            handler.wfile.write(data[i:i+step])
            time.sleep(pause_s)
    return drip

def cut_short(data):
    "A route that promises more bytes than it sends"
    def cut(handler):
        handler.send_response(200)
        handler.send_header('Content-Length', str(len(data)))
        handler.end_headers()
        handler.wfile.write(data[:len(data)//2])
        handler.close_connection = True
    return cut

def endless(handler):
    "A route that begins as a photo and never ends"
    handler.send_response(200)
    handler.end_headers()
    handler.wfile.write(b'\xff\xd8\xff')
    handler.close_connection = True
    for _ in range(10_000): handler.wfile.write(bytes(65536))


# --- the Hugging Face hub

class _HubHandler(_Handler):
    def do_HEAD(self): self.reply()
    def do_GET(self): self.reply()

    def reply(self):
        server, name = self.server, self.path.rpartition('/')[2]
        server.seen.append((self.command, self.path))
        if server.hangs(self.path): return server.closed.wait(60)
        status = server.status.get(self.command, 200)
        if not name: return self.send(200, b'')
        if name not in server.files: return self.send(404, b'', **{'X-Error-Code': 'EntryNotFound'})
        if status != 200: return self.send(status, b'sorry', Retry_After=0)
        body = server.files[name]
        facts = {'ETag': f'"{hashlib.sha256(body).hexdigest()}"', 'X-Repo-Commit': '0'*40, 'Accept-Ranges': 'bytes'}
        start = int((self.headers.get('Range') or 'bytes=0-')[6:].split('-')[0])
        if start: facts['Content-Range'] = f'bytes {start}-{len(body)-1}/{len(body)}'
        self.send(206 if start else 200, body[:server.shortened_to][start:] if self.command == 'GET' else body, start, **facts)

    def send(self, status, body, start=0, **facts):
        "Answer; `body` ends early, and the connection with it, at the server's `cut_at`"
        self.send_response(status)
        for k,v in {'Content-Length': len(body), **facts}.items(): self.send_header(k.replace('_', '-'), str(v))
        self.end_headers()
        if self.command == 'HEAD': return
        self.wfile.write(body if self.server.cut_at is None else body[:max(0, self.server.cut_at-start)])
        if self.server.cut_at is not None and start + len(body) > self.server.cut_at: self.close_connection = True

class HubServer(_Server):
    """What `huggingface_hub` needs of the Hugging Face hub: `files[name]` is a file of every repository

    `status[method]` is an HTTP status for all files. A download is `shortened_to` so many bytes, or the connection
    breaks at byte `cut_at` of the file. `hangs(path)` says what is never answered. `seen` lists (method, path)."""
    def __init__(self, **files):
        super().__init__(('127.0.0.1', 0), _HubHandler)
        self.files, self.status, self.seen, self.closed = files, {}, [], threading.Event()
        self.shortened_to = self.cut_at = None
        self.hangs = lambda path: False

    def server_close(self):
        self.closed.set()
        super().server_close()

    @property
    def url(self): return f'http://127.0.0.1:{self.server_port}'
    @property
    def downloads(self): return [path for method,path in self.seen if method == 'GET' and '/resolve/' in path]

def use_hub(monkeypatch, url, folder):
    "Let `huggingface_hub` ask the hub at `url` and cache under `folder`; it read its settings on import"
    from huggingface_hub import constants
    monkeypatch.setattr(constants, 'ENDPOINT', url)
    monkeypatch.setattr(constants, 'HUGGINGFACE_CO_URL_TEMPLATE', url + '/{repo_id}/resolve/{revision}/{filename}')
    monkeypatch.setattr(constants, 'HF_HUB_CACHE', str(folder/'hub'))
    monkeypatch.setattr(constants, 'HF_HUB_OFFLINE', False)
