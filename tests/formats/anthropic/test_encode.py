"""Streams for clients of Anthropic Messages, judged by the grammar and by the official SDK."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from formats.anthropic.decode import Decoder
from formats.anthropic.encode import COMMENT, Encoder, quoted
from formats.canonical import (
    CitationSeen,
    Failed,
    Finished,
    OpaquePart,
    PartEnded,
    RefusalDelta,
    Request,
    Stamp,
    Started,
    Text,
    TextDelta,
    Thinking,
    ThoughtDelta,
    ThoughtSigned,
    Tool,
    ToolDelta,
    ToolStarted,
    ToolUse,
    Usage,
    UsageSeen,
)
from formats.errors import Failure, TooLong
from formats.fold import fold
from formats.ledger import Ledger
from formats.token import read_token
from tests import strategies
from tests.formats.sdk_readers import read_anthropic

STAMP = Stamp("ab" * 12, 1, model="asked-for", input_estimate=42)
START = Started("chatcmpl-1", "upstream-model")
DONE = Finished("end_turn", "stop")
ON = Thinking("on")


def encoder(thinking=None, *, ledger=None, **members):
    request = Request("anthropic", "m", thinking=thinking, **members)
    return Encoder(request, Ledger() if ledger is None else ledger, STAMP)


def encoded(*events, thinking=None, ledger=None, **members):
    it = encoder(thinking, ledger=ledger, **members)
    return b"".join(it.encode(event) for event in (START, *events))


def read(data):
    """The events as (name, data); every name must be its data's type."""
    events = []
    for raw in data.decode().split("\n\n")[:-1]:
        name, line = raw.split("\n")
        value = json.loads(line.removeprefix("data: "))
        assert name == f"event: {value['type']}"
        events.append(value)
    return events


def outline(data):
    """Blocks as (index, kind, text), in order. Asserts the grammar."""
    blocks, open_block = [], None
    events = read(data)
    assert events[0]["type"] == "message_start"
    for event in events[1:]:
        match event["type"]:
            case "content_block_start":
                assert open_block is None
                assert event["index"] == len(blocks)
                open_block = [event["index"], event["content_block"]["type"], ""]
                blocks.append(open_block)
            case "content_block_delta":
                assert event["index"] == open_block[0]
                delta = event["delta"]
                fits = {
                    "text_delta": "text",
                    "thinking_delta": "thinking",
                    "signature_delta": "thinking",
                    "citations_delta": "text",
                }
                assert fits.get(delta["type"], open_block[1]) == open_block[1]
                open_block[2] += (
                    delta.get("text", "")
                    + delta.get("thinking", "")
                    + delta.get("partial_json", "")
                )
            case "content_block_stop":
                assert event["index"] == open_block[0]
                open_block = None
    assert open_block is None
    return [tuple(block) for block in blocks]


def test_a_plain_stream_is_what_the_official_client_reads():
    data = encoded(
        TextDelta(0, "Hello"),
        TextDelta(0, ", wörld 世界\u2028"),
        PartEnded(0),
        UsageSeen(Usage(10, 4, 2)),
        DONE,
    )
    got = read_anthropic(data, True)
    assert (got["text"], got["stop"], got["error"]) == ("Hello, wörld 世界\u2028", "end_turn", None)
    assert (got["usage"]["input"], got["usage"]["output"], got["usage"]["cache_read"]) == (10, 4, 2)


def test_nothing_is_sent_before_there_is_something_to_show():
    it = encoder()
    assert it.encode(START) == it.encode(UsageSeen(Usage(5))) == it.encode(TextDelta(0, "")) == b""
    assert it.ping() == COMMENT
    first = read(it.encode(TextDelta(0, "x")))
    assert [event["type"] for event in first] == [
        "message_start",
        "content_block_start",
        "content_block_delta",
    ]
    assert read(it.ping()) == [{"type": "ping"}]
    it.encode(DONE)
    assert it.ping() == b""


def test_the_start_has_an_id_of_this_format_the_upstreams_model_and_an_estimate():
    message = read(encoded(TextDelta(0, "x")))[0]["message"]
    assert (message["id"], message["model"]) == ("msg_" + "ab" * 12, "upstream-model")
    assert (message["content"], message["usage"]["input_tokens"]) == ([], 42)
    it = encoder()
    it.encode(Started("msg_own", ""))
    message = read(it.encode(TextDelta(0, "x")))[0]["message"]
    assert (message["id"], message["model"]) == ("msg_own", "asked-for")


def test_an_empty_answer_is_a_whole_message():
    got = read_anthropic(encoded(DONE), True)
    assert (got["text"], got["stop"], got["calls"]) == ("", "end_turn", [])


def test_unknown_usage_is_estimated():
    usage = read_anthropic(encoded(TextDelta(0, "x" * 38), DONE), True)["usage"]
    assert (usage["input"], usage["output"]) == (42, 10)


def test_one_call():
    data = encoded(
        ToolStarted(0, "call_1", "f"),
        ToolDelta(0, '{"a"'),
        ToolDelta(0, ":1}"),
        PartEnded(0),
        Finished("tool_use"),
    )
    got = read_anthropic(data, True)
    assert (got["calls"], got["stop"]) == ([("call_1", "f", {"a": 1})], "tool_use")


def test_interleaved_calls_come_one_after_the_other():
    it = encoder()
    out = [
        it.encode(event)
        for event in (
            START,
            ToolStarted(0, "a", "f"),
            ToolStarted(1, "b", "g"),
            ToolDelta(1, '{"y":'),
            ToolDelta(0, '{"x":1'),
            ToolDelta(1, "2}"),
            ToolDelta(0, "}"),
            PartEnded(0),
            PartEnded(1),
            Finished("tool_use"),
        )
    ]
    assert out[2] == out[3] == out[5] == b""
    assert b'{\\"x\\":1' in out[4]
    assert b'"index":1' in out[7]
    data = b"".join(out)
    assert outline(data) == [(0, "tool_use", '{"x":1}'), (1, "tool_use", '{"y":2}')]
    assert [call[2] for call in read_anthropic(data, True)["calls"]] == [{"x": 1}, {"y": 2}]


def test_a_later_call_shows_that_a_complete_one_has_ended():
    """Servers that never say that a call ended still get their next one through live."""
    it = encoder()
    for event in (START, ToolStarted(0, "a", "f"), ToolDelta(0, '{"x":1} ')):
        it.encode(event)
    assert b'"index":1' in it.encode(ToolStarted(1, "b", "g"))


def test_text_may_overlap_with_a_call():
    data = encoded(
        TextDelta(0, "see"),
        ToolStarted(1, "a", "f"),
        ToolDelta(1, '{"x"'),
        TextDelta(0, " this"),
        ToolDelta(1, ":1}"),
        PartEnded(0),
        PartEnded(1),
        Finished("tool_use"),
    )
    assert outline(data) == [(0, "text", "see"), (1, "tool_use", '{"x":1}'), (2, "text", " this")]


def test_calls_that_wait_for_ever_are_refused():
    it = encoder()
    for event in (START, ToolStarted(0, "a", "f"), ToolDelta(0, "{"), ToolStarted(1, "b", "g")):
        it.encode(event)
    with pytest.raises(TooLong):
        for _ in range(20):
            it.encode(ToolDelta(1, "x" * (1 << 20)))


def test_many_interleaved_calls_do_not_nest():
    events = [ToolStarted(n, f"c{n}", "f") for n in range(3000)]
    events += [ToolDelta(n, "{}") for n in range(2999, -1, -1)]
    events += [PartEnded(n) for n in range(2999, -1, -1)]
    assert len(outline(encoded(*events, Finished("tool_use")))) == 3000


@pytest.mark.parametrize("pieces", [(), ("",), (" ", "\n")])
def test_a_call_without_arguments_gets_an_empty_object(pieces):
    deltas = [ToolDelta(0, piece) for piece in pieces]
    data = encoded(ToolStarted(0, "a", "f"), *deltas, PartEnded(0), Finished("tool_use"))
    assert outline(data) == [(0, "tool_use", "{}")]
    assert read_anthropic(data, True)["calls"] == [("a", "f", {})]


@pytest.mark.parametrize("text", [':"', '"{{ Hello model..."', "[1]", "null", "rm -rf"])
def test_arguments_that_cannot_be_an_object_do_not_break_the_client(text):
    """vLLM was seen to send such."""
    ledger = Ledger()
    cut = len(text) // 2
    events = [
        ToolStarted(0, "a", "f"),
        ToolDelta(0, text[:cut]),
        ToolDelta(0, text[cut:]),
        PartEnded(0),
    ]
    data = encoded(*events, Finished("tool_use"), ledger=ledger)
    assert read_anthropic(data, True)["calls"] == [("a", "f", {"_raw_arguments": text})]
    assert ledger.names() == ("content[].tool_use.input",)


def test_a_call_that_was_cut_is_what_the_client_gets_of_it():
    data = encoded(
        ToolStarted(0, "a", "f"), ToolDelta(0, '{"a":"b'), PartEnded(0), Finished("max_tokens")
    )
    got = read_anthropic(data, True)
    assert (got["stop"], got["error"]) == ("max_tokens", None)


def test_ids_are_legal_and_stand_once_and_missing_ones_are_made():
    ids = ["functions.f:0", "", "same", "same"]
    events = [e for n, id_ in enumerate(ids) for e in (ToolStarted(n, id_, "f"), PartEnded(n))]
    calls = read_anthropic(encoded(*events, Finished("tool_use")), True)["calls"]
    given_ids = [call[0] for call in calls]
    assert len(set(given_ids)) == 4
    assert given_ids[2] == "same"
    assert all(id_.replace("_", "").isalnum() for id_ in given_ids)


def test_a_tools_name_is_the_clients_own():
    data = encoded(ToolStarted(0, "a", "mcp_read"), DONE, tools=(Tool("mcp.read"),))
    assert read(data)[1]["content_block"]["name"] == "mcp.read"


def test_a_custom_call_is_an_object_with_its_text():
    data = encoded(
        ToolStarted(0, "a", "patch", "custom"),
        ToolDelta(0, 'x"y'),
        PartEnded(0),
        Finished("tool_use"),
    )
    assert read_anthropic(data, True)["calls"] == [("a", "patch", {"input": 'x"y'})]


# --- thinking -------------------------------------------------------------------------------------


def signature(data):
    return next(
        e["delta"]["signature"]
        for e in read(data)
        if e.get("delta", {}).get("type") == "signature_delta"
    )


def test_a_vendors_signature_goes_through_unchanged():
    data = encoded(
        ThoughtDelta(0, "hm"),
        ThoughtSigned(0, "SIG==", origin="anthropic"),
        PartEnded(0),
        TextDelta(1, "x"),
        DONE,
        thinking=ON,
    )
    assert outline(data) == [(0, "thinking", "hm"), (1, "text", "x")]
    assert signature(data) == "SIG=="
    assert read_anthropic(data, True)["reasoning"] == "hm"


def test_reasoning_that_nobody_signed_gets_a_token_with_its_text():
    """From there its text comes back with the next turn."""
    data = encoded(
        ThoughtDelta(0, "hm "),
        ThoughtDelta(0, "ja"),
        TextDelta(1, "x"),
        PartEnded(0),
        DONE,
        thinking=ON,
    )
    assert read_token(signature(data)) == ("", "hm ja")
    assert outline(data) == [(0, "thinking", "hm ja"), (1, "text", "x")]


def test_a_signature_of_another_format_is_no_signature_here():
    events = (ThoughtDelta(0, "hm"), ThoughtSigned(0, "enc", origin="responses"), PartEnded(0))
    assert read_token(signature(encoded(*events, DONE, thinking=ON))) == ("responses", "hm")


def test_a_client_that_wants_no_thinking_text_gets_the_token_alone():
    thinking = Thinking("auto", display="omitted")
    data = encoded(ThoughtDelta(0, "hm"), PartEnded(0), DONE, thinking=thinking)
    assert outline(data) == [(0, "thinking", "")]
    assert read_token(signature(data)) == ("", "hm")


@pytest.mark.parametrize("thinking", [None, Thinking("off"), Thinking(effort="high")])
def test_a_client_that_did_not_ask_gets_no_thinking(thinking):
    it = encoder(thinking)
    assert it.encode(START) == it.encode(ThoughtDelta(0, "hm")) == it.encode(PartEnded(0)) == b""
    assert outline(it.encode(TextDelta(1, "x")) + it.encode(DONE)) == [(0, "text", "x")]


def test_but_thinking_that_its_vendor_signed_is_always_given():
    """Models that always think want it back."""
    data = encoded(
        ThoughtDelta(0, ""),
        ThoughtSigned(0, "SIG", origin="anthropic"),
        PartEnded(0),
        ThoughtSigned(1, redacted="DATA", origin="anthropic"),
        PartEnded(1),
        TextDelta(2, "x"),
        DONE,
    )
    assert [kind for _, kind, _ in outline(data)] == ["thinking", "redacted_thinking", "text"]
    assert signature(data) == "SIG"


def test_a_signature_that_comes_after_its_block_was_closed_makes_no_new_block():
    data = encoded(
        ThoughtDelta(0, "hm"),
        TextDelta(1, "x"),
        ThoughtSigned(0, "SIG", origin="anthropic"),
        DONE,
        thinking=ON,
    )
    assert [kind for _, kind, _ in outline(data)] == ["thinking", "text"]


# --- the rest -------------------------------------------------------------------------------------


def test_a_refusals_words_are_text_and_its_details_are_kept():
    details = {"type": "refusal", "category": None, "explanation": "no"}
    data = encoded(
        RefusalDelta(0, "I will not."), PartEnded(0), Finished("refusal", details=details)
    )
    got = read_anthropic(data, True)
    assert (got["text"], got["stop"], got["refusal"]) == ("I will not.", "refusal", "no")


@pytest.mark.parametrize(
    ("reason", "version", "word"),
    [
        ("max_tokens", "", "max_tokens"),
        ("context_window", "2023-06-01", "max_tokens"),
        ("context_window", "2026-10-21", "model_context_window_exceeded"),
        ("content_filter", "", "refusal"),
        ("pause", "", "pause_turn"),
        ("load", "", "end_turn"),
    ],
)
def test_stop_reasons(reason, version, word):
    assert (
        read(encoded(Finished(reason, "stop"), version=version))[-2]["delta"]["stop_reason"] == word
    )


def test_a_stop_sequence_is_named():
    got = read(encoded(TextDelta(0, "x"), Finished("stop_sequence", None, "END")))[-2]["delta"]
    assert got == {"stop_reason": "stop_sequence", "stop_sequence": "END"}


def test_citations_of_this_format_are_shown_and_others_noted():
    ledger = Ledger()
    cite = {
        "type": "char_location",
        "cited_text": "x",
        "document_index": 0,
        "document_title": None,
        "file_id": None,
        "start_char_index": 0,
        "end_char_index": 1,
    }
    data = encoded(
        TextDelta(0, "x"),
        CitationSeen(0, cite),
        CitationSeen(0, {"type": "url_citation"}),
        DONE,
        ledger=ledger,
    )
    assert read_anthropic(data, True)["text"] == "x"
    assert sum(e.get("delta", {}).get("type") == "citations_delta" for e in read(data)) == 1
    assert ledger.names() == ("content[].annotations",)


def test_blocks_of_this_format_are_given_and_others_noted():
    ledger = Ledger()
    used = {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {"q": 1}}
    data = encoded(
        OpaquePart(0, "anthropic", "server_tool_use", used),
        PartEnded(0),
        OpaquePart(1, "openai", "image_generation", {}),
        PartEnded(1),
        TextDelta(2, "x"),
        DONE,
        ledger=ledger,
    )
    assert outline(data) == [(0, "server_tool_use", '{"q":1}'), (1, "text", "x")]
    assert read_anthropic(data, True)["error"] is None
    assert ledger.names() == ("content[].image_generation",)


def test_a_failure_is_an_error_event_and_the_last_word():
    it = encoder()
    it.encode(START)
    it.encode(TextDelta(0, "Partial"))
    out = it.encode(Failed(Failure("overloaded", "Overloaded")))
    assert read(out) == [
        {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}
    ]
    assert it.encode(TextDelta(0, "more")) == it.encode(DONE) == it.ping() == b""


def test_the_official_client_sees_a_failure_in_the_middle():
    data = encoded(TextDelta(0, "Partial"), Failed(Failure("truncated", "cut")))
    got = read_anthropic(data, True)
    assert (got["error"]["phase"], got["error"]["type"], got["text"]) == (
        "mid",
        "api_error",
        "Partial",
    )


def test_lone_surrogates_are_escaped_not_sent():
    assert quoted("a\ud800") == b'"a\\ud800"'
    data = encoded(TextDelta(0, "x"), TextDelta(0, "\ud83d"), TextDelta(0, "ü"), DONE)
    assert outline(data) == [(0, "text", "x\ud83dü")]


# --- anything -------------------------------------------------------------------------------------


@given(
    strategies.event_streams(),
    st.sampled_from([None, ON, Thinking("auto", display="omitted")]),
)
def test_any_lawful_stream_keeps_the_grammar_and_its_meaning(events, thinking):
    data = b"".join(map(encoder(thinking).encode, events))
    decoder = Decoder(limit=1 << 20)
    before, after = fold(events), fold(decoder.feed(data) + decoder.eof())
    if isinstance(before, Failure):
        assert after.message == before.message
        return
    outline(data)
    texts = [part.text for part in before.parts if isinstance(part, Text)]
    assert sorted(after.text) == sorted("".join(texts))
    calls = [part for part in before.parts if isinstance(part, ToolUse)]
    got = [part for part in after.parts if isinstance(part, ToolUse)]
    assert [call.name for call in got] == [call.name for call in calls]
    for call, result in zip(calls, got, strict=True):
        if call.input is not None:
            assert result.input == call.input


@pytest.mark.slow
@given(strategies.event_streams())
def test_any_lawful_stream_is_read_by_the_official_client(events):
    calls = [part for part in getattr(fold(events), "parts", ()) if isinstance(part, ToolUse)]
    if any(call.input is None and call.arguments.lstrip().startswith("{") for call in calls):
        return  # broken in the middle of an object: what was streamed cannot be taken back
    if any(isinstance(event, CitationSeen | OpaquePart) for event in events):
        return  # made up, so the SDK's types refuse them
    data = b"".join(map(encoder(ON).encode, events))
    read_anthropic(data, True, step=64)
