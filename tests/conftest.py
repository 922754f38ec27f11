"""What the tests share: no proxy from outside, and the local stand-ins for the internet"""
import signal

import pytest
from servers import PhotoServer, SearchProxy, serving

signal.signal(signal.SIGINT, signal.default_int_handler)   # whoever starts us in the background ignores it, and the processes of the tests would inherit that


@pytest.fixture(autouse=True)
def no_outside_proxy(monkeypatch):
    "The stand-ins are on 127.0.0.1; a proxy from the environment would hide them"
    for name in ('http_proxy', 'https_proxy', 'all_proxy', 'ddgs_proxy'):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)

@pytest.fixture
def search_proxy(tmp_path_factory):
    with serving(SearchProxy(tmp_path_factory.mktemp('tls'))) as server: yield server

@pytest.fixture
def photo_server():
    with serving(PhotoServer()) as server: yield server
