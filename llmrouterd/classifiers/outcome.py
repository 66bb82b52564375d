"""The response classifiers `empty`, `truncated` and `invalid-json`: answers that came to nothing.

Owns: when an answer is called so.
Refuses to know: what is done about it.

Laws:
1. A call of a tool is an answer, whatever is or is not said beside it.
2. JSON is judged where it was asked for, and in the arguments of calls: there it always is.
3. What was cut short is judged by what the model itself says of its end.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from formats.canonical import Document, Image, Opaque, Text, ToolUse

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from formats.canonical import OutputFormat, Request, Response
    from llmrouterd.hooks import Context

_CUT = frozenset({"max_tokens", "context_window"})
_LOADS = frozenset({"load", "unload"})  # Ollama's requests that ask for no answer
_TYPES: Mapping[str, tuple[type, ...]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "number": (int, float),
    "integer": (int,),
    "boolean": (bool,),
    "null": (type(None),),
}


class Empty:
    """ "empty": nothing was said, called or shown. Reasoning alone is no answer."""

    id = "empty"

    def __init__(self, settings: Mapping[str, Any]) -> None:
        pass

    async def classify(self, request: Request, response: Response, ctx: Context) -> Sequence[str]:
        if response.stop in _LOADS:
            return []
        shown = any(
            part.text.strip()
            if isinstance(part, Text)
            else isinstance(part, ToolUse | Image | Document | Opaque)
            for part in response.parts
        )
        return [] if shown else [self.id]


class Truncated:
    """ "truncated": the model ran into its limit, or that of its context."""

    id = "truncated"

    def __init__(self, settings: Mapping[str, Any]) -> None:
        pass

    async def classify(self, request: Request, response: Response, ctx: Context) -> Sequence[str]:
        return [self.id] if response.stop in _CUT else []


class InvalidJSON:
    """ "invalid-json": no JSON, or not of the kind and with the members that the schema asks for."""

    id = "invalid-json"

    def __init__(self, settings: Mapping[str, Any]) -> None:
        pass

    async def classify(self, request: Request, response: Response, ctx: Context) -> Sequence[str]:
        calls = [part for part in response.parts if isinstance(part, ToolUse)]
        if any(not _is_object(call) for call in calls if call.kind == "function"):
            return [self.id]
        asked = request.output
        refused = response.stop == "refusal" or any(
            isinstance(part, Text) and part.refusal for part in response.parts
        )
        if asked is None or calls or refused or response.stop in _LOADS:
            return []
        return [] if fits(response.text, asked) else [self.id]


def _is_object(call: ToolUse) -> bool:
    return call.input is not None or not call.arguments.strip()


def fits(text: str, asked: OutputFormat) -> bool:
    """Whether a text is the JSON that was asked for, as far as its outermost level tells."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return False
    if asked.kind == "json":
        return isinstance(value, dict)
    schema = asked.schema or {}
    return _is_of_type(value, schema.get("type")) and _has_required(value, schema.get("required"))


def _is_of_type(value: Any, wanted: Any) -> bool:
    names = wanted if isinstance(wanted, list) else [wanted]
    known = [name for name in names if isinstance(name, str) and name in _TYPES]
    return not known or any(_is(value, name) for name in known)


def _is(value: Any, name: str) -> bool:
    if isinstance(value, bool):
        return name == "boolean"
    whole = isinstance(value, float) and value.is_integer()
    return isinstance(value, _TYPES[name]) or (name == "integer" and whole)


def _has_required(value: Any, required: Any) -> bool:
    if not isinstance(value, dict) or not isinstance(required, list):
        return True
    return all(name in value for name in required if isinstance(name, str))
