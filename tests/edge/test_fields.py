import h11
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmrouterd.edge import fields


def test_fields_become_the_lines_of_a_head() -> None:
    assert fields.lines(["a: b", "X-Tag: one, two"]) == b"a: b\r\nX-Tag: one, two\r\n"
    assert fields.lines([]) == b""


def test_latin_1_is_what_a_head_can_hold() -> None:
    assert fields.lines(["a: \xe9"]) == b"a: \xe9\r\n"


@pytest.mark.parametrize(
    "field",
    {
        "a second field": "a: b\r\nevil: yes",
        "the end of the head": "a: b\r\n\r\nbody",
        "bare LF": "a: b\nevil: yes",
        "bare CR": "a: b\revil: yes",
        "a fold": "a: b\r\n c",
        "NUL": "a: b\0",
        "a control character": "a: b\x01",
        "DEL": "a: b\x7f",
        "a space in the name": "a b: c",
        "a space before the colon": "a : c",
        "no name": ": c",
        "no colon": "abc",
        "nothing": "",
        "over latin-1": "a: \u4e2d",
    }.items(),
    ids=lambda case: case[0],
)
def test_what_http_does_not_allow_never_gets_into_a_head(field: tuple[str, str]) -> None:
    with pytest.raises(h11.LocalProtocolError):
        fields.lines(["good: yes", field[1], "also: good"])


@given(st.lists(st.tuples(st.text(max_size=6), st.text(max_size=12)), max_size=4))
def test_whatever_is_asked_for_the_head_says_just_that_or_nothing(
    asked: list[tuple[str, str]],
) -> None:
    ours = h11.Connection(h11.CLIENT)
    head = ours.send(h11.Request(method="GET", target="/", headers=[("Host", "h")]))
    assert head
    try:
        added = fields.lines([f"X-{name}: {value}" for name, value in asked])
    except h11.LocalProtocolError:
        return
    theirs = h11.Connection(h11.SERVER)
    theirs.receive_data(fields.put(head, added))
    event = theirs.next_event()
    assert isinstance(event, h11.Request)
    read = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in event.headers]
    assert read[0] == ("host", "h")
    assert read[1:] == [(f"x-{name}".lower(), value.strip(" \t")) for name, value in asked]
    assert theirs.trailing_data == (b"", False)
