"""Commands that start processes work under each way in which Python can start them: fork (Linux, until 3.13), spawn (Windows, macOS) and forkserver (Linux, from 3.14)"""
import subprocess, sys
from pathlib import Path
import pytest
from animal_clf.synthetic.animals import draw_animals

program = """
import multiprocessing, sys
from pathlib import Path

def run():
    multiprocessing.set_start_method(sys.argv[1])
    from animal_clf.cli.main import main
    offline = ('--arch', 'tf_efficientnet_lite0')
    for args in (('train', '--data', 'photos', '--out', 'model', '--epochs', '1', '--workers', '2', '--precision', 'fp32', *offline),
                 ('evaluate', 'model', '--data', 'photos'), ('predict', 'model', 'photos/fox', '--csv', 'answers.csv'), ('clean', 'photos', '--json')):
        code = main(list(args))
        print('exit', args[0], code, flush=True)
    from animal_clf.scraping.resize import resize
    rows = resize('.', 64)   # decodes in processes of its own
    print('resized', len(rows), {o['status'] for o in rows})

if __name__ == '__main__': run()
"""

@pytest.mark.parametrize('method', ['fork', 'spawn', 'forkserver'])
def test_commands_under_each_start_method(method, empty_folder):
    draw_animals('photos', 9, ('fox', 'seal', 'zebra'), px=96)
    draw_animals('raw', 2, ('fox',), px=96)
    Path('run.py').write_text(program)
    found = subprocess.run([sys.executable, 'run.py', method], capture_output=True, text=True, timeout=240)
    said = [o for o in found.stdout.splitlines() if o.startswith(('exit', 'resized'))]
    assert said == ['exit train 0', 'exit evaluate 0', 'exit predict 0', 'exit clean 0', "resized 2 {'kept'}"], found.stdout[-2000:] + found.stderr[-2000:]
    assert 'Traceback' not in found.stderr and 'Warning' not in found.stderr
