"""formats/freeform.py"""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from formats.canonical import Request, Tool
from formats.freeform import (
    Unwrapper,
    as_function,
    custom_names,
    flat_format,
    nested_format,
    unwrapped,
    wrapped,
)
from formats.ledger import Ledger
from formats.losses import Losses
from tests import strategies

FLAT = {"type": "grammar", "syntax": "lark", "definition": "start: WORD"}
NESTED = {"type": "grammar", "grammar": {"syntax": "lark", "definition": "start: WORD"}}


def test_a_grammar_has_two_shapes_and_each_reader_takes_both():
    assert flat_format(NESTED) == flat_format(FLAT) == FLAT
    assert nested_format(FLAT) == nested_format(NESTED) == NESTED
    assert nested_format({"type": "text"}) == flat_format({"type": "text"}) == {"type": "text"}
    assert nested_format(None) is None


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ('{"input":"a\\nb"}', "a\nb"),
        ('{ "input" : "" }', ""),
        ('{"input":"x","more":1}', "x"),
        ('{"text":"x"}', '{"text":"x"}'),
        ('{"input":1}', '{"input":1}'),
        ("plain words", "plain words"),
        ("", ""),
        ('"x"', '"x"'),
    ],
)
def test_the_text_that_arguments_stand_for(arguments, text):
    assert unwrapped(arguments) == text
    unwrapper = Unwrapper()
    assert unwrapper.feed(arguments) + unwrapper.end() == text


@given(st.text(alphabet='a"\\\n\té世🌍\ud800/u', max_size=12) | strategies.short, st.booleans())
def test_any_text_in_single_characters_is_the_same(text, ascii_only):
    arguments = json.dumps({"input": text}, ensure_ascii=ascii_only)
    unwrapper = Unwrapper()
    said = "".join(unwrapper.feed(each) for each in arguments) + unwrapper.end()
    if ascii_only:  # two halves of a pair that stood apart are one character to any JSON reader
        text = json.loads(json.dumps(text))
    assert said == text
    assert unwrapper.whole


@given(strategies.arguments | strategies.short)
def test_whatever_else_comes_is_given_as_it_is(arguments):
    unwrapper = Unwrapper()
    said = "".join(unwrapper.feed(each) for each in arguments) + unwrapper.end()
    assert said == (unwrapped(arguments) if arguments.strip() else "")


def test_a_cut_text_is_given_as_far_as_it_came():
    unwrapper = Unwrapper()
    assert unwrapper.feed('{"input":"ab\\') == "ab"
    assert unwrapper.feed("u00") == ""
    assert unwrapper.end() == ""
    assert not unwrapper.whole


def test_a_tool_of_plain_text_as_a_function():
    ledger = Ledger()
    losses = Losses("openai", Request("responses", "m"), ledger)
    description, schema = as_function(Tool("patch", "Edits.", kind="custom"), losses)
    assert description == 'Edits. Put the whole input text in "input".'
    assert (schema["required"], schema["additionalProperties"]) == (["input"], False)
    as_function(Tool("patch", kind="custom", format={"type": "text"}), losses)
    assert ledger.entries == []


def test_a_grammar_can_only_be_described():
    ledger = Ledger()
    losses = Losses("openai", Request("responses", "m"), ledger)
    form = {"type": "grammar", "syntax": "lark", "definition": "start: X"}
    for each in (form, nested_format(form)):
        description, _ = as_function(Tool("patch", kind="custom", format=each), losses)
        assert description.endswith("It must follow this grammar (lark):\nstart: X")
    assert ledger.names() == ("tools[].format",)


@given(st.text())
def test_an_input_that_was_wrapped_is_unwrapped(text):
    assert unwrapped(wrapped(text)) == text


def test_the_custom_tools_of_a_client():
    tools = (Tool("a", kind="custom"), Tool("b"), Tool("c", kind="hosted"))
    assert custom_names(Request("openai", "m", tools=tools)) == {"a"}
    assert custom_names(None) == frozenset()
