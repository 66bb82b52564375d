"""Raw events and lines, byte for byte."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from formats.errors import TooLong
from formats.framing import LineFramer, SSEFramer
from formats.sse import SSEDecoder

BIG = 1 << 20


def framed(framer, *pieces):
    return [frame for piece in pieces for frame in framer.feed(piece)]


def one_by_one(stream):
    return [stream[i : i + 1] for i in range(len(stream))]


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
def test_events_keep_their_bytes_and_their_blank_line(end):
    events = [
        b"event: a" + end + b"data: 1" + end + end,
        b": c" + end + end,
        b"data: 2" + end + end,
    ]
    framer = SSEFramer(limit=BIG)
    assert framed(framer, b"".join(events)) == events
    assert framer.rest() == b""
    framer = SSEFramer(limit=BIG)
    assert framed(framer, *one_by_one(b"".join(events))) == events


def test_a_partial_event_is_held_back():
    framer = SSEFramer(limit=BIG)
    assert framer.feed(b"data: 1\n\ndata: 2\n") == [b"data: 1\n\n"]
    assert framer.rest() == b"data: 2\n"
    assert framer.feed(b"\n") == [b"data: 2\n\n"]


def test_a_crlf_cut_in_two_stays_in_one_piece():
    framer = SSEFramer(limit=BIG)
    assert framer.feed(b"data: 1\r\n\r") == []
    assert framer.feed(b"\ndata: 2") == [b"data: 1\r\n\r\n"]


def test_one_cr_and_its_lf_are_one_line_end():
    framer = SSEFramer(limit=BIG)
    assert framer.feed(b"event: a\r\ndata: 1\r\n") == []


def test_mixed_line_ends_are_found():
    framer = SSEFramer(limit=BIG)
    assert framed(framer, b"data: 1\r\n\ndata: 2\n\r\nx\n\n") == [
        b"data: 1\r\n\n",
        b"data: 2\n\r\n",
        b"x\n\n",
    ]


def test_lines_keep_their_bytes():
    framer = LineFramer(limit=BIG)
    assert framer.feed(b"1\r\n2\n\n3") == [b"1\r\n", b"2\n", b"\n"]
    assert framer.rest() == b"3"
    assert framer.feed(b"\n") == [b"3\n"]


@pytest.mark.parametrize(("kind", "piece"), [(SSEFramer, b"12345\n\n"), (LineFramer, b"12345\n")])
def test_a_piece_as_long_as_the_limit_passes_and_one_byte_more_does_not(kind, piece):
    for pieces in ([piece], one_by_one(piece), [piece + piece]):
        assert framed(kind(limit=len(piece)), *pieces)[0] == piece
        with pytest.raises(TooLong):
            framed(kind(limit=len(piece) - 1), *pieces, b"")


@pytest.mark.parametrize("kind", [SSEFramer, LineFramer])
def test_the_pieces_before_a_too_long_one_are_given_out_first(kind):
    framer = kind(limit=5)
    assert framer.feed(b"1\n\n" + b"x" * 6)[0].startswith(b"1\n")
    with pytest.raises(TooLong):
        framer.feed(b"\n\n")


def test_an_endless_event_is_refused_with_any_line_end():
    for piece in (b"data: x\n", b"data: x\r\n", b"x"):
        framer = SSEFramer(limit=100)
        with pytest.raises(TooLong):
            framed(framer, *[piece] * 200)


_STREAM = st.lists(st.sampled_from([b"data: 1", b"x", b"\n", b"\r", b"\r\n", b"\n\n", b"\r\n\r\n"]))


@given(_STREAM)
def test_nothing_is_lost_or_changed_in_any_split(pieces):
    stream = b"".join(pieces)
    for kind in (SSEFramer, LineFramer):
        for split in (pieces, [stream], one_by_one(stream)):
            framer = kind(limit=BIG)
            assert b"".join(framed(framer, *split)) + framer.rest() == stream


@given(_STREAM)
def test_what_the_framer_lets_through_holds_the_same_events_as_the_whole(pieces):
    """Whole events only: whatever is given out decodes without looking at what comes after."""
    stream = b"".join(pieces)
    alone = []
    for frame in framed(SSEFramer(limit=BIG), *pieces):
        alone += SSEDecoder(limit=BIG).feed(frame)
    assert alone == SSEDecoder(limit=BIG).feed(stream)[: len(alone)]
    held = len(SSEDecoder(limit=BIG).feed(stream)) - len(alone)
    assert held == 0 or stream.endswith(b"\r\n\r")
