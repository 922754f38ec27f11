"""The report of a test: every number computed a second time, planted leaks, warnings, old and damaged files, and its page in a real browser"""
import html, io, json, os, re, shutil, tempfile, time
from contextlib import chdir
from pathlib import Path

import numpy as np, pandas as pd, pytest
from PIL import Image, ImageOps
from scipy.special import softmax
from scipy.stats import binom

from animal_clf.core.settings import printable
from animal_clf.cli.main import main
from animal_clf.evaluation.compare import difference_interval, mcnemar_test
from animal_clf.core.photo_files import find_photos
from animal_clf.evaluation.metrics import bootstrap_interval, compute_metrics, classification_report, wilson_interval
from animal_clf.synthetic.animals import draw_animal, draw_animals
from commands import done, fails
from files import read

animals, offline = ('fox', 'seal', 'zebra'), ('--arch', 'tf_efficientnet_lite0')
real = Path(os.environ.get('ANIMAL_CLF_PHOTOS', ''))/'ten-animals'


# --- what the tests share

pytestmark = pytest.mark.usefixtures('empty_folder')

@pytest.fixture
def plain(monkeypatch):
    "Reports without pictures, which take most of the time, where nobody looks at them"
    file = io.BytesIO()
    Image.new('RGB', (1, 1)).save(file, 'PNG')
    monkeypatch.setattr('animal_clf.evaluation.report.draw_pictures', lambda *_: {f'{o}.png': file.getvalue() for o in ('confusion', 'confusion_shares', 'reliability', 'curves')})

def answers_of(model): return pd.read_csv(Path(model)/'report'/'answers.csv', keep_default_na=False, encoding_errors='surrogateescape')
def evaluate(model, data): return json.loads(done('evaluate', model, '--data', data, '--json'))
def told(report, words): return [o for o in report['warnings'] if words in o]

def draw(folder, counts, start=1, px=96):
    "`counts[class]` drawings of each class, or of another animal: {class: (animal, n)}"
    for name,n in counts.items():
        animal, n = n if isinstance(n, tuple) else (name, n)
        (Path(folder)/name).mkdir(parents=True, exist_ok=True)
        for i in range(start, start+n): draw_animal(animal, index=i, px=px).save(Path(folder)/name/f'{i}.png')
    return folder


# --- planted leaks

def _crop(img, left, top, right, bottom): return img.crop((round(left*img.width), round(top*img.height), round(right*img.width), round(bottom*img.height)))

changes = {'rescaled': lambda o: (o.resize((o.width*2//3, o.height*2//3)), 90), 'recompressed': lambda o: (o, 40), 'mirrored': lambda o: (ImageOps.mirror(o), 90),
           'cropped': lambda o: (_crop(o, .05, .05, .95, .95), 90), 'cropped at one corner': lambda o: (_crop(o, 0, .1, .9, 1), 90)}
kinds = ['same bytes']*2 + ['rescaled']*2 + ['recompressed']*2 + ['mirrored']*2 + ['cropped', 'cropped at one corner']

def plant(data):
    "Ten changed copies of training photos among the test photos: {name of the copy: name of its source}"
    classes = sorted(o for o in (data/'train').iterdir() if o.is_dir())
    planted = {}
    for i,kind in enumerate(kinds):
        source = find_photos(classes[i % len(classes)])[i]
        copy = data/'test'/source.parent.name/f'copy {i}, {kind}.jpg'
        if kind == 'same bytes': shutil.copy(source, copy)
        else:
            with Image.open(source) as img: changed, quality = changes[kind](img.convert('RGB'))
            changed.save(copy, quality=quality)
        planted[copy.name] = source.name
    return planted

def check_leaks(model, report, planted):
    "All planted copies are found, with their sources, and told; nothing else is accused"
    assert {Path(o['test']).name: Path(o['trained_on']).name for o in report['leaks']} == planted
    assert {o['how'] for o in report['leaks']} == {'same bytes', 'same picture'} and len(report['leaks']) == 10
    warning, = told(report, 'also trained on')
    rest = answers_of(model)[lambda o: ~o.path.map(lambda p: Path(p).name).isin(planted)]
    assert warning.startswith(f"10 of {report['n_test']} test photos") and all(o in warning for o in planted)
    assert f'On the other {len(rest)} it is {100*rest.right.mean():.1f}%' in warning.replace('100%', '100.0%')
    page = html.unescape((Path(model)/'report'/'report.html').read_text(encoding='utf8'))
    assert warning in page and all(page.count(o) >= 2 for o in planted)   # in the warning, and in the table of leaks
    status = {o['item']: o['status'] for o in report['checklist']}
    assert status['Keep copies of one photo on one side: no leaks'] == status['Hold out a test set before anything else'] == 'not done'

@pytest.fixture(scope='module')
def data(tmp_path_factory):
    "Three drawn animals in ready splits; two files have names that are no text"
    drawn, folder = draw_animals(tmp_path_factory.mktemp('drawn')/'all', 16, animals, px=128), tmp_path_factory.mktemp('data')/'three animals'
    for split,numbers in dict(train=range(1, 11), test=range(11, 17)).items():
        for name in animals:
            (folder/split/name).mkdir(parents=True)
            for i in numbers: shutil.copy(drawn/name/f'{name}_{i:04}.jpg', folder/split/name/(f'f\udcfcchs {i}.jpg' if i in (10, 16) else f'{name} {i}.jpg'))
    return folder

@pytest.fixture(scope='module')
def planted(data): return plant(data)

@pytest.fixture(scope='module')
def trained(data, planted, cache, tmp_path_factory):
    "(A model folder, what `evaluate --json` printed) for the drawn animals with planted leaks"
    folder = tmp_path_factory.mktemp('trained')/'model'
    with pytest.MonkeyPatch.context() as patch, chdir(folder.parent):
        patch.setenv('ANIMAL_CLF_CACHE', str(cache))
        done('train', '--data', data, '--out', folder, *offline)
        return folder, evaluate(folder, data)

@pytest.fixture
def model(trained):
    "A copy of the model, to be changed"
    return Path(shutil.copytree(trained[0], 'model'))

def test_planted_leaks_are_found_and_nothing_else(trained, planted): check_leaks(*trained, planted)

@pytest.mark.skipif(not real.is_dir(), reason='set ANIMAL_CLF_PHOTOS to a folder of photos')
def test_planted_leaks_among_real_photos(monkeypatch):
    with tempfile.TemporaryDirectory() as folder:   # no photo stays behind
        data, model = Path(folder)/'data', Path(folder)/'model'
        monkeypatch.setenv('ANIMAL_CLF_CACHE', f'{folder}/cache')
        for split,n in dict(train=20, test=8).items():
            for name in ('chimpanzee', 'gorilla', 'tiger', 'zebra'):
                (data/split/name).mkdir(parents=True)
                for o in find_photos(real/split/name)[:n]: shutil.copy(o, data/split/name)
        planted = plant(data)
        done('train', '--data', data, '--out', model, *offline)
        check_leaks(model, evaluate(model, data), planted)


# --- every number a second time

def wilson(k, n):
    from statsmodels.stats.proportion import proportion_confint
    return list(proportion_confint(k, n, method='wilson'))

def f1_of(precision, recall): return 2*precision*recall/(precision + recall) if precision + recall else 0

def class_by_class(truth, answers, k):
    "Precision, recall, F1 and support of each class, by counting; None without photos"
    def one(i):
        support, called, right = (truth == i).sum(), (answers == i).sum(), ((truth == i) & (answers == i)).sum()
        if not support: return dict(precision=None, recall=None, f1=None, support=0)
        precision, recall = right/called if called else 0, right/support
        return dict(precision=precision, recall=recall, f1=f1_of(precision, recall), support=support)
    return [one(i) for i in range(k)]

def averages(rows, truth, answers):
    "Over the classes that have photos: micro by adding up, macro by class, weighted by photos"
    rows, there, n = [o for o in rows if o['support']], np.isin(answers, truth), len(truth)
    precision, recall = (answers == truth)[there].mean() if there.any() else 0, (answers == truth).mean()
    micro = dict(precision=precision, recall=recall, f1=f1_of(precision, recall), support=n)
    weighted = {k: sum(o[k]*o['support'] for o in rows)/n for k in ('precision', 'recall', 'f1')}
    return dict(micro_avg=micro, macro_avg={k: np.mean([o[k] for o in rows]) for k in weighted} | dict(support=n), weighted_avg=weighted | dict(support=n))

def area_by_pairs(scores, own):
    "ROC area: how often a photo of the class has the higher score, ties half"
    difference = scores[own][:, None] - scores[~own]
    return ((difference > 0) + .5*(difference == 0)).mean()

def precision_by_steps(scores, own): return sum(own[scores >= t].mean()*(own & (scores == t)).sum()/own.sum() for t in np.unique(scores[own]))

def error_by_bins(sure, right):
    "Expected calibration error, 15 bins of equal width"
    inside = [(sure >= i/15) & ((sure < (i+1)/15) | (i == 14)) for i in range(15)]
    return sum(abs(right[o].sum() - sure[o].sum()) for o in inside)/len(sure)

def areas(area, p, truth, classes):
    values = {c: area(p[:, i], truth == i) if 0 < (truth == i).sum() < len(truth) else None for i,c in enumerate(classes)}
    known = [o for o in values.values() if o is not None]
    return dict(per_class=values, macro=np.mean(known) if known else None)

def scores(p, truth):
    own = p[range(len(truth)), truth]
    return dict(log_loss=np.mean([-np.log(max(o, 1e-15)) for o in own]), brier=np.mean([sum((row[j] - (j == t))**2 for j in range(len(row))) for row,t in zip(p, truth)]),
                ece=error_by_bins(p.max(1), p.argmax(1) == truth))

def by_chance(sure):
    errors = [error_by_bins(sure, o < sure) for o in np.random.default_rng(42).random((1000, len(sure)))]
    return dict(mean=np.mean(errors), q95=np.quantile(errors, .95))

def compute_again(p, truth, classes):
    "What `compute_metrics` gives but for the bootstrap, by formula or by another library"
    from sklearn.metrics import balanced_accuracy_score, confusion_matrix
    answers, n, k = p.argmax(1), len(truth), len(classes)
    right, rows = (answers == truth).sum(), class_by_class(truth, answers, k)
    low, high = wilson(right, n)
    own = p[range(n), truth][:, None]
    return dict(classes=classes, n_test=n, n_correct=right, accuracy=right/n, accuracy_ci95=[low, high], error_rate=(n - right)/n, error_rate_ci95=[1 - high, 1 - low],
        balanced_accuracy=np.mean([o['recall'] for o in rows if o['support']]) if n == 1 else balanced_accuracy_score(truth, answers), macro_f1=np.mean([o['f1'] for o in rows if o['support']]),
        per_class=dict(zip(classes, rows)), confusion=confusion_matrix(truth, answers, labels=range(k)).tolist(), **averages(rows, truth, answers),
        roc_auc=areas(area_by_pairs, p, truth, classes), average_precision=areas(precision_by_steps, p, truth, classes),
        top_k={str(j): ((p > own).sum(1) < j).mean() for j in (2, 3, 5) if j < k}, **scores(p, truth), ece_by_chance=by_chance(p.max(1)),
        mean_confidence=p.max(1).mean(), baseline_accuracy=max(np.bincount(truth))/n)

def flatten(values, name=''):
    "(name, number) of everything in nested dicts and lists"
    if not isinstance(values, (dict, list)): return [(name, values)]
    return [pair for k,o in (values.items() if isinstance(values, dict) else enumerate(values)) for pair in flatten(o, f'{name}/{k}')]

def same(found, wanted):
    found, wanted = dict(flatten(found)), dict(flatten(wanted))
    assert set(found) == set(wanted)
    for name,o in wanted.items(): assert found[name] == (o if o is None or isinstance(o, str) else pytest.approx(float(o), abs=1e-6)), name

simulated = ('balanced_accuracy_ci95', 'macro_f1_ci95')

def at_random(k, n, seed, sharp=2.):
    rng = np.random.default_rng(seed)
    truth = rng.integers(k, size=n)
    return softmax(sharp*rng.normal(size=(n, k)) + 1.5*np.eye(k)[truth], axis=1), truth

def nasty():
    "{name: (probabilities, truth)}"
    p, truth = at_random(3, 90, 0)
    labels, answers = np.repeat([0, 0, 1, 1], (180, 20, 2, 6)), np.repeat([0, 1, 0, 1], (180, 20, 2, 6))
    thirds = np.random.default_rng(1).multinomial(3, [.5, .3, .2], 90)/3
    return {'2 classes': at_random(2, 57, 1), '3 classes': at_random(3, 200, 2), '10 classes': at_random(10, 300, 3), '40 classes, few photos': at_random(40, 60, 4),
            '40 classes': at_random(40, 400, 5), 'one photo': at_random(3, 1, 6), 'two photos': at_random(2, 2, 7), 'a class without photos': (p, truth % 2), 'one class': (p, truth*0), 'unequal classes': (np.eye(2)[answers]*.8 + .1, labels),
            'all alike': (np.full_like(p, 1/3), truth), 'ties': (thirds, truth), 'all right': (p, p.argmax(1)), 'all wrong': (p, (p.argmax(1) + 1) % 3),
            'certain': (np.eye(3)[p.argmax(1)], truth), 'certain and wrong': (np.eye(3)[p.argmax(1)], (p.argmax(1) + 1) % 3)}

@pytest.mark.filterwarnings('ignore:y_pred contains classes', 'ignore:A single label was found')
@pytest.mark.parametrize('p,truth', nasty().values(), ids=nasty())
def test_every_number_is_what_another_computation_says(p, truth):
    classes = [f'class {i}' for i in range(p.shape[1])]
    found = compute_metrics(p, truth, classes)
    for o in simulated: assert 0 <= found[o][0] <= found[o.removesuffix('_ci95')] <= found[o][1] <= 1
    same({k: v for k,v in found.items() if k not in simulated}, compute_again(p, truth, classes))
    json.dumps(found, allow_nan=False)

@pytest.mark.parametrize('k,n', [(2, 57), (3, 300), (10, 200), (40, 300)])
def test_calibration_error_by_torchmetrics(k, n):
    import torch
    from torchmetrics.functional.classification import multiclass_calibration_error
    p, truth = at_random(k, n, n)
    theirs = multiclass_calibration_error(torch.tensor(p), torch.tensor(truth), num_classes=k, n_bins=15, norm='l1')
    assert compute_metrics(p, truth, list(range(k)))['ece'] == pytest.approx(float(theirs), abs=1e-6)

def test_scores_by_scikit_learn():
    from sklearn.metrics import average_precision_score, f1_score, log_loss, roc_auc_score, top_k_accuracy_score
    for k,n,seed in ((3, 200, 0), (10, 200, 1)):
        p, truth = at_random(k, n, seed)
        m = compute_metrics(p, truth, list(range(k)))
        assert m['log_loss'] == pytest.approx(log_loss(truth, p)) and m['macro_f1'] == pytest.approx(f1_score(truth, p.argmax(1), average='macro'))
        assert m['roc_auc']['macro'] == pytest.approx(roc_auc_score(truth, p, multi_class='ovr')) and m['average_precision']['macro'] == pytest.approx(average_precision_score(truth, p))
        assert m['top_k']['2'] == pytest.approx(top_k_accuracy_score(truth, p, k=2))

def measures(truth, answers, k):
    "Balanced accuracy and macro F1 over the classes that have photos"
    support, called, right = (np.bincount(o, minlength=k) for o in (truth, answers, truth[truth == answers]))
    return [np.mean((a/b)[support > 0]) for a,b in ((right, np.maximum(support, 1)), (2*right, np.maximum(support + called, 1)))]

@pytest.mark.parametrize('name', ['2 classes', '10 classes', '40 classes, few photos', 'a class without photos', 'unequal classes'])
def test_bootstrap_intervals_are_those_of_redrawn_photos(name):
    "Photo by photo, where the room redraws rows of the confusion matrix; never narrower than Wilson's for as many photos as the classes are worth"
    (p, truth), rng = nasty()[name], np.random.default_rng(0)
    k, answers = p.shape[1], p.argmax(1)
    found, of_class = compute_metrics(p, truth, list(range(k))), [np.flatnonzero(truth == i) for i in set(truth)]
    drawn = np.array([measures(truth[o], answers[o], k) for o in (np.concatenate([rng.choice(c, len(c)) for c in of_class]) for _ in range(1500))])
    n = len(of_class)**2/sum(1/len(o) for o in of_class)
    for i,o in enumerate(simulated):
        low, high = wilson(found[o.removesuffix('_ci95')]*n, n)
        wanted = [min(low, np.quantile(drawn[:, i], .025)), max(high, np.quantile(drawn[:, i], .975))]
        assert found[o] == pytest.approx(wanted, abs=.015)

@pytest.fixture(scope='module')
def probabilities(trained, data, cache, tmp_path_factory):
    "float (N, 3) of the test photos, by the rooms themselves, at the model's temperature and at 1"
    from animal_clf import learner
    from animal_clf.evaluation import holdout
    folder = shutil.copytree(trained[0], tmp_path_factory.mktemp('tested')/'model')   # `learn.evaluate` notes the test in that folder
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv('ANIMAL_CLF_CACHE', str(cache))
        learn, photos, found = learner.load_classifier(folder), holdout.read_test_photos(folder, data), []
        for learn.posthoc.temperature in (learn.posthoc.temperature, 1.): found.append(learn.evaluate(photos, thorough=False).probabilities)
    return found

def test_the_report_holds_the_numbers_of_its_answers(trained, probabilities, planted):
    model, report = trained
    answers, truth = answers_of(model), answers_of(model).label.map(report['classes'].index).to_numpy()
    wanted = compute_again(probabilities[0], truth, report['classes'])
    same({k: report[k] for k in wanted}, wanted)
    same(report['before_temperature'], scores(probabilities[1], truth))
    assert answers.right.sum() == report['n_correct'] and (answers.right == (answers.label == answers.answer)).all()
    assert np.allclose(answers.probability, probabilities[0].max(1)) and np.allclose(answers.label_probability, probabilities[0][range(len(truth)), truth])
    biggest = report['baselines']['biggest_class']
    k = int((answers.label == biggest['answer']).sum())
    same(biggest, dict(answer=biggest['answer'], accuracy=k/len(answers), accuracy_ci95=wilson(k, len(answers))))
    pairs = answers[~answers.right].groupby(['label', 'answer']).size()
    assert {(o['label'], o['answer']): o['photos'] for o in report['confused_pairs']} == pairs.to_dict()
    assert read(model/'report'/'report.json') == report and set(report['timings']) >= {'test', 'to_test_result', 'pictures'}

def test_imagenet_by_name_is_compared_by_mcnemar(trained):
    from statsmodels.stats.contingency_tables import mcnemar
    from animal_clf.vision.imagenet import zero_shot
    model, report = trained
    answers = answers_of(model)
    guessed = np.array(report['classes'])[zero_shot(list(answers.path), report['classes']).values.argmax(1)] == answers.label
    found, table = report['baselines']['imagenet'], pd.crosstab(guessed, answers.right).reindex(index=[False, True], columns=[False, True], fill_value=0)
    assert found['accuracy'] == pytest.approx(guessed.mean()) and found['accuracy_ci95'] == pytest.approx(wilson(guessed.sum(), len(guessed)))
    assert found['p'] == pytest.approx(mcnemar(table.to_numpy(), exact=True).pvalue, abs=1e-6) and found['unknown'] == []


# --- do intervals hold the truth as often as they say?

def test_wilson_is_that_of_statsmodels():
    for n in (1, 2, 7, 20, 200, 5000):
        for k in {0, 1, n//3, n//2, n-1, n}: assert wilson_interval(k, n) == pytest.approx(wilson(k, n), abs=1e-9)

def test_wilson_intervals_hold_the_truth():
    "Exactly, by adding up the binomial distribution: on average 95 %, and where n is small and p near 1 a little less"
    coverage = {}
    for n in (10, 30, 100, 200):
        bounds = np.array([wilson_interval(k, n) for k in range(n+1)])
        coverage |= {(n, p): binom.pmf(np.arange(n+1), n, p)[(bounds[:, 0] <= p) & (p <= bounds[:, 1])].sum() for p in (.1, .5, .7, .8, .9, .95, .98)}
    assert np.mean(list(coverage.values())) > .945 and min(coverage.values()) > .88
    assert min(c for (n,p),c in coverage.items() if n*(1-p) >= 5 and n*p >= 5) > .92, coverage

tests = {'3 classes': ([.9, .8, .95], [20, 20, 20]), '10 classes': ([.9, .97]*5, [20]*10), 'unequal': ([.95, .8, .6], [80, 20, 8]), 'nearly perfect': ([.99]*4, [20]*4)}

@pytest.mark.parametrize('recalls,sizes', tests.values(), ids=tests)
def test_bootstrap_intervals_hold_the_truth(recalls, sizes, n_trials=250):
    "A wrong answer is any of the other classes; the truth of F1 is that of many photos in the same shares"
    k, rng, sizes = len(recalls), np.random.default_rng(0), np.array(sizes)
    rates = np.array([[r if i == j else (1 - r)/(k - 1) for j in range(k)] for i,r in enumerate(recalls)])
    answered, held = sizes @ rates, dict(balanced_accuracy=0, macro_f1=0)
    true = dict(balanced_accuracy=np.mean(recalls), macro_f1=np.mean(2*sizes*recalls/(sizes + answered)))
    for _ in range(n_trials):
        confusion = np.stack([rng.multinomial(n, o) for n,o in zip(sizes, rates)])
        for o in held:
            _, low, high = bootstrap_interval(confusion, o, n_draws=300)
            held[o] += low <= true[o] <= high
    assert min(held.values()) >= .92*n_trials, held

def test_the_interval_of_a_difference_is_newcombes_where_the_models_err_independently():
    from statsmodels.stats.proportion import confint_proportions_2indep
    for cells in ((40, 10, 20, 5), (20, 20, 20, 20), (72, 18, 8, 2)):
        both, only_a, only_b, _ = cells
        theirs = confint_proportions_2indep(both + only_b, sum(cells), both + only_a, sum(cells), compare='diff', method='newcomb')
        assert difference_interval(*cells) == pytest.approx(theirs, abs=1e-6)

def test_the_interval_of_a_difference_by_its_formula():
    "Newcombe 1998, method 10: Wilson's intervals of both, put together by the correlation of the answers, which is taken a little smaller if positive"
    for a,b,c,d in ((90, 3, 5, 12), (60, 20, 4, 16), (30, 1, 1, 8), (10, 30, 30, 10), (0, 4, 6, 0), (50, 0, 0, 0)):
        n = a + b + c + d
        one, other, (l1, u1), (l2, u2) = (a + b)/n, (a + c)/n, wilson(a + b, n), wilson(a + c, n)
        sides, cross = (a + b)*(c + d)*(a + c)*(b + d), a*d - b*c
        phi = 0 if not sides else (max(cross - n/2, 0) if cross > 0 else cross)/sides**.5
        spread = lambda x, y: max(0, x**2 - 2*phi*x*y + y**2)**.5
        assert difference_interval(a, b, c, d) == pytest.approx((other - one - spread(other - l2, u1 - one), other - one + spread(u2 - other, one - l1)), abs=1e-9)

@pytest.mark.parametrize('cells,n', [((.9, .02, .04, .04), 200), ((.8, .1, .05, .05), 100), ((.97, .01, .01, .01), 200), ((.5, .2, .2, .1), 40), ((.95, 0, .03, .02), 100)])
def test_intervals_of_a_difference_hold_the_truth(cells, n):
    drawn = np.random.default_rng(0).multinomial(n, cells, 400)
    bounds = np.array([difference_interval(*map(int, o)) for o in drawn])
    assert ((bounds[:, 0] <= cells[2] - cells[1] + 1e-12) & (cells[2] - cells[1] <= bounds[:, 1] + 1e-12)).mean() >= .93

def test_mcnemar_is_that_of_statsmodels_and_rarely_a_false_alarm():
    from statsmodels.stats.contingency_tables import mcnemar
    for a,b in ((0, 0), (0, 1), (5, 5), (0, 9), (3, 14), (30, 41)): assert mcnemar_test(a, b) == pytest.approx(min(1, mcnemar([[7, a], [b, 3]], exact=True).pvalue), abs=1e-9)
    for n in (1, 6, 10, 25, 60): assert sum(binom.pmf(k, n, .5) for k in range(n+1) if mcnemar_test(n-k, k) < .05) <= .05 + 1e-9


# --- the page in a browser

@pytest.fixture
def show(browser):
    "Open a page at a width, light or dark, with every picture loaded"
    def open_page(file, width=1280, scheme='light'):
        browser.execute_cdp_cmd('Emulation.setDeviceMetricsOverride', dict(width=width, height=900, deviceScaleFactor=1, mobile=width < 500))
        browser.execute_cdp_cmd('Emulation.setEmulatedMedia', dict(features=[dict(name='prefers-color-scheme', value=scheme)]))
        browser.get_log('browser')
        browser.get(Path(file).absolute().as_uri())
        browser.execute_script('document.querySelectorAll("img").forEach(o => o.loading = "eager")')
        end = time.monotonic() + 10
        while not browser.execute_script('return [...document.images].every(o => o.complete)') and time.monotonic() < end: time.sleep(.02)
        return browser
    yield open_page
    browser.execute_cdp_cmd('Emulation.clearDeviceMetricsOverride', {})
    browser.execute_cdp_cmd('Emulation.setEmulatedMedia', dict(features=[]))

def check_page(show, file):
    "What holds for every page of ours"
    for width in (1280, 390):
        page = show(file, width)
        assert page.execute_script('return document.documentElement.scrollWidth') <= width     # nothing sticks out
        assert page.execute_script('return [...document.images].filter(o => !o.naturalWidth || !o.alt).map(o => o.outerHTML.slice(0, 200))') == []
        assert page.get_log('browser') == []
    loaded = page.execute_script('return performance.getEntriesByType("resource").map(o => o.name)')
    assert [o for o in loaded if not o.startswith('data:')] == []
    text = Path(file).read_text(encoding='utf8')
    assert set(re.findall(r'\s(?:src|href|srcset|action|poster)=["\']?([a-z]*[:#/])', text)) <= {'data:', '#'} and not re.search(r'url\(|@import|<script|<link|<iframe', re.sub(r'&lt;.*?&gt;', '', text))
    levels = page.execute_script('return [...document.querySelectorAll("h1, h2, h3, h4, h5, h6")].map(o => +o.tagName[1])')
    assert levels[0] == 1 and levels.count(1) == 1 and all(b <= a + 1 for a,b in zip(levels, levels[1:]))
    links = page.execute_script('return [...document.querySelectorAll("nav a")].map(o => [o.textContent, document.getElementById(o.hash.slice(1))?.textContent])')
    assert len(links) >= 4 and all(name == heading for name,heading in links) and len(set(name for name,_ in links)) == len(links)
    assert page.execute_script('return [...document.querySelectorAll("*")].flatMap(o => o.getAttributeNames()).filter(o => o.startsWith("on"))') == []
    assert page.execute_script('return document.documentElement.lang && document.title && document.characterSet') == 'UTF-8'

def test_the_page_reads_on_a_desk_and_on_a_phone(trained, show): check_page(show, trained[0]/'report'/'report.html')

def test_the_first_screen_answers(trained, show):
    page = show(trained[0]/'report'/'report.html')
    places = page.execute_script('return ["h1", ".first .warn", ".first img"].map(o => [...document.querySelectorAll(o)].at(-1).getBoundingClientRect()).map(o => [o.top, o.bottom, o.left, o.right])')
    heading, warning, matrix = places
    n_warnings = len(trained[1]['warnings'])
    assert n_warnings == len(page.find_elements('css selector', '.first .warn')) >= 2
    assert 0 < heading[0] < heading[1] < 200 and warning[1] < 900 and matrix[0] < 300     # the top of the matrix, beside the warnings
    assert warning[3] <= matrix[2]
    assert page.find_element('css selector', 'h1').text.startswith(f"Right on {trained[1]['n_correct']} of {trained[1]['n_test']} photos")

def test_the_links_go_to_their_parts(trained, show):
    page = show(trained[0]/'report'/'report.html')
    for link in page.find_elements('css selector', 'nav a'):
        page.execute_script('window.scrollTo(0, 0)')
        link.click()
        top = page.execute_script('return document.querySelector(":target").getBoundingClientRect().top')
        at_end = page.execute_script('return innerHeight + scrollY >= document.documentElement.scrollHeight - 1')
        assert -2 <= top < 30 or at_end and top < 900, link.text

def test_the_keyboard_reaches_and_scrolls_every_table(trained, show):
    Keys = pytest.importorskip('selenium.webdriver.common.keys').Keys
    page = show(trained[0]/'report'/'report.html', 390)
    assert page.execute_script('return [...document.querySelectorAll("table, .scroll img")].every(o => o.closest(".scroll").tabIndex === 0)')
    wanted, seen = page.execute_script('return document.querySelectorAll(".scroll").length'), set()
    for _ in range(wanted + 20):
        page.switch_to.active_element.send_keys(Keys.TAB)
        seen.add(page.execute_script('const o = document.activeElement; return getComputedStyle(o).outlineStyle === "none" ? -1 : [...document.querySelectorAll(".scroll")].indexOf(o)'))
    assert set(range(wanted)) <= seen
    wide = page.find_element('css selector', '.wide')
    page.execute_script('arguments[0].focus()', wide)
    wide.send_keys(Keys.ARROW_RIGHT)
    time.sleep(.3)
    assert page.execute_script('return arguments[0].scrollLeft', wide) > 0

_contrasts = '''   // [contrast, class, text] of every text on the page, half-transparent colours and opacity laid over what is behind
const parse = o => { const v = o.match(/[\\d.]+/g).map(Number); return o.startsWith("color(") ? [...v.slice(0, 3).map(x => 255*x), v[3] ?? 1] : [v[0], v[1], v[2], v[3] ?? 1] };
const over = (top, back) => top.slice(0, 3).map((c, i) => c*top[3] + back[i]*(1 - top[3]));
const probe = document.body.appendChild(document.createElement("i")); probe.style.background = "Canvas";
const canvas = parse(getComputedStyle(probe).backgroundColor); probe.remove();
const parents = o => o ? [...parents(o.parentElement), o] : [];
const back = o => parents(o).reduce((b, p) => over(parse(getComputedStyle(p).backgroundColor), b), canvas);
const light = o => { const [r, g, b] = o.map(v => v/255).map(v => v <= .03928 ? v/12.92 : ((v+.055)/1.055)**2.4); return .2126*r + .7152*g + .0722*b };
return [...document.querySelectorAll("body *")].filter(o => [...o.childNodes].some(c => c.nodeType === 3 && c.textContent.trim())).map(o => {
  const b = back(o), c = parse(getComputedStyle(o).color), opacity = parents(o).reduce((x, p) => x*getComputedStyle(p).opacity, 1);
  const [x, y] = [light(over([...c.slice(0, 3), c[3]*opacity], b)), light(b)].sort((a, b) => b - a);
  return [(x + .05)/(y + .05), o.tagName + "." + o.className, o.textContent.slice(0, 40)] })'''

@pytest.mark.parametrize('scheme', ['light', 'dark'])
def test_everything_can_be_read(trained, show, scheme):
    page = show(trained[0]/'report'/'report.html', scheme=scheme)
    found = page.execute_script(_contrasts)
    assert {'P.warn', 'H1.', 'P.muted', 'SMALL.', 'TD.'} <= {o[1] for o in found} and len(found) > 50
    assert [o for o in found if o[0] < 4.5] == []
    darkness = page.execute_script('const o = document.body.appendChild(document.createElement("i")); o.style.background = "Canvas"; return getComputedStyle(o).backgroundColor')
    assert (int(re.search(r'\d+', darkness)[0]) < 60) == (scheme == 'dark')


def test_the_first_screen_holds_however_many_warnings(turned, unequal, show):
    page = show(unequal/'report'/'report.html')
    assert len(page.find_elements('css selector', '.first .warn')) == len(turned['warnings']) >= 9
    assert page.execute_script('return [...document.querySelectorAll(".first .warn")].at(-1).getBoundingClientRect().bottom') < 900
    assert page.execute_script('return document.querySelector(".first img").getBoundingClientRect().top') < 300


# --- names that nobody would choose

hostile = ['</script><script>window.pwned=1</script>', '"\'><img src=x onerror=window.pwned=2>', '$x^{2$ %s 100% \\alpha &amp;', 'very long '*20 + 'name', 'w'*200, '🦊 лиса 熊',
           '\u202eثعلب fox', 'micro average', 'NA']
odd_files = ['a "b" \'c\'.png', '<b>x.png', '&amp;.png', '$y$.png', '%20.png', '#hash?q=1.png', 'ü é.png', '\u202egnp.png', 'tab\there.png', '; rm -rf.png', '\\n.png', '`x`${y}.png', '-o.png', 'x'*200 + '.png']

@pytest.fixture(scope='module')
def strange(cache, tmp_path_factory):
    "A model of hostile class names, tested on files with odd names, two of them leaks: its folder, what `evaluate --json` says in a terminal that knows ASCII only, and the rows of the table"
    folder = tmp_path_factory.mktemp('strange')
    animals, rows = ('blue whale', 'chihuahua', 'chimpanzee', 'fox', 'gorilla', 'seal', 'tiger', 'wolf', 'zebra'), []
    for k,(name,animal) in enumerate(zip(hostile, animals)):
        (folder/str(k)).mkdir()
        for i in range(6):
            file = folder/str(k)/f'{i}{odd_files[(i + k) % len(odd_files)]}'
            draw_animal(animal, index=i+1, px=96).save(file)
            rows.append((f'{k}/{file.name}', name, 'train' if i < 2 else 'valid' if i < 4 else 'test'))
    for path,name,_ in rows[:7:6]:
        copy = f'{path[:-4]}<i>copy.png'
        shutil.copy(folder/path, folder/copy)
        rows.append((copy, name, 'test'))
    pd.DataFrame(rows, columns=['path', 'label', 'split']).to_csv(folder/'photos.csv', index=False)
    with pytest.MonkeyPatch.context() as patch, chdir(folder):
        patch.setenv('ANIMAL_CLF_CACHE', str(cache))
        done('train', '--data', 'photos.csv', '--out', 'model', *offline)
        out = io.TextIOWrapper(io.BytesIO(), encoding='ascii')
        patch.setattr('sys.stdout', out)
        assert main(['evaluate', 'model', '--data', 'photos.csv', '--json']) == 0
        out.seek(0)
        return folder/'model', json.load(out), rows

def test_hostile_names_on_the_page(strange, show):
    file = strange[0]/'report'/'report.html'
    check_page(show, file)
    page = show(file)
    assert page.execute_script('return window.pwned') is None and not page.find_elements('css selector', 'script, main i, main b')
    cells = page.execute_script('return [...document.querySelectorAll("table")].map(t => [...t.querySelectorAll("tr")].map(r => [...r.children].map(c => c.textContent)))')
    of_classes = next(o for o in cells if o[0][0] == 'class')[1:]
    assert sorted(o[0] for o in of_classes) == sorted([*hostile, *(f'{o} average' for o in ('micro', 'macro', 'weighted'))])
    leaks = next(o for o in cells if o[0][0] == 'test photo')[1:]
    assert {o[0] for o in leaks} == {Path(path).name for path,_,_ in strange[2][-2:]}
    assert page.execute_script('return Math.max(...[...document.querySelectorAll("table")].map(o => o.offsetWidth))') < 2*1280      # a long name wraps, and does not push the numbers away

def test_hostile_names_in_the_files(strange):
    model, report, rows = strange
    assert set(report['classes']) == set(hostile) == set(report['per_class']) == set(answers_of(model).label)
    assert {o.removeprefix('./') for o in answers_of(model).path} == {path for path,_,split in rows if split == 'test'}
    assert len(report['leaks']) == 2 and list(classification_report(report).index).count('micro average') == 2
    for name in ('confusion', 'confusion_shares', 'curves'):
        with Image.open(model/'report'/f'{name}.png') as img: assert 300 < img.width < 1500 and 200 < img.height < 1500, (name, img.size)

def test_hostile_names_in_the_shell(strange):
    with chdir(strange[0].parent): out = done('report', 'model')
    rows = [o for o in out.splitlines() if o.startswith('micro average')]
    assert len(rows) == 2 and rows[0].split()[-1] == '2' and all(any(line.startswith(printable(o)) for line in out.splitlines()) for o in hostile)

def test_json_is_json_in_any_terminal(strange):
    "Letters that the terminal can't show are escaped as JSON does it"
    assert strange[1] == read(strange[0]/'report'/'report.json')


# --- what is told, and when

def result_of(p, truth, trained=(100, 100, 100), valid=None, imagenet=None):
    "An `Evaluation` of these probabilities, and no files behind it"
    from animal_clf import learner
    classes, right = [f'class {i}' for i in range(p.shape[1])], p.argmax(1) == truth
    answers = pd.DataFrame(dict(path=[f'{i}.jpg' for i in range(len(truth))], sha256=[f'{i:x}' for i in range(len(truth))], label=[classes[i] for i in truth], answer=[classes[i] for i in p.argmax(1)], right=right))
    seen = pd.DataFrame([(f'seen {c} {i}.jpg', c, 'valid' if i % 5 == 0 else 'train', f'{c} {i}') for c,n in zip(classes, trained) for i in range(n*5//4)], columns=['path', 'label', 'split', 'sha256'])
    baselines = {} if imagenet is None else dict(baselines=dict(biggest_class=dict(answer='class 0', accuracy=.34), imagenet=imagenet))
    info = learner.ModelInfo('resnet18', classes, 224, 'crop', [.5]*3, [.5]*3, 'head', 42, {}, {}, 'abc', valid)
    return learner.Evaluation(compute_metrics(p, truth, classes) | baselines, answers, p, n_looked_at=len(seen), seen=seen, model=info)

def sure(n, n_wrong, p=.97):
    "Answers to `n` photos of three classes, so many of them wrong, with a probability that is kept"
    truth = np.arange(n) % 3
    answers = np.where(np.arange(n) < n_wrong, (truth + 1) % 3, truth)
    return np.where(np.eye(3, dtype=bool)[answers], p, (1 - p)/2), truth

def test_nothing_is_told_about_a_result_without_fault():
    from animal_clf.evaluation.checks import fill_checklist, find_warnings
    result = result_of(*sure(600, 18), valid=.98, imagenet=dict(accuracy=.8, p=1e-9))
    assert find_warnings(result) == result.warnings() == []
    assert 'not done' in set(fill_checklist(result).status)       # nobody has everything
    assert fill_checklist(result).equals(result.checklist())
    assert fill_checklist().item.equals(result.checklist().item) and set(fill_checklist().status) == {''}

def test_each_doubt_begins_where_it_should():
    from animal_clf.evaluation.checks import count_needed, find_warnings
    told = lambda words, *args, **kwargs: any(words in o for o in find_warnings(result_of(*args, **kwargs)))
    enough = count_needed(.97)
    assert np.subtract(*wilson(.97*enough, enough)[::-1]) <= .05 < np.subtract(*wilson(.97*(enough-1), enough-1)[::-1])
    for n in (100, 200, 300): assert told('are few', *sure(n, n*3//100)) == (n < enough)
    for n,tells in ((148, False), (156, True)): assert told('unequal size', *sure(600, 18), trained=(n, 100, 100)) == tells
    for accuracy,p,tells in ((.8, .04, False), (.8, .06, True), (.99, .01, True), (None, None, False)): assert told('names alone', *sure(600, 18), imagenet=dict(accuracy=accuracy, p=p)) == tells
    for valid,tells in ((.98, False), (.95, False), (.5, True), (1., False)): assert told('farther apart', *sure(600, 18), valid=valid) == tells
    for p,tells in ((.97, False), (.999, True), (.8, True)): assert told('taken at their word', *sure(600, 18, p)) == tells
    p, truth = sure(600, 0)
    for n_right,tells in ((99, True), (100, False)): assert told('Less than half', np.where((np.arange(600) >= 3*n_right)[:, None] & (truth == 1)[:, None], p[:, [1, 0, 2]], p), truth) == tells

def test_few_photos_are_told(trained):
    model, report = trained
    warning, = told(report, 'test photos are few')
    low, high = report['accuracy_ci95']
    assert warning.startswith(f"{report['n_test']} test photos") and f'from {100*low:.1f}% to {100*high:.1f}%' in warning.replace('100%', '100.0%')
    needed = int(re.search(r'about (\d+)', warning)[1])
    width = lambda n: np.subtract(*wilson(report['accuracy']*n, n)[::-1])
    assert width(needed) <= .05 < width(needed - 1)

@pytest.fixture(scope='module')
def unequal(cache, tmp_path_factory):
    "A model of classes of unequal size, 3 to 1"
    folder = tmp_path_factory.mktemp('unequal')
    draw(folder/'data/train', dict(fox=30, seal=10, zebra=10))
    draw(folder/'data/test', dict(fox=4, seal=4, zebra=4), start=50)
    with pytest.MonkeyPatch.context() as patch, chdir(folder):
        patch.setenv('ANIMAL_CLF_CACHE', str(cache))
        done('train', '--data', 'data', '--out', 'model', *offline)
    return folder/'model'

@pytest.fixture(scope='module')
def turned(unequal, cache):
    "What `evaluate --json` prints for that model on photos with wrong labels, an unreadable file, and one that was trained on"
    with pytest.MonkeyPatch.context() as patch, chdir(unequal.parent):
        patch.setenv('ANIMAL_CLF_CACHE', str(cache))
        draw('turned', dict(fox=('seal', 6), seal=('zebra', 6), zebra=('fox', 6)), start=60)
        Path('turned/fox/broken.jpg').write_bytes(b'nope')
        shutil.copy('data/train/fox/1.png', 'turned/fox/known.png')
        return evaluate('model', 'turned')

def test_a_test_with_everything_wrong_is_told(turned):
    "Unequal classes, no class recognised, far from the validation set, no better than the biggest class or than ImageNet, too sure"
    report = turned
    assert told(report, '1 photos that the model was trained on were left out') and report['leaks'] == []
    assert report['accuracy'] < .2
    sizes, = told(report, 'Classes of unequal size')
    assert sizes.startswith('Classes of unequal size (fox 24, ') and ' 8 training photos)' in sizes and f"balanced accuracy, which counts classes, is {100*report['balanced_accuracy']:.1f}%" in sizes.replace(' 0%', ' 0.0%')
    weak, = told(report, 'Less than half of these are recognised')
    assert all(f'{o} (' in weak for o in animals)
    assert told(report, 'farther apart than chance explains: the test photos are of another kind')
    assert told(report, "Perhaps no better than always answering 'fox'") and told(report, 'this model is no better')
    believed, = told(report, "can't be taken at their word")
    assert 'surer than it is right' in believed and f"calibration error {report['ece']:.3f}" in believed
    assert [o['status'] for o in report['checklist'] if o['item'] == 'Make the probabilities believable'] == ['not done']

def test_a_test_set_that_chooses_among_models_is_told(data, plain):
    counts = []
    for seed in (1, 2, 3):
        done('train', '--data', data, '--out', 'model', '--seed', seed, *offline)
        counts.append(evaluate('model', data)['models_tested_on_these_photos'])
    again = evaluate('model', data)
    assert counts == [1, 2, 3] and again['models_tested_on_these_photos'] == 3 == len(read('model/model.json')['tests'])
    assert told(again, '3 models, one after another, were tested on these very photos')
    assert {o['item']: (o['status'], o['figure']) for o in again['checklist']}['Use the test set once'] == ('not done', '3 models tested on these photos')
    other = evaluate('model', draw('others', dict(fox=2, seal=2, zebra=2), start=70))
    assert other['models_tested_on_these_photos'] == 1 and not told(other, 'one after another')

def test_training_photos_that_are_gone_are_told(data, planted, plain, tmp_path, monkeypatch):
    shutil.copytree(data, 'data')
    done('train', '--data', 'data', '--out', 'model', *offline)
    os.rename('data', 'elsewhere')
    assert not told(evaluate('model', 'elsewhere'), 'no longer where they were')        # their working copies are still there
    monkeypatch.setenv('ANIMAL_CLF_CACHE', str(tmp_path/'empty'))
    shutil.rmtree('elsewhere/train')
    report = evaluate('model', 'elsewhere')
    n = 30 - sum('same bytes' in o for o in planted)                                      # those have a working copy again
    assert told(report, f'{n} of 30 training photos are no longer where they were'), report['warnings']
    assert {Path(o['test']).name for o in report['leaks']} == {o for o in planted if 'same bytes' in o}       # bytes are known without them
    clean = evaluate('model', draw('others', dict(fox=2, seal=2, zebra=2), start=70))
    assert {o['item']: o['status'] for o in clean['checklist']}['Keep copies of one photo on one side: no leaks'] == "can't be done"

def test_half_of_the_training_photos_gone(data, planted, plain, tmp_path, monkeypatch):
    shutil.copytree(data, 'data')
    done('train', '--data', 'data', '--out', 'model', *offline)
    shutil.rmtree('data/train/fox')
    monkeypatch.setenv('ANIMAL_CLF_CACHE', str(tmp_path/'empty'))                        # without it their working copies would do
    report = evaluate('model', 'data')
    n = 10 - sum('same bytes' in o and Path('data/test/fox', o).exists() for o in planted)
    assert told(report, f'{n} of 30 training photos are no longer'), report['warnings']
    assert {Path(o['test']).name for o in report['leaks']} == {o for o in planted if 'same bytes' in o or Path(next(Path('data/test').glob(f'*/{o}'))).parent.name != 'fox'}

def test_a_model_of_the_former_version_is_tested(model, data, plain):
    values = read(model/'model.json')
    del values['tests']
    (model/'model.json').write_text(json.dumps(values | dict(version=2)), encoding='utf8')
    report = evaluate(model, data)
    assert report['models_tested_on_these_photos'] == 1 and report['accuracy'] == values['test']['accuracy']
    assert read(model/'model.json')['version'] == 6      # an older program can't read it now, and says so


# --- odd test sets

def test_unreadable_files_are_counted_and_left_out(model, plain):
    draw('data', dict(fox=3, seal=3), start=70)
    Path('data/fox/broken.jpg').write_bytes(b'nope'), Path('data/seal/empty.png').write_bytes(b'')
    report = evaluate(model, 'data')
    assert report['n_test'] == 6 and told(report, 'Left out because they could not be read: 2.') and told(report, 'No test photos of zebra')

def test_one_class(model, plain):
    report = evaluate(model, draw('data', dict(fox=5), start=70))
    assert report['roc_auc'] == dict(per_class=dict.fromkeys(animals), macro=None) and report['n_test'] == 5 == report['per_class']['fox']['support']
    assert told(report, 'No test photos of seal, zebra: nothing is known about them') and told(report, "always answering 'fox', which is right for 100%")

def test_one_photo(model, show):
    report = evaluate(model, draw('data', dict(fox=1), start=70))
    assert report['n_test'] == 1 and 'checklist' in report
    check_page(show, 'model/report/report.html')

def test_where_photos_came_from_is_a_slice(model, plain):
    draw('data', dict(fox=9, seal=9), start=70)
    draw('data', dict(zebra=('seal', 8)), start=90)
    rows = [(o.relative_to('data').as_posix(), o.parent.name, 'wrong.example' if o.parent.name == 'zebra' else 'right.example') for o in sorted(Path('data').glob('*/*.png'))]
    pd.DataFrame(rows + rows[:2], columns=['path', 'label', 'source']).to_csv('data/photos.csv', index=False)      # two are named twice, and count once
    report = evaluate(model, 'data/photos.csv')
    slices = {o['slice']: o for o in report['slices'] if o['kind'] == 'source'}
    assert {k: o['n'] for k,o in slices.items()} == {'right.example': 18, 'wrong.example': 8} and report['leaks'] == []
    answers = answers_of(model).merge(pd.DataFrame(rows, columns=['path', 'label', 'source']).assign(path=lambda o: 'data/' + o.path), on='path')
    for name,o in slices.items():
        right = answers[answers.source == name].right
        assert (o['n_correct'], o['accuracy'], o['low'], o['high']) == (right.sum(), pytest.approx(right.mean()), *map(pytest.approx, wilson(right.sum(), len(right))))
    assert told(report, 'Worse on one kind of photos (source: wrong.example)')

def test_a_damaged_log_is_one_line(model, data):
    (model/'log.csv').write_bytes(b'a,b\n1,"2')
    assert 'log.csv' in fails('evaluate', model, '--data', data)


# --- the temperature

def test_predict_gives_the_probabilities_of_the_report(trained):
    "But for rounding: the engines round otherwise, and the report's may not be the one that is the fastest for this"
    answers = answers_of(trained[0])
    rows = json.loads(done('predict', trained[0], *list(answers.path)*3, '--json'))
    assert len(rows) > 64 and [o['label'] for o in rows] == list(answers.answer)*3
    assert np.allclose([o['probability'] for o in rows], list(answers.probability)*3, atol=.02)
    few = json.loads(done('predict', trained[0], *answers.path, '--json'))
    assert np.allclose([o['probability'] for o in few], answers.probability, atol=.05)

def test_temperature_changes_probabilities_and_no_answer(model, trained, probabilities, data, plain):
    before, values = answers_of(model), read(model/'model.json')
    assert values['temperature'] == trained[1]['temperature'] != 1 and (probabilities[0].argmax(1) == probabilities[1].argmax(1)).all()
    (model/'model.json').write_text(json.dumps(values | dict(temperature=4.)), encoding='utf8')
    report, after = evaluate(model, data), answers_of(model)
    assert report['temperature'] == 4 and list(after.answer) == list(before.answer) and (after.probability < before.probability - .01).all()
    assert report['before_temperature'] == trained[1]['before_temperature'] and report['log_loss'] > trained[1]['log_loss']
    cooled = softmax(np.log(probabilities[1])/4, axis=1)
    same({o: report[o] for o in ('log_loss', 'brier', 'ece')}, scores(cooled, before.label.map(report['classes'].index).to_numpy()))
    rows = json.loads(done('predict', model, *list(after.path)*3, '--json'))
    assert np.allclose([o['probability'] for o in rows], list(after.probability)*3, atol=.02)


# --- reports, read again

@pytest.fixture(scope='module')
def rival(data, planted, cache, tmp_path_factory):
    "A model trained on two photos of each class, tested on the same test photos but one"
    folder = tmp_path_factory.mktemp('rival')
    shutil.copytree(data/'test', folder/'data/test')
    next((folder/'data/test/zebra').glob('zebra*')).unlink()
    for split,numbers in dict(train=(1, 2), valid=(3,)).items():
        for name in animals:
            (folder/'data'/split/name).mkdir(parents=True)
            for i in numbers: shutil.copy(data/'train'/name/f'{name} {i}.jpg', folder/'data'/split/name)
    with pytest.MonkeyPatch.context() as patch, chdir(folder):
        patch.setenv('ANIMAL_CLF_CACHE', str(cache))
        done('train', '--data', 'data', '--out', 'rival', *offline)
        evaluate('rival', 'data')
    return folder/'rival'

def test_a_report_is_said_again(trained):
    model, report = trained
    assert json.loads(done('report', model, '--json')) == report
    out = done('report', model)
    assert out.startswith(f"test      test accuracy {report['accuracy']:.1%} ({report['n_correct']}/{report['n_test']})")
    assert all(o in out for o in report['warnings']) and all(o['item'] in out for o in report['checklist'])
    rows = {o.split()[0]: o.split()[1:] for o in out.splitlines() if o.startswith(animals)}
    assert rows == {c: [f"{o[k]:.3f}" for k in ('precision', 'recall', 'f1')] + [str(o['support'])] for c,o in report['per_class'].items()}

def test_two_reports_are_compared_photo_by_photo(trained, rival):
    from statsmodels.stats.contingency_tables import mcnemar
    a, b = (answers_of(o).drop_duplicates('sha256').set_index('sha256') for o in (trained[0], rival))
    both = a.join(b, how='inner', suffixes=('_a', '_b'))
    table = pd.crosstab(both.right_a, both.right_b).reindex(index=[True, False], columns=[True, False], fill_value=0).to_numpy()
    found = json.loads(done('report', trained[0], rival, '--json'))
    assert [[found['both'], found['only_a']], [found['only_b'], found['neither']]] == table.tolist() and found['n'] == len(both)
    assert found['unmatched'] == 1 and found['names'] == ['model', 'rival'] and found['only_a'] > 0
    assert found['p'] == pytest.approx(mcnemar(table, exact=True).pvalue, abs=1e-6) and found['accuracies'] == pytest.approx([both.right_a.mean(), both.right_b.mean()])
    assert found['difference_ci95'][0] <= found['difference'] <= found['difference_ci95'][1] and found['difference'] == pytest.approx(both.right_b.mean() - both.right_a.mean())
    out = done('report', trained[0], rival)
    assert f"McNemar p = {found['p']:.2g}" in out and 'recall of zebra' in out and '1 that only one was tested on' in out

def test_the_page_of_two_reports(trained, rival, show):
    assert 'both.html' in done('report', trained[0], rival, '--out', 'there/both.html')
    check_page(show, 'there/both.html')
    page = show('there/both.html', scheme='dark')
    assert [o for o in page.execute_script(_contrasts) if o[0] < 4.5] == []
    assert len(page.find_elements('css selector', 'figure')) == sum(json.loads(done('report', trained[0], rival, '--json'))[o] for o in ('only_a', 'only_b'))

def test_the_page_of_two_models_with_odd_names(trained, rival, show):
    for name,source in (('<img src=x onerror=window.pwned=1> & "co" it\'s $x$', trained[0]), ('<IMG src=x onerror=window.pwned=1> & "co" it\'s $x$', rival)): shutil.copytree(source/'report', f'{name}/report')
    done('report', *Path().iterdir(), '--out', 'both.html')
    check_page(show, 'both.html')
    page = show('both.html')
    assert page.execute_script('return window.pwned') is None and '<IMG src=x' in page.find_element('css selector', 'h1').text

def test_a_report_about_another_model_is_refused(model, trained, data):
    "As after a training to the same place"
    done('report', model)
    done('train', '--data', data, '--out', model, '--seed', 7, *offline)
    assert 'is about a model that was there before' in fails('report', model) and 'evaluate' in fails('report', trained[0], model)

def test_a_report_against_itself(trained):
    found = json.loads(done('report', trained[0], trained[0], '--json'))
    assert found['p'] == 1 and found['difference'] == 0 and found['names'] == ['model', 'model (2)']

def _edit(change):
    def spoil(folder):
        values = read(folder/'report.json')
        change(values)
        (folder/'report.json').write_text(json.dumps(values), encoding='utf8')
    return spoil

def _rewrite(name, change): return lambda folder: (folder/name).write_text(change((folder/name).read_text(encoding='utf8', errors='replace')), encoding='utf8')

damaged = {'no report': lambda o: shutil.rmtree(o), 'no answers': lambda o: (o/'answers.csv').unlink(), 'half of it': _rewrite('report.json', lambda o: o[:500]), 'empty': _rewrite('report.json', lambda o: ''),
           'a list': _rewrite('report.json', lambda o: '[]'), 'no text': lambda o: (o/'report.json').write_bytes(b'\xff\xfe\0'), 'no accuracy': _edit(lambda o: o.pop('accuracy')), 'no classes': _edit(lambda o: o.update(per_class=[])),
           'no average': _edit(lambda o: o.pop('micro_avg')), 'a number in letters': _edit(lambda o: o.update(brier='low')), 'no warnings': _edit(lambda o: o.update(warnings=None)), 'another checklist': _edit(lambda o: o.update(checklist=['x'])),
           'half an interval': _edit(lambda o: o.update(accuracy_ci95=[.5])), 'answers neither right nor wrong': _rewrite('answers.csv', lambda o: o.replace('True', 'perhaps')), 'no table': _rewrite('answers.csv', lambda o: '')}

@pytest.mark.parametrize('spoil', damaged.values(), ids=damaged)
def test_a_damaged_report_is_one_line(trained, tmp_path, spoil):
    shutil.copytree(trained[0]/'report', 'bad/report')
    spoil(Path('bad/report'))
    for args in (('bad',), ('bad', '--json'), (trained[0], 'bad'), ('bad', trained[0], '--out', 'x.html')): assert 'animal-clf evaluate bad --data DIR' in fails('report', *args)
    assert not Path('x.html').exists()

def test_a_report_of_an_older_version_is_said_as_far_as_it_goes(trained):
    shutil.copytree(trained[0]/'report', 'old/report')
    _edit(lambda o: [o.pop(k) for k in ('checklist', 'brier', 'log_loss', 'balanced_accuracy', 'macro_f1', 'slices', 'confused_pairs', 'models_tested_on_these_photos')])(Path('old/report'))
    assert 'test accuracy' in done('report', 'old') and 'nan' not in done('report', 'old', trained[0])

def test_models_that_can_not_be_compared(trained, strange, rival):
    assert 'no photo that both models were tested on' in fails('report', trained[0], strange[0])
    shutil.copytree(rival/'report', 'renamed/report')
    _rewrite('report.json', lambda o: o.replace('zebra', 'horse'))(Path('renamed/report')), _rewrite('answers.csv', lambda o: o.replace(',zebra', ',horse'))(Path('renamed/report'))
    assert "'zebra' and 'horse'" in fails('report', trained[0], 'renamed')
    assert 'no such folder' in fails('report', 'nowhere') and 'no such folder' in fails('report', trained[0], 'nowhere')

@pytest.mark.parametrize('args,words', [(('model', '--out', 'x.html'), '--out with one model'), (('model', 'model', '--out', 'x.pdf'), 'ends with .html')])
def test_wrong_options_of_report(model, args, words): assert words in fails('report', *args, code=2)

def test_a_page_that_can_not_be_written(trained, rival):
    Path('file').write_text('mine')
    assert '`file` can not be written' in fails('report', trained[0], rival, '--out', 'file/x.html') and Path('file').read_text() == 'mine'

def test_a_report_that_can_not_be_written(model, data, plain):
    shutil.rmtree(model/'report')
    (model/'report').write_text('mine')
    assert 'report' in fails('evaluate', model, '--data', data) and (model/'report').read_text() == 'mine'
