"""Schemas for targets that know less of JSON Schema."""

import copy
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from formats.toolschema import as_object, for_anthropic_format, for_ollama, is_openai_strict
from tests import strategies

PLAIN = {
    "type": "object",
    "properties": {
        "city": {"type": "string", "description": "Where"},
        "units": {"type": ["string", "null"], "enum": ["c", "f"]},
        "days": {"type": "array", "items": {"type": "integer"}},
        "more": {"anyOf": [{"type": "string"}, {"type": "object", "properties": {}}]},
    },
    "required": ["city"],
}
DEEP: dict = {"type": "string"}
for _ in range(3000):
    DEEP = {"type": "object", "properties": {"a": DEEP}}


def in_property(schema, **top):
    return {"type": "object", "properties": {"a": schema}, **top}


def ollama_property(schema, **top):
    out, lost = for_ollama(in_property(schema, **top))
    return out["properties"]["a"], lost


def test_a_schema_that_ollama_keeps_stays_as_it_is():
    out, lost = for_ollama(PLAIN)
    assert json.dumps(out) == json.dumps(PLAIN)
    assert lost == []


@pytest.mark.parametrize("schema", [None, {}, {"properties": {}}])
def test_no_parameters_are_an_object_without_properties(schema):
    assert for_ollama(schema) == ({"type": "object", "properties": {}}, [])
    assert as_object(schema) == {"type": "object", "properties": {}}


def test_references_are_written_out():
    out, lost = ollama_property(
        {"$ref": "#/$defs/A", "description": "the a"},
        **{"$defs": {"A": {"$ref": "#/$defs/B"}, "B": {"type": "string"}}},
    )
    assert out == {"type": "string", "description": "the a"}
    assert lost == []


def test_a_reference_that_calls_itself_ends():
    node = {"type": "object", "properties": {"next": {"$ref": "#/$defs/N"}}}
    out, lost = ollama_property({"$ref": "#/$defs/N"}, **{"$defs": {"N": node}})
    assert out == {"type": "object", "properties": {"next": {}}}
    assert lost == ["$ref"]


def test_a_reference_with_escapes_or_to_nowhere():
    defs = {"$defs": {"a/b~c": {"type": "integer"}}}
    assert ollama_property({"$ref": "#/$defs/a~1b~0c"}, **defs) == ({"type": "integer"}, [])
    assert ollama_property({"$ref": "#/$defs/zzz"}, **defs) == ({}, ["$ref"])
    assert ollama_property({"$ref": "https://example.com/x"}, **defs) == ({}, ["$ref"])


@pytest.mark.slow
def test_references_that_double_at_every_step_do_not_blow_up():
    defs = {
        f"L{n}": in_property({})
        | {"properties": {"a": {"$ref": f"#/$defs/L{n + 1}"}, "b": {"$ref": f"#/$defs/L{n + 1}"}}}
        for n in range(40)
    }
    out, lost = for_ollama(in_property({"$ref": "#/$defs/L0"}, **{"$defs": defs}))
    assert len(json.dumps(out)) < 3_000_000
    assert "depth" in lost


def test_one_of_and_const_are_said_in_other_words():
    out, lost = ollama_property({"oneOf": [{"const": "x"}, {"type": "null"}]})
    assert out == {"anyOf": [{"enum": ["x"]}, {"type": "null"}]}
    assert lost == ["oneOf"]


def test_all_of_objects_is_one_object():
    out, lost = ollama_property(
        {
            "allOf": [
                {"type": "object", "properties": {"x": {"type": "string"}}, "required": ["x"]},
                {"$ref": "#/$defs/Y"},
            ]
        },
        **{"$defs": {"Y": {"type": "object", "properties": {"y": {}}, "required": ["y"]}}},
    )
    assert out == {
        "type": "object",
        "properties": {"x": {"type": "string"}, "y": {}},
        "required": ["x", "y"],
    }
    assert lost == []


def test_lost_constraints_are_told_in_the_description():
    out, lost = ollama_property(
        {"type": "integer", "minimum": 1, "description": "How many", "default": 3}
    )
    assert out == {"type": "integer", "description": "How many (minimum: 1, default: 3)"}
    assert lost == ["minimum", "default"]
    assert (
        ollama_property({"type": "string", "pattern": "^a"})[0]["description"] == '(pattern: "^a")'
    )


def test_a_keyword_of_the_wrong_kind_is_lost_and_said():
    out, lost = ollama_property({"description": ["no"], "anyOf": {}, "type": "string"})
    assert out == {"type": "string", "description": '(description: ["no"], anyOf: {})'}
    assert lost == ["description", "anyOf"]


def test_a_property_may_be_called_like_a_keyword():
    schema = in_property(
        {"type": "object", "properties": {"const": {"type": "string"}, "$ref": {}}}
    )
    assert for_ollama(schema) == (schema, [])


def test_a_union_at_the_top_becomes_an_object_with_it():
    out, _ = for_ollama({"anyOf": [{"type": "string"}, {"type": "object"}]})
    assert out["type"] == "object"
    assert out["properties"] == {}


def test_a_schema_for_strict_output_loses_constraints_but_not_their_words():
    out, lost = for_anthropic_format(
        in_property({"type": "integer", "minimum": 1, "maximum": 5, "description": "How many"})
    )
    assert out == {
        "type": "object",
        "properties": {
            "a": {"type": "integer", "description": "How many\n\n{minimum: 1, maximum: 5}"}
        },
        "additionalProperties": False,
    }
    assert lost == ["minimum", "maximum"]


def test_what_strict_output_takes_stays():
    schema = {
        "type": "object",
        "properties": {
            "a": {"type": "string", "format": "date-time"},
            "b": {"type": "array", "items": {"$ref": "#/$defs/B"}, "minItems": 1},
            "c": {"allOf": [{"type": "string"}]},
        },
        "required": ["a"],
        "additionalProperties": False,
        "$defs": {"B": {"const": 1}},
    }
    assert for_anthropic_format(schema) == (schema, [])


def test_odd_formats_and_longer_lists_are_not_taken_by_strict_output():
    _, lost = for_anthropic_format(
        {"anyOf": [{"type": "string", "format": "color"}, {"type": "array", "minItems": 2}]}
    )
    assert lost == ["format", "minItems"]


def test_one_of_becomes_any_of_for_strict_output_and_inner_objects_are_closed():
    out, lost = for_anthropic_format({"oneOf": [{"type": "object", "additionalProperties": True}]})
    assert out == {"anyOf": [{"type": "object", "additionalProperties": False}]}
    assert set(lost) == {"oneOf", "additionalProperties"}


def closed(**properties):
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


@pytest.mark.parametrize(
    "schema",
    [
        closed(),
        closed(a={"type": "string"}),
        closed(a={"type": ["string", "null"]}, b={"anyOf": [closed(), {"type": "null"}]}),
        closed(a={"type": "array", "items": closed(x={"enum": [1]})}),
        closed(a={"$ref": "#/$defs/A"}) | {"$defs": {"A": closed()}},
        closed(default={"type": "string"}),
    ],
)
def test_schemas_within_openais_strict_subset(schema):
    assert is_openai_strict(schema)


@pytest.mark.parametrize(
    "schema",
    [
        {},
        {"type": "object"},
        {"type": "string"},
        closed(a={}) | {"required": []},
        closed(a={}) | {"additionalProperties": True},
        closed(a={"type": "object"}),
        closed(a={"oneOf": [{"type": "string"}]}),
        closed(a={"type": "string", "default": "x"}),
        closed() | {"anyOf": [closed()]},
        closed(a={"$ref": "#/$defs/A"}) | {"$defs": {"A": {"type": "object"}}},
        closed(a={}) | {"required": "a"},
        DEEP,
    ],
    ids=lambda each: repr(list(each))[:40],
)
def test_schemas_outside_openais_strict_subset(schema):
    assert not is_openai_strict(schema)


def test_nesting_without_sense_is_cut_and_said():
    out, lost = for_ollama(DEEP)
    assert lost == ["depth"]
    json.dumps(out)
    json.dumps(for_anthropic_format(DEEP)[0])


_KEYS = st.sampled_from(
    ["type", "properties", "items", "anyOf", "oneOf", "allOf", "$ref", "$defs", "const", "enum",
     "required", "description", "minimum", "additionalProperties", "not", "A"]
)  # fmt: skip
_VALUES = strategies.json_values | st.sampled_from(["#", "#/$defs/A", "#/properties", "object"])
odd_schemas = st.recursive(
    st.dictionaries(_KEYS, _VALUES, max_size=4),
    lambda inner: st.dictionaries(_KEYS, inner | st.lists(inner, max_size=2), max_size=4),
    max_leaves=10,
)


@pytest.mark.slow
@given(odd_schemas)
def test_no_json_breaks_the_cleaners_and_none_is_changed_in_place(schema):
    before = copy.deepcopy(schema)
    out, _ = for_ollama(schema)
    assert out["type"] == "object"
    json.dumps(out)
    json.dumps(for_anthropic_format(schema)[0])
    assert is_openai_strict(schema) in (True, False)
    assert schema == before


@pytest.mark.slow
@given(odd_schemas)
def test_cleaning_for_ollama_leaves_no_reference(schema):
    def check(node, *, names=False):
        if isinstance(node, dict):
            assert names or not isinstance(node.get("$ref"), str)
            for key, value in node.items():
                if key in ("enum", "required", "type") and not names:
                    continue
                check(value, names=key == "properties" and not names)
        elif isinstance(node, list):
            for each in node:
                check(each)

    check(for_ollama(schema)[0])
