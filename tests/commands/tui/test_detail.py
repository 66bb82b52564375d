"""One request whole."""

import pytest

from llmrouterd.commands.terminal import line_width
from llmrouterd.commands.tui.detail import lines
from llmrouterd.commands.tui.state import View
from tests.commands.tui.scene import busy, ended, running, scene, text_of

END = ended(
    7,
    endpoint="/v1/messages",
    client="editor",
    client_format="anthropic",
    address="10.0.0.1:11434",
    rule="routers[1] discover",
    plugins=["redact"],
    cached_tokens=100,
    dropped=["top_k", "metadata"],
    notes=["the prompt was cut"],
    request_id="req_1",
    upstream_request_id="up_1",
    queue_ms=120,
    connect_ms=0,
    load_ms=400,
    prefill_ms=None,
    trace=[
        "routers[0] prefix: skipped cloud/big: no tools",
        "routers[1] discover: candidate ollama/llama3.1:8b",
    ],
    attempts=["cloud/big: timeout:connect: too slow"],
    response_tags=["refusal"],
)
WORDS = {
    "system": "be kind",
    "messages": [
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "look at\nthis"},
                {"type": "image", "media_type": "image/png", "data": "A" * 4000},
                {"type": "tool_result", "tool_use_id": "call_1", "content": "42 \x1b[2J"},
                {"type": "tool_use", "id": "call_1", "name": "sum", "input": {"a": 1}},
                {"type": "new"},
                "nonsense",
            ],
        },
        "nonsense",
    ],
    "response": {
        "id": "x",
        "model": "llama",
        "content": "it is 42",
        "stop_reason": "tool_use",
        "reasoning": "hm",
        "tool_calls": [{"id": "call_2", "name": "print", "input": {"text": "Grüße"}}],
    },
}


def opened(end: dict = END, words: dict | None = WORDS) -> View:
    view = scene(end)
    view.show(view.board.ended[0])
    view.words = words
    return view


def test_everything_that_is_known_is_told() -> None:
    text = text_of(lines(opened(), 100))
    for words in (
        *("#7", "done 200", "gpt-4o  /v1/messages  stream", "editor, anthropic"),
        *("ollama/llama3.1:8b  10.0.0.1:11434", "routers[1] discover", "code, refusal", "redact"),
        *("120\u219243, 100 of them cached, 10.0/s", "$0.0012", "top_k, metadata", "req_1", "up_1"),
        *("the prompt was cut", "700ms to the first token, 4.3s writing"),
        "of the wait: 120ms in the queue, 400ms to load the model",
        *("skipped cloud/big: no tools", "candidate ollama", "timeout:connect: too slow"),
        *("be kind", "look at\n  this", "picture, image/png, 3000 bytes", "result of call_1"),
        *("calls sum (call_1)", '{"a": 1}', "answer of llama, tool_use", "it is 42", "hm"),
        *("calls print (call_2)", "Grüße"),
    ):
        assert words in text
    assert "\x1b" not in text


@pytest.mark.parametrize("columns", [20, 40, 80, 200])
def test_no_line_is_too_wide(columns: int) -> None:
    assert max(line_width(line) for line in lines(opened(), columns)) <= columns


def test_a_failure_and_its_tries() -> None:
    view = busy()
    view.show(view.board.ended[1])
    text = text_of(lines(view, 100))
    assert "upstream: it burns" in text
    assert "cloud/m: timeout:connect: no (took 10ms" in text


def test_words_that_are_not_there_are_said_to_be_missing() -> None:
    assert "being asked for" in text_of(lines(opened(words=None), 80))
    view = opened(words=None)
    view.words_missing = "its words are not held any more"
    assert "not held" in text_of(lines(view, 80))
    view = scene(*running(1))
    view.show(view.board.running[1])
    text = text_of(lines(view, 80))
    assert "come when it has ended" in text
    assert "\u224840 so far" in text


def test_strange_words_are_no_crash() -> None:
    for words in ({}, {"messages": 3, "response": []}, {"messages": [{"content": 3}], "system": 1}):
        lines(opened(words=words), 80)
    assert lines(scene(), 80) == []
