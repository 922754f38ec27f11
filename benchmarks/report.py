"""The report, measured: python benchmarks/report.py DIR [--seeds 42 0 1] [--json FILE]

DIR holds photos as `animal-clf run --data` takes them. For each seed a head is trained on the offline backbone, then
`animal-clf evaluate` runs in a fresh process, with the features that training left in the cache. A row tells its seconds by
stage, its peak memory, the size of the page, and the calibration error before and after the temperature, with what a
perfectly calibrated model would show by chance on as many photos.
"""
import argparse, json, os, subprocess, sys, tempfile, time
from pathlib import Path

def animal_clf(scratch, *args):
    "Run the shell command in `scratch`: seconds and peak memory in GB"
    command = [sys.executable, '-c', 'import sys; from animal_clf.cli.main import main; sys.exit(main())', *args]
    start = time.perf_counter()
    process = subprocess.Popen(command, cwd=scratch, env=dict(os.environ, ANIMAL_CLF_CACHE=f'{scratch}/cache'), stdout=subprocess.PIPE, text=True)
    said = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    if status: sys.exit(f'{" ".join(args)} failed\n{said}')
    return time.perf_counter() - start, usage.ru_maxrss/1e6

def measure(folder, seed):
    "A row for one seed"
    with tempfile.TemporaryDirectory() as scratch:
        animal_clf(scratch, 'train', '--data', folder, '--recipe', 'head', '--arch', 'tf_efficientnet_lite0', '--seed', str(seed), '--out', 'model')
        seconds, peak = animal_clf(scratch, 'evaluate', 'model', '--data', folder)
        report = json.loads(Path(scratch, 'model/report/report.json').read_text())
        size = Path(scratch, 'model/report/report.html').stat().st_size
    before, chance = report['before_temperature'], report['ece_by_chance']
    return dict(seed=seed, total_s=round(seconds, 1), peak_GB=round(peak, 2), html_MB=round(size/1e6, 2), accuracy=report['accuracy'], temperature=round(report['temperature'], 3),
                ece_before=round(before['ece'], 4), ece=round(report['ece'], 4), ece_by_chance=round(chance['mean'], 4), log_loss_before=round(before['log_loss'], 4), log_loss=round(report['log_loss'], 4),
                stages={k: round(v, 1) for k,v in report['timings'].items()})

def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('folder')
    parser.add_argument('--seeds', type=int, nargs='+', default=[42, 0, 1])
    parser.add_argument('--json', metavar='FILE')
    args = parser.parse_args()
    rows = []
    for seed in args.seeds:
        rows.append(measure(str(Path(args.folder).resolve()), seed))
        print('  '.join(f'{k} {v}' for k,v in rows[-1].items()), flush=True)
    if args.json: Path(args.json).write_text(json.dumps(rows, indent=1))

if __name__ == '__main__': main()
