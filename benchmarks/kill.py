"""kill -9 at random moments of one collection: python benchmarks/kill.py [--kills 30] [-n 80] [--seed 1] [--json FILE]

Local stand-ins for the search service and for a server of photos, in a process that lives on, have four classes with good
photos, copies, broken files and errors. One collection runs undisturbed; another one is killed again and again and resumed
each time. Compared are the manifest (but for the column `time`), every file's bytes, and which addresses were asked for again.
"""
import argparse, hashlib, json, random, signal, subprocess, sys, tempfile, time, urllib.request
from pathlib import Path

root = Path(__file__).parent.parent
sys.path.insert(0, str(root/'tests'))
classes = ('fox', 'polar bear', 'seal', 'wolf')
site_path = lambda c, i: f'/{classes.index(c)}/{i}.jpg'


# --- the stand-ins, in a process of their own

def serve(folder, size):
    "Serve photos and search results for ever; prints where, as JSON. `/seen` lists all paths that were asked for"
    from servers import PhotoServer, SearchProxy, photo_hits, serving
    server, proxy = PhotoServer(), SearchProxy(folder)
    for c in classes:
        for i in range(size): server.routes[site_path(c, i)] = late(route_of(c, i), random.Random(f'{c} {i}').random()*.04)
        proxy.answers['duckduckgo'] = {f'{c} photo': photo_hits(size, url=server.url + site_path(c, '{}')) for c in classes}
    server.routes['/seen'] = lambda h: h.answer(json.dumps([o for o,_ in server.seen]), content_type='application/json')
    with serving(server), serving(proxy):
        print(json.dumps(dict(site=server.url, proxy=proxy.url, ca_file=proxy.ca_file)), flush=True)
        sys.stdin.read()

def route_of(c, i):
    "A photo; of ten addresses one shows what the one before shows, one is half a photo, one a web page and one is gone"
    from servers import draw_scene, photo_bytes
    kind, seed = i % 10, 10_000*classes.index(c) + i
    if kind == 3: return 404
    if kind == 7: return b'<!DOCTYPE html>log in'
    photo = photo_bytes(draw_scene(seed - (kind == 5), (640, 480)), 'PNG' if i % 4 == 1 else 'JPEG')
    return photo[:len(photo)//2] if kind == 9 else photo

def late(route, seconds):
    def send(handler):
        time.sleep(seconds)
        if isinstance(route, int): return handler.answer('no', route)
        handler.answer(route, content_type='text/html' if route[:1] == b'<' else 'image/jpeg')
    return send


# --- the collection, in processes that are killed

program = """
import json, sys
from functools import partial
from animal_clf.scraping.throttle import Limits
from animal_clf.scraping.download import collect_photos
from animal_clf.scraping.search import iter_pages
place = json.loads(sys.argv[1])
search = partial(iter_pages, proxy=place['proxy'], verify=place['ca_file'])
collect_photos(place['classes'], place['n'], place['folder'], search=search, limits=Limits(private=True, workers=16, per_host=16))
"""

def start(place, folder, n):
    what = json.dumps(place | dict(folder=str(folder), n=n, classes=classes))
    return subprocess.Popen([sys.executable, '-c', program, what], stderr=subprocess.PIPE, text=True)

def finish(place, folder, n):
    "Let a collection run to its end; its seconds"
    begin, run = time.perf_counter(), start(place, folder, n)
    if run.wait(): sys.exit(run.stderr.read())
    return time.perf_counter() - begin

def seen(place): return [o for o in json.load(urllib.request.urlopen(place['site'] + '/seen')) if o != '/seen']

def kill(place, folder, n, aim, luck):
    "Run, and kill when `aim` more addresses were asked for and a moment has passed; what there was then"
    before, run, begin = len(seen(place)), start(place, folder, n), time.perf_counter()
    if aim:
        while len(seen(place)) < before + aim and run.poll() is None: time.sleep(.005)
        time.sleep(luck.uniform(0, .1))
    else: time.sleep(luck.uniform(0, 2))             # while it starts, too
    run.send_signal(signal.SIGKILL)
    code, asked = run.wait(), seen(place)
    names = [o.name for o in folder.rglob('*') if o.is_file()]
    return dict(seconds=round(time.perf_counter()-begin, 2), ended_before=code == 0, asked=len(asked) - before, raw=len(whole_files(folder)),
                photos=sum(1 for o in folder.glob('photos/*/*.jpg')), half=sum(o.endswith('.part') for o in names),
                journal_lines=(folder/'manifest.journal').read_bytes().count(b'\n') if (folder/'manifest.journal').exists() else 0), len(asked)

def whole_files(folder): return {o.stem for top in ('raw', 'set-aside') for o in (folder/top).rglob('*') if o.is_file() and not o.name.endswith('.part')}
def stem_of(place, path): return hashlib.sha256((place['site'] + path).encode()).hexdigest()[:16]

def snapshot(folder):
    "Rows without their time, and the hash of each file"
    from animal_clf.data.manifest import read_manifest
    files = {o.relative_to(folder).as_posix(): hashlib.sha256(o.read_bytes()).hexdigest() for o in sorted(folder.rglob('*')) if o.is_file()}
    files.pop('manifest.csv')
    return [o | dict(time='') for o in read_manifest(folder)], files

def compare(place, scratch, n, kills, luck):
    "Kill a collection `kills` times; rows for the table, and what differs in the end"
    undisturbed_s = finish(place, scratch/'undisturbed', n)
    total, rows, marks = len(seen(place)), [], []
    for i in range(kills):
        left = total - len(set(seen(place)[total:]))
        aim = luck.randrange(0, max(2, min(2*left//(kills-i), left//2)))
        row, mark = kill(place, scratch/'killed', n, aim, luck)
        rows.append(row)
        marks.append((whole_files(scratch/'killed'), mark))
        print(f'{i+1:3}  ' + '  '.join(f'{k} {v}' for k,v in row.items()), flush=True)
    finish(place, scratch/'killed', n)
    asked = seen(place)
    (rows_a, files_a), (rows_b, files_b) = snapshot(scratch/'undisturbed'), snapshot(scratch/'killed')
    for a,b in zip(rows_a, rows_b):
        for k in a:
            if a[k] != b.get(k): print(f'{a["class"]} {a["url"]}: `{k}` is {b.get(k)!r}, undisturbed {a[k]!r}')
    result = dict(kills=sum(not o['ended_before'] for o in rows), kept=sum(o['status'] == 'kept' for o in rows_a), rows=len(rows_a), files=len(files_a),
                  undisturbed_s=round(undisturbed_s, 1), manifest_differs=sum(a != b for a,b in zip(rows_a, rows_b)) + abs(len(rows_a)-len(rows_b)),
                  files_differ=len(dict(files_a.items() ^ files_b.items())), whole_and_asked_again=sum(len(whole & {stem_of(place, o) for o in asked[mark:]}) for whole,mark in marks),
                  asked_undisturbed=total, asked_killed=len(asked) - total)
    return rows, result

def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--kills', type=int, default=30)
    parser.add_argument('-n', type=int, default=80, help='photos to keep per class')
    parser.add_argument('--seed', type=int, default=1)
    parser.add_argument('--json', metavar='FILE')
    parser.add_argument('--serve', nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.serve: return serve(args.serve[0], int(args.serve[1]))
    with tempfile.TemporaryDirectory() as scratch:
        server = subprocess.Popen([sys.executable, __file__, '--serve', scratch, str(3*args.n)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        try: rows, result = compare(json.loads(server.stdout.readline()), Path(scratch), args.n, args.kills, random.Random(args.seed))
        finally: server.kill()
    print('\n'.join(f'{k:24}{v}' for k,v in result.items()))
    if args.json: Path(args.json).write_text(json.dumps(dict(kills=rows, result=result), indent=1))
    if result['manifest_differs'] or result['files_differ'] or result['whole_and_asked_again']: sys.exit(1)

if __name__ == '__main__': main()
