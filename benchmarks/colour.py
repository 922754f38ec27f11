"""Colours of photos with a profile, and what looking for one costs: python benchmarks/colour.py [--against CHECKOUT]

Colour difference (CIE 1976) to a reference conversion by the published formulae, on 4,096 random colours opened, stored (the JPEG of `download`) and shown (a thumbnail),
each colour as a square of 16 px; then the milliseconds to open photos of 400 and 1,200 px without a profile. With CHECKOUT, both are measured with its code, too, in turns.
"""
import argparse, io, os, subprocess, sys, tempfile, time
from pathlib import Path

import numpy as np
from PIL import Image

sys.path.insert(0, str(Path(__file__).parent.parent/'tests'))
from profiles import delta_e, ink_to_srgb, matrix_profile, print_profile, reference_srgb, spaces

side, n = 16, 64

def write(folder):
    "Photos with each kind of profile, and what they should look like"
    rng, wanted = np.random.default_rng(0), {}
    for name in spaces:
        pixels = rng.integers(0, 256, (n, n, 3)).astype('uint8')
        Image.fromarray(np.kron(pixels, np.ones((side, side, 1), 'uint8'))).save(folder/f'{name}.png', icc_profile=matrix_profile(name))
        wanted[name] = reference_srgb(name, pixels)
    inks = rng.integers(0, 256, (n, n, 4)).astype('uint8')
    Image.frombytes('CMYK', (n*side,)*2, np.kron(inks, np.ones((side, side, 1), 'uint8')).tobytes()).save(folder/'CMYK.tif', icc_profile=print_profile())
    return wanted | {'CMYK': ink_to_srgb(inks)}

def colours(img):
    step = img.width/n
    places = (step*(np.arange(n) + .5)).astype(int)
    return np.asarray(img.convert('RGB'))[np.ix_(places, places)]

def measure_colours(folder):
    from animal_clf.core.images import make_thumbnail, open_photo
    from animal_clf.scraping.decode import inspect_photo
    wanted = write(folder)
    print(f"{'':<12}{'opened':>16}{'stored':>16}{'shown':>16}   mean and largest ΔE")
    for file in sorted(folder.iterdir()):
        found = [open_photo(file, n*side), Image.open(io.BytesIO(inspect_photo(file, n*side)['photo'])), Image.open(io.BytesIO(make_thumbnail(file, n*side)[0]))]
        print(f'{file.stem:<12}' + ''.join(f'{e.mean():>9.2f} {e.max():>6.1f}' for e in (delta_e(colours(o), wanted[file.stem]) for o in found)), flush=True)

def measure_cost():
    "Milliseconds to open a photo without a profile, and to look whether it has one"
    from animal_clf.core.images import open_photo, to_rgb
    for px in (400, 1200):
        img, file = Image.effect_noise((px, px), 60).convert('RGB'), io.BytesIO()
        img.save(file, 'JPEG')
        def best(function, rounds=60): return min(_seconds(function) for _ in range(rounds))*1000
        print(f'{px} px: open {best(lambda: open_photo(io.BytesIO(file.getvalue()))):.3f} ms, to_rgb {best(lambda: to_rgb(img)):.4f} ms', flush=True)

def _seconds(function):
    start = time.perf_counter()
    function()
    return time.perf_counter() - start

if __name__ == '__main__':
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--against', type=Path, metavar='CHECKOUT', help='measure this code, too')
    parser.add_argument('--part', choices=('colours', 'cost'), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.part == 'cost': measure_cost()
    elif args.part:
        with tempfile.TemporaryDirectory() as folder: measure_colours(Path(folder))
    else:
        codes = {'before': args.against, 'now': Path(__file__).parent.parent} if args.against else {'now': Path(__file__).parent.parent}
        for part,rounds in dict(colours=1, cost=3).items():
            for i in range(rounds):
                for name,code in codes.items():
                    print(f'--- {name}', flush=True)
                    subprocess.run([sys.executable, __file__, '--part', part], env=os.environ | dict(PYTHONPATH=str(code)), check=True)
