"""llmrouterd/plugins/arguments.py"""

import pytest

from llmrouterd.plugins.arguments import fits

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
