"""The official JavaScript SDKs over servers of every other format."""

import json
import shutil
from pathlib import Path

import pytest

from tests.e2e.clients.conftest import KEY
from tests.fakes.models import MODEL, Said

pytestmark = [pytest.mark.e2e, pytest.mark.real, pytest.mark.slow]
SCRIPT = Path(__file__).parent / "sdks.mjs"
CALL = ("call_1", "weather", {"place": "Bonn"})


@pytest.mark.parametrize(
    ("sdk", "fmt"), [(sdk, fmt) for sdk in MODEL for fmt in MODEL if sdk != fmt]
)
def test_an_answer_a_stream_and_a_tool_loop(sdk, fmt, run, daemon, models, programs) -> None:
    def script(turn) -> None:
        asked = turn.received.json
        done = any(
            message["role"] == "tool" or "tool_result" in str(message["content"])
            for message in asked["messages"]
        )
        if done:
            said = Said("It rains.")
        else:
            said = Said(calls=(CALL,)) if asked.get("tools") else Said("Hello there.")
        models[fmt].answer(said)(turn)

    models[fmt].does(script)
    # a module is looked for beside the script: it must lie next to node_modules
    beside = programs.parent / SCRIPT.name
    shutil.copy(SCRIPT, beside)
    out = json.loads(run("node", str(beside), daemon.url, KEY, sdk, f"over-{fmt}"))
    assert out == {
        "plain": "Hello there.",
        "streamed": "Hello there.",
        "call": {"place": "Bonn"},
        "after": "It rains.",
        "usage": 18,
    }
    last = models[fmt].chats[-1].json["messages"]
    assert "rain" in str(last[-1])
