"""One value against its key: what is said when it is wrong."""

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmrouterd.config.keys import PROVIDER, Key, Kind
from llmrouterd.config.read import CHECKS, Problems, dotted, fault, nearest, quoted, read
from llmrouterd.model import ConfigError


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        (Key("text"), 3, "expected a text in quotes, got 3"),
        (Key("text"), True, "expected a text in quotes, got true"),
        (Key("text", filled=True), "  ", "must not be empty"),
        (Key("text"), "a\x1b[2J", "holds a control character"),
        (Key("text", one_of=("a", "b")), 1, 'expected "a" or "b", got 1'),
        (Key("texts"), "a", 'expected a list of texts like ["a", "b"], got a text'),
        (Key("texts"), ["a", 1.5], "expected a list of texts, got 1.5 in place 1"),
        (Key("texts", filled=True), ["a", ""], "must not hold an empty text, as in place 1"),
        (Key("text or texts"), {}, "expected a text or a list of texts, got a table"),
        (Key("text or texts"), [], "must not be an empty list"),
        (Key("map"), {"a": 1}, '"a" must be a text, got 1'),
        (Key("map"), [], 'expected a table like {"name" = "value"}, got a list'),
        (Key("lists"), {"a": [1]}, '"a": expected a list of texts, got 1 in place 0'),
        (Key("whole", low=0, high=9), 10, "expected a whole number from 0 to 9, got 10"),
        (Key("whole", low=0), 1.0, "expected a whole number of at least 0, got 1.0"),
        (Key("whole"), True, "expected a whole number, got true"),
        (Key("number", low=0), -1, "expected a number of at least 0, got -1"),
        (Key("number"), math.nan, "expected a number, got nan"),
        (Key("number"), math.inf, "expected a number, got a number beyond measure"),
        (Key("number"), "1", "expected a number, got a text"),
        (Key("switch"), 1, "expected true or false, got 1"),
        (Key("table"), 1, "expected a table, got 1"),
        (Key("tables"), 1, "expected a list of tables, got 1"),
    ],
)
def test_a_wrong_value(key: Key, value: object, said: str) -> None:
    assert fault(key, value) == said


def test_a_number_that_python_refuses_to_print() -> None:
    assert fault(Key("number"), 16**5000) == "expected a number, got a number beyond measure"
    assert fault(Key("whole", high=1), 16**5000) is not None


def test_one_word_of_a_few_and_the_nearest() -> None:
    key = PROVIDER["format"]
    said = fault(key, "opnai")
    assert said is not None
    words = '"openai", "anthropic", "ollama", "responses", "echo"'
    assert said.startswith(f'expected one of {words}, got "opnai"')
    assert said.endswith('did you mean "openai"?')


def test_a_single_table_where_several_may_stand() -> None:
    said = fault(Key("tables"), {})
    assert said is not None
    assert "[[double brackets]]" in said


def test_a_wrong_text_is_not_shown_since_it_may_be_a_key() -> None:
    for kind in ("texts", "map", "lists", "whole", "number", "switch", "table", "tables"):
        said = fault(Key(kind), "sk-secret")
        assert said is not None
        assert "secret" not in said


JSONISH = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.dates(),
    lambda v: st.lists(v) | st.dictionaries(st.text(), v),
    max_leaves=5,
)


@given(st.sampled_from(sorted(CHECKS)), JSONISH)
def test_any_value_is_right_or_has_a_fault(kind: Kind, value: Any) -> None:
    said = fault(Key(kind, filled=True, low=1, one_of=()), value)
    assert said is None or "\n" not in said


def test_unknown_missing_and_wrong_are_all_told_in_the_order_of_the_file() -> None:
    problems = Problems("f.toml", {("t",): 1, ("t", "quality"): 3, ("t", "nmae"): 2})
    values = read(problems, ("t",), {"quality": "x", "nmae": 1}, PROVIDER)
    assert values["quality"] == 0.0
    with pytest.raises(ConfigError) as caught:
        problems.settle()
    assert caught.value.problems == (
        'f.toml:1: t: the key "name" is missing',
        'f.toml:1: t: the key "format" is missing',
        'f.toml:2: t.nmae: unknown key; did you mean "name"?',
        "f.toml:3: t.quality: expected a number, got a text",
    )


def test_numbers_come_out_as_floats_and_whole_ones_whole() -> None:
    values = read(Problems("", {}), (), {"name": "a", "format": "echo", "quality": 3}, PROVIDER)
    assert isinstance(values["quality"], float)
    assert isinstance(values["max_retries"], int)


def test_what_other_programs_call_it_is_understood() -> None:
    assert "base_url" in nearest("url", list(PROVIDER))
    assert "api_key_env" in nearest("api_key", list(PROVIDER))
    assert nearest("zzzzzz", list(PROVIDER)) == ""


def test_paths_and_texts_stay_on_one_line() -> None:
    assert dotted(("routers", 2, "provider")) == "routers[2].provider"
    assert dotted(("models", "gpt-4.1\n")) == 'models."gpt-4.1\\n"'
    assert "\n" not in quoted("a\nb" * 100)
    assert len(quoted("x" * 1000)) < 70
