"""kill -9 at random moments of trainings: python benchmarks/kill_training.py [--kills 20] [--seed 0] [--workers 2] [--json FILE]

For each recipe `animal-clf train` is run once undisturbed; another run of it is killed again and again, and resumed each time
with `--resume`, until it is done. Recipes take turns until there were as many kills as asked for. Compared are the bytes of
`model.safetensors` and `model.json`, and the log but for how long its epochs took. The photos are drawings, few and small.
"""
import argparse, csv, hashlib, json, os, random, shutil, signal, subprocess, sys, tempfile, time
from pathlib import Path

from animal_clf.synthetic.animals import draw_animals

offline = ['--arch', 'tf_efficientnet_lite0']
trainings = {
    'scratch': ['--recipe', 'scratch', '--arch', 'test_resnet', '--epochs', '24'],
    'fine_tune': ['--recipe', 'fine_tune', '--epochs', '8', '--lr', '1e-3', *offline],
    'custom_head': ['--recipe', 'custom_head', '--head', '16', '8', '--dropout', '.5', '.3', '--epochs', '8', '--lr', '1e-3', '--balance', 'sampling', *offline]}


# --- one training

def start(photos, folder, args):
    command = shutil.which('animal-clf', path=str(Path(sys.executable).parent)) or shutil.which('animal-clf')
    return subprocess.Popen([command, 'train', '--data', photos, '--out', folder, *args], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

def wait_for_epochs(run):
    "Read what `run` says until its epochs begin"
    for line in run.stdout:
        if line.startswith('speed') or 'was the last' in line: return

def end(run, args):
    "The exit code of `run`, 0 or that of a kill"
    _, err = run.communicate()
    if run.returncode == -signal.SIGKILL: return run.returncode     # its worker processes may complain that it is gone
    if run.returncode or err: sys.exit(f'`{" ".join(args)}` ended with {run.returncode}: {err}')
    return run.returncode

def finish(photos, folder, args):
    "Let a training run to its end; seconds until its epochs began, and after that"
    begin, run = time.perf_counter(), start(photos, folder, args)
    wait_for_epochs(run)
    began = time.perf_counter()
    end(run, args)
    return began - begin, time.perf_counter() - began

def read_epochs(folder):
    "The epoch of the checkpoint, 0 without one; read from its header, so that nothing need be loaded"
    try:
        with open(folder/'checkpoint.safetensors', 'rb') as f: header = json.loads(f.read(int.from_bytes(f.read(8), 'little')))
    except FileNotFoundError: return 0
    return json.loads(header['__metadata__']['course'])['epoch']

def kill(photos, folder, args, luck, undisturbed_s):
    "Resume, and kill while it starts (one time in five) or trains; what there was then"
    before, run = read_epochs(folder), start(photos, folder, [*args, '--resume'])
    if in_start := luck.random() < .2: time.sleep(luck.uniform(0, undisturbed_s[0]))
    else:
        wait_for_epochs(run)
        time.sleep(luck.uniform(0, .6*undisturbed_s[1]))
    run.send_signal(signal.SIGKILL)
    code = end(run, args)
    after = read_epochs(folder)
    return dict(killed=code != 0, moment='end' if after < before else 'start' if in_start else 'epochs', epochs_before=before, epochs_after=after, half_files=len(list(folder.glob('.*.part'))), model=(folder/'model.json').exists())


# --- trainings, in turns

def snapshot(folder):
    "The hash of the model's files, and the log without seconds"
    with open(folder/'log.csv', newline='') as f: rows = [{k: v for k,v in o.items() if k != 'seconds'} for o in csv.DictReader(f)]
    return {o: hashlib.sha256((folder/o).read_bytes()).hexdigest() for o in ('model.safetensors', 'model.json')}, rows

def disturb(name, photos, scratch, options, kills, luck, undisturbed, seconds):
    "Kill one training until it is done, at most `kills` times; rows of the table, and what differs in the end"
    folder, args, rows = scratch/f'{name} {len(list(scratch.glob(f"{name} *")))}', trainings[name] + options, []
    while len(rows) < kills:
        row = kill(photos, folder, args, luck, seconds)
        if not row['killed']: break
        rows.append(dict(training=folder.name) | row)
        print(f'{folder.name:16}' + '  '.join(f'{k} {v}' for k,v in row.items() if k != 'killed'), flush=True)
    else: finish(photos, folder, [*args, '--resume'])
    (files_a, rows_a), (files_b, rows_b) = undisturbed, snapshot(folder)
    left = [o for o in folder.iterdir() if 'checkpoint' in o.name]
    return rows, dict(files_differ=sum(files_a[o] != files_b[o] for o in files_a), logs_differ=int(rows_a != rows_b), checkpoints_left=len(left))

def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--kills', type=int, default=20)
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--workers', type=int, default=2, help='processes that decode photos')
    parser.add_argument('--json', metavar='FILE')
    args = parser.parse_args()
    luck, options = random.Random(args.seed), ['--workers', str(args.workers), '--batch-size', '4', '--precision', 'fp32']
    with tempfile.TemporaryDirectory() as scratch:
        scratch = Path(scratch)
        os.environ['ANIMAL_CLF_CACHE'] = str(scratch/'cache')
        photos = draw_animals(scratch/'animals', 14, ('fox', 'seal', 'zebra'), px=96)
        whole, rows, ends = {}, [], []
        while len(rows) < args.kills:
            name = list(trainings)[len(ends) % len(trainings)]
            if name not in whole:
                seconds = finish(photos, scratch/name, trainings[name] + options)
                whole[name] = snapshot(scratch/name), seconds
                print(f'{name:16}undisturbed: {seconds[0]:.1f} s to start, {seconds[1]:.1f} s to train', flush=True)
            more, differs = disturb(name, photos, scratch, options, args.kills - len(rows), luck, *whole[name])
            rows += more
            ends.append(differs)
            print(f'{"":16}done: ' + '  '.join(f'{k} {v}' for k,v in differs.items()), flush=True)
    result = dict(kills=len(rows), trainings=len(ends), before_the_first_checkpoint=sum(o['epochs_before'] == o['epochs_after'] == 0 for o in rows),
                  while_a_file_was_written=sum(o['half_files'] > 0 for o in rows), epochs_saved=sum(max(0, o['epochs_after'] - o['epochs_before']) for o in rows),
                  epochs_lost_at_most=sum(o['moment'] == 'epochs' for o in rows), **{k: sum(o[k] for o in ends) for k in ends[0]})
    print('\n'.join(f'{k:28}{v}' for k,v in result.items()))
    if args.json: Path(args.json).write_text(json.dumps(dict(kills=rows, result=result), indent=1))
    if result['files_differ'] or result['logs_differ']: sys.exit(1)

if __name__ == '__main__': main()
