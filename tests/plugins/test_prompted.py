"""llmrouterd/plugins/prompted.py"""

import contextlib
import json
from pathlib import Path

import pytest

from formats import FORMATS
from formats.canonical import Message, Request, Text
from formats.errors import Invalid
from llmrouterd.plugins.prompted import MODES, has_system, with_prompt

CLIENTS = Path(__file__).parents[1] / "transcripts" / "clients"
FORMAT = {
    "/v1/chat/completions": "openai",
    "/v1/messages": "anthropic",
    "/api/chat": "ollama",
    "/v1/responses": "responses",
    "/api/generate": "generate",
}
OURS = "Answer in German."
EACH = pytest.mark.parametrize("mode", MODES)


def recorded() -> list[tuple[str, str, bytes]]:
    """What real clients have sent: name, format, body."""
    out = []
    for path in sorted(CLIENTS.glob("*.json")):
        seen = json.loads(path.read_text("utf-8"))
        fmt = FORMAT.get(seen.get("path", ""))
        if fmt is None or not isinstance(seen.get("body"), dict):
            continue
        body = json.dumps(seen["body"]).encode()
        with contextlib.suppress(Invalid):  # some clients were made to send what is wrong
            if FORMATS[fmt].parse_request(body).messages:
                out.append((path.stem, fmt, body))
    return out


def test_there_are_enough_clients_to_judge_by() -> None:
    found = recorded()
    assert len(found) > 60
    assert {fmt for _, fmt, _ in found} >= {"openai", "anthropic", "ollama", "responses"}


@EACH
def test_the_text_of_real_clients_says_what_the_request_says(mode: str) -> None:
    """And outside of the system prompt it says what it said before."""
    kept = 0
    for name, fmt, body in recorded():
        before = FORMATS[fmt].parse_request(body)
        after = with_prompt(before, OURS, mode)
        if after.raw is None:
            continue
        kept += before.raw is not None
        assert FORMATS[fmt].parse_request(after.raw.spliced({})) == after, name
        one, two = before.raw.value, after.raw.value
        changed = {key for key in one.keys() | two.keys() if one.get(key) != two.get(key)}
        places = {"anthropic": "system", "generate": "system", "responses": "instructions"}
        assert changed == {places.get(fmt, "messages")}, name
        assert OURS in json.dumps(two)
    assert kept > 50


@EACH
def test_every_real_client_gets_the_words_where_it_has_them_or_at_the_front(mode: str) -> None:
    for name, fmt, body in recorded():
        before = FORMATS[fmt].parse_request(body)
        after = with_prompt(before, OURS, mode).messages
        mine = [m for m in before.messages if m.role not in ("system", "developer")]
        assert [m for m in after if m.role not in ("system", "developer")] == mine, name
        at = next(i for i, m in enumerate(after) if OURS in repr(m.parts))
        assert all(m.role in ("system", "developer") for m in after[: at + 1]), name


MIDDLE = Message("developer", (Text("from now on in French"),))
USER = Message("user", (Text("hi"),))
SYSTEM = Message("system", (Text("Mine."),))


def messages_of(mode: str, *messages: Message) -> tuple[Message, ...]:
    return with_prompt(Request("openai", "m", messages), OURS, mode).messages


def test_instructions_in_the_middle_of_a_conversation_are_no_place_for_it() -> None:
    ours = Message("system", (Text(OURS),))
    assert messages_of("append", USER, MIDDLE, USER) == (ours, USER, MIDDLE, USER)
    assert messages_of("prepend", USER, MIDDLE, USER) == (ours, USER, MIDDLE, USER)
    assert messages_of("replace", USER, MIDDLE, USER) == (ours, USER, USER)


def test_of_several_system_messages_the_first_or_the_last_one_gets_it() -> None:
    first = messages_of("prepend", SYSTEM, MIDDLE, USER)
    assert first[0].parts == (Text(f"{OURS}\n\nMine."),)
    assert first[1:] == (MIDDLE, USER)
    last = messages_of("append", SYSTEM, MIDDLE, USER)
    assert last[1].parts == (Text(f"from now on in French\n\n{OURS}"),)
    assert (last[0], last[2]) == (SYSTEM, USER)


def parsed(fmt: str, body: dict) -> Request:
    return FORMATS[fmt].parse_request(json.dumps({"model": "m", **body}).encode())


SAID = {"role": "user", "content": "hi"}
TEXT = {"type": "text", "text": "Mine."}


@pytest.mark.parametrize(
    ("fmt", "body", "mode", "comes_to"),
    [
        (
            "openai",
            {"messages": [{"role": "system", "content": [TEXT]}, SAID]},
            "append",
            "messages",
        ),
        (
            "openai",
            {"messages": [{"role": "system", "content": [TEXT, TEXT]}]},
            "append",
            "messages",
        ),
        ("openai", {"messages": [{"role": "system", "content": ""}, SAID]}, "append", None),
        (
            "ollama",
            {"messages": [{"role": "system", "content": "x", "images": ["aa"]}]},
            "append",
            None,
        ),
        ("anthropic", {"system": "", "messages": [SAID], "max_tokens": 1}, "append", "system"),
        ("anthropic", {"system": [], "messages": [SAID], "max_tokens": 1}, "prepend", "system"),
        (
            "responses",
            {"input": [{"role": "developer", "content": "x"}]},
            "prepend",
            "instructions",
        ),
        ("responses", {"input": [{"role": "developer", "content": "x"}]}, "append", None),
        ("responses", {"input": [{"role": "developer", "content": "x"}]}, "replace", None),
        ("generate", {"prompt": "hi", "system": "Mine."}, "replace", "system"),
    ],
)
def test_where_the_text_is_edited_and_where_it_is_let_go(
    fmt: str, body: dict, mode: str, comes_to: str | None
) -> None:
    before = parsed(fmt, body)
    after = with_prompt(before, OURS, mode)
    assert OURS in repr(after.messages)
    if comes_to is None:
        assert after.raw is None
        return
    assert after.raw is not None
    assert OURS in json.dumps(after.raw.value[comes_to])
    assert FORMATS[fmt].parse_request(after.raw.spliced({})) == after


def test_whether_there_is_a_system_prompt() -> None:
    assert has_system(Request("openai", "m", (USER, MIDDLE)))
    assert not has_system(Request("openai", "m", (USER,)))
