"""The manifest and its journal: damaged tables, kills at every byte, files that move"""
import csv, json, random, sys
import pytest
from animal_clf.core.settings import DataError, FileError, SettingsError
from animal_clf.data.manifest import check_class, count_rows, Journal, manifest_columns, new_row, restore, read_manifest, quarantine, write_manifest
from files import another_run

def row_of(i, **values): return new_row(**{'class': 'fox'}, **{'url': f'https://photos.example/{i}.jpg', 'status': 'found'} | values)
def files_under(folder): return sorted(o.relative_to(folder).as_posix() for o in folder.rglob('*') if o.is_file())
def put(folder, path, data='x'):
    (folder/path).parent.mkdir(parents=True, exist_ok=True)
    (folder/path).write_text(data)


# --- the table

def test_manifest_keeps_everything(tmp_path):
    row = row_of(1, title='two\nlines, "quoted"; Füchse 狐 \ud83d', http_status=200, width=640, rating='5')
    write_manifest([row, row | {'url': 'y'}], tmp_path)
    assert read_manifest(tmp_path) == [row, row | {'url': 'y'}]
    with open(tmp_path/'manifest.csv', newline='', encoding='utf-8', errors='surrogatepass') as f: assert next(csv.reader(f)) == [*manifest_columns, 'rating']

def test_manifest_saved_by_a_spreadsheet(tmp_path):
    write_manifest([dict.fromkeys(manifest_columns, 'x') | dict(http_status=200, width=1, height=2)], tmp_path)
    path = tmp_path/'manifest.csv'
    path.write_bytes(b'\xef\xbb\xbf' + path.read_bytes().replace(b'\r\n', b'\n'))
    assert read_manifest(tmp_path)[0]['width'] == 1

def test_manifest_saved_by_pandas_or_with_semicolons(tmp_path):
    import pandas as pd
    write_manifest([row_of(1, http_status=200, width=640), row_of(2, title='a; b, c')], tmp_path)
    rows, path = read_manifest(tmp_path), tmp_path/'manifest.csv'
    for sep,encoding in [(',', 'utf-8'), (';', 'utf-8-sig')]:
        pd.read_csv(path).to_csv(path, index=False, sep=sep, encoding=encoding)
        assert b'200.0' in path.read_bytes() and read_manifest(tmp_path) == rows
        write_manifest(rows, tmp_path)

@pytest.mark.parametrize('values', [{'class': '../../x'}, {'was': '../x'}, {'raw': '/etc/passwd'}, {'path': '../x', 'moved': 'photos/fox/a.jpg'}])
def test_a_data_set_of_a_stranger_stays_in_its_folder(tmp_path, values):
    "Neither its table nor its journal leads out of it"
    folder = tmp_path/'data'
    put(folder, 'photos/fox/a.jpg')
    row = row_of(1, status='kept') | values
    write_manifest([row], folder)
    with pytest.raises(DataError, match='is damaged.*leads out of the folder'): read_manifest(folder)
    (folder/'manifest.csv').unlink()
    (folder/'manifest.journal').write_text(json.dumps([['fox', row['url']], row]) + '\n')
    with pytest.raises(DataError, match='is damaged.*leads out of the folder'): Journal(folder)
    assert files_under(tmp_path) == ['data/manifest.journal', 'data/photos/fox/a.jpg']

def test_manifest_of_an_older_version(tmp_path):
    columns = [o for o in manifest_columns if o not in ('time', 'phash')]
    with open(tmp_path/'manifest.csv', 'w', newline='') as f:
        table = csv.DictWriter(f, [*columns, 'rating'])
        table.writeheader()
        table.writerow({k: row_of(1, rating='5')[k] for k in [*columns, 'rating']})
    assert read_manifest(tmp_path) == [row_of(1, rating='5')]
    write_manifest(read_manifest(tmp_path), tmp_path)
    assert read_manifest(tmp_path) == [row_of(1, rating='5')]

header = ','.join(manifest_columns)
empty = ',' * (len(manifest_columns)-1)
def line(**values): return header.encode() + b'\n' + ','.join(str(values.get(k, '')) for k in manifest_columns).encode() + b'\n'

@pytest.mark.parametrize('text', [b'class,url\nfox,x\n', b'\xff\xfe\x00', header.encode() + b'\na,b\n', header.encode() + f'\n{empty},,,,\n'.encode(),
                                  line(width='wide'), line(width='1.5'), line(http_status='²'), line(path='../x'), line(raw='/etc/passwd'), line(path='a/../../x'),
                                  line(raw=r'..\x'), line(path='C:/x')])
def test_damaged_manifest(tmp_path, text):
    (tmp_path/'manifest.csv').write_bytes(text)
    with pytest.raises(DataError, match='is damaged'): read_manifest(tmp_path)
    assert (tmp_path/'manifest.csv').read_bytes() == text

def test_a_manifest_that_is_a_folder(tmp_path):
    (tmp_path/'manifest.csv').mkdir()
    with pytest.raises(DataError, match='is damaged: .*Is a directory'): read_manifest(tmp_path)

@pytest.mark.parametrize('name', ['', '..', '.fox', 'a/b', 'a\\b', '../fox', ' fox', 'fox\n', 'f\0x', 'x'*201, None, 5, 'set-aside', 'RAW', 'Photos', 'train', 'valid', 'test'])
def test_classes_that_cannot_be_folders(name):
    with pytest.raises(SettingsError): check_class(name)


# --- the journal

def test_rows_of_the_journal_replace_older_ones(tmp_path):
    rows = [row_of(i) for i in range(3)] + [new_row(**{'class': 'fox'}, raw='raw/fox/a.jpg', path='raw/fox/a.jpg', status='fetched')]
    write_manifest(rows, tmp_path)
    with Journal(tmp_path) as journal:
        journal.add(rows[1] | dict(status='failed'))
        journal.add(row_of(7))
        journal.add(rows[3] | dict(status='kept', path='photos/fox/a.jpg'))
        journal.add(rows[1] | dict(status='fetched', rating='5'))
        journal.add(row_of(1) | {'class': 'wolf'})
    assert [(o['class'], o['url'][-5:-4] or o['path'], o['status'], o.get('rating')) for o in read_manifest(tmp_path)] == [
        ('fox', '0', 'found', None), ('fox', '1', 'fetched', '5'), ('fox', '2', 'found', None), ('fox', 'photos/fox/a.jpg', 'kept', None),
        ('fox', '7', 'found', None), ('wolf', '1', 'found', None)]

def test_a_journal_cut_at_any_byte(tmp_path):
    write_manifest([row_of(0)], tmp_path)
    path = tmp_path/'manifest.journal'
    with Journal(tmp_path) as journal:
        journal.add(row_of(0, status='failed', reason='“gone” 狐\n\ud83d'))
        journal.add(row_of(1, status='fetched'))
    data, states = path.read_bytes(), []
    for i in range(len(data)+1):
        path.write_bytes(data[:i])
        before = read_manifest(tmp_path)
        with Journal(tmp_path) as journal: journal.add(row_of(2))        # goes on behind what was torn
        assert read_manifest(tmp_path) == before + [row_of(2)]
        if before not in states: states.append(before)
    assert [[o['status'] for o in rows] for rows in states] == [['found'], ['failed'], ['failed', 'fetched']]

def test_a_kill_at_any_step_of_writing(tmp_path, monkeypatch):
    "Whatever is left, it is read as the new rows or as those before, never as a mixture"
    class Killed(BaseException): pass
    def kill_after(n):
        left = [n]
        def watch(event, args):
            if event not in ('open', 'os.rename', 'os.remove') or str(tmp_path) not in str(args[0]) or not watching[0]: return
            left[0] -= 1
            if left[0] < 0: raise Killed
        return watch
    watching, watcher = [False], [None]
    sys.addaudithook(lambda event, args: watcher[0] and watcher[0](event, args))
    for n in range(20):
        for o in tmp_path.iterdir(): o.unlink()
        write_manifest([row_of(0), row_of(1)], tmp_path)
        with Journal(tmp_path) as journal: journal.add(row_of(0, status='failed'))
        old = read_manifest(tmp_path)
        new = [row_of(0, status='kept'), row_of(1)]               # changed without the journal, as `resize` does
        watcher[0], watching[0] = kill_after(n), True
        try: write_manifest(new, tmp_path)
        except Killed: pass
        else: break
        finally: watching[0] = False
        found = read_manifest(tmp_path)
        assert found in (old, new)
        with Journal(tmp_path) as journal: journal.add(row_of(2))  # and the next run can go on
        assert read_manifest(tmp_path) == found + [row_of(2)]
    assert 3 < n < 20 and read_manifest(tmp_path) == new

def test_a_damaged_journal_is_told(tmp_path):
    (tmp_path/'manifest.journal').write_bytes(b'{"half\n[]\n')
    with pytest.raises(DataError, match='is damaged'): read_manifest(tmp_path)

def test_one_run_at_a_time(tmp_path):
    with another_run(tmp_path), pytest.raises(FileError, match='is being changed by another run'): Journal(tmp_path)
    with Journal(tmp_path) as journal: journal.add(row_of(1))

def test_no_room_for_the_journal(tmp_path):
    (tmp_path/'data').write_text('a file')
    with pytest.raises(FileError, match='can not be written'): Journal(tmp_path/'data').add(row_of(1))

def test_a_journal_without_rows_leaves_no_trace(tmp_path):
    with Journal(tmp_path/'data'): pass
    assert files_under(tmp_path) == [] and not (tmp_path/'data').exists()


# --- setting aside and putting back

def test_the_photo_moves_and_the_raw_file_stays(tmp_path):
    for name in ('raw', 'photos'): put(tmp_path, f'{name}/fox/a.jpg', name)
    row = row_of(1, raw='raw/fox/a.jpg', path='photos/fox/a.jpg', status='kept')
    before = dict(row)
    quarantine(row, tmp_path, 'blurred', 'a person said so')
    assert files_under(tmp_path) == ['raw/fox/a.jpg', 'set-aside/blurred/fox/a.jpg'] and (tmp_path/row['path']).read_text() == 'photos'
    write_manifest([row], tmp_path)
    row, = read_manifest(tmp_path)
    restore(row, tmp_path)
    assert files_under(tmp_path) == ['manifest.csv', 'photos/fox/a.jpg', 'raw/fox/a.jpg'] and row == before | {'was': ''}

def test_without_a_small_photo_the_raw_file_moves(tmp_path):
    put(tmp_path, 'raw/fox/a.png')
    row = row_of(1, raw='raw/fox/a.png', path='raw/fox/a.png', status='fetched')
    quarantine(row, tmp_path, 'unreadable', 'is damaged')
    assert files_under(tmp_path) == ['set-aside/unreadable/fox/a.png'] and row['raw'] == ''
    restore(row, tmp_path)
    assert files_under(tmp_path) == ['raw/fox/a.png'] == [row['raw']] == [row['path']] and row['status'] == 'fetched'

def test_photos_of_a_folder_of_another_shape(tmp_path):
    put(tmp_path, 'train/fox/a.jpg')
    row = new_row(**{'class': 'fox'}, path='train/fox/a.jpg', status='kept', split='train')
    quarantine(row, tmp_path, 'leak', 'also in test')
    assert files_under(tmp_path) == ['set-aside/leak/fox/a.jpg']
    restore(row, tmp_path)
    assert files_under(tmp_path) == ['train/fox/a.jpg'] and row['status'] == 'kept'

def test_nothing_is_overwritten(tmp_path):
    rows = []
    for i in range(3):
        put(tmp_path, 'photos/fox/a.jpg', str(i))
        rows.append(row_of(i, path='photos/fox/a.jpg', status='kept'))
        quarantine(rows[-1], tmp_path, 'blurred', 'yes')
    for o in rows: restore(o, tmp_path)
    assert [(o['path'], (tmp_path/o['path']).read_text()) for o in rows] == [('photos/fox/a.jpg', '0'), ('photos/fox/a-2.jpg', '1'), ('photos/fox/a-3.jpg', '2')]

def test_a_photo_that_is_gone(tmp_path):
    row = row_of(1, path='photos/fox/a.jpg', status='kept')
    quarantine(row, tmp_path, 'blurred', 'yes')
    assert (row['path'], row['status']) == ('', 'set aside')
    with pytest.raises(DataError, match='no file'): restore(row, tmp_path)

@pytest.mark.parametrize('url', ['https://photos.example/1.jpg', ''], ids=['address', 'file'])
@pytest.mark.parametrize('raw', ['raw/fox/a.jpg', ''], ids=['small', 'raw'])
def test_a_kill_between_the_line_and_the_move(tmp_path, monkeypatch, url, raw):
    path = 'photos/fox/a.jpg' if raw else 'raw/fox/a.jpg'
    put(tmp_path, path)
    row = new_row(**{'class': 'fox'}, url=url, raw=raw or path, path=path, status='kept' if raw else 'fetched')
    write_manifest([row_of(0), row], tmp_path)
    def killed(*args): raise KeyboardInterrupt
    for change,place in [(lambda o,j: quarantine(o, tmp_path, 'blurred', 'yes', j), 'set-aside/blurred/fox/a.jpg'), (lambda o,j: restore(o, tmp_path, j), path)]:
        rows = read_manifest(tmp_path)
        with Journal(tmp_path) as journal, monkeypatch.context() as m:
            m.setattr('animal_clf.data.manifest._move', killed)
            with pytest.raises(KeyboardInterrupt): change(rows[1], journal)
        assert not (tmp_path/place).exists()
        with Journal(tmp_path): rows = read_manifest(tmp_path)                 # the next run
        assert len(rows) == 2 and rows[1]['path'] == place and (tmp_path/place).exists()
        with Journal(tmp_path): assert read_manifest(tmp_path) == rows         # and the one after it
    assert {k: v for k,v in rows[1].items() if k != 'was'} == row

def test_many_moves_and_kills_in_random_order(tmp_path):
    "Rows without an address, which only their files tell apart"
    luck = random.Random(1)
    for i in range(8): put(tmp_path, f'photos/fox/{i}.jpg', str(i))
    write_manifest([new_row(**{'class': 'fox'}, path=f'photos/fox/{i}.jpg', status='kept', title=str(i)) for i in range(8)], tmp_path)
    for _ in range(60):
        with Journal(tmp_path) as journal:
            rows = read_manifest(tmp_path)
            assert len(rows) == 8 and all((tmp_path/o['path']).read_text() == o['title'] for o in rows)
            for row in luck.sample(rows, 3):
                if row['status'] == 'kept': quarantine(row, tmp_path, luck.choice(['a', 'b']), 'x', journal)
                else: restore(row, tmp_path, journal)
        if luck.random() < .3: write_manifest(rows, tmp_path)

def test_counts_add_up():
    rows = [row_of(0), row_of(1, status='fetched'), row_of(2, status='failed', code='http_error', http_status=404, reason='HTTP 404'), row_of(3, status='kept'), row_of(4, status='missing'),
            row_of(5, status='set aside', path='set-aside/duplicate/fox/a.jpg', code='duplicate', reason='the same as b'), row_of(6, status='set aside', reason='gone', url='')]
    counts = count_rows(rows)
    assert counts == dict(found=6, kept=1, failed=1, set_aside=2, missing=1, open=2, duplicate=1, reasons={'HTTP 404': 1, 'duplicate': 1, 'gone': 1})
    assert sum(counts[k] for k in ('kept', 'failed', 'set_aside', 'missing', 'open')) == len(rows)
