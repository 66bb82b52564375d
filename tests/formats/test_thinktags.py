"""Reasoning between tags in the text becomes reasoning, wherever the pieces are cut."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from formats.canonical import (
    Finished,
    PartEnded,
    Response,
    Started,
    Text,
    TextDelta,
    Thought,
    ThoughtDelta,
    ToolDelta,
    ToolStarted,
    ToolUse,
)
from formats.fold import fold
from formats.thinktags import ThinkTags, split_response


class Fake:
    """A decoder whose bytes are indices of events."""

    def __init__(self, events: list) -> None:
        self.events = events

    def feed(self, data: bytes) -> list:
        return [self.events[i] for i in data]

    def eof(self) -> list:
        return []


def told(*events) -> list:
    whole = [Started("i", "m"), *events, Finished("end_turn")]
    tags = ThinkTags(Fake(whole))
    return [e for i in range(len(whole)) for e in tags.feed(bytes([i]))]


def said(*pieces: str) -> list:
    return told(*(TextDelta(0, piece) for piece in pieces), PartEnded(0))


CASES = [
    ("<think>\nhm\n</think>\n\nHello", [Thought("hm\n"), Text("Hello")]),
    ("<think>hm</think>", [Thought("hm")]),
    ("<think></think>Hello", [Text("Hello")]),
    ("  <think>hm</think>Hello", [Thought("hm"), Text("Hello")]),
    ("Hello", [Text("Hello")]),
    ("Hello <think>no</think>", [Text("Hello <think>no</think>")]),
    ("<think>cut off", [Thought("cut off")]),
    ("<thi", [Text("<thi")]),
    ("<b>Hello", [Text("<b>Hello")]),
    ("<think>a</thin</think>b", [Thought("a</thin"), Text("b")]),
    ("", []),
]


@pytest.mark.parametrize(("text", "parts"), CASES)
def test_whole_and_letter_by_letter(text: str, parts: list) -> None:
    for pieces in ([text], list(text)):
        response = fold(said(*pieces))
        assert isinstance(response, Response)
        assert list(response.parts) == parts


@given(
    st.lists(st.sampled_from(["<think>", "</think>", "<", "think>", "a", "\n", " "]), max_size=8)
)
def test_any_split_gives_the_same(pieces: list[str]) -> None:
    text = "".join(pieces)
    assert fold(said(*pieces)).parts == fold(said(text)).parts == fold(said(*text)).parts


def test_parts_that_come_after_keep_their_order_and_get_new_numbers() -> None:
    events = told(
        TextDelta(0, "<think>hm</think>Hi"),
        PartEnded(0),
        ToolStarted(1, "c", "f"),
        ToolDelta(1, "{}"),
        PartEnded(1),
    )
    assert [e for e in events if isinstance(e, ThoughtDelta | TextDelta | ToolStarted)] == [
        ThoughtDelta(0, "hm"),
        TextDelta(1, "Hi"),
        ToolStarted(2, "c", "f"),
    ]
    ends = [e.part for e in events if isinstance(e, PartEnded)]
    assert sorted(ends) == [0, 1, 2]


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("<think>\nhm\n</think>\n\nHello", [Thought("hm"), Text("Hello")]),
        ("hm\n</think>\n\nHello", [Thought("hm"), Text("Hello")]),
        ("Hello", [Text("Hello")]),
        ("<think>cut off", [Thought("cut off")]),
    ],
)
def test_a_whole_answer(text: str, parts: list) -> None:
    assert list(split_response(Response("i", "m", (Text(text),))).parts) == parts


def test_other_parts_of_a_whole_answer_stay() -> None:
    call = ToolUse("c", "f", "{}", {})
    answer = Response("i", "m", (Text("<think>a</think>b"), call))
    assert split_response(answer).parts == (Thought("a"), Text("b"), call)
