"""Whether a value is what a tool's JSON schema asks for.

Owns: as much of JSON Schema as tools use: types, enums, members, items, alternatives, references
within the schema.
Refuses to know: whose arguments they are, and what happens to those that do not fit.

Laws:
1. What a keyword that is not known here asks for is not checked.
2. A schema that refers to itself without end fits nothing: the depth is bounded, and so is the work,
   since one with two ways at each step has more of them than can be tried. What is not found to fit
   within that does not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from formats.canonical import JSON

_DEEPEST = 50
_MOST = 100_000
_LISTS = ("enum", "required", "type")


class Work:
    """How much may still be looked at, in one answer."""

    __slots__ = ("left",)

    def __init__(self) -> None:
        self.left = _MOST

    def takes(self, schema: JSON) -> bool:
        """Whether there is as much left as looking at this schema costs."""
        lists = (schema.get(name) for name in _LISTS) if isinstance(schema, dict) else ()
        self.left -= 1 + sum(len(each) for each in lists if isinstance(each, list))
        return self.left >= 0


def fits(value: JSON, schema: JSON, work: Work | None = None) -> bool:
    return _fits(value, schema, schema, 0, work or Work())


def _fits(value: JSON, schema: JSON, root: JSON, depth: int, work: Work) -> bool:
    """root: the whole schema, where `$ref` points into."""
    if depth > _DEEPEST or schema is False or not work.takes(schema):
        return False
    if not isinstance(schema, dict):
        return True

    def nested(inner: JSON, other: JSON) -> bool:
        return _fits(inner, other, root, depth + 1, work)

    reference = schema.get("$ref")
    if isinstance(reference, str) and not nested(value, _pointed(root, reference)):
        return False
    if "const" in schema and not _same(value, schema["const"]):
        return False
    allowed = schema.get("enum")
    if isinstance(allowed, list) and not any(_same(value, each) for each in allowed):
        return False
    if not _has_type(value, schema.get("type")):
        return False
    if not all(nested(value, each) for each in _listed(schema, "allOf")):
        return False
    for keyword in ("anyOf", "oneOf"):
        choices = _listed(schema, keyword)
        if choices and not any(nested(value, each) for each in choices):
            return False
    if isinstance(value, dict):
        return all(nested(*pair) for pair in _members(value, schema)) and _has_all(value, schema)
    items = schema.get("items")
    return not isinstance(value, list) or all(nested(each, items) for each in value)


def _members(value: Mapping[str, JSON], schema: Mapping[str, JSON]) -> list[tuple[JSON, JSON]]:
    """Each member with the schema for it."""
    properties = schema.get("properties")
    known = properties if isinstance(properties, dict) else {}
    others = schema.get("additionalProperties", True)
    if "patternProperties" in schema:
        others = True
    return [(each, known.get(name, others)) for name, each in value.items()]


def _has_all(value: Mapping[str, JSON], schema: Mapping[str, JSON]) -> bool:
    return all(name in value for name in _listed(schema, "required"))


def _listed(schema: Mapping[str, JSON], keyword: str) -> list[JSON]:
    found = schema.get(keyword)
    return found if isinstance(found, list) else []


def _has_type(value: JSON, wanted: JSON) -> bool:
    if isinstance(wanted, list):
        return any(_has_type(value, each) for each in wanted)
    number = isinstance(value, int | float) and not isinstance(value, bool)
    match wanted:
        case "object":
            return isinstance(value, dict)
        case "array":
            return isinstance(value, list)
        case "string":
            return isinstance(value, str)
        case "boolean":
            return isinstance(value, bool)
        case "null":
            return value is None
        case "number":
            return number
        case "integer":
            return number and value == int(value)
        case _:
            return True


def _same(one: JSON, other: JSON) -> bool:
    """As JSON has it: true is not 1."""
    return one == other and isinstance(one, bool) == isinstance(other, bool)


def _pointed(root: JSON, reference: str) -> JSON:
    """What `#/$defs/name` names. What cannot be found says nothing."""
    if not reference.startswith("#"):
        return True
    found = root
    for step in reference[1:].strip("/").split("/") if len(reference) > 1 else ():
        name = step.replace("~1", "/").replace("~0", "~")
        if not isinstance(found, dict) or name not in found:
            return True
        found = found[name]
    return found
