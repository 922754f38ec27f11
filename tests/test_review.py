"""Looking at findings and acting on them: the page in a real browser, hostile names, kill -9, links and rights"""
import hashlib, os, shutil, signal, subprocess, sys, tempfile, time
from pathlib import Path

import pandas as pd
import pytest
from PIL import Image, ImageDraw, ImageFilter, ImageOps

from animal_clf.core.settings import DataError, FileError, SettingsError
from animal_clf.cleaning.quarantine import quarantine_photos, read_decisions, restore_photos
from animal_clf.cleaning.issues import issue_columns, list_decisions, write_decisions
from animal_clf.data.manifest import Journal, new_row, read_manifest, write_manifest
from animal_clf.cleaning.review import ReviewWidget, write_review
from animal_clf.synthetic.animals import draw_animals
from files import another_run

hostile_names = ['"><script>alert(1)<', "it's.jpg", 'two\nlines.jpg', 'tab\tand\rreturn.jpg', 'comma, "quoted"; semi.jpg', '=1+1.jpg', 'caf\udce9.jpg',
                 '白い狐.jpg', ' space .jpg', 'a&amp;b.jpg', r'back\slash.jpg', r'looks\xe9like.jpg', '${x}`y`.jpg', '-rf.jpg', 'x'*240 + '.jpg', '\u2028line.jpg', '\x85next.jpg']

def finding(kind, group, path, action='look', reason='a reason', score=.5, suggestion='', split='train'):
    return dict(zip(issue_columns, (kind, group, path, path.split('/')[-2], split, action, score, reason, suggestion)))

def snapshot(folder):
    "{path: hash} of every file under `folder`, but for the log of moves"
    return {os.fspath(o.relative_to(folder)): hashlib.sha256(o.read_bytes()).hexdigest() for o in Path(folder).rglob('*') if o.is_file() and o.name != 'moves.csv'}

def small_photos(folder, n, label='fox'):
    "`n` files that stand for photos, each with bytes of its own"
    paths = [f'photos/{label}/{i}.jpg' for i in range(n)]
    (folder/'photos'/label).mkdir(parents=True)
    for o in paths: (folder/o).write_text(o)
    return paths

def decide(paths, kind='label', decision='drop'): return pd.DataFrame([dict(path=o, kind=kind, decision=decision, label='fox', reason='why') for o in paths])


# Names, paths, tables

def test_hostile_names_survive_the_whole_way(tmp_path):
    folder = tmp_path/'c'
    (folder/'photos'/'fox').mkdir(parents=True)
    paths = [f'photos/fox/{o}' if o.endswith('.jpg') else f'photos/fox/{o}.jpg' for o in hostile_names]
    for i,o in enumerate(paths): Image.new('RGB', (32, 32), (i*9, 0, 0)).save(open(folder/o, 'wb'), 'JPEG')
    before, issues = snapshot(folder), pd.DataFrame([finding('label', i, o, 'drop') for i,o in enumerate(paths)])
    decisions = read_decisions(write_decisions(list_decisions(issues), tmp_path/'d.csv'), folder)
    assert list(decisions.path) == paths
    assert set(quarantine_photos(decisions, folder).status) == {'moved'}
    assert not list((folder/'photos').rglob('*.jpg'))
    assert set(restore_photos(folder).status) == {'moved'}
    assert snapshot(folder) == before

@pytest.mark.parametrize('path', ['../x.jpg', 'photos/../../x.jpg', '/etc/x.jpg', 'set-aside/label/x.jpg', 'photos/fox', 'manifest.csv', '', '.', '..', 'photos/fox/', 'a\0b.jpg', 'photos/fox/.jpg'])
def test_paths_that_are_refused(tmp_path, path):
    paths = small_photos(tmp_path, 2)
    before = snapshot(tmp_path)
    with pytest.raises(DataError, match='no photo was moved'): quarantine_photos(decide([*paths, path]), tmp_path)
    assert snapshot(tmp_path) == before

def test_links_do_not_lead_out(tmp_path):
    folder, outside = tmp_path/'c', tmp_path/'outside'
    paths = small_photos(folder, 2)
    outside.mkdir()
    (outside/'precious.jpg').write_text('precious')
    (folder/'photos'/'away').symlink_to(outside)
    (folder/'photos'/'loop').symlink_to(folder/'photos'/'loop')
    for o in ('photos/away/precious.jpg', 'photos/loop/x.jpg'):
        with pytest.raises(DataError, match='through a link'): quarantine_photos(decide([*paths, o]), folder)
    (folder/'set-aside').symlink_to(outside)
    with pytest.raises(DataError, match='a link out of the folder'): quarantine_photos(decide(paths), folder)
    assert sorted(o.name for o in outside.iterdir()) == ['precious.jpg'] and all((folder/o).exists() for o in paths)

def test_a_photo_that_is_a_link_moves_as_a_link(tmp_path):
    folder, target = tmp_path/'c', tmp_path/'target.jpg'
    small_photos(folder, 1)
    target.write_text('target')
    (folder/'photos/fox/link.jpg').symlink_to(target)
    assert list(quarantine_photos(decide(['photos/fox/link.jpg']), folder).status) == ['moved']
    assert target.read_text() == 'target' and (folder/'set-aside/label/fox/link.jpg').is_symlink()
    restore_photos(folder)
    assert (folder/'photos/fox/link.jpg').is_symlink()

def test_a_log_that_somebody_changed_moves_nothing_out_or_in(tmp_path):
    folder = tmp_path/'c'
    small_photos(folder, 2)
    quarantine_photos(decide(['photos/fox/0.jpg', 'photos/fox/1.jpg']), folder)
    log = folder/'set-aside/moves.csv'
    log.write_text(log.read_text().replace('photos/fox/0.jpg', '../escaped.jpg'))
    assert list(restore_photos(folder).status) == ['moved', 'failed'] and not (tmp_path/'escaped.jpg').exists()
    (tmp_path/'secret.jpg').write_text('secret')
    log.write_text('time,path,to,kind,reason\n,photos/fox/in.jpg,set-aside/../../secret.jpg,label,\n')
    assert list(restore_photos(folder).status) == ['failed'] and (tmp_path/'secret.jpg').exists()
    log.write_text('time,path\n1,2\n')
    with pytest.raises(DataError, match='is damaged'): restore_photos(folder)

def test_nothing_is_overwritten(tmp_path):
    for round in range(3):   # the same name dropped three times
        shutil.rmtree(tmp_path/'photos', ignore_errors=True)
        small_photos(tmp_path, 1)
        (tmp_path/'photos/fox/0.jpg').write_text(f'round {round}')
        quarantine_photos(decide(['photos/fox/0.jpg']), tmp_path)
    aside = tmp_path/'set-aside/label/fox'
    assert {o.name: o.read_text() for o in aside.iterdir()} == {'0.jpg': 'round 0', '0-2.jpg': 'round 1', '0-3.jpg': 'round 2'}
    result = restore_photos(tmp_path)
    assert list(result.status) == ['moved', 'taken', 'taken']          # the last one dropped goes back
    assert (tmp_path/'photos/fox/0.jpg').read_text() == 'round 2'

def test_names_that_differ_in_case_only(tmp_path):
    for o in ('a.jpg', 'A.jpg'):
        (tmp_path/'photos/fox').mkdir(parents=True, exist_ok=True)
        (tmp_path/'photos/fox'/o).write_text(o)
    moved = quarantine_photos(decide(['photos/fox/a.jpg', 'photos/fox/A.jpg']), tmp_path)
    assert list(moved.to) == ['set-aside/label/fox/a.jpg', 'set-aside/label/fox/A-2.jpg']

def test_a_photo_that_is_gone_is_a_row(tmp_path):
    paths = small_photos(tmp_path, 3)
    (tmp_path/paths[1]).unlink()
    assert list(quarantine_photos(decide(paths), tmp_path).status) == ['moved', 'gone', 'moved']
    (tmp_path/'set-aside/label/fox/0.jpg').unlink()
    assert list(restore_photos(tmp_path, paths[:1]).status) == ['gone']
    assert list(restore_photos(tmp_path, ['set-aside/label/fox/2.jpg']).status) == ['moved']

def test_one_drop_among_many_rows_drops(tmp_path):
    path, = small_photos(tmp_path, 1)
    rows = pd.concat([decide([path], 'label', 'keep'), decide([path], 'quality'), decide([path], 'leak')])
    assert list(quarantine_photos(rows, tmp_path).to) == ['set-aside/quality/fox/0.jpg']

@pytest.mark.skipif(not hasattr(os, 'seteuid'), reason='needs users as Unix has them')
def test_a_folder_without_the_right_to_write():
    with tempfile.TemporaryDirectory() as top:   # not under tmp_path, which other users can't enter
        folder = Path(top)/'c'
        paths, locked = small_photos(folder, 2, 'open'), small_photos(folder, 2, 'locked')
        os.chmod(top, 0o755)
        for o in [folder, *folder.rglob('*')]: o.chmod(0o777)
        (folder/'photos'/'locked').chmod(0o555)
        before, root = snapshot(folder), os.geteuid() == 0
        if root: os.seteuid(65534)   # the superuser may write anywhere
        try:
            with pytest.raises(FileError, match='can not be written'): quarantine_photos(decide([*paths, *locked]), folder)
        finally:
            if root: os.seteuid(0)
        assert snapshot(folder) == before and not (folder/'set-aside').exists()

def test_manifest_rows_follow(tmp_path):
    paths = small_photos(tmp_path, 3)
    (tmp_path/'raw/fox').mkdir(parents=True)
    (tmp_path/'raw/fox/9.jpg').write_text('raw only')
    rows = [new_row(**{'class': 'fox'}, url=f'https://x/{i}', raw=f'raw/fox/{i}.png', path=o, status='kept', rating='5') for i,o in enumerate(paths)]
    rows += [new_row(**{'class': 'fox'}, url='https://x/9', raw='raw/fox/9.jpg', path='raw/fox/9.jpg', status='fetched', rating='')]
    write_manifest(rows, tmp_path)
    quarantine_photos(decide([paths[0], 'raw/fox/9.jpg']), tmp_path)
    dropped = read_manifest(tmp_path)
    assert [o['status'] for o in dropped] == ['set aside', 'kept', 'kept', 'set aside']
    assert (dropped[0]['path'], dropped[0]['was'], dropped[0]['raw'], dropped[0]['reason']) == ('set-aside/label/fox/0.jpg', paths[0], 'raw/fox/0.png', 'why')
    restore_photos(tmp_path)
    assert [{k: v for k,v in o.items() if k != 'was'} for o in read_manifest(tmp_path)] == rows
    assert not (tmp_path/'manifest.journal').exists()

def test_a_download_that_runs_or_was_killed(tmp_path):
    paths = small_photos(tmp_path, 2)
    write_manifest([new_row(**{'class': 'fox'}, path=o, status='kept') for o in paths], tmp_path)
    with Journal(tmp_path) as journal: journal.add(new_row(**{'class': 'fox'}, url='https://x/new', status='found'))
    with another_run(tmp_path):
        with pytest.raises(FileError, match='is being changed by another run'): quarantine_photos(decide(paths), tmp_path)
        with pytest.raises(FileError, match='is being changed by another run'): restore_photos(tmp_path)
    quarantine_photos(decide(paths[:1]), tmp_path)                                             # the journal was left behind
    assert [o['status'] for o in read_manifest(tmp_path)] == ['set aside', 'kept', 'found']

@pytest.mark.parametrize('text,said', [
    ('', 'no column `path`'), ('path;kind\n', 'no column `decision`'), ('path,kind,decision\na.jpg,label\n', "line 2 of `d.csv`: `decision` is ''"),
    ('path,kind,decision\n"a\nb.jpg",label,drop\n\nphotos/fox/0.jpg,label,perhaps\n', "line 5 of `d.csv`: `decision` is 'perhaps'"), ('path,kind,decision\nphotos/fox/7.jpg,label,drop\nphotos/fox/0.jpg,label,drop\n', '1 of 2 are')])
def test_tables_that_can_not_be_used(tmp_path, text, said):
    small_photos(tmp_path, 1)
    (tmp_path/'d.csv').write_text(text)
    with pytest.raises(DataError) as e: read_decisions(tmp_path/'d.csv', tmp_path)
    assert said in str(e.value)

def test_a_table_that_is_no_text(tmp_path):
    (tmp_path/'d.csv').write_bytes(b'\xff\xfe\0p')
    with pytest.raises(DataError, match='not UTF-8 text'): read_decisions(tmp_path/'d.csv', tmp_path)
    with pytest.raises(DataError, match='can not be read'): read_decisions(tmp_path, tmp_path)
    with pytest.raises(DataError, match='without a column `decision`'): quarantine_photos(pd.DataFrame(dict(path=['a.jpg'], kind=['label'])), tmp_path)

def test_the_widget_says_what_it_needs(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, 'ipywidgets', None)
    with pytest.raises(SettingsError, match='pip install ipywidgets'): ReviewWidget(pd.DataFrame([finding('label', 0, 'fox/1.jpg')]), tmp_path)


# kill -9

_dropper = '''
import os, sys, time
import pandas as pd
import animal_clf.cleaning.quarantine as d
rename = os.rename
def slow(old, new, **kwargs):
    time.sleep(.004)
    rename(old, new, **kwargs)
d.os.rename = slow
os.supports_dir_fd.add(slow)
table = pd.read_csv(sys.argv[2], keep_default_na=False)
print('ready', flush=True)
d.quarantine_photos(table, sys.argv[1])
'''

def run_and_kill(folder, table, is_time):
    "Drop photos in a process of its own, and kill it when `is_time`"
    process = subprocess.Popen([sys.executable, '-c', _dropper, folder, table], stdout=subprocess.PIPE)
    process.stdout.readline()
    while not is_time() and process.poll() is None: time.sleep(.001)
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    return process.returncode

@pytest.mark.parametrize('after', [0, 1, 60, 170])
def test_killed_in_the_middle_resumed_and_undone(tmp_path, after):
    folder = tmp_path/'c'
    paths = small_photos(folder, 200)
    write_manifest([new_row(**{'class': 'fox'}, path=o, status='kept') for o in paths], folder)
    before, table = snapshot(folder/'photos'), write_decisions(decide(paths), tmp_path/'d.csv')
    aside = folder/'set-aside/label/fox'
    n_moved = lambda: len(list(aside.iterdir())) if aside.exists() else 0
    assert run_and_kill(folder, table, lambda: n_moved() >= after and (after or (folder/'set-aside/moves.csv').exists())) == -signal.SIGKILL
    done = n_moved()
    assert after <= done < 200
    assert len(list((folder/'photos/fox').glob('*.jpg'))) == 200 - done                  # each photo is in one place
    if after == 60:                                                                      # undone right after the kill
        assert len(restore_photos(folder)) == done
        assert snapshot(folder/'photos') == before and {o['status'] for o in read_manifest(folder)} == {'kept'}
        done = 0
    result = quarantine_photos(read_decisions(table, folder), folder)                         # gone on with
    assert result.status.value_counts().to_dict() == {k: v for k,v in dict(moved=200-done, gone=done).items() if v}
    assert n_moved() == 200 and {o['status'] for o in read_manifest(folder)} == {'set aside'}
    assert all((folder/o['path']).exists() for o in read_manifest(folder))
    assert set(restore_photos(folder).status) == {'moved'}
    assert snapshot(folder/'photos') == before
    assert {o['status'] for o in read_manifest(folder)} == {'kept'} and {o['path'] for o in read_manifest(folder)} == set(paths)
    assert not [o for o in folder.rglob('*') if o.is_file() and o.name not in ('manifest.csv', 'moves.csv') and o.suffix != '.jpg']


# The page in a browser

def collection(folder, n_per_class=5):
    "About 60 findings of every kind on the drawn sample, with true copies, blurred ones and files that can't be opened"
    draw_animals(folder/'photos', n_per_class)
    names = sorted(o.name for o in (folder/'photos').iterdir() if o.is_dir())
    at = lambda label, i: f'photos/{label}/{label}_{i:04}.jpg'
    rows, group = [], 0
    def add(*args, **options): rows.append(finding(args[0], group, *args[1:], **options))
    def edit(path, name, change):
        with Image.open(folder/path) as img: change(img).save(folder/Path(path).with_name(name), quality=70)
        return Path(path).with_name(name).as_posix()
    for name,data,why in (('empty.jpg', b'', 'is empty (0 bytes)'), ('page.jpg', b'<!doctype html><p>', 'is a web page (HTML), not a photo'),
                          ('torn.jpg', (folder/at(names[0], 1)).read_bytes()[:900], 'is damaged: image file is truncated')):
        (folder/'photos'/names[0]/name).write_bytes(data)
        add('unreadable', f'photos/{names[0]}/{name}', 'drop', why, 0.)
        group += 1
    changes = [('small.jpg', lambda o: o.resize((90, 90*o.height//o.width)), 'the same picture at 90 px'), ('mirror.jpg', ImageOps.mirror, 'the same picture, mirrored'),
               ('crop.jpg', lambda o: ImageOps.crop(o, o.width//12), 'the same picture, cropped by 8 %'), ('mark.jpg', _watermark, 'the same picture with a watermark')]
    for i,label in enumerate(names[:8]):
        add('duplicate', at(label, 1), 'keep', 'the largest of its group: 224 × 298 px', .01*i)
        for name,change,why in changes[:i % 4 + 1]: add('duplicate', edit(at(label, 1), name, change), 'drop', why, .01*i)
        group += 1
    for i,label in enumerate(names[:4]):
        add('leak', at(label, 2), 'keep', 'in the test set', .02*i, split='test')
        add('leak', edit(at(label, 2), 'again.jpg', changes[i][1]), 'drop', 'a copy in the training set', .02*i)
        group += 1
    for i,label in enumerate(names*2):
        other = names[(i+3) % len(names)]
        add('label', at(label, 3 + i//len(names)), 'look', f'looks like {other} ({97-3*i} %), less like {label} ({1+i} %)', .03*i, other)
        group += 1
    for i in range(4):
        path = f'photos/{names[i]}/plain-{i}.jpg'
        Image.effect_noise((240, 180), 30 + 40*i).convert('RGB').save(folder/path)
        add('no_animal', path, 'drop' if i < 2 else 'look', f'no animal recognised ({.2+i:.1f} %)', .01*i)
        group += 1
    for i,label in enumerate(names[:6]):
        add('quality', edit(at(label, 5), 'blurred.jpg', lambda o: o.filter(ImageFilter.GaussianBlur(6))), 'look', 'blurred: sharpness 3, most photos have 80 or more', .05*i)
        group += 1
    add('label', 'photos/' + names[0] + '/again.jpg', 'look', 'named in two sections', .99)
    return pd.DataFrame(rows)

def _watermark(img):
    img = img.copy()
    ImageDraw.Draw(img).text((20, img.height//2), 'STOCK-PHOTO.EXAMPLE', fill='white')
    return img

@pytest.fixture(scope='module')
def drawn(tmp_path_factory):
    folder = tmp_path_factory.mktemp('drawn')/'animals'
    issues = collection(folder)
    write_review(issues, folder)
    return issues, folder

@pytest.fixture
def page(tmp_path, browser, drawn):
    issues, folder = drawn
    shutil.copytree(folder, tmp_path/'animals')
    file = tmp_path/'animals'/'review.html'
    browser.get(file.as_uri())
    return issues, file

def saved(browser):
    "The table that the browser has downloaded"
    shutil.rmtree(browser.downloads, ignore_errors=True)
    browser.find_element('id', 'save').click()
    end = time.monotonic() + 10
    while not (browser.downloads/'decisions.csv').exists() and time.monotonic() < end: time.sleep(.05)
    return browser.downloads/'decisions.csv'

def box(browser, path):
    return boxes(browser, path)[0]

def boxes(browser, path):
    "The tick boxes of a photo, the first scrolled to the middle of the window"
    return browser.execute_script('const rows = JSON.parse(document.getElementById("rows").textContent);'
                                  'const all = rows.flatMap((o, i) => o[0] === arguments[0] ? [document.getElementById("c" + i)] : []);'
                                  'all.at(-1).scrollIntoView({block: "center"}); all[0].scrollIntoView({block: "center"}); return all', path)

def test_the_page_saves_what_is_ticked(page, browser, tmp_path):
    issues, file = page
    folder = tmp_path/'animals'
    assert list(read_decisions(saved(browser), folder).decision) == list(list_decisions(issues).decision)    # as proposed
    path = issues[issues.kind == 'label'].path.iloc[0]
    box(browser, path).click()
    assert browser.find_element('css selector', '[data-count=label]').text == '2'           # one was ticked with its copy in `leak`
    decisions = read_decisions(saved(browser), folder)
    dropped = set(issues.path[issues.action == 'drop']) | {path}
    assert decisions.to_dict('records') == list_decisions(issues, dropped).to_dict('records')
    assert f'{len(dropped)} of {issues.path.nunique()}' in browser.find_element('id', 'status').text
    assert set(quarantine_photos(decisions, folder).status) == {'moved'}
    assert browser.get_log('browser') == []

def test_a_click_on_the_picture_and_the_keyboard_tick(page, browser):
    issues, _ = page
    path = issues[issues.kind == 'quality'].path.iloc[0]
    tick = box(browser, path)
    browser.find_element('css selector', f'label.photo[for={tick.get_attribute("id")}]').click()
    assert tick.is_selected()
    keys = pytest.importorskip('selenium.webdriver.common.keys').Keys
    tick.send_keys(keys.TAB)
    browser.switch_to.active_element.send_keys(keys.SHIFT + keys.TAB)
    assert browser.switch_to.active_element == tick
    assert browser.execute_script('return getComputedStyle(arguments[0]).outlineStyle', tick) == 'solid'
    tick.send_keys(' ')
    assert not tick.is_selected()

def test_one_photo_has_one_decision(page, browser):
    issues, _ = page
    path = issues.path[issues.path.duplicated()].iloc[0]
    both = boxes(browser, path)
    assert [o.is_selected() for o in both] == [True, True]
    both[0].click()
    assert [o.is_selected() for o in both] == [False, False]

def test_all_and_none_of_a_kind(page, browser):
    issues, _ = page
    browser.execute_script('document.getElementById("kind").value = "duplicate"')
    browser.find_element('id', 'none').click()
    count = lambda: int(browser.find_element('css selector', '[data-count=duplicate]').text)
    assert count() == 0
    browser.find_element('id', 'all').click()
    rows = issues[issues.kind == 'duplicate']
    assert count() == (rows.action != 'keep').sum()                                        # one of each group stays
    stays = rows.path[rows.action == 'keep'].iloc[0]
    warning = browser.execute_script('return document.querySelector(".group .empty")')
    assert not warning.is_displayed()
    box(browser, stays).click()
    assert warning.is_displayed()

def test_the_page_can_be_read_by_everybody(page, browser):
    assert browser.execute_script('return [...document.images].every(o => o.alt && o.complete && o.naturalWidth)')
    assert browser.execute_script('return [...document.querySelectorAll("input")].every(o => o.labels.length === 2 && o.closest("fieldset").querySelector("legend") && '
                                  'document.getElementById(o.getAttribute("aria-describedby")).textContent)')
    assert browser.execute_script('return document.documentElement.lang') == 'en'
    for width in (390, 1280):
        browser.execute_cdp_cmd('Emulation.setDeviceMetricsOverride', dict(width=width, height=900, deviceScaleFactor=1, mobile=width < 500))
        assert browser.execute_script('return document.documentElement.scrollWidth') <= width     # nothing sticks out
    for scheme in ('light', 'dark'):
        browser.execute_cdp_cmd('Emulation.setEmulatedMedia', dict(features=[dict(name='prefers-color-scheme', value=scheme)]))
        assert browser.execute_script(_low_contrast) == []
    browser.execute_cdp_cmd('Emulation.clearDeviceMetricsOverride', {})
    browser.execute_cdp_cmd('Emulation.setEmulatedMedia', dict(features=[]))

_low_contrast = '''   // texts with a contrast of less than 4.5 to 1 (WCAG AA)
const light = o => { const [r, g, b] = o.match(/[\\d.]+/g).map(v => v/255).map(v => v <= .03928 ? v/12.92 : ((v+.055)/1.055)**2.4); return .2126*r + .7152*g + .0722*b };
const back = o => { const c = getComputedStyle(o).backgroundColor; return c === 'rgba(0, 0, 0, 0)' && o.parentElement ? back(o.parentElement) : c };
return [...document.querySelectorAll('p, h1, h2, legend, span, a, b, label, button, select')].filter(o => o.textContent.trim()).filter(o => {
  const [x, y] = [light(getComputedStyle(o).color), light(back(o))].sort((a, b) => b - a);
  return (x + .05)/(y + .05) < 4.5 }).map(o => o.className + ': ' + o.textContent.slice(0, 40))'''

def test_hostile_names_on_the_page(tmp_path, browser):
    folder = tmp_path/'c'
    (folder/'photos'/'</script><img src=x onerror=alert(1)>').parent.mkdir(parents=True)
    label = 'f"o\'x<b>'
    (folder/'photos'/label).mkdir()
    names = [o if o.endswith('.jpg') else o + '.jpg' for o in hostile_names] + ['<!--.jpg', "'-alert(1)-'.jpg"]
    paths = [f'photos/{label}/{o}' for o in names]
    for i,o in enumerate(paths): Image.new('RGB', (32, 32), (i*9, 0, 0)).save(open(folder/o, 'wb'), 'JPEG')
    issues = pd.DataFrame([finding('duplicate', i//3, o, 'drop', '</script><script>alert(2)</script>', suggestion='<i>wolf</i>') for i,o in enumerate(paths)])
    browser.get(write_review(issues, folder).as_uri())
    assert len(browser.find_elements('css selector', 'script')) == 2 and not browser.find_elements('css selector', 'main i')
    assert list(read_decisions(saved(browser), folder).path) == paths
    assert browser.get_log('browser') == []

def test_nothing_is_fetched_and_no_foreign_script_runs(page, browser):
    policy = browser.find_element('css selector', 'meta[http-equiv]').get_attribute('content')
    assert policy.startswith("default-src 'none'") and 'unsafe' not in policy
    browser.execute_script("const o = document.createElement('script'); o.textContent = 'window.intruder = 1'; document.body.append(o);"
                           "const i = new Image(); i.src = 'http://127.0.0.1:9/x.png'; document.body.append(i)")
    assert browser.execute_script('return window.intruder') is None
    told = ' '.join(o['message'] for o in browser.get_log('browser'))
    assert 'inline script' in told and 'http://127.0.0.1:9/x.png' in told

def test_without_scripts_the_page_can_be_read(page, browser):
    _, file = page
    browser.execute_cdp_cmd('Emulation.setScriptExecutionDisabled', dict(value=True))
    try:
        browser.get(file.as_uri())
        assert 'runs no scripts' in browser.find_element('css selector', 'noscript').text
        assert not browser.find_element('id', 'save').is_displayed()
        assert len(browser.find_elements('css selector', '.card img')) > 50
    finally: browser.execute_cdp_cmd('Emulation.setScriptExecutionDisabled', dict(value=False))

def test_many_findings_make_one_file_of_moderate_size(tmp_path):
    draw_animals(tmp_path/'photos', 2)
    paths = [o.relative_to(tmp_path).as_posix() for o in sorted((tmp_path/'photos').rglob('*.jpg'))]
    issues = pd.DataFrame([finding(kind, i, paths[i % len(paths)]) for kind in ('label', 'no_animal') for i in range(300)])
    html = write_review(issues, tmp_path, limit=250).read_text()
    assert html.count('type="checkbox"') == 500 and html.count('There are 50 more') == 2
    assert len(html)/500 < 20e6/3000
