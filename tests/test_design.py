"""The house rules of the design that a machine can check"""
import ast, re
from pathlib import Path

import pytest

root = Path(__file__).parent.parent
# Who may import whom: data only moves to the right
allowed = dict(core='', folders='core', cache='core', sample='core', faults='core folders', breeds='core sample', faces='core sample', people='core sample', search='core',
               addresses='core', turns='core addresses', fetch='core addresses turns', manifest='core', processes='', decoder='core processes',
               photos='core manifest decoder', candidates='manifest', download='core search fetch manifest decoder photos candidates',
               backbone='core', features='core backbone cache', looks='core cache', duplicates='core features looks', findings='core', imagenet='core backbone features',
               clean='core folders backbone features imagenet looks duplicates findings', review='core findings', decisions='core manifest findings',
               data='core folders duplicates', labels='core data', loaders='core data labels', recipes='core known labels', calibration='core', known='core features imagenet', nearness='calibration known', network='core backbone calibration recipes',
               distributed='core', speed='core', checkpoints='core', training='core checkpoints distributed network recipes speed',
               heads='calibration data features labels network', model_info='core backbone recipes', model_file='core backbone data known loaders model_info nearness network recipes training', curves='core',
               learner='core backbone checkpoints data distributed features heads imagenet known labels loaders model_file model_info nearness network recipes training',
               metrics='core calibration', comparison='core metrics', test_set='core backbone data duplicates features folders manifest metrics',
               explain='core backbone features network', evaluate='core calibration comparison features imagenet labels learner metrics network test_set',
               plots='core evaluate features metrics', checks='core evaluate folders known learner metrics plots test_set', page='core',
               report='core checks curves evaluate explain features learner metrics page plots', side_by_side='core comparison page', lookalike='core backbone explain features imagenet known learner', options='',
               answering='imagenet learner network', predict='core answering backbone calibration imagenet known learner network', stream='core', spread='core learner predict',
               export='core answering backbone data learner loaders model_file network', uploads='core', openings='core processes uploads', batching='core', pages='',
               desk='batching core explain features learner lookalike openings page pages predict sample test_set uploads', app='batching core desk page pages predict uploads',
               console='core', tidy='core console folders clean findings review decisions', ask='core console learner lookalike page predict spread stream test_set',
               cli='core options console ask tidy folders sample fetch manifest download backbone data labels recipes checkpoints distributed training learner '
                   'test_set evaluate checks report side_by_side export app')

def imports_of(module):
    "Rooms that `module` imports, anywhere in it"
    tree = ast.parse((root/'animal_clf'/f'{module}.py').read_text())
    return {o.module.split('.')[-1] for o in ast.walk(tree) if isinstance(o, ast.ImportFrom) and o.module and (o.level or o.module.startswith('animal_clf'))} - {'animal_clf'}

@pytest.mark.parametrize('module', allowed)
def test_imports_only_what_the_design_allows(module): assert imports_of(module) <= set(allowed[module].split())

def test_every_room_is_in_the_table(): assert {o.stem for o in (root/'animal_clf').glob('[a-z]*.py')} == set(allowed)

def test_every_room_has_its_notebook():
    assert {re.sub(r'^\d\d[a-z]?_', '', o.stem) for o in (root/'nbs').glob('[0-9]*.ipynb')} == set(allowed)

def public_functions():
    for name in allowed:
        tree = ast.parse((root/'animal_clf'/f'{name}.py').read_text())
        for o in tree.body:
            if isinstance(o, (ast.FunctionDef, ast.ClassDef)) and not o.name.startswith('_'): yield pytest.param(o, id=f'{name}.{o.name}')

@pytest.mark.parametrize('definition', list(public_functions()))
def test_public_names_have_a_one_line_docstring(definition):
    doc = ast.get_docstring(definition)
    assert doc and '\n' not in doc
