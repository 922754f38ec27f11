"""What files hold, for tests that compare them"""
import hashlib, json, subprocess, sys
from contextlib import contextmanager
from pathlib import Path


def read(path): return json.loads(Path(path).read_text(encoding='utf8'))

def contents(folder):
    "The hash of every file in `folder`, by its path in there; locks hold nothing"
    return {o.relative_to(folder).as_posix(): hashlib.sha256(o.read_bytes()).hexdigest() for o in sorted(Path(folder).rglob('*')) if o.is_file() and o.name != '.lock'}

def put_table(model, name, text):
    "Another table in a model folder, as somebody would put it there who has our code: model.json knows its hash"
    values = read(Path(model)/'model.json')
    values['files'][name] = hashlib.sha256(text.encode()).hexdigest()
    (Path(model)/name).write_text(text)
    (Path(model)/'model.json').write_text(json.dumps(values))

def without_copies(cache, folder):
    "A cache like `cache`, but for what it holds of photos"
    folder.mkdir()
    for o in Path(cache).iterdir():
        if o.name not in ('photos', 'features', 'stats'): (folder/o.name).symlink_to(o.resolve())
    return folder

@contextmanager
def another_run(folder):
    "While the block runs, another process changes `folder`"
    program = f'from animal_clf.core.files import folder_lock\nwith folder_lock({str(folder)!r}): print("locked", flush=True); input()'
    process = subprocess.Popen([sys.executable, '-c', program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout.readline() == 'locked\n'
        yield
    finally: process.communicate('\n')
