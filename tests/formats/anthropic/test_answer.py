"""Whole answers of Anthropic Messages, and the module as a format."""

import json
from pathlib import Path

import pytest
from hypothesis import given

from formats import FORMATS, anthropic
from formats.canonical import (
    Failed,
    Image,
    Opaque,
    Request,
    Response,
    Stamp,
    Text,
    Thinking,
    Thought,
    Tool,
    ToolUse,
    Usage,
)
from formats.errors import Failure, Garbled
from formats.fold import fold, unfold
from formats.ledger import Ledger
from formats.token import read_token, write_token
from tests import strategies
from tests.formats.sdk_readers import read_anthropic

GOLDEN = Path(__file__).parents[2] / "transcripts" / "golden"
INDEX = json.loads((GOLDEN / "index.json").read_text())["entries"]
NAMES = {"openai-chat": "openai", "anthropic-messages": "anthropic", "ollama-chat": "ollama"}
STREAMS = [e for e in INDEX if e["format"] in NAMES and e["stream"]]
STAMP = Stamp("ab" * 12, 1, model="asked-for", input_estimate=42)
ASKED = Request("anthropic", "m", thinking=Thinking("on"))


def answer(**members):
    return json.dumps(
        {"id": "msg_1", "model": "m", "content": [], "stop_reason": "end_turn"} | members
    ).encode()


def block(**members):
    (part,) = anthropic.parse_response(answer(content=[members])).parts
    return part


def told(*parts, request=ASKED, ledger=None, **members):
    response = Response("chatcmpl-1", "upstream-model", parts, **members)
    ledger = Ledger() if ledger is None else ledger
    return json.loads(anthropic.write_response(response, ledger, STAMP, request))


# --- an upstream's answer -------------------------------------------------------------------------


def test_the_golden_whole_answer():
    response = anthropic.parse_response(
        (GOLDEN / "anthropic-messages/plain-nonstream.json").read_bytes()
    )
    assert response == Response(
        "msg_kit0002",
        "claude-sonnet-5-5",
        (Text("Hello, world!"),),
        "end_turn",
        "end_turn",
        usage=Usage(1012, 4, 900, 100, 0),
    )


@pytest.mark.parametrize("name", ["error-before-429.json", "error-before-529.json"])
def test_the_golden_errors(name):
    entry = next(e for e in INDEX if e["file"] == f"anthropic-messages/{name}")
    failure = anthropic.parse_error(entry["http_status"], (GOLDEN / entry["file"]).read_bytes())
    error = entry["canonical"]["error"]
    assert (failure.status, failure.type, failure.message) == (
        error["status"],
        error["type"],
        error["message"],
    )
    status, body = anthropic.write_failure(failure)
    assert (status, json.loads(body)) == (
        entry["http_status"],
        json.loads((GOLDEN / entry["file"]).read_bytes()),
    )
    assert read_anthropic(body, False, status=status)["error"]["type"] == error["type"]


def test_blocks():
    assert block(type="text", text="a", citations=None) == Text("a")
    assert block(type="thinking", thinking="hm", signature="S") == Thought(
        "hm", "S", origin="anthropic"
    )
    assert block(type="redacted_thinking", data="D") == Thought(redacted="D", origin="anthropic")
    assert block(type="tool_use", id="t", name="f", input={"a": 1}) == ToolUse(
        "t", "f", '{"a":1}', {"a": 1}
    )
    assert block(type="future", x=1) == Opaque("anthropic", "future", {"type": "future", "x": 1})


def test_a_call_whose_input_is_no_object_is_still_a_call():
    assert block(type="tool_use", id="t", name="f", input="x{") == ToolUse("t", "f", "x{", None)
    assert block(type="tool_use", id="t", name="f", input=[1]) == ToolUse("t", "f", "[1]", None)
    assert block(type="tool_use", id="t", name="f") == ToolUse("t", "f", "{}", {})


def test_content_of_nothing_is_an_empty_answer():
    assert anthropic.parse_response(answer(content=None)).parts == ()


def test_a_call_decides_the_stop_reason():
    called = [{"type": "tool_use", "id": "t", "name": "f", "input": {}}]
    assert anthropic.parse_response(answer(content=called)).stop == "tool_use"
    assert (
        anthropic.parse_response(answer(content=called, stop_reason="max_tokens")).stop
        == "max_tokens"
    )


@pytest.mark.parametrize(
    "body", [b"", b"<html>", b"[]", b'{"choices":[]}', b'{"error":{"message":"gone"}}', b"\xff"]
)
def test_what_is_no_answer_is_garbled(body):
    with pytest.raises(Garbled):
        anthropic.parse_response(body)


# --- a client's answer ----------------------------------------------------------------------------


def test_an_answer_is_what_the_official_client_reads():
    body = json.dumps(
        told(
            Thought("hm"),
            Text("Hello"),
            ToolUse("functions.f:0", "f", "", {}),
            stop="tool_use",
            stop_native="tool_calls",
            usage=Usage(10, 4, 3, 1, 2),
        )
    ).encode()
    got = read_anthropic(body, False)
    assert (got["text"], got["reasoning"], got["stop"]) == ("Hello", "hm", "tool_use")
    ((id_, name, given_input),) = got["calls"]
    assert (id_.startswith("call_"), name, given_input) == (True, "f", {})
    assert got["usage"] == {
        "input": 10,
        "output": 4,
        "cache_read": 3,
        "cache_write": 1,
        "reasoning": 2,
    }


def test_the_answers_head():
    body = told(Text("x"))
    assert (body["id"], body["type"], body["role"], body["model"]) == (
        "msg_" + "ab" * 12,
        "message",
        "assistant",
        "upstream-model",
    )
    assert (body["stop_reason"], body["stop_sequence"]) == ("end_turn", None)
    assert (body["usage"]["input_tokens"], body["usage"]["output_tokens"]) == (42, 1)


def test_members_of_this_format_survive_an_answer():
    body = json.loads(answer(container={"id": "c"}, stop_details={"type": "refusal"}))
    out = json.loads(
        anthropic.write_response(
            anthropic.parse_response(json.dumps(body).encode()), Ledger(), STAMP
        )
    )
    assert {name: out[name] for name in body} == body


def test_thinking_is_signed_by_its_vendor_or_by_a_token():
    signed, ours = told(Thought("a", "SIG", origin="anthropic"), Thought("b", origin="openai"))[
        "content"
    ]
    assert signed == {"type": "thinking", "thinking": "a", "signature": "SIG"}
    assert read_token(ours["signature"]) == ("openai", "b")


def test_thinking_is_shown_as_the_client_asked():
    thoughts = (Thought("hm"), Thought("", "SIG", origin="anthropic"))
    silent = Request("anthropic", "m")
    assert [b["signature"] for b in told(*thoughts, request=silent)["content"]] == ["SIG"]
    omitted = Request("anthropic", "m", thinking=Thinking("auto", display="omitted"))
    assert [b["thinking"] for b in told(*thoughts, request=omitted)["content"]] == ["", ""]
    assert told(*thoughts, request=omitted)["content"][0]["signature"] == write_token("", "hm")
    assert len(told(*thoughts, request=None)["content"]) == 2


def test_a_call_that_was_cut_is_not_given_as_a_call():
    ledger = Ledger()
    assert told(ToolUse("t", "f", '{"a'), stop="max_tokens", ledger=ledger)["content"] == []
    assert ledger.entries[0].what == "dropped"
    (call,) = told(ToolUse("t", "f", '{"a'), stop="tool_use")["content"]
    assert call["input"] == {"_raw_arguments": '{"a'}


def test_a_tools_name_is_the_clients_own():
    request = Request("anthropic", "m", tools=(Tool("mcp.read"),))
    assert told(ToolUse("t", "mcp_read"), request=request)["content"][0]["name"] == "mcp.read"


def test_parts_without_a_block_are_noted():
    ledger = Ledger()
    assert (
        told(Image("aGk=", "image/png"), Opaque("openai", "odd"), Text(""), ledger=ledger)[
            "content"
        ]
        == []
    )
    assert ledger.names() == ("content[].image", "content[].odd")


@given(strategies.responses())
def test_any_answer_is_written_and_read_again(response):
    body = anthropic.write_response(response, Ledger(), STAMP)
    again = anthropic.parse_response(body)
    texts = [part.text for part in response.parts if isinstance(part, Text)]
    assert again.text == "".join(texts)


@given(strategies.responses())
def test_whole_and_streamed_answers_have_the_same_blocks(response):
    whole = json.loads(anthropic.write_response(response, Ledger(), STAMP, ASKED))
    encoder = anthropic.encoder(ASKED, Ledger(), STAMP)
    decoder = anthropic.decoder(limit=1 << 20)
    data = b"".join(map(encoder.encode, unfold(response)))
    streamed = fold(decoder.feed(data) + decoder.eof())
    if response.stop not in (
        "max_tokens",
        "context_window",
        "content_filter",
        "refusal",
        "pause",
        "load",
        "unload",
    ):
        parts = anthropic.parse_response(json.dumps(whole).encode()).parts
        assert [type(part) for part in parts if not isinstance(part, Opaque)] == [
            type(part) for part in streamed.parts if not isinstance(part, Opaque)
        ]


# --- every format's streams, to a client of this one ----------------------------------------------


@pytest.mark.parametrize("entry", STREAMS, ids=lambda e: e["file"])
def test_any_upstreams_golden_stream_is_read_by_the_official_client(entry):
    upstream = FORMATS[NAMES[entry["format"]]]
    decoder, encoder = upstream.decoder(limit=1 << 20), anthropic.encoder(ASKED, Ledger(), STAMP)
    events = decoder.feed((GOLDEN / entry["file"]).read_bytes()) + decoder.eof()
    got = read_anthropic(b"".join(map(encoder.encode, events)), True, strict=entry["schema_strict"])
    wanted = entry["canonical"]
    if isinstance(events[-1], Failed):
        assert (got["error"]["phase"], got["error"]["message"]) == (
            "mid",
            wanted["error"]["message"],
        )
        return
    refused = wanted["refusal"] if entry["format"] == "openai-chat" else None
    assert got["text"] == wanted["text"] + (refused or "")
    assert got["reasoning"] == wanted["reasoning"]
    assert [call[1:] for call in got["calls"]] == [
        (c["name"], c["arguments"]) for c in wanted["tool_calls"]
    ]
    assert got["stop"] == wanted["stop"]
    if wanted["usage"]:
        assert got["usage"]["input"] == wanted["usage"]["input_total"]
        assert got["usage"]["output"] == wanted["usage"]["output_total"]


def test_the_module_is_the_format():
    assert FORMATS["anthropic"] is anthropic
    assert (anthropic.NAME, anthropic.COMMENT) == ("anthropic", b": keep-alive\n\n")
    assert anthropic.STREAM_TYPE == "text/event-stream; charset=utf-8"


def test_a_failure_before_the_first_byte():
    status, body = anthropic.write_failure(Failure("no_provider", "nobody serves 'x'"))
    assert (status, json.loads(body)) == (
        400,
        {
            "type": "error",
            "error": {"type": "router_error", "message": "nobody serves 'x'"},
        },
    )
    got = read_anthropic(body, False, status=status)
    assert (got["error"]["phase"], got["error"]["message"]) == ("before", "nobody serves 'x'")
