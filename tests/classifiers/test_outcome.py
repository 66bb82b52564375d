"""llmrouterd/classifiers/outcome.py"""

import pytest

from formats.canonical import Message, OutputFormat, Request, Response, Text, Thought, ToolUse
from llmrouterd.classifiers.outcome import Empty, InvalidJSON, Truncated
from llmrouterd.hooks import Context

CTX = Context("outcome", {})
CALL = ToolUse("1", "f", "{}", {})
SCHEMA = OutputFormat("schema", {"type": "object", "required": ["a"]})


async def tags(classifier, *parts, stop="end_turn", output=None) -> list[str]:
    request = Request("openai", "m", (Message("user", ()),), output=output)
    return list(await classifier({}).classify(request, Response("", "m", parts, stop), CTX))


@pytest.mark.parametrize("parts", [(), (Text(""),), (Text(" \n"),), (Thought("hm"),)])
async def test_an_answer_that_says_nothing_is_empty(parts) -> None:
    assert await tags(Empty, *parts) == ["empty"]


@pytest.mark.parametrize(
    "parts", [(Text("x"),), (CALL,), (Text(""), CALL), (Text("no", refusal=True),)]
)
async def test_what_says_or_calls_something_is_not(parts) -> None:
    assert await tags(Empty, *parts) == []


async def test_a_model_that_was_only_loaded_has_nothing_to_say() -> None:
    assert await tags(Empty, stop="load") == []


@pytest.mark.parametrize(
    ("stop", "is_cut"),
    [("max_tokens", True), ("context_window", True), ("end_turn", False), ("stop_sequence", False)],
)
async def test_a_limit_that_was_met_is_truncated(stop: str, is_cut: bool) -> None:
    assert bool(await tags(Truncated, Text("x"), stop=stop)) is is_cut


@pytest.mark.parametrize("text", ["", "sure!", '{"a": 1', '```json\n{"a": 1}\n```', "[1]", "3"])
async def test_json_that_was_asked_for_and_is_none(text: str) -> None:
    assert await tags(InvalidJSON, Text(text), output=OutputFormat("json")) == ["invalid-json"]
    assert await tags(InvalidJSON, Text(text)) == []


@pytest.mark.parametrize(
    ("text", "schema", "is_right"),
    [
        ('{"a": 1}', {"type": "object", "required": ["a"]}, True),
        ('{"b": 1}', {"type": "object", "required": ["a"]}, False),
        ("[1]", {"type": "object"}, False),
        ("[1]", {"type": "array"}, True),
        ("[1]", {"type": ["object", "array"]}, True),
        ("true", {"type": "integer"}, False),
        ("3.0", {"type": "integer"}, True),
        ("null", {"type": "null"}, True),
        ("3", {}, True),
        ("3", {"type": "thing", "required": "x"}, True),
    ],
)
async def test_the_outermost_level_of_a_schema_counts(text, schema, is_right) -> None:
    output = OutputFormat("schema", schema)
    assert await tags(InvalidJSON, Text(text), output=output) == (
        [] if is_right else ["invalid-json"]
    )


async def test_a_call_stands_for_the_json_and_its_arguments_are_judged() -> None:
    assert await tags(InvalidJSON, CALL, output=SCHEMA) == []
    assert await tags(InvalidJSON, ToolUse("1", "f", ""), output=SCHEMA) == []
    assert await tags(InvalidJSON, ToolUse("1", "f", '{"a": ')) == ["invalid-json"]
    assert await tags(InvalidJSON, ToolUse("1", "f", "free text", kind="custom")) == []


async def test_a_refusal_is_no_broken_json() -> None:
    assert await tags(InvalidJSON, Text("no", refusal=True), output=SCHEMA) == []
    assert await tags(InvalidJSON, Text("no"), stop="refusal", output=SCHEMA) == []


async def test_endless_nesting_is_no_json() -> None:
    assert await tags(InvalidJSON, Text("[" * 100000), output=SCHEMA) == ["invalid-json"]
