"""What other programs import, `animal_clf.learner`: every name of version 0.1 with its signature; what came since is optional"""
import inspect, subprocess, sys

import pytest
from animal_clf import learner
from animal_clf.synthetic.animals import draw_animals
from animal_clf.data.splits import read_photos

# Parameters with their defaults, `…` for those that are objects; others may follow, if they need not be given
signatures = dict(
    Head='sizes=() dropouts=() log_softmax=False',
    ModelInfo='arch classes px method mean std recipe seed data versions sha256 valid_accuracy=None temperature=1.0 lookalike=None head=None mirror=False '
              "groups=None choices=None test=None tests=… format='animal-clf' version=4",
    Recipe="name pretrained=True head=… fit_head=True head_epochs=30 epochs=0 lr=0.0001 schedule='one_cycle' augment=True train_bn=False frozen_share=0.5 "
           "patience=None keep_best=True keep_known=0.95 balance='none'",
    Run="folder=None resume=False precision='auto' num_workers=None tell=…",
    Trained='learn recipe arch seed log head=… valid=None best_epoch=None choices=…',
    check_photos_to_train='data',
    check_training='recipe arch epochs=None budget=None',
    count_tests='info photos',
    create_learner="dls arch='resnet18' pretrained=True head=… seed=42 weights=None path='.'",
    find_known="learn paths engine='auto'",
    get_backbone='learn mirror=None pooled=False',
    get_probabilities='learn values',
    get_recipe='recipe **changes',
    load_model='folder',
    read_info='folder',
    read_log='folder',
    save_model='trained data folder',
    save_test="folder metrics photos=''",
    train="data recipe='auto' arch='resnet18' epochs=None seed=42 batch_size=32 budget=None run=…")

def describe(parameter):
    "`name`, or `name=default`"
    name = {parameter.VAR_KEYWORD: '**', parameter.VAR_POSITIONAL: '*'}.get(parameter.kind, '') + parameter.name
    if parameter.default is parameter.empty: return name
    plain = isinstance(parameter.default, (bool, int, float, str, tuple, type(None)))
    return f'{name}={parameter.default!r}' if plain else f'{name}=…'

@pytest.mark.parametrize('name', signatures)
def test_names_and_signatures_are_kept(name):
    found, n = list(inspect.signature(getattr(learner, name)).parameters.values()), len(signatures[name].split())
    assert ' '.join(map(describe, found[:n])) == signatures[name]
    assert not [describe(o) for o in found[n:] if o.default is o.empty]   # who calls it as ever goes on doing so

def test_every_name_is_exported():
    assert {*signatures, 'Learner', 'recipes'} <= set(learner.__all__)
    assert {'read_photos', 'evaluate', 'write_report', 'predict_photos', 'load_classifier'} <= set(learner.__all__)
    assert all(hasattr(learner, o) for o in learner.__all__)
    assert {'head', 'fine_tune', 'auto', 'scratch', 'early_stopping', 'custom_head'} <= set(learner.recipes)

_methods = '''
from animal_clf import learner
wanted = dict(Learner='evaluate features fit_head save_classifier plot_gradcam plot_similar posthoc', Photos='dataloaders',
              Evaluation='warnings checklist plot_confusion_matrix')
print([f'{k}.{o}' for k,v in wanted.items() for o in v.split() if not hasattr(getattr(learner, k), o)])
'''

def test_methods_are_there_for_who_imports_nothing_else():
    "Other modules give classes their methods: in a process of its own, where no other test has imported them"
    found = subprocess.run([sys.executable, '-W', 'ignore', '-c', _methods], capture_output=True, text=True, timeout=120)
    assert found.stdout == '[]\n', found.stdout + found.stderr

def test_what_train_returns_keeps_its_attributes(empty_folder):
    data = read_photos(draw_animals('drawn', 12, ('fox', 'seal'), px=64), n_test=3)
    trained = learner.train(data, 'scratch', 'test_resnet', epochs=1, run=learner.Run(num_workers=0))
    assert isinstance(trained, learner.Trained) and isinstance(trained.learn, learner.Learner)
    assert 0 <= trained.valid_accuracy <= 1 and len(trained.log) == 1 and (trained.recipe, trained.arch, trained.seed) == ('scratch', 'test_resnet', 42)
    folder = learner.save_model(trained, data, 'model')
    assert list(learner.load_classifier(folder).dls.vocab) == ['fox', 'seal'] and learner.read_info(folder).recipe == 'scratch'
