"""The official client libraries talk through the real daemon to a server of each format."""

import pytest

from tests.e2e.scripts_sdks import CLIENTS
from tests.fakes.daemon import RunningDaemon
from tests.fakes.models import MODEL, FakeModel, Said

pytestmark = pytest.mark.e2e
FORMATS = ("openai", "anthropic", "ollama")
PAIRS = [(client, upstream) for client in FORMATS for upstream in FORMATS]
CONFIG = """
[server]
port = 0

[[providers]]
name = "openai-up"
format = "openai"
base_url = "{openai}"
max_retries = 0

[[providers]]
name = "anthropic-up"
format = "anthropic"
base_url = "{anthropic}"
max_retries = 0

[[providers]]
name = "ollama-up"
format = "ollama"
base_url = "{ollama}"
max_retries = 0
"""


@pytest.fixture(scope="module")
def models():
    with FakeModel("openai") as one, FakeModel("anthropic") as two, FakeModel("ollama") as three:
        yield {"openai": one, "anthropic": two, "ollama": three}


@pytest.fixture(scope="module")
def daemon(models, tmp_path_factory):
    urls = {name: model.url for name, model in models.items()}
    with RunningDaemon(CONFIG.format(**urls), tmp_path_factory.mktemp("daemon")) as running:
        yield running


@pytest.fixture(scope="module")
def clients(daemon):
    made = {name: kind(daemon.url) for name, kind in CLIENTS.items()}
    yield made
    for client in made.values():
        client.close()


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize(("client", "upstream"), PAIRS)
def test_a_plain_question(models, clients, client, upstream, stream):
    models[upstream].says(Said("Hello, wörld!", input=12, output=4))
    heard = clients[client].ask(MODEL[upstream], "hi", stream=stream)
    assert (heard.text, heard.stop, heard.usage) == ("Hello, wörld!", "end_turn", (12, 4))
    assert heard.calls == []
    assert models[upstream].asked["model"] == MODEL[upstream]
