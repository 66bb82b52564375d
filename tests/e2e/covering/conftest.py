from contextlib import ExitStack

import pytest

from tests.e2e.covering.planted import REDACT
from tests.fakes.daemon import RunningDaemon
from tests.fakes.models import FakeModel, Said

FORMATS = ("openai", "anthropic", "ollama", "responses")


@pytest.fixture(scope="module")
def models():
    with ExitStack() as stack:
        yield {name: stack.enter_context(FakeModel(name, "kit-model")) for name in FORMATS}


@pytest.fixture(scope="module")
def daemon(models, tmp_path_factory):
    providers = "".join(
        f'[[providers]]\nname = "{name}"\nformat = "{name}"\nbase_url = "{model.url}"\n'
        'forward_headers = ["x-on-behalf-of"]\n'
        + ('betas = ["*"]\n' if name == "anthropic" else "")
        for name, model in models.items()
    )
    config = f"[server]\nport = 0\n{REDACT}{providers}"
    with RunningDaemon(config, tmp_path_factory.mktemp("d")) as running:
        yield running


@pytest.fixture(autouse=True)
def _answers(models):
    for model in models.values():
        model.says(Said("Hello there."))
        model.small.clear()
        model.upstream.received.clear()
