"""JSON schemas for targets that do not take all of JSON Schema.

Owns: what each dialect is known to refuse or to lose, and how to say the same in its words.
Refuses to know: requests; which model needs which dialect; validating anything.

Laws:
1. What a dialect takes stays untouched, key order included. What it loses is said in words in the
   `description`, so that the model still reads it; what was lost is listed by name.
2. Never raises on any JSON, never recurses without bound, never grows without bound: a reference
   that calls itself, or nesting beyond sense, ends as a schema that allows anything.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from formats import jsontext
from formats.errors import Invalid

JSON = Any
_DEEPEST = 64
_MOST_NODES = 20_000
_EMPTY_OBJECT: dict[str, JSON] = {"type": "object", "properties": {}}
_SUBSCHEMAS = ("items", "additionalProperties", "not", "contains", "propertyNames", "if", "then")
_SCHEMA_MAPS = ("properties", "patternProperties", "$defs", "definitions", "dependentSchemas")
_SCHEMA_LISTS = ("anyOf", "oneOf", "allOf", "prefixItems")

# --- objects ---


def as_object(schema: Mapping[str, JSON] | None) -> dict[str, JSON]:
    """A tool's parameters as the object schema that every target wants."""
    if not schema:
        return dict(_EMPTY_OBJECT)
    if "type" in schema:
        return dict(schema)
    return {"type": "object", **schema}


# --- Ollama ---

# What stays besides the members that hold schemas, if it is of the right kind.
_OLLAMA_KEEPS: dict[str, type | tuple[type, ...]] = {
    "type": (str, list),
    "description": str,
    "enum": list,
    "required": list,
}


def for_ollama(schema: Mapping[str, JSON] | None) -> tuple[dict[str, JSON], list[str]]:
    """Tool parameters for a server that reads properties into a fixed structure: references are
    written out, oneOf and const said in other words, and what is lost goes into descriptions."""
    return _Ollama(schema or {}).cleaned()


class _Ollama:
    """One schema on its way. `_nodes` bounds what writing references out can blow up to."""

    def __init__(self, schema: Mapping[str, JSON]) -> None:
        self._root = schema
        self._lost: dict[str, None] = {}
        self._nodes = 0

    def cleaned(self) -> tuple[dict[str, JSON], list[str]]:
        out = self._schema(self._root, (), 0)
        if out.get("type") != "object":
            out = {**as_object(out), "type": "object"}
        out.setdefault("properties", {})
        return out, list(self._lost)

    def _schema(self, schema: JSON, seen: tuple[str, ...], depth: int) -> dict[str, JSON]:
        self._nodes += 1
        if type(schema) is not dict and not isinstance(schema, Mapping):
            return {}
        if depth > _DEEPEST or self._nodes > _MOST_NODES:
            self._lost["depth"] = None
            return {}
        schema, seen = self._resolved(schema, seen)
        schema = self._folded(schema, seen)
        out: dict[str, JSON] = {}
        said: list[str] = []
        for key, value in schema.items():
            self._member(key, value, out, said, seen, depth)
        if said:
            words = "(" + ", ".join(said) + ")"
            given = out.get("description")
            out["description"] = f"{given} {words}" if type(given) is str and given else words
        return out

    def _member(
        self,
        key: str,
        value: JSON,
        out: dict[str, JSON],
        said: list[str],
        seen: tuple[str, ...],
        depth: int,
    ) -> None:
        if key == "properties" and isinstance(value, Mapping):
            out[key] = {name: self._schema(each, seen, depth + 1) for name, each in value.items()}
        elif key == "items" and isinstance(value, Mapping):
            out[key] = self._schema(value, seen, depth + 1)
        elif key in ("anyOf", "oneOf") and type(value) is list:
            out["anyOf"] = [self._schema(each, seen, depth + 1) for each in value]
            if key == "oneOf":
                self._lost["oneOf"] = None
        elif key == "const":
            out.setdefault("enum", [value])
        elif key in _OLLAMA_KEEPS and isinstance(value, _OLLAMA_KEEPS[key]):
            out[key] = value
        elif key in ("$defs", "definitions", "$schema", "$id", "$comment", "title"):
            pass  # written out, or without meaning for a model
        else:
            self._lost[key] = None
            if key not in ("additionalProperties", "examples", "if", "then", "else"):
                said.append(_in_words(key, value))

    def _resolved(
        self, schema: Mapping[str, JSON], seen: tuple[str, ...]
    ) -> tuple[Mapping[str, JSON], tuple[str, ...]]:
        while type(ref := schema.get("$ref")) is str:
            beside = {key: value for key, value in schema.items() if key != "$ref"}
            target = None if ref in seen else _at(self._root, ref)
            if target is None:
                self._lost["$ref"] = None
                return beside, seen
            seen = (*seen, ref)
            schema = {**target, **beside}
        return schema, seen

    def _folded(self, schema: Mapping[str, JSON], seen: tuple[str, ...]) -> Mapping[str, JSON]:
        """allOf of objects as one object."""
        every = schema.get("allOf")
        if type(every) is not list or not all(isinstance(each, Mapping) for each in every):
            return schema
        out = {key: value for key, value in schema.items() if key != "allOf"}
        for each in every:
            part, _ = self._resolved(each, seen)
            for key, value in part.items():
                _fold_member(out, key, value)
        return out


def _fold_member(out: dict[str, JSON], key: str, value: JSON) -> None:
    old = out.get(key)
    if key in _SCHEMA_MAPS and isinstance(old, Mapping) and isinstance(value, Mapping):
        out[key] = {**old, **value}
    elif key == "required" and type(old) is list and type(value) is list:
        out[key] = old + [each for each in value if each not in old]
    else:
        out.setdefault(key, value)


def _at(root: Mapping[str, JSON], ref: str) -> Mapping[str, JSON] | None:
    """The schema that a local reference names."""
    if ref == "#":
        return root
    if not ref.startswith("#/"):
        return None
    value: JSON = root
    for step in ref[2:].split("/"):
        name = step.replace("~1", "/").replace("~0", "~")
        if not isinstance(value, Mapping) or name not in value:
            return None
        value = value[name]
    return value if isinstance(value, Mapping) else None


def _in_words(key: str, value: JSON) -> str:
    try:
        return f"{key}: {jsontext.dumps(value)}"
    except (ValueError, TypeError, Invalid):
        return key


# --- Anthropic's structured output ---

_ANTHROPIC_TAKES = frozenset(
    [
        "type",
        "properties",
        "required",
        "items",
        "anyOf",
        "allOf",
        "enum",
        "const",
        "description",
        "title",
        "default",
        "examples",
        "additionalProperties",
        "$ref",
        "$defs",
        "definitions",
        "$schema",
        "$id",
        "$comment",
    ]
)
_ANTHROPIC_FORMATS = frozenset(
    ["date-time", "time", "date", "duration", "email", "hostname", "uri", "ipv4", "ipv6", "uuid"]
)


def for_anthropic_format(schema: Mapping[str, JSON]) -> tuple[dict[str, JSON], list[str]]:
    """A schema for strict output there: constraints it refuses become words of the description,
    oneOf becomes anyOf, and every object is closed."""
    lost: dict[str, None] = {}
    out = _walk(schema, lambda node: _closed(node, lost), 0)
    return (out if type(out) is dict else {}), list(lost)


def _closed(node: dict[str, JSON], lost: dict[str, None]) -> dict[str, JSON]:
    out: dict[str, JSON] = {}
    said: list[str] = []
    for key, value in node.items():
        if key == "oneOf" and "anyOf" not in node:
            lost[key] = None
            out["anyOf"] = value
        elif key in _ANTHROPIC_TAKES or _taken(key, value):
            out[key] = value
        else:
            lost[key] = None
            said.append(_in_words(key, value))
    if _is_object(node) and out.get("additionalProperties") is not False:
        if "additionalProperties" in out:
            lost["additionalProperties"] = None
        out["additionalProperties"] = False
    if said:
        words = "{" + ", ".join(said) + "}"
        given = out.get("description")
        out["description"] = f"{given}\n\n{words}" if type(given) is str and given else words
    return out


def _taken(key: str, value: JSON) -> bool:
    if key == "format":
        return type(value) is str and value in _ANTHROPIC_FORMATS
    return key == "minItems" and type(value) is int and value in (0, 1)


def _is_object(node: Mapping[str, JSON]) -> bool:
    kind = node.get("type")
    return kind == "object" or (type(kind) is list and "object" in kind) or "properties" in node


def _walk(schema: JSON, change: Callable[[dict[str, JSON]], dict[str, JSON]], depth: int) -> JSON:
    """`change` on every schema inside `schema`, the innermost first."""
    if not isinstance(schema, Mapping):
        return schema
    if depth > _DEEPEST:
        return {}
    node: dict[str, JSON] = {}
    for key, value in schema.items():
        if key in _SCHEMA_MAPS and isinstance(value, Mapping):
            value = {name: _walk(each, change, depth + 1) for name, each in value.items()}
        elif key in _SCHEMA_LISTS and type(value) is list:
            value = [_walk(each, change, depth + 1) for each in value]
        elif key in _SUBSCHEMAS:
            value = _walk(value, change, depth + 1)
        node[key] = value
    return change(node)


# --- OpenAI's strict mode ---

_STRICT_REFUSES = frozenset(
    [
        "oneOf",
        "allOf",
        "not",
        "if",
        "then",
        "else",
        "dependentRequired",
        "dependentSchemas",
        "patternProperties",
        "unevaluatedProperties",
        "propertyNames",
        "minProperties",
        "maxProperties",
        "unevaluatedItems",
        "contains",
        "minContains",
        "maxContains",
        "uniqueItems",
        "prefixItems",
        "default",
    ]
)


def is_openai_strict(schema: Mapping[str, JSON]) -> bool:
    """Whether a schema keeps to the subset of strict mode: every object closed, all of its
    properties required, the top an object that is no union."""
    if schema.get("type") != "object" or "anyOf" in schema:
        return False
    verdict = [True]

    def check(node: dict[str, JSON]) -> dict[str, JSON]:
        if not _is_strict_node(node):
            verdict[0] = False
        return node

    try:
        _walk(schema, check, 0)
    except RecursionError:  # pragma: no cover - the walk is bounded
        return False
    return verdict[0] and not _deeper_than(schema, _DEEPEST)


def _is_strict_node(node: Mapping[str, JSON]) -> bool:
    if not _STRICT_REFUSES.isdisjoint(node):
        return False
    if not _is_object(node):
        return True
    properties, required = node.get("properties", {}), node.get("required", [])
    return (
        node.get("additionalProperties") is False
        and isinstance(properties, Mapping)
        and type(required) is list
        and all(name in required for name in properties)
    )


def _deeper_than(value: JSON, levels: int) -> bool:
    """Without recursion: level by level."""
    level = [value]
    for _ in range(levels):
        level = [
            each
            for one in level
            for each in (
                one.values() if isinstance(one, Mapping) else one if type(one) is list else ()
            )
        ]
        if not level:
            return False
    return True
