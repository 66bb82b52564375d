"""llmrouterd/plugins/placeholders.py"""

import itertools
import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmrouterd.plugins import placeholders
from llmrouterd.plugins.placeholders import MOST, Restorer, Table, TooMany

MAIL = "jan.kowalski@firma.pl"
PIECES = st.lists(
    st.sampled_from(
        [
            *(
                "[EMAIL_1]",
                "__EMAIL_1__",
                "[WORD_1]",
                "[WORD_1E]",
                "[EMAIL_2]",
                "[",
                "_",
                "__",
                "]",
            ),
            *("E", "EMAIL_1", "1", "[EMAIL_", "__A_1__", "x", " ", "\n", '"', "[EMAIL_1"),
        ]
    ),
    max_size=30,
).map("".join)


def table() -> Table:
    made = Table()
    made.add(MAIL, "email")
    made.add('a "b"\n', "word", word=True)
    return made


@given(PIECES, st.lists(st.integers(0, 200), max_size=30), st.booleans())
def test_however_a_text_is_cut_it_comes_out_as_the_whole_would(text, cuts, in_json):
    made = table()
    restorer = Restorer(made, in_json=in_json)
    places = [0, *sorted(min(cut, len(text)) for cut in cuts), len(text)]
    out = ""
    for start, end in itertools.pairwise(places):
        out += restorer.feed(text[start:end])
        assert len(restorer.held) < len("__EMAIL_1__")
    assert out + restorer.end() == made.restore(text, in_json=in_json)


@given(st.text() | PIECES)
def test_what_is_covered_comes_back_as_it_was(text):
    made = Table([text])
    made.add(MAIL, "email")
    made.add("x", "word")
    assert made.restore(made.cover(text)) == text


def test_a_number_that_the_text_has_already_is_given_to_no_value():
    made = Table(["see [EMAIL_1] and __EMAIL_2__"])
    made.add(MAIL, "email")
    assert made.cover(MAIL) == "[EMAIL_3]"
    assert made.restore("[EMAIL_1] [EMAIL_3]") == f"[EMAIL_1] {MAIL}"


def test_the_numbers_go_by_first_appearance_and_kind():
    made = Table()
    for value, kind in (("a", "email"), ("b", "api-key"), ("c", "email"), ("a", "email")):
        made.add(value, kind)
    assert [made.cover(each) for each in "abc"] == ["[EMAIL_1]", "[API_KEY_1]", "[EMAIL_2]"]


def test_a_value_inside_of_json_in_a_text_is_covered_and_comes_back_escaped():
    made = Table()
    made.add('pass"word', "password")
    text = json.dumps({"p": 'pass"word'})
    assert made.cover(text) == '{"p": "[PASSWORD_1E]"}'
    assert made.restore(made.cover(text)) == text


def test_a_value_put_into_json_is_escaped():
    assert json.loads('"' + table().restore("[WORD_1]", in_json=True) + '"') == 'a "b"\n'


def test_a_word_is_covered_only_where_it_stands_alone():
    made = Table()
    made.add("Max", "word", word=True)
    assert made.cover("Max, Maximum, xMax") == "[WORD_1], Maximum, xMax"


def test_the_longer_of_two_values_goes_first():
    made = Table()
    made.add("ab", "one")
    made.add("abc", "two")
    assert made.cover("abc ab") == "[TWO_1] [ONE_1]"


def test_too_many_values_are_refused():
    made = Table()
    for number in range(MOST):
        made.add(f"v{number}", "email")
    with pytest.raises(TooMany):
        made.add("one more", "email")


def flat(values, words):
    """Any of the values, the longest first, one by one."""
    each = [
        re.escape(v) + (rf"(?<!\w{re.escape(v)})(?!\w)" if v in words else "")
        for v in sorted(values, key=len, reverse=True)
    ]
    return re.compile("|".join(each))


SHORT = st.text("ab.", min_size=1, max_size=5)


@given(st.sets(SHORT, min_size=1), st.sets(SHORT), st.text("ab. ", max_size=30))
def test_a_tree_of_values_finds_what_a_list_of_them_finds(values, words, text):
    found = placeholders._alternatives(values, words).sub("#", text)
    assert found == flat(values, words).sub("#", text)


def test_values_that_begin_alike_without_end_are_found_all_the_same():
    values = ["a" * size for size in range(1, 500)]
    assert placeholders._alternatives(values, set()).sub("#", "a" * 499 + " aaa") == "# #"


def test_a_text_of_beginnings_is_read_once():
    assert placeholders._SHAPE.findall("__A" * 300_000) == []
    assert placeholders._SHAPE.findall("__A_1_1_1x" * 100_000) == []


def test_one_that_begins_with_the_end_of_another_is_kept_too():
    made = Table(["__A_1__EMAIL_1__"])
    made.add(MAIL, "email")
    assert made.cover(MAIL) == "[EMAIL_2]"


def test_many_values_that_begin_alike_cost_a_long_text_nothing():
    made = Table()
    for number in range(900):
        made.add(f"a{number:04d}@firma.pl", "email")
    text = "a" * 1_000_000
    assert made.cover(text + " a0007@firma.pl") == text + " [EMAIL_8]"
