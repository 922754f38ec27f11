"""The web app under load: python benchmarks/app.py MODEL PHOTO… [--clients N] [--seconds S] [--room N] [--path /predict|/] [--json FILE]

Starts the app in a process of its own on a free port of this computer, and N clients, each with one connection, who send one PHOTO
after the other to it for S seconds; who is told that it is busy waits as long as it says and tries again. Then it tells how many
requests were answered, how many got a 503, how many any other 5xx (there must be none), the time of an answer (median, 99th
percentile, longest; a 503 is no answer), and the memory of the app with its decoders before the load, at its highest and after it.
"""
import argparse, http.client, json, subprocess, sys, threading, time
from collections import Counter
from pathlib import Path

import numpy as np, psutil

program = '''import sys
from animal_clf.app.server import serve
from animal_clf.app.batching import Capacity
serve(sys.argv[1], port=0, tell=lambda o: print(o, flush=True), capacity=Capacity(photos=int(sys.argv[2])))'''

def memory(process):
    "MB that a process and its children have in use"
    total = 0
    for o in [process, *process.children(recursive=True)]:
        try: total += o.memory_info().rss
        except psutil.Error: pass   # it has just ended
    return total/1e6

def make_body(photo):
    return b'--b\r\nContent-Disposition: form-data; name="photos"; filename="photo.jpg"\r\n\r\n' + Path(photo).read_bytes() + b'\r\n--b--\r\n'

def load(port, bodies, path, n_clients, seconds, process):
    "(counts of statuses, seconds of each answer, highest memory)"
    counts, times, peak, end = Counter(), [], [0.], time.time() + seconds
    def ask(first):
        line, i = http.client.HTTPConnection('127.0.0.1', port, timeout=60), first
        while time.time() < end:
            start = time.perf_counter()
            line.request('POST', path, bodies[i % len(bodies)], {'Content-Type': 'multipart/form-data; boundary=b'})
            reply = line.getresponse()
            reply.read()
            counts[reply.status] += 1
            if reply.status == 200: times.append(time.perf_counter() - start)
            if reply.status == 503: time.sleep(float(reply.headers.get('Retry-After', 1)))
            i += n_clients
    threads = [threading.Thread(target=ask, args=(i,)) for i in range(n_clients)]
    for o in threads: o.start()
    while any(o.is_alive() for o in threads):
        peak[0] = max(peak[0], memory(process))
        time.sleep(.5)
    return counts, times, peak[0]

def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('model')
    parser.add_argument('photos', nargs='+')
    parser.add_argument('--clients', type=int, default=50)
    parser.add_argument('--seconds', type=float, default=60)
    parser.add_argument('--room', type=int, default=64)
    parser.add_argument('--path', default='/predict')
    parser.add_argument('--json')
    args = parser.parse_args()
    with subprocess.Popen([sys.executable, '-W', 'ignore', '-c', program, args.model, str(args.room)], stdout=subprocess.PIPE, text=True) as server:
        port, process = int(server.stdout.readline().rsplit(':', 1)[1]), psutil.Process(server.pid)
        bodies = [make_body(o) for o in args.photos]
        load(port, bodies, args.path, args.clients, 5, process)   # everything has been used before memory is measured
        before = memory(process)
        counts, times, peak = load(port, bodies, args.path, args.clients, args.seconds, process)
        time.sleep(2)
        after = memory(process)
        load(port, bodies, args.path, 1, .5, process)   # and it still answers
        server.terminate()
    others = sum(n for status,n in counts.items() if status >= 500 and status != 503)
    row = dict(path=args.path, clients=args.clients, seconds=args.seconds, room=args.room, answered=counts[200], per_second=round(counts[200]/args.seconds, 1), busy_503=counts[503], other_5xx=others, other=sum(counts.values()) - counts[200] - counts[503] - others,
               **{name: round(1000*float(v)) for name,v in zip(('p50_ms', 'p99_ms', 'longest_ms'), (*np.percentile(times, [50, 99]), max(times)))}, mb_before=round(before), mb_peak=round(peak), mb_after=round(after))
    for k,v in row.items(): print(f'{k:<12}{v}')
    if args.json: Path(args.json).write_text(json.dumps(row, indent=1))
    return 1 if others else 0

if __name__ == '__main__': sys.exit(main())
