"""The house rules of the design that a machine can check"""
import ast, re, subprocess, sys
from pathlib import Path

import pytest

root = Path(__file__).parent.parent
package = root/'animal_clf'
# Which rooms a room may import besides itself: data only moves to the right
floors = dict(core='', synthetic='core', vision='core', data='core vision', scraping='core data', cleaning='core vision data',
              training='core vision data', evaluation='core vision data training', inference='core vision data training',
              app='core synthetic vision training evaluation inference',
              cli='core synthetic vision data scraping cleaning training evaluation inference app',
              all='core synthetic vision data scraping cleaning training evaluation inference app',
              learner='core vision data training evaluation inference')

modules = sorted(o.relative_to(package).with_suffix('').as_posix().replace('/', '.') for o in package.rglob('[a-z]*.py'))

def tree_of(module): return ast.parse((package/f'{module.replace(".", "/")}.py').read_text())

def imports_of(module):
    "Modules of the package that `module` imports, anywhere in it"
    here = module.split('.')[:-1]
    for o in ast.walk(tree_of(module)):
        if isinstance(o, ast.Import): yield from (a.name.removeprefix('animal_clf.') for a in o.names if a.name.startswith('animal_clf.'))
        if not isinstance(o, ast.ImportFrom) or not o.level and not (o.module or '').startswith('animal_clf'): continue
        start = here[:len(here)-o.level+1] if o.level else []
        base = '.'.join([*start, *(o.module or '').removeprefix('animal_clf').strip('.').split('.')]).strip('.')
        if base in modules: yield base
        else: yield from (f'{base}.{a.name}'.strip('.') for a in o.names if f'{base}.{a.name}'.strip('.') in modules)

def room_of(module): return module.split('.')[0]

@pytest.mark.parametrize('module', modules)
def test_imports_only_what_the_design_allows(module):
    room = room_of(module)
    assert {room_of(o) for o in imports_of(module)} - {room} <= set(floors[room].split())

def test_every_room_is_in_the_table(): assert {room_of(o) for o in modules} == set(floors)

def notebooks():
    "{module: notebook} by the numbered notebooks and the faces, in the order in which they are read"
    files = [*sorted(root.glob('nbs/[0-9]*/[0-9]*.ipynb')), *sorted(root.glob('nbs/[a-z]*.ipynb'))]
    return {'.'.join(re.sub(r'^\d\d_', '', part) for part in o.relative_to(root/'nbs').with_suffix('').parts): o for o in files if o.stem != 'index'}

def test_every_module_has_its_notebook(): assert set(notebooks()) == set(modules)

@pytest.mark.parametrize('module,notebook', notebooks().items())
def test_a_notebook_exports_the_module_of_its_name(module, notebook): assert f'"#| default_exp {module}"' in notebook.read_text(encoding='utf8')

def test_the_numbers_of_the_notebooks_are_the_order_of_imports():
    order = list(notebooks())
    assert not [(o, i) for o in order for i in imports_of(o) if order.index(i) >= order.index(o)]

def test_the_readme_says_what_a_room_may_import():
    told = dict(re.findall(r'^\| \[`\d\d_(\w+)`\]\(\S+\) \| [^|]+ \| ([^|]*?) \|', (root/'README.md').read_text(encoding='utf8'), re.M))
    assert {k: set(v.replace('all of them', floors['cli']).replace('nothing', '').replace(',', ' ').split()) for k,v in told.items()} == {k: set(v.split()) for k,v in floors.items() if k not in ('all', 'learner')}

def test_the_readme_links_every_lesson():
    text = (root/'README.md').read_text(encoding='utf8')
    assert not [o for o in notebooks().values() if f']({o.relative_to(root).as_posix()})' not in text]

def public_functions():
    for name in modules:
        for o in tree_of(name).body:
            if isinstance(o, (ast.FunctionDef, ast.ClassDef)) and not o.name.startswith('_'): yield pytest.param(o, id=f'{name}.{o.name}')

@pytest.mark.parametrize('definition', list(public_functions()))
def test_public_names_have_a_one_line_docstring(definition):
    doc = ast.get_docstring(definition)
    assert doc and '\n' not in doc

_no_torch = '''
import importlib, sys
class Refuse:
    "Makes packages unimportable, as where they are not installed"
    def find_spec(self, name, path=None, target=None):
        if name.split('.')[0] in {'torch', 'torchvision', 'timm', 'fastai', 'pandas', 'matplotlib'}: raise ModuleNotFoundError(f'no {name} here', name=name)
sys.meta_path.insert(0, Refuse())
importlib.import_module('animal_clf.' + sys.argv[1])
'''

@pytest.mark.parametrize('module', ('vision.engines', 'vision.features', 'vision.imagenet', 'vision.image_stats', 'vision.duplicates', 'training.recipes',
                                    'training.calibration', 'training.open_set', 'training.model_info', 'training.model_folder', 'inference.predictor', 'inference.bulk',
                                    *(o for o in modules if room_of(o) == 'core')))
def test_what_answers_imports_no_pytorch(module):
    "Whoever only asks a model shall not have to install PyTorch: these load it, if at all, when they are called"
    subprocess.run([sys.executable, '-c', _no_torch, module], check=True)
