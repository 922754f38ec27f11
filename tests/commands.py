"""The shell command, run in this process: what it prints, or the one line that it says when it fails"""
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO

from animal_clf.cli.main import main


def shell(*args):
    "Exit code, stdout and stderr of `animal-clf ARGS`, in this process"
    out, err = StringIO(), StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        try: code = main([str(o) for o in args])
        except SystemExit as e: code = e.code
    return code, out.getvalue(), err.getvalue()

def done(*args):
    "What `animal-clf ARGS` prints when all is well"
    code, out, err = shell(*args)
    assert (code, err) == (0, ''), err
    return out

def fails(*args, code=1):
    "The one line that `animal-clf ARGS` says when it fails"
    got, out, err = shell(*args)
    assert got == code and err.count('\n') == 1 and err.startswith('animal-clf: '), (got, err)
    return err
