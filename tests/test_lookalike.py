"""None of my animals, and the nearest of them: the numbers computed a second time, strangers, model files that lie, and that nothing is kept of a photo"""
import hashlib, json, os, shutil
from pathlib import Path
from types import SimpleNamespace

import matplotlib, numpy as np, pandas as pd, pytest, sklearn.datasets, torch
from PIL import Image
from safetensors.torch import load_file, save_file
from scipy.spatial.distance import cdist

from animal_clf.core.settings import offline_arch
from animal_clf.evaluation.checks import _warn_unknown
from animal_clf.core.photo_files import find_photos
from animal_clf.data.splits import read_photos
from animal_clf.vision.features import get_features
from animal_clf.vision.imagenet import get_imagenet_probabilities
from animal_clf.training.open_set import class_means, choose_threshold, fit_centroids, known_score
from animal_clf.learner import Trained, feature_extractor, load_classifier, save_model, train
from animal_clf.inference.lookalike import describe_lookalike, find_lookalikes, find_primates, answer_entropy
from animal_clf.synthetic.people import draw_people
from animal_clf.inference.predictor import predict_photos
from animal_clf.synthetic.animals import draw_animals
from commands import done, fails, shell
from files import contents, put_table, read, without_copies

animals, offline = ('seal', 'wolf', 'zebra'), ('--arch', offline_arch)
real = Path(os.environ.get('ANIMAL_CLF_PHOTOS', ''))/'ten-animals'
hopper = Path(matplotlib.get_data_path())/'sample_data'/'grace_hopper.jpg'   # a person
things = [Path(sklearn.datasets.__file__).parent/'images'/f'{o}.jpg' for o in ('china', 'flower')]


# --- what the tests share

pytestmark = pytest.mark.usefixtures('empty_folder')

@pytest.fixture(scope='module')
def data(tmp_path_factory): return read_photos(draw_animals(tmp_path_factory.mktemp('drawn')/'animals', 16, animals, px=128), n_test=6)

@pytest.fixture(scope='module')
def people(tmp_path_factory): return find_photos(draw_people(tmp_path_factory.mktemp('people'), 8, px=128)/'person')

@pytest.fixture(scope='module')
def trained(data, cache, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv('ANIMAL_CLF_CACHE', str(cache))
        return save_model(train(data, 'head', offline_arch), data, tmp_path_factory.mktemp('trained')/'model')

@pytest.fixture
def model(trained, tmp_path): return Path(shutil.copytree(trained, tmp_path/'model'))

@pytest.fixture(scope='module')
def learn(trained): return load_classifier(trained)


# --- the numbers, a second time

def test_scores_and_limits_are_what_they_say(rng=np.random.default_rng(0)):
    p, labels = rng.dirichlet(np.full(20, .3), 50), list('abc')*16 + ['a', 'b']
    profiles = class_means(p, labels, ['a', 'b', 'c'])
    by_hand = [max(sum(np.sqrt(x*y) for x,y in zip(row, profile)) for profile in profiles) for row in p]
    assert np.allclose(known_score(p, profiles), by_hand, atol=1e-6)
    assert np.allclose(profiles[1], np.mean([o for o,label in zip(p, labels) if label == 'b'], axis=0), atol=1e-6)
    for n,keep in [(1, .95), (7, .5), (20, .95), (100, .95), (101, .9), (33, 1), (10, .01)]:
        scores = rng.integers(0, 9, n)/9 if n % 2 else rng.random(n)    # with ties, and without
        limit = choose_threshold(scores, keep)
        assert (scores >= limit).mean() >= keep - 1e-12 and limit in scores     # so many are kept …
        assert not any((scores >= o).mean() >= keep for o in scores if o > limit)   # … and no higher limit would keep as many

def test_likeness_is_a_cosine_between_two_middles(rng=np.random.default_rng(0)):
    x, labels = rng.normal(size=(60, 16)) + np.repeat(np.eye(3, 16)*4, 20, axis=0), np.repeat(list('abc'), 20)
    near = fit_centroids(x, labels, x, labels, ['a', 'b', 'c'])
    means = np.stack([x[labels == o].mean(0) for o in 'abc'])
    others = rng.normal(size=(9, 16)) + 50    # of another kind, far away
    cosines = near.cosine_similarity(near.center_and_normalize(others, others.mean(0)))
    assert np.allclose(cosines, 1 - cdist(others - others.mean(0), means - means.mean(0), 'cosine'), atol=1e-5)
    assert np.allclose(near.cosine_similarity(near.center_and_normalize(others + 1000, others.mean(0) + 1000)), cosines, atol=1e-4)   # wherever the kind lies
    assert len(set(near.cosine_similarity(near.center_and_normalize(others)).argmax(1))) < len(set(cosines.argmax(1)))                # from elsewhere all look the same
    shares = near.similarity_softmax(cosines)
    assert np.allclose(shares, np.exp(cosines/near.scale)/np.exp(cosines/near.scale).sum(1, keepdims=True))

def test_the_spread_of_answers():
    assert answer_entropy(list('aabb')) == dict(top='a', share=.5, entropy=1.)
    assert answer_entropy(['a']) == dict(top='a', share=1., entropy=0.)


# --- a model's answers

def test_known_keeps_the_share_it_was_asked_for(data, learn):
    valid = get_imagenet_probabilities(data.valid.path).values
    assert learn.posthoc.open_set.target_recall == .95 <= learn.posthoc.open_set.is_known(valid).mean()
    again = train(data, 'head', offline_arch).learn
    assert again.posthoc.open_set.threshold == pytest.approx(learn.posthoc.open_set.threshold, abs=1e-6)       # the same photos, the same limit

def test_people_are_told_from_animals(data, learn, people):
    asked = find_lookalikes(learn, [*data.test.path, *people])
    own, strangers = asked[:-len(people)], asked[-len(people):]
    assert np.mean([[o['score'] > s['score'] for s in strangers] for o in own]) > .85     # the area under the ROC curve
    assert np.mean([o['known'] for o in own]) > .7 > .6 > np.mean([o['known'] for o in strangers])
    assert np.mean([o['nearest'][0][0] == Path(o['path']).parent.name for o in own if o['known']]) > .8
    for o in asked:
        assert [name for name,_,_ in sorted(o['nearest'], key=lambda o: -o[1])] == [name for name,_,_ in o['nearest']]
        assert {name for name,_,_ in o['nearest']} == set(animals) and sum(share for _,share,_ in o['nearest']) == pytest.approx(1)
        assert o['seen_from'] == ('classes' if o['known'] else 'own kind') and o['error'] is None

def test_the_softmax_beside_it_is_what_predict_says(data, learn, people):
    paths = [*data.test.path, *people]
    for ours,theirs in zip(find_lookalikes(learn, paths, primates=True), predict_photos(learn, paths)):   # in other batches, which rounding tells
        assert ours['softmax'] == pytest.approx([theirs['label'], theirs['probability']], abs=1e-4) and ours['known'] == theirs['known']

def test_all_of_one_kind(learn, people):
    assert {o['seen_from'] for o in find_lookalikes(learn, people, same_kind=True)} == {'own kind'}
    assert {o['seen_from'] for o in find_lookalikes(learn, people[:2], same_kind=True)} == {'classes'}             # two are no kind …
    assert {o['seen_from'] for o in find_lookalikes(learn, [people[0]]*5, same_kind=True)} == {'classes'}          # … nor is one, five times
    once, twice = find_lookalikes(learn, people, same_kind=True), find_lookalikes(learn, people + people[:1]*3, same_kind=True)
    for a,b in zip(once, twice): assert [o[1] for o in a['nearest']] == pytest.approx([o[1] for o in b['nearest']], abs=1e-4)   # copies don't move the middle

def test_the_photos_shown_are_the_nearest(data, learn, people):
    answers = find_lookalikes(learn, people, data.train, k=5, same_kind=True)
    seen, trained = get_features(people, feature_extractor(learn), 'torch', keep=False), get_features(data.train.path, feature_extractor(learn, mirror=False))
    cosines = 1 - cdist(seen.values - seen.values.mean(0), trained.values - learn.posthoc.centroids.means.mean(0), 'cosine')
    for o,row in zip(answers, cosines):
        assert [Path(path) for path,_,_ in o['similar']] == [trained.paths[i] for i in np.argsort(-row)[:5]]
        assert [c for _,_,c in o['similar']] == pytest.approx(np.sort(row)[::-1][:5].tolist(), abs=1e-4)
        assert all(label == Path(path).parent.name for path,label,_ in o['similar'])

def test_nothing_is_kept_of_a_photo(model, people, cache, monkeypatch, tmp_path):
    done('lookalike', model, people[0])            # whatever is needed of the training photos is in the cache now
    before = contents(cache), contents(model)
    done('lookalike', model, *people, '--one-kind'), done('predict', *people)
    assert (contents(cache), contents(model)) == before
    assert not any(o.name.startswith('.') for o in tmp_path.iterdir())

def test_nobody_is_compared_with_apes(tmp_path, people):
    data = read_photos(draw_animals(tmp_path/'drawn', 12, ('gorilla', 'chimpanzee', 'seal'), px=96), n_test=2)
    learn, rows = train(data, 'head', offline_arch).learn, data.train
    assert find_primates(learn) == ['chimpanzee', 'gorilla']
    for o in find_lookalikes(learn, people, rows, same_kind=True):
        assert [name for name,_,_ in o['nearest']] == ['seal'] == list({label for _,label,_ in o['similar']}) and o['softmax'][0] == 'seal'
        assert 'gorilla' not in describe_lookalike(o) and 'chimpanzee' not in describe_lookalike(o)
    assert len(find_lookalikes(learn, people, same_kind=True, primates=True)[0]['nearest']) == 3
    own = find_lookalikes(learn, list(data.test.path))
    assert all(len(o['nearest']) == (3 if o['known'] else 1) for o in own) and any(o['known'] for o in own)

def test_a_classifier_of_apes_has_nothing_to_compare_with(tmp_path, people):
    data = read_photos(draw_animals(tmp_path/'drawn', 12, ('gorilla', 'chimpanzee'), px=96), n_test=2)
    save_model(train(data, 'head', offline_arch), data, 'apes')
    told = done('lookalike', 'apes', *people, '--one-kind')
    assert 'nothing to compare it with' in told and 'gorilla' not in told and 'chimpanzee' not in told
    assert 'gorilla' in done('lookalike', 'apes', *people, '--one-kind', '--primates')
    learn = load_classifier('apes'); learn.posthoc.open_set.threshold = 1.
    save_model(Trained(learn, 'head', offline_arch, 42, pd.DataFrame()), data, 'apes')
    assert all('probably none of the classes' in o and 'gorilla' not in o and 'chimpanzee' not in o for o in done('predict', 'apes', *people).splitlines())

def test_odd_photos_are_rows(learn, people, tmp_path):
    (tmp_path/'page.jpg').write_text('<html>'); (tmp_path/'empty.png').touch()
    rows = find_lookalikes(learn, [tmp_path/'page.jpg', people[0], tmp_path/'gone.jpg', tmp_path/'empty.png', people[0]])
    assert [o['error'] is None for o in rows] == [False, True, False, False, True] and rows[1] == rows[4]
    assert all(o['known'] is None and o['nearest'] == [] and Path(o['path']).name in o['error'] for o in rows if o['error'])
    assert find_lookalikes(learn, []) == []


# --- on real photos

@pytest.mark.skipif(not real.is_dir(), reason='set ANIMAL_CLF_PHOTOS to a folder with ten-animals/{train,test}/CLASS/*.jpg')
def test_real_photos(tmp_path):
    rows = [(o, label.name, split) for split,n in (('train', 30), ('test', 12)) for label in sorted((real/split).iterdir()) if label.is_dir() for o in find_photos(label)[:n]]
    pd.DataFrame(rows, columns=['path', 'label', 'split']).to_csv('some.csv', index=False)
    data = read_photos('some.csv')
    learn = train(data, 'head', offline_arch).learn
    save_samples()
    renamed = SimpleNamespace(dls=SimpleNamespace(vocab=[f'animal {i}' for i in range(10)]), posthoc=learn.posthoc)
    assert find_primates(renamed) == [f'animal {i}' for i,o in enumerate(data.classes) if o in ('chimpanzee', 'gorilla')]   # known by their looks
    assert [o['known'] for o in find_lookalikes(learn, ['astronaut.png', 'chelsea.png', hopper, *things])] == [False]*5     # there is no cat among the ten
    assert np.mean([o['known'] for o in predict_photos(learn, list(data.test.path))]) > .85

def test_without_a_model_photos_get_the_names_of_everyday_animals(cache):
    before = contents(cache)
    rows = json.loads(done('predict', hopper, *things, '--json'))
    assert [(o['label'], o['known'], o['error']) for o in rows] == [('no animal', False, None)]*3
    assert set(rows[0]) == {'path', 'label', 'probability', 'top', 'known', 'error'}
    assert contents(cache) == before

def save_samples():
    "The photos of a person and of a cat that come with scikit-image"
    samples = pytest.importorskip('skimage.data', reason='scikit-image is not installed: pip install scikit-image')
    for name in ('astronaut', 'chelsea'): Image.fromarray(getattr(samples, name)()).save(f'{name}.png')

def test_a_cat_is_a_cat_and_an_astronaut_is_no_animal():
    save_samples()
    told = done('predict', 'chelsea.png', 'astronaut.png').splitlines()
    assert told[0].startswith('chelsea.png: cat ') and told[1].startswith('astronaut.png: no animal ') and told[2].startswith('note')


# --- the shell

def test_lookalike_in_words(model, people):
    told = done('lookalike', model, *people, '--one-kind').splitlines()
    assert [o for o in told if o.startswith(str(people[0]))] and 'nearest: ' in told[0]
    assert sum(o.startswith('    most alike in training: ') for o in told) == len(people)
    assert any(o.startswith('spread') for o in told) and told[-1].startswith('note') and 'no probabilities' in told[-1]
    assert f'of {len(people)} photos of one kind' in told[-2]
    assert 'three different photos of one kind' in done('lookalike', model, people[0], people[0], people[0], '--one-kind')

def test_lookalike_in_json_and_as_a_picture(model, people, data, cache, monkeypatch):
    rows = json.loads(done('lookalike', model, people[0].parent, '--json'))
    assert [o['path'] for o in rows] == [str(o) for o in people]
    assert set(rows[0]) == {'path', 'known', 'score', 'nearest', 'softmax', 'similar', 'seen_from', 'error'} and len(rows[0]['similar']) == 3
    done('lookalike', model, *people, '--out', 'people.png')
    with Image.open('people.png') as img: assert img.height > img.width > 300
    put_table('model', 'photos.csv', pd.read_csv('model/photos.csv').assign(path='/gone.jpg').to_csv(index=False))
    monkeypatch.setenv('ANIMAL_CLF_CACHE', str(without_copies(cache, Path('cache').absolute())))
    assert {o['similar'][i][0] for o in rows for i in range(3)} <= set(data.train.path.map(str))
    assert json.loads(done('lookalike', model, people[0], '--json'))[0]['similar'] == []    # the training photos are gone, the answer is not
    assert 'they are not where photos.csv in the model folder says' in done('lookalike', model, people[0])
    assert 'none of the training photos' in fails('lookalike', model, people[0], '--out', 'people.png')

def test_errors_of_lookalike(model, people, tmp_path):
    assert '.png' in fails('lookalike', model, people[0], '--out', 'people.txt', code=2)
    assert 'model.json' in fails('lookalike', people[0].parent, people[0])
    (tmp_path/'page.jpg').write_text('<html>')
    assert 'page.jpg' in done('lookalike', model, people[0], 'page.jpg')
    code, out, err = shell('lookalike', model, 'page.jpg')
    assert code == 1 and '1 photo, of which none can be read' in err
    assert 'no photo' in fails('predict', model, code=2)
    assert '`nothing.jpg` is no photo' in fails('predict', 'nothing.jpg', code=2)
    assert f'Name {model}' in fails('predict', model/'model.json', people[0], code=2)
    assert 'x'*300 in fails('predict', model, 'x'*300) and 'x'*300 in fails('lookalike', model, 'x'*300)
    assert 'x'*300 in fails('predict', 'x'*300, people[0])

def test_a_name_can_not_change_the_other_lines(model, people):
    shutil.copy(people[0], 'one\ntwo\x1b[31m.jpg')
    for args in (('predict', 'one\ntwo\x1b[31m.jpg'), ('predict', model, 'one\ntwo\x1b[31m.jpg'), ('lookalike', model, 'one\ntwo\x1b[31m.jpg')):
        assert 'one\\ntwo\\x1b[31m.jpg: ' in done(*args).splitlines()[0]

def test_predict_says_so(model, people, data):
    rows = json.loads(done('predict', model, *people, *data.test.path, '--json'))
    assert {type(o['known']) for o in rows} == {bool}
    text = done('predict', model, *people).splitlines()
    assert [': probably none of the classes' in o for o in text] == [not o['known'] for o in rows[:len(people)]]
    done('predict', model, *people, '--csv', 'out.csv')
    assert pd.read_csv('out.csv').known.tolist() == [o['known'] for o in rows[:len(people)]]

@pytest.mark.parametrize('share', ['0', '1.5', '-1', 'nan'])
def test_impossible_shares_are_refused_before_anything_happens(share, data):
    assert 'keep_known = ' in fails('train', '--data', data.source, '--out', 'new', *offline, '--keep-known', share, code=2)
    assert not Path('new').exists()

def test_another_bargain(data):
    done('train', '--data', data.source, '--out', 'new', *offline, '--keep-known', '1')
    assert read('new/model.json')['lookalike']['keep'] == 1
    valid = [f'new/{o.path}' for o in pd.read_csv('new/photos.csv').itertuples() if o.split == 'valid']
    assert load_classifier('new').posthoc.open_set.is_known(get_imagenet_probabilities(valid).values).all()


# --- the report

def test_the_report_counts_what_is_unknown(model, data):
    report = json.loads(done('evaluate', model, '--data', data.source, '--json'))
    found, answers = report['unknown'], pd.read_csv('model/report/answers.csv')
    assert found['n'] == (~answers.known).sum() and found['share'] == pytest.approx(found['n']/len(answers)) and found['keep'] == .95
    assert found['n_right'] == (answers.right & ~answers.known).sum() == report['n_correct'] - sum(row[i] for i,row in enumerate(found['confusion']))
    for i,label in enumerate(report['classes']):
        rows = answers[answers.label == label]
        assert found['confusion'][i] == [int(((rows.answer == o) & rows.known).sum()) for o in report['classes']] + [int((~rows.known).sum())]
        assert sum(found['confusion'][i]) == sum(report['confusion'][i]) == report['per_class'][label]['support']
    page = Path('model/report/report.html').read_text(encoding='utf8')
    assert 'taken for none of the classes' in page and f"Unknown: the {found['n']} taken for none of the classes; {found['n_right']} of these would be right" in page
    assert {o['item']: o['status'] for o in report['checklist']}['Know what is none of the classes'] == 'done'

def test_a_test_set_of_strangers_is_warned_of(model, tmp_path):
    for label,file in zip(animals, (hopper, *things)):
        (tmp_path/'strange'/label).mkdir(parents=True)
        with Image.open(file) as img:
            for i in range(8): img.crop((8*i, 8*i, 8*i + 400, 8*i + 400)).save(tmp_path/'strange'/label/f'{i}.png')
    report = json.loads(done('evaluate', model, '--data', 'strange', '--json'))
    assert any('taken for none of the classes, where ' in o for o in report['warnings'])

@pytest.mark.parametrize('n_valid,n_test,n_unknown,warned', [(200, 200, 14, False), (200, 200, 40, True), (80, 200, 17, False), (80, 200, 60, True), (8, 50, 10, False), (8, 50, 49, True), (0, 50, 50, False)])
def test_a_limit_of_few_photos_may_be_off(n_valid, n_test, n_unknown, warned):
    "What chance makes of a limit is not told as if it were the photos' fault; 5 % by draws, without the distribution that the code uses"
    metrics = dict(n_test=n_test, unknown=dict(n=n_unknown, share=n_unknown/n_test, keep=.95))
    result = SimpleNamespace(metrics=metrics, model=SimpleNamespace(data=dict(valid=n_valid)))
    assert bool(list(_warn_unknown(result))) == warned
    if not n_valid: return
    rng = np.random.default_rng(0)
    drawn = [(rng.random(n_test) < choose_threshold(rng.random(n_valid), .95)).sum() for _ in range(4000)]
    assert warned == (np.mean(np.array(drawn) >= n_unknown) < .01)

def test_shares_are_believable_even_if_few_photos_fitted_them(rng=np.random.default_rng(0)):
    "Cosines whose softmax at a scale of .05 are the true odds: ten validation photos suffice to come near"
    means = np.linalg.qr(rng.normal(size=(64, 64)))[0][:8]
    x, labels = np.repeat(means, 20, axis=0), np.repeat(list('abcdefgh'), 20)
    classes = list('abcdefgh')
    directions = rng.normal(size=(10_000, 64))
    near = fit_centroids(x, labels, x[:8], labels[:8], classes)
    odds = np.exp(near.cosine_similarity(near.center_and_normalize(directions))/.05)
    truth = [classes[rng.choice(8, p=o/o.sum())] for o in odds]
    for n,low,high in [(10, .03, .09), (40, .035, .075), (5000, .045, .055)]:
        assert low < fit_centroids(x, labels, directions[:n], truth[:n], classes).scale < high


# --- model files

def spoil(model, change_tensors=None, **lookalike):
    "Another `model.safetensors` that fits the sum in model.json, and other numbers"
    tensors, info = load_file(model/'model.safetensors'), read(model/'model.json')
    if change_tensors: change_tensors(tensors); save_file(tensors, model/'model.safetensors')
    info['sha256'] = hashlib.sha256((model/'model.safetensors').read_bytes()).hexdigest()
    if lookalike: info['lookalike'] = (info['lookalike'] or {}) | lookalike
    (model/'model.json').write_text(json.dumps(info), encoding='utf8')

profiles, means = 'lookalike.profiles', 'lookalike.means'
lies = {'no profiles': lambda t: t.pop(profiles), 'no means': lambda t: t.pop(means), 'another table': lambda t: t.update({'lookalike.more': torch.zeros(3)}),
        'too few classes': lambda t: t.update({profiles: t[profiles][:2].clone()}), 'too few words': lambda t: t.update({profiles: t[profiles][:, :10].clone()}),
        'flat means': lambda t: t.update({means: t[means].flatten()}), 'narrow means': lambda t: t.update({means: t[means][:, :-1].clone()}),
        'no number': lambda t: t[profiles].view(-1)[:1].fill_(float('nan')), 'endless': lambda t: t[means].view(-1)[:1].fill_(float('inf')),
        'negative': lambda t: t[profiles].view(-1)[:1].fill_(-.5), 'halves': lambda t: t.update({profiles: t[profiles].bfloat16()}),
        'no shares': lambda t: t[profiles].mul_(1e30), 'beyond reason': lambda t: t[means].mul_(1e35), 'complex': lambda t: t.update({means: t[means].to(torch.complex64)}), 'whole': lambda t: t.update({means: t[means].to(torch.int64)})}

@pytest.mark.parametrize('lie', lies)
def test_tables_that_lie_are_refused(model, people, lie):
    spoil(model, lies[lie])
    assert 'does not fit model.json' in fails('predict', model, people[0])

@pytest.mark.parametrize('numbers', [dict(limit=float('nan')), dict(limit=2), dict(limit='1'), dict(limit=True), dict(keep=0), dict(scale=0), dict(scale=1e9), dict(more=1)], ids=str)
def test_numbers_that_lie_are_refused(model, people, numbers):
    spoil(model, **numbers)
    assert '`lookalike: ' in fails('predict', model, people[0])

def test_tables_without_numbers_are_refused(model, people):
    info = read(model/'model.json')
    (model/'model.json').write_text(json.dumps(info | dict(lookalike=None)), encoding='utf8')
    assert 'does not fit model.json' in fails('predict', model, people[0])

def test_a_model_of_the_former_version(model, people, data):
    "What version 3 wrote: no tables, no numbers"
    spoil(model, lambda t: [t.pop(o) for o in (profiles, means)])
    info = read(model/'model.json') | dict(version=3, lookalike=None)
    (model/'model.json').write_text(json.dumps(info), encoding='utf8')
    assert [o['known'] for o in json.loads(done('predict', model, *people, '--json'))] == [None]*len(people)
    assert 'probably none' not in done('predict', model, *people)
    assert 'Train it again' in fails('lookalike', model, people[0])
    report = json.loads(done('evaluate', model, '--data', data.source, '--json'))
    assert 'unknown' not in report and {o['item']: o['status'] for o in report['checklist']}['Know what is none of the classes'] == 'not done'

def test_tables_survive_the_file_to_the_last_bit(data, tmp_path):
    made = train(data, 'head', offline_arch)
    again = load_classifier(save_model(made, data, tmp_path/'again'))
    assert np.array_equal(again.posthoc.open_set.profiles, made.learn.posthoc.open_set.profiles) and again.posthoc.open_set.threshold == made.learn.posthoc.open_set.threshold
    assert np.array_equal(again.posthoc.centroids.means, made.learn.posthoc.centroids.means) and again.posthoc.centroids.scale == made.learn.posthoc.centroids.scale
