"""Photos that are set aside and put back: killed after every single file operation, by two runs at once, after a log was cut short, under names that are formulas"""
import csv, hashlib, json, os, shutil, signal, subprocess, sys
from pathlib import Path

import pandas as pd, pytest

from animal_clf.cleaning.issues import write_decisions
from animal_clf.cleaning.quarantine import quarantine_photos, read_decisions, read_moves, restore_photos
from animal_clf.core.files import from_cell, to_cell
from animal_clf.core.settings import DataError, FileError
from animal_clf.data.manifest import new_row, read_manifest, write_manifest
from files import another_run, contents

names = ('photos/fox/1.jpg', 'photos/fox/2.jpg', 'photos/seal/=1+1.jpg', 'photos/seal/a,"b".jpg', 'photos/seal/two\nlines.jpg', '@home/+1.jpg', "'=1/-2.jpg")

def make_photos(folder, paths=names):
    for i,o in enumerate(paths):
        (folder/o).parent.mkdir(parents=True, exist_ok=True)
        (folder/o).write_bytes(b'photo %d' % i)
    return folder

def decide(paths, decision='drop', kind='label', reason='=a "reason",\nof two lines'):
    return pd.DataFrame([dict(path=o, kind=kind, decision=decision, label='=fox', reason=reason) for o in paths], dtype=object)

def photos_of(folder): return {k: v for k,v in contents(folder).items() if k.endswith('.jpg')}

def list_manifest(paths): return [new_row(**{'class': Path(o).parent.name}, path=o, status='kept', title='=1+1') for o in paths]


# --- killed after every operation

mover = """
import os, shutil, signal, sys
from pathlib import Path
from animal_clf.cleaning.quarantine import quarantine_photos, restore_photos
sys.path.insert(0, sys.argv[1])
from test_moves import decide, names, photos_of
from animal_clf.data.manifest import read_manifest

source, folder, drop = Path(sys.argv[2]), Path(sys.argv[3]), sys.argv[4] == 'drop'
paths = names[:4]
def work():
    return quarantine_photos(decide(paths), folder) if drop else restore_photos(folder)

def killed(stop):
    "Do the work in a process of its own, killed before its file operation number `stop`; was it?"
    if child := os.fork(): return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    left = stop
    def count(event, args):
        nonlocal left
        if event not in ('open', 'os.rename', 'os.mkdir', 'os.remove', 'os.rmdir', 'os.truncate', 'shutil.rmtree'): return
        if not str(args[0]).startswith(str(folder)): return
        left -= 1
        if left < 0: os.kill(os.getpid(), signal.SIGKILL)
    sys.addaudithook(count)
    work()
    os._exit(0)

whole, stop = sorted(photos_of(source).values()), 0
while True:
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(source, folder)
    was_killed = killed(stop)
    assert sorted(photos_of(folder).values()) == whole, f'lost after {stop} operations'
    work()
    here = photos_of(folder)
    assert sorted(here.values()) == whole and all(any(o.startswith('set-aside/label') and o.endswith(Path(p).name) for o in here) == drop for p in paths), stop
    restore_photos(folder)
    assert sorted(photos_of(folder)) == sorted(names) and {o['status'] for o in read_manifest(folder)} == {'kept'}, stop
    if not was_killed: break
    stop += 1
print(stop)
"""

@pytest.mark.skipif(os.name == 'nt', reason='no fork on Windows')
@pytest.mark.parametrize('what', ['drop', 'restore'])
def test_a_kill_after_any_operation_loses_nothing(tmp_path, what):
    folder = make_photos(tmp_path/'data')
    write_manifest(list_manifest(names), folder)
    if what == 'restore': quarantine_photos(decide(names[:4]), folder)
    ran = subprocess.run([sys.executable, '-c', mover, str(Path(__file__).parent), str(folder), str(tmp_path/'copy'), what], capture_output=True, text=True, timeout=300)
    assert ran.returncode == 0, ran.stderr
    assert int(ran.stdout) > 15

def test_a_log_that_is_cut_short_anywhere(tmp_path):
    folder = make_photos(tmp_path/'data')
    quarantine_photos(decide(names[:2]), folder)
    log = folder/'set-aside/moves.csv'
    first = len(log.read_bytes())
    quarantine_photos(decide(names[2:]), folder)
    whole, moves = log.read_bytes(), read_moves(folder)
    for n in range(first, len(whole)):                 # as far as a kill let it come
        log.write_bytes(whole[:n])
        found = read_moves(folder)
        assert [o | dict(reason='') for o in found] == [o | dict(reason='') for o in moves[:len(found)]] and len(found) >= 2
    log.write_bytes(whole[:first+30])
    quarantine_photos(decide(['photos/fox/1.jpg']), make_photos(folder, names[:1]))   # goes on behind the last whole line
    assert len(read_moves(folder)) == 3 and list(restore_photos(folder, ['photos/fox/2.jpg']).status) == ['moved']

def test_no_room_for_the_log(tmp_path):
    folder = make_photos(tmp_path/'data')
    quarantine_photos(decide(names[:1]), folder)
    before = contents(folder)
    program = """
import resource, signal, sys
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from test_moves import decide, names
from animal_clf.cleaning.quarantine import quarantine_photos
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (300, 300))
quarantine_photos(decide(names[1:], reason='x'*300), Path(sys.argv[2]))
"""
    ran = subprocess.run([sys.executable, '-B', '-c', program, str(Path(__file__).parent), str(folder)], capture_output=True, text=True, timeout=60)
    assert 'FileError' in ran.stderr and 'can not be written' in ran.stderr and contents(folder) == before


# --- two at once

both = """
import sys
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from test_moves import decide
from animal_clf.cleaning.quarantine import quarantine_photos, restore_photos
from animal_clf.core.settings import FileError
folder = Path(sys.argv[2])
print('ready', flush=True)
input()
while True:
    try: moves = restore_photos(folder) if sys.argv[3] == 'undo' else quarantine_photos(decide([f'photos/fox/{i}.jpg' for i in range(int(sys.argv[3]), 400, 2)]), folder)
    except FileError as e:
        assert 'is being changed by another run' in str(e), e
        continue
    print(moves.status.value_counts().to_dict())
    break
"""

def run_both(folder, *what):
    "Two runs that begin at the same moment, each again until it is let; what they said"
    runs = [subprocess.Popen([sys.executable, '-c', both, str(Path(__file__).parent), str(folder), o], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for o in what]
    for o in runs: assert o.stdout.readline() == 'ready\n'
    for o in runs: o.stdin.write('\n'); o.stdin.flush()
    said = [o.communicate(timeout=120) for o in runs]
    assert all(o.returncode == 0 for o in runs), said
    return [o for o,_ in said]

def test_two_runs_at_once_lose_no_entry(tmp_path):
    folder = make_photos(tmp_path/'data', [f'photos/fox/{i}.jpg' for i in range(400)])
    before = photos_of(folder)
    run_both(folder, '0', '1')
    assert len(read_moves(folder)) == 400 and not [o for o in photos_of(folder) if o.startswith('photos')]
    said = run_both(folder, 'undo', 'undo')
    assert photos_of(folder) == before and sorted(said)[0] == "{'moved': 400}\n"

def test_the_other_run_is_told_in_a_line(tmp_path):
    folder = make_photos(tmp_path/'data')
    with another_run(folder):
        for work in (lambda: quarantine_photos(decide(names[:1]), folder), lambda: restore_photos(folder)):
            with pytest.raises(FileError, match='is being changed by another run; expected one run at a time'): work()
    assert contents(folder) == contents(make_photos(tmp_path/'same')) and list(quarantine_photos(decide(names[:1]), folder).status) == ['moved']
    assert not list(folder.rglob('.lock'))


# --- names that are formulas

def test_cells_are_text_for_a_spreadsheet_and_read_back_equal(tmp_path):
    folder = make_photos(tmp_path/'data')
    write_manifest(list_manifest(names), folder)
    table = tmp_path/'decisions.csv'
    write_decisions(decide(names), table)
    assert list(read_decisions(table, folder).path) == list(names) and set(read_decisions(table, folder).label) == {'=fox'}
    quarantine_photos(read_decisions(table, folder), folder)
    for file in (table, folder/'set-aside/moves.csv', folder/'manifest.csv'):
        with open(file, newline='', encoding='utf8') as f: cells = [o for row in csv.reader(f) for o in row]
        assert not [o for o in cells if o.startswith(tuple('=+-@\t\r'))], file
    assert {o['title'] for o in read_manifest(folder)} == {'=1+1'} and {o['path'] for o in read_moves(folder)} == set(names)
    restore_photos(folder)
    assert sorted(photos_of(folder)) == sorted(names)
    (folder/'manifest.csv').write_text((folder/'manifest.csv').read_text().replace("'=1+1", '=1+1'))   # of an earlier version
    assert {o['title'] for o in read_manifest(folder)} == {'=1+1'}


# --- a stranger's log and links

def test_a_log_from_a_stranger_moves_nothing_out(tmp_path):
    folder, outside = make_photos(tmp_path/'data'), make_photos(tmp_path/'outside')
    (folder/'set-aside').mkdir()
    (folder/'set-aside/link').symlink_to(outside)
    with open(folder/'set-aside/moves.csv', 'w', newline='') as f:
        csv.writer(f).writerows([('time', 'path', 'to', 'kind', 'reason'), ('', '../stolen.jpg', 'set-aside/../photos/fox/1.jpg', 'label', ''),
                                 ('', 'photos/fox/new.jpg', 'set-aside/link/photos/fox/1.jpg', 'label', ''), ('', 'photos/fox/3.jpg', 'set-aside/../../outside/photos/fox/2.jpg', 'label', '')])
    before = contents(folder), contents(outside)
    moves = restore_photos(folder)
    assert not (moves.status == 'moved').any() and (contents(folder), contents(outside)) == before

@pytest.mark.skipif(os.name == 'nt', reason='no pipes with names on Windows')
@pytest.mark.parametrize('bad', ['pipe', 'folder', 'columns'])
def test_a_log_that_is_none(tmp_path, bad):
    folder = make_photos(tmp_path/'data')
    log = folder/'set-aside/moves.csv'
    log.parent.mkdir()
    if bad == 'pipe': os.mkfifo(log)
    elif bad == 'folder': log.mkdir()
    else: log.write_text('path,to\na,b\n')
    with pytest.raises(DataError, match='moves.csv` is damaged'): restore_photos(folder)
    with pytest.raises(DataError, match='moves.csv` is damaged'): quarantine_photos(decide(names[:1]), folder)

@pytest.mark.skipif(os.name == 'nt', reason='links need rights on Windows')
def test_a_folder_that_becomes_a_link_while_photos_move(tmp_path, monkeypatch):
    "Whenever it is swapped, no photo from outside moves, and none goes out"
    import animal_clf.cleaning.quarantine as module
    for when in range(4):
        folder, outside = make_photos(tmp_path/f'data{when}'), make_photos(tmp_path/f'outside{when}/photos')
        for o in outside.rglob('*.jpg'): o.write_bytes(b'from outside')
        before, left, real = contents(outside), when, os.makedirs
        def swap(*args, **kwargs):
            nonlocal left
            left -= 1
            if left == -1:
                (folder/'photos/fox').rename(folder/'photos/was')
                (folder/'photos/fox').symlink_to(outside/'photos/fox')
            return real(*args, **kwargs)
        monkeypatch.setattr(module.os, 'makedirs', swap)
        moves = quarantine_photos(decide(names[:4]), folder)
        monkeypatch.undo()
        assert contents(outside) == before and b'from outside' not in {o.read_bytes() for o in (folder/'set-aside').rglob('*.jpg')}
        assert len(photos_of(folder)) >= len(names) and set(moves.status) <= {'moved', 'failed'}
