"""llmrouterd/plugins/arguments.py"""

import pytest

from llmrouterd.plugins.arguments import Work, fits

CITY = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
    "required": ["city"],
    "additionalProperties": False,
}
NESTED = {
    "$defs": {"point": {"type": "object", "required": ["x"]}},
    "type": "object",
    "properties": {"at": {"$ref": "#/$defs/point"}, "many": {"items": {"$ref": "#/$defs/point"}}},
}
ENDLESS = {"$ref": "#"}


@pytest.mark.parametrize(
    ("value", "schema"),
    [
        ({"city": "Ulm"}, CITY),
        ({"city": "Ulm", "days": 3}, CITY),
        ({"city": "Ulm", "days": 3.0}, CITY),
        ({"anything": [1]}, {}),
        ({"anything": [1]}, None),
        ({"a": None}, {"properties": {"a": {"type": ["string", "null"]}}}),
        ({"a": 2}, {"properties": {"a": {"anyOf": [{"type": "string"}, {"type": "number"}]}}}),
        ({"a": "x"}, {"properties": {"a": {"enum": ["x", "y"]}}}),
        ({"at": {"x": 1}, "many": [{"x": 1}]}, NESTED),
        ({"b": 1}, {"additionalProperties": {"type": "number"}}),
        ({"f-1": 1}, {"patternProperties": {"^f": {}}, "additionalProperties": False}),
        (True, {"const": True}),
        ({"a": 1}, {"$ref": "#/nowhere"}),
    ],
)
def test_what_fits(value, schema):
    assert fits(value, schema)


@pytest.mark.parametrize(
    ("value", "schema"),
    [
        ({}, CITY),
        ({"city": 7}, CITY),
        ({"city": "Ulm", "days": "3"}, CITY),
        ({"city": "Ulm", "days": 3.5}, CITY),
        ({"city": "Ulm", "days": True}, CITY),
        ({"city": "Ulm", "street": "x"}, CITY),
        ([], CITY),
        ("city", CITY),
        ({"a": 1}, {"properties": {"a": {"anyOf": [{"type": "string"}, {"type": "null"}]}}}),
        ({"a": "z"}, {"properties": {"a": {"enum": ["x", "y"]}}}),
        ({"at": {"y": 1}}, NESTED),
        ({"many": [{"x": 1}, {}]}, NESTED),
        ({"b": "1"}, {"additionalProperties": {"type": "number"}}),
        (1, {"const": True}),
        ({"a": 1}, {"allOf": [{"required": ["a"]}, {"required": ["b"]}]}),
        ({}, False),
        ({}, ENDLESS),
    ],
)
def test_what_does_not_fit(value, schema):
    assert not fits(value, schema)


@pytest.mark.parametrize("keyword", ["anyOf", "oneOf", "allOf"])
def test_a_schema_with_more_ways_than_can_be_tried_is_given_up(keyword):
    doubled = {keyword: [{"$ref": "#"}] * 10}
    assert not fits({"a": 1}, doubled)
    assert not fits([[1] * 100] * 100, {"items": {"items": {"enum": ["x"] * 1000 + [1]}}})


def test_what_is_looked_at_is_bounded_over_all_that_is_asked():
    work, schema = Work(), {"anyOf": [{"type": "null"}, {"type": "object"}]}
    found = [fits({"a": 1}, schema, work) for _ in range(100_000)]
    assert found[0]
    assert not found[-1]
