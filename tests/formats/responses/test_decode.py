"""formats/responses/decode.py"""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from formats.canonical import (
    CitationSeen,
    Failed,
    Finished,
    OpaquePart,
    PartEnded,
    RefusalDelta,
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
from formats.errors import Failure
from formats.fold import fold
from formats.responses import decoder
from formats.token import write_token
from tests.formats.responses.wires import (
    BIG,
    CREATED,
    OURS,
    STREAMS,
    completed,
    damaged,
    decoded,
    event,
    golden,
    message,
    text_delta,
)

START = Started("resp_1", "m", 5)
END = Finished("end_turn", "completed")


def added(item, index=0):
    return event("response.output_item.added", output_index=index, item=item)


def done(item, index=0):
    return event("response.output_item.done", output_index=index, item=item)


def call(kind="function_call", arguments="", **more):
    name = "input" if kind == "custom_tool_call" else "arguments"
    return {"type": kind, "id": "fc_1", "call_id": "c", "name": "f", name: arguments, **more}


def fed(data, step):
    reader = decoder(limit=BIG)
    events = []
    for start in range(0, len(data), step):
        events += reader.feed(data[start : start + step])
    return events + reader.eof()


# --- the golden transcripts ---


@pytest.mark.parametrize("entry", [e for e in OURS if e["stream"]], ids=lambda e: e["kind"])
def test_a_golden_stream_means_what_its_index_says(entry):
    wanted = entry["canonical"]
    answer = fold(decoded(golden(entry["file"])))
    if wanted["error"]:
        assert isinstance(answer, Failure)
        for name in ("message", "type", "code"):
            assert getattr(answer, name) == wanted["error"][name]
        return
    assert answer.text == wanted["text"]
    thoughts = [part for part in answer.parts if isinstance(part, Thought)]
    assert "".join(part.text for part in thoughts) == wanted["reasoning"]
    sealed = [each["encrypted_content"] for each in wanted.get("reasoning_opaque", [])]
    assert [part.signature for part in thoughts] == sealed
    calls = [part for part in answer.parts if isinstance(part, ToolUse)]
    assert [(p.id, p.name, p.kind) for p in calls] == [
        (each["id"], each["name"], each["kind"]) for each in wanted["tool_calls"]
    ]
    for part, each in zip(calls, wanted["tool_calls"], strict=True):
        assert part.input == each.get("arguments")
        assert part.arguments == each.get("arguments_raw", each.get("input_text", part.arguments))
    assert (answer.stop, answer.stop_native) == (wanted["stop"], wanted["stop_native"])
    usage = wanted["usage"]
    assert answer.usage == Usage(
        usage["input_total"],
        usage["output_total"],
        usage["cache_read"],
        usage["cache_write"],
        usage["reasoning"],
    )


@pytest.mark.parametrize("name", STREAMS)
def test_a_golden_stream_in_single_bytes_is_the_same(name):
    data = golden(name)
    assert fed(data, 1) == decoded(data)


@pytest.mark.slow
@pytest.mark.parametrize("name", STREAMS)
def test_a_golden_stream_in_any_two_pieces_is_the_same(name):
    data = golden(name)
    whole = decoded(data)
    for cut in range(1, len(data)):
        reader = decoder(limit=BIG)
        assert reader.feed(data[:cut]) + reader.feed(data[cut:]) + reader.eof() == whole


@pytest.mark.parametrize("name", STREAMS)
def test_a_golden_stream_with_other_line_ends_or_without_names_is_the_same(name):
    data = golden(name)
    assert decoded(data.replace(b"\n", b"\r\n")) == decoded(data)
    nameless = b"\n".join(line for line in data.split(b"\n") if not line.startswith(b"event:"))
    assert decoded(nameless) == decoded(data)


@pytest.mark.parametrize("name", STREAMS)
def test_a_golden_stream_that_is_cut_is_no_answer(name):
    data = golden(name)
    last = data.rindex(b"event: response.")
    for cut in (0, 100, last // 2, last):
        events = decoded(data[:cut])
        assert isinstance(events[-1], Failed)
        assert "error-mid" in name or events[-1].failure.kind == "truncated"


# --- what servers leave out ---


def test_text_without_anything_that_announces_it():
    assert decoded(text_delta("a"), text_delta("b"), completed()) == [
        Started("", ""),
        TextDelta(0, "a"),
        TextDelta(0, "b"),
        PartEnded(0),
        END,
    ]


@pytest.mark.parametrize("last", [True, False])
def test_an_item_that_comes_whole(last):
    whole = message("hello")
    data = completed(whole) if last else done(whole) + completed()
    assert decoded(CREATED, data) == [START, TextDelta(0, "hello"), PartEnded(0), END]


def test_what_deltas_left_out_is_in_the_end_of_the_text_or_the_item():
    where = {"output_index": 0, "content_index": 0}
    data = CREATED + text_delta("he")
    rest = [START, TextDelta(0, "he"), TextDelta(0, "llo"), PartEnded(0), END]
    ended = event("response.output_text.done", text="hello", **where)
    assert decoded(data, ended, completed()) == rest
    part = {"type": "output_text", "text": "hello"}
    ended = event("response.content_part.done", part=part, **where)
    assert decoded(data, ended, completed()) == rest
    assert decoded(data, done(message("hello")), completed()) == rest
    assert decoded(data, completed(message("hello"))) == rest


def test_ids_that_change_with_every_event_do_not_matter():
    events = [
        added({"type": "message", "id": "a1", "content": []}),
        event(
            "response.output_text.delta", item_id="a2", output_index=0, content_index=0, delta="x"
        ),
        done(message("x", id="a3")),
        completed(message("x", id="a4"), id="other"),
    ]
    assert decoded(CREATED, *events) == [START, TextDelta(0, "x"), PartEnded(0), END]


def test_an_index_that_is_used_twice_is_two_items():
    data = done(message("a")) + added(call()) + done(call(arguments="{}"))
    assert decoded(CREATED, data, completed(message("a"), call(arguments="{}"))) == [
        START,
        TextDelta(0, "a"),
        PartEnded(0),
        ToolStarted(1, "c", "f"),
        ToolDelta(1, "{}"),
        PartEnded(1),
        Finished("tool_use", "completed"),
    ]


def test_another_formats_end_mark_and_unknown_events_are_passed_over():
    odd = event("response.web_search_call.searching", output_index=0) + b"data: [DONE]\n\n"
    assert decoded(CREATED, odd, b"data: [1]\n\n", completed()) == [START, END]


def test_after_the_end_nothing_follows():
    reader = decoder(limit=BIG)
    reader.feed(CREATED + completed())
    assert reader.feed(text_delta("x")) == reader.eof() == []


# --- calls ---


def test_calls_may_interleave():
    one, two = call(call_id="a"), call(call_id="b", name="g")

    def delta(index, text):
        return event("response.function_call_arguments.delta", output_index=index, delta=text)

    data = [added(one, 0), added(two, 1), delta(1, '{"b"'), delta(0, "{}"), delta(1, ":1}")]
    answer = fold(decoded(CREATED, *data, completed()))
    assert [(part.id, part.arguments) for part in answer.parts] == [("a", "{}"), ("b", '{"b":1}')]
    assert answer.stop == "tool_use"


@pytest.mark.parametrize("kind", ["function_call", "custom_tool_call"])
def test_a_call_that_comes_whole(kind):
    events = decoded(CREATED, done(call(kind, "{}")), completed())
    assert events[1] == ToolStarted(0, "c", "f", "custom" if kind[0] == "c" else "function")
    assert events[2:4] == [ToolDelta(0, "{}"), PartEnded(0)]


def test_a_call_in_a_namespace_has_its_flat_name():
    item = call(name="spawn", namespace="agents", arguments="{}")
    started = decoded(CREATED, done(item), completed())[1]
    assert started == ToolStarted(0, "c", "agents__spawn", extra={"namespace": "agents"})


def test_arguments_that_only_the_last_event_has():
    ended = event("response.function_call_arguments.done", output_index=0, arguments='{"a":1}')
    answer = fold(decoded(CREATED, added(call()), ended, completed()))
    assert answer.parts == (ToolUse("c", "f", '{"a":1}', {"a": 1}),)


def test_a_call_that_was_cut_by_the_limit_is_no_reason():
    data = added(call()) + completed(
        status="incomplete", incomplete_details={"reason": "max_output_tokens"}
    )
    assert decoded(CREATED, data)[-1] == Finished("max_tokens", "incomplete:max_output_tokens")


# --- reasoning ---


def reasoning(**more):
    return {"type": "reasoning", "id": "rs_1", "summary": [], **more}


def summary(text, index=0):
    name = "response.reasoning_summary_text.delta"
    return event(name, output_index=0, summary_index=index, delta=text)


def test_pieces_of_a_summary_are_set_apart():
    data = [added(reasoning()), summary("a"), summary("b"), summary("c", 1), done(reasoning())]
    assert decoded(CREATED, *data, completed())[1:-1] == [
        ThoughtDelta(0, ""),
        ThoughtDelta(0, "a"),
        ThoughtDelta(0, "b"),
        ThoughtDelta(0, "\n\n"),
        ThoughtDelta(0, "c"),
        PartEnded(0),
    ]


def test_of_words_and_their_summary_only_what_came_first_is_shown():
    own = event("response.reasoning_text.delta", output_index=0, content_index=0, delta="own")
    answer = fold(decoded(CREATED, added(reasoning()), own, summary("sum"), completed()))
    assert answer.parts == (Thought("own"),)


def test_reasoning_that_comes_whole():
    pieces = [{"type": "summary_text", "text": "a"}, {"type": "summary_text", "text": "b"}]
    item = reasoning(summary=pieces, encrypted_content="gAAA")
    answer = fold(decoded(CREATED, done(item), completed()))
    assert answer.parts == (Thought("a\n\nb", signature="gAAA", origin="responses"),)


def test_a_token_of_a_router_behind_is_what_it_holds():
    item = reasoning(encrypted_content=write_token("anthropic", "hm", "c2ln"))
    answer = fold(decoded(CREATED, done(item), completed()))
    assert answer.parts == (Thought("hm", signature="c2ln", origin="anthropic"),)
    events = decoded(CREATED, done(item), completed())
    assert ThoughtSigned(0, "c2ln", None, "anthropic") in events


# --- refusals, citations, other items ---


def test_a_refusal():
    where = {"output_index": 0, "content_index": 0}
    data = [
        event("response.refusal.delta", delta="I can", **where),
        event("response.refusal.done", refusal="I cannot", **where),
    ]
    assert decoded(CREATED, *data, completed()) == [
        START,
        RefusalDelta(0, "I can"),
        RefusalDelta(0, "not"),
        PartEnded(0),
        Finished("refusal", "completed"),
    ]
    content = [{"type": "refusal", "refusal": "no"}]
    answer = fold(decoded(CREATED, done(message(content=content)), completed()))
    assert (answer.parts, answer.stop) == ((Text("no", refusal=True),), "refusal")


def test_citations_are_seen_once():
    note = {"type": "url_citation", "url": "https://x", "title": ""}
    where = {"output_index": 0, "content_index": 0}
    seen = event(
        "response.output_text.annotation.added", annotation=note, annotation_index=0, **where
    )
    part = {"type": "output_text", "text": "a", "annotations": [note, {"type": "file_path"}]}
    ended = done(message(content=[part]))
    events = decoded(CREATED, text_delta("a"), seen, ended, completed())
    cited = [each for each in events if isinstance(each, CitationSeen)]
    assert cited == [CitationSeen(0, note), CitationSeen(0, {"type": "file_path"})]


def test_an_item_that_only_this_format_knows():
    item = {"type": "web_search_call", "id": "ws_1", "status": "completed"}
    data = added({**item, "status": "in_progress"}) + done(item) + done(message("a"), 1)
    assert decoded(CREATED, data, completed()) == [
        START,
        OpaquePart(0, "responses", "web_search_call", item),
        PartEnded(0),
        TextDelta(1, "a"),
        PartEnded(1),
        END,
    ]


# --- what goes wrong ---


def failure(*data):
    last = decoded(*data)[-1]
    assert isinstance(last, Failed)
    return last.failure


def test_errors_in_any_shape():
    nested = event("error", error={"code": "rate_limit_exceeded", "message": "slow"})
    flat = event("error", code="rate_limit_exceeded", message="slow")
    whole = {"status": "failed", "error": {"code": "rate_limit_exceeded", "message": "slow"}}
    for data in (nested, flat, event("response.failed", response=whole)):
        assert failure(CREATED, data).kind == "rate_limit"
        assert failure(CREATED, data).message == "slow"
    assert failure(CREATED, b'data: {"error":{"message":"slow"}}\n\n').message == "slow"


def test_an_error_ends_the_stream():
    events = decoded(CREATED, event("error", message="x"), completed(message("late")))
    assert [type(each) for each in events] == [Started, Failed]


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "ended before it began"),
        (b"<html>busy</html>", "no stream"),
        (b"data: {oops\n\n", "not JSON"),
        (b'data: {"choices":[]}\n\n', "no event of Responses"),
        (b"data: \xff\n\n", "cannot be read"),
        (b'{"error":{"message":"no such model"}}', "no such model"),
    ],
)
def test_what_is_no_stream_says_so(data, words):
    assert words in failure(data).message


def test_a_whole_answer_instead_of_a_stream():
    body = json.dumps({"id": "resp_1", "status": "completed", "output": [message("hi")]}).encode()
    assert fold(fed(body, 7)).text == "hi"


def test_no_event_is_kept_without_a_bound():
    reader = decoder(limit=100)
    events = reader.feed(b"data: " + b"x" * 200)
    assert isinstance(events[-1], Failed)
    reader = decoder(limit=100)
    reader.feed(b"{")
    assert isinstance(reader.feed(b" " * 200)[-1], Failed)


def test_figures_come_with_the_end():
    usage = {"input_tokens": 3, "output_tokens": 2}
    assert UsageSeen(Usage(3, 2)) in decoded(CREATED, completed(usage=usage))


def lawful(events):
    """Each part ends once, and nothing of it follows."""
    assert isinstance(events[-1], Finished | Failed)
    begun, ended = set(), set()
    for each in events:
        part = getattr(each, "part", None)
        if part is None:
            continue
        assert part not in ended
        (ended if isinstance(each, PartEnded) else begun).add(part)
    assert ended <= begun == set(range(len(begun)))
    assert ended == begun or isinstance(events[-1], Failed)


@pytest.mark.slow
@given(st.sampled_from(STREAMS), st.randoms(use_true_random=False))
@settings(max_examples=300)
def test_whatever_is_lost_or_damaged_the_events_are_lawful(name, random):
    lines = golden(name).decode().splitlines()
    events = [json.loads(line[6:]) for line in lines if line.startswith("data: ")]
    for _ in range(random.randint(1, 3)):
        at = random.randrange(len(events))
        events[at] = damaged(events[at], random)
    if random.random() < 0.5:
        random.shuffle(events)
    data = [b"data: " + json.dumps(each).encode() + b"\n\n" for each in events]
    lawful(decoded(*data))


def test_what_comes_after_the_end_of_its_text_or_item_is_passed_over():
    where = {"output_index": 0, "content_index": 0}
    part = {"type": "output_text", "text": "a"}
    ended = event("response.content_part.done", part=part, **where)
    late = text_delta("x") + event("response.output_text.done", text="a and more", **where)
    whole = [START, TextDelta(0, "a"), PartEnded(0), END]
    assert decoded(CREATED, ended, text_delta("x"), completed()) == whole
    assert decoded(CREATED, done(message("a")), late, completed()) == whole
