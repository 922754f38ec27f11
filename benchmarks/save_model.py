"""How long a model takes to be saved: python benchmarks/save_model.py [--rows 100 100000] [--against CHECKOUT]

A head on the offline backbone is trained once on drawings; its table of photos is then made so many rows long, and saved five
times into the same folder by a fresh process. `--against` does the same with the code in another checkout, in turns.
"""
import argparse, json, os, subprocess, sys, tempfile
from pathlib import Path

here = Path(__file__).resolve().parent.parent

worker = """
import json, sys, time
from dataclasses import replace
import pandas as pd
from animal_clf.core.settings import offline_arch
from animal_clf.data.splits import read_photos
from animal_clf.synthetic.animals import draw_animals
from animal_clf.training.model_file import save_model
from animal_clf.training.train import train

photos = read_photos(draw_animals('data', 12, classes=('fox', 'seal', 'zebra')), n_test=3)
trained, found = train(photos, 'head', offline_arch), {}
for rows in map(int, sys.argv[1:]):
    table = pd.concat([photos.table]*(rows//len(photos.table) + 1), ignore_index=True)[:rows]
    long, seconds = replace(photos, table=table), []
    for _ in range(5):
        start = time.perf_counter()
        save_model(trained, long, 'model')
        seconds.append(time.perf_counter() - start)
    found[rows] = round(min(seconds), 3)
print(json.dumps(found))
"""

def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--rows', type=int, nargs='+', default=[100, 100_000])
    parser.add_argument('--against', metavar='CHECKOUT')
    args = parser.parse_args()
    trees = dict(other=Path(args.against).resolve()) if args.against else {}
    for name,tree in [*trees.items(), ('here', here)]*2:
        with tempfile.TemporaryDirectory() as scratch:
            command = [sys.executable, '-W', 'ignore', '-c', worker, *map(str, args.rows)]
            said = subprocess.run(command, cwd=scratch, env=dict(os.environ, PYTHONPATH=str(tree), ANIMAL_CLF_CACHE=f'{scratch}/cache'), stdout=subprocess.PIPE, text=True, check=True)
            for rows,seconds in json.loads(said.stdout.splitlines()[-1]).items(): print(f'run {name}  rows {rows}  seconds {seconds}', flush=True)

if __name__ == '__main__': main()
