"""The stories as a learner runs them: in a real Jupyter kernel, from the first cell to the last"""
import ast, shutil, sys
from pathlib import Path

import pytest

root = Path(__file__).parent.parent
stories = root/'nbs'/'stories'


# --- what the tests share

@pytest.fixture
def jupyter(no_outside_proxy, measured, tmp_path, monkeypatch):
    "A folder for all that a kernel of this very Python keeps; in it are no photos, weights or settings of this machine, and no internet"
    from ipykernel.kernelspec import write_kernel_spec
    write_kernel_spec(tmp_path/'jupyter'/'kernels'/'python3')   # found before a `python3` of the user's, which may be another Python
    for name,folder in dict(JUPYTER_PATH='jupyter', JUPYTER_CONFIG_DIR='config', JUPYTER_RUNTIME_DIR='runtime', IPYTHONDIR='ipython',
                            ANIMAL_CLF_CACHE='cache', TORCH_HOME='torch', HF_HOME='hub', HF_HUB_CACHE='hub').items():
        monkeypatch.setenv(name, str(tmp_path/folder))
    (tmp_path/'cache').mkdir()
    for o in measured.iterdir(): (tmp_path/'cache'/o.name).symlink_to(o)
    for name in ('IN_TEST', *(f'ANIMAL_CLF_{o}' for o in ('PHOTOS', 'PETS', 'FACES', 'PEOPLE'))): monkeypatch.delenv(name, raising=False)
    for name in ('http_proxy', 'https_proxy', 'DDGS_PROXY'): monkeypatch.setenv(name, 'http://127.0.0.1:9')   # nobody listens there
    for name in ('HF_HUB_OFFLINE', 'OMP_NUM_THREADS'): monkeypatch.setenv(name, '1')
    return tmp_path

def put_weights(folder):
    "Random weights of a ResNet-18 where torchvision, whose home is `folder`, keeps those that it fetched"
    import torch
    from torchvision.models import ResNet18_Weights, resnet18
    torch.manual_seed(1)
    path = folder/'hub'/'checkpoints'/Path(ResNet18_Weights.DEFAULT.url).name
    path.parent.mkdir(parents=True)
    torch.save(resnet18().state_dict(), path)

def run_all(notebook, folder, *questions):
    "Run all cells of `notebook` in `folder`; what the expressions `questions` are worth after the last one, as text"
    import nbformat
    from nbclient import NotebookClient
    book = nbformat.read(notebook, as_version=4)
    asked = nbformat.v4.new_code_cell(f'print([str(o) for o in ({"".join(f"{o}, " for o in questions)})])')
    book.cells.append(asked)
    # the first error ends it, whatever a cell's tags allow, and is told with its cell
    client = NotebookClient(book, timeout=300, kernel_name='python3', force_raise_errors=True)
    client.resources = dict(metadata=dict(path=str(folder)))
    client.execute()
    cells = [o for o in book.cells if o.cell_type == 'code' and o.source.strip()]
    assert [o.execution_count for o in cells] == [*range(1, len(cells)+1)]   # none was skipped
    outputs = [o for cell in cells for o in cell.outputs]
    assert not [o for o in outputs if o.output_type == 'error']
    # a thread or a worker that failed: no cell fails by it
    assert not [o.text for o in outputs if o.output_type == 'stream' and 'Traceback' in o.text]
    return ast.literal_eval(''.join(o.text for o in asked.outputs if o.get('name') == 'stdout'))


# --- in CI, on drawings

def test_the_first_story_runs_with_the_learner_of_fastai(jupyter, monkeypatch):
    "By `vision_learner`, which every other test lacks the weights for; random ones serve as well, for all but its accuracy"
    put_weights(jupyter/'torch')
    monkeypatch.setenv('IN_TEST', '1')
    python, module, name, library = run_all(stories/'01_ten_animals.ipynb', stories, '__import__("sys").prefix', 'learn.arch.__module__',
                                            'learn.arch.__name__', '__import__("json").loads((folder/"model.json").read_text())["library"]')
    assert python == sys.prefix
    assert (module, name, library) == ('torchvision.models.resnet', 'resnet18', 'torchvision')


# --- by hand: "Run all" where there are neither photos nor weights nor the internet

@pytest.mark.slow
@pytest.mark.parametrize('story', sorted(o.stem for o in stories.glob('[0-9]*.ipynb')))
def test_a_story_runs_with_nothing_given(jupyter, story):
    "In a folder of its own: photos and models that were made in this checkout are neither taken nor overwritten"
    folder = jupyter/'nbs'/'stories'
    folder.mkdir(parents=True)
    shutil.copy(root/'settings.ini', jupyter)
    run_all(stories/f'{story}.ipynb', folder)
