"""The web app in a real browser, its API by made-up requests, and under load"""
import http.client, json, os, shutil, signal, subprocess, sys, threading, time
from collections import Counter
from pathlib import Path

import pandas as pd, pytest

from animal_clf.app.security import _host_of, allowed_hosts, normalize_host
from animal_clf.app.batching import Capacity
from animal_clf.app.service import load_app_model
from animal_clf.synthetic.people import draw_person
from animal_clf.inference.predictor import Predictor
from animal_clf.app.uploads import UploadLimits
from apps import animal, encode, folder, form, model, post, request, running, talk
from files import contents, put_table, read, without_copies

nasty = '<img src=x onerror="document.title=1">'


@pytest.fixture(scope='module')
def app(model):
    with running(model, UploadLimits(photo_bytes=2_000_000, photos=5)) as service: yield service

@pytest.fixture(scope='module')
def photos(tmp_path_factory):
    "{name: path} of photos to choose in the browser"
    folder = tmp_path_factory.mktemp('photos')
    for name,content in {'fox.jpg': animal('fox'), 'zebra.jpg': animal('zebra'), 'person.jpg': encode(draw_person(index=1)), 'page.jpg': b'<html>', 'large.jpg': bytes(2_000_001)}.items(): (folder/name).write_bytes(content)
    return {o.name: str(o) for o in folder.iterdir()}

def rows_of(port, *photos): return json.loads(talk(port, post(*photos))[2])


# --- in a browser

@pytest.fixture
def page(browser, app):
    "The page of the app, wide, with scripts"
    browser.execute_cdp_cmd('Emulation.setScriptExecutionDisabled', dict(value=False))
    browser.execute_cdp_cmd('Emulation.clearDeviceMetricsOverride', {})
    browser.get_log('browser')
    browser.get(f'http://127.0.0.1:{app.port}/')
    yield browser
    assert [o['message'] for o in browser.get_log('browser') if '503' not in o['message'] and '422' not in o['message']] == []   # no fault of the script, nothing that the policy refused

def all_of(page, css): return page.find_elements('css selector', css)

def until(found, wait_s=15):
    "What `found` gives as soon as it gives something"
    end = time.time() + wait_s
    while not (o := found()): assert time.time() < end; time.sleep(.03)
    return o

def choose(page, *paths): all_of(page, '#photos')[0].send_keys('\n'.join(paths))

def said(page): return all_of(page, '#status')[0].get_attribute('textContent')

def verdicts(page, n):
    until(lambda: len(all_of(page, 'article')) == n)
    return [o.text for o in all_of(page, '.verdict')]

def test_several_photos_at_once(page, photos):
    choose(page, photos['fox.jpg'], photos['person.jpg'], photos['page.jpg'])
    fox, person, broken = verdicts(page, 3)
    assert fox.startswith('fox, ') and person == 'Probably none of my animals' and broken == 'No answer: it is a web page (HTML), no photo'
    assert [o.text for o in all_of(page, 'article h3')] == ['fox.jpg', 'person.jpg', 'page.jpg']
    assert said(page) == f'fox.jpg: {fox}; person.jpg: {person}; page.jpg: {broken}' and all_of(page, '#status')[0].get_attribute('role') == 'status'
    assert [len(o.find_elements('css selector', '.similar img')) for o in all_of(page, 'article')] == [3, 3, 0]
    assert 'gorilla' not in all_of(page, 'article')[1].text and len(all_of(page, 'article')[0].find_elements('css selector', '.bars svg')) >= 4

def test_more_photos_go_before_the_others(page, photos):
    choose(page, photos['fox.jpg'])
    verdicts(page, 1)
    choose(page, photos['zebra.jpg'])
    assert [o.split(',')[0] for o in verdicts(page, 2)] == ['zebra', 'fox']
    assert len({o.get_attribute('id') for o in all_of(page, 'article h3')}) == 2

def test_why(page, photos):
    choose(page, photos['fox.jpg'], photos['person.jpg'])
    verdicts(page, 2)
    for i,button in enumerate(all_of(page, '.why button')):
        button.click()
        until(lambda: len(all_of(page, '.why img')) == i + 1)
    fox, person = all_of(page, '.why img')
    assert fox.get_attribute('alt').endswith('speaks for fox') and 'gorilla' not in person.get_attribute('alt')
    assert all(page.execute_script('return arguments[0].naturalWidth', o) == 224 for o in (fox, person))

def test_explained_at_once(page, photos):
    all_of(page, '[name=explain]')[0].click()
    choose(page, photos['fox.jpg'])
    verdicts(page, 1)
    assert len(all_of(page, '.why img')) == 1 and not all_of(page, '.why button')

give = '''const data = new DataTransfer(), bytes = Uint8Array.from(atob(arguments[0]), o => o.charCodeAt(0));
data.items.add(new File([bytes], 'given.jpg', {type: 'image/jpeg'}));
document.body.dispatchEvent(arguments[1] === 'paste' ? new ClipboardEvent('paste', {clipboardData: data, bubbles: true, cancelable: true}) : new DragEvent('drop', {dataTransfer: data, bubbles: true, cancelable: true}));'''

@pytest.mark.parametrize('way', ['paste', 'drop'])
def test_given_in_other_ways(page, way):
    from base64 import b64encode
    page.execute_script(give, b64encode(animal('zebra')).decode(), way)
    assert verdicts(page, 1)[0].startswith('zebra') and all_of(page, 'h3')[0].text == 'given.jpg'

def test_by_keyboard_alone(page):
    "Everything can be reached with Tab, in order, and is seen to be; an example is picked with Enter"
    from selenium.webdriver import ActionChains, Keys
    def press(key): ActionChains(page).send_keys(key).perform()
    seen = []   # the button for the camera is not there where a mouse is
    for _ in range(30):
        press(Keys.TAB)
        name, outline = page.execute_script('const o = document.activeElement; return [o.id || o.name || o.href || o.tagName, getComputedStyle(o).outlineStyle]')
        if name == 'BODY' or name in seen and name != 'example': break
        assert outline != 'none'
        if name != 'camera': seen.append(name)
    assert seen[:3] == ['photos', 'ask', 'explain'] and seen.count('example') == 4 and seen[-1].endswith('openapi.json')
    for _ in seen:
        if page.execute_script('return document.activeElement.textContent') == 'zebra': break
        press(Keys.SHIFT + Keys.TAB)
    press(Keys.ENTER)
    assert verdicts(page, 1)[0].startswith('zebra') and all_of(page, 'h3')[0].text == 'Example: zebra'

def test_for_those_who_do_not_see(page, photos):
    choose(page, photos['fox.jpg'], photos['person.jpg'], photos['page.jpg'])
    verdicts(page, 3)
    look = '''return {images: [...document.images].filter(o => !o.alt && !o.closest('button')).length, h1: document.querySelectorAll('h1').length, lang: document.documentElement.lang, main: document.querySelectorAll('main').length,
      inputs: [...document.querySelectorAll('input')].filter(o => !o.labels.length).length, buttons: [...document.querySelectorAll('button')].filter(o => !(o.textContent.trim() || o.getAttribute('aria-label') || o.querySelector('img[alt]'))).length,
      levels: [...document.querySelectorAll('h1,h2,h3,h4')].map(o => +o.tagName[1]), ids: [...document.querySelectorAll('[id]')].map(o => o.id), named: [...document.querySelectorAll('[aria-labelledby]')].every(o => document.getElementById(o.getAttribute('aria-labelledby')))}'''
    found = page.execute_script(look)
    levels, ids = found.pop('levels'), found.pop('ids')
    assert found == dict(images=0, h1=1, lang='en', main=1, inputs=0, buttons=0, named=True)
    assert all(b <= a + 1 for a,b in zip(levels, levels[1:])) and len(ids) == len(set(ids))

contrasts = '''const light = c => { const v = c.map(o => (o/=255) <= .03928 ? o/12.92 : ((o+.055)/1.055)**2.4); return .2126*v[0] + .7152*v[1] + .0722*v[2]; };
const parse = s => s.match(/[\\d.]+/g).map(Number), ground = o => { for (; o; o = o.parentElement) { const c = parse(getComputedStyle(o).backgroundColor); if (c.length < 4 || c[3] > .5) return c.slice(0, 3); } return [255, 255, 255]; };
return [...document.querySelectorAll('body *')].filter(o => [...o.childNodes].some(n => n.nodeType === 3 && n.textContent.trim()) && o.getClientRects().length)
  .map(o => { const a = light(parse(getComputedStyle(o).color).slice(0, 3)), b = light(ground(o)); return [(Math.max(a, b)+.05)/(Math.min(a, b)+.05), o.tagName + ' ' + o.textContent.slice(0, 20)]; });'''

@pytest.mark.parametrize('scheme', ['light', 'dark'])
def test_contrast(page, photos, scheme):
    page.execute_cdp_cmd('Emulation.setEmulatedMedia', dict(features=[dict(name='prefers-color-scheme', value=scheme)]))
    choose(page, photos['fox.jpg'], photos['person.jpg'], photos['page.jpg'])
    verdicts(page, 3)
    found = page.execute_script(contrasts)
    page.execute_cdp_cmd('Emulation.setEmulatedMedia', dict(features=[]))
    assert len(found) > 30 and min(found)[0] >= 4.5, min(found)

def test_on_a_phone(page, photos):
    page.execute_cdp_cmd('Emulation.setDeviceMetricsOverride', dict(width=390, height=844, deviceScaleFactor=1, mobile=True))
    page.refresh()
    choose(page, photos['fox.jpg'], photos['person.jpg'])
    verdicts(page, 2)
    assert page.execute_script('return document.documentElement.scrollWidth') == 390
    small = [o.size['height'] for o in all_of(page, 'button') if o.is_displayed() and o.size['height'] < 40]
    assert not small and all_of(page, '#camera')[0].get_attribute('capture') == 'environment'

def test_without_scripts(page, photos):
    page.execute_cdp_cmd('Emulation.setScriptExecutionDisabled', dict(value=True))
    page.refresh()
    all_of(page, '[name=explain]')[0].click()
    choose(page, photos['fox.jpg'], photos['page.jpg'])
    all_of(page, '#ask')[0].click()
    fox, broken = verdicts(page, 2)
    assert fox.startswith('fox') and 'web page' in broken and len(all_of(page, '.why img')) == 1 and len(all_of(page, '.similar img')) == 3
    all_of(page, '[name=example]')[3].click()
    until(lambda: all_of(page, 'h3') and all_of(page, 'h3')[0].text == 'Example: zebra')
    all_of(page, '#ask')[0].click()
    assert until(lambda: all_of(page, '[role=alert]'))[0].text.startswith('no photo; expected 1 or more')

def test_what_is_too_much_is_told_before_it_is_sent(page, photos, tmp_path):
    all_of(page, '#ask')[0].click()
    assert said(page) == 'Choose a photo first.' and all_of(page, '#status')[0].get_attribute('role') == 'alert'
    choose(page, photos['large.jpg'])
    assert 'large.jpg is too large: 3 MB, up to 2 MB' in said(page)
    for i in range(6): (tmp_path/f'{i}.jpg').write_bytes(b'x')
    choose(page, *[str(o) for o in tmp_path.iterdir()])
    assert said(page) == '6 photos are too many at once; up to 5 are answered.' and not all_of(page, 'article')

def test_a_full_queue_is_waited_for(page, app, photos):
    app.capacity.n_photos += app.capacity.photos
    choose(page, photos['fox.jpg'])
    until(lambda: 'Others are being answered' in said(page))
    app.capacity.n_photos -= app.capacity.photos
    assert verdicts(page, 1)[0].startswith('fox')

def test_nothing_comes_from_elsewhere(page, app, photos):
    choose(page, photos['fox.jpg'])
    verdicts(page, 1)
    names = page.execute_script("return performance.getEntriesByType('resource').map(o => o.name)")
    assert {o.split(':')[0] for o in names} <= {'http', 'data'} and all(o.startswith((f'http://127.0.0.1:{app.port}/', 'data:')) for o in names)
    assert page.get_cookies() == [] and page.execute_script('return localStorage.length + sessionStorage.length') == 0

def test_a_class_may_be_called_anything(browser, folder, cache, photos, tmp_path, monkeypatch):
    monkeypatch.setenv('ANIMAL_CLF_CACHE', str(cache))
    bad = Path(shutil.copytree(folder, tmp_path/'bad'))
    info = read(bad/'model.json')
    (bad/'model.json').write_text(json.dumps(info | dict(classes=[nasty if o == 'fox' else o for o in info['classes']])))
    table = pd.read_csv(bad/'photos.csv', dtype=str, keep_default_na=False)
    put_table(bad, 'photos.csv', table.assign(label=table.label.replace('fox', nasty)).to_csv(index=False))
    with running(load_app_model(bad)) as service:
        browser.get(f'http://127.0.0.1:{service.port}/')
        choose(browser, photos['fox.jpg'])
        assert verdicts(browser, 1)[0].startswith(nasty) and browser.title == 'Which animal is it?'
        browser.find_element('css selector', '.why button').click()
        assert nasty in until(lambda: all_of(browser, '.why img'))[0].get_attribute('alt')
    browser.get_log('browser')


# --- what programs get

@pytest.mark.parametrize('mode', ['positive', 'negative'])
def test_the_api_is_what_it_says(app, mode):
    "Requests made up after the description, and such as it does not allow; the answers are held against it, too"
    schemathesis = pytest.importorskip('schemathesis', reason='schemathesis is not installed: pip install schemathesis')
    from hypothesis import HealthCheck, given, settings
    schema, n = schemathesis.openapi.from_url(f'http://127.0.0.1:{app.port}/openapi.json'), Counter()
    for operation in (o.ok() for o in schema.get_all_operations()):
        if mode == 'negative' and operation.method == 'get': continue   # nothing of it can be wrong
        @settings(max_examples=40, deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck))
        @given(case=operation.as_strategy(generation_mode=schemathesis.GenerationMode(mode)))
        def check(case):
            reply = case.call()
            limited = reply.status_code == 413   # what a schema can't say, such as bytes in all
            case.validate_response(reply, excluded_checks=[schemathesis.checks.CHECKS.get_one(o) for o in ('negative_data_rejection', 'positive_data_acceptance')] if limited else [])
            n[operation.path] += not limited
        check()
    assert n['/predict'] >= 20

def test_rows_are_those_of_predict(app, model, photos):
    from animal_clf.inference.predictor import predict_photos
    names = ['fox.jpg', 'zebra.jpg', 'person.jpg']
    rows = rows_of(app.port, *[(o, Path(photos[o]).read_bytes()) for o in names])
    for ours,theirs in zip(rows, predict_photos(model.learn, [photos[o] for o in names])):
        assert ours['path'] == Path(theirs['path']).name and (ours['label'], ours['known']) == (theirs['label'], theirs['known']) and ours['probability'] == pytest.approx(theirs['probability'], abs=.02)

def test_who_is_asked_for_by_another_name(app, model):
    for host in ('127.0.0.1', f'localhost:{app.port}', f'127.0.0.1:{app.port}', 'LOCALHOST', '[::1]:80'): assert talk(app.port, request('GET', '/health', host=host))[0] == 200
    for host in ('evil.example', '127.0.0.1.evil.example', '0.0.0.0', '', '127.0.0.1@evil.example', 'localhost.'): assert talk(app.port, request('GET', '/health', host=host))[0] == 400
    for host,asked in (('127.0.0.2', '127.0.0.2:80'), ('0:0:0:0:0:0:0:1', '[::1]:80'), ('LOCALHOST', 'LocalHost')):
        assert [_host_of(dict(host=o)) in allowed_hosts(normalize_host(host)) for o in (asked, 'evil.example')] == [True, False]
    with running(model, host='0.0.0.0') as service: assert talk(service.port, request('GET', '/health', host='photos.example'))[0] == 200

def test_own_pages_may_post(app):
    own = f'http://127.0.0.1:{app.port}'
    for headers in (['Sec-Fetch-Site: same-origin'], ['Sec-Fetch-Site: none'], [f'Origin: {own}', f'X-A: 1']):
        reply = talk(app.port, post(('x', animal()), path='/', headers=headers).replace(b'Host: 127.0.0.1\r', f'Host: 127.0.0.1:{app.port}\r'.encode()))
        assert reply[0] == 200

def test_training_photos_that_are_gone(folder, cache, tmp_path, monkeypatch):
    monkeypatch.setenv('ANIMAL_CLF_CACHE', str(without_copies(cache, tmp_path/'cache')))
    gone = Path(shutil.copytree(folder, tmp_path/'gone'))
    put_table(gone, 'photos.csv', (gone/'photos.csv').read_text().replace('/drawn/', '/moved/'))
    for change in (lambda: None, (gone/'photos.csv').unlink):
        change()
        with running(load_app_model(gone)) as service:
            html = talk(service.port, post(('fox.jpg', animal()), path='/', fields=[('explain', b'on')]))[2].decode()
            assert 'no longer where they were' in html and 'class="verdict">fox' in html and 'class="similar"' not in html and '<bdi>fox</bdi>' in html
            assert 'class="verdict">zebra' in talk(service.port, request(path='/', headers=['Content-Type: multipart/form-data; boundary=b'], body=form(fields=[('example', b'3')])))[2].decode()

def test_a_model_of_an_earlier_version(folder, cache, monkeypatch):
    monkeypatch.setenv('ANIMAL_CLF_CACHE', str(cache))
    old = load_app_model(folder)
    old.learn.posthoc.open_set = old.learn.posthoc.centroids = old.embedded = None
    old.predictor = Predictor(old.learn)
    with running(old) as service:
        assert rows_of(service.port, ('fox.jpg', animal()))[0]['known'] is None
        html = talk(service.port, post(('fox.jpg', animal()), path='/', fields=[('explain', b'on')]))[2].decode()
        assert 'can not tell what is none' in html and 'class="verdict">fox' in html and 'speaks for fox' in html

def test_a_network_without_a_map(model, app, monkeypatch):
    from animal_clf.core.settings import SettingsError
    def refuse(*args): raise SettingsError('a VisionTransformer', 'a map', 'none')
    monkeypatch.setattr('animal_clf.app.service.compute_gradcam', refuse)
    status, _, body = talk(app.port, post(('fox.jpg', animal()), path='/why'))
    assert status == 200 and b'no map' in body


# --- many at once

def clients(port, n, seconds, path='/predict', content=None):
    "How often each status came back to `n` clients who ask for so long, one after the other"
    counts, end, body = Counter(), time.time() + seconds, form(('fox.jpg', content or animal()))
    def ask():
        line = http.client.HTTPConnection('127.0.0.1', port, timeout=30)
        while time.time() < end:
            line.request('POST', path, body, {'Content-Type': 'multipart/form-data; boundary=b'})
            reply = line.getresponse()
            reply.read()
            counts[reply.status] += 1
            if reply.status == 503: assert reply.headers['Retry-After']; time.sleep(.02)
    threads = [threading.Thread(target=ask) for _ in range(n)]
    for o in threads: o.start()
    for o in threads: o.join()
    return counts

def test_a_bounded_queue(model):
    with running(model, capacity=Capacity(photos=4)) as service:
        counts = clients(service.port, 20, 3)
        assert set(counts) == {200, 503} and counts[200] > 20, counts
        assert (service.capacity.n_photos, service.capacity.n_bytes) == (0, 0)
        assert rows_of(service.port, ('fox.jpg', animal()))[0]['label'] == 'fox'

def test_batches(model, monkeypatch):
    with running(model) as service:
        sizes, answer = [], service.batcher.answer
        service.batcher.answer = lambda items: sizes.append(len(items)) or answer(items)
        assert set(clients(service.port, 16, 2)) == {200}
        assert max(sizes) > 2 and sum(sizes) > len(sizes)

def test_work_that_nobody_waits_for_is_dropped(model):
    with running(model) as service:
        seen, answer = [], service.batcher.answer
        service.batcher.answer = lambda items: seen.append(len(items)) or answer(items)
        blocked = threading.Event()
        service.batcher.call(blocked.wait)
        status, *_ = talk(service.port, post(('fox.jpg', animal())), wait_s=.5)   # who goes away
        until(lambda: service.capacity.n_photos == 0)
        blocked.set()
        assert status == 0 and rows_of(service.port, ('fox.jpg', animal()))[0]['label'] == 'fox' and seen == [1]

def test_a_fault_is_told_and_passes(model):
    with running(model) as service:
        answer = service.batcher.answer
        service.batcher.answer = lambda items: 1/0
        status, _, body = talk(service.port, post(('fox.jpg', animal())))
        assert status == 500 and 'a fault in the app' in json.loads(body)['error'] and b'Zero' not in body
        assert talk(service.port, post(('fox.jpg', animal()), path='/'))[0] == 500
        service.batcher.answer = answer
        assert rows_of(service.port, ('fox.jpg', animal()))[0]['label'] == 'fox' and service.capacity.n_photos == 0

def test_the_decoder_may_be_killed(model):
    with running(model) as service:
        for o in service.decoders.children: o.process.kill()
        rows = rows_of(service.port, *[('fox.jpg', animal())]*4)
        assert all(o['label'] == 'fox' for o in rows)


# --- from start to end

def test_the_server_as_a_process(folder, cache, tmp_path):
    "It says where it is, answers, leaves nothing behind, says what is wrong with a second one, and ends with Ctrl-C"
    program = "import sys; from animal_clf.app.server import serve\ntry: serve(sys.argv[1], port=int(sys.argv[2]), tell=lambda o: print(o, flush=True))\nexcept (KeyboardInterrupt, ValueError) as e: print(type(e).__name__, e)"
    def start(port): return subprocess.Popen([sys.executable, '-W', 'ignore', '-c', program, str(folder), str(port)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path, env=os.environ | dict(ANIMAL_CLF_CACHE=str(cache)))
    before = contents(folder)
    with start(0) as first:
        port = int(first.stdout.readline().rsplit(':', 1)[1])
        assert rows_of(port, ('fox.jpg', animal()))[0]['label'] == 'fox'
        with start(port) as second: out, _ = second.communicate(timeout=60)
        assert out.count('\n') == 1 and f'port {port} on 127.0.0.1' in out and 'Try another one: --port 5002' in out
        first.send_signal(signal.SIGINT)
        out, err = first.communicate(timeout=20)
    assert out.strip() == 'KeyboardInterrupt' and err == '' and list(tmp_path.iterdir()) == [] and contents(folder) == before
