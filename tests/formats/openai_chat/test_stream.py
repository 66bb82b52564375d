"""Streams of all kinds of servers of this format: decoded and encoded."""

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

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
    TextDelta,
    ThoughtDelta,
    ThoughtSigned,
    Tool,
    ToolDelta,
    ToolStarted,
    ToolUse,
    Usage,
    UsageSeen,
)
from formats.errors import Failure
from formats.fold import fold
from formats.ledger import Ledger
from formats.openai_chat.stream import decoder, encoder
from formats.openai_chat.watch import observer
from tests import strategies
from tests.formats.sdk_readers import read_openai

STAMP = Stamp("0123456789abcdef01234567", 1_790_000_000, model="asked")
ASKED = Request("openai", "asked", stream=True, include_usage=True)
UNASKED = Request("openai", "asked", stream=True)
DONE = b"data: [DONE]\n\n"
BIG = 1 << 20


def event(value):
    return b"data: " + json.dumps(value, ensure_ascii=False).encode() + b"\n\n"


def chunk(delta=None, finish=None, **more):
    choice = {"index": 0, "delta": {} if delta is None else delta, "finish_reason": finish}
    return event({"id": "i", "created": 5, "model": "m", "choices": [choice], **more})


def text(words):
    return chunk({"content": words})


def piece(index=None, call_id=None, name=None, arguments=None, **more):
    function = {"name": name, "arguments": arguments}
    out = {"function": {k: v for k, v in function.items() if v is not None}, **more}
    if index is not None:
        out["index"] = index
    if call_id is not None:
        out["id"] = call_id
    return chunk({"tool_calls": [out]})


def decoded(*pieces, limit=BIG):
    reader = decoder(limit=limit)
    events = []
    for each in pieces:
        events += reader.feed(each)
    return events + reader.eof()


def answer(*pieces):
    return fold(decoded(*pieces))


def calls(*pieces):
    got = answer(*pieces, chunk({}, "tool_calls"), DONE)
    return [(p.id, p.name, p.arguments) for p in got.parts if isinstance(p, ToolUse)]


# --- decoding: the order of things ---


def test_a_stream_becomes_lawful_events():
    usage = {"prompt_tokens": 1, "completion_tokens": 2}
    events = decoded(
        chunk({"role": "assistant", "content": ""}),
        chunk({"reasoning_content": "hm"}),
        text("a"),
        text("b"),
        piece(0, "c", "f", ""),
        piece(0, arguments="{}"),
        chunk({}, "tool_calls"),
        event({"choices": [], "usage": usage}),
        DONE,
    )
    assert events == [
        Started("i", "m", 5),
        ThoughtDelta(0, "hm"),
        PartEnded(0),
        TextDelta(1, "a"),
        TextDelta(1, "b"),
        PartEnded(1),
        ToolStarted(2, "c", "f"),
        ToolDelta(2, "{}"),
        UsageSeen(Usage(1, 2)),
        PartEnded(2),
        Finished("tool_use", "tool_calls"),
    ]


def test_text_after_a_call_is_a_part_of_its_own():
    events = decoded(text("a"), piece(0, "c", "f", "{}"), text("b"), chunk({}, "stop"), DONE)
    deltas = [e for e in events if isinstance(e, TextDelta | ToolStarted | PartEnded)]
    assert deltas == [
        TextDelta(0, "a"), PartEnded(0), ToolStarted(1, "c", "f"), TextDelta(2, "b"),
        PartEnded(2), PartEnded(1),
    ]  # fmt: skip
    assert events[-1] == Finished("tool_use", "stop")


def test_content_beside_reasoning_in_one_chunk_comes_after_it():
    events = decoded(chunk({"content": "t", "reasoning": "r", "reasoning_content": None}), DONE)
    assert [e for e in events if isinstance(e, TextDelta | ThoughtDelta)] == [
        ThoughtDelta(0, "r"), TextDelta(1, "t"),
    ]  # fmt: skip


def test_the_last_chunk_may_hold_everything_at_once():
    got = answer(
        chunk({"content": "all"}, "stop", usage={"prompt_tokens": 1, "completion_tokens": 1})
    )
    assert (got.text, got.stop, got.usage) == ("all", "end_turn", Usage(1, 1))


def test_only_the_first_choice_is_followed():
    other = event(
        {"choices": [{"index": 1, "delta": {"content": "no"}, "finish_reason": "length"}]}
    )
    got = answer(text("yes"), other, chunk({}, "stop"), DONE)
    assert (got.text, got.stop) == ("yes", "end_turn")


# --- decoding: what servers do differently ---


def test_a_first_chunk_without_choices_is_no_answer_yet():
    first = event({"id": "", "model": "", "choices": [], "prompt_filter_results": []})
    assert decoded(first, text("a"), chunk({}, "stop"))[0] == Started("i", "m", 5)


def test_progress_chunks_and_comments_are_no_content():
    progress = chunk({"role": "assistant", "content": None}, prompt_progress={"processed": 1})
    events = decoded(b":\n\n: OPENROUTER PROCESSING\n\n", progress, progress, text("a"), DONE)
    assert events[1] == TextDelta(0, "a")


def test_keys_left_out_instead_of_null_and_usage_beside_an_empty_choice():
    bare = event({"id": "i", "model": "m", "choices": [{"index": 0, "delta": {"content": "a"}}]})
    end = event(
        {
            "choices": [{"index": 0, "delta": {}}],
            "usage": {"prompt_tokens": 3, "completion_tokens": 1},
        }
    )
    got = answer(bare, chunk({}, "stop"), end, DONE)
    assert (got.text, got.usage) == ("a", Usage(3, 1))


def test_usage_on_every_chunk_is_told_when_it_changes():
    one, two = ({"prompt_tokens": 1, "completion_tokens": n} for n in (1, 2))
    more = chunk({"content": "a"}, usage=one), chunk({"content": "b"}, usage=one)
    events = decoded(*more, chunk({}, "stop", usage=two), DONE)
    assert [e.usage for e in events if isinstance(e, UsageSeen)] == [Usage(1, 1), Usage(1, 2)]


def test_figures_from_timings_alone():
    timings = {"cache_n": 20, "prompt_n": 1, "predicted_n": 4}
    assert answer(text("a"), chunk({}, "stop", timings=timings), DONE).usage == Usage(21, 4, 20)


def test_crlf_no_space_after_the_colon_and_no_end_mark():
    stream = (text("a") + chunk({}, "stop")).replace(b"data: ", b"data:").replace(b"\n", b"\r\n")
    assert answer(stream).text == "a"


def test_an_empty_or_second_finish_reason_changes_nothing():
    got = answer(chunk({"content": "a"}, ""), piece(0, "c", "f", "{}"), chunk({}, "tool_calls"), chunk({}, "stop"), DONE)  # fmt: skip
    assert (got.stop, got.stop_native) == ("tool_use", "tool_calls")
    assert answer(text("a"), chunk({}, "stop"), chunk({}, "length"), DONE).stop == "max_tokens"


def test_an_end_mark_without_a_finish_reason_is_an_end():
    assert answer(text("a"), DONE).stop == "end_turn"


def test_a_stop_sequence_that_is_told():
    choice = {"index": 0, "delta": {}, "finish_reason": "stop", "stop_reason": "END"}
    assert decoded(text("a"), event({"choices": [choice]}), DONE)[-1] == Finished(
        "stop_sequence", "stop", "END"
    )


def test_a_refusal_is_one():
    got = answer(chunk({"content": None, "refusal": ""}), chunk({"refusal": "no"}), chunk({}, "stop"), DONE)  # fmt: skip
    assert got.stop == "refusal"
    assert got.parts[0].refusal


def test_an_empty_list_of_calls_is_no_call():
    got = answer(chunk({"content": "a", "tool_calls": []}), chunk({"content": "b", "tool_calls": None}), chunk({}, "stop"), DONE)  # fmt: skip
    assert (got.text, got.stop) == ("ab", "end_turn")


# --- decoding: calls ---


def test_interleaved_calls_are_kept_apart():
    got = calls(
        piece(0, "a", "f", ""), piece(1, "b", "g", ""), piece(0, arguments='{"x'),
        piece(1, arguments='{"y'), piece(0, arguments='":1}'), piece(1, arguments='":2}'),
    )  # fmt: skip
    assert got == [("a", "f", '{"x":1}'), ("b", "g", '{"y":2}')]


def test_indexes_may_begin_anywhere_or_be_missing():
    assert calls(piece(3, "a", "f", "{}"), piece(7, "b", "g", "{}")) == [("a", "f", "{}"), ("b", "g", "{}")]  # fmt: skip
    assert calls(piece(None, "a", "f", "{"), piece(None, arguments="}")) == [("a", "f", "{}")]
    assert calls(piece(None, "a", "f", "{}"), piece(None, "b", "g", "{}")) == [("a", "f", "{}"), ("b", "g", "{}")]  # fmt: skip


def test_calls_that_all_have_the_index_0_are_told_apart():
    by_id = calls(piece(0, "a", "f", "{}"), piece(0, "b", "g", '{"y":1}'))
    assert by_id == [("a", "f", "{}"), ("b", "g", '{"y":1}')]
    by_arrival = calls(piece(0, None, "f", "{}"), piece(0, None, "f", '{"y":1}'))
    assert by_arrival == [("", "f", "{}"), ("", "f", '{"y":1}')]


def test_repeated_ids_names_and_types_are_not_joined():
    got = calls(
        piece(0, "a", "f", "", type="function"), piece(0, "a", "f", '{"x"', type="function"),
        piece(0, "", "", ":1}", type="function"), piece(0, None, "f", ""),
    )  # fmt: skip
    assert got == [("a", "f", '{"x":1}')]


def test_a_name_may_come_later_than_the_id_and_the_id_later_than_the_name():
    assert calls(piece(0, "a"), piece(0, arguments="{"), piece(0, None, "f", "}")) == [("a", "f", "{}")]  # fmt: skip
    assert calls(piece(0, None, "f"), piece(0, "a", None, "{}")) == [("", "f", "{}")]


def test_one_id_for_two_calls_is_made_two():
    assert calls(piece(0, "a", "f", "{}"), piece(1, "a", "g", "{}")) == [("a", "f", "{}"), ("a_2", "g", "{}")]  # fmt: skip


def test_several_calls_in_one_chunk_and_arguments_as_an_object():
    both = [
        {"index": 0, "id": "a", "function": {"name": "f", "arguments": {"x": 1}}},
        {"index": 1, "id": "b", "type": "custom", "custom": {"name": "g", "input": "raw"}},
        None,
    ]
    got = answer(chunk({"tool_calls": both}), chunk({}, "stop"), DONE)
    assert got.parts == (ToolUse("a", "f", '{"x":1}', {"x": 1}), ToolUse("b", "g", "raw", kind="custom"))  # fmt: skip


def test_extras_of_a_call_are_kept_and_null_ones_are_not():
    events = decoded(piece(0, "a", "f", "{}", extra_content={"s": 1}, provider_specific_fields=None), DONE)  # fmt: skip
    assert events[1].extra == {"extra_content": {"s": 1}}


def test_arguments_that_are_no_json_end_nothing():
    assert calls(piece(0, "a", "f", '"{{ Hello')) == [("a", "f", '"{{ Hello')]


def test_a_function_call_of_old_servers_is_a_call():
    old = chunk({"function_call": {"name": "f", "arguments": ""}}), chunk({"function_call": {"arguments": "{}"}})  # fmt: skip
    got = answer(*old, chunk({}, "function_call"), DONE)
    assert got.parts == (ToolUse("", "f", "{}", {}),)
    assert got.stop == "tool_use"


def test_a_call_without_a_name_fails_the_answer():
    events = decoded(piece(0, "a", None, "{}"), chunk({}, "tool_calls"), DONE)
    assert events[-1].failure.kind == "upstream"
    assert decoded(piece(0, "a", None, ""), chunk({}, "stop"), DONE)[-1] == Finished("end_turn", "stop")  # fmt: skip


# --- decoding: what goes wrong ---


def failure(*pieces, limit=BIG):
    last = decoded(*pieces, limit=limit)[-1]
    assert isinstance(last, Failed)
    return last.failure


def test_a_stream_that_merely_ends_is_truncated():
    dying = event({"model": "", "choices": [{"index": 0, "delta": {"content": ""}, "finish_reason": None}]})  # fmt: skip
    assert failure(text("a"), dying).kind == "truncated"
    assert failure(text("a")[:-5]).kind == "truncated"
    assert failure(b"").kind == "truncated"
    assert failure(b": comment\n\n").kind == "truncated"


def test_an_error_event_before_the_end_mark_is_an_error():
    said = {"error": {"message": "EngineCore encountered an issue.", "type": "InternalServerError", "param": None, "code": 500}}  # fmt: skip
    events = decoded(text("a"), event(said), DONE)
    assert isinstance(events[-1], Failed)
    assert events[-1].failure.kind == "upstream"
    assert events[-1].failure.message == said["error"]["message"]
    assert [type(e) for e in events].count(Failed) == 1


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        (event({"object": "error", "message": "flat", "type": "x", "code": 400}), "bad_request"),
        (b'event: error\ndata: {"message":"named"}\n\n', "upstream"),
        (b'error: {"code":500,"message":"an old llama.cpp","type":"server_error"}\n\n', "upstream"),
        (event({"error": "just words"}), "upstream"),
        (event({"detail": "x"}), "upstream"),
        (chunk({"content": ""}, "error", error={"code": 429, "message": "x"}), "rate_limit"),
        (chunk({}, "error"), "upstream"),
        (b"data: not json\n\n", "upstream"),
        (b"data: [1]\n\n", "upstream"),
        (b"data: \xff\n\n", "upstream"),
        (b"data: " + b"[" * 100_000 + b"\n\n", "upstream"),
    ],
)
@pytest.mark.parametrize("before", [b"", text("a")])
def test_errors_of_all_shapes(before, said, kind):
    assert failure(before, said).kind == kind
    assert failure(before + said + text("b") + DONE).kind == kind


def test_words_that_are_no_stream_are_quoted():
    said = failure(b"<html><head><title>502 Bad Gateway</title></head></html>")
    assert said.kind == "upstream"
    assert "502 Bad Gateway" in said.message
    assert "not found" in failure(b"404 page not found\n").message


def test_an_event_beyond_the_limit_is_refused():
    assert "longer than 200" in failure(text("a" * 300), limit=200).message
    assert failure(b"{" + b" " * 300, limit=200).kind == "upstream"


def test_nothing_is_said_after_the_end():
    reader = decoder(limit=BIG)
    reader.feed(text("a") + DONE)
    assert reader.feed(text("b")) == []
    assert reader.eof() == []


def test_a_server_that_does_not_stream_is_understood_all_the_same():
    whole = {"id": "i", "model": "m", "choices": [{"message": {"content": "t"}, "finish_reason": "stop"}]}  # fmt: skip
    body = json.dumps(whole, indent=1).encode()
    assert fold(decoded(*[body[at : at + 1] for at in range(len(body))])).text == "t"
    assert failure(b'{"error":{"message":"m","code":"context_length_exceeded"}}').kind == "context_too_long"  # fmt: skip
    assert failure(b'{"error":').kind == "upstream"


@given(st.lists(st.binary(max_size=12) | st.sampled_from([b"data: ", b"\n\n", b"{", b"}", text("a"), DONE, b'"error"', b"event: error\n"])))  # fmt: skip
def test_any_bytes_end_in_one_last_event(pieces):
    events = decoded(*pieces)
    assert isinstance(events[-1], Failed | Finished)
    assert not any(isinstance(e, Failed | Finished) for e in events[:-1])


oddities = st.recursive(
    st.none() | st.booleans() | st.integers() | st.sampled_from(["", "a", "{", "stop", "\ud800"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "choices",
                    "delta",
                    "content",
                    "tool_calls",
                    "function",
                    "name",
                    "arguments",
                    "index",
                    "id",
                    "usage",
                    "error",
                    "custom",
                    "finish_reason",
                    "function_call",
                    "refusal",
                    "reasoning",
                    "message",
                    "timings",
                    "prompt_tokens",
                ]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(st.lists(oddities, max_size=4))
def test_any_json_ends_in_one_last_event(values):
    stream = [json.dumps(v).encode() for v in values]
    stream += [json.dumps({"choices": [{"delta": v}]}).encode() for v in values]
    events = decoded(*[b"data: " + each + b"\n\n" for each in stream], DONE)
    assert isinstance(events[-1], Failed | Finished)
    watched = observer(UNASKED, limit=BIG)
    for each in stream:
        watched.feed(b"data: " + each + b"\n\n")
    watched.eof()


# --- encoding ---


def encoded(events, request=ASKED, ledger=None):
    writer = encoder(request, ledger or Ledger(), STAMP)
    return b"".join(map(writer.encode, events))


def objects(stream):
    return [json.loads(e[6:]) for e in stream.decode().split("\n\n") if e.startswith("data: {")]


def deltas(stream):
    return [o["choices"][0]["delta"] for o in objects(stream) if o.get("choices")]


def test_a_stream_for_a_client():
    stream = encoded(
        [Started("x", "m"), ThoughtDelta(0, "r"), PartEnded(0), TextDelta(1, 'a"\n世'), PartEnded(1),
         UsageSeen(Usage(3, 4)), Finished("end_turn")]
    )  # fmt: skip
    first, *_, last = objects(stream)
    assert first == {
        "id": f"chatcmpl-{STAMP.id}", "object": "chat.completion.chunk", "created": STAMP.created,
        "model": "m", "usage": None,
        "choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}, "logprobs": None, "finish_reason": None}],
    }  # fmt: skip
    assert deltas(stream)[1:] == [{"reasoning_content": "r"}, {"content": 'a"\n世'}, {}]
    assert last["choices"] == []
    assert last["usage"] == {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}
    assert stream.endswith(DONE)


def test_no_usage_chunk_for_who_did_not_ask_or_where_nothing_is_known():
    events = [Started("x", "m"), UsageSeen(Usage(3, 4)), Finished("end_turn")]
    assert b"usage" not in encoded(events, UNASKED)
    assert objects(encoded([Started("x", "m"), Finished("end_turn")]))[-1]["choices"] != []


def test_calls_are_numbered_from_0_and_named_once():
    stream = encoded(
        [Started("x", "m"), ToolStarted(4, "a", "f"), ToolStarted(2, "", "g"), ToolDelta(2, '{"y":1}'),
         ToolDelta(4, "{"), ToolDelta(4, "}"), PartEnded(4), PartEnded(2), Finished("tool_use")]
    )  # fmt: skip
    found = [d["tool_calls"][0] for d in deltas(stream) if "tool_calls" in d]
    assert found[0] == {"index": 0, "id": "a", "type": "function", "function": {"name": "f", "arguments": ""}}  # fmt: skip
    assert found[1]["index"] == 1
    assert found[1]["id"].startswith("call_")
    assert found[2] == {"index": 1, "function": {"arguments": '{"y":1}'}}
    assert found[3:] == [{"index": 0, "function": {"arguments": x}} for x in "{}"]
    assert read_openai(stream, stream=True)["calls"][0] == ("a", "f", {})


def test_a_call_without_arguments_gets_an_empty_object():
    stream = encoded([Started("x", "m"), ToolStarted(0, "a", "f"), ToolDelta(0, ""), PartEnded(0), Finished("tool_use")])  # fmt: skip
    assert deltas(stream)[-2] == {"tool_calls": [{"index": 0, "function": {"arguments": "{}"}}]}


def test_text_that_some_readers_stumble_over_is_escaped():
    for words in ("\ud800", "a\u2028b", "\x85"):
        stream = encoded([TextDelta(0, words)])
        assert stream.isascii()
        assert deltas(stream) == [{"content": words}]


def test_an_error_event_and_then_nothing():
    writer = encoder(ASKED, Ledger(), STAMP)
    assert writer.ping() == b": keep-alive\n\n"
    writer.encode(Started("x", "m"))
    out = writer.encode(Failed(Failure("truncated", "cut")))
    assert json.loads(out[6:]) == {"error": {"message": "cut", "type": "server_error", "param": None, "code": None}}  # fmt: skip
    assert writer.encode(Finished("end_turn")) == b""
    assert writer.ping() == b""
    got = read_openai(encoded([Started("x", "m"), TextDelta(0, "a"), Failed(Failure("upstream", "cut"))]), stream=True)  # fmt: skip
    assert (got["text"], got["error"]["message"], got["error"]["phase"]) == ("a", "cut", "mid")


@pytest.mark.parametrize(
    ("event", "finish"),
    [
        (Finished("max_tokens"), "length"),
        (Finished("context_window"), "length"),
        (Finished("stop_sequence", "x", "END"), "stop"),
        (Finished("refusal", "refusal"), "content_filter"),
        (Finished("refusal", "stop"), "stop"),
        (Finished("pause"), "stop"),
    ],
)
def test_reasons(event, finish):
    stream = encoded([Started("x", "m"), TextDelta(0, "a"), event])
    assert objects(stream)[-1]["choices"][0]["finish_reason"] == finish


def test_a_refusal_without_words_gets_some():
    stream = encoded([Started("x", "m"), Finished("refusal", details={"explanation": "Because."})])
    assert deltas(stream)[1] == {"refusal": "Because."}
    stream = encoded([Started("x", "m"), RefusalDelta(0, "No."), Finished("refusal")])
    assert deltas(stream)[1:] == [{"refusal": "No."}, {}]


def test_citations_signatures_and_opaque_blocks():
    ledger = Ledger()
    cited = {"url": "https://x", "title": "T"}
    stream = encoded(
        [Started("x", "m"), TextDelta(0, "one "), PartEnded(0), TextDelta(1, "two"), CitationSeen(1, cited),
         CitationSeen(1, {}), ThoughtSigned(2, "sig"), OpaquePart(3, "anthropic", "server_tool_use")],
        ledger=ledger,
    )  # fmt: skip
    where = {"start_index": 4, "end_index": 7, "url": "https://x", "title": "T"}
    assert deltas(stream)[-1] == {"annotations": [{"type": "url_citation", "url_citation": where}]}
    assert ledger.names() == ("citations", "reasoning.signature", "server_tool_use")


def test_a_client_of_functions_gets_a_function_call():
    request = Request("openai", "m", stream=True, tools=(Tool("f", type="functions"),))
    events = [Started("x", "m"), ToolStarted(0, "a", "f"), ToolDelta(0, "{}"), PartEnded(0), ToolStarted(1, "b", "f"), ToolDelta(1, "{}"), PartEnded(1), Finished("tool_use")]  # fmt: skip
    stream = encoded(events, request)
    assert deltas(stream)[1:] == [{"function_call": {"name": "f", "arguments": ""}}, {"function_call": {"arguments": "{}"}}, {}]  # fmt: skip
    assert objects(stream)[-1]["choices"][0]["finish_reason"] == "function_call"


@pytest.mark.parametrize("size", [1, 2, 7, 100])
def test_a_custom_tool_that_was_called_as_a_function_is_called_as_one(size):
    request = replace(ASKED, tools=(Tool("patch", kind="custom"),))
    arguments = '{"input": "a \\"b\\"\\n"}'
    pieces = [arguments[at : at + size] for at in range(0, len(arguments), size)]
    events = [ToolStarted(0, "c", "patch"), *(ToolDelta(0, each) for each in pieces)]
    stream = encoded([Started("i", "m"), *events, PartEnded(0), Finished("tool_use")], request)
    [first, *rest] = [d["tool_calls"][0] for d in deltas(stream) if "tool_calls" in d]
    assert (first["type"], first["custom"]) == ("custom", {"name": "patch", "input": ""})
    assert "".join(each["custom"]["input"] for each in rest) == 'a "b"\n'


@given(strategies.event_streams())
def test_every_lawful_stream_is_written_and_read_alike(events):
    stream = encoded(events)
    again = decoded(stream)
    sent, got = fold(events), fold(again)
    if isinstance(events[-1], Failed):
        assert isinstance(got, Failure)
        return
    made = [part for part in sent.parts if isinstance(part, ToolUse)]
    if all(part.name for part in made):  # a call without a name is none
        found = [part for part in got.parts if isinstance(part, ToolUse)]
        arrived = [event.text for event in events if isinstance(event, TextDelta)]
        assert got.text == "".join(arrived)
        assert [(p.name, p.input) for p in found] == [(p.name, p.input) for p in made]
    assert read_openai(stream, stream=True, strict=False)["error"] is None
