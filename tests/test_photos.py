"""The main job on real photos; runs where `ANIMAL_CLF_PHOTOS` points to `ten-animals/` and `originals/`"""
import os
from pathlib import Path
import numpy as np, pandas as pd, pytest
from PIL import Image, ImageOps
from animal_clf.core.images import open_photo
from animal_clf.core.photo_files import find_photos

photos = Path(os.environ.get('ANIMAL_CLF_PHOTOS', ''))
pytestmark = pytest.mark.skipif(not os.environ.get('ANIMAL_CLF_PHOTOS') or not photos.is_dir(), reason='set ANIMAL_CLF_PHOTOS to a folder of photos')


@pytest.fixture(scope='module')
def data(tmp_path_factory):
    "30 photos to train on and 10 to test with of each class, named by a table; nothing is copied"
    from animal_clf.data.splits import read_photos
    folder = tmp_path_factory.mktemp('photos')
    rows = [(o, c.name, split) for split,n in dict(train=30, test=10).items() for c in sorted((photos/'ten-animals'/split).iterdir()) for o in find_photos(c)[:n]]
    pd.DataFrame(rows, columns=['path', 'label', 'split']).to_csv(folder/'table.csv', index=False)
    return read_photos(folder/'table.csv')

@pytest.fixture(scope='module')
def trained(data, tmp_path_factory):
    from animal_clf.learner import train
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv('ANIMAL_CLF_CACHE', str(tmp_path_factory.mktemp('cache')))
        yield train(data, 'head', 'tf_efficientnet_lite0')

def test_a_head_on_300_photos_is_right_on_most_test_photos(data, trained):
    from animal_clf.evaluation import evaluate # gives fastai's `Learner` its `evaluate`
    result = trained.learn.evaluate(data)
    assert len(data.classes) == 10 and result.metrics['n_test'] == 100 and result.leaks == []
    assert result.metrics['accuracy'] > .85, result

def test_fastai_and_our_own_pass_see_the_same_photos(data, trained):
    "The validation set through fastai's `DataLoaders` and through `get_features`"
    import torch
    from animal_clf.data import block # gives `Photos` its `dataloaders`
    from animal_clf.vision.features import get_features
    from animal_clf.learner import animal_learner, feature_extractor
    learn = animal_learner(data.dataloaders(num_workers=0), 'tf_efficientnet_lite0')
    backbone = feature_extractor(learn)
    with torch.inference_mode(): theirs = np.concatenate([backbone.module(x.as_subclass(torch.Tensor)).numpy() for x,_ in learn.dls.valid])
    ours = get_features(data.valid.path, backbone, engine='torch', precision='fp32').values
    assert theirs.shape == ours.shape and len(ours) == 60
    short = np.array([min(open_photo(o).size) for o in data.valid.path])
    rounded = np.array([int(o/224*224) != o for o in short])            # fastai crops 229 of 230 px, and so on
    assert abs(theirs - ours)[~rounded].max() < 1e-2*ours.max() and rounded.mean() < .2   # Pillow shrinks theirs, PyTorch ours: bytes differ by a few of 255
    assert ((theirs*ours).sum(1) > .98*np.linalg.norm(theirs, axis=1)*np.linalg.norm(ours, axis=1)).all()

def test_engines_agree_on_the_labels(data, trained):
    from animal_clf.vision.features import get_features
    from animal_clf.learner import feature_extractor, get_probabilities
    paths, backbone = data.test.path, feature_extractor(trained.learn)
    exact, fast = (get_probabilities(trained.learn, get_features(paths, backbone, **o).values) for o in (dict(engine='torch', precision='fp32'), {}))
    sure = np.sort(exact, 1)[:, -1] - np.sort(exact, 1)[:, -2] > .02    # a coin's toss may fall either way
    assert (exact.argmax(1) == fast.argmax(1))[sure].all() and sure.mean() > .9
    assert abs(exact - fast).max() < .1

def test_originals_open_upright_in_rgb():
    found = find_photos(photos/'originals')
    assert len(found) >= 20
    for o in found:
        img, upright = open_photo(o), ImageOps.exif_transpose(Image.open(o)).convert('RGB')
        assert img.mode == 'RGB' and (img.width > img.height) == (upright.width > upright.height)
        small, wanted = (np.asarray(i.resize((64, 64), Image.Resampling.BILINEAR, reducing_gap=3), float) for i in (img, upright))
        assert abs(small - wanted).mean() < 6, o.name
