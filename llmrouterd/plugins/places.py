"""Every text of a request, and the request with other texts in their places.

Owns: which members of a request are words of people, tools and models, and which are not (ids,
signatures, pictures).
Refuses to know: what becomes of a text.

Laws:
1. What is not named here as opaque is a text: a member that a later version adds is looked at.
2. Nobody alters what is sealed: signatures, ids, bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass, replace
from typing import Any, Literal, TypeVar

from formats import jsontext
from formats.canonical import Opaque, Request, ToolUse

# text: words. name: a name of a tool, of a speaker or of a JSON member. json: JSON as text, to be
# looked at and not replaced in, since its leaves are.
Form = Literal["text", "name", "json"]
Turn = Callable[[str, Form], str]
T = TypeVar("T")

_OPAQUE = frozenset(
    {
        *(
            "origin",
            "model",
            "role",
            "kind",
            "mode",
            "type",
            "mime",
            "version",
            "effort",
        ),
        *("data", "file_id", "signature", "redacted", "id", "call_id", "detail", "display"),
        *("cache", "service_tier", "verbosity", "keep_alive", "plugins", "bound", "raw"),
    }
)
# Of blocks that only one format understands, and of what it alone knows of its others.
_SEALED = frozenset(
    {
        *("id", "call_id", "tool_use_id", "file_id", "type", "signature", "encrypted_content"),
        *("data", "encrypted_index", "media_type", "previous_response_id"),
    }
)
_NAMES = frozenset({"name", "names"})


def turned(request: Request, turn: Turn) -> Request:
    """The request with `turn` applied to every text: what stays the same over a conversation first
    (tools, settings), then the messages in their order. The same request where nothing changed."""
    rest = _fields(request, turn, without=("messages",))
    messages = tuple(_value(message, turn, "") for message in rest.messages)
    if messages != rest.messages:
        rest = replace(rest, messages=messages)
    return rest if rest is request else replace(rest, raw=None)


def _fields(value: T, turn: Turn, without: tuple[str, ...] = ()) -> T:
    changed: dict[str, Any] = {}
    for each in fields(value):  # type: ignore[arg-type]
        if each.name in _OPAQUE or each.name in without:
            continue
        old = getattr(value, each.name)
        sealed = each.name == "extra" or isinstance(value, Opaque)
        new = _value(old, turn, each.name, _SEALED if sealed else frozenset())
        if new is not old and new != old:
            changed[each.name] = new
    return replace(value, **changed) if changed else value  # type: ignore[type-var]


def _value(value: Any, turn: Turn, name: str, sealed: frozenset[str] = frozenset()) -> Any:
    if isinstance(value, str):
        return turn(value, "name" if name in _NAMES else "text")
    if isinstance(value, ToolUse):
        return _call(value, turn)
    if isinstance(value, tuple):
        return tuple(_value(each, turn, name) for each in value)
    if isinstance(value, Mapping):
        if value:
            turn(jsontext.dumps(dict(value)), "json")
        return _json(value, turn, sealed)
    if isinstance(value, list):
        return _json(value, turn, sealed)
    if is_dataclass(value) and not isinstance(value, type):
        return _fields(value, turn)
    return value


def _call(call: ToolUse, turn: Turn) -> ToolUse:
    """Its arguments are text and object at once, and stay so."""
    name = turn(call.name, "name")
    extra = _json(call.extra, turn, _SEALED)
    if call.input is None:
        out = replace(call, name=name, arguments=turn(call.arguments, "text"), extra=extra)
    else:
        turn(call.arguments, "json")
        given = _json(call.input, turn)
        text = call.arguments if given == call.input else jsontext.dumps(given)
        out = replace(call, name=name, arguments=text, input=given, extra=extra)
    return call if out == call else out


def _json(value: Any, turn: Turn, sealed: frozenset[str] = frozenset()) -> Any:
    """The same value itself where nothing changed."""
    if isinstance(value, str):
        return turn(value, "text")
    if isinstance(value, list | tuple):
        items = [_json(each, turn, sealed) for each in value]
        return value if all(a is b or a == b for a, b in zip(items, value, strict=True)) else items
    if isinstance(value, Mapping):
        members = {
            turn(name, "name"): each if name in sealed else _json(each, turn, sealed)
            for name, each in value.items()
        }
        return value if members == dict(value) else members
    if isinstance(value, int) and not isinstance(value, bool):
        text = str(value)
        covered = turn(text, "text")
        return value if covered == text else covered
    return value
