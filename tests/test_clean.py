"""`animal-clf clean` from end to end: what it finds, what it moves, and what it makes of odd collections"""
import json, os, shutil
from io import BytesIO, TextIOWrapper
from pathlib import Path

import numpy as np, pandas as pd, pytest
from PIL import Image, ImageOps
from animal_clf.cleaning.detect import InspectedPhotos, find_duplicates, find_issues
from animal_clf.cli.main import main
from animal_clf.core.photo_files import find_photos
from animal_clf.cleaning.corruptions import copy_kinds, add_corruptions
from animal_clf.cleaning.issues import issue_columns, issue_types
from animal_clf.core.settings import Code
from animal_clf.data.folders import find_rows
from animal_clf.vision.duplicates import CopyGroups
from animal_clf.vision.image_stats import ImageStats, stats_dtype
from animal_clf.data.manifest import new_row, read_manifest, write_manifest
from animal_clf.synthetic.animals import draw_animal, draw_animals
from commands import done, fails, shell
from files import contents
from servers import use_hub

animals = ('fox', 'seal', 'zebra')


# --- what the tests share

@pytest.fixture(autouse=True)
def alone(empty_folder, tmp_path, monkeypatch):
    "No way out"
    use_hub(monkeypatch, 'http://127.0.0.1:9', tmp_path)

def clean(folder, *options): return json.loads(done('clean', folder, *options, '--json'))
def photos_of(folder): return {k: v for k,v in contents(folder).items() if not k.startswith('set-aside/') and k != 'review.html'}
def flat(groups): return {path for group in groups for path in group}

def fill(folder, animal, count, start=1, px=96):
    "`count` drawings of `animal`"
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(start, start + count): draw_animal(animal, index=i, px=px).save(folder/f'{i}.png')
    return folder

@pytest.fixture(scope='module')
def spoilt(tmp_path_factory):
    "(Folder with ready splits and planted faults, what was planted, what are leaks)"
    drawn, folder = draw_animals(tmp_path_factory.mktemp('drawn')/'animals', 16, animals, px=160), tmp_path_factory.mktemp('spoilt')/'animals'
    for o in drawn.glob('*/*.jpg'):
        to = folder/dict(enumerate(['test']*4 + ['valid']*3)).get(int(o.stem[-4:]) - 1, 'train')/o.parent.name
        to.mkdir(parents=True, exist_ok=True)
        shutil.copy(o, to)
    leaks = add_corruptions(folder, dict.fromkeys(copy_kinds, 2), across=True)
    others = add_corruptions(folder, dict(exact=2, wrong_label=2, logo=2, blurred=2, unreadable=3), planted=leaks)
    return folder, pd.concat([leaks, others], ignore_index=True), leaks

@pytest.fixture(scope='module')
def found(spoilt, cache):
    "What `--json` printed for it, read"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv('ANIMAL_CLF_CACHE', str(cache))
        return clean(spoilt[0])

@pytest.fixture
def copy(spoilt, tmp_path): return shutil.copytree(spoilt[0], tmp_path/'copy')


# --- looking

def test_json_has_every_kind_and_paths_relative_to_the_folder(spoilt, found):
    assert list(found) == list(issue_types)
    assert all(isinstance(path, str) and (spoilt[0]/path).is_file() and not Path(path).is_absolute() for groups in found.values() for path in flat(groups))
    for kind,groups in found.items(): assert all(len(o) > 1 if kind in ('duplicate', 'leak') else len(o) == 1 for o in groups), kind
    assert all(len(flat(groups)) == sum(map(len, groups)) for groups in found.values())   # a photo once in each kind

def test_planted_faults_are_found(spoilt, found):
    folder, planted, leaks = spoilt
    of = lambda *kinds: set(planted[planted.kind.isin(kinds)].path)
    assert set(leaks.path) <= flat(found['leak'])
    assert of(*copy_kinds) <= flat(found['duplicate'])
    assert flat(found['unreadable']) == of('unreadable')
    assert of('logo', 'blurred') <= flat(found['quality'])
    assert len(of('wrong_label') & flat(found['label'])) >= 1

def test_leaks_are_duplicates_and_have_two_sides(found):
    sides = lambda group: {o.split('/')[0] for o in group}
    assert found['leak'] and {*map(tuple, found['leak'])} <= {*map(tuple, found['duplicate'])}
    for group in found['duplicate']: assert (len(sides(group)) > 1) == (group in found['leak'])

def test_nothing_good_is_called_a_copy(spoilt, found):
    planted = spoilt[1]
    assert flat(found['duplicate']) <= {*planted.path, *planted.source}

def test_wrong_labels_come_worst_first(spoilt, found):
    issues = find_issues(spoilt[0])
    labels = issues.table[issues.table.kind == 'label']
    assert labels.score.is_monotonic_increasing and [[o] for o in labels.path] == found['label'] == issues.of('label')
    assert labels.score.between(0, .5).all() and (labels.suggestion != labels.label).all() and set(labels.suggestion) <= set(animals)

def test_two_runs_find_the_same(spoilt, found, monkeypatch, tmp_path):
    assert clean(spoilt[0]) == found
    monkeypatch.setenv('ANIMAL_CLF_CACHE', str(tmp_path/'cold'))
    assert clean(spoilt[0]) == found

def test_json_writes_nothing_and_a_page_is_written_only_without_it(copy):
    before = contents(copy)
    clean(copy)
    assert contents(copy) == before
    clean(copy, '--review', 'there.html')
    assert contents(copy) == before and Path('there.html').read_text(encoding='utf8').count('<img') > 10
    assert f'{copy}/review.html' in done('clean', copy)
    assert set(contents(copy)) - set(before) == {'review.html'}

def test_table_of_findings(spoilt):
    table = find_issues(spoilt[0]).table
    assert list(table.columns) == [*issue_columns, 'code'] and not table.isna().any().any()
    assert table.score.between(0, 1).all() and (table.reason != '').all() and set(table.code) <= set(Code)
    assert set(table[table.action == 'drop'].kind) <= {'unreadable', 'duplicate', 'leak'}
    grouped = table[table.kind.isin(['duplicate', 'leak'])]
    assert (grouped.groupby('group').action.agg(list).map(lambda o: o.count('keep') == 1 and o[0] == 'keep')).all()

def test_everything_printed_names_each_kind(spoilt):
    lines = done('clean', spoilt[0], '--review', 'x.html').splitlines()
    assert [o.split()[0] for o in lines] == ['clean', *issue_types, 'look']


# --- moving

def test_apply_takes_the_training_copy_and_no_copy_is_left(spoilt, found, copy):
    before, leaks, order = photos_of(copy), spoilt[2], dict(test=0, valid=1, train=2)
    assert clean(copy, '--apply') == found
    gone = set(before) - set(photos_of(copy))
    pairs = [(o.path, o.source) for o in leaks.itertuples()]
    for path,source in pairs:
        (stays,), (goes,) = {path, source} - gone, {path, source} & gone   # one each
        assert order[stays.split('/')[0]] < order[goes.split('/')[0]], (path, source)
    again = clean(copy)
    assert again['leak'] == again['duplicate'] == again['unreadable'] == []

def test_apply_moves_nothing_that_needs_an_eye(found, copy):
    before = photos_of(copy)
    clean(copy, '--apply')
    gone = set(before) - set(photos_of(copy))
    assert gone == flat(found['unreadable']) | {o for group in found['duplicate'] for o in group[1:]}
    aside = {o for o in contents(copy) if o.startswith('set-aside/') and not o.endswith('.csv')}
    assert aside == {f"set-aside/{'unreadable' if o in flat(found['unreadable']) else 'leak' if o in flat(found['leak']) else 'duplicate'}/{o}" for o in gone}

def test_apply_twice_is_harmless_and_undo_puts_every_byte_back(copy):
    before = photos_of(copy)
    clean(copy, '--apply')
    once = photos_of(copy)
    assert '0 photos moved' in done('clean', copy, '--apply') and photos_of(copy) == once != before
    assert f'{len(before) - len(once)} photos moved' in done('clean', copy, '--undo')
    assert photos_of(copy) == before
    assert '0 photos moved' in done('clean', copy, '--undo') and photos_of(copy) == before

def test_decisions_are_applied_and_nothing_else(spoilt, copy):
    before, wrong = photos_of(copy), spoilt[1][spoilt[1].kind == 'wrong_label'].path.tolist()
    pd.DataFrame([dict(path=o, kind='label', decision='drop' if o in wrong else 'keep', label='', reason='') for o in list(before)[:9] + wrong]).to_csv('mine.csv', index=False)
    moves = json.loads(done('clean', copy, '--decisions', 'mine.csv', '--json'))
    assert {o['path'] for o in moves} == set(wrong) and {o['status'] for o in moves} == {'moved'}
    assert set(before) - set(photos_of(copy)) == set(wrong)
    undone = json.loads(done('clean', copy, '--undo', '--json'))
    assert {o['to'] for o in undone} == set(wrong) and photos_of(copy) == before

def test_decisions_saved_for_another_folder_move_nothing(copy):
    Path('other.csv').write_text('path,kind,decision\ntrain/cat/1.jpg,label,drop\n')
    before = contents(copy)
    assert 'no photo' in fails('clean', copy, '--decisions', 'other.csv')
    assert contents(copy) == before

def test_a_photo_that_can_not_be_moved_is_an_error(copy, monkeypatch):
    def refuse(*args, **kwargs): raise PermissionError(13, 'Permission denied')
    monkeypatch.setattr(os, 'rename', refuse)
    code, out, err = shell('clean', copy, '--apply', '--json')
    assert code == 1 and json.loads(out) and 'could not be moved' in err and 'Permission denied' in err and err.count('\n') == 1

def test_a_collection_keeps_its_manifest_in_step(tmp_path):
    folder, rows = tmp_path/'collected', []
    for name in ('fox', 'seal'):
        fill(folder/'photos'/name, name, 6)
        shutil.copytree(folder/'photos'/name, folder/'raw'/name)
        rows += [new_row(**{'class': name}, url=f'https://x/{name}/{i}', path=f'photos/{name}/{i}.png', raw=f'raw/{name}/{i}.png', status='kept') for i in range(1, 7)]
    shutil.copy(folder/'photos/fox/1.png', folder/'photos/fox/9.png')
    rows.append(new_row(**{'class': 'fox'}, url='https://x/fox/9', path='photos/fox/9.png', status='kept'))
    write_manifest(rows, folder)
    assert clean(folder)['duplicate'] == [['photos/fox/1.png', 'photos/fox/9.png']]
    before = contents(folder)
    done('clean', folder, '--apply')
    moved, = [o for o in read_manifest(folder) if o['status'] == 'set aside']
    assert moved['url'] == 'https://x/fox/9' and (folder/moved['path']).is_file() and moved['path'].startswith('set-aside/duplicate/fox/')
    assert 'same picture' in moved['reason']
    done('clean', folder, '--undo')
    assert {o['status'] for o in read_manifest(folder)} == {'kept'} and {k: v for k,v in photos_of(folder).items() if k != 'manifest.csv'} == {k: v for k,v in before.items() if k != 'manifest.csv'}

def test_a_class_of_which_nothing_is_left_is_told(tmp_path):
    folder = tmp_path/'animals'
    for name in ('fox', 'seal'): fill(folder/name, name, 3)
    (folder/'wolf').mkdir()
    (folder/'wolf'/'1.jpg').write_text('<html>')
    assert f'no photo is left in {folder}/wolf' in done('clean', folder, '--apply')
    assert 'wolf' in fails('clean', folder)
    done('clean', folder, '--undo')
    assert (folder/'wolf'/'1.jpg').is_file()


# --- usage

def test_wrong_usage_is_2_and_bad_data_is_1(copy):
    fails('clean', 'nowhere')
    fails('clean', 'nowhere', '--undo')
    fails('clean', copy, '--decisions', 'no such.csv')
    fails('clean', copy, '--undo', '--review', 'x.html', code=2)
    assert shell('clean', copy, '--apply', '--undo')[0] == shell('clean')[0] == shell('clean', copy, '--all')[0] == 2
    (copy.parent/'empty').mkdir()
    assert 'is empty' in fails('clean', 'empty', '--json')

def test_a_folder_of_unreadable_files_is_one_line(tmp_path):
    for name in ('fox', 'seal'):
        (tmp_path/'u'/name).mkdir(parents=True)
        (tmp_path/'u'/name/'1.jpg').write_text('<html>')
    before = contents('u')
    for options in ([], ['--json'], ['--apply']): assert 'none of 2 photos' in fails('clean', 'u', *options)
    assert contents('u') == before

def table_of(tmp_path):
    "A table with photos beside, above and twice"
    fill(tmp_path/'photos'/'a b', 'fox', 6)
    fill(tmp_path/'deep'/'seals', 'seal', 6)
    paths = [(f'../photos/a b/{i}.png', 'fox') for i in range(1, 7)] + [(f'seals/{i}.png', 'seal') for i in range(1, 7)] + [('../photos/a b/2.png', 'seal')]
    pd.DataFrame(paths, columns=['path', 'label']).to_csv(tmp_path/'deep'/'photos.csv', index=False)
    return Path('deep/photos.csv')

def test_a_table_is_looked_at_and_nothing_is_moved_for_it(tmp_path):
    table = table_of(tmp_path)
    before = contents('.')
    assert clean(table)['duplicate'] == [['../photos/a b/2.png']*2]
    assert contents('.') == before
    for option in (['--apply'], ['--undo'], ['--decisions', 'x.csv']): assert 'is a table' in fails('clean', table, *option, code=2)
    assert contents('.') == before
    assert 'review.html' not in done('clean', table) and contents('.') == before
    out = done('clean', table, '--review', 'deep/review.html')
    assert 'deep/review.html' in out and 'take the rows that are to go out of' in out
    assert Path('deep/review.html').read_text(encoding='utf8').count('<img') > 1

def test_a_table_names_a_photo_that_is_not_there(tmp_path):
    table = table_of(tmp_path)
    Path('deep/seals/3.png').unlink()
    assert clean(table)['unreadable'] == [['seals/3.png']]

def test_here_is_a_folder_too(tmp_path, monkeypatch):
    for name in ('fox', 'seal'): fill(tmp_path/'data'/name, name, 3)
    shutil.copy('data/fox/1.png', 'data/seal/1a.png')
    monkeypatch.chdir('data')
    assert clean('.')['duplicate'] == [['fox/1.png', 'seal/1a.png']]
    done('clean', '.', '--apply')
    assert Path('set-aside/duplicate/seal/1a.png').is_file()

def test_a_folder_with_a_space_is_quoted_in_the_command(tmp_path):
    for name in ('fox', 'seal'): fill(tmp_path/"it's mine"/name, name, 3)
    shutil.copy("it's mine/fox/1.png", "it's mine/fox/again.png")
    assert """animal-clf clean 'it'"'"'s mine' --decisions decisions.csv""" in done('clean', "it's mine")


# --- odd photos and odd collections

odd_names = ['two  spaces', "it's", '"quoted"', 'comma, semi;', '白い狐', '🦊', 'x'*196, os.fsdecode(b'f\xfcchs'), '<b>&amp;', '-rf', '$HOME `ls`', 'new\nline']

def test_names_survive_json_apply_and_undo(tmp_path):
    folder = tmp_path/'odd'
    fill(folder/'se al', 'seal', 5)
    for i,name in enumerate(odd_names): draw_animal('fox', index=i + 1, px=96).save(fill(folder/'fuchs 🦊', 'fox', 0)/f'{name}.png')
    for name in odd_names: shutil.copy(folder/'fuchs 🦊'/f'{name}.png', folder/'se al'/f'{name}.png')
    before, groups = contents(folder), clean(folder)['duplicate']
    assert sorted(map(sorted, groups)) == sorted([f'fuchs 🦊/{o}.png', f'se al/{o}.png'] for o in odd_names)
    assert clean(folder, '--apply')['duplicate'] == groups
    assert len(photos_of(folder)) == len(before) - len(odd_names)
    moves = json.loads(done('clean', folder, '--undo', '--json'))
    assert len(moves) == len(odd_names) and photos_of(folder) == before

@pytest.mark.parametrize('encoding', ['ascii', 'latin1', 'utf8'])
def test_json_is_json_whatever_the_terminal_can_show(tmp_path, monkeypatch, encoding):
    folder = tmp_path/'odd'
    for name in ('fox', 'seal'): fill(folder/name, name, 2)
    for name in ('🦊é', '🦊é 2'): draw_animal('fox', index=7, px=96).save(folder/'fox'/f'{name}.png')
    out = TextIOWrapper(BytesIO(), encoding=encoding)
    monkeypatch.setattr('sys.stdout', out)
    assert main(['clean', str(folder), '--json']) == 0
    out.flush()
    found = json.loads(out.buffer.getvalue().decode(encoding))
    assert found['duplicate'] == [['fox/🦊é.png', 'fox/🦊é 2.png']]

def odd_pictures():
    "Pictures that a camera does not make"
    fox = lambda i: draw_animal('fox', index=i, px=96)
    noise = np.random.default_rng(0).integers(0, 2**16, (80, 80), dtype=np.uint16)
    return dict(one=Image.new('RGB', (1, 1), 'red'), thin=Image.new('RGB', (3, 500), 'green'), low=Image.new('RGB', (500, 3), 'blue'), white=Image.new('RGB', (120, 90), 'white'),
                black=Image.new('1', (64, 64)), clear=Image.new('RGBA', (50, 50)), deep=Image.fromarray(noise), alpha=fox(20).convert('RGBA'), grey=fox(21).convert('L'),
                palette=fox(22).convert('P'), two=fox(23).convert('1'))

@pytest.fixture(scope='module')
def odd(tmp_path_factory):
    folder = tmp_path_factory.mktemp('odd')/'odd'
    for name in ('fox', 'seal'): fill(folder/name, name, 6)
    for name,img in odd_pictures().items(): img.save(folder/'fox'/f'{name}.png')
    fox = draw_animal('fox', index=24, px=96)
    for suffix in ('gif', 'webp'): fox.save(folder/'seal'/f'moving.{suffix}', save_all=True, append_images=[ImageOps.flip(fox)])
    return folder

def test_odd_pictures_neither_crash_nor_vanish(odd, recwarn):
    issues = find_issues(odd)
    assert issues.n_photos == 25 and not issues.table.isna().any().any() and np.isfinite(issues.table.score).all()
    poor = issues.table[issues.table.kind == 'quality'].set_index('path').reason
    assert all('px' in poor[f'fox/{o}.png'] for o in ('one', 'thin', 'low', 'clear')) and 'blurred' in poor['fox/white.png']
    assert issues.of('unreadable') == []
    assert not [o for o in recwarn if issubclass(o.category, RuntimeWarning)]

def test_odd_pictures_in_the_shell(odd): clean(odd)

@pytest.mark.parametrize('counts', [dict(fox=3), dict(fox=1, seal=2), dict(fox=4, seal=1, zebra=7), dict(fox=5, seal=5), dict(fox=1)], ids=str)
def test_small_classes_are_not_checked_for_labels_and_that_is_said(tmp_path, counts):
    for name,n in counts.items(): fill(tmp_path/'small'/name, name, n)
    issues = find_issues(tmp_path/'small')
    assert issues.n_photos == sum(counts.values())
    enough = [o for o,n in counts.items() if n >= 5]
    if len(enough) < 2: assert issues.of('label') == [] and any('label: not checked' in o for o in issues.notes)
    else: assert not any('label' in o for o in issues.notes)
    done('clean', tmp_path/'small')

def test_copies_do_not_make_a_class_large_enough_for_labels(tmp_path):
    for name in ('fox', 'seal'): fill(tmp_path/'few'/name, name, 4)
    for i in range(3): shutil.copy(tmp_path/'few/fox/1.png', tmp_path/'few/fox'/f'copy {i}.png')
    assert any('label: not checked' in o for o in find_issues(tmp_path/'few').notes)

def test_two_hundred_identical_copies_are_one_group(tmp_path):
    folder = tmp_path/'many'
    for name in ('fox', 'seal'): fill(folder/name, name, 6)
    for i in range(200): shutil.copy(folder/'fox/1.png', folder/'fox'/f'copy {i:03}.png')
    group, = clean(folder)['duplicate']
    assert len(group) == 201 and group[0] == 'fox/1.png'
    clean(folder, '--apply')
    assert len(find_photos(folder/'fox')) == 6

def test_forty_different_copies_are_one_group(tmp_path):
    folder, fox = fill(tmp_path/'many'/'seal', 'seal', 6).parent, draw_animal('fox', index=3, px=200)
    (folder/'fox').mkdir()
    for i in range(40): fox.resize((120 + 2*i,)*2).save(folder/'fox'/f'{i}.jpg', quality=30 + i)
    group, = find_issues(folder).of('duplicate')
    assert len(group) == 40 and group[0] == 'fox/39.jpg'

def test_training_and_validation_share_a_photo(tmp_path):
    for split,start in dict(train=1, valid=5, test=9).items():
        for name in ('fox', 'seal'): fill(tmp_path/'data'/split/name, name, 4, start)
    shutil.copy('data/train/fox/1.png', 'data/valid/fox/a.png')
    shutil.copy('data/train/seal/2.png', 'data/train/seal/b.png')
    found = clean('data')
    assert found['leak'] == [['valid/fox/a.png', 'train/fox/1.png']]
    assert found['duplicate'] == [*found['leak'], ['train/seal/2.png', 'train/seal/b.png']]
    clean('data', '--apply')
    assert not Path('data/train/fox/1.png').exists() and Path('data/valid/fox/a.png').exists() and clean('data')['leak'] == []


# --- which of the copies stays

def collection(tmp_path, *copies, group=None):
    "A collection of files with label, split, width and size as given"
    rows, looks = [], np.zeros(len(copies), stats_dtype)
    for i,o in enumerate(copies):
        file = tmp_path/o.get('path', f'{i}.jpg')
        file.write_bytes(b'x'*o.get('size', 10))
        rows.append(dict(path=file.name, label=o.get('label', 'fox'), split=o.get('split', ''), file=str(file)))
        looks[i]['width'], looks[i]['height'] = o.get('width', 100), 100
    n = len(copies)
    groups = np.zeros(n, int) if group is None else group
    return InspectedPhotos(pd.DataFrame(rows), ImageStats(list(range(n)), looks, ['']*n, []), np.zeros((n, 1)), np.zeros(n), CopyGroups(groups, groups, ''), pd.DataFrame())

@pytest.mark.parametrize('copies,fit,order', [
    ([dict(split='train', width=900), dict(split='test'), dict(split='valid')], [.9, .1, .5], [1, 2, 0]),      # the test set never shrinks
    ([dict(width=100), dict(width=300), dict(width=200)], [0]*3, [1, 2, 0]),                                   # the most pixels
    ([dict(size=10), dict(size=30), dict(size=20)], [0]*3, [1, 2, 0]),                                         # the largest file
    ([dict(path='b.jpg'), dict(path='a.jpg')], [0]*2, [1, 0]),                                                 # the first name
    ([dict(label='fox', split='test'), dict(label='wolf', split='train')], [.2, .7], [1, 0]),                  # the better label
    ([dict(label='wolf', split='train'), dict(label='wolf', split='test'), dict(label='fox')], [.71, .7, .1], [1, 0, 2]),  # … of which one of the test set
    ([dict(label='wolf', split='train'), dict(label='fox', split='test')], [0, 0], [1, 0]),                    # labels that nobody could judge
], ids=['split', 'pixels', 'size', 'name', 'label', 'label before split', 'no judge'])
def test_which_copy_stays(tmp_path, copies, fit, order):
    table = find_duplicates(collection(tmp_path, *copies), np.array(fit, float))
    names = [o.get('path', f'{i}.jpg') for i,o in enumerate(copies)]
    assert table.path.tolist() == [names[i] for i in order] and table.action.tolist() == ['keep'] + ['drop']*(len(copies) - 1)
    assert set(table.kind) == {'leak' if len({o.get('split', '') for o in copies}) > 1 else 'duplicate'}
    assert ('labels differ' in table.reason[1]) == (len({o.get('label', 'fox') for o in copies}) > 1)

def test_a_link_goes_before_its_file(tmp_path):
    for split in ('train', 'test'):
        for name in ('fox', 'seal'): fill(tmp_path/'data'/split/name, name, 3, 1 if split == 'train' else 4)
    os.symlink('../../train/fox/1.png', 'data/test/fox/a.png')
    os.symlink('2.png', 'data/train/seal/1a.png')
    before = photos_of('data')
    clean('data', '--apply')
    assert set(before) - set(photos_of('data')) == {'test/fox/a.png', 'train/seal/1a.png'} and clean('data')['unreadable'] == []
    done('clean', 'data', '--undo')
    assert photos_of('data') == before

def test_groups_do_not_mix(tmp_path):
    table = find_duplicates(collection(tmp_path, *[{}]*6, group=np.array([0, 1, 0, 3, 1, 1])), np.zeros(6))
    assert [o.path.tolist() for _,o in table.groupby('group')] == [['0.jpg', '2.jpg'], ['1.jpg', '4.jpg', '5.jpg']]

def test_the_same_photo_under_two_labels_keeps_the_right_one(tmp_path):
    for name in animals: fill(tmp_path/'data'/name, name, 12)
    shutil.copy('data/zebra/3.png', 'data/fox/stray.png')
    issues = find_issues('data')
    group, = issues.of('duplicate')
    assert group == ['zebra/3.png', 'fox/stray.png']
    assert 'the labels differ' in issues.table[issues.table.path == 'fox/stray.png'].reason.iloc[0]


# --- real photos, where there are some

@pytest.mark.skipif(not os.environ.get('ANIMAL_CLF_PHOTOS'), reason='set ANIMAL_CLF_PHOTOS to a folder with `ten-animals/`')
def test_real_photos(tmp_path):
    folder = tmp_path/'real'
    rows = find_rows(Path(os.environ['ANIMAL_CLF_PHOTOS'])/'ten-animals')
    for o in rows[rows.label.isin(sorted(set(rows.label))[:5])].groupby(['label', 'split']).head(12).itertuples():
        to = folder/o.split/o.label
        to.mkdir(parents=True, exist_ok=True)
        shutil.copy(o.path, to)
    leaks = add_corruptions(folder, dict.fromkeys(copy_kinds, 4), across=True)
    others = add_corruptions(folder, dict(wrong_label=4, unreadable=3, no_animal=6), planted=leaks)
    found, of = clean(folder), lambda kind: set(others[others.kind == kind].path)
    assert set(leaks.path) <= flat(found['leak']) and flat(found['unreadable']) == of('unreadable')
    assert of('wrong_label') <= flat(found['label'][:12]) and len(of('no_animal') & flat(found['no_animal'])) >= 5
    clean(folder, '--apply')
    assert clean(folder)['leak'] == []


# --- what a new user met

def test_the_page_replaces_nothing_but_a_page(spoilt, tmp_path):
    photo = next(spoilt[0].glob('*/*/*.jpg'))
    before = photo.read_bytes()
    assert 'is not a review page' in fails('clean', spoilt[0], '--review', photo)
    assert photo.read_bytes() == before
    for _ in range(2): done('clean', spoilt[0], '--review', tmp_path/'page.html')   # an older page is replaced

def test_a_lost_photo_is_told_when_it_should_be_put_back(spoilt, tmp_path):
    folder = Path(shutil.copytree(spoilt[0], tmp_path/'copy'))
    done('clean', folder, '--apply')
    lost = next((folder/'set-aside').glob('*/*/*/*.jpg'))
    lost.unlink()
    out = done('clean', folder, '--undo')
    assert [o for o in out.splitlines() if o.startswith('gone')] == [f'gone      {lost.relative_to(folder).as_posix()}: there is no such photo in `set-aside` any more']
    assert 'gone' in done('clean', folder, '--undo')

@pytest.mark.skipif(os.geteuid() == 0, reason='root may read everything')
def test_what_may_not_be_read_is_not_called_damaged(spoilt, tmp_path):
    folder = Path(shutil.copytree(spoilt[0], tmp_path/'copy'))
    photo = next(folder.glob('*/*/*.jpg'))
    photo.chmod(0)
    table = find_issues(folder).table
    assert table[table.path == photo.relative_to(folder).as_posix()].action.tolist() == ['look']
    photo.parent.chmod(0)
    try: assert 'can not be read' in fails('clean', folder)
    finally: photo.parent.chmod(0o755)
