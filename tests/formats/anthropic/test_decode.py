"""Upstreams' Anthropic Messages streams, read and watched."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from formats.anthropic.decode import Decoder, Observer
from formats.canonical import (
    CitationSeen,
    Failed,
    Finished,
    OpaquePart,
    PartEnded,
    Started,
    Text,
    TextDelta,
    Thought,
    ThoughtDelta,
    ThoughtSigned,
    ToolDelta,
    ToolStarted,
    ToolUse,
    Usage,
    UsageSeen,
)
from formats.errors import TooLong
from formats.fold import fold
from tests import strategies

GOLDEN = Path(__file__).parents[2] / "transcripts" / "golden"
INDEX = {
    entry["file"]: entry
    for entry in json.loads((GOLDEN / "index.json").read_text())["entries"]
    if entry["format"] == "anthropic-messages" and entry["stream"]
}
LIMIT = 1 << 20


def wire(*events, named=True):
    out = b""
    for event in events:
        name = b"event: %b\n" % event["type"].encode() if named and "type" in event else b""
        out += name + b"data: " + json.dumps(event).encode() + b"\n\n"
    return out


def decoded(data, *, cuts=()):
    decoder = Decoder(limit=LIMIT)
    events, at = [], 0
    for cut in [*cuts, len(data)]:
        events += decoder.feed(data[at:cut])
        at = cut
    return events + decoder.eof()


def watched(data, step=7):
    observer = Observer(limit=LIMIT)
    out = b"".join(observer.feed(data[at : at + step]) for at in range(0, len(data), step))
    return observer, out, observer.eof()


def start(**message):
    usage = {"input_tokens": 3, "output_tokens": 1}
    return {
        "type": "message_start",
        "message": {"id": "msg_1", "model": "m", "usage": usage} | message,
    }


def block(index, **content):
    return {"type": "content_block_start", "index": index, "content_block": content}


def delta(index, type_, **members):
    return {"type": "content_block_delta", "index": index, "delta": {"type": type_, **members}}


def stop(index):
    return {"type": "content_block_stop", "index": index}


def end(reason="end_turn", **members):
    return {
        "type": "message_delta",
        "delta": {"stop_reason": reason, **members},
        "usage": {"output_tokens": 5},
    }


LAST = {"type": "message_stop"}


def parts(*events):
    return fold(decoded(wire(start(), *events, end(), LAST))).parts


# --- the golden transcripts -----------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(INDEX))
def test_a_golden_stream_means_what_its_index_says(name):
    entry = INDEX[name]["canonical"]
    events = decoded((GOLDEN / name).read_bytes())
    assert isinstance(events[0], Started)
    if entry["error"]:
        failure = events[-1].failure
        assert (failure.type, failure.message) == (
            entry["error"]["type"],
            entry["error"]["message"],
        )
        assert "".join(e.text for e in events if isinstance(e, TextDelta)) == entry["text"]
        return
    answer = fold(events)
    usage = entry["usage"]
    calls = [part for part in answer.parts if isinstance(part, ToolUse)]
    thoughts = [part for part in answer.parts if isinstance(part, Thought)]
    assert (answer.text, answer.stop, answer.stop_native) == (
        entry["text"],
        entry["stop"],
        entry["stop_native"],
    )
    assert "".join(part.text for part in thoughts) == entry["reasoning"]
    assert [
        {"id": c.id, "name": c.name, "kind": c.kind, "arguments": c.input} for c in calls
    ] == entry["tool_calls"]
    assert answer.usage == Usage(
        usage["input_total"],
        usage["output_total"],
        usage["cache_read"],
        usage["cache_write"],
        usage["reasoning"],
    )
    assert answer.stop_sequence == entry.get("stop_sequence")
    if entry["refusal"]:
        assert answer.stop_details["explanation"] == entry["refusal"]
    opaque = [{"signature": part.signature} for part in thoughts]
    assert opaque == entry.get("reasoning_opaque", [])
    assert sum(len(p.citations) for p in answer.parts if isinstance(p, Text)) == entry.get(
        "citations", 0
    )


@pytest.mark.parametrize("name", sorted(INDEX))
def test_a_golden_stream_in_single_bytes_is_the_same(name):
    data = (GOLDEN / name).read_bytes()
    assert decoded(data, cuts=range(1, len(data))) == decoded(data)


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(INDEX))
def test_a_golden_stream_in_any_two_pieces_is_the_same(name):
    data = (GOLDEN / name).read_bytes()
    whole = decoded(data)
    for cut in range(1, len(data)):
        assert decoded(data, cuts=[cut]) == whole


@pytest.mark.parametrize("name", sorted(INDEX))
def test_a_watcher_sees_in_a_golden_stream_what_the_reader_sees(name):
    data = (GOLDEN / name).read_bytes()
    events = decoded(data)
    observer, out, failure = watched(data)
    assert out == data
    seen = [event.usage for event in events if isinstance(event, UsageSeen)]
    assert observer.usage == seen[-1]
    failed = events[-1].failure if isinstance(events[-1], Failed) else None
    assert (failure, observer.failure) == (failed, failed)
    shown = (TextDelta, ThoughtDelta, ToolStarted, OpaquePart)
    assert observer.content is any(isinstance(event, shown) for event in events)


# --- servers as they are --------------------------------------------------------------------------


def test_overlapping_blocks_are_kept_apart_by_their_index():
    """llama.cpp and LiteLLM leave the text open while a call streams."""
    assert parts(
        block(0, type="text", text=""),
        delta(0, "text_delta", text="Let me"),
        block(1, type="tool_use", id="a", name="f", input={}),
        delta(1, "input_json_delta", partial_json='{"x":'),
        delta(0, "text_delta", text=" see"),
        delta(1, "input_json_delta", partial_json="1}"),
        stop(0),
        stop(1),
    ) == (Text("Let me see"), ToolUse("a", "f", '{"x":1}', {"x": 1}))


def test_ollamas_stream_without_signature_and_without_stop_sequence_key():
    events = decoded(
        wire(
            start(usage={"input_tokens": 1, "output_tokens": 0}),
            block(0, type="thinking", thinking=""),
            delta(0, "thinking_delta", thinking="we"),
            stop(0),
            {
                "type": "message_delta",
                "delta": {"stop_reason": "end_turn"},
                "usage": {"input_tokens": 21, "output_tokens": 4},
            },
            LAST,
        )
    )
    assert fold(events).parts == (Thought("we"),)
    assert fold(events).usage == Usage(21, 4)


def test_a_call_that_ends_with_end_turn_is_a_stop_for_tools():
    events = decoded(
        wire(start(), block(0, type="tool_use", id="a", name="f", input={}), end(), LAST)
    )
    assert events[-2:] == [PartEnded(0), Finished("tool_use", "end_turn")]


def test_a_hit_stop_sequence_that_is_called_end_turn():
    assert decoded(wire(start(), end(stop_sequence=" old"), LAST))[-1] == Finished(
        "stop_sequence", "end_turn", " old"
    )


def test_a_call_without_arguments_has_none():
    called = block(0, type="tool_use", id="a", name="f", input={})
    empty = delta(0, "input_json_delta", partial_json="")
    assert parts(called, empty, stop(0)) == (ToolUse("a", "f", "", {}),)


def test_a_whole_input_in_the_start_of_a_call_counts_unless_deltas_come():
    called = block(0, type="tool_use", id="a", name="f", input={"x": 1})
    assert parts(called, stop(0)) == (ToolUse("a", "f", '{"x":1}', {"x": 1}),)
    piece = delta(0, "input_json_delta", partial_json='{"x":2}')
    assert parts(called, piece, stop(0)) == (ToolUse("a", "f", '{"x":2}', {"x": 2}),)


def test_arguments_that_are_no_json_do_not_end_an_answer():
    called = block(0, type="tool_use", id="a", name="f", input={})
    piece = delta(0, "input_json_delta", partial_json='":"')
    assert parts(called, piece) == (ToolUse("a", "f", '":"', None),)


def test_usage_of_message_delta_replaces_what_it_names():
    usage = {"input_tokens": 5, "cache_read_input_tokens": 20, "output_tokens": 1}
    answer = fold(decoded(wire(start(usage=usage), end(), LAST)))
    assert answer.usage == Usage(25, 5, 20)


def test_keys_may_come_in_any_order_and_without_event_lines():
    text = b'data:{"delta":{"text":"hi","type":"text_delta"},"index":0,"type":"content_block_delta"}\n\n'
    data = wire(start(), named=False) + text + wire(end(), LAST, named=False)
    assert fold(decoded(data)).text == "hi"


def test_an_event_without_a_type_has_the_type_of_its_name():
    data = wire(start()) + b'event: error\ndata: {"message":"gone"}\n\n'
    assert decoded(data)[-1].failure.message == "gone"


def test_a_delta_that_does_not_fit_its_block_begins_a_part_of_its_own():
    assert parts(
        block(0, type="text", text=""),
        delta(0, "thinking_delta", thinking="hm"),
        delta(0, "text_delta", text="a"),
        delta(7, "text_delta", text="b"),
    ) == (Thought("hm"), Text("a"), Text("b"))


def test_a_thinking_text_repeated_beside_its_signature_is_taken_once():
    assert parts(
        block(0, type="thinking", thinking=""),
        delta(0, "thinking_delta", thinking="a "),
        delta(0, "thinking_delta", thinking="b"),
        delta(0, "thinking_delta", thinking="a b", signature="SIG"),
        stop(0),
    ) == (Thought("a b", "SIG", origin="anthropic"),)


def test_hidden_thinking_is_a_part_without_text():
    events = decoded(
        wire(
            start(),
            block(0, type="thinking", thinking="", signature=""),
            delta(0, "signature_delta", signature="SIG"),
            stop(0),
            block(1, type="redacted_thinking", data="DATA"),
            stop(1),
            end(),
            LAST,
        )
    )
    assert events[2:-2] == [
        ThoughtDelta(0, ""),
        ThoughtSigned(0, "SIG", origin="anthropic"),
        PartEnded(0),
        ThoughtSigned(1, redacted="DATA", origin="anthropic"),
        PartEnded(1),
    ]


def test_a_vendors_own_block_is_given_whole():
    (used, result) = parts(
        block(0, type="server_tool_use", id="s", name="web_search", input={}),
        delta(0, "input_json_delta", partial_json='{"q":'),
        delta(0, "input_json_delta", partial_json="1}"),
        stop(0),
        block(1, type="compaction", content="a"),
        delta(1, "compaction_delta", content="b"),
        stop(1),
    )
    assert used.value == {
        "type": "server_tool_use",
        "id": "s",
        "name": "web_search",
        "input": {"q": 1},
    }
    assert (result.origin, result.type, result.value["content"]) == (
        "anthropic",
        "compaction",
        "ab",
    )


def test_citations():
    cite = {"type": "char_location", "cited_text": "x"}
    events = decoded(
        wire(
            start(),
            block(0, type="text", text="", citations=[cite]),
            delta(0, "citations_delta", citation=cite),
        )
    )
    assert events.count(CitationSeen(0, cite)) == 2


def test_pings_comments_unknown_events_and_a_stray_done_are_read_over():
    data = (
        b": hello\n\n"
        + wire({"type": "ping"}, start(), {"type": "future_event"}, {"type": "ping"})
        + wire(delta(0, "text_delta", text="a"))
        + b"data: [DONE]\n\ndata: [1]\n\n"
        + wire(end(), LAST)
    )
    assert fold(decoded(data)).text == "a"


# --- beginnings and ends --------------------------------------------------------------------------


def test_a_second_start_before_any_content_begins_afresh():
    events = decoded(
        wire(start(), start(usage={"input_tokens": 9, "output_tokens": 1}), end(), LAST)
    )
    assert sum(isinstance(event, Started) for event in events) == 1
    assert fold(events).usage.input == 9


def test_a_second_start_after_content_is_an_error():
    events = decoded(wire(start(), delta(0, "text_delta", text="a"), start(), end(), LAST))
    assert events[-1].failure.kind == "upstream"


def test_a_stream_cut_after_its_stop_reason_is_complete():
    """Nothing but the end mark was to come."""
    assert decoded(wire(start(), delta(0, "text_delta", text="a"), end()))[-1] == Finished(
        "end_turn", "end_turn"
    )


@pytest.mark.parametrize(
    "events",
    [
        (),
        (start(),),
        (start(), block(0, type="text", text=""), delta(0, "text_delta", text="a")),
        (start(), end(None)),
    ],
)
def test_any_other_cut_is_truncated(events):
    """Ollama ends so, with HTTP all in order, when its runner dies."""
    data = wire(*events)
    decoder = Decoder(limit=LIMIT)
    first, last = decoder.feed(data), decoder.eof()
    assert isinstance((first + last)[0], Started)
    assert last[-1].failure.kind == "truncated"
    assert decoder.eof() == decoder.feed(wire(LAST)) == []
    assert watched(data)[2].kind == "truncated"


def test_a_message_stop_without_its_blank_line_still_ends_the_stream():
    data = wire(start(), delta(0, "text_delta", text="a"), end(), LAST)[:-2]
    assert decoded(data)[-1] == Finished("end_turn", "end_turn")
    assert watched(data)[2] is None


def test_nothing_follows_the_end():
    data = wire(start(), end(), LAST, delta(0, "text_delta", text="late"))
    assert decoded(data)[-1] == Finished("end_turn", "end_turn")


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"<html><body>Bad Gateway</body></html>", "upstream"),
        (b'{"error":{"type":"overloaded_error","message":"busy"}}', "overloaded"),
        (
            b'data: {"error":{"message":"EngineCore died","type":"InternalServerError","code":500}}\n\n',
            "upstream",
        ),
        (b'data: {"choices":[]}\n\n', "upstream"),
        (b"data: {nonsense\n\n", "upstream"),
        (b"data: \xff\n\n", "upstream"),
    ],
)
def test_what_is_no_such_stream_fails_with_words(data, kind):
    events = decoded(data)
    assert [type(event) for event in events] == [Started, Failed]
    assert (events[1].failure.kind, bool(events[1].failure.message)) == (kind, True)


def test_an_event_beyond_the_limit_fails():
    decoder = Decoder(limit=100)
    assert decoder.feed(b"data: " + b"x" * 200)[-1].failure.kind == "upstream"
    with pytest.raises(TooLong):
        Observer(limit=100).feed(b"data: " + b"x" * 200)


def test_an_opaque_block_beyond_the_limit_fails():
    piece = delta(0, "input_json_delta", partial_json="x" * 500)
    decoder = Decoder(limit=1000)
    events = decoder.feed(wire(start(), block(0, type="server_tool_use"), piece, piece, piece))
    assert events[-1].failure.kind == "upstream"


# --- watching -------------------------------------------------------------------------------------


def test_a_watcher_is_not_misled_by_words_inside_texts():
    text = 'say "message_stop", {"type":"error"} and "usage" and "stop_reason"'
    data = wire(start(), delta(0, "text_delta", text=text))
    observer, _, failure = watched(data)
    assert (failure.kind, observer.failure, observer.usage) == ("truncated", None, Usage(3, 1))


def test_a_watcher_sees_through_spaces_after_colons():
    data = b'data: {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 7}}\n\n'
    observer, _, failure = watched(data)
    assert (observer.usage, failure) == (Usage(output=7), None)


def test_a_watcher_gives_out_whole_events_only():
    observer = Observer(limit=LIMIT)
    data = wire(start())
    assert observer.feed(data[:-1]) == b""
    assert not observer.content
    assert observer.feed(data[-1:] + b": x\n\ndata: {") == data + b": x\n\n"


@pytest.mark.parametrize(
    ("content", "shown"),
    [
        ({"type": "text", "text": ""}, False),
        ({"text": "", "type": "text", "citations": None}, False),
        ({"type": "thinking", "thinking": "", "signature": ""}, False),
        ({"type": "text", "text": "Hello"}, True),
        ({"type": "thinking", "thinking": "Hm"}, True),
        ({"type": "tool_use", "id": "t", "name": "f", "input": {}}, True),
        ({"type": "redacted_thinking", "data": "x"}, True),
    ],
)
def test_an_empty_block_is_no_content_to_a_watcher(content, shown):
    """Another upstream can still answer, unless the client has been shown something."""
    for data in (
        wire(start(), block(0, **content)),
        wire(block(0, **content)).replace(b": ", b":"),
    ):
        observer, out, _ = watched(data)
        assert out == data
        assert observer.content is shown
    observer, _, _ = watched(wire(start(), block(0, type="text", text=""), stop(0)))
    assert observer.content is False
    said = delta(0, "text_delta", text="a")
    assert watched(wire(start(), block(0, type="text", text=""), said))[0].content is True


def test_a_watcher_says_what_came_instead_of_a_stream():
    assert "Bad Gateway" in watched(b"<html>Bad Gateway</html>\n\n")[2].message
    assert watched(b'data: {"error":{"message":"gone"}}\n\n')[2].message == "gone"


GARBAGE = [
    b"event: content_block_delta\ndata: {garbage\n\n",
    b"data: {garbage}\n\n",
    b'event: content_block_delta\ndata: {"type":"content_block_delta","index":0,"del\n\n',
]


@pytest.mark.parametrize("garbage", GARBAGE)
@pytest.mark.parametrize("content", [False, True])
def test_an_event_that_cannot_be_read_does_not_pass_a_watcher_nor_what_follows_it(content, garbage):
    before = wire(start(), delta(0, "text_delta", text="a")) if content else wire(start())
    observer, out, failure = watched(before + garbage + wire({"type": "message_stop"}))
    assert out == before
    assert failure is observer.failure
    assert (failure.kind, observer.told, observer.ended) == ("upstream", False, False)
    assert observer.content is content


def test_an_event_cut_in_its_middle_is_a_cut_to_a_watcher():
    observer, _, failure = watched(wire(start()) + b'data: {"type":"ping')
    assert (failure.kind, observer.failure) == ("truncated", None)


def test_a_watcher_puts_figures_where_a_server_has_none():
    """The official libraries read them without asking whether they are there."""
    begun = {"type": "message_start", "message": {"id": "m", "content": []}}
    ended = {"type": "message_delta", "delta": {"stop_reason": "end_turn"}}
    observer, out, failure = watched(wire(begun, ended, {"type": "message_stop"}))
    values = [json.loads(line[6:]) for line in out.splitlines() if line.startswith(b"data: ")]
    figures = {"input_tokens": 0, "output_tokens": 0}
    assert values[0]["message"] == {"id": "m", "content": [], "usage": figures}
    assert values[1] == {**ended, "usage": figures}
    assert out.startswith(b"event: message_start\ndata: ")
    assert (observer.usage, failure) == (None, None)  # they are nobody's figures


# --- anything -------------------------------------------------------------------------------------

_WORDS = (
    "type index delta content_block text thinking partial_json message usage error stop_reason id"
)
_TYPES = [
    "content_block_delta",
    "content_block_start",
    "content_block_stop",
    "message_start",
    "message_delta",
    "error",
    "text_delta",
    "tool_use",
    "thinking",
]
_NOISE = st.recursive(
    st.sampled_from([None, True, 1, 0, *_TYPES]),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(st.sampled_from(_WORDS.split()), inner, max_size=5)
    ),
    max_leaves=8,
)


@given(st.lists(_NOISE | strategies.json_values, max_size=4) | st.binary(max_size=80))
def test_any_stream_keeps_the_law(values):
    data = values
    if isinstance(values, list):
        data = b"".join(b"data: " + json.dumps(value).encode() + b"\n\n" for value in values)
    events = decoded(data)
    assert isinstance(events[0], Started)
    assert isinstance(events[-1], Finished | Failed)
    assert not any(isinstance(event, Started | Finished | Failed) for event in events[1:-1])
    if isinstance(events[-1], Finished):
        begun = {e.part for e in events if hasattr(e, "part")}
        assert begun == {e.part for e in events if isinstance(e, PartEnded)}
    assert decoded(data, cuts=range(1, len(data))) == events
    watched(data)


def test_a_lone_delta_of_a_call_is_read_over():
    assert ToolDelta(0, "{") not in decoded(
        wire(start(), delta(0, "input_json_delta", partial_json="{"))
    )
