"""What files hold, for tests that compare them"""
import hashlib, json
from pathlib import Path


def read(path): return json.loads(Path(path).read_text(encoding='utf8'))

def contents(folder):
    "The hash of every file in `folder`, by its path in there"
    return {o.relative_to(folder).as_posix(): hashlib.sha256(o.read_bytes()).hexdigest() for o in sorted(Path(folder).rglob('*')) if o.is_file()}
