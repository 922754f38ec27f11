"""Known or not, measured: python benchmarks/known.py DIR [--strangers FOLDER …] [--people FOLDER …] [--seeds N] [--json FILE]

DIR holds photos as `animal-clf run --data` takes them. Half of the classes are left out in turn (N random halves and their
complements): a head is fitted on the others, and each score says of every test photo how much it is one of those. A row tells
the area under the ROC curve of known against left-out test photos (mean, and the worst half), and which share of the left-out
ones is caught by a limit that keeps 95 % of the validation photos, how many of the known ones that limit keeps, and which share
would be caught by the limit that keeps 95 % of just these test photos.

FOLDERs hold photos of other things and of people: a model of all classes tells how many of them are not known, and how often the
most frequent answer comes, by softmax and by likeness. Then ways to tell the nearest class are held against each other: how often
it is the right one for test photos, the calibration error of the percents, and for each FOLDER the spread of the answers, seen
from the middle of the classes and from their own, apes and monkeys left out. The last row is the time that `known` adds to a photo.
"""
import argparse, json, os, tempfile, time
from pathlib import Path

os.environ.setdefault('ANIMAL_CLF_CACHE', tempfile.mkdtemp())
import numpy as np, pandas as pd
from scipy.special import logsumexp
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.neighbors import NearestNeighbors
from sklearn.preprocessing import normalize

from animal_clf.vision.backbone import load_backbone
from animal_clf.core.settings import offline_arch
from animal_clf.evaluation.metrics import calibration_error, expected_ece
from animal_clf.training.calibration import fit_temperature, softmax
from animal_clf.core.photo_files import find_photos
from animal_clf.data.splits import read_photos
from animal_clf.vision.features import get_features
from animal_clf.vision.imagenet import compute_animal_odds, get_imagenet_probabilities
from animal_clf.training.open_set import class_means, choose_threshold, fit_centroids, known_score
from animal_clf.learner import load_classifier, save_model, train
from animal_clf.inference.lookalike import find_lookalikes, find_primates, answer_entropy
from animal_clf.inference.predictor import predict_photos

# --- scores: each takes features, ImageNet's probabilities and labels of the training photos, and gives a function of others'

def by_logits(x, p, labels, score):
    head = LogisticRegression(C=.1/x.std()**2, max_iter=1000).fit(x, labels)
    return lambda x, p: score(head.decision_function(x))

def by_mahalanobis(x, p, labels, shrink=.1, relative=False):
    "Lee et al. 2018: distance to the nearest class mean by the shared covariance; relative: less the distance to the mean of all (Ren et al. 2021)"
    means, own = {o: x[labels == o].mean(0) for o in set(labels)}, x - x.mean(0)
    inverse = lambda o: np.linalg.inv((1-shrink)*o.T @ o/len(o) + shrink*(o**2).mean()*np.eye(o.shape[1]))
    within, overall = inverse(x - np.stack([means[o] for o in labels])), inverse(own)
    distance = lambda x, m, inv: np.einsum('nd,nd->n', (x - m) @ inv, x - m)
    return lambda q, p: -np.min([distance(q, m, within) for m in means.values()], axis=0) + (distance(q, x.mean(0), overall) if relative else 0)

def by_neighbours(x, p, labels, k, of=lambda x, p: x):
    near = NearestNeighbors(n_neighbors=k, metric='cosine').fit(of(x, p))
    return lambda x, p: 1 - near.kneighbors(of(x, p))[0][:, -1]

def by_profile(x, p, labels):
    profiles = class_means(p, labels, sorted(set(labels)))
    return lambda x, p: known_score(p, profiles)

def together(*makers):
    "The sum of scores, each in units of its own spread among the training photos"
    def make(x, p, labels):
        parts = [(o(x, p, labels)) for o in makers]
        spread = [o(x, p).std() for o in parts]
        return lambda x, p: sum(o(x, p)/s for o,s in zip(parts, spread))
    return make

def scores():
    logits = lambda score: lambda *o: by_logits(*o, score)
    energy, profile = logits(lambda z: logsumexp(z, axis=1)), by_profile
    roots = lambda x, p: np.sqrt(p)
    return {'maximum probability': logits(lambda z: softmax(z).max(1)), 'maximum logit': logits(lambda z: z.max(1)), 'energy of the logits': energy,
            'Mahalanobis': by_mahalanobis, 'relative Mahalanobis': lambda *o: by_mahalanobis(*o, shrink=.5, relative=True),
            'nearest photo': lambda *o: by_neighbours(*o, 1), '5th nearest photo': lambda *o: by_neighbours(*o, 5),
            '40th nearest by ImageNet': lambda *o: by_neighbours(*o, min(40, len(o[2])), roots), "ImageNet's animals": lambda *o: lambda x, p: np.log(p[:, :398].sum(1) + 1e-9) - np.log(p[:, 398:].sum(1) + 1e-9),
            'profile (chosen)': profile, 'profile and energy': together(profile, energy)}

def halves(classes, n, seed=0):
    rng = np.random.default_rng(seed)
    for _ in range(n):
        order = rng.permutation(classes)
        yield from (order[:len(order)//2], order[len(order)//2:])

def compare(folder, n):
    "A row per score"
    data = read_photos(folder)
    photos = data.table
    x, p = get_features(photos.path, load_backbone(offline_arch)).values, get_imagenet_probabilities(photos.path).values
    label, split, found = photos.label.to_numpy(), photos.split.to_numpy(), {}
    for own in halves(list(data.classes), n):
        ours = np.isin(label, own)
        parts = dict(train=ours & (split == 'train'), valid=ours & (split == 'valid'), known=ours & (split == 'test'), other=~ours & (split == 'test'))
        for name,make in scores().items():
            score = make(x[parts['train']], p[parts['train']], label[parts['train']])
            valid, known, other = (score(x[parts[o]], p[parts[o]]) for o in ('valid', 'known', 'other'))
            limit = choose_threshold(valid, .95)
            found.setdefault(name, []).append((roc_auc_score(np.r_[np.ones(len(known)), np.zeros(len(other))], np.r_[known, other]), (other < limit).mean(), (known >= limit).mean(), (other < choose_threshold(known, .95)).mean()))
    rows = [dict(score=name, auroc=np.mean(o, 0)[0], worst=np.min(o, 0)[0], caught=np.mean(o, 0)[1], kept=np.mean(o, 0)[2], caught_at_95=np.mean(o, 0)[3]) for name,o in found.items()]
    return pd.DataFrame(rows).sort_values('auroc', ascending=False)

def ask(learn, photos, one_kind):
    "How many are not known, and how the answers of those are spread"
    rows = [o for o in find_lookalikes(learn, photos, same_kind=one_kind) if not o['error']]
    row = dict(photos=len(rows), not_known=sum(not o['known'] for o in rows))
    for name,answers in (('softmax', [o['softmax'][0] for o in rows]), ('nearest', [o['nearest'][0][0] for o in rows])):
        spread = answer_entropy(answers)
        row |= {f'{name}_top': spread['top'], f'{name}_share': round(spread['share'], 3), f'{name}_bits': round(spread['entropy'], 2)}
    return row

def by_means(near, x, labels, classes): return near.cosine_similarity

def by_photos(near, x, labels, classes, k=3):
    "The mean cosine of the `k` nearest photos of each class"
    def compare(directions):
        cosines = directions @ near.center_and_normalize(x).T
        return np.stack([np.sort(cosines[:, labels == o], axis=1)[:, -k:].mean(axis=1) for o in classes], axis=1)
    return compare

def by_both(*args):
    parts = by_means(*args), by_photos(*args)
    return lambda directions: sum(o(directions) for o in parts)/2

def compare_nearness(data, kinds, left_out):
    "A row per way to tell the nearest class"
    backbone, classes = load_backbone(offline_arch), list(data.classes)
    (x, labels), valid, test = ((get_features(getattr(data, o).path, backbone).values, getattr(data, o).label.to_numpy()) for o in ('train', 'valid', 'test'))
    near, rows = fit_centroids(x, labels, *valid, classes), []
    for name,make in dict(means=by_means, photos=by_photos, both=by_both).items():
        likeness = make(near, x, labels, classes)
        scale = .06*fit_temperature(likeness(near.center_and_normalize(valid[0]))/.06, [classes.index(o) for o in valid[1]])   # as `fit_centroids` does
        cosines, truth = likeness(near.center_and_normalize(test[0])), np.array([classes.index(o) for o in test[1]])
        shares = softmax(cosines, scale)
        row = dict(likeness_to=name, accuracy=(cosines.argmax(1) == truth).mean(), calibration_error=calibration_error(shares, truth), by_chance=expected_ece(shares)[0])
        for kind,photos in kinds.items():
            values = get_features(photos, backbone).values
            for start,middle in dict(classes=None, own=values.mean(0)).items():
                cosines = np.where(np.isin(classes, left_out), -1, likeness(near.center_and_normalize(values, middle)))
                spread = answer_entropy([classes[i] for i in cosines.argmax(1)])
                row |= {f'{kind}_from_{start}': f"{spread['share']:.2f} {spread['top']}, {spread['entropy']:.2f} bits"}
        rows.append(row)
    return pd.DataFrame(rows)

def time_known(learn, photos, repeats=3):
    "Milliseconds a photo with and without `known`, in turn, one photo at a time and all at once"
    known, result = learn.posthoc.open_set, {}
    for name,batches in (('one by one', [[o] for o in photos[:20]]), ('together', [photos])):
        seconds = {True: [], False: []}
        for _ in range(repeats):
            for on in seconds:
                os.environ['ANIMAL_CLF_CACHE'] = tempfile.mkdtemp()   # or the second time would be free
                learn.posthoc.open_set = known if on else None
                start = time.perf_counter()
                for o in batches: predict_photos(learn, o)
                seconds[on].append((time.perf_counter() - start)/sum(map(len, batches)))
        result[name] = {('with' if on else 'without'): round(1000*min(o), 1) for on,o in seconds.items()}
    learn.posthoc.open_set = known
    return result

def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('folder')
    parser.add_argument('--strangers', nargs='*', default=[])
    parser.add_argument('--people', nargs='*', default=[])
    parser.add_argument('--seeds', type=int, default=5)
    parser.add_argument('--json', metavar='FILE')
    args = parser.parse_args()
    table = compare(args.folder, args.seeds)
    print(table.round(3).to_string(index=False), flush=True)
    data = read_photos(args.folder)
    learn = load_classifier(save_model(train(data, 'head', offline_arch), data, tempfile.mkdtemp()))
    test = list(data.test.path)
    result = dict(scores=table.to_dict('records'), test=dict(photos=len(test), known=sum(o['known'] for o in predict_photos(learn, test))))
    print('test photos', result['test'], flush=True)
    kinds = {kind: [o for folder in getattr(args, kind) for o in find_photos(folder)] for kind in ('strangers', 'people')}
    kinds = {kind: photos for kind,photos in kinds.items() if photos}
    for kind,photos in kinds.items(): result[kind] = ask(learn, photos, kind == 'people'); print(kind, result[kind], flush=True)
    nearness = compare_nearness(data, kinds, find_primates(learn))
    print(nearness.round(3).T.to_string(header=False), flush=True)
    result['nearness'] = nearness.to_dict('records')
    result['milliseconds'] = time_known(learn, test)
    print('milliseconds a photo', result['milliseconds'])
    if args.json: Path(args.json).write_text(json.dumps(result, indent=1))

if __name__ == '__main__': main()
