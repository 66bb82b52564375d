"""Server-sent events in any split; the bounds; the odd ends of real streams."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from formats.errors import FormatError, Garbled, TooLong
from formats.sse import ServerSentEvent, SSEDecoder, write_sse

BIG = 1 << 20


def decoded(*pieces, limit=BIG):
    decoder = SSEDecoder(limit=limit)
    events = [event for piece in pieces for event in decoder.feed(piece)]
    return events + decoder.eof()


def data_of(*pieces):
    return [event.data for event in decoded(*pieces)]


def one_by_one(stream):
    return [stream[i : i + 1] for i in range(len(stream))]


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
def test_each_kind_of_line_end_ends_lines_and_events(end):
    stream = b"event: a" + end + b"data: 1" + end + end + b"data: 2" + end + end
    expected = [("a", "1"), ("", "2")]
    assert decoded(stream) == expected
    assert decoded(*one_by_one(stream)) == expected


def test_line_ends_may_be_mixed():
    assert data_of(b"data: 1\r\n\ndata: 2\n\r\ndata: 3\r\n\rdata: 4\r\r") == ["1", "2", "3", "4"]


def test_a_cr_at_the_end_of_a_read_ends_the_event_at_once():
    decoder = SSEDecoder(limit=BIG)
    assert decoder.feed(b"data: 1\r\n\r") == [("", "1")]
    assert decoder.feed(b"\ndata: 2\r\n\r\n") == [("", "2")]


def test_the_lf_after_a_cr_may_come_much_later_and_is_no_second_line_end():
    assert decoded(b"data: 1\r", b"", b"\n", b"data: 2\n\n") == [("", "1\n2")]


@pytest.mark.parametrize("cut", range(4))
def test_a_byte_order_mark_is_skipped_wherever_it_is_cut(cut):
    stream = b"\xef\xbb\xbfdata: 1\n\n"
    assert data_of(stream[:cut], stream[cut:]) == ["1"]


def test_only_one_mark_and_only_at_the_beginning_is_skipped():
    assert data_of("data: \ufeff1\n\n".encode()) == ["\ufeff1"]


def test_comments_id_and_retry_are_read_over():
    stream = b": hello\n\nid: 7\nretry: 10\n: x\ndata: 1\n\n:\n\nid\n\n"
    assert data_of(stream) == ["1"]


def test_data_lines_of_one_event_join_with_a_line_feed():
    assert data_of(b"data: a\ndata\ndata:  b\ndata:c\n\n") == ["a\n\n b\nc"]


def test_one_space_after_the_colon_is_optional():
    assert decoded(b"event:e\ndata:1\n\n") == [("e", "1")]
    assert decoded(b"event: e\ndata:  1\n\n") == [("e", " 1")]


def test_the_name_may_stand_behind_the_data():
    assert decoded(b"data: 1\nevent: late\n\n") == [("late", "1")]


def test_an_event_without_data_is_none_and_its_name_does_not_stick():
    assert decoded(b"event: ping\n\ndata:\n\ndata: 1\n\n") == [("", "1")]


def test_more_blank_lines_than_one_are_harmless():
    assert data_of(b"\n\n\ndata: 1\n\n\n\n\ndata: 2\n\n\n") == ["1", "2"]


@pytest.mark.parametrize("odd", ["\u2028", "\u2029", "\x85", "\x0b", "\x0c", "\x1c"])
def test_what_unicode_calls_a_line_end_stays_in_the_data(odd):
    stream = f"data: a{odd}b\n\n".encode()
    assert data_of(stream) == [f"a{odd}b"]
    assert data_of(*one_by_one(stream)) == [f"a{odd}b"]


def test_a_character_cut_in_the_middle_is_whole_again():
    stream = "data: Grüße, 世界 🌍\n\n".encode()
    for cut in range(len(stream)):
        assert data_of(stream[:cut], stream[cut:]) == ["Grüße, 世界 🌍"]


def test_bytes_that_are_not_utf8_are_garbled_after_the_events_before_them():
    decoder = SSEDecoder(limit=BIG)
    assert decoder.feed(b"data: 1\n\ndata: \xff\n\ndata: 3\n\n") == [("", "1")]
    with pytest.raises(Garbled):
        decoder.feed(b"data: 4\n\n")
    with pytest.raises(Garbled):
        decoder.eof()


def test_bytes_that_are_not_utf8_in_a_comment_harm_nobody():
    assert data_of(b": \xff\n\ndata: 1\n\n") == ["1"]


def test_an_event_as_long_as_the_limit_passes_and_one_byte_more_does_not():
    event = b"data: 12345\n\n"
    for pieces in ([event], one_by_one(event), [event + event]):
        assert decoded(*pieces, limit=len(event))[0].data == "12345"
        with pytest.raises(TooLong):
            decoded(*pieces, limit=len(event) - 1)


def test_an_event_that_never_ends_is_refused_and_not_kept():
    decoder = SSEDecoder(limit=1000)
    with pytest.raises(TooLong):
        for _ in range(1000):
            decoder.feed(b"data: more\n")
    with pytest.raises(TooLong):
        decoder.feed(b"\n\n")


def test_the_events_before_a_too_long_one_are_given_out_first():
    decoder = SSEDecoder(limit=20)
    assert decoder.feed(b"data: 1\n\ndata: " + b"x" * 20 + b"\n\n") == [("", "1")]
    with pytest.raises(TooLong):
        decoder.feed(b"")
    decoder = SSEDecoder(limit=20)
    assert decoder.feed(b"data: 1\n\ndata: " + b"x" * 20) == [("", "1")]
    with pytest.raises(TooLong):
        decoder.eof()


def test_many_events_in_one_read_may_be_longer_together_than_the_limit():
    assert data_of(b"data: 1\n\n" * 50) == decoded_data(b"data: 1\n\n" * 50, limit=9)


def decoded_data(stream, limit):
    return [event.data for event in decoded(stream, limit=limit)]


def test_a_last_event_that_lacks_only_its_blank_line_counts():
    assert decoded(b'event: e\ndata: {"a":1}\n') == [("e", '{"a":1}')]
    assert decoded(b'data: {"a":1}\r') == [("", '{"a":1}')]


@pytest.mark.parametrize("data", ['{"a":{"b":1}}', "[DONE]", "[]"])
def test_a_last_line_without_its_end_counts_when_its_data_is_whole(data):
    assert data_of(f"data: {data}".encode()) == [data]


@pytest.mark.parametrize("cut", ['{"a":{"b":1}', "[DO", '{"a":"\\', '{"a":"Gr\xc3'])
def test_a_last_line_that_was_cut_is_no_event(cut):
    assert data_of(b"data: 1\n\ndata: " + cut.encode("latin-1")) == ["1"]


def test_what_is_no_field_is_kept_aside_for_the_error_message():
    decoder = SSEDecoder(limit=BIG)
    decoder.feed(b"<!DOCTYPE html>\n\n<html>\n<body>Bad gateway</body>")
    assert decoder.eof() == []
    assert decoder.stray == b"<!DOCTYPE html>\n<html>\n<body>Bad gateway</body>\n"


def test_of_what_is_no_field_only_a_little_is_kept():
    decoder = SSEDecoder(limit=BIG)
    decoder.feed((b"x" * 1000 + b"\n\n") * 100)
    assert len(decoder.stray) == 2048


def test_a_bare_json_error_is_no_event_but_is_seen():
    decoder = SSEDecoder(limit=BIG)
    assert decoder.feed(b'{"error":{"message":"no"}}') + decoder.eof() == []
    assert json.loads(decoder.stray) == {"error": {"message": "no"}}


def test_one_byte_reads_of_a_long_event_cost_as_much_as_they_are_long():
    """Work is counted, not timed: how much of the buffer each search looks at."""
    decoder = SSEDecoder(limit=BIG)
    decoder.feed(b"data: ")
    for _ in range(100):
        decoder.feed(b"x")
        assert len(decoder._buffer) - decoder._searched == 1


def test_an_event_written_is_read_back():
    assert write_sse(b'{"a":1}') == b'data: {"a":1}\n\n'
    assert write_sse(b"{}", "message_stop") == b"event: message_stop\ndata: {}\n\n"
    assert decoded(write_sse(b"{}", "ping")) == [ServerSentEvent("ping", "{}")]


_LINES = st.sampled_from(
    [
        b"data: 1",
        b"data:",
        b"data: \xc3\xbc",
        b"event: e",
        b": c",
        b"id: 1",
        b"",
        b"x",
        b"data: \xff",
    ]
)
_STREAMS = st.builds(
    b"".join,
    st.lists(st.tuples(_LINES, st.sampled_from([b"\n", b"\r\n", b"\r", b"\n\n"])).map(b"".join)),
)


def split_at(stream, cuts):
    places = sorted(cut % (len(stream) + 1) for cut in cuts)
    return [stream[a:b] for a, b in zip([0, *places], [*places, len(stream)], strict=True)]


def outcome(pieces, limit):
    """Events, then how it ended."""
    decoder, events = SSEDecoder(limit=limit), []
    try:
        for piece in pieces:
            events += decoder.feed(piece)
        events += decoder.eof()
    except FormatError as error:
        return events, type(error)
    return events, decoder.stray


@given(_STREAMS | st.binary(), st.lists(st.integers(0, 1 << 16)), st.integers(1, 40))
def test_any_split_of_any_bytes_gives_the_same(stream, cuts, limit):
    assert outcome(split_at(stream, cuts), limit) == outcome([stream], limit)
    assert outcome(one_by_one(stream), limit) == outcome([stream], limit)


def by_the_book(stream):
    """The living standard's own way, line by line, over LF only."""
    events, name, data = [], "", []
    for line in stream.split(b"\n")[:-1]:
        field, _, value = line.partition(b":")
        if not line:
            if text := b"\n".join(data).decode():
                events.append((name, text))
            name, data = "", []
        elif field == b"data":
            data.append(value.removeprefix(b" "))
        elif field == b"event":
            name = value.removeprefix(b" ").decode()
    return events


@given(_STREAMS.filter(lambda stream: b"\xff" not in stream))
def test_the_fast_way_and_the_way_of_the_standard_agree(stream):
    normal = stream.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    assert SSEDecoder(limit=BIG).feed(stream) == by_the_book(normal)


def test_an_event_has_its_id_and_only_its_own() -> None:
    decoder = SSEDecoder(limit=100)
    events = decoder.feed(
        b"id: 7\ndata: a\n\ndata: b\n\ndata: c\nid\n\nevent: x\nid:9\ndata: d\n\n"
    )
    assert [(event.data, event.id) for event in events] == [
        ("a", "7"),
        ("b", ""),
        ("c", ""),
        ("d", "9"),
    ]
    assert events[0] == ("", "a")  # what it is told by, it has in its name and data
