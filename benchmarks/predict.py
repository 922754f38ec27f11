"""Fast prediction beside fastai's own, on the same model and photos, in one run:

    python benchmarks/predict.py PHOTOS/ten-animals [--arch resnet18] [--paths 100000] [--json FILE]

A head is fitted on the photos (the offline backbone; another `--arch` gets random weights, which take the same time). Then,
turn by turn: `learn.get_preds` in fp32, as fastai does it, and `Predictor`, photos a second with decoding; `learn.predict` and
`Predictor` for one photo after the other; what a fresh process needs until its first answer, and its memory. With `--paths`
so many paths (the photos again and again) go through `write_predictions`, and memory is looked at on the way.
"""
import argparse, itertools, json, subprocess, sys, tempfile, time, warnings
from pathlib import Path

import numpy as np, pandas as pd, psutil

warnings.filterwarnings('ignore')

def make_model(photos, arch, folder, mirror):
    "A model folder; its answers are fastai's where `mirror` is off"
    from animal_clf.core.settings import offline_arch
    from animal_clf.data.splits import read_photos
    from animal_clf.learner import Trained, animal_learner, save_model, train
    from animal_clf.data import block # gives `Photos` its `dataloaders`
    data = read_photos(photos)
    if arch == offline_arch: trained = train(data, 'head', arch=arch)
    else: trained = Trained(animal_learner(data.dataloaders(num_workers=0), arch, pretrained=False), 'scratch', arch, 42, pd.DataFrame())
    trained.learn.posthoc.flip_tta = mirror
    return save_model(trained, data, folder)

def timed(work):
    start = time.perf_counter()
    found = work()
    return time.perf_counter() - start, found

def ask_fastai(learn, paths, workers):
    "Class indices by `get_preds`"
    with learn.no_bar(): return learn.get_preds(dl=learn.dls.test_dl(paths, bs=64, num_workers=workers))[0].argmax(1).tolist()

def measure_bulk(folder, paths, n_slow=300, rounds=3):
    "Photos a second, turn by turn"
    from animal_clf.learner import load_classifier
    from animal_clf.inference.predictor import Predictor
    learn = load_classifier(folder)
    predictor, exact = Predictor(learn), Predictor(learn, precision='fp32')
    ways = {'fastai get_preds, no workers': lambda: ask_fastai(learn, paths[:n_slow], 0), 'fastai get_preds, 2 workers': lambda: ask_fastai(learn, paths[:n_slow], 2),
            f'ours ({predictor.engine} {predictor.precision})': lambda: list(predictor.predict(paths)), f'ours ({exact.engine} fp32)': lambda: list(exact.predict(paths))}
    rows, answers = [], {}
    for i,(name,work) in itertools.product(range(rounds), ways.items()):
        seconds, answers[name] = timed(work)
        rows.append(dict(way=name, round=i, per_second=len(answers[name])/seconds))
    rates = pd.DataFrame(rows).pivot(index='round', columns='way', values='per_second')
    labels = {k: [o['label'] for o in v] if k.startswith('ours') else [learn.dls.vocab[i] for i in v] for k,v in answers.items()}
    theirs = rates[[o for o in rates if o.startswith('fastai')]].max(axis=1)
    return [dict(way=name, photos=len(labels[name]), per_second=rates[name].median(), times_get_preds=(rates[name]/theirs).median(),
                 other_labels=sum(a != b for a,b in zip(labels[name], labels['fastai get_preds, no workers']))) for name in ways]

def measure_one(folder, paths, n=200):
    "Milliseconds for one photo, in turns"
    from animal_clf.learner import load_classifier
    from animal_clf.inference.predictor import Predictor
    learn, seconds = load_classifier(folder), dict(fastai=[], ours=[])
    predictor = Predictor(learn)
    with learn.no_bar():
        for some in (paths[i:i + n//8] for i in range(0, n, n//8)):   # in turns of 25: the threads of either are busy waiting for a moment after each photo
            seconds['fastai'] += [timed(lambda: learn.predict(o))[0] for o in some][1:]
            seconds['ours'] += [timed(lambda: next(predictor.predict([o])))[0] for o in some][1:]
    p50 = {k: np.median(v)*1e3 for k,v in seconds.items()}
    return [dict(way=k, p50_ms=p50[k], p99_ms=np.percentile(v, 99)*1e3, share_of_fastai=p50[k]/p50['fastai']) for k,v in seconds.items()]

first_answers = {
    'fastai learn.predict': 'from animal_clf.learner import load_classifier; load_classifier(folder).predict(path)',
    'ours, one photo (torch)': 'from animal_clf.learner import load_classifier; from animal_clf.inference.predictor import Predictor; list(Predictor(load_classifier(folder), n_photos=1).predict([path]))',
    'ours, many photos': 'from animal_clf.learner import load_classifier; from animal_clf.inference.predictor import Predictor; next(Predictor(load_classifier(folder)).predict([path]))',
}

def measure_start(folder, path, rounds=3):
    "Seconds and memory of a fresh process until its first answer"
    rows = []
    for i,(name,code) in itertools.product(range(rounds), first_answers.items()):
        whole = f'import warnings; warnings.filterwarnings("ignore"); folder, path = {str(folder)!r}, {str(path)!r}\n{code}\nprint(next(o.split()[1] for o in open("/proc/self/status") if o.startswith("VmHWM")))'
        seconds, told = timed(lambda: subprocess.run([sys.executable, '-c', whole], capture_output=True, text=True, check=True).stdout)
        rows.append(dict(way=name, seconds=seconds, peak_mb=float(told.split()[-1])/1024))
    return pd.DataFrame(rows).groupby('way', sort=False).median().reset_index().to_dict('records')

def measure_memory(folder, paths, n, out):
    "Memory while `n` paths go through"
    from animal_clf.learner import load_classifier
    from animal_clf.inference.predictor import Predictor
    from animal_clf.inference.bulk import write_predictions
    process, seen, start = psutil.Process(), [], time.perf_counter()
    def noted():
        for i,path in enumerate(itertools.islice(itertools.cycle(paths), n)):
            if i in (0, 1000, n//10, n//4, n//2, n - 1): seen.append(dict(paths=i, mb=process.memory_info().rss/2**20))
            yield path
    found = write_predictions(Predictor(load_classifier(folder)), noted(), out)
    return dict(rows=found['n'], per_second=found['n']/(time.perf_counter() - start), memory=seen)

def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('photos'), parser.add_argument('--arch', default='tf_efficientnet_lite0'), parser.add_argument('--mirror', action='store_true', help='a model that sees each photo mirrored too: twice the work, which fastai does not do')
    parser.add_argument('--paths', type=int, default=0), parser.add_argument('--json')
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder, paths = make_model(args.photos, args.arch, Path(scratch)/'model', args.mirror), sorted(Path(args.photos).glob('**/*.jpg'))
        paths = [paths[i] for i in np.random.default_rng(0).permutation(len(paths))]
        found = dict(arch=args.arch, mirror=args.mirror, bulk=measure_bulk(folder, paths), one=measure_one(folder, paths), start=measure_start(folder, paths[0]))
        if args.paths: found['many'] = measure_memory(folder, paths, args.paths, Path(scratch)/'many.csv')
    for name in ('bulk', 'one', 'start'): print(f'\n{name}\n' + pd.DataFrame(found[name]).round(3).to_string(index=False))
    if args.paths: print(f"\n{found['many']['rows']} rows, {found['many']['per_second']:.0f} a second\n" + pd.DataFrame(found['many']['memory']).round(0).to_string(index=False))
    if args.json: Path(args.json).write_text(json.dumps(found, indent=1))

if __name__ == '__main__': main()
