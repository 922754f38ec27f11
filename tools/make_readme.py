"""Make README.md from nbs/index.ipynb; run by check.sh, which fails if the two disagree."""
from pathlib import Path

import nbformat
from nbconvert import MarkdownExporter

root = Path(__file__).parent.parent
notebook = nbformat.read(root/'nbs/index.ipynb', as_version=4)
notebook.metadata.language_info = dict(name='python')
for cell in notebook.cells: # warnings of libraries teach nothing
    if cell.cell_type == 'code': cell.outputs = [o for o in cell.outputs if o.get('name') != 'stderr']
text, _ = MarkdownExporter().from_notebook_node(notebook)
note = '<!-- Made from nbs/index.ipynb by tools/make_readme.py: edit the notebook. -->\n'
links = {'](images/': '](nbs/images/', '](stories/': '](nbs/stories/', '](guides/': '](nbs/guides/', **{f']({o.name})': f'](nbs/{o.name})' for o in (root/'nbs').glob('*.ipynb')}}
for old,new in links.items(): text = text.replace(old, new)
(root/'README.md').write_text(note + text.strip() + '\n', encoding='utf8')
