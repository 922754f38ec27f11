"""Our recipes beside plain fastai, timed: python benchmarks/train.py [DIR] [--recipes head fine_tune auto] [--seeds 42 0 1] [--json FILE]

DIR holds photos as DIR/{train,test}/CLASS/*.jpg (default: drawn animals). Each row is one fresh process with an empty cache,
from its start to the test accuracy: plain fastai runs the published recipe (Resize(192, squish), fine_tune(3), fp32, batches
of 32) from the same weights of the offline backbone. Then the speed of training alone, on an efficient and on a plain network,
and the machine's own rates in the same run, without which seconds mean little. Ratios are against plain fastai of the same seed.
"""
import argparse, json, os, shutil, subprocess, sys, tempfile, time
from pathlib import Path

import pandas as pd

from main_job import command_line, rates

arch, plain_px = 'tf_efficientnet_lite0', 192


# --- plain fastai: this file runs itself for it, so that a process does nothing else

def run_plain(folder, seed, epochs):
    "The published recipe, and what it took, as JSON on stdout"
    import warnings
    warnings.filterwarnings('ignore')
    from fastai.vision.all import (CategoryBlock, DataBlock, ImageBlock, RandomSplitter, Resize, error_rate, get_image_files,
                                   parent_label, set_seed, vision_learner)
    from animal_clf.vision.backbone import load_weights
    set_seed(seed)
    dls = DataBlock((ImageBlock, CategoryBlock), get_items=get_image_files, get_y=parent_label, splitter=RandomSplitter(.2, seed=seed),
                    item_tfms=Resize(plain_px, method='squish')).dataloaders(Path(folder)/'train', bs=32)
    learn = vision_learner(dls, arch, metrics=error_rate, pretrained_cfg_overlay=dict(state_dict=load_weights(arch)))
    start = time.perf_counter()
    with learn.no_bar(), learn.no_logging(): learn.fine_tune(epochs)
    seconds = time.perf_counter() - start
    test = get_image_files(Path(folder)/'test')
    with learn.no_bar(): p, _ = learn.get_preds(dl=dls.test_dl(test))
    right = sum(dls.vocab[i] == parent_label(o) for i,o in zip(p.argmax(1).tolist(), test))
    print(json.dumps(dict(accuracy=right/len(test), train_per_s=round((epochs+1)*len(dls.train_ds)/seconds, 1))))


# --- one process, watched from outside

def watch(command, folder, cache):
    "Run `command`: what it printed, its seconds, its peak memory in GB (its largest process)"
    start = time.perf_counter()
    process = subprocess.Popen([sys.executable, *command], cwd=folder, env=dict(os.environ, ANIMAL_CLF_CACHE=cache), stdout=subprocess.PIPE, text=True)
    said = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    if status: sys.exit(f'{" ".join(command)} failed\n{said}')
    return said, time.perf_counter() - start, round(usage.ru_maxrss/1e6, 2)

def plain(folder, seed, epochs=3):
    "A row for plain fastai"
    with tempfile.TemporaryDirectory() as scratch: said, seconds, peak = watch([__file__, str(folder), '--plain', str(seed), '--epochs', str(epochs)], Path.cwd(), scratch)
    return dict(run='plain fastai', seed=seed, **json.loads(said.splitlines()[-1]), to_test_s=round(seconds, 1), peak_GB=peak)

def ours(folder, recipe, seed, budget):
    "A row for one of our recipes"
    options = ['run', '--data', str(folder), '--arch', arch, '--recipe', recipe, '--seed', str(seed), '--out', 'model'] + (['--budget', str(budget)] if recipe == 'auto' else [])
    with tempfile.TemporaryDirectory() as scratch:
        said, _, peak = watch(['-c', command_line, *options], scratch, f'{scratch}/cache')
        report = json.loads(Path(scratch, 'model/report/report.json').read_text())
        log = pd.read_csv(Path(scratch, 'model/log.csv'))
    timings, n_train = report['timings'], report['model']['data']['train']
    row = dict(run=f'auto, {budget} s' if recipe == 'auto' else recipe, seed=seed, accuracy=report['accuracy'], to_test_s=round(timings['to_test_result'], 1), peak_GB=peak)
    if 'seconds' in log and len(log): row['train_per_s'] = round(len(log)*n_train/log.seconds.iloc[-1], 1)
    kept = next((o for o in said.splitlines() if o.startswith('choice')), '')
    return row | dict(kept=kept.partition('Kept: ')[2], **{f'{k}_s': round(timings[k], 1) for k in ('imports', 'reading', 'training', 'test')})

def compare(folder, recipes, seeds, budget):
    "Rows of plain fastai and of each recipe, with ratios"
    rows = []
    for seed in seeds:
        base = plain(folder, seed)
        rows.append(base); print(base, flush=True)
        for recipe in recipes:
            row = ours(folder, recipe, seed, budget)
            row |= dict(times_as_fast=round(base['to_test_s']/row['to_test_s'], 1), share_of_errors=round((1-row['accuracy'])/max(1e-9, 1-base['accuracy']), 2))
            rows.append(row); print(row, flush=True)
    return rows


# --- training alone

def training_speeds(folder, name, px):
    "Photos a second of training from random weights, decoding included: plain fastai in fp32, and ours as `auto` chooses"
    from dataclasses import replace
    from fastai.vision.all import (Callback, CancelValidException, CategoryBlock, DataBlock, ImageBlock, RandomSplitter, Resize,
                                   get_image_files, parent_label, vision_learner)
    from animal_clf.data.splits import read_photos
    from animal_clf.data import block # gives `Photos` its `dataloaders`
    from animal_clf.training.learner import animal_learner
    from animal_clf.training.recipes import get_recipe
    from animal_clf.training.loop import RunConfig, train_network
    dls = DataBlock((ImageBlock, CategoryBlock), get_items=get_image_files, get_y=parent_label, splitter=RandomSplitter(.2, seed=42), item_tfms=Resize(px, method='squish')).dataloaders(Path(folder)/'train', bs=32)
    theirs = vision_learner(dls, name, pretrained=False)
    def skip_validation(self): raise CancelValidException()
    start = time.perf_counter()
    with theirs.no_bar(), theirs.no_logging(): theirs.fit(1, cbs=Callback(before_validate=skip_validation))
    plain_rate = len(dls.train)*32/(time.perf_counter() - start)
    data = read_photos(folder)
    valid = data.table[data.table.split == 'valid']
    data = replace(data, table=data.table.drop(valid[valid.duplicated('label')].index))   # a photo of each class: training is what is timed
    learn, told = animal_learner(data.dataloaders(px, augment=False), name, pretrained=False), []
    train_state = train_network(learn, get_recipe('scratch', epochs=1), dict(arch=name), run=RunConfig(tell=lambda stage, text: told.append(text)))
    rate = len(learn.dls.train)*32/train_state.seconds
    return dict(network=name, px=px, plain_per_s=round(plain_rate, 1), ours_per_s=round(rate, 1), times_as_fast=round(rate/plain_rate, 1), chosen=told[0].partition(',')[0])

def drawn(folder):
    "Drawn animals as DIR/{train,test}/CLASS/*.jpg"
    from animal_clf.data.splits import read_photos
    from animal_clf.synthetic.animals import draw_animals
    data = read_photos(draw_animals(folder/'drawn'))
    for o in data.table.itertuples():
        to = folder/'split'/('test' if o.split == 'test' else 'train')/o.label
        to.mkdir(parents=True, exist_ok=True)
        shutil.copy(o.path, to)
    return folder/'split'

def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('folder', nargs='?')
    parser.add_argument('--recipes', nargs='*', default=['head', 'fine_tune', 'auto'])
    parser.add_argument('--seeds', type=int, nargs='+', default=[42])
    parser.add_argument('--budget', type=int, default=60)
    parser.add_argument('--networks', nargs='*', default=['resnet18', arch], help='to time training alone')
    parser.add_argument('--json', metavar='FILE')
    parser.add_argument('--plain', type=int, help=argparse.SUPPRESS)
    parser.add_argument('--epochs', type=int, default=3, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.plain is not None: return run_plain(args.folder, args.plain, args.epochs)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(args.folder).resolve() if args.folder else drawn(Path(scratch))
        rows = compare(folder, args.recipes, args.seeds, args.budget)
        os.environ['ANIMAL_CLF_CACHE'] = f'{scratch}/cache'
        speeds = [training_speeds(folder, o, 224) for o in args.networks]
        machine = rates(folder)
    print(pd.DataFrame(rows).to_string(index=False))
    if speeds: print(pd.DataFrame(speeds).to_string(index=False))
    print('  '.join(f'{k} {v}' for k,v in machine.items()))
    if args.json: Path(args.json).write_text(json.dumps(dict(rows=rows, speeds=speeds, machine=machine), indent=1))

if __name__ == '__main__': main()
