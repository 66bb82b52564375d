"""Coding agents, as `llmrouter launch` starts them: a plain answer, and a whole tool loop."""

import json
import sys

import pytest

from tests.e2e.clients.conftest import needed
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


def test_claude_code_finds_its_way_with_a_server_that_refuses_parts_of_its_request(
    run, daemon, models
) -> None:
    """By the server's own words, one part after the other, and none is asked for twice."""

    def script(turn) -> None:
        asked = turn.received.json
        late = [m["role"] for m in asked["messages"]].count("system")
        words = "messages.1.role: Input should be 'user' or 'assistant'" if late else ""
        if not words and "context_management" in asked:
            words = "context_management: Extra inputs are not permitted"
        error = {"type": "invalid_request_error", "message": words}
        if words:
            turn.whole({"type": "error", "error": error}, 400)
        else:
            models["anthropic"].answer(Said(f"Hello. {MARK}"))(turn)

    models["anthropic"].does(script)
    assert MARK in launch(run, daemon, "claude", "anthropic", "-p", "Say hello.")
    told = [
        (
            "system" in str([m["role"] for m in chat.json["messages"]]),
            "context_management" in chat.json,
        )
        for chat in models["anthropic"].chats
    ]
    assert told == [(True, True), (False, True), (False, False)]


FREE = ("--skip-git-repo-check", "--json", "--dangerously-bypass-approvals-and-sandbox")


def codex(run, daemon, model: str, words: str, home) -> list[dict]:
    """Codex's own report of a turn."""
    router = [sys.executable, str(ROOT / "llmrouter.py"), "launch", "codex", "--url", daemon.url]
    told = ["--model", f"over-{model}", "--", "exec", *FREE, words]
    out = run(*router, *told, CODEX_HOME=str(home))
    return [json.loads(line) for line in out.splitlines() if line.startswith("{")]


def messages(report: list[dict]) -> list[str]:
    items = [event["item"] for event in report if event["type"] == "item.completed"]
    return [item["text"] for item in items if item["type"] == "agent_message"]


@pytest.mark.parametrize("fmt", ["openai", "anthropic", "ollama"])
def test_codex_gets_a_plain_answer(fmt, run, daemon, models, tmp_path) -> None:
    answers(models[fmt], Said(f"Hello. {MARK}"))
    report = codex(run, daemon, fmt, "Say hello.", tmp_path)
    assert messages(report) == [f"Hello. {MARK}"]
    done = next(event for event in report if event["type"] == "turn.completed")
    assert (done["usage"]["input_tokens"], done["usage"]["output_tokens"]) == (11, 7)
    assert "Say hello." in str(models[fmt].asked["messages"])


@pytest.mark.parametrize("fmt", ["openai", "anthropic", "ollama"])
def test_codex_runs_a_command_and_hands_its_output_back(fmt, run, daemon, models, tmp_path) -> None:
    call = ("call_1", "exec_command", {"cmd": "echo KITMARKER-$((7000 + 41))"})
    answers(models[fmt], Said("Looking.", calls=(call,)), Said("Done, it is there."))
    report = codex(run, daemon, fmt, "Run it.", tmp_path)
    assert messages(report) == ["Looking.", "Done, it is there."]
    assert MARK in str(models[fmt].chats[-1].json["messages"][-1])


def test_codex_goes_on_over_http_when_its_websocket_is_refused(
    run, daemon, models, tmp_path
) -> None:
    answers(models["openai"], Said(f"Hello. {MARK}"))
    told = {"name": "llmrouter", "base_url": f"{daemon.url}/v1", "env_key": "ROUTER_API_KEY"}
    members = [f"{name} = {json.dumps(value)}" for name, value in told.items()]
    members += ['wire_api = "responses"', "supports_websockets = true"]
    table = f"model_providers.llmrouter={{{', '.join(members)}}}"
    model = ("-c", 'model_provider="llmrouter"', "-c", table, "-m", "over-openai")
    out = run("codex", *model, "exec", *FREE, "Say hello.", CODEX_HOME=str(tmp_path))
    assert MARK in out
    assert len(models["openai"].chats) == 1


SHELL = {
    "copilot": ("bash", {"command": "cat note.txt", "description": "read it"}),
    "opencode": ("bash", {"command": "cat note.txt", "description": "read it"}),
    "qwen": ("run_shell_command", {"command": "cat note.txt", "is_background": False}),
}
ASKED = {
    "copilot": ("-p", "Read note.txt.", "--allow-all-tools"),
    "opencode": ("run", "Read note.txt."),
    "qwen": ("-p", "Read note.txt.", "--approval-mode", "yolo"),
}


@pytest.mark.parametrize("fmt", ["anthropic", "ollama"])
@pytest.mark.parametrize("agent", SHELL)
def test_an_agent_runs_a_command_and_hands_its_output_back(
    agent, fmt, run, daemon, models, programs, tmp_path
) -> None:
    needed((programs / ".bin" / agent).exists(), agent, more=True)
    (tmp_path / "note.txt").write_text(f"the word is {MARK}\n")
    call = ("call_1", *SHELL[agent])
    answers(models[fmt], Said("Looking.", calls=(call,)), Said("Done, it is there."))
    assert "Done, it is there." in launch(run, daemon, agent, fmt, *ASKED[agent])
    assert MARK in str(models[fmt].chats[-1].json["messages"][-1])
