"""Copies that are found, and different photos that are taken for copies: python benchmarks/copies.py DIR [--against CHECKOUT]

DIR holds photos in class folders (DIR/train/CLASS/*.jpg, say). From them collections are made: plain; framed (three widths, three colours); fixed cameras (one scene, an animal that
moves, noise and changing light, and pictures without an animal); documents (digits, pages of text). Into each, copies are planted: 40 photos saved again or resized, in the plain one also cropped,
mirrored and marked. `found`: planted copies in one group with their source. `false`: photos in a group with a photo that they are no copy of. Copies are sought without features, as for a split.
"""
import argparse, io, os, subprocess, sys, time
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageOps

def saved(img, quality=85):
    file = io.BytesIO()
    img.save(file, 'JPEG', quality=quality)
    return Image.open(file).convert('RGB')

def crop(img, share=.9, seed=0):
    rng = np.random.default_rng(seed)
    w, h = (round(o*share) for o in img.size)
    x, y = rng.integers(0, img.width - w + 1), rng.integers(0, img.height - h + 1)
    return img.crop((x, y, x + w, y + h))

def mark(img):
    img = img.copy()
    ImageDraw.Draw(img).text((img.width*.1, img.height*.4), '© photo', fill='white', font_size=max(8, img.width//6))
    return img

kinds = dict(saved_again=lambda o: saved(o, 30), resized=lambda o: o.resize((max(8, o.width*3//5), max(8, o.height*3//5))))
more_kinds = kinds | dict(cropped=lambda o: crop(o, .9), mirrored=ImageOps.mirror, mirrored_cropped=lambda o: ImageOps.mirror(crop(o, .92, 1)), marked=mark, framed=lambda o: ImageOps.expand(o, 20, 'white'))

def frame(img, width, colour): return ImageOps.expand(img, width, colour)

def cameras(photos, n_cameras=4, n=36, empty=12, seed=0):
    "Pictures of fixed cameras: a scene, an animal cut out of a photo somewhere in most of them, light and noise"
    rng, found = np.random.default_rng(seed), []
    for c in range(n_cameras):
        scene = photos[c].resize((400, 300))
        for i in range(n):
            img = scene.copy()
            if i >= empty:
                size = int(rng.integers(24, 90))
                animal = ImageOps.fit(photos[int(rng.integers(len(photos)))], (size, size))
                shape = Image.new('L', (size, size))
                ImageDraw.Draw(shape).ellipse((0, size//6, size, size*5//6), fill=255)
                img.paste(animal, (int(rng.integers(0, 400 - size)), int(rng.integers(0, 300 - size))), shape)
            pixels = np.asarray(img, float)*rng.uniform(.85, 1.1) + rng.uniform(-8, 8) + rng.normal(0, 5, (300, 400, 1))
            found.append(Image.fromarray(pixels.clip(0, 255).astype('uint8')))
    return found

def digits(n=300):
    from sklearn.datasets import load_digits
    return [Image.fromarray((255 - o*15.9).astype('uint8')).resize((128, 128), Image.Resampling.BICUBIC).convert('RGB') for o in load_digits().images[:n]]

def pages(n=100, seed=0):
    rng, found = np.random.default_rng(seed), []
    words = 'the of and price per order page total date street note all from which were table figure annual report terms'.split()
    for _ in range(n):
        img = Image.new('RGB', (400, 560), 'white')
        for y in range(40, 520, 18): ImageDraw.Draw(img).text((40, y), ' '.join(rng.choice(words, rng.integers(4, 12))), fill='black', font_size=12)
        found.append(img)
    return found

def collections(folder):
    files = sorted(o for o in Path(folder).rglob('*') if o.suffix.lower() in ('.jpg', '.jpeg', '.png'))
    photos = [Image.open(o).convert('RGB') for o in files]
    yield 'plain', photos, more_kinds
    photos = photos[::max(1, len(photos)//300)]
    for width in (8, 20, 40):
        for colour in ('white', 'black', '#808080'): yield f'framed {width} px {colour}', [frame(o, width, colour) for o in photos[:200]], kinds
    yield 'fixed cameras', cameras(photos), kinds
    yield 'fixed cameras, no empty', cameras(photos, empty=0), kinds
    yield 'digits', digits(), kinds
    yield 'pages', pages(), kinds

def measure(folder):
    from animal_clf.core.copies import grey_thumbnail
    from animal_clf.vision.duplicates import find_near_duplicates
    print(f"{'collection':<28}{'photos':>7}{'copies':>8}{'found':>8}{'false':>8}{'seconds':>9}")
    for name,photos,chosen in collections(folder):
        photos = [saved(o, 92) for o in photos]
        n = len(photos)
        rng = np.random.default_rng(1)
        natural = find_near_duplicates(np.stack([grey_thumbnail(o) for o in photos])) if name == 'plain' else np.arange(n)   # the web's own copies
        sources = rng.choice(n, min(n//4, 40), replace=False)
        planted = [(i, kind, saved(make(photos[i]), 85)) for i in sources for kind,make in chosen.items()] if name != 'plain' else \
                  [(i, kind, saved(make(photos[i]), 85)) for kind,make in chosen.items() for i in rng.choice(n, 40, replace=False)]
        greys, truth = np.stack([grey_thumbnail(o) for o in photos + [o for *_,o in planted]]), np.r_[natural, natural[[i for i,*_ in planted]]]
        start = time.monotonic()
        group = find_near_duplicates(greys)
        seconds = time.monotonic() - start
        found = np.array([group[n + k] == group[i] for k,(i,*_) in enumerate(planted)])
        false = np.mean([np.any(truth[group == group[k]] != truth[k]) for k in range(len(group))])
        print(f'{name:<28}{n:>7}{len(planted):>8}{found.mean():>8.1%}{false:>8.1%}{seconds:>9.1f}', flush=True)
        if name == 'plain':
            for kind in chosen: print(f"  {kind:<26}{'':>7}{'':>8}{np.mean([f for f,(_,k,_) in zip(found, planted) if k == kind]):>8.1%}")

if __name__ == '__main__':
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('folder', type=Path)
    parser.add_argument('--against', type=Path, metavar='CHECKOUT', help='measure this code first')
    parser.add_argument('--one', action='store_true', help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one: measure(args.folder)
    else:
        for code in filter(None, (args.against, Path(__file__).parent.parent)):
            print(code.name, flush=True)
            subprocess.run([sys.executable, __file__, args.folder, '--one'], env=os.environ | dict(PYTHONPATH=str(code.resolve())), check=True)
