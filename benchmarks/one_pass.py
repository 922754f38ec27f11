"""A photo is opened once: python benchmarks/one_pass.py DIR [--photos 300] [--growth 2000 20000] [--json FILE]

DIR holds photos as `animal-clf run --data` takes them. From them the benchmark makes photos as cameras write them (12
megapixels, about 3.5 MB), half of them in `test`, and the same photos with their longest side at 400 px, and runs
`animal-clf run --recipe head` on both, in turns, each time in a fresh process with an empty cache. A last run counts how
often each file of the data set is opened. --growth runs on so many altered copies of the photos instead.
"""
import argparse, json, os, subprocess, sys, tempfile, time
from collections import Counter
from pathlib import Path

import numpy as np

here, command_line = Path(__file__).resolve().parent.parent, 'import sys; from animal_clf.cli.main import main; sys.exit(main())'
counting = '''
import json, os, sys
from collections import Counter
opened, folder = Counter(), os.environ['COUNT_UNDER']
def note(event, args):
    if event == 'open' and isinstance(args[0], (str, bytes)) and os.fsdecode(args[0]).startswith(folder): opened[os.fsdecode(args[0])] += 1
sys.addaudithook(note)
from animal_clf.cli.main import main
code = main()
with open(os.environ['COUNT_INTO'], 'w') as f: json.dump(opened, f)
sys.exit(code)
'''

def run(folder, scratch, code=command_line, **env):
    "One `animal-clf run --recipe head` in a fresh process with an empty cache: a row with its seconds and peak memory"
    with tempfile.TemporaryDirectory(dir=scratch) as out:
        command = [sys.executable, '-W', 'ignore', '-c', code, 'run', '--arch', 'tf_efficientnet_lite0', '--recipe', 'head', '--data', str(folder), '--out', f'{out}/model']
        start = time.perf_counter()
        process = subprocess.Popen(command, cwd=out, env=dict(os.environ, PYTHONPATH=str(here), ANIMAL_CLF_CACHE=f'{out}/cache', **env), stdout=subprocess.PIPE, text=True)
        said = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
        if status: sys.exit(f'the run on {folder} failed\n{said}')
        report = json.loads(Path(out, 'model/report/report.json').read_text())
        cache = sum(o.stat().st_size for o in Path(out, 'cache').rglob('*') if o.is_file())
    stages = {k: round(v, 1) for k,v in report['timings'].items()}
    return dict(photos=sum(report['model']['data'][o] for o in ('train', 'valid')) + report['n_test'], accuracy=report['accuracy'],
                to_test_result_s=stages.pop('to_test_result'), total_s=round(time.perf_counter() - start, 1), peak_GB=round(usage.ru_maxrss/1e6, 2), cache_MB=round(cache/1e6), **stages)

def write_camera_photo(img, path, rng):
    "12 megapixels with the noise of a sensor, which is what fills a camera's files"
    from PIL import Image
    w, h = (4000, 3000) if img.width >= img.height else (3000, 4000)
    pixels = np.asarray(img.resize((w, h), Image.Resampling.BICUBIC), np.int16)
    noise = rng.normal(0, 5, (h, w)).astype(np.int16)[..., None]
    Image.fromarray(np.uint8(np.clip(pixels + noise, 0, 255))).save(path, quality=93)

def make_pair(source, scratch, n):
    "Folders of the same `n` photos, as a camera writes them and with 400 px"
    from animal_clf.core.images import open_photo
    from animal_clf.data.folders import find_rows
    rows, rng = find_rows(source), np.random.default_rng(0)
    names = rows.label.unique()
    for name in names:
        for i,o in enumerate(rows[rows.label == name].path[:n//len(names)]):
            for kind in ('camera', 'small'):
                path = scratch/kind/('test' if i % 2 else 'train')/name/f'{i:04}.jpg'
                path.parent.mkdir(parents=True, exist_ok=True)
                img = open_photo(o)
                if kind == 'camera': write_camera_photo(img, path, rng)
                else: img.thumbnail((400, 400)); img.save(path, quality=90)
    return [scratch/o for o in ('camera', 'small')]

def compare(source, scratch, n, times=3):
    "Rows of runs on both kinds in turns, and how often the files of the large ones were opened"
    folders = make_pair(source, scratch, n)
    sizes = [o.stat().st_size for o in folders[0].rglob('*.jpg')]
    print(f'{len(sizes)} photos of {np.mean(sizes)/1e6:.1f} MB', flush=True)
    rows = []
    for _ in range(times):
        for o in folders:
            rows.append(dict(kind=o.name) | run(o, scratch))
            print('  '.join(f'{k} {v}' for k,v in rows[-1].items()), flush=True)
    best = {kind: {k: min(o[k] for o in rows if o['kind'] == kind) for k in ('to_test_result_s', 'total_s')} for kind in ('camera', 'small')}
    ratios = {k: round(best['camera'][k]/best['small'][k], 2) for k in best['camera']}
    into = scratch/'opened.json'
    run(folders[0], scratch, counting, COUNT_UNDER=str(folders[0]), COUNT_INTO=str(into))
    opened = Counter(json.loads(into.read_text()))
    counts = Counter(v for k,v in opened.items() if k.endswith('.jpg'))
    print('as late as with small photos:', ratios, '; files opened so many times:', dict(counts))
    return rows + [dict(ratios=ratios, opened=dict(counts))]

def grow(source, scratch, sizes):
    "A row for each number of altered copies"
    from clean import make_many
    rows = []
    for n in sizes:
        make_many(source, scratch/str(n), n)
        rows.append(run(scratch/str(n), scratch))
        print('  '.join(f'{k} {v}' for k,v in rows[-1].items()), flush=True)
    return rows

def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('folder')
    parser.add_argument('--photos', type=int, default=300, metavar='N')
    parser.add_argument('--growth', type=int, nargs='+', metavar='N')
    parser.add_argument('--json', metavar='FILE')
    args = parser.parse_args()
    sys.path.insert(0, str(here))
    with tempfile.TemporaryDirectory() as scratch:
        rows = grow(args.folder, Path(scratch), args.growth) if args.growth else compare(args.folder, Path(scratch), args.photos)
    if args.json: Path(args.json).write_text(json.dumps(rows, indent=1))

if __name__ == '__main__': main()
