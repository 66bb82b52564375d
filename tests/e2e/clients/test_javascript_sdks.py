"""The official JavaScript SDKs, and the AI SDK, over servers of every other format."""

import json
import shutil
from pathlib import Path

import pytest

from tests.e2e.clients.conftest import KEY, needed
from tests.e2e.clients.loops import weather
from tests.fakes.models import MODEL

pytestmark = [pytest.mark.e2e, pytest.mark.real, pytest.mark.slow]
SCRIPTS = Path(__file__).parent
SDKS = [(sdk, fmt) for sdk in ("responses", *MODEL) for fmt in MODEL if sdk != fmt]
AI_SDKS = ["chat", "compatible", "responses", "anthropic"]


@pytest.fixture
def js(run, daemon, programs):
    """What one of the scripts here prints. A module is looked for beside the script: it must lie next
    to node_modules."""

    def js(script: str, *words: str) -> dict:
        beside = programs.parent / script
        shutil.copy(SCRIPTS / script, beside)
        return json.loads(run("node", str(beside), daemon.url, KEY, *words))

    return js


@pytest.mark.parametrize(("sdk", "fmt"), SDKS)
def test_an_answer_a_stream_and_a_tool_loop(sdk, fmt, js, models) -> None:
    models[fmt].does(weather(models[fmt]))
    out = js("sdks.mjs", sdk, f"over-{fmt}")
    assert out == {
        "plain": "Hello there.",
        "streamed": "Hello there.",
        "call": {"place": "Bonn"},
        "after": "It rains.",
        "usage": 18,
    }
    last = models[fmt].chats[-1].json["messages"]
    assert "rain" in str(last[-1])


@pytest.mark.parametrize("fmt", MODEL)
@pytest.mark.parametrize("sdk", AI_SDKS)
def test_the_ai_sdk(sdk, fmt, js, models, programs) -> None:
    needed((programs / "ai").exists(), "AI SDK", more=True)
    models[fmt].does(weather(models[fmt]))
    out = js("aisdk.mjs", sdk, f"over-{fmt}")
    assert out == {
        "plain": "Hello there.",
        "streamed": "Hello there.",
        "loop": "It rains.",
        "usage": 18,
    }
    assert "rain" in str(models[fmt].chats[-1].json["messages"][-1])
