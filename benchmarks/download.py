"""Photos a second beside fastai's download_images: python benchmarks/download.py [-n 10000] [--one-host] [--json FILE]

One local server, in a process of its own, has drawn photos of 40 to 60 KB under as many hosts as there are addresses
127.0.0.1 to 127.0.0.100 (or one). A fifth of its URLs is broken, each in one of ten ways. Every client is a fresh
process; its seconds do not include its imports. What counts as a photo is decided by its bytes' SHA-256.
"""
import argparse, asyncio, collections, hashlib, io, json, random, resource, subprocess, sys, tempfile, time
from pathlib import Path

broken = dict(gone=.04, page=.03, forbidden=.02, reset=.02, empty=.02, cut=.02, half=.02, busy=.01, loop=.01, silent=.01)   # shares of all URLs

def kinds_of(n):
    "What each of the `n` URLs is: `photo`, or one of `broken`"
    kinds = [kind for kind,share in broken.items() for _ in range(round(n*share))]
    kinds += ['photo']*(n-len(kinds))
    random.Random(1).shuffle(kinds)
    return kinds

def draw_photos(n=200):
    "JPEGs of 40 to 60 KB, all different"
    import numpy as np
    from PIL import Image
    rng, photos = np.random.default_rng(1), []
    while len(photos) < n:
        coarse = Image.fromarray(rng.integers(0, 255, (12, 16, 3), dtype=np.uint8)).resize((640, 480), Image.Resampling.BICUBIC)
        noisy = np.clip(np.asarray(coarse, np.float32) + rng.normal(0, rng.uniform(3.5, 6.5), (480, 640, 1)), 0, 255).astype(np.uint8)
        out = io.BytesIO()
        Image.fromarray(noisy).save(out, 'JPEG', quality=80)
        if 40_000 <= out.tell() <= 60_000: photos.append(out.getvalue())
    return photos


# --- the server

def head(status, length, kind='image/jpeg', more=''): return f'HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n{more}\r\n'.encode()

class Server(asyncio.Protocol):
    "Answers GET requests as the kind of each URL wants it"
    photos, kinds = [], []
    def connection_made(self, transport): self.transport, self.got = transport, b''
    def data_received(self, data):
        self.got += data
        while b'\r\n\r\n' in self.got:
            request, self.got = self.got.split(b'\r\n\r\n', 1)
            self.answer(int(request.split(b' ', 2)[1].strip(b'/').split(b'.')[0]))

    def answer(self, i):
        kind, photo, write = self.kinds[i], self.photos[i % len(self.photos)], self.transport.write
        if kind == 'photo': write(head('200 OK', len(photo)) + photo)
        elif kind == 'gone': write(head('404 Not Found', 3, 'text/html') + b'no!')
        elif kind == 'forbidden': write(head('403 Forbidden', 3, 'text/html') + b'no!')
        elif kind == 'busy': write(head('500 Internal Server Error', 3, 'text/html') + b'no!')
        elif kind == 'page': write(head('200 OK', 5000, 'text/html') + b'<!doctype html>'.ljust(5000))
        elif kind == 'empty': write(head('200 OK', 0))
        elif kind == 'half': write(head('200 OK', len(photo)//2) + photo[:len(photo)//2])   # a whole answer, half a photo
        elif kind == 'loop': write(head('302 Found', 0, more=f'Location: /{i}.jpg\r\n'))
        elif kind == 'reset': self.transport.abort()
        elif kind == 'cut':
            write(head('200 OK', len(photo)) + photo[:len(photo)//2])
            self.transport.close()

async def serve(n):
    Server.photos, Server.kinds = draw_photos(), kinds_of(n)
    server = await asyncio.get_running_loop().create_server(Server, '0.0.0.0', 0, backlog=2048)
    print(json.dumps(dict(port=server.sockets[0].getsockname()[1], photos=[hashlib.sha256(o).hexdigest() for o in Server.photos])), flush=True)
    await server.serve_forever()


# --- the clients

def urls_of(n, port, one_host): return [f'http://127.0.0.{1 if one_host else 1 + i%100}:{port}/{i}.jpg' for i in range(n)]

def fetch_with_fastai(urls, folder, workers, patience_s):
    from fastai.vision.utils import download_images
    yield
    download_images(folder, urls=urls, max_pics=len(urls), n_workers=workers, timeout=patience_s)
    yield {}

def fetch_with_download(urls, folder, workers, patience_s):
    "The whole of `animal_clf.scraping.download.download`, the manifest included"
    from animal_clf.scraping.download import download
    from animal_clf.scraping.throttle import Limits
    import aiohttp
    yield
    yield count(download([{'class': 'fox', 'url': o} for o in urls], folder, limits=Limits(private=True, workers=workers, connect_s=patience_s, first_byte_s=patience_s)))

def fetch_with_fetcher(urls, folder, workers, patience_s):
    "`animal_clf.scraping.fetch` alone"
    from animal_clf.scraping.fetch import Fetcher, run_bounded
    from animal_clf.scraping.throttle import Limits
    import aiohttp
    yield
    answers = []
    async def run():
        async with Fetcher(Limits(private=True, workers=workers, connect_s=patience_s, first_byte_s=patience_s)) as fetcher:
            async def one(numbered): answers.append(vars(await fetcher.fetch(numbered[1], folder/str(numbered[0]))))
            await run_bounded(enumerate(urls), one)
    asyncio.run(run())
    yield count(answers)

def count(rows):
    "Rows by what became of them; every URL has one"
    return collections.Counter(o['reason'] or o['status'] for o in rows)

clients = dict(fastai=fetch_with_fastai, download=fetch_with_download, fetcher=fetch_with_fetcher)

def measure(name, workers, patience_s, urls, folder):
    "One client's figures"
    steps = clients[name](urls, folder, workers, patience_s)
    next(steps)
    megabytes = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss/1e3
    before, start, cpu = megabytes(), time.perf_counter(), time.process_time()
    outcomes = next(steps)
    return dict(seconds=time.perf_counter()-start, cpu_s=time.process_time()-cpu, imports_MB=before, peak_MB=megabytes(), outcomes=outcomes)

def run_client(name, workers, args, server):
    "Measure one client in a process of its own, and count what it left in its folder"
    with tempfile.TemporaryDirectory(dir=args.dir) as scratch:
        job = dict(name=name, workers=workers, patience_s=args.patience, urls=urls_of(args.n, server['port'], args.one_host), folder=scratch)
        done = subprocess.run([sys.executable, __file__, '--client'], input=json.dumps(job), stdout=subprocess.PIPE, stderr=None if args.verbose else subprocess.PIPE, text=True)
        if done.returncode: sys.exit(f'{name} failed\n{done.stderr}')
        figures, good = json.loads(done.stdout.splitlines()[-1]), set(server['photos'])
        files = [o for o in Path(scratch).rglob('*') if o.is_file() and not o.name.startswith('manifest')]
        figures['photos'] = sum(hashlib.sha256(o.read_bytes()).hexdigest() in good for o in files)
    figures.update(client=name, workers=workers, others=len(files)-figures['photos'], photos_per_s=figures['photos']/figures['seconds'])
    if figures['outcomes'] and sum(figures['outcomes'].values()) != args.n: sys.exit(f'{name}: {args.n} URLs, but {figures["outcomes"]}')
    return figures

def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('-n', type=int, default=10_000, help='URLs')
    parser.add_argument('--one-host', action='store_true', help='all of them on one host')
    parser.add_argument('--patience', type=float, default=4, help='seconds that every client waits for a silent server; 4 is the default of fastai')
    parser.add_argument('--clients', nargs='*', default=['download:64', 'fastai:8', 'fastai:64'], help='NAME:WORKERS; 8 is the default of fastai')
    parser.add_argument('--dir', default='.', help='where the clients write, in folders that are removed afterwards')
    parser.add_argument('--json', metavar='FILE')
    parser.add_argument('--verbose', action='store_true')
    for o in ('--server', '--client'): parser.add_argument(o, action='store_true', help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.server: return asyncio.run(serve(args.n))
    if args.client:
        job = json.load(sys.stdin)
        return print(json.dumps(measure(**job | dict(folder=Path(job['folder'])))))
    process = subprocess.Popen([sys.executable, __file__, '--server', '-n', str(args.n)], stdout=subprocess.PIPE, text=True)
    try:
        server = json.loads(process.stdout.readline())
        rows = []
        for name,_,workers in (o.partition(':') for o in args.clients):
            rows.append(row := run_client(name, int(workers), args, server))
            print(f'{name:>9} {workers:>3} workers  {row["seconds"]:7.1f} s  {row["cpu_s"]:6.1f} s of CPU  {row["photos_per_s"]:7.1f} photos/s  peak {row["peak_MB"]:.0f} MB '
                  f'({row["imports_MB"]:.0f} MB of it imports)  {row["photos"]} photos, {row["others"]} other files', flush=True)
    finally: process.kill()
    report(rows, kinds_of(args.n))
    if args.json: Path(args.json).write_text(json.dumps(dict(n=args.n, patience_s=args.patience, one_host=args.one_host, kinds=collections.Counter(kinds_of(args.n)), rows=rows), indent=1))

def report(rows, kinds):
    "Print the ratios and what became of every URL"
    for row in rows[1:]: print(f'{rows[0]["client"]} is {row["seconds"]/rows[0]["seconds"]:.1f} times as fast as {row["client"]} with {row["workers"]} workers')
    print('the URLs:', '  '.join(f'{k} {v}' for k,v in collections.Counter(kinds).most_common()))
    for row in rows:
        for reason,n in sorted(row['outcomes'].items(), key=lambda o: -o[1]): print(f'  {row["client"]}: {n:6} {reason}')

if __name__ == '__main__': main()
