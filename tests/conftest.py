"""What the tests share: no proxy from outside, the local stand-ins for the internet, a browser"""
import os, shutil, signal
from pathlib import Path

import pytest
from servers import PhotoServer, SearchProxy, serving

signal.signal(signal.SIGINT, signal.default_int_handler)   # whoever starts us in the background ignores it, and the processes of the tests would inherit that


@pytest.fixture(autouse=True)
def no_outside_proxy(monkeypatch):
    "The stand-ins are on 127.0.0.1; a proxy from the environment would hide them"
    for name in ('http_proxy', 'https_proxy', 'all_proxy', 'ddgs_proxy'):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)

@pytest.fixture(scope='session')
def measured(tmp_path_factory):
    "What is measured once per machine, which engine and which precision is the faster, is measured once for all files"
    folder = tmp_path_factory.getbasetemp()
    folder = (folder.parent if 'PYTEST_XDIST_WORKER' in os.environ else folder)/'measured'   # one for all of its processes
    for name in ('engines', 'speed'): (folder/name).mkdir(parents=True, exist_ok=True)
    return folder

@pytest.fixture(scope='module')
def cache(tmp_path_factory, measured):
    "What the tests of a file share"
    folder = tmp_path_factory.mktemp('cache')
    for o in measured.iterdir(): (folder/o.name).symlink_to(o)
    return folder

@pytest.fixture
def empty_folder(no_outside_proxy, cache, tmp_path, monkeypatch):
    "The test runs in an empty folder, with a cache that its file has for itself"
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv('ANIMAL_CLF_CACHE', str(cache))

@pytest.fixture
def own_cache(empty_folder, measured, monkeypatch):
    "An empty cache for this test alone"
    cache = Path('own-cache').absolute()
    cache.mkdir()
    for o in measured.iterdir(): (cache/o.name).symlink_to(o)
    monkeypatch.setenv('ANIMAL_CLF_CACHE', str(cache))
    return cache

@pytest.fixture
def search_proxy(tmp_path_factory):
    with serving(SearchProxy(tmp_path_factory.mktemp('tls'))) as server: yield server

@pytest.fixture
def photo_server():
    with serving(PhotoServer()) as server: yield server

def find_program(*names): return next((found for o in names if (found := shutil.which(o))), None)

@pytest.fixture(scope='session')
def browser(tmp_path_factory):
    "A real Chromium, headless, that can't reach any network"
    webdriver = pytest.importorskip('selenium.webdriver', reason='selenium is not installed: pip install selenium')
    chromium, driver = find_program('chromium', 'chromium-browser', 'google-chrome'), find_program('chromedriver')
    if not chromium or not driver: pytest.skip('no Chromium here: apt-get install chromium chromium-driver')
    options, home = webdriver.ChromeOptions(), tmp_path_factory.mktemp('chromium')
    options.binary_location = chromium
    for o in ('headless', 'no-sandbox', 'disable-gpu', 'disable-quic', 'no-first-run', 'disable-background-networking', 'disable-component-update', 'disable-sync',
              'disable-dev-shm-usage', 'proxy-server=127.0.0.1:9', f'user-data-dir={home}/profile', 'window-size=1280,1600'): options.add_argument(f'--{o}')
    options.add_experimental_option('prefs', {'download.default_directory': f'{home}/downloads', 'download.prompt_for_download': False})
    options.set_capability('goog:loggingPrefs', {'browser': 'ALL'})
    driver = webdriver.Chrome(options, webdriver.ChromeService(driver))
    driver.downloads = home/'downloads'
    yield driver
    driver.quit()
