"""How much `clean` finds, and how it grows: python benchmarks/clean.py DIR [--seeds 0 1 2] [--growth 2000 20000] [--json FILE]

DIR is a data set with splits (DIR/{train,test}/CLASS/*); it is copied, never changed. Faults are planted into the copy and
looked for again. Pictures without an animal are those that scikit-image and scikit-learn bring along (`pip install
scikit-image`), and those in --non-animals FOLDER. --growth times a fresh process with an empty cache on so many altered
copies of the photos.
"""
import argparse, json, os, resource, shutil, subprocess, sys, tempfile, time
from pathlib import Path

import numpy as np

copies = ('exact', 'rescaled', 'recompressed', 'cropped', 'mirrored', 'watermarked')

# --- what is found

def share(hits, of): return round(sum(hits)/max(of, 1), 4)

def copy_rows(source, scratch, seed, n):
    "`n` copies of each kind, planted across the split: how many are found as leaks with their source, and what else is"
    from animal_clf.cleaning.detect import find_issues
    from animal_clf.cleaning.corruptions import add_corruptions
    folder = shutil.copytree(source, scratch/f'copies{seed}')
    natural = {frozenset(o) for o in find_issues(folder).of('duplicate')}
    planted = add_corruptions(folder, dict.fromkeys(copies, n), seed=seed, across=True)
    issues = find_issues(folder)
    group = {path: i for i,paths in enumerate(issues.of('leak')) for path in paths}
    found = [group.get(o.path, -1) == group.get(o.source, -2) for o in planted.itertuples()]
    rows = [dict(seed=seed, kind=k, planted=len(o), found=share(o.found, len(o))) for k,o in planted.assign(found=found).groupby('kind', sort=False)]
    known = {*planted.path, *planted.source}
    others = [o for o in issues.of('duplicate') if not known & set(o)]
    false = [p for o in issues.of('duplicate') for p in o if p not in known and not any(p in g for g in natural)]
    mixed = [o for o in issues.of('duplicate') if len({planted.source[planted.path == p].iloc[0] if p in set(planted.path) else p for p in o} - set().union(*natural)) > 1]
    rows.append(dict(seed=seed, kind='not planted, in a group', photos=issues.n_photos, in_groups_before_planting=sorted(sorted(o) for o in natural),
                     new_groups_without_a_planted_one=len([o for o in others if frozenset(o) not in natural]), groups_of_different_photos=len(mixed), false=share([1 for _ in false], issues.n_photos)))
    return rows

def label_row(source, scratch, seed):
    "5 % wrong labels: how many are among the worst 10 % of the photos"
    from animal_clf.cleaning.detect import find_issues
    from animal_clf.cleaning.corruptions import add_corruptions
    folder = shutil.copytree(source, scratch/f'labels{seed}')
    planted = set(add_corruptions(folder, dict(wrong_label=.05), seed=seed).path)
    issues = find_issues(folder)
    listed = [o[0] for o in issues.of('label')]
    worst = set(listed[:issues.n_photos//10])
    return dict(seed=seed, kind='wrong label', planted=len(planted), listed=len(listed), in_worst_tenth=share([o in worst for o in planted], len(planted)),
                in_worst_twentieth=share([o in set(listed[:issues.n_photos//20]) for o in planted], len(planted)))

def bundled_pictures():
    "Pictures without an animal in packages that are installed"
    found = []
    for package,inside in (('skimage', 'data'), ('sklearn', 'datasets/images')):
        try: module = __import__(package)
        except ImportError: print(f'{package} is not installed: its pictures are not planted', file=sys.stderr); continue
        found += [o for o in sorted((Path(module.__file__).parent/inside).rglob('*')) if o.suffix in ('.png', '.jpg') and o.stem not in ('chelsea', 'horse')]
    return found

def animal_row(source, scratch, seed, pictures, name):
    "Pictures without an animal among the photos: how many are found, and how many photos are accused"
    from animal_clf.cleaning.detect import find_issues
    from animal_clf.core.images import open_photo
    from animal_clf.cleaning.corruptions import add_corruptions
    pictures = [o for o in pictures if min(open_photo(o).size) >= 64]
    folder = shutil.copytree(source, scratch/f'animals{seed}{name}')
    planted = set(add_corruptions(folder, dict(no_animal=len(pictures)), seed=seed, non_animals=pictures).path)
    issues = find_issues(folder)
    listed = {o[0] for o in issues.of('no_animal')}
    return dict(seed=seed, kind='no animal', pictures=name, planted=len(planted), found=share([o in listed for o in planted], len(planted)),
                photos_accused=share([o not in planted for o in listed], issues.n_photos - len(planted)))

def quality_rows(source, scratch, seed, n):
    "Poor photos: how many of each sort are found, and how many photos are accused"
    from animal_clf.cleaning.detect import find_issues
    from animal_clf.cleaning.corruptions import add_corruptions
    folder = shutil.copytree(source, scratch/f'quality{seed}')
    planted = add_corruptions(folder, dict.fromkeys(('blurred', 'tiny', 'drawing', 'logo', 'collage', 'unreadable'), n), seed=seed)
    issues = find_issues(folder)
    listed = {o[0] for k in ('quality', 'unreadable') for o in issues.of(k)}
    rows = [dict(seed=seed, kind=k, planted=len(o), found=share([p in listed for p in o.path], len(o))) for k,o in planted.groupby('kind', sort=False)]
    return rows + [dict(seed=seed, kind='quality', photos_accused=share([o not in set(planted.path) for o in listed], issues.n_photos - len(planted)))]

# --- how it grows

def alter(path, rng):
    "Another photo made of the one at `path`: half to nine tenths of it, perhaps mirrored, lighter or darker"
    from PIL import Image, ImageEnhance, ImageOps
    from animal_clf.core.images import open_photo
    img = open_photo(path)
    w, h = (int(o*rng.uniform(.5, .9)) for o in img.size)
    left, top = rng.integers(0, img.width-w+1), rng.integers(0, img.height-h+1)
    img = ImageEnhance.Brightness(img.crop((left, top, left+w, top+h))).enhance(rng.uniform(.7, 1.3))
    if rng.random() < .5: img = ImageOps.mirror(img)
    return img.resize([round(400/max(w, h)*o) for o in (w, h)], Image.Resampling.BICUBIC)

def make_many(source, folder, n):
    "`n` photos made of those in `source`"
    from animal_clf.data.folders import find_rows
    rows, rng = find_rows(source), np.random.default_rng(0)
    for i in range(n):
        o = rows.iloc[i % len(rows)]
        path = folder/o.split/o.label/f'{i:06}.jpg'
        path.parent.mkdir(parents=True, exist_ok=True)
        alter(o.path, rng).save(path, quality=85)

def time_clean(folder, n, cache):
    "`animal-clf clean` in a fresh process"
    command = [sys.executable, '-c', 'import sys; from animal_clf.cli.main import main; sys.exit(main())', 'clean', str(folder), '--json']
    start = time.perf_counter()
    process = subprocess.Popen(command, env=dict(os.environ, ANIMAL_CLF_CACHE=str(cache)), stdout=subprocess.PIPE, text=True)
    said = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    if status: sys.exit(f'clean failed\n{said}')
    counts = {k: len(v) for k,v in json.loads(said).items()}
    return dict(photos=n, seconds=round(time.perf_counter()-start, 1), cpu_s=round(usage.ru_utime + usage.ru_stime, 1), peak_GB=round(usage.ru_maxrss/1e6, 2), found=counts)

def growth_rows(source, scratch, sizes):
    rows = []
    for n in sizes:
        folder, cache = scratch/f'many{n}', scratch/f'cache{n}'
        make_many(source, folder, n)
        rows += [dict(cache='empty') | time_clean(folder, n, cache), dict(cache='filled') | time_clean(folder, n, cache)]
        for o in rows[-2:]: show(o)
        shutil.rmtree(folder)
    return rows

def show(row): print('  '.join(f'{k} {v}' for k,v in row.items()), flush=True)

def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('folder', type=Path)
    parser.add_argument('--seeds', type=int, nargs='*', default=[0, 1, 2])
    parser.add_argument('-n', type=int, default=50, help='copies of each kind')
    parser.add_argument('--non-animals', type=Path, metavar='FOLDER', help='more pictures without an animal')
    parser.add_argument('--growth', type=int, nargs='*', default=[], metavar='N')
    parser.add_argument('--json', type=Path)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        scratch, rows = Path(scratch), []
        os.environ.setdefault('ANIMAL_CLF_CACHE', str(scratch/'cache'))
        def add(*new):
            for o in new: show(o); rows.append(o)
        for seed in args.seeds:
            add(*copy_rows(args.folder, scratch, seed, args.n))
            add(label_row(args.folder, scratch, seed))
            add(animal_row(args.folder, scratch, seed, bundled_pictures(), 'bundled'))
            if args.non_animals: add(animal_row(args.folder, scratch, seed, sorted(args.non_animals.iterdir()), args.non_animals.name))
            add(*quality_rows(args.folder, scratch, seed, min(args.n, 20)))
        rows += growth_rows(args.folder, scratch, args.growth)
    if args.json: args.json.write_text(json.dumps(rows, indent=1))

if __name__ == '__main__': main()
