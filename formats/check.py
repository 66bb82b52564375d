"""Typed access to parsed JSON, with errors that name the place.

Owns: `take` and its relatives: read a member, check its type, say exactly where it is wrong
(`messages[3].content[0].type: expected a string, got a number`).
Refuses to know: any format.

Law: the only exception is `Invalid`. A boolean is never taken for a number.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from formats.errors import Invalid

if TYPE_CHECKING:
    from collections.abc import Mapping

JSON = Any

_NAMES = {
    str: "a string",
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    list: "a list",
    dict: "an object",
    type(None): "null",
}


def named(value: JSON) -> str:
    """What a JSON value is, in words for an error message."""
    return _NAMES.get(type(value), type(value).__name__)


def join(path: str, key: str | int) -> str:
    """`a.b` or `a[3]`."""
    if isinstance(key, int):
        return f"{path}[{key}]"
    return f"{path}.{key}" if path else key


def string(obj: Mapping[str, JSON], key: str, path: str = "") -> str:
    """A member that must be there and be a string."""
    value = obj.get(key)
    if type(value) is str:
        return value
    if value is None:
        raise Invalid(join(path, key), "this field is required")
    raise Invalid(join(path, key), f"expected a string, got {named(value)}")


def opt_string(obj: Mapping[str, JSON], key: str, path: str = "") -> str | None:
    value = obj.get(key)
    if value is None or type(value) is str:
        return value
    raise Invalid(join(path, key), f"expected a string, got {named(value)}")


def opt_bool(obj: Mapping[str, JSON], key: str, path: str = "") -> bool | None:
    value = obj.get(key)
    if value is None or type(value) is bool:
        return value
    raise Invalid(join(path, key), f"expected true or false, got {named(value)}")


def opt_int(obj: Mapping[str, JSON], key: str, path: str = "") -> int | None:
    """A whole number or null; `5.0` counts as 5, since some clients write all numbers so."""
    value = obj.get(key)
    if value is None or type(value) is int:
        return value
    if type(value) is float and value.is_integer():
        return int(value)
    raise Invalid(join(path, key), f"expected a whole number, got {named(value)}")


def opt_number(obj: Mapping[str, JSON], key: str, path: str = "") -> float | None:
    """A number or null, as it is: a whole number stays one."""
    value = obj.get(key)
    if value is None or type(value) in (int, float):
        return value
    raise Invalid(join(path, key), f"expected a number, got {named(value)}")


def opt_list(obj: Mapping[str, JSON], key: str, path: str = "") -> list[JSON] | None:
    value = obj.get(key)
    if value is None or type(value) is list:
        return value
    raise Invalid(join(path, key), f"expected a list, got {named(value)}")


def opt_object(obj: Mapping[str, JSON], key: str, path: str = "") -> dict[str, JSON] | None:
    value = obj.get(key)
    if value is None or type(value) is dict:
        return value
    raise Invalid(join(path, key), f"expected an object, got {named(value)}")


def an_object(value: JSON, path: str) -> dict[str, JSON]:
    if type(value) is dict:
        return value
    raise Invalid(path, f"expected an object, got {named(value)}")


def a_list(value: JSON, path: str) -> list[JSON]:
    if type(value) is list:
        return value
    raise Invalid(path, f"expected a list, got {named(value)}")


def a_string(value: JSON, path: str) -> str:
    if type(value) is str:
        return value
    raise Invalid(path, f"expected a string, got {named(value)}")


def rest(obj: Mapping[str, JSON], known: frozenset[str]) -> dict[str, JSON]:
    """The members that are not `known`: what goes into `extra`."""
    if known.issuperset(obj):
        return {}
    return {key: value for key, value in obj.items() if key not in known}
