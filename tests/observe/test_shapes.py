"""The shapes of events, read as strictly as the original's own parsers read them."""

import json
from dataclasses import fields, replace
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from formats.canonical import (
    Audio,
    Document,
    Image,
    Message,
    Opaque,
    Request,
    Response,
    Text,
    Thought,
    ToolResult,
    ToolUse,
    Usage,
)
from llmrouterd.model import (
    AttemptFailed,
    Classified,
    FirstToken,
    Opened,
    Progress,
    Queued,
    Record,
    Routed,
    Standing,
    Step,
    Unread,
)
from llmrouterd.observe.shapes import as_text, complete, is_original, shape
from tests import strategies as some

# --- the original's reader ------------------------------------------------------------------------


def whole(value: Any) -> None:
    assert type(value) is int, value
    assert value >= 0, value


def words(value: Any) -> None:
    assert type(value) is str, value


def many(value: Any, one: Any) -> None:
    assert type(value) is list, value
    for item in value:
        one(item)


def maybe(value: Any, one: Any) -> None:
    if value is not None:
        one(value)


def anything(value: Any) -> None:
    """A JSON value."""


PARTS = {
    "text": {"text": words},
    "image": {"media_type": words, "data": words},
    "tool_use": {"id": words, "name": words, "input": anything},
    "tool_result": {"tool_use_id": words, "content": words},
}


def members(value: dict, wanted: dict) -> None:
    for name, check in wanted.items():
        assert name in value, (name, value)
        check(value[name])


def part(value: Any) -> None:
    members(value, PARTS[value["type"]])


def message(value: Any) -> None:
    assert value["role"] in ("user", "assistant"), value
    many(value["content"], part)


def call(value: Any) -> None:
    members(value, {"id": words, "name": words, "input": anything})


def response(value: Any) -> None:
    members(value, {"id": words, "model": words, "content": words})
    assert value["stop_reason"] in ("end_turn", "max_tokens", "tool_use", "other"), value
    if "tool_calls" in value:
        assert value["tool_calls"], "absent when empty"
        many(value["tool_calls"], call)
    members(value["usage"], {"input_tokens": whole, "output_tokens": whole})
    many(value["tags"], words)


EVENTS: dict[str, dict] = {
    "start": {"id": whole, "ts_ms": whole, "model": words, "in_flight": whole},
    "classified": {"id": whole, "ts_ms": whole, "tags": lambda v: many(v, words)},
    "routed": {"id": whole, "ts_ms": whole, "provider": words, "model": words},
    "complete": {
        "id": whole,
        "ts_ms": whole,
        "provider": words,
        "requested_model": words,
        "sent_model": words,
        "duration_ms": whole,
        "tags": lambda v: many(v, words),
        "trace_id": lambda v: maybe(v, words),
        "plugins": lambda v: many(v, words),
        "system": lambda v: maybe(v, words),
        "messages": lambda v: many(v, message),
        "response": lambda v: maybe(v, response),
        "error": lambda v: maybe(v, words),
    },
}


def read_as_the_original(text: str) -> dict:
    event = json.loads(text)
    members(event, EVENTS[event["type"]])
    return event


def test_the_reader_is_strict() -> None:
    good = read_as_the_original(as_text(RECORD))
    for name, bad in [
        ("id", "1"),
        ("id", 1.0),
        ("id", True),
        ("provider", None),
        ("messages", [{"role": "system", "content": []}]),
        ("messages", [{"role": "user", "content": [{"type": "thinking", "text": ""}]}]),
        ("messages", [{"role": "user", "content": "hi"}]),
        ("response", {"id": "r"}),
    ]:
        with pytest.raises((AssertionError, KeyError)):
            read_as_the_original(json.dumps({**good, name: bad}))


# --- what we tell ---------------------------------------------------------------------------------

REQUEST = Request(
    "openai",
    "m",
    (
        Message("system", (Text("be brief"),)),
        Message("user", (Text("hi"), Image(data="AAAA", mime="image/png"))),
        Message("developer", (Text("and kind"),)),
        Message("assistant", (Thought("hm"), ToolUse("c1", "f", '{"a":1}', {"a": 1}))),
        Message("tool", (ToolResult("c1", (Text("one, "), Text("two"), Image(url="http://x/y"))),)),
    ),
)
RESPONSE = Response(
    "r1", "m-1", (Thought("so"), Text("hel"), Text("lo")), "end_turn", usage=Usage(3, 2)
)
RECORD = Record(
    id=7,
    request_id="req_1",
    ts_ms=1781573328452,
    end="complete",
    status=200,
    client_format="openai",
    endpoint="/v1/chat/completions",
    requested_model="m",
    sent_model="m-1",
    provider="p",
    duration_ms=12,
    tags=("code",),
    response_tags=("refusal",),
    request=REQUEST,
    response=RESPONSE,
)


@pytest.mark.parametrize(
    ("telling", "told"),
    [
        (
            Opened(1, 5, "m", 2),
            {"type": "start", "id": 1, "ts_ms": 5, "model": "m", "in_flight": 2},
        ),
        (
            Classified(1, 5, ("a", "b")),
            {"type": "classified", "id": 1, "ts_ms": 5, "tags": ["a", "b"]},
        ),
        (
            Routed(1, 5, "p", "m"),
            {"type": "routed", "id": 1, "ts_ms": 5, "provider": "p", "model": "m"},
        ),
    ],
)
def test_the_three_short_events(telling: Any, told: dict) -> None:
    assert shape(telling) == told
    read_as_the_original(as_text(telling))


def test_a_complete_event_holds_the_originals_members_and_ours() -> None:
    told = read_as_the_original(as_text(RECORD))
    assert told["system"] == "be brief\nand kind"
    assert told["messages"] == [
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "hi"},
                {"type": "image", "media_type": "image/png", "data": "AAAA"},
            ],
        },
        {
            "role": "assistant",
            "content": [
                {"type": "text", "text": "[thinking] hm"},
                {"type": "tool_use", "id": "c1", "name": "f", "input": {"a": 1}},
            ],
        },
        {
            "role": "user",
            "content": [{"type": "tool_result", "tool_use_id": "c1", "content": "one, two[image]"}],
        },
    ]
    assert told["response"] == {
        "id": "r1",
        "model": "m-1",
        "content": "hello",
        "stop_reason": "end_turn",
        "usage": {"input_tokens": 3, "output_tokens": 2},
        "tags": ["refusal"],
        "reasoning": "so",
    }
    ours = [
        "client",
        "endpoint",
        "stream",
        "status",
        "rule",
        "attempts",
        "ttft_ms",
        "cost_usd",
        "dropped",
        "queue_ms",
        "overhead_ms",
        "cache_write_tokens",
        "reasoning_tokens",
    ]
    assert set(ours) <= set(told)
    assert (told["endpoint"], told["status"], told["end"]) == (
        "/v1/chat/completions",
        200,
        "complete",
    )


def test_without_bodies_no_word_of_request_or_answer_is_told() -> None:
    told = read_as_the_original(as_text(RECORD, bodies=False))
    assert (told["system"], told["messages"], told["response"]) == (None, [], None)
    for said in ("brief", "hi", "hello", "AAAA", "one, two", "so"):
        assert f'"{said}' not in json.dumps(told)


def test_an_answer_that_was_not_read_is_read_only_for_its_words() -> None:
    read = []
    unread = replace(RECORD, response=Unread(lambda: read.append(1) or RESPONSE))
    assert complete(unread, bodies=False)["response"] is None
    assert not read
    assert complete(unread)["response"]["content"] == "hello"
    assert complete(unread)["response"]["content"] == "hello"
    assert len(read) == 1
    nothing = replace(RECORD, response=Unread(lambda: None))
    assert complete(nothing)["response"] is None


@pytest.mark.parametrize(
    ("part_", "text"),
    [
        (Image(url="http://x/y.png"), "[image http://x/y.png]"),
        (Image(file_id="file-1"), "[image file-1]"),
        (Document(text="the text"), "the text"),
        (Document(data="AAAA", mime="application/pdf"), "[document application/pdf]"),
        (Document(data="AAAA", name="a.pdf"), "[document a.pdf]"),
        (Audio("AAAA", "wav"), "[audio]"),
        (Thought("hm"), "[thinking] hm"),
        (Thought(redacted="xx"), "[thinking]"),
        (Opaque("anthropic", "container_upload"), "[container_upload]"),
    ],
)
def test_what_has_no_shape_there_is_told_of_as_text(part_: Any, text: str) -> None:
    record = replace(RECORD, request=Request("openai", "m", (Message("user", (part_,)),)))
    told = read_as_the_original(as_text(record))
    assert told["messages"][0]["content"] == [{"type": "text", "text": text}]


@pytest.mark.parametrize(
    ("stop", "told"),
    [
        ("end_turn", "end_turn"),
        ("max_tokens", "max_tokens"),
        ("tool_use", "tool_use"),
        ("stop_sequence", "other"),
        ("refusal", "other"),
        ("content_filter", "other"),
        ("pause", "other"),
    ],
)
def test_there_are_four_stop_reasons(stop: Any, told: str) -> None:
    record = replace(RECORD, response=replace(RESPONSE, stop=stop))
    assert read_as_the_original(as_text(record))["response"]["stop_reason"] == told


def test_a_tool_call_whose_arguments_are_no_object_keeps_its_text() -> None:
    calls = (ToolUse("c1", "f", "{broken"), ToolUse("c2", "g", "{}", {}))
    record = replace(RECORD, response=replace(RESPONSE, parts=calls, stop="tool_use"))
    told = read_as_the_original(as_text(record))["response"]["tool_calls"]
    assert told == [
        {"id": "c1", "name": "f", "input": {"_raw": "{broken"}},
        {"id": "c2", "name": "g", "input": {}},
    ]


def test_usage_that_is_unknown_is_zero_there_and_null_in_our_members() -> None:
    told = read_as_the_original(as_text(replace(RECORD, response=replace(RESPONSE, usage=None))))
    assert told["response"]["usage"] == {"input_tokens": 0, "output_tokens": 0}
    assert (told["input_tokens"], told["output_tokens"]) == (None, None)


def test_a_request_that_was_never_understood_has_a_record_too() -> None:
    bare = Record(1, "r", 5, "refused", 400, "openai", "/v1/chat/completions", "", error="no JSON")
    told = read_as_the_original(as_text(bare))
    assert (told["error"], told["messages"], told["response"]) == ("no JSON", [], None)


def test_the_trace_of_a_request_is_told() -> None:
    told = read_as_the_original(as_text(replace(RECORD, trace_id="0af7")))
    assert told["trace_id"] == "0af7"
    assert read_as_the_original(as_text(RECORD))["trace_id"] is None


def test_every_field_of_a_record_is_told_or_known_to_be_left_out() -> None:
    """A new field is either told or named here."""
    elsewhere = {"usage", "request", "size_bytes", "decision", "tried", "traced", "confined"}
    elsewhere |= {"limit_fields"}
    elsewhere |= {"worker"}  # told where there are several
    missing = {f.name for f in fields(Record)} - set(complete(RECORD)) - elsewhere
    assert not missing


requests = st.none() | some.requests()
answers = st.none() | some.responses()
records = st.builds(
    replace,
    st.just(RECORD),
    request=requests,
    response=answers,
    usage=st.none() | some.usages,
    end=st.sampled_from(["complete", "truncated", "client_gone", "upstream_error", "refused"]),
    error=st.none() | some.short,
    tags=st.lists(some.short).map(tuple),
    requested_model=some.short,
)


@pytest.mark.slow
@given(records, st.booleans())
def test_every_record_can_be_read_by_the_original(record: Record, bodies: bool) -> None:
    text = as_text(record, bodies=bodies)
    read_as_the_original(text)
    assert len(text.splitlines()) == 1
    text.encode()


def nested(depth: int, inside: Any) -> Any:
    for _ in range(depth):
        inside = {"a": [inside]}
    return inside


@pytest.mark.parametrize(
    "given",
    [
        {"x": float("nan")},
        {"x": [-float("inf")]},
        {"x": 10**400},
        {"x": {"y": -(10**400)}},
        nested(51, 1),
        {"x": object()},
    ],
    ids=["nan", "infinity", "huge", "huge and negative", "deep", "no JSON"],
)
def test_arguments_that_not_every_parser_takes_are_told_as_text(given: Any) -> None:
    call_ = ToolUse("c", "f", '{"as": "written"}', given)
    record = replace(
        RECORD,
        request=Request("openai", "m", (Message("assistant", (call_,)),)),
        response=replace(RESPONSE, parts=(call_,), stop="tool_use"),
    )
    told = read_as_the_original(as_text(record))
    raw = {"_raw": '{"as": "written"}'}
    assert told["messages"][0]["content"][0]["input"] == raw
    assert told["response"]["tool_calls"][0]["input"] == raw


def test_usual_arguments_are_told_as_they_are() -> None:
    given = {"a": [1, 2.5, -3, True, None, "x", {"b": {}}], "deep": nested(40, 1), "big": 2**64}
    call_ = ToolUse("c", "f", "{}", MappingProxyType(given))
    record = replace(RECORD, request=Request("openai", "m", (Message("assistant", (call_,)),)))
    told = read_as_the_original(as_text(record))
    assert told["messages"][0]["content"][0]["input"] == given


def test_half_a_character_is_replaced() -> None:
    """A strict parser refuses the escape of one half of a surrogate pair, and the whole line."""
    text = as_text(
        replace(RECORD, requested_model="a\ud83d\ude00 b\ud83d c\ude00 \u2028 \U0001f999")
    )
    text.encode()
    assert "\\ud" not in text
    told = read_as_the_original(text)
    assert told["requested_model"] == "a\U0001f600 b\ufffd c\ufffd \u2028 \U0001f999"


def test_words_that_cannot_be_written_are_left_out(caplog: pytest.LogCaptureFixture) -> None:
    said = Message("user", (Text(object()),))  # type: ignore[arg-type]
    record = replace(RECORD, request=Request("openai", "m", (said,)))
    told = read_as_the_original(as_text(record))
    assert (told["id"], told["messages"], told["response"]) == (7, [], None)
    assert "the words of request 7 are left out" in caplog.text


def test_our_own_types_are_not_the_originals() -> None:
    first = FirstToken(1, 5, 40)
    failed = AttemptFailed(1, 5, "p", "m", "timeout:connect", "too slow", 2000)
    assert shape(first) == {"type": "first_token", "id": 1, "ts_ms": 5, "ttft_ms": 40}
    progress = Progress(1, 5, 12, 340, 250)
    assert shape(progress) == {
        "type": "progress",
        "id": 1,
        "ts_ms": 5,
        "pieces": 12,
        "bytes": 340,
        "writing_ms": 250,
    }
    assert shape(failed) == {
        "type": "attempt_failed",
        "id": 1,
        "ts_ms": 5,
        "provider": "p",
        "model": "m",
        "kind": "timeout:connect",
        "error": "too slow",
        "duration_ms": 2000,
    }
    for telling in (Opened(1, 5, "m", 2), Classified(1, 5, ()), Routed(1, 5, "p", "m"), RECORD):
        assert is_original(telling) is (shape(telling)["type"] in EVENTS) is True
    queued = Queued(1, 5, "p", "m", 3, None)
    assert shape(queued) == {
        "type": "queued",
        "id": 1,
        "ts_ms": 5,
        "provider": "p",
        "model": "m",
        "position": 3,
        "estimate_ms": None,
    }
    stands = Standing(5, "p", healthy=False, circuit="open", paused=False, reached=True, back_s=9.5)
    assert shape(stands) == {
        "type": "provider",
        "ts_ms": 5,
        "provider": "p",
        "healthy": False,
        "circuit": "open",
        "paused": False,
        "reached": True,
        "why": None,
        "back_s": 9.5,
    }
    for telling in (first, progress, failed, queued, stands):
        assert is_original(telling) is (shape(telling)["type"] in EVENTS) is False


def test_the_trace_says_why_in_words() -> None:
    trace = (
        Step("routers[0] prefix", "passed", "the model does not start with 'x'"),
        Step("routers[1] price", "skipped", "no tools", "p", "m", "capability:tools"),
        Step("routers[1] price", "candidate", "", "q", "m"),
    )
    assert read_as_the_original(as_text(replace(RECORD, trace=trace)))["trace"] == [
        "routers[0] prefix: passed: the model does not start with 'x'",
        "routers[1] price: skipped p/m: no tools",
        "routers[1] price: candidate q/m",
    ]
