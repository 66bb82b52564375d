"""formats/ollama/stream.py"""

import json
from contextlib import suppress
from pathlib import Path

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
    Response,
    Stamp,
    Started,
    Text,
    TextDelta,
    Thought,
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
from formats.fold import fold, unfold
from formats.ledger import Ledger
from formats.ollama.stream import Decoder, Encoder, Observer
from tests import strategies
from tests.formats.sdk_readers import read_ollama

GOLDEN = Path(__file__).parents[2] / "transcripts" / "golden"
ENTRIES = {
    entry["file"]: entry
    for entry in json.loads((GOLDEN / "index.json").read_text())["entries"]
    if entry["format"] == "ollama-chat" and entry["file"].endswith(".ndjson")
}
LIMIT = 1 << 20
REQUEST = Request("ollama", "m")


def line(done=False, **members) -> bytes:
    message = {"role": "assistant", "content": ""}
    for name in ("content", "thinking", "tool_calls"):
        if name in members:
            message[name] = members.pop(name)
    value = {"model": "m", "created_at": "2026-11-23T10:00:00Z", "message": message}
    return json.dumps({**value, "done": done, **members}).encode() + b"\n"


def call(name="f", arguments=None, **members) -> dict:
    return {"function": {"name": name, "arguments": arguments or {}}, **members}


END = line(done=True, done_reason="stop", prompt_eval_count=3, eval_count=2)


def decoded(*pieces: bytes, limit=LIMIT):
    decoder = Decoder(limit=limit)
    events = [event for piece in pieces for event in decoder.feed(piece)]
    return events + decoder.eof()


def answer(*pieces: bytes) -> Response:
    folded = fold(decoded(*pieces))
    assert isinstance(folded, Response), folded
    return folded


def failure(*pieces: bytes, limit=LIMIT) -> Failure:
    events = decoded(*pieces, limit=limit)
    assert isinstance(events[0], Started)
    assert [type(event) for event in events].count(Started) == 1
    assert isinstance(events[-1], Failed)
    return events[-1].failure


# --- transcripts ---


@pytest.mark.parametrize("name", ENTRIES)
def test_a_transcript_means_what_its_index_says(name):
    check_meaning(fold(decoded((GOLDEN / name).read_bytes())), ENTRIES[name]["canonical"])


def check_meaning(got, meant):
    if meant["error"]:
        assert isinstance(got, Failure)
        assert got.message == meant["error"]["message"]
        return
    calls = [p for p in got.parts if isinstance(p, ToolUse)]
    assert got.text == meant["text"]
    assert "".join(p.text for p in got.parts if isinstance(p, Thought)) == meant["reasoning"]
    assert [{"id": c.id, "name": c.name, "kind": c.kind, "arguments": c.input} for c in calls] == (
        meant["tool_calls"]
    )
    assert (got.stop, got.stop_native) == (meant["stop"], meant["stop_native"])
    usage = meant["usage"]
    assert (got.usage and (got.usage.input, got.usage.output)) == (
        usage and (usage["input_total"], usage["output_total"])
    )


@pytest.mark.parametrize("name", ENTRIES)
def test_any_split_of_a_transcript_gives_the_same_events(name):
    body = (GOLDEN / name).read_bytes()
    whole = decoded(body)
    assert decoded(*[body[i : i + 1] for i in range(len(body))]) == whole
    for cut in range(1, len(body)):
        assert decoded(body[:cut], body[cut:]) == whole


@pytest.mark.parametrize("name", ENTRIES)
def test_a_transcript_shown_to_a_client_is_what_its_sdk_reads(name):
    encoder = Encoder(REQUEST, Ledger(), stamp())
    events = decoded((GOLDEN / name).read_bytes())
    got = read_ollama(b"".join(map(encoder.encode, events)), stream=True)
    meant = ENTRIES[name]["canonical"]
    assert (got["text"], got["reasoning"]) == (meant["text"], meant["reasoning"])
    calls = [(c["id"], c["name"], c["arguments"]) for c in meant["tool_calls"]]
    assert got["calls"] == calls
    if meant["error"]:
        assert got["error"]["message"] == meant["error"]["message"]
    else:
        assert got["stop"] == meant["stop"]
        usage = meant["usage"]
        assert got["usage"] == {"input": usage["input_total"], "output": usage["output_total"]}


# --- the decoder ---


def test_text_and_thinking_are_parts_of_their_own():
    events = decoded(
        line(thinking="h"), line(thinking="m"), line(content="a"), line(content="b"), END
    )
    assert events == [
        Started("", "m", 1795428000),
        ThoughtDelta(0, "h"),
        ThoughtDelta(0, "m"),
        PartEnded(0),
        TextDelta(1, "a"),
        TextDelta(1, "b"),
        PartEnded(1),
        UsageSeen(Usage(3, 2)),
        Finished("end_turn", "stop"),
    ]


def test_one_line_may_hold_thinking_and_text():
    assert answer(line(thinking="hm", content="a"), END).parts == (Thought("hm"), Text("a"))


def test_calls_come_whole_in_one_line_or_several():
    one = line(tool_calls=[call("f", {"a": 1}, id="x"), call("g", id="y")])
    two = line(tool_calls=[call("f", {"a": 1}, id="x")]) + line(tool_calls=[call("g", id="y")])
    parts = (ToolUse("x", "f", '{"a":1}', {"a": 1}), ToolUse("y", "g", "{}", {}))
    assert answer(one, END).parts == parts
    assert answer(two, END).parts == parts


def test_the_only_line_may_hold_the_call_and_the_end():
    got = answer(line(done=True, done_reason="stop", tool_calls=[call()]))
    assert got.stop == "tool_use"
    assert got.parts == (ToolUse("", "f", "{}", {}),)


def test_the_last_line_may_hold_text():
    assert answer(line(content="a"), line(done=True, content="b")).text == "ab"


def test_every_index_may_be_0_and_no_call_have_an_id():
    """Old servers number nothing; the calls are told apart all the same (ollama#15457)."""
    calls = [{"function": {"index": 0, "name": n, "arguments": {}}} for n in "fg"]
    assert [part.name for part in answer(line(tool_calls=calls), END).parts] == ["f", "g"]


def test_an_id_that_stands_twice_is_numbered():
    calls = line(tool_calls=[call(id="x"), call(id="x")]) + line(tool_calls=[call(id="x")])
    assert [part.id for part in answer(calls, END).parts] == ["x", "x_2", "x_3"]


def test_no_calls_are_no_calls():
    """An empty list is absent (litellm#29286)."""
    got = answer(line(content="a", tool_calls=[]), END)
    assert got.parts == (Text("a"),)
    assert got.stop == "end_turn"


@pytest.mark.parametrize(
    ("arguments", "text"), [('{"a": 1}', '{"a": 1}'), ("{broken", "{broken"), ([1], "[1]")]
)
def test_arguments_of_any_kind_end_nothing(arguments, text):
    calls = [{"function": {"name": "f", "arguments": arguments}}]
    assert answer(line(tool_calls=calls), END).parts[0].arguments == text


def test_numbers_of_arguments_stay_exact():
    raw = b'{"message":{"tool_calls":[{"function":{"name":"f","arguments":{"n":12345678901234567890123}}}]},"done":true}\n'
    assert answer(raw).parts[0].arguments == '{"n":12345678901234567890123}'


@pytest.mark.parametrize(
    ("members", "stop", "native"),
    [
        ({"done_reason": "stop"}, "end_turn", "stop"),
        ({}, "end_turn", None),
        ({"done_reason": ""}, "end_turn", ""),
        ({"done_reason": "length"}, "max_tokens", "length"),
        ({"done_reason": "load"}, "load", "load"),
        ({"done_reason": "unload"}, "unload", "unload"),
        ({"done_reason": "stop", "tool_calls": [call()]}, "tool_use", "stop"),
        ({"done_reason": "length", "tool_calls": [call()]}, "max_tokens", "length"),
    ],
)
def test_the_end_is_derived_from_what_was_sent(members, stop, native):
    got = answer(line(done=True, **members))
    assert (got.stop, got.stop_native) == (stop, native)


def test_a_last_line_without_its_line_end_counts():
    assert answer(line(content="a"), END.rstrip()).text == "a"


def test_crlf_blank_lines_and_spaces_are_taken():
    body = line(content="a").replace(b"\n", b"\r\n") + b"\n \r\n" + END
    assert answer(body).text == "a"


def test_characters_that_other_line_splitters_break_on_stay_in_their_line():
    raw = '{"message":{"content":"a\u2028b\x85c\u2029d"},"done":true}\n'.encode()
    assert answer(raw).text == "a\u2028b\x85c\u2029d"


def test_nothing_counts_after_the_end():
    decoder = Decoder(limit=LIMIT)
    assert isinstance(decoder.feed(END + line(content="late"))[-1], Finished)
    assert decoder.feed(line(content="later")) == []
    assert decoder.eof() == []


def test_an_error_line_fails_the_answer_in_its_own_words():
    told = failure(line(content="a"), b'{"error":"runner died"}\n', END)
    assert (told.kind, told.message, told.status) == ("upstream", "runner died", None)


def test_an_error_line_may_hold_json_inside_its_text():
    inner = {"error": {"code": 400, "message": "too big", "type": "exceed_context_size_error"}}
    told = failure(json.dumps({"error": json.dumps(inner)}).encode() + b"\n")
    assert (told.kind, told.message) == ("context_too_long", "too big")
    assert (told.type, told.code) == ("exceed_context_size_error", 400)


@pytest.mark.parametrize(
    ("pieces", "words"),
    [
        ([], "before its first line"),
        ([line(content="a")], "before its last line"),
        ([line(content="a"), b'{"message":{"cont'], "before its last line"),
        ([line(content="a"), b"\n\n"], "before its last line"),
    ],
)
def test_a_stream_without_its_last_line_is_truncated(pieces, words):
    told = failure(*pieces)
    assert told.kind == "truncated"
    assert words in told.message


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"<html><body>Bad gateway</body></html>\n", "HTML"),
        (b"not json\n", "not json"),
        (b"[1]\n", "not a line"),
        (b"7\n", "not a line"),
        (b'{"status":"success"}\n', "success"),
        (b'{"response":"generated","done":false}\n', "not a line"),
        (b'{"message":{"content":7},"done":false}\n', "not a line"),
        (b'{"message":{"tool_calls":[7]},"done":false}\n', "not a line"),
        (b'{"message":{"tool_calls":[{"function":{}}]},"done":false}\n', "not a line"),
        (b'{"message":{"tool_calls":7},"done":false}\n', "not a line"),
        (b"\xff\xfe\n", "not a line"),
        (b"[" * 200_000 + b"\n", "not a line"),
    ],
)
def test_what_is_no_line_of_a_chat_fails_with_a_clear_message(body, words):
    for pieces in ([body], [line(content="a"), body]):
        told = failure(*pieces)
        assert told.kind == "upstream"
        assert words in told.message


def test_a_number_that_is_none_fails_the_answer_and_no_more():
    raw = b'{"message":{"tool_calls":[{"function":{"name":"f","arguments":{"n":1e999}}}]}}\n'
    assert failure(raw).kind == "upstream"


def test_an_endless_line_is_refused():
    told = failure(b'{"message":{"content":"', b"x" * 200, b"x" * 200, limit=300)
    assert told.kind == "upstream"
    assert "longer than 300 bytes" in told.message


@given(st.binary(max_size=60), st.binary(max_size=60))
def test_any_bytes_give_a_lawful_stream(first, second):
    events = decoded(first, second)
    assert isinstance(events[0], Started)
    assert isinstance(events[-1], Failed | Finished)


# --- the encoder ---


def stamp(elapsed=0, **members) -> Stamp:
    members = {"model": "shown", "input_estimate": 7} | members
    return Stamp("a" * 24, 1795428000, lambda: elapsed, **members)


def encoded(*events, request=REQUEST, ledger=None, **members) -> list[dict]:
    encoder = Encoder(request, ledger or Ledger(), stamp(**members))
    body = b"".join(map(encoder.encode, events))
    assert body.isascii()
    assert b"\n\n" not in body
    assert body.endswith(b"\n")
    return [json.loads(each) for each in body.splitlines()]


def shown(*events, **members) -> list[dict]:
    return encoded(Started("id", "upstream"), *events, **members)


STOP = Finished("end_turn", "stop")


def test_a_text_is_a_line_at_once():
    encoder = Encoder(REQUEST, Ledger(), stamp(elapsed=1_500_000_002))
    assert encoder.encode(Started("id", "upstream")) == b""
    assert encoder.encode(TextDelta(0, 'a"\u2028ü')) == (
        b'{"model":"shown","created_at":"2026-11-23T10:00:01.500000002Z",'
        b'"message":{"role":"assistant","content":"a\\"\\u2028\\u00fc"},"done":false}\n'
    )


def test_the_name_that_the_client_asked_for_is_shown_where_the_stamp_has_none():
    assert shown(TextDelta(0, "a"), model="")[0]["model"] == "m"


def test_thinking_and_refusals_have_their_places():
    lines = shown(
        ThoughtDelta(0, ""),
        ThoughtDelta(0, "hm"),
        ThoughtSigned(0, "S", None, "anthropic"),
        PartEnded(0),
        RefusalDelta(1, "no"),
        PartEnded(1),
        Finished("refusal"),
    )
    assert [each["message"] for each in lines] == [
        {"role": "assistant", "content": "", "thinking": "hm"},
        {"role": "assistant", "content": "no"},
        {"role": "assistant", "content": ""},
    ]
    assert lines[-1]["done_reason"] == "stop"


def test_a_lone_surrogate_is_escaped():
    assert shown(TextDelta(0, "\ud800"))[0]["message"]["content"] == "\ud800"


def test_a_call_waits_until_it_is_whole_while_texts_pass():
    encoder = Encoder(REQUEST, Ledger(), stamp())
    assert encoder.encode(ToolStarted(0, "x", "f")) == b""
    assert encoder.encode(ToolDelta(0, '{"a"')) == b""
    assert b"text" in encoder.encode(TextDelta(1, "text"))
    assert encoder.encode(ToolDelta(0, ": 1}")) == b""
    value = json.loads(encoder.encode(PartEnded(0)))
    assert value["message"]["tool_calls"] == [
        {"id": "x", "function": {"index": 0, "name": "f", "arguments": {"a": 1}}}
    ]
    assert value["message"]["content"] == ""
    assert value["done"] is False


def test_calls_are_numbered_and_get_ids_of_their_own():
    lines = shown(
        ToolStarted(0, "", "f"),
        ToolStarted(1, "", "f"),
        PartEnded(1),
        PartEnded(0),
        Finished("tool_use"),
    )
    calls = [call for each in lines for call in each["message"].get("tool_calls", [])]
    assert [c["function"]["index"] for c in calls] == [0, 1]
    assert [c["function"]["arguments"] for c in calls] == [{}, {}]
    assert len({c["id"] for c in calls}) == 2
    assert all(c["id"].startswith("call_") for c in calls)


def test_a_call_that_was_cut_off_is_not_shown_and_the_end_says_length():
    lines = shown(
        ToolStarted(0, "x", "f"), ToolDelta(0, '{"a":'), PartEnded(0), Finished("max_tokens")
    )
    assert [each["message"].get("tool_calls") for each in lines] == [None]
    assert lines[-1]["done_reason"] == "length"


@pytest.mark.parametrize("text", ['{"a":', "[1]", '{"a":1e999}'])
def test_a_call_that_is_no_object_ends_the_stream_as_an_error(text):
    events = [ToolStarted(0, "x", "f"), ToolDelta(0, text), PartEnded(0), Finished("tool_use")]
    assert shown(*events) == [{"error": "tool call arguments are not valid JSON"}]


def test_the_last_line_has_metrics_of_the_clock_and_the_usage():
    times = iter([2_000, 9_000, 9_500])
    encoder = Encoder(REQUEST, Ledger(), Stamp("a" * 24, 0, lambda: next(times), "m", 7))
    for event in (TextDelta(0, "abcde"), PartEnded(0), UsageSeen(Usage(11, None))):
        encoder.encode(event)
    encoder.encode(UsageSeen(Usage(None, 5)))
    end = json.loads(encoder.encode(STOP))
    assert {key: end[key] for key in end if key not in ("model", "created_at", "message")} == {
        "done": True,
        "done_reason": "stop",
        "total_duration": 9_000,
        "load_duration": 0,
        "prompt_eval_count": 11,
        "prompt_eval_duration": 2_000,
        "eval_count": 5,
        "eval_duration": 7_000,
    }


def test_figures_that_nobody_gave_are_estimates():
    end = shown(TextDelta(0, "abcde"), PartEnded(0), STOP)[-1]
    assert (end["prompt_eval_count"], end["eval_count"]) == (7, 2)


@pytest.mark.parametrize("reason", ["load", "unload"])
def test_a_loaded_model_has_no_metrics(reason):
    (only,) = shown(Finished(reason))
    assert only["done_reason"] == reason
    assert set(only) == {"model", "created_at", "message", "done", "done_reason"}


@pytest.mark.parametrize(
    ("reason", "native", "noted"),
    [
        ("end_turn", "stop", False),
        ("tool_use", "stop", False),
        ("stop_sequence", "stop", False),
        ("max_tokens", "length", False),
        ("context_window", "length", False),
        ("refusal", "stop", False),
        ("content_filter", "stop", True),
        ("pause", "stop", True),
    ],
)
def test_each_end_has_its_word(reason, native, noted):
    ledger = Ledger()
    assert shown(Finished(reason), ledger=ledger)[-1]["done_reason"] == native
    assert ledger.names() == (("done_reason",) if noted else ())


def test_a_failure_is_an_error_line_and_nothing_follows():
    events = [TextDelta(0, "a"), Failed(Failure("upstream", "it broke")), TextDelta(0, "b"), STOP]
    assert shown(*events)[1:] == [{"error": "it broke"}]


def test_what_cannot_be_shown_is_noted():
    ledger = Ledger()
    shown(CitationSeen(0, {}), OpaquePart(1, "anthropic", "server_tool_use"), STOP, ledger=ledger)
    assert ledger.names() == ("citations", "server_tool_use")


def test_there_is_no_life_sign_between_lines():
    assert Encoder(REQUEST, Ledger(), stamp()).ping() == b""


def test_a_tool_s_name_that_was_changed_on_the_way_is_the_client_s_own_again():
    from formats.ids import OPENAI_NAMES, NameMap

    request = Request("ollama", "m", tools=(Tool("read file"),))
    wire = NameMap(OPENAI_NAMES, ["read file"]).to_wire("read file")
    (first, _) = shown(ToolStarted(0, "x", wire), PartEnded(0), STOP, request=request)
    assert first["message"]["tool_calls"][0]["function"]["name"] == "read file"


@pytest.mark.slow
@given(strategies.event_streams())
def test_any_stream_is_read_by_the_official_client(events):
    encoder = Encoder(REQUEST, Ledger(), stamp())
    body = b"".join(map(encoder.encode, events))
    got = read_ollama(body, stream=True)
    texts = [e.text for e in events if isinstance(e, TextDelta | RefusalDelta)]
    assert got["text"] == "".join(texts)
    assert (got["error"] is None) == (got["stop"] is not None)
    if isinstance(events[-1], Failed):
        assert got["error"]["message"] == "it broke"


@given(strategies.responses())
def test_what_was_shown_is_read_back(response):
    encoder = Encoder(REQUEST, Ledger(), stamp())
    body = b"".join(map(encoder.encode, unfold(response)))
    got = fold(decoded(body))
    if isinstance(got, Response):
        words = [part.text for part in response.parts if isinstance(part, Text)]
        assert got.text == "".join(words)
        shown_calls = [part for part in got.parts if isinstance(part, ToolUse)]
        calls = [
            part
            for part in response.parts
            if isinstance(part, ToolUse) and part.kind == "function" and part.input is not None
        ]
        assert [(c.name, c.input) for c in shown_calls if "input" not in c.input] == [
            (c.name, c.input) for c in calls if "input" not in c.input
        ]


# --- the observer ---


def observed(*pieces: bytes, model="m", limit=LIMIT):
    observer = Observer(Request("ollama", model), limit=limit)
    return b"".join(map(observer.feed, pieces)), observer


@pytest.mark.parametrize("name", ENTRIES)
def test_an_observer_sees_what_passes_and_passes_all_of_it(name):
    body, meant = (GOLDEN / name).read_bytes(), ENTRIES[name]["canonical"]
    for pieces in ([body], [body[i : i + 1] for i in range(len(body))]):
        passed, observer = observed(*pieces, model="qwen3:8b")
        assert passed == body
        assert observer.content
        if meant["error"]:
            assert observer.failure == observer.eof()
            assert observer.failure.message == meant["error"]["message"]
        else:
            usage = meant["usage"]
            seen = observer.usage
            assert (seen.input, seen.output) == (usage["input_total"], usage["output_total"])
            assert None not in (seen.load_ms, seen.prefill_ms)
            assert observer.failure is None
            assert observer.eof() is None


def test_a_partial_line_is_held_back():
    first = line(content="a")
    observer = Observer(REQUEST, limit=LIMIT)
    assert observer.feed(first + b'{"mod') == first
    told = observer.eof()
    assert told.kind == "truncated"


@pytest.mark.parametrize(
    "garbage", [b'{"model":garbage\n', b'{"model":"m","mess\n', b"{garbage}\n"]
)
@pytest.mark.parametrize("before", [b"", line(content="a")])
def test_a_line_that_cannot_be_read_does_not_pass_nor_what_follows_it(before, garbage):
    passed, observer = observed(before + garbage + line(content="b") + line(done=True))
    assert passed == before
    assert (observer.failure.kind, observer.told, observer.ended) == ("upstream", False, False)


def test_content_is_seen_with_the_first_text_thought_or_call():
    for members in ({"content": "a"}, {"thinking": "a"}, {"tool_calls": [call()]}):
        _, observer = observed(line(), line(**members))
        assert observer.content
    _, observer = observed(line(), line())
    assert not observer.content


def test_a_done_inside_of_arguments_is_no_end():
    inner = line(tool_calls=[call(arguments={"done": True, "error": "x"})])
    passed, observer = observed(line(content="a"), inner)
    assert passed.endswith(inner)
    assert observer.eof().kind == "truncated"
    assert observer.failure is None


def test_spaces_after_colons_do_not_hide_the_end():
    body = b'{ "model" : "m", "message" : {"content": "a"}, "done" : true , "eval_count" : 3 }\n'
    passed, observer = observed(line(content="x"), body)
    assert passed.endswith(body)
    assert observer.usage == Usage(None, 3)
    assert observer.eof() is None


def test_an_end_that_lacks_its_line_end_is_passed_with_one():
    passed, observer = observed(line(content="a"), END.rstrip())
    assert passed == line(content="a") + END
    assert observer.eof() is None
    assert observer.feed(b"\n") == b""


def test_blank_lines_do_not_pass():
    passed, _ = observed(b"\n" + line(content="a") + b"\r\n\n" + END)
    assert passed == line(content="a") + END


@pytest.mark.parametrize("garbage", [b"<html>\n", b"[1]\n", b'"error"\n', b'{"error": \n'])
def test_garbage_does_not_pass_and_the_client_is_to_be_told(garbage):
    for before in (b"", line(content="a")):
        passed, observer = observed(before, garbage, line(content="b"))
        assert passed == before
        assert observer.eof().kind == "upstream"
        assert observer.failure is not None
        assert not observer.told


def test_an_endless_line_is_refused_in_passing_too():
    with pytest.raises(TooLong):
        observed(b"x" * 400, limit=300)


def test_the_client_reads_the_name_that_it_asked_for():
    body = line(content='{"model":"m"}') + END
    passed, _ = observed(body, model="my/alias\u00fc")
    lines = [json.loads(each) for each in passed.splitlines()]
    assert [each["model"] for each in lines] == ["my/alias\u00fc"] * 2
    assert passed == body.replace(b'{"model": "m"', b'{"model": "my/alias\\u00fc"')


@given(st.lists(st.binary(max_size=40), max_size=4))
def test_any_bytes_are_watched_without_harm(pieces):
    with suppress(TooLong):
        passed, observer = observed(*pieces, limit=64)
        assert isinstance(observer.eof(), Failure) or b"done" in passed
