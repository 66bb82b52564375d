"""Coding agents, as `llmrouter launch` starts them: a plain answer, and a whole tool loop."""

import sys

import pytest

from tests.fakes.daemon import ROOT
from tests.fakes.models import Said

pytestmark = [pytest.mark.e2e, pytest.mark.real, pytest.mark.slow]
MARK = "KITMARKER-7041"


def launch(run, daemon, agent: str, model: str, *words: str) -> str:
    router = [sys.executable, str(ROOT / "llmrouter.py"), "launch", agent]
    return run(*router, "--url", daemon.url, "--model", f"over-{model}", "--", *words)


def answers(model, *said: Said) -> None:
    """The agent's real requests get these; its small ones (titles, probes) a word."""
    left = list(said)

    def script(turn) -> None:
        real = bool(turn.received.json.get("tools"))
        now = (left.pop(0) if len(left) > 1 else left[0]) if real else Said("ok")
        model.answer(now)(turn)

    model.does(script)


@pytest.mark.parametrize("fmt", ["openai", "ollama", "anthropic"])
def test_claude_code_gets_a_plain_answer(fmt, run, daemon, models) -> None:
    answers(models[fmt], Said(f"Hello. {MARK}"))
    assert MARK in launch(run, daemon, "claude", fmt, "-p", "Say hello.")
    sent = models[fmt].chats[-1].json
    assert sent["model"] == models[fmt].names[0]
    assert "Say hello." in str(sent["messages"])


@pytest.mark.parametrize("fmt", ["openai", "ollama"])
def test_claude_code_runs_a_tool_and_hands_its_result_back(
    fmt, run, daemon, models, tmp_path
) -> None:
    (tmp_path / "note.txt").write_text(f"the word is {MARK}\n")
    call = ("call_1", "Read", {"file_path": str(tmp_path / "note.txt")})
    answers(models[fmt], Said("Looking.", calls=(call,)), Said("Done, it is there."))
    out = launch(run, daemon, "claude", fmt, "-p", "Read note.txt.", "--allowedTools", "Read")
    assert "Done, it is there." in out
    results = [
        m for chat in models[fmt].chats for m in chat.json["messages"] if m["role"] == "tool"
    ]
    assert results
    assert MARK in str(results[-1]["content"])
    if fmt == "openai":
        assert results[-1]["tool_call_id"] == "call_1"


def test_claude_code_over_many_turns_keeps_what_its_vendor_signed(
    run, daemon, models, tmp_path
) -> None:
    (tmp_path / "note.txt").write_text(f"the word is {MARK}\n")
    call = ("toolu_1", "Read", {"file_path": str(tmp_path / "note.txt")})
    first = Said("Looking.", thinking="hm, hm", calls=(call,))
    answers(models["anthropic"], first, Said("Done."))
    words = ("-p", "Read note.txt.", "--allowedTools", "Read")
    assert "Done." in launch(run, daemon, "claude", "anthropic", *words)
    blocks = [
        block
        for message in models["anthropic"].chats[-1].json["messages"]
        if message["role"] == "assistant"
        for block in message["content"]
    ]
    kinds = [block["type"] for block in blocks]
    assert kinds == ["thinking", "text", "tool_use"]
    assert (blocks[0]["thinking"], bool(blocks[0]["signature"])) == ("hm, hm", True)
