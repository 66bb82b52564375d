"""Stop sequences that the router itself looks out for."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from formats.canonical import (
    Finished,
    PartEnded,
    Request,
    Response,
    Sampling,
    Started,
    Target,
    Text,
    TextDelta,
    ThoughtDelta,
    ToolDelta,
    ToolStarted,
    ToolUse,
    Usage,
)
from formats.stops import Cutter, CuttingDecoder, cut_response, untold

VENDOR = Target("gpt-4o", vendor=True)


def asking(*stop, origin="anthropic"):
    return Request(origin, "m", sampling=Sampling(stop=stop))


@pytest.mark.parametrize(
    ("request_", "to", "target", "expected"),
    [
        (asking(), "responses", VENDOR, ()),
        (asking("a", "b"), "responses", Target("m"), ("a", "b")),
        (asking("a", "b"), "ollama", Target("m"), ()),
        (asking("a", "b"), "anthropic", Target("m"), ()),
        (asking(*"abcdef"), "openai", Target("m"), ()),
        (asking(*"abcdef"), "openai", VENDOR, ("e", "f")),
        (asking("a"), "openai", Target("gpt-5.2", vendor=True), ("a",)),
        (asking("a", origin="openai"), "openai", Target("gpt-5.2", vendor=True), ()),
    ],
)
def test_who_is_not_told(request_, to, target, expected):
    assert untold(request_, to, target) == expected


def shown(cutter, events):
    return [out for event in events for out in cutter.feed(event)]


def text_of(events):
    return "".join(event.text for event in events if isinstance(event, TextDelta))


def test_an_answer_ends_before_the_sequence():
    cutter = Cutter(("END",))
    out = shown(cutter, [Started("i", "m"), TextDelta(0, "one EN"), TextDelta(0, "D two")])
    assert out == [
        Started("i", "m"),
        TextDelta(0, "one "),
        PartEnded(0),
        Finished("stop_sequence", sequence="END"),
    ]
    assert cutter.found == "END"
    assert cutter.feed(TextDelta(0, "three")) == []


def test_what_only_began_like_a_sequence_is_shown():
    cutter = Cutter(("END",))
    events = [TextDelta(0, "the E"), TextDelta(0, "Nd"), PartEnded(0), Finished("end_turn")]
    assert shown(cutter, events) == [
        TextDelta(0, "the "),
        TextDelta(0, "ENd"),
        PartEnded(0),
        Finished("end_turn"),
    ]


def test_the_earliest_sequence_counts_whatever_order_they_are_named_in():
    cutter = Cutter(("two", "one"))
    assert text_of(shown(cutter, [TextDelta(0, "a one two")])) == "a "
    assert cutter.found == "one"


def test_thoughts_and_arguments_are_not_looked_at():
    cutter = Cutter(("x",))
    events = [
        ThoughtDelta(0, "x"),
        PartEnded(0),
        ToolStarted(1, "c", "f"),
        ToolDelta(1, "x"),
        PartEnded(1),
        Finished("tool_use"),
    ]
    assert shown(cutter, events) == events


def test_parts_that_are_still_open_are_ended():
    cutter = Cutter(("!",))
    events = [ToolStarted(0, "c", "f"), ToolDelta(0, "{}"), TextDelta(1, "a!")]
    assert shown(cutter, events)[2:] == [
        TextDelta(1, "a"),
        PartEnded(0),
        PartEnded(1),
        Finished("stop_sequence", sequence="!"),
    ]


def test_a_sequence_never_spans_two_parts():
    cutter = Cutter(("ab",))
    events = [TextDelta(0, "a"), PartEnded(0), TextDelta(1, "b"), PartEnded(1)]
    assert text_of(shown(cutter, events)) == "ab"
    assert cutter.found is None


@given(
    st.text("abc", max_size=30),
    st.lists(st.text("abc", min_size=1, max_size=4), min_size=1, max_size=3),
    st.lists(st.integers(1, 5)),
)
def test_every_split_shows_the_same(text, stops, sizes):
    pieces, at = [], 0
    for size in [*sizes, len(text) + 1]:
        pieces.append(text[at : at + size])
        at += size
    cutter = Cutter(tuple(stops))
    out = shown(cutter, [TextDelta(0, each) for each in pieces if each] + [PartEnded(0)])
    places = [text.find(stop) for stop in stops if stop in text]
    assert text_of(out) == (text[: min(places)] if places else text)
    assert (cutter.found is not None) == bool(places)
    assert cutter.found is None or text.startswith(cutter.found, min(places))


@given(st.text("ab", min_size=1, max_size=12), st.text("ab", min_size=1, max_size=5))
def test_no_more_is_held_back_than_may_still_become_a_sequence(text, stop):
    cutter = Cutter((stop,))
    held = len(text) - len(text_of(cutter.feed(TextDelta(0, text))))
    if cutter.found is None:
        assert held < len(stop)
        assert held == 0 or stop.startswith(text[-held:])


class Saying:
    """A decoder for which every byte is a piece of text."""

    def feed(self, data):
        return [TextDelta(0, each) for each in data.decode()]

    def eof(self):
        return [PartEnded(0), Finished("end_turn")]


def test_a_decoder_says_when_it_was_cut():
    decoder = CuttingDecoder(Saying(), ("c",))
    assert text_of(decoder.feed(b"ab")) == "ab"
    assert not decoder.cut
    assert decoder.feed(b"cd")[-1] == Finished("stop_sequence", sequence="c")
    assert decoder.cut
    assert decoder.eof() == []


def test_a_decoder_that_meets_no_sequence_ends_as_it_would():
    decoder = CuttingDecoder(Saying(), ("xy",))
    assert text_of(decoder.feed(b"ax")) == "a"
    assert decoder.eof() == [TextDelta(0, "x"), PartEnded(0), Finished("end_turn")]
    assert not decoder.cut


def test_a_whole_answer_is_cut_with_all_that_follows():
    call = ToolUse("c", "f", "{}", {})
    usage = Usage(3, 4)
    response = Response("i", "m", (Text("a END b"), call), "tool_use", usage=usage, created=5)
    cut = cut_response(response, ("END",))
    assert cut.parts == (Text("a "),)
    assert (cut.stop, cut.stop_sequence) == ("stop_sequence", "END")
    assert (cut.id, cut.model, cut.usage, cut.created) == ("i", "m", usage, 5)
    assert cut_response(response, ("x",)) is response
