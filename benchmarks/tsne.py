"""t-SNE of many photos, timed: python benchmarks/tsne.py [--opentsne 50000] [--sklearn 5000] [--dims 1280] [--classes 37] [--json FILE]

Each row is one fresh process that lays out made-up features: clusters of random points, as many as there are classes. Seconds are
those of `compute_tsne`, principal components included; the peak memory is the whole process's, its features (N × dims × 4 bytes)
included. `same_class` is the share of points whose nearest on the page is of their class. `digest` is the same for two runs that
agree to the last bit: give a size twice to see whether they do.
"""
import argparse, hashlib, json, os, subprocess, sys, time
from pathlib import Path

import numpy as np


# --- one run: this file runs itself for it, so that a process does nothing else

def make_features(n, dims, n_classes, seed=0):
    "float32 (n, dims) in clusters, and the class of each"
    rng = np.random.default_rng(seed)
    middles = .35*rng.standard_normal((n_classes, dims), dtype=np.float32)
    classes = rng.integers(n_classes, size=n)
    values = rng.standard_normal((n, dims), dtype=np.float32)
    values += middles[classes]
    return values, classes

def same_class(points, classes):
    "Share of points whose nearest is of their class"
    from scipy.spatial import KDTree
    nearest = KDTree(points).query(points, 2)[1][:, 1]
    return float((classes[nearest] == classes).mean())

def run_one(package, n, dims, n_classes):
    "Lay out, and what it took, as JSON on stdout"
    from animal_clf.vision.tsne import compute_tsne
    values, classes = make_features(n, dims, n_classes)
    start = time.perf_counter()
    points = compute_tsne(values, exact_to=0 if package == 'opentsne' else n)
    seconds = time.perf_counter() - start
    print(json.dumps(dict(seconds=round(seconds, 1), same_class=round(same_class(points, classes), 3), digest=hashlib.sha256(points.tobytes()).hexdigest()[:12])))


# --- from outside

def watch(package, n, dims, n_classes):
    "A row for one run in a fresh process"
    command = [sys.executable, __file__, '--one', package, str(n), '--dims', str(dims), '--classes', str(n_classes)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    said = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    if status: sys.exit(f'{package} on {n} points failed\n{said}')
    told = json.loads(said.splitlines()[-1])
    return dict(package=package, points=n, dims=dims, seconds=told.pop('seconds'), cpu_s=round(usage.ru_utime + usage.ru_stime, 1), peak_GB=round(usage.ru_maxrss/1e6, 2)) | told

def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--opentsne', type=int, nargs='*', default=[50_000], metavar='N', help='numbers of points for openTSNE')
    parser.add_argument('--sklearn', type=int, nargs='*', default=[5000], metavar='N', help='numbers of points for scikit-learn')
    parser.add_argument('--dims', type=int, default=1280)
    parser.add_argument('--classes', type=int, default=37)
    parser.add_argument('--json', type=Path, metavar='FILE')
    parser.add_argument('--one', nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one: return run_one(args.one[0], int(args.one[1]), args.dims, args.classes)
    from animal_clf.vision.tsne import has_fast_tsne
    if args.opentsne and not has_fast_tsne(): sys.exit("openTSNE is not installed: pip install 'animal-clf[tsne]', or --opentsne without numbers")
    rows = []
    for package in ('sklearn', 'opentsne'):
        for n in getattr(args, package):
            rows.append(watch(package, n, args.dims, args.classes))
            print('  '.join(f'{k} {v}' for k,v in rows[-1].items()), flush=True)
    print(f'{os.cpu_count()} cores')
    if args.json: args.json.write_text(json.dumps(dict(rows=rows, cores=os.cpu_count()), indent=1))

if __name__ == '__main__': main()
