"""Peak memory and seconds of `train` and `evaluate` with 10, 100 and 1,000 classes: python benchmarks/many_classes.py [--classes 10 100 1000] [--against CHECKOUT]

Each class is a mean colour with squares of random colours over it, five pictures each; the model is the offline backbone with a head.
"""
import argparse, os, resource, subprocess, sys, tempfile, time
from pathlib import Path

import numpy as np
from PIL import Image

n_photos = 5

def draw(folder, n_classes):
    "Pictures that are all different, and of which a few classes look alike"
    rng = np.random.default_rng(0)
    for i in range(n_classes):
        colour = rng.integers(0, 256, 3)
        place = folder/f'class {i:04}'
        place.mkdir(parents=True)
        for j in range(n_photos):
            noisy = np.clip(colour + rng.normal(0, 80, (6, 6, 3)), 0, 255).astype('uint8')
            Image.fromarray(noisy).resize((64, 64), Image.Resampling.BICUBIC).save(place/f'{j}.png')
    return folder

def run(*args, code=None):
    "Seconds and peak GB of `animal-clf ARGS` in a process of its own"
    env = os.environ | (dict(PYTHONPATH=str(code)) if code else {})
    start = time.monotonic()
    process = subprocess.Popen([sys.executable, '-c', 'import sys; from animal_clf.cli.main import main; sys.exit(main())', *map(str, args)],
                               env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    code = os.waitstatus_to_exitcode(status)
    return time.monotonic() - start, used.ru_maxrss/2**20, code

def measure(n_classes, code):
    with tempfile.TemporaryDirectory() as home:
        data, model = draw(Path(home)/'data', n_classes), Path(home)/'model'
        for name,args in dict(train=('train', '--data', data, '--out', model, '--arch', 'tf_efficientnet_lite0'), evaluate=('evaluate', model, '--data', data)).items():
            seconds, peak, status = run(*args, code=code)
            print(f'{n_classes:>6} classes  {name:<9} {seconds:7.1f} s  {peak:6.2f} GB  exit {status}', flush=True)

if __name__ == '__main__':
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--classes', type=int, nargs='+', default=[10, 100, 1000])
    parser.add_argument('--against', type=Path, metavar='CHECKOUT', help='measure this code, too')
    args = parser.parse_args()
    for code in (args.against, None) if args.against else (None,):
        print(code or 'here')
        for n in args.classes: measure(n, code)
