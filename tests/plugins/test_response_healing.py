"""llmrouterd/plugins/response_healing.py"""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from formats.canonical import Response, Text, Thought, ToolUse
from llmrouterd.hooks import Context
from llmrouterd.plugins.response_healing import ResponseHealing, healed

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ('```json\n{"a": 1}\n```', {"a": 1}),
        ("```\n[1, 2]\n```", [1, 2]),
        ('Here you are:\n```json\n{"a": [1]}\n```\nAnything else?', {"a": [1]}),
        ('```json\n{"a": 1', {"a": 1}),
        ('Sure! {"a": 1} Hope that helps.', {"a": 1}),
        ('{"a": 1,}', {"a": 1}),
        ("[1, 2, ]", [1, 2]),
        ('{"a": [1, {"b": 2,},],}', {"a": [1, {"b": 2}]}),
        ('{"a": "cut of', {"a": "cut of"}),
        ('{"a": "cut in an escape \\', {"a": "cut in an escape "}),
        ('{"a": "a quote \\"', {"a": 'a quote "'}),
        ('{"a": {"b": [1, 2', {"a": {"b": [1, 2]}}),
        ('{"a": [1,', {"a": [1]}),
        ('{"a": 1,', {"a": 1}),
        ('[1] is short, {"a": "long"} is it', {"a": "long"}),
        ('Use {x} and then {"a": 1}', {"a": 1}),
        ('{"a": "[not, a, list,]",}', {"a": "[not, a, list,]"}),
        ('{"a": "```"} is it', {"a": "```"}),
    ],
)
def test_what_was_meant_as_json_becomes_json(text, meant):
    assert json.loads(healed(text)) == meant


@pytest.mark.parametrize(
    "text",
    ['{"a": 1}', " [1] ", "7", '"text"', "null", "", "Hello.", "{", "}{", "[1}", '{"a"', '{"a":'],
)
def test_what_is_json_already_or_cannot_be_made_so_is_left_alone(text):
    result = healed(text)
    assert result is None or json.loads(result) in ({}, [1])


def test_json_that_is_whole_is_not_touched_to_the_character():
    assert healed('{ "a" : 1 }') is None


def test_a_key_without_a_value_gets_none_made_up():
    assert healed('{"a": 1, "b":') is None
    assert healed('{"a": 1, "b"') is None


@given(VALUES.filter(lambda value: isinstance(value, dict | list)))
def test_any_value_in_a_fence_is_found(value):
    assert json.loads(healed(f"Here:\n```json\n{json.dumps(value)}\n```\n")) == value


@given(st.text(alphabet='{}[]",\\: a1`\n'))
def test_any_text_gives_json_or_nothing(text):
    result = healed(text)
    if result is not None:
        assert isinstance(json.loads(result), dict | list)


def test_an_answer_full_of_brackets_is_read_a_few_times_only():
    assert healed("[" * 200_000) is None
    assert healed("[1 2]" * 50_000) is None


async def heal(*parts, stop="end_turn"):
    response = Response("id", "m", parts, stop)
    return response, await ResponseHealing({}).post_response(
        response, Context("response-healing", {})
    )


async def test_the_answer_waits_until_it_is_whole():
    assert ResponseHealing.whole_response


async def test_the_healed_text_takes_the_place_of_all_texts():
    _, after = await heal(Thought("hm"), Text("Sure: "), Text('{"a": 1,}'))
    assert after.parts == (Thought("hm"), Text('{"a": 1}'))


async def test_an_answer_that_needs_nothing_is_the_same_object():
    before, after = await heal(Text('{"a": 1}'))
    assert after is before


async def test_an_answer_with_a_call_is_left_alone():
    before, after = await heal(Text("I look at [1]"), ToolUse("c", "look", "{}"))
    assert after is before


async def test_words_of_a_refusal_stay():
    before, after = await heal(Text("no {", refusal=True))
    assert after is before
