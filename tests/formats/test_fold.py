"""Streams and whole answers are two forms of one thing."""

import pytest
from hypothesis import given

from formats.canonical import (
    CitationSeen,
    Failed,
    Finished,
    Image,
    Opaque,
    OpaquePart,
    PartEnded,
    RefusalDelta,
    Response,
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
from formats.errors import Failure, TooLong
from formats.fold import Folder, derived_stop, fold, parsed_arguments, unfold
from tests import strategies

START = Started("id", "m", 7)


def folded(*events):
    return fold([START, *events, Finished("end_turn", "stop")])


def test_deltas_of_a_part_join_and_parts_stand_in_order_of_appearance():
    answer = folded(
        TextDelta(1, "a"),
        ThoughtDelta(0, "x"),
        TextDelta(1, "b"),
        ThoughtDelta(0, "y"),
        PartEnded(0),
        PartEnded(1),
    )
    assert answer == Response("id", "m", (Text("ab"), Thought("xy")), "end_turn", "stop", created=7)


def test_interleaved_calls_come_apart():
    answer = folded(
        ToolStarted(0, "c1", "f"),
        ToolStarted(1, "c2", "g"),
        ToolDelta(1, '{"b"'),
        ToolDelta(0, '{"a":1}'),
        ToolDelta(1, ":2}"),
    )
    assert answer.parts == (
        ToolUse("c1", "f", '{"a":1}', {"a": 1}),
        ToolUse("c2", "g", '{"b":2}', {"b": 2}),
    )


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("", {}),
        (" \n", {}),
        ('{"a":1}', {"a": 1}),
        ("[1]", None),
        ('{"a":', None),
        ("1", None),
        ('{"a":NaN}', None),
        ("[" * 100_000, None),
    ],
)
def test_arguments_are_an_object_or_none(text, value):
    assert parsed_arguments(text) == value


def test_a_custom_tools_input_is_text_even_when_it_looks_like_an_object():
    answer = folded(ToolStarted(0, "c", "patch", "custom"), ToolDelta(0, "{}"))
    assert answer.parts == (ToolUse("c", "patch", "{}", None, "custom"),)


def test_signatures_redacted_blocks_refusals_and_citations_arrive():
    answer = folded(
        ThoughtDelta(0, "x"),
        ThoughtSigned(0, "sig", None, "anthropic"),
        ThoughtSigned(1, None, "data", "anthropic"),
        RefusalDelta(2, "no"),
        TextDelta(3, "t"),
        CitationSeen(3, {"n": 1}),
        OpaquePart(4, "anthropic", "server_tool_use", {"a": 1}),
    )
    assert answer.parts == (
        Thought("x", "sig", None, "anthropic"),
        Thought("", None, "data", "anthropic"),
        Text("no", refusal=True),
        Text("t", citations=({"n": 1},)),
        Opaque("anthropic", "server_tool_use", {"a": 1}),
    )


def test_hidden_reasoning_without_words_is_still_a_part():
    assert folded(ThoughtDelta(0, "")).parts == (Thought(""),)


def test_later_usage_replaces_only_what_it_names():
    answer = folded(UsageSeen(Usage(10, 1, 5)), UsageSeen(Usage(None, 7)))
    assert answer.usage == Usage(10, 7, 5)


def test_a_failed_stream_is_its_failure():
    failure = Failure("upstream", "it broke")
    assert fold([START, TextDelta(0, "a"), Failed(failure)]) is failure


def test_of_a_failed_stream_what_came_is_kept_but_a_cut_call_is_no_call():
    folder = Folder(limit=1000)
    for event in (
        START,
        TextDelta(0, "half a sent"),
        ToolStarted(1, "c1", "f"),
        PartEnded(1),
        ToolStarted(2, "c2", "g"),
        ToolDelta(2, '{"a":1}'),
        Failed(Failure("truncated", "cut")),
    ):
        folder.add(event)
    assert folder.failure
    assert folder.finished
    assert folder.response().parts == (Text("half a sent"), ToolUse("c1", "f", "", {}))


def test_a_stream_without_an_end_is_truncated():
    failure = fold([START, TextDelta(0, "a")])
    assert isinstance(failure, Failure)
    assert failure.kind == "truncated"


def test_the_limit_counts_bytes_of_all_text_kept():
    folder = Folder(limit=6)
    folder.add(TextDelta(0, "aü"))
    folder.add(ToolDelta(1, "世"))
    with pytest.raises(TooLong):
        folder.add(ThoughtDelta(2, "b"))


def test_a_lone_surrogate_is_counted_like_any_character():
    Folder(limit=3).add(TextDelta(0, "\ud800"))
    with pytest.raises(TooLong):
        Folder(limit=2).add(TextDelta(0, "\ud800"))


def test_a_response_unfolds_to_a_lawful_stream():
    answer = Response(
        "id", "m", (Text("a"), ToolUse("c", "f", "{}", {})), "tool_use", usage=Usage(1, 2)
    )
    assert unfold(answer) == [
        Started("id", "m"),
        TextDelta(0, "a"),
        PartEnded(0),
        ToolStarted(1, "c", "f"),
        ToolDelta(1, "{}"),
        PartEnded(1),
        UsageSeen(Usage(1, 2)),
        Finished("tool_use"),
    ]


def test_an_empty_text_takes_no_number():
    events = unfold(Response("", "", (Text(""), Text("a"))))
    assert TextDelta(0, "a") in events


def test_a_part_that_cannot_be_streamed_becomes_one_that_encoders_record():
    assert OpaquePart(0, "", "image") in unfold(Response("", "", (Image(data="x"),)))


@given(strategies.responses())
def test_unfolded_and_folded_again_it_is_the_same_answer(response):
    again = fold(unfold(response))
    kept = [p for p in response.parts if not isinstance(p, Text) or p.text or p.citations]
    assert isinstance(again, Response)
    assert [strip(part) for part in again.parts] == [strip(part) for part in kept]
    for name in ("id", "model", "stop", "stop_native", "stop_sequence", "usage", "created"):
        assert getattr(again, name) == getattr(response, name)


def strip(part):
    """What events say of a part: a call's cache mark belongs to requests."""
    return (
        (part.id, part.name, part.arguments, part.input, part.kind, part.extra)
        if isinstance(part, ToolUse)
        else part
    )


@given(strategies.event_streams())
def test_any_lawful_stream_folds_and_unfolds_to_the_same_answer(events):
    answer = fold(events)
    if isinstance(answer, Response):
        again = fold(unfold(answer))
        assert again == answer


def test_a_finished_call_beats_the_reason_on_the_wire_unless_the_answer_was_cut():
    assert derived_stop("end_turn", has_call=True) == "tool_use"
    assert derived_stop("stop_sequence", has_call=True) == "tool_use"
    assert derived_stop("max_tokens", has_call=True) == "max_tokens"
    assert derived_stop("end_turn", has_call=False) == "end_turn"
