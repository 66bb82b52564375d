"""LangChain and LiteLLM over servers of other formats."""

import json
from pathlib import Path

import pytest

from tests.e2e.clients.conftest import CLIENTS, KEY, needed
from tests.e2e.clients.loops import weather
from tests.fakes.models import MODEL

pytestmark = [pytest.mark.e2e, pytest.mark.real, pytest.mark.slow]
PYTHON = CLIENTS / "python" / "bin" / "python"
SCRIPT = Path(__file__).parent / "frameworks.py"
SPEAKS = ["openai", "responses", "anthropic", "ollama"]
LITELLM = ["litellm-openai", "litellm-anthropic", "litellm-ollama"]


@pytest.mark.parametrize(
    ("client", "fmt"),
    [(client, fmt) for client in SPEAKS + LITELLM for fmt in MODEL if not client.endswith(fmt)],
)
def test_an_answer_a_stream_and_a_tool_loop(client, fmt, run, daemon, models) -> None:
    needed(PYTHON.exists(), "LangChain", more=True)
    models[fmt].does(weather(models[fmt]))
    words = (daemon.url, KEY, client, f"over-{fmt}")
    out = run(str(PYTHON), str(SCRIPT), *words, LITELLM_LOCAL_MODEL_COST_MAP="True")
    assert json.loads(out.splitlines()[-1]) == {
        "plain": "Hello there.",
        "streamed": "Hello there.",
        "call": {"place": "Bonn"},
        "after": "It rains.",
        "usage": 18,
    }
    assert "rain" in str(models[fmt].chats[-1].json["messages"][-1])
