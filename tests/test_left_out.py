"""No photo is left out without a word: odd names, links, loose and deeper photos, the same in every command"""
import io, json, os, shutil
from pathlib import Path

import pandas as pd, pytest
from PIL import Image

from animal_clf.cleaning.quarantine import quarantine_photos, restore_photos
from animal_clf.core.images import photo_formats, read_header
from animal_clf.core.photo_files import find_photos, is_other_name, is_photo_name, looks_like_photo, walk_photos
from animal_clf.core.settings import Code, DataError, offline_arch
from animal_clf.data.folders import find_ignored, find_rows
from animal_clf.data.splits import read_photos
from animal_clf.inference.lookalike import find_lookalikes
from animal_clf.learner import load_classifier, save_model, train
from animal_clf.synthetic.animals import draw_animal, draw_animals
from commands import done, fails
from files import contents

pytestmark = pytest.mark.usefixtures('empty_folder')
animals = ('fox', 'seal', 'wolf')


# --- a folder with everything in it

def content(animal, index, kind='JPEG'):
    "The bytes of a drawn photo, unlike all others"
    file, photo = io.BytesIO(), draw_animal(animal, seed=7, index=index, px=96)
    photo.save(file, kind, **(dict(save_all=True, append_images=[photo]) if kind == 'MPO' else {}))
    return file.getvalue()

odd_photos = {'UPPER.JPG': 'JPEG', 'wget.jpg.1': 'JPEG', 'none': 'JPEG', 'IMG_0001': 'PNG', 'twitter.jpg_large': 'JPEG', 'old.jpe': 'JPEG', 'pair.mpo': 'MPO', 'wave.jp2': 'JPEG2000',
              'backup.png~': 'PNG', 'fox.jpg (1)': 'JPEG', 'thing.xyz': 'WEBP', 'bare': 'PPM', 'bits': 'BMP', 'scan.TIFF': 'TIFF', 'webp.jpg?w=400&h=300': 'WEBP'}
no_photos = {'notes.txt': b'a note', 'README': b'a text', 'page': b'<!doctype html><p>Not found', 'fox.jpg.json': b'{}', 'film.mp4': b'\0\0\0\x20ftypisom', 'BMW list': b'BM W 1, 2, 3',
             'P6': b'P6 is a chip', 'nothing': b'', 'clip': b'\0\0\0\x20ftypmp42\0\0\0\0', '.hidden.jpg': b'hidden', '.DS_Store': b'\0\0\0\1Bud1'}
faulty = {'page.jpg': (b'<html><p>Not found', Code.not_a_photo), 'empty.jpg': (b'', Code.empty), 'wget.jpg.2': (b'<html>', Code.not_a_photo), 'raw.CR2': (b'II*\0\x10\0\0\0CR', Code.unreadable),
          'cut': (content('fox', 99)[:900], Code.unreadable), 'phone.heic': (b'\0\0\0\x18ftypheic\0\0\0\0', Code.unreadable)}

def put(path, data):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)

def link(path, to): path.symlink_to(to)

def build(folder, outside):
    "Fill `folder`: what is used, and {path: code} of what becomes a row; everything else is no photo, hidden or set aside"
    used, rows = [], {}
    def use(name, data): put(folder/name, data); used.append(name)
    for animal in animals[:2]:
        for i in range(1, 5): use(f'{animal}/{animal} {i}.jpg', content(animal, i))
    for i,(name,kind) in enumerate(odd_photos.items(), 10): use(f'fox/{name}', content('fox', i, kind))
    for name,data in no_photos.items(): put(folder/'fox'/name, data)
    for name,(data,code) in faulty.items():
        put(folder/'fox'/name, data)
        rows[f'fox/{name}'] = code
    for hidden in ('.git/x.jpg', 'set-aside/label/fox/x.jpg', 'fox/.thumbnails/x.jpg', 'seal/set-aside/x.jpg'): put(folder/hidden, content('seal', 50))
    for i in range(1, 5): put(outside/'wolves'/f'{i}.jpg', content('wolf', i))
    put(outside/'wolves'/'more'/'5.jpg', content('wolf', 5))
    put(outside/'one.jpg', content('fox', 60)); put(outside/'album'/'6', content('fox', 61)); put(outside/'album'/'note.txt', b'a note')
    link(folder/'wolf', outside/'wolves'); used += [f'wolf/{i}.jpg' for i in range(1, 5)]       # a linked class folder
    link(folder/'fox'/'linked.jpg', outside/'one.jpg'); used.append('fox/linked.jpg')
    for name,to in {'gone.jpg': 'nowhere.jpg', 'itself.jpg': 'itself.jpg', 'friends': '../nowhere'}.items():
        link(folder/'fox'/name, to)
        rows[f'fox/{name}'] = Code.missing
    link(folder/'fox'/'notes too.txt', 'nowhere.txt')                                            # no photo, wherever it led
    link(folder/'lost class', outside/'nowhere'); rows['lost class'] = Code.missing
    for name,to in {'fox/up': '..', 'again': '.', 'fox/other': '../seal', 'seal/above': folder.parent}.items():
        link(folder/name, to)
        rows[name] = Code.linked
    link(outside/'album'/'back', folder); rows['fox/album/back'] = Code.linked                   # there and back
    link(folder/'fox'/'album', outside/'album'); rows['fox/album/6'] = Code.no_class
    for i,name in enumerate(('loose', 'loose.jpg', 'fox/deeper/1', 'fox/deeper/still/2.PNG.1'), 70):
        put(folder/name, content('fox', i))
        rows[name] = Code.no_class
    rows['wolf/more/5.jpg'] = Code.no_class
    if hasattr(os, 'mkfifo'):
        os.mkfifo(folder/'fox'/'pipe'); os.mkfifo(folder/'fox'/'pipe.jpg')
        rows['fox/pipe.jpg'] = Code.not_a_photo
    return sorted(used), {k: str(v) for k,v in rows.items()}

@pytest.fixture
def everything(tmp_path):
    "(folder, used, {path: code})"
    folder = tmp_path/'in here'/'animals'
    folder.mkdir(parents=True)
    return folder, *build(folder, tmp_path/'elsewhere')

@pytest.fixture(scope='module')
def model(cache, tmp_path_factory):
    "A model folder, trained on other photos of the same animals"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv('ANIMAL_CLF_CACHE', str(cache))
        data = read_photos(draw_animals(tmp_path_factory.mktemp('drawn')/'others', 8, animals, px=96, seed=1), n_test=2)
        return save_model(train(data, 'head', offline_arch), data, tmp_path_factory.mktemp('trained')/'model')

def names(paths, folder): return sorted(Path(o).relative_to(folder).as_posix() for o in paths)
def codes(rows, folder): return {Path(o['path']).relative_to(folder).as_posix(): o['code'] for o in rows}


# --- the same in every command

def test_run_uses_or_tells_everything(everything):
    folder, used, rows = everything
    data = read_photos(folder)
    assert names(data.table.path, folder) == used
    assert codes(data.skipped.to_dict('records'), folder) == rows and len(data.skipped) == len(rows) and (data.skipped.reason != '').all()
    assert set(data.table.label) == set(animals)
    reasons = dict(zip(names(data.skipped.path, folder), data.skipped.sort_values('path').reason))
    assert reasons['fox/gone.jpg'] == 'is a link that leads nowhere' and reasons['fox/up'] == 'is a link back to a folder above it'
    assert reasons['fox/other'] == reasons['fox/album/back'] == 'is a link to a folder that is read already' and reasons['fox/raw.CR2'] == 'is a raw file of a camera'

def test_clean_looks_at_or_tells_everything(everything):
    folder, used, rows = everything
    found = json.loads(done('clean', folder, '--json'))
    told = {o['path']: o['code'] for o in found['skipped']}
    unreadable = {o for o, in found['unreadable']}
    assert told == {k: v for k,v in rows.items() if v in ('no_class', 'linked') or k == 'lost class'}
    assert unreadable == set(rows) - set(told)
    assert not {path for kind,groups in found.items() if kind not in ('unreadable', 'skipped') for o in groups for path in o} - set(used)
    lines = done('clean', folder, '--review', 'page.html').splitlines()
    assert lines[0].endswith(f'{len(used) + len(unreadable)} photos') and lines[4] == f'skipped   and {len(told)-3} more; all are under `skipped` with --json'

def test_evaluate_tests_or_tells_everything(everything, model):
    folder, used, rows = everything
    put(folder/'seal'/'seal 9.jpg', content('seal', 1))
    rows['seal/seal 9.jpg'] = 'duplicate'
    model = Path(shutil.copytree(model, 'model'))
    report = json.loads(done('evaluate', model, '--data', folder, '--json'))
    assert report['n_test'] == len(used) and names(pd.read_csv(model/'report'/'answers.csv').path, folder) == used
    seen = [o | dict(path=os.path.normpath(Path('model', o['path']).absolute())) for o in report['skipped']]   # seen from the model folder
    assert str(folder) not in json.dumps(report['skipped'])   # it may be somebody's home
    assert codes(seen, folder) == rows and len(seen) == len(rows)
    n = list(rows.values())
    assert f"Left out because they are in no class folder, or in one that the model does not know: {n.count('no_class')}." in report['warnings']
    assert any(o.startswith('Links that are not followed') and o.endswith(f": {n.count('linked')}.") for o in report['warnings'])
    lines = done('evaluate', model, '--data', folder).splitlines()
    assert [o for o in lines if o.startswith('skipped')][-1] == f'skipped   and {len(rows)-3} more; all are in report/report.json'
    assert f'skipped   and {len(rows)-4} more' in done('tsne', model, '--data', folder, '--out', 'tsne.png')   # copies are shown

def test_predict_answers_or_tells_everything(everything, model):
    folder, used, rows = everything
    answers = json.loads(done('predict', model, folder, '--json'))
    loose = sorted(k for k,v in rows.items() if v == 'no_class')        # photos all the same, without a label
    assert names([o['path'] for o in answers if o['error'] is None], folder) == sorted(used + loose)
    assert names([o['path'] for o in answers if o['error']], folder) == sorted(set(rows) - set(loose))
    error = {Path(o['path']).relative_to(folder).as_posix(): o['error'] for o in answers}
    for name,what in {'fox/gone.jpg': 'leads nowhere', 'fox/itself.jpg': 'leads nowhere', 'again': 'link back to a folder above', 'fox/other': 'read already', 'fox/page.jpg': 'web page',
                      'fox/raw.CR2': 'raw file of a camera'}.items(): assert what in error[name], name

    alike = find_lookalikes(load_classifier(model), list(walk_photos(folder)))
    assert {o['path'] for o in alike if o['error']} == {o['path'] for o in answers if o['error']} and len(alike) == len(answers)
    assert all('read already' in o['error'] or 'back to' in o['error'] for o in alike if rows.get(os.path.relpath(o['path'], folder)) == 'linked')

def test_predict_in_a_file_has_the_same_rows(everything, model):
    folder, used, rows = everything
    done('predict', model, folder, '--csv', 'answers.csv')
    table = pd.read_csv('answers.csv')
    assert len(table) == len(used) + len(rows) and table.error.notna().sum() == sum(o != 'no_class' for o in rows.values())


# --- setting aside

def test_odd_photos_are_set_aside_and_come_back(tmp_path):
    folder = tmp_path/'animals'
    for i,(name,kind) in enumerate(odd_photos.items()): put(folder/'fox'/name, content('fox', i, kind))
    for name,data in no_photos.items(): put(folder/'fox'/name, data)
    (folder/'fox'/'gone').symlink_to('nowhere')
    before, paths = contents(folder), [f'fox/{o}' for o in (*odd_photos, 'gone')]
    moves = quarantine_photos(pd.DataFrame(dict(path=paths, kind='label', decision='drop')), folder)
    assert set(moves.status) == {'moved'} and find_photos(folder/'fox') == [] and len(find_photos(folder/'set-aside'/'label'/'fox')) == len(paths)
    assert set(restore_photos(folder).status) == {'moved'}
    assert {k: v for k,v in contents(folder).items() if k != 'set-aside/moves.csv'} == before and (folder/'fox'/'gone').is_symlink()
    for name in no_photos:
        with pytest.raises(DataError, match='is not the name of a photo'): quarantine_photos(pd.DataFrame(dict(path=[f'fox/{name}'], kind='label', decision='drop')), folder)

def test_apply_takes_what_can_not_be_read_and_leaves_links(everything, tmp_path):
    folder, used, rows = everything
    (folder/'wolf').unlink()
    before = contents(folder)
    done('clean', folder, '--apply')
    gone = set(before) - set(contents(folder))
    assert set(k for k,(_,code) in faulty.items()) <= {Path(o).name for o in gone}
    assert (folder/'fox'/'gone.jpg').is_symlink() and (folder/'fox'/'up').is_symlink() and (folder/'again').is_symlink()
    done('clean', folder, '--undo')
    after = contents(folder)
    assert {k: after.get(k) for k in before} == before


# --- names, contents, folders

def test_every_format_that_is_opened_is_known_by_its_first_bytes(tmp_path):
    Image.init()
    photo, tried = draw_animal('fox', px=64), set()
    for kind in photo_formats:
        if kind not in Image.SAVE: continue
        photo.save(tmp_path/kind, kind)
        tried.add(kind)
        assert looks_like_photo(tmp_path/kind), kind
        with read_header(tmp_path/kind) as img: assert img.size == photo.size
    assert {'JPEG', 'PNG', 'WEBP', 'GIF', 'BMP', 'TIFF', 'JPEG2000', 'PPM'} <= tried
    for kind,mode in dict(PPM='1', PNG='LA', TIFF='I;16', JPEG='CMYK').items():
        photo.convert(mode if mode != 'I;16' else 'L').convert(mode).save(tmp_path/'x', kind)
        assert looks_like_photo(tmp_path/'x'), (kind, mode)

def test_only_files_with_unknown_names_are_opened(tmp_path, monkeypatch):
    for o in ('1.jpg', '2.PNG', '3.jpg.4', 'notes.txt', 'list.csv', 'what', 'page.xyz'): put(tmp_path/o, b'text')
    opened = []
    monkeypatch.setattr('animal_clf.core.photo_files.open_regular', lambda path: opened.append(Path(path).name) or open(path, 'rb'))
    assert [o.name for o in find_photos(tmp_path)] == ['1.jpg', '2.PNG', '3.jpg.4'] and sorted(opened) == ['page.xyz', 'what']

def test_no_name_says_both(): assert not [f'x.{a}.{b}'for a in ('jpg', 'png') for b in ('txt', 'json', 'zip') if is_photo_name(f'x.{a}.{b}') or not is_other_name(f'x.{a}.{b}')]

@pytest.mark.parametrize('n', (2, 6))
def test_folders_that_all_link_to_one_another_are_entered_once(n, tmp_path):
    "Followed one after the other, there would be n! ways through them"
    for i in range(n):
        put(tmp_path/'all'/f'{i}'/'photo', content('fox', 1))
        for k in range(n):
            if k != i: link(tmp_path/'all'/f'{i}'/f'to {k}', f'../{k}')
    link(tmp_path/'in', 'all')
    found = [o.relative_to(tmp_path/'in').as_posix() for o in walk_photos(tmp_path/'in')]
    assert [o for o in found if o.endswith('photo')] == [f'{i}/photo' for i in range(n)] and len(found) == n + n*(n-1)
    assert len(find_rows(tmp_path/'in')) == n and set(find_ignored(tmp_path/'in').code) == {'linked'} and len(find_ignored(tmp_path/'in')) == n*(n-1)

def test_one_folder_under_two_names_is_two_classes_and_its_deeper_photos_are_told_for_both(tmp_path):
    put(tmp_path/'fox'/'1.jpg', content('fox', 1)); put(tmp_path/'fox'/'more'/'2.jpg', content('fox', 2))
    link(tmp_path/'vulpes', 'fox')
    assert find_rows(tmp_path).label.tolist() == ['fox', 'vulpes']
    assert names(find_ignored(tmp_path).path, tmp_path) == ['fox/more/2.jpg', 'vulpes/more/2.jpg']

def test_linked_splits_and_a_class_that_is_a_folder_within_another(tmp_path):
    for split in ('a', 'b'): put(tmp_path/'elsewhere'/split/'fox'/'1.jpg', content('fox', 1)); put(tmp_path/'elsewhere'/split/'2', content('fox', 2))
    (tmp_path/'data').mkdir()
    link(tmp_path/'data'/'train', tmp_path/'elsewhere'/'a'); link(tmp_path/'data'/'test', tmp_path/'elsewhere'/'b')
    assert sorted(find_rows(tmp_path/'data').split) == ['test', 'train']
    assert names(find_ignored(tmp_path/'data').path, tmp_path/'data') == ['test/2', 'train/2'] and sorted(find_ignored(tmp_path/'data').split) == ['test', 'train']
    put(tmp_path/'nested'/'dog'/'1.jpg', content('fox', 1)); put(tmp_path/'nested'/'dog'/'pups'/'2.jpg', content('fox', 2))
    link(tmp_path/'nested'/'pup', 'dog/pups')
    assert find_rows(tmp_path/'nested').label.tolist() == ['dog', 'pup'] and len(find_ignored(tmp_path/'nested')) == 0   # used, under another name

def test_a_folder_of_nothing_but_texts_has_no_photos(tmp_path):
    for name,data in no_photos.items(): put(tmp_path/'fox'/name, data)
    assert list(walk_photos(tmp_path)) == []
    with pytest.raises(DataError, match='1 folders but no photos'): find_rows(tmp_path)
    assert 'is no photo' in fails('predict', tmp_path, code=2)
