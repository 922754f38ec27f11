"""How long it takes to list photos: python benchmarks/listing.py [--files 100000] [--runs 3] [--against CHECKOUT]

Folders of so many files, in ten classes: photos by name, photos without a suffix, and photos each with a text beside it. They
are listed as `run` and `evaluate` do (rows, and what is left out) and as `predict` does, each in a fresh process; the least of
some runs counts. Nothing is decoded: each photo is the header of a JPEG. With `--against` another checkout does the same first.
"""
import argparse, json, os, subprocess, sys, tempfile
from pathlib import Path

here = Path(__file__).resolve().parent.parent
kinds = dict(names=('{}.jpg',), no_suffix=('{}',), with_texts=('{}.jpg', '{}.txt'))

worker = """
import json, sys, time
from animal_clf.data.folders import find_ignored, find_rows
from animal_clf.inference.bulk import iter_photos
folder = sys.argv[1]
def lap(start=[time.perf_counter()]):
    before, start[0] = start[0], time.perf_counter()
    return start[0] - before
lap()
try: n_rows = len(find_rows(folder))
except Exception as e: n_rows = 0   # another checkout may find none
rows = lap()
n_left = len(find_ignored(folder))
ignored = lap()
try: n_walked = sum(1 for _ in iter_photos(folder))
except Exception as e: n_walked = 0
print(json.dumps(dict(rows=rows, ignored=ignored, walk=lap(), n_rows=n_rows, n_left=n_left, n_walked=n_walked)))
"""

def make_files(folder, n, names):
    head = b'\xff\xd8\xff\xe0' + bytes(60)
    for i in range(n):
        path = folder/f'class{i % 10}'/names[i//10 % len(names)].format(i//10//len(names))
        if i < 10: path.parent.mkdir(parents=True)
        path.write_bytes(b'a text' if path.suffix == '.txt' else head)

def measure(tree, folder, runs):
    "The least seconds of each job, and what it found"
    env = dict(os.environ, PYTHONPATH=str(tree))
    found = [json.loads(subprocess.run([sys.executable, '-W', 'ignore', '-c', worker, folder], env=env, cwd=folder, stdout=subprocess.PIPE, text=True, check=True).stdout) for _ in range(runs)]
    return {k: min(o[k] for o in found) for k in found[0]}

def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--files', type=int, default=100_000)
    parser.add_argument('--runs', type=int, default=3)
    parser.add_argument('--against', metavar='CHECKOUT')
    args = parser.parse_args()
    for kind,names in kinds.items():
        with tempfile.TemporaryDirectory() as scratch:
            make_files(Path(scratch), args.files, names)
            for name,tree in ([('other', Path(args.against).resolve())] if args.against else []) + [('here', here)]:
                o = measure(tree, scratch, args.runs)
                per_file = '  '.join(f'{k} {1e6*o[k]/args.files:5.1f} µs' for k in ('rows', 'ignored', 'walk'))
                print(f"{kind:<11} {name:<6} {per_file} per file   (rows {o['n_rows']}, left out {o['n_left']}, walked {o['n_walked']})", flush=True)

if __name__ == '__main__': main()
