"""Make README.md from nbs/index.ipynb; run by check.sh, which fails if the two disagree."""
import re
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
folders = '|'.join(o.name for o in (root/'nbs').iterdir() if o.is_dir())
text = re.sub(rf'\]\((?=(?:{folders})[/)]|\w+\.ipynb)', '](nbs/', text)   # links are relative to the notebook
(root/'README.md').write_text(note + text.strip() + '\n', encoding='utf8')
