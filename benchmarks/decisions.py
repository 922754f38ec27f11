"""A table of decisions, read and carried out: python benchmarks/decisions.py [--rows 1000000] [--photos 1000] [--moves 20000] [--against CHECKOUT]

Two jobs, each in a fresh process: a table of so many rows about so many photos, of which one in a hundred rows drops its
photo; and a folder of so many photos of which all are set aside and put back. With `--against` another checkout does the same
first.
"""
import argparse, csv, json, os, subprocess, sys, tempfile
from pathlib import Path

here = Path(__file__).resolve().parent.parent

worker = """
import json, sys, time
from animal_clf.cleaning.quarantine import quarantine_photos, read_decisions, restore_photos
folder, table = sys.argv[1:]
start = time.perf_counter()
def lap():
    global start
    before, start = start, time.perf_counter()
    return round(start - before, 2)
decisions = read_decisions(table, folder)
seconds = dict(read=lap())
moves = quarantine_photos(decisions, folder)
seconds |= dict(set_aside=lap(), moved=int((moves.status == 'moved').sum()))
restore_photos(folder)
print(json.dumps(seconds | dict(put_back=lap())))
"""

def make_photos(folder, n):
    "`n` files that are named like photos; nothing here opens them"
    for i in range(n):
        path = folder/f'photos/class{i % 10}/{i:07}.jpg'
        if i < 10: path.parent.mkdir(parents=True)
        path.write_bytes(b'photo')
    return sorted(o.relative_to(folder).as_posix() for o in folder.rglob('*.jpg'))

def write_table(file, paths, rows, drop_every):
    with open(file, 'w', newline='') as f:
        table = csv.writer(f)
        table.writerow(('path', 'kind', 'decision', 'label', 'reason'))
        table.writerows((paths[i % len(paths)], 'label', 'drop' if i % drop_every == 0 else 'keep', 'fox', 'looks like another class') for i in range(rows))

def run_job(tree, rows, photos, drop_every):
    with tempfile.TemporaryDirectory() as scratch:
        folder, table = Path(scratch, 'data'), Path(scratch, 'decisions.csv')
        write_table(table, make_photos(folder, photos), rows, drop_every)
        said = subprocess.run([sys.executable, '-c', worker, folder, table], env=dict(os.environ, PYTHONPATH=str(tree)), cwd=scratch, stdout=subprocess.PIPE, text=True, check=True)
        return json.loads(said.stdout)

def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--rows', type=int, default=1_000_000)
    parser.add_argument('--photos', type=int, default=1000)
    parser.add_argument('--moves', type=int, default=20_000)
    parser.add_argument('--against', metavar='CHECKOUT')
    args = parser.parse_args()
    for name,tree in ([('other', Path(args.against).resolve())] if args.against else []) + [('here', here)]:
        for rows,photos,drop_every in ((args.rows, args.photos, 100), (args.moves, args.moves, 1)):
            print('  '.join(f'{k} {v}' for k,v in (dict(run=name, rows=rows, photos=photos) | run_job(tree, rows, photos, drop_every)).items()), flush=True)

if __name__ == '__main__': main()
