"""The real search client against a local stand-in for DuckDuckGo and Bing"""
import os, subprocess, sys, time, types
import pytest
from animal_clf.core.settings import SearchError, SettingsError
from animal_clf.scraping import search as search_module
from animal_clf.scraping.search import NoNetworkError, NothingFoundError, RateLimitError, iter_pages, licenses, search_photos, web_engines
from servers import photo_hits


def search(proxy, term='red fox photo', n=10, **options): return search_photos(term, n, **(proxy.options | dict(pause_s=0) | options))

def test_one_page_of_duckduckgo(search_proxy):
    search_proxy.answers['duckduckgo'] = photo_hits(30)
    rows = search(search_proxy)
    assert [o['url'] for o in rows] == [f'https://photos.example/{i}.jpg' for i in range(10)]
    assert rows[0] == dict(query='red fox photo', engine='duckduckgo', url='https://photos.example/0.jpg',
                           page='https://pages.example/0', title='photo 0', width=640, height=480)
    assert {host for host,*_ in search_proxy.seen} == {'duckduckgo.com'}
    assert search_proxy.seen[1][2]['vqd'] == '4-13'

def test_several_pages(search_proxy):
    search_proxy.answers['duckduckgo'] = photo_hits(230)
    rows = search(search_proxy, n=210)
    assert len({o['url'] for o in rows}) == len(rows) == 210
    assert [query.get('s') for _,path,query in search_proxy.seen if path == '/i.js'] == [None, '100', '200']

def test_the_next_engine_fills_up_and_no_url_comes_twice(search_proxy):
    search_proxy.answers.update(duckduckgo=photo_hits(4) + photo_hits(2), bing=photo_hits(40, start=2))
    rows = search(search_proxy, n=20)
    assert [o['engine'] for o in rows] == ['duckduckgo']*4 + ['bing']*16
    assert [o['url'] for o in rows] == [f'https://photos.example/{i}.jpg' for i in range(20)]
    assert rows[-1]['width'] == 640 and rows[-1]['height'] == 480

def test_fewer_than_wanted_are_returned(search_proxy):
    search_proxy.answers.update(duckduckgo=photo_hits(3), bing=503)
    assert len(search(search_proxy, n=100)) == 3

@pytest.mark.parametrize('status', [202, 403, 418, 429, 500])
def test_bing_answers_where_duckduckgo_refuses(search_proxy, status):
    search_proxy.answers.update(duckduckgo=status, bing=photo_hits(50))
    rows = search(search_proxy, n=40)
    assert {o['engine'] for o in rows} == {'bing'} and len(rows) == 40
    assert [query['first'] for host,_,query in search_proxy.seen if host == 'www.bing.com'] == ['1', '36']

def test_refused_on_the_second_page(search_proxy):
    search_proxy.answers.update(duckduckgo=photo_hits(100), bing=photo_hits(10, start=500))
    rows = search(search_proxy, n=105)
    assert [o['engine'] for o in rows].count('bing') == 5

def test_refused_by_all(search_proxy):
    search_proxy.answers.update(duckduckgo=403, bing=429)
    with pytest.raises(RateLimitError, match='duckduckgo: HTTP 403, rate limit; bing: HTTP 429, rate limit.*Wait some minutes'):
        search(search_proxy)

def test_refused_at_the_door(search_proxy):
    search_proxy.home_status, search_proxy.answers['bing'] = 403, []
    with pytest.raises(RateLimitError, match='duckduckgo: HTTP 403, rate limit; bing: nothing found'): search(search_proxy)

def test_nothing_found(search_proxy):
    with pytest.raises(NothingFoundError, match='"bandersnatch" .duckduckgo: nothing found; bing: nothing found') as e:
        search(search_proxy, 'bandersnatch')
    assert '\n' not in str(e.value)

@pytest.mark.parametrize('answer', ['{"results": ', '<html><body>Are you a robot?</body></html>', '[]', '{"results": [1]}', ''])
def test_answers_that_make_no_sense(search_proxy, answer):
    search_proxy.answers.update(duckduckgo=answer, bing=500)
    with pytest.raises(SearchError, match='bing: HTTP 500') as e: search(search_proxy)
    assert type(e.value) is SearchError and 'duckduckgo: ' in str(e.value)

@pytest.mark.parametrize('url', [None, '', 'data:image/png;base64,AAAA', 'file:///etc/passwd', 'ftp://host/fox.jpg', 'https:///fox.jpg'])
def test_only_addresses_of_the_web_count(search_proxy, url):
    search_proxy.answers['duckduckgo'] = [photo_hits(1)[0] | dict(image=url)] + photo_hits(2)
    assert len(search(search_proxy)) == 2

def test_addresses_come_as_they_were_sent(search_proxy):
    urls = ['https://photos.example/red%20fox {}.jpg?u=https%3A%2F%2Fcdn.example%3Fa%3D1&copy=2', 'https://photos.example/лиса-{}.jpg',
            'https://photos.example/100%25/{}.jpg', 'https://photos.example/a%E9{}.jpg']
    for engine,other in [('duckduckgo', 'bing'), ('bing', 'duckduckgo')]:
        search_proxy.answers.update({engine: [o for url in urls for o in photo_hits(1, url=url)], other: []})
        assert [o['url'] for o in search(search_proxy)] == [o.format(0) for o in urls], engine

@pytest.mark.parametrize('term', ['рыжая лиса', 'キツネ', 'fox & "wolf" 100%', 'éléphant d’Asie 🐘'])
def test_terms_arrive_intact(search_proxy, term):
    search_proxy.answers['bing'] = photo_hits(5, title=term + ' {}')
    rows = search(search_proxy, term, 5)
    assert {query['q'] for *_,query in search_proxy.seen} == {term}
    assert rows[0]['query'] == term and rows[0]['title'] == f'{term} 0'

def test_no_network_is_said_within_seconds():
    start = time.perf_counter()
    with pytest.raises(NoNetworkError, match='Connection refused.*a connection to the internet') as e:
        search_photos('red fox', 5, proxy='http://127.0.0.1:9')
    assert time.perf_counter() - start < 3 and '\n' not in str(e.value)

def test_a_silent_service_is_given_up(search_proxy):
    search_proxy.delay_s = 3
    start = time.perf_counter()
    with pytest.raises(NoNetworkError, match='duckduckgo: no answer in time; bing: no answer in time'): search(search_proxy, timeout_s=.4)
    assert time.perf_counter() - start < 2.5

def test_a_certificate_that_is_not_trusted(search_proxy):
    with pytest.raises(SearchError, match='invalid peer certificate') as e: search(search_proxy, verify=True)
    assert not isinstance(e.value, NoNetworkError)

def test_proxy_from_the_environment(search_proxy, monkeypatch):
    search_proxy.answers['duckduckgo'] = photo_hits(1)
    monkeypatch.setenv('DDGS_PROXY', search_proxy.url)
    assert len(search_photos('red fox', 1, verify=search_proxy.ca_file)) == 1

@pytest.mark.parametrize('options', [dict(proxy='http://127.0.0.1:port'), dict(verify='/no/such/file.pem')])
def test_options_that_cannot_be_used(options):
    with pytest.raises(SettingsError): search_photos('red fox', 5, **options)

@pytest.mark.parametrize('term,n', [('', 5), ('  ', 5), ('fox', 0), ('fox', -3)])
def test_options_are_checked_first(search_proxy, term, n):
    with pytest.raises(SettingsError): search(search_proxy, term, n)
    assert search_proxy.seen == []


# --- page by page, manners, licences

def asked(proxy, host='duckduckgo.com', path='/i.js'): return [query for h,p,query in proxy.seen if (h, p) == (host, path)]

def test_pages_are_asked_for_as_needed(search_proxy):
    search_proxy.answers.update(duckduckgo=photo_hits(250), bing=photo_hits(50, start=240))
    pages = iter_pages('red fox', **search_proxy.options)
    assert search_proxy.seen == []
    assert len(next(pages)) == 100 and len(asked(search_proxy)) == 1
    assert [len(o) for o in pages] == [100, 50, 25, 15]
    assert len(asked(search_proxy)) == 4 and len(asked(search_proxy, 'www.bing.com', '/images/async')) == 3

def test_refused_in_the_middle(search_proxy):
    search_proxy.answers.update(duckduckgo=photo_hits(300), bing=photo_hits(5, start=900))
    pages = iter_pages('red fox', pause_s=0, **search_proxy.options)
    next(pages)
    search_proxy.answers['duckduckgo'] = 403
    assert [o['engine'] for page in pages for o in page] == ['bing']*5
    assert len(asked(search_proxy)) == 1+3

def test_an_engine_that_comes_to_its_senses(search_proxy, monkeypatch):
    pauses = []
    def sleep(seconds):
        if seconds: pauses.append(seconds)   # the server sleeps too
        if len(pauses) == 2: search_proxy.answers['duckduckgo'] = photo_hits(10)
    monkeypatch.setattr(search_module.time, 'sleep', sleep)
    search_proxy.answers['duckduckgo'] = 429
    assert {o['engine'] for o in search(search_proxy, pause_s=1)} == {'duckduckgo'}
    assert .5 <= pauses[0] <= 1.5 and 1 <= pauses[1] <= 3 and len(pauses) == 2

@pytest.mark.parametrize('answer', [[], 500, '<html>'])
def test_only_refusals_are_tried_again(search_proxy, answer):
    search_proxy.answers.update(duckduckgo=answer, bing=photo_hits(10))
    search(search_proxy)
    assert len(asked(search_proxy)) == 1

@pytest.mark.parametrize('license', licenses)
def test_licences_are_passed_on(search_proxy, license):
    search_proxy.answers.update(duckduckgo=photo_hits(120), bing=photo_hits(500))
    assert len(search(search_proxy, n=300, license=license)) == 120
    assert {o['f'] for o in asked(search_proxy)} == {f',,,,,license:{licenses[license]}'}
    assert {host for host,*_ in search_proxy.seen} == {'duckduckgo.com'}

def test_no_licence_is_no_filter(search_proxy):
    search_proxy.answers['duckduckgo'] = photo_hits(10)
    search(search_proxy)
    assert 'f' not in asked(search_proxy)[0]

@pytest.mark.parametrize('options', [dict(license='Public'), dict(license='any'), dict(pause_s=-1), dict(pause_s=float('nan')), dict(license='public', engines=[('a', None)])])
def test_page_options_are_checked_first(search_proxy, options):
    with pytest.raises(SettingsError): iter_pages('red fox', **search_proxy.options, **options)
    assert search_proxy.seen == []


# --- the old package

def old_package(monkeypatch, images):
    "Only `duckduckgo_search` is installed, and its `DDGS().images` is `images`"
    package, errors = types.ModuleType('duckduckgo_search'), types.ModuleType('duckduckgo_search.exceptions')
    errors.DuckDuckGoSearchException = type('DuckDuckGoSearchException', (Exception,), {})
    class DDGS:
        def __init__(self, proxy=None, timeout=10, verify=True): pass
        def images(self, keywords, max_results=None): return images(keywords, max_results)
    package.DDGS = DDGS
    for name,module in [('ddgs', None), ('ddgs.engines', None), ('duckduckgo_search', package), ('duckduckgo_search.exceptions', errors)]:
        monkeypatch.setitem(sys.modules, name, module)
    return errors.DuckDuckGoSearchException

def test_the_old_package_serves_too(monkeypatch):
    old_package(monkeypatch, lambda keywords, max_results: photo_hits(130, title=keywords)[:max_results])
    rows = search_photos('red fox', 120)
    assert len(rows) == 120 and rows[0]['title'] == 'red fox' and rows[0]['engine'] == 'duckduckgo'

def test_the_old_package_is_refused(monkeypatch):
    def images(keywords, max_results): raise error('https://duckduckgo.com/i.js 403 Ratelimit')
    error = old_package(monkeypatch, images)
    with pytest.raises(RateLimitError, match='duckduckgo: HTTP 403'): search_photos('red fox', 5, pause_s=0)

def test_the_old_package_cannot_take_a_certificate(monkeypatch, search_proxy):
    old_package(monkeypatch, None)
    with pytest.raises(SettingsError, match='pip install ddgs'): search(search_proxy)

def test_no_search_package(monkeypatch):
    for name in ('ddgs', 'ddgs.engines', 'duckduckgo_search'): monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(SearchError, match='`ddgs` is not installed'): web_engines()

def test_the_real_old_package(monkeypatch, search_proxy):
    "Runs where the old package can be imported, e.g. from a folder on PYTHONPATH"
    pytest.importorskip('duckduckgo_search')
    for name in ('ddgs', 'ddgs.engines'): monkeypatch.setitem(sys.modules, name, None)
    search_proxy.answers['duckduckgo'] = photo_hits(30)
    assert len(search(search_proxy, n=20, verify=False)) == 20
    search_proxy.answers['duckduckgo'] = 403
    with pytest.raises(RateLimitError, match='HTTP 403'): search(search_proxy, verify=False)
    with pytest.raises(NoNetworkError): search_photos('red fox', 5, proxy='http://127.0.0.1:9')


def test_importing_is_fast():
    "The shell command imports this module on every call"
    code = 'import sys; import animal_clf.scraping.search, animal_clf.scraping.download; print(*{"ddgs", "httpx", "pandas", "torch", "fastai"} & set(sys.modules))'
    assert subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True, env=dict(os.environ)).stdout.strip() == ''
