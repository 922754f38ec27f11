"""The house rules of the design that a machine can check"""
import ast, re
from pathlib import Path

import pytest

root = Path(__file__).parent.parent
# Who may import whom: data only moves to the right. (`download` calls `search`, `data` only reads photos from disk.)
allowed = dict(core='', sample='core', search='core', download='core search', backbone='core', features='core backbone', data='core',
               learner='core backbone features data', evaluate='core features data learner',
               cli='core sample search download backbone features data learner evaluate')

def imports_of(module):
    "Rooms that `module` imports, anywhere in it"
    tree = ast.parse((root/'animal_clf'/f'{module}.py').read_text())
    return {o.module.split('.')[-1] for o in ast.walk(tree) if isinstance(o, ast.ImportFrom) and o.module and (o.level or o.module.startswith('animal_clf'))} - {'animal_clf'}

@pytest.mark.parametrize('module', allowed)
def test_imports_only_what_the_design_allows(module): assert imports_of(module) <= set(allowed[module].split())

def test_every_room_is_in_the_table(): assert {o.stem for o in (root/'animal_clf').glob('[a-z]*.py')} == set(allowed)

def test_every_room_has_its_notebook():
    assert {re.sub(r'^\d\d_', '', o.stem) for o in (root/'nbs').glob('[0-9]*.ipynb')} == set(allowed)

def public_functions():
    for name in allowed:
        tree = ast.parse((root/'animal_clf'/f'{name}.py').read_text())
        for o in tree.body:
            if isinstance(o, (ast.FunctionDef, ast.ClassDef)) and not o.name.startswith('_'): yield pytest.param(o, id=f'{name}.{o.name}')

@pytest.mark.parametrize('definition', list(public_functions()))
def test_public_names_have_a_one_line_docstring(definition):
    doc = ast.get_docstring(definition)
    assert doc and '\n' not in doc
