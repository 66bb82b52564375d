import socket
from contextlib import ExitStack

import pytest

from tests.e2e.scripts_sdks import CLIENTS
from tests.e2e.sdks.pairs import FORMATS, KEYS, config
from tests.fakes.daemon import RunningDaemon
from tests.fakes.models import (
    MODEL,
    FakeModel,
)


@pytest.fixture(scope="module")
def upstreams():
    with ExitStack() as stack:
        yield {
            (bad, name): stack.enter_context(FakeModel(name, "bad-one" if bad else MODEL[name]))
            for name in FORMATS
            for bad in (False, True)
        }


@pytest.fixture(scope="module")
def models(upstreams):
    """The healthy ones, by format."""
    return {name: upstreams[False, name] for name in FORMATS}


@pytest.fixture(scope="module")
def daemon(upstreams, tmp_path_factory):
    folder = tmp_path_factory.mktemp("daemon")
    with socket.socket() as unheard:  # bound and not listening: whoever calls is refused
        unheard.bind(("127.0.0.1", 0))
        urls = {key: model.url for key, model in upstreams.items()}
        urls["gone"] = f"http://127.0.0.1:{unheard.getsockname()[1]}"
        with RunningDaemon(config(urls), folder, env=KEYS) as running:
            yield running


@pytest.fixture(scope="module")
def clients(daemon):
    made = {name: kind(daemon.url) for name, kind in CLIENTS.items()}
    yield made
    for client in made.values():
        client.close()
