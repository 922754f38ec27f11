"""The main job, timed: python benchmarks/main_job.py DIR [--skip-fine-tune] [--against CHECKOUT] [--json FILE]

DIR holds photos as `animal-clf run --data` takes them. Each row is one fresh process with an empty feature cache, on the
offline backbone. With `--against`, the recipe `head` and `--help` are run by this checkout and by another one in turns, and nothing
else. The last lines are the machine's own rates in the same run, without which the seconds mean little.
"""
import argparse, json, os, subprocess, sys, tempfile, time
from pathlib import Path

here, command_line = Path(__file__).resolve().parent.parent, 'import sys; from animal_clf.cli import main; sys.exit(main())'

def run(name, *options, tree=here):
    "One `animal-clf run` of the code in `tree`, in a scratch folder: a row with its seconds, accuracy and peak memory"
    with tempfile.TemporaryDirectory() as scratch:
        command = [sys.executable, '-W', 'ignore', '-c', command_line, 'run', '--arch', 'tf_efficientnet_lite0', '--out', 'model', *options]
        start = time.perf_counter()
        process = subprocess.Popen(command, cwd=scratch, env=dict(os.environ, PYTHONPATH=str(tree), ANIMAL_CLF_CACHE=f'{scratch}/cache'), stdout=subprocess.PIPE, text=True)
        said = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
        if status: sys.exit(f'{name} failed\n{said}')
        report = json.loads(Path(scratch, 'model/report/report.json').read_text())
    low, high = report['accuracy_ci95']
    return dict(run=name, accuracy=report['accuracy'], interval=f'{low:.3f} to {high:.3f}', to_test_result_s=round(report['timings']['to_test_result'], 1),
                total_s=round(time.perf_counter()-start, 1), peak_GB=round(usage.ru_maxrss/1e6, 2))

def time_help(tree):
    "Seconds of `animal-clf --help`"
    start = time.perf_counter()
    subprocess.run([sys.executable, '-c', command_line, '--help'], cwd=tree, env=dict(os.environ, PYTHONPATH=str(tree)), stdout=subprocess.DEVNULL, check=True)   # `-c` imports from its folder first
    return time.perf_counter() - start

def compare(folder, other, n=3):
    "Rows of the same job by the code here and by the code in `other`, in turns"
    trees = dict(other=Path(other).resolve(), here=here)
    rows = [run(name, '--data', folder, '--recipe', 'head', tree=tree) for _ in range(n) for name,tree in trees.items()]
    return rows + [dict(run=name, help_s=round(min(time_help(tree) for _ in range(9)), 3)) for name,tree in trees.items()]

def rates(folder):
    "Photos a second through features (decoding included) and through the network alone, and GFLOP/s of a matrix product"
    os.environ['ANIMAL_CLF_CACHE'] = tempfile.mkdtemp()
    import numpy as np, torch
    from animal_clf.vision.engines import create_engine
    from animal_clf.vision.backbone import load_backbone
    from animal_clf.data.folders import find_rows
    from animal_clf.vision.features import get_features
    backbone, paths = load_backbone('tf_efficientnet_lite0'), find_rows(folder).path
    start = time.perf_counter(); get_features(paths, backbone); features = len(paths)/(time.perf_counter()-start)
    run, photos = create_engine(backbone), np.zeros((32, backbone.px, backbone.px, 3), np.uint8)
    network = per_second(lambda: run(photos))*32
    result = dict(features_per_s=round(features), network_alone_per_s=round(network))
    for kind in (torch.float32, torch.bfloat16):
        a = torch.randn(2048, 2048, dtype=kind)
        result[f'{str(kind)[6:]}_GFLOPs'] = round(per_second(lambda: a @ a)*2*2048**3/1e9)
    return result

def per_second(work, seconds=3):
    "How often a second `work` is done"
    work()
    n, start = 0, time.perf_counter()
    while time.perf_counter() - start < seconds: work(); n += 1
    return n/(time.perf_counter()-start)

def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('folder')
    parser.add_argument('--skip-fine-tune', action='store_true')
    parser.add_argument('--against', metavar='CHECKOUT', help='another checkout of this project')
    parser.add_argument('--json', metavar='FILE')
    args = parser.parse_args()
    folder = str(Path(args.folder).resolve())
    rows = compare(folder, args.against) if args.against else [run('head', '--data', folder, '--recipe', 'head'), run('sample', '--sample')]
    if not args.skip_fine_tune and not args.against: rows.append(run('fine_tune', '--data', folder, '--recipe', 'fine_tune'))
    for row in rows: print('  '.join(f'{k} {v}' for k,v in row.items()), flush=True)
    machine = rates(folder)
    print('  '.join(f'{k} {v}' for k,v in machine.items()))
    if args.json: Path(args.json).write_text(json.dumps(dict(rows=rows, machine=machine), indent=1))

if __name__ == '__main__': main()
