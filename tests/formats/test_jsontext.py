"""JSON text in and out, exactly."""

import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from formats import jsontext
from formats.errors import Invalid
from formats.jsontext import parse_body

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
DEEP = b'{"a":' + b"[" * 200_000 + b"]" * 200_000 + b"}"


def test_a_body_gives_its_value_and_the_places_of_its_members():
    body = parse_body(b' { "model" : "m" , "n":1.0 } ')
    assert body.value == {"model": "m", "n": 1.0}
    key, start, end = body.members["model"]
    assert body.text[key:end] == '"model" : "m"'
    assert body.text[start:end] == '"m"'


def test_a_byte_order_mark_before_the_body_is_forgiven():
    assert parse_body(b'\xef\xbb\xbf{"a":1}').value == {"a": 1}
    assert parse_body(b'\xef\xbb\xbf{"a":1}').spliced({"a": 2}).endswith(b'{"a":2}')


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"", "empty"),
        (b"  \n", "empty"),
        (b"[1]", "must be a JSON object"),
        (b"null", "must be a JSON object"),
        (b"nope", "not valid JSON"),
        (b"{", "not valid JSON"),
        (b'{"a"', "not valid JSON"),
        (b'{"a":', "not valid JSON"),
        (b'{"a":1', "not valid JSON"),
        (b'{"a":1,', "not valid JSON"),
        (b'{"a":1,}', "not valid JSON"),
        (b'{"a":1 "b":2}', "not valid JSON"),
        (b"{a:1}", "not valid JSON"),
        (b"{'a':1}", "not valid JSON"),
        (b'{"a":1}{"b":2}', "Extra data"),
        (b'{"a":NaN}', "NaN"),
        (b'{"a":-Infinity}', "Infinity"),
        (b'{"a":"\x00"}', "not valid JSON"),
        (b'\x00{"a":1}', "not valid JSON"),
        (b'{"a":"\xff"}', "not UTF-8"),
        (b"\xff\xfe{\x00}\x00", "not UTF-8"),
        (b'{"model":"a","model":"b"}', "twice"),
        (DEEP, "nested too deeply"),
    ],
    ids=lambda each: repr(each)[:24],
)
def test_a_bad_body_is_refused_with_its_reason(body, says):
    with pytest.raises(Invalid, match=says):
        parse_body(body)


def test_a_number_of_absurd_length_is_refused():
    """Reading it would cost the square of its length; the interpreter's own bound says no."""
    with pytest.raises(Invalid, match="not valid JSON"):
        parse_body(b'{"a":' + b"9" * 10_000 + b"}")


@given(st.binary() | st.text().map(str.encode) | JSON.map(lambda v: json.dumps(v).encode()))
def test_any_bytes_give_an_object_or_invalid(body):
    try:
        value = parse_body(body).value
    except Invalid:
        return
    assert value == json.loads(body)


@given(st.dictionaries(st.text(), JSON, max_size=5), st.sampled_from([None, 1, "\t"]))
def test_every_object_is_read_as_the_standard_library_reads_it(value, indent):
    body = parse_body(json.dumps(value, indent=indent).encode())
    assert body.value == value
    for name, (key, start, end) in body.members.items():
        assert json.loads(body.text[start:end]) == value[name]
        assert json.loads("{" + body.text[key:end] + "}") == {name: value[name]}


def test_a_splice_changes_the_named_member_and_not_one_character_more():
    text = b'{ "a" : 1.0, "model":  "x\\u00e9" ,"big": 12345678901234567890, "e": 1E3 }'
    assert parse_body(text).spliced({"model": "y"}) == text.replace(b'"x\\u00e9"', b'"y"')


def test_a_splice_adds_what_is_new_and_keeps_what_is_there():
    assert parse_body(b'{"a":1 }').spliced({"b": {"c": [1]}}) == b'{"a":1 ,"b":{"c":[1]}}'
    assert parse_body(b"{ }").spliced({"b": 2}) == b'{ "b":2}'


def test_a_splice_takes_members_out():
    body = parse_body(b'{"a": 1.0, "plugins":[{"id":"x"}],"z":2}')
    assert body.spliced({}, remove=["plugins"]) == b'{"a": 1.0,"z":2}'
    assert body.spliced({"z": 3, "n": 4}, remove=["a", "plugins"]) == b'{"z":3,"n":4}'
    assert body.spliced({}, remove=["absent"]) == body.text.encode()


def test_a_name_that_stands_deeper_too_is_changed_at_the_top_only():
    text = b'{"x":{"model":"inner"},"s":"\\"model\\":\\"no\\"","model":"m"}'
    assert parse_body(text).spliced({"model": "n"}) == text.replace(b'"model":"m"', b'"model":"n"')


@given(
    st.dictionaries(st.text(), JSON, max_size=5),
    st.dictionaries(st.text() | st.sampled_from("abc"), JSON, max_size=3),
    st.sets(st.text() | st.sampled_from("abc"), max_size=3),
    st.sampled_from([None, 2]),
)
def test_a_splice_means_what_it_says(value, edits, remove, indent):
    remove -= set(edits)
    out = parse_body(json.dumps(value, indent=indent).encode()).spliced(edits, remove)
    kept = {name: each for name, each in value.items() if name not in remove}
    assert json.loads(out) == {**kept, **edits}


@given(JSON)
@example("\ud800")
@example({"a\udfff": ["\ud800x", "ü"]})
@example("\u2028\x85")
def test_what_is_written_is_read_back_and_is_utf8(value):
    for text in (jsontext.dump(value), jsontext.dump_ascii(value), jsontext.dumps(value).encode()):
        assert json.loads(text.decode()) == value
    assert jsontext.dump_ascii(value).isascii()


def test_what_is_written_is_compact_and_readable():
    assert jsontext.dump({"ü": [1, 2.0]}) == '{"ü":[1,2.0]}'.encode()


def test_what_is_not_json_is_never_written():
    for value in (float("nan"), float("inf")):
        for write in (jsontext.dump, jsontext.dumps, jsontext.dump_ascii):
            with pytest.raises(ValueError, match="JSON compliant"):
                write(value)


def test_a_number_beyond_all_floats_is_refused_when_read():
    with pytest.raises(ValueError, match="1e999 is too large"):
        jsontext.loads('{"n": 1e999}')


@pytest.mark.slow
def test_nesting_without_end_is_an_error_of_ours():
    deep: list = []
    for _ in range(100_000):
        deep = [deep]
    for write in (jsontext.dump, jsontext.dumps, jsontext.dump_ascii):
        with pytest.raises(Invalid, match="nested"):
            write(deep)
    with pytest.raises(ValueError, match="nested"):
        jsontext.loads("[" * 100_000)


def test_a_value_is_read_strictly():
    assert jsontext.loads('{"a":1}') == {"a": 1}
    for text in ("NaN", "Infinity", "", "{", "1 2"):
        with pytest.raises(ValueError, match=r"."):
            jsontext.loads(text)
