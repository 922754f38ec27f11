"""The web app under duress: python benchmarks/app_duress.py MODEL [PART…] [--requests N] [--clients N] [--json FILE]

Starts the app in a process of its own on a free port of this computer, once for each PART, and prints a row of figures. Parts:
  memory    memory of the app and of its decoders at first, after 200 and after N (2,000) varied requests: photos good and broken, large
            and many, answers, heat, examples, pages, things that are not there
  large     N (50) clients at once, each with a photo of 20 MB: statuses, seconds until all had one, memory at its highest
  silent    510 connections of 127.0.0.2 that say nothing more (no body): how long 127.0.0.1 waits for an answer, of 60 s at most
  stopped   all decoders stopped (SIGSTOP): what an upload gets, and after how long, of 40 s at most
  starting  decoders killed, and killed again while they start, for 3 s: what uploads get meanwhile, and afterwards
  ending    Ctrl-C and SIGTERM in the middle of an upload that goes on, of one that has stalled, and of an answer: what each gets, when the
            app has ended, and what it printed
"""
import argparse, http.client, io, json, signal, socket, subprocess, sys, tempfile, threading, time
from collections import Counter
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np, psutil
from PIL import Image

from animal_clf.synthetic.animals import draw_animal

program = 'import sys; from animal_clf.app.server import serve\ntry: serve(sys.argv[1], port=0, tell=lambda o: print(o, flush=True))\nexcept KeyboardInterrupt: pass'
head = 'POST /predict HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\nContent-Type: multipart/form-data; boundary=b\r\nContent-Length: {}\r\n\r\n'


class App:
    "The app in a process of its own"
    def __init__(self, model):
        self.log = tempfile.TemporaryFile('w+')
        self.popen = subprocess.Popen([sys.executable, '-W', 'ignore', '-c', program, model], stdout=subprocess.PIPE, stderr=self.log, text=True)
        self.port, self.process = int(self.popen.stdout.readline().rsplit(':', 1)[1]), psutil.Process(self.popen.pid)
        self.ask('GET', '/health')   # it runs by then, and so do its decoders

    def decoders(self): return self.process.children(recursive=True)

    def memory(self):
        "MB of the app itself, and of it with its decoders"
        return round(self.process.memory_info().rss/1e6), round((self.process.memory_info().rss + sum(rss_of(o) for o in self.decoders()))/1e6)

    def said(self):
        self.log.seek(0)
        return self.log.read()

    def ask(self, method='POST', path='/predict', body=b'', wait_s=60, kind='multipart/form-data; boundary=b'):
        "(status, seconds) of a request; the name of the error in the place of a status"
        line, start = http.client.HTTPConnection('127.0.0.1', self.port, timeout=wait_s), time.time()
        try:
            line.request(method, path, body, {'Content-Type': kind} if body else {})
            status = (reply := line.getresponse()).status
            reply.read()
        except Exception as e: status = type(e).__name__
        finally: line.close()
        return status, round(time.time() - start, 1)

@contextmanager
def running(model):
    app = App(model)
    try: yield app
    finally:
        app.popen.kill()
        app.popen.wait()

def rss_of(process):
    try: return process.memory_info().rss
    except psutil.Error: return 0   # it has just ended

def encode(img, kind='JPEG', **options):
    file = io.BytesIO()
    img.save(file, kind, **options)
    return file.getvalue()

def form(*photos, **fields):
    parts = [(f'name="photos"; filename="{i}.jpg"', o) for i,o in enumerate(photos)] + [(f'name="{k}"', v.encode()) for k,v in fields.items()]
    return b''.join(f'--b\r\nContent-Disposition: form-data; {a}\r\n\r\n'.encode() + o + b'\r\n' for a,o in parts) + b'--b--\r\n'

fox = encode(draw_animal('fox', index=99))

def varied(i):
    "The arguments of the i-th request"
    rng = np.random.default_rng(i)
    def noise(w, h): return Image.fromarray(rng.integers(0, 255, (h, w, 3), 'uint8'))
    photo = encode(draw_animal(('fox', 'seal', 'zebra', 'gorilla')[i % 4], index=i % 300))
    makers = (lambda: dict(body=form(photo)), lambda: dict(body=form(photo, fox, b'<html>')), lambda: dict(path='/answers', body=form(photo)), lambda: dict(path='/', body=form(photo, explain='on')),
              lambda: dict(path='/why', body=form(photo)), lambda: dict(path='/answers', body=form(example=str(i % 6))), lambda: dict(method='GET', path='/'), lambda: dict(method='GET', path='/nothing'),
              lambda: dict(body=form(encode(noise(*rng.integers(10, 1500, 2)))), path='/answers'), lambda: dict(body=form(encode(noise(*rng.integers(10, 600, 2)), 'PNG'))), lambda: dict(body=form(photo[:len(photo)//2])),
              lambda: dict(body=form(*[photo]*20)), lambda: dict(body=form(*[b'x']*21)), lambda: dict(body=photo, kind='image/jpeg'), lambda: dict(body=b'nonsense'), lambda: dict(body=b'{}', kind='application/json'),
              lambda: dict(body=form(encode(Image.new('L', (6000, 5000), i % 255)))), lambda: dict(method='GET', path='/health'), lambda: dict(method='GET', path='/openapi.json'), lambda: dict(body=bytes(21_000_000), kind='image/png'))
    return makers[i % len(makers)]()

def measure_memory(app, args):
    counts, row = Counter(), dict(at_first=app.memory())
    for i in range(args.requests):
        counts[app.ask(**varied(i))[0]] += 1
        if i + 1 in (200, 500, 1000, 1500, args.requests): row[f'after_{i+1}'] = app.memory()
    return row | dict(statuses=dict(counts), app_and_with_decoders='MB')

def large_photo():
    photo = encode(Image.fromarray(np.random.default_rng(1).integers(0, 255, (3000, 4000, 3), 'uint8')), quality=90)
    return photo[:-2] + b'\xff\xfe\xff\xff' + bytes(65533) + photo[-2:] + bytes(max(0, 19_900_000 - len(photo)))

def measure_large(app, args):
    "Twice: what is kept of the first time is used again"
    return {f'{o} time': _measure_large(app, args) for o in ('first', 'second')}

def _measure_large(app, args):
    body, counts, peak, start, first = form(large_photo()), Counter(), [0, 0], time.time(), app.memory()
    def ask(): counts[app.ask(body=body, wait_s=300)[0]] += 1
    threads = [threading.Thread(target=ask) for _ in range(args.clients)]
    for o in threads: o.start()
    while any(o.is_alive() for o in threads):
        peak = [max(o) for o in zip(peak, app.memory())]
        time.sleep(.05)
    return dict(mb_of_each=round(len(body)/1e6, 1), statuses=dict(counts), seconds=round(time.time() - start, 1), at_first=first, peak=tuple(peak), after=app.memory(), then=app.ask(body=form(fox))[0])

def measure_silent(app, args):
    many = []
    for _ in range(510):
        many.append(s := socket.create_connection(('127.0.0.1', app.port), source_address=('127.0.0.2', 0)))
        s.sendall(head.format(5000).encode())
    time.sleep(1)
    tries, start = Counter(), time.time()
    while time.time() - start < 60:
        status, _ = app.ask(body=form(fox), wait_s=60)
        tries[status] += 1
        if status == 200: break
        time.sleep(1)
    row = dict(tries=dict(tries), seconds_until_answered=round(time.time() - start, 1) if tries[200] else 'never in 60')
    for s in many: s.close()
    return row

def measure_stopped(app, args):
    for o in app.decoders(): o.suspend()
    first = app.ask(body=form(fox, fox), wait_s=40)
    return dict(first=first, then=app.ask(body=form(fox), wait_s=40))

def measure_starting(app, args):
    end, counts, killed = time.time() + 3, Counter(), set()
    def kill():
        while time.time() < end:
            for o in app.decoders():
                with suppress(psutil.Error): o.kill(), killed.add(o.pid)
            time.sleep(.002)
    thread = threading.Thread(target=kill)
    thread.start()
    while time.time() < end: counts[app.ask(body=form(fox), wait_s=30)[0]] += 1
    thread.join()
    return dict(killed=len(killed), meanwhile=dict(counts), afterwards=app.ask(body=form(fox))[0], tracebacks=app.said().count('Traceback'), printed=app.said()[-3000:])

def send_slowly(app, body, pieces, pause, found):
    "What an upload in pieces gets; it stalls where the pieces end"
    with socket.create_connection(('127.0.0.1', app.port), timeout=40) as s:
        try:
            s.sendall(head.format(len(body)).encode())
            for i in range(pieces):
                s.sendall(body[i*len(body)//20:(i+1)*len(body)//20])
                time.sleep(pause)
        except OSError: pass
        reply = http.client.HTTPResponse(s)
        try: reply.begin(); found.append((reply.status, reply.read()[:90].decode()))
        except Exception as e: found.append((type(e).__name__, ''))

def measure_ending(model, args):
    rows = {}
    for sign in (signal.SIGINT, signal.SIGTERM):
        for name,body,pieces,pause in (('going on', form(fox), 20, .1), ('going on for long', form(large_photo()), 20, 1), ('stalled', form(fox), 10, 0), ('being answered', form(*[large_photo()[:-3_000_000]]*3), 20, 0)):
            with running(model) as app:
                found = []
                thread = threading.Thread(target=send_slowly, args=(app, body, pieces, pause, found))
                thread.start()
                time.sleep(.7)
                children, start = app.decoders(), time.time()
                app.popen.send_signal(sign)
                try: code = app.popen.wait(60)
                except subprocess.TimeoutExpired: code = 'never in 60 s'
                took = round(time.time() - start, 1)
                thread.join()
                rows[f'{sign.name}, {name}'] = dict(found=found, exit_code=code, seconds=took, tracebacks=app.said().count('Traceback'), printed=app.said()[-200:], decoders_left=sum(o.is_running() for o in children))
    return rows

parts = dict(memory=measure_memory, large=measure_large, silent=measure_silent, stopped=measure_stopped, starting=measure_starting)

def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('model')
    parser.add_argument('parts', nargs='*', default=[*parts, 'ending'], metavar='PART')
    parser.add_argument('--requests', type=int, default=2000)
    parser.add_argument('--clients', type=int, default=50)
    parser.add_argument('--json')
    args, rows = parser.parse_args(), {}
    for name in args.parts:
        if name == 'ending': rows[name] = measure_ending(args.model, args)
        else:
            with running(args.model) as app: rows[name] = parts[name](app, args)
        print(name)
        for k,v in rows[name].items(): print(f'  {k:<24}{v}', flush=True)
    if args.json: Path(args.json).write_text(json.dumps(rows, indent=1))

if __name__ == '__main__': main()
