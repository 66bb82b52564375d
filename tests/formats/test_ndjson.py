"""Lines of JSON in any split; the bound; what is written stays one line for every reader."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from formats.errors import FormatError, TooLong
from formats.ndjson import NDJSONDecoder, write_ndjson

BIG = 1 << 20


def decoded(*pieces, limit=BIG):
    decoder = NDJSONDecoder(limit=limit)
    lines = [line for piece in pieces for line in decoder.feed(piece)]
    return lines + decoder.eof()


def one_by_one(stream):
    return [stream[i : i + 1] for i in range(len(stream))]


def test_lines_end_at_lf_and_lose_a_cr_before_it():
    assert decoded(b'{"a":1}\n{"b":2}\r\n') == [b'{"a":1}', b'{"b":2}']


def test_blank_lines_are_skipped():
    assert decoded(b"\n\r\n  \n1\n\n2\n") == [b"1", b"2"]


def test_a_last_line_without_its_end_counts():
    assert decoded(b'1\n{"done":true}') == [b"1", b'{"done":true}']


@pytest.mark.parametrize("torn", [b'{"a":', b'{"a":"\xc3', b' {"a":1} {', b"{"])
def test_a_torn_object_at_the_end_is_no_line(torn):
    assert decoded(b"1\n" + torn) == [b"1"]


def test_what_is_no_json_at_all_is_given_out_at_the_end():
    assert decoded(b"<html>Bad gateway</html>") == [b"<html>Bad gateway</html>"]


def test_a_byte_order_mark_is_taken_off_the_first_line():
    stream = b"\xef\xbb\xbf1\n2\n"
    assert decoded(stream) == decoded(*one_by_one(stream)) == [b"1", b"2"]


@pytest.mark.parametrize("odd", ["\u2028", "\u2029", "\x85"])
def test_what_unicode_calls_a_line_end_ends_no_line(odd):
    line = json.dumps({"a": odd}, ensure_ascii=False).encode()
    assert decoded(line + b"\n") == [line]


def test_a_line_as_long_as_the_limit_passes_and_one_byte_more_does_not():
    for pieces in ([b"12345\n"], one_by_one(b"12345\n"), [b"12345\n12345\n"]):
        assert decoded(*pieces, limit=6)[0] == b"12345"
        with pytest.raises(TooLong):
            decoded(*pieces, limit=5)


def test_a_line_that_never_ends_is_refused_and_refused_again():
    decoder = NDJSONDecoder(limit=100)
    with pytest.raises(TooLong):
        for _ in range(200):
            decoder.feed(b"x")
    with pytest.raises(TooLong):
        decoder.feed(b"\n")
    with pytest.raises(TooLong):
        decoder.eof()


def test_the_lines_before_a_too_long_one_are_given_out_first():
    decoder = NDJSONDecoder(limit=10)
    assert decoder.feed(b"1\n2\n" + b"x" * 10 + b"\n3\n") == [b"1", b"2"]
    with pytest.raises(TooLong):
        decoder.feed(b"")


def test_one_byte_reads_search_each_byte_once():
    decoder = NDJSONDecoder(limit=BIG)
    for _ in range(100):
        decoder.feed(b"x")
        assert decoder._searched == len(decoder._buffer)


def test_what_is_written_is_one_ascii_line_whatever_it_holds():
    line = write_ndjson({"text": "a\u2028b\x85c\nü\ud800"})
    assert line.isascii()
    assert line.decode().splitlines() == [line.decode().rstrip("\n")]
    assert json.loads(line) == {"text": "a\u2028b\x85c\nü\ud800"}


def outcome(pieces, limit):
    decoder, lines = NDJSONDecoder(limit=limit), []
    try:
        for piece in pieces:
            lines += decoder.feed(piece)
        lines += decoder.eof()
    except FormatError as error:
        return lines, type(error)
    return lines, None


@given(
    st.lists(st.sampled_from([b"1", b"{", b"\r", b"\n", b"\r\n", b" ", b"\xef\xbb\xbf"])),
    st.integers(1, 9),
)
def test_any_split_gives_the_same_lines(pieces, limit):
    stream = b"".join(pieces)
    assert outcome(pieces, limit) == outcome([stream], limit)
    assert outcome(one_by_one(stream), limit) == outcome([stream], limit)
