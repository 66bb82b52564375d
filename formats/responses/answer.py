"""Responses: whole answers, read from a server and written for a client.

Owns: the output items of an answer as canonical parts, and which members of an answer object only
this format knows.
Refuses to know: streams, but for the one thing that a whole answer shares with them: what a client
is shown of it, which `encode` knows.

Laws:
1. What is no answer object is `Garbled`; so is one that failed. A damaged item in one is left out,
   and never ends an answer that has content.
2. A whole answer means what the stream of the same answer means.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from formats import check
from formats.canonical import EMPTY, JSON, Opaque, Part, Request, Response, Text, Thought, ToolUse
from formats.errors import Garbled
from formats.fold import parsed_arguments, unfold
from formats.jsontext import dump, dumps, loads
from formats.namespaces import flat_name
from formats.responses.encode import Encoder
from formats.responses.errors import answer_failure
from formats.responses.wire import (
    NAME,
    native_stop,
    reasoning_text,
    stop_reason,
    usage_of,
)
from formats.token import read_thought

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from formats.canonical import Stamp
    from formats.ledger import Ledger

# Members of an answer that say how it was made, not what was asked: they go back to clients of this
# same format.
_KEPT = (
    "service_tier",
    "context_management",
    "conversation",
    "moderation",
    "input_transformations",
)


# --- an upstream's answer -------------------------------------------------------------------------


def parse_response(body: bytes, /) -> Response:
    """An upstream's whole answer (status 200). Raises Garbled when it is not one."""
    try:
        obj = loads(body.decode())
    except ValueError:
        raise Garbled(_not_one(body)) from None
    if type(obj) is not dict:
        raise Garbled(_not_one(body))
    failure = answer_failure(obj)
    if failure is not None:
        raise Garbled(f"the upstream answered with an error: {failure.message}")
    if type(obj.get("output")) is not list:
        raise Garbled("the upstream's answer has no output")
    return response_of(obj)


def _not_one(body: bytes) -> str:
    start = body[:80].decode("utf-8", "replace")
    return f"the upstream's answer is not a response: {start!r}" if body else "an empty answer"


def response_of(obj: Mapping[str, JSON]) -> Response:
    """An answer object as a response."""
    output = obj.get("output")
    items = output if type(output) is list else []
    parts = tuple(part for item in items if type(item) is dict for part in parts_of(item))
    created = obj.get("created_at")
    created = int(created) if type(created) is float else created
    kept = {name: obj[name] for name in _KEPT if obj.get(name) is not None}
    return Response(
        id=string(obj, "id"),
        model=string(obj, "model"),
        parts=parts,
        stop=stop_reason(
            obj,
            has_call=any(isinstance(part, ToolUse) for part in parts),
            has_refusal=any(isinstance(part, Text) and part.refusal for part in parts),
        ),
        stop_native=native_stop(obj),
        usage=usage_of(obj.get("usage")),
        created=created if type(created) is int else None,
        extra={NAME: kept} if kept else EMPTY,
    )


def string(obj: Mapping[str, JSON], name: str) -> str:
    value = obj.get(name)
    return value if type(value) is str else ""


def parts_of(item: Mapping[str, JSON]) -> Iterator[Part]:
    """The parts that one output item is."""
    match item.get("type"):
        case "message":
            content = item.get("content")
            for block in content if type(content) is list else ():
                if type(block) is dict:
                    yield from _said(block)
        case "reasoning":
            yield thought_of(item)
        case "function_call" | "custom_tool_call":
            yield call_of(item)
        case str(kind):
            yield Opaque(NAME, kind, item)
        case _:
            return


def _said(block: Mapping[str, JSON]) -> Iterator[Part]:
    kind = block.get("type")
    if kind == "refusal":
        yield Text(string(block, "refusal"), refusal=True)
    elif kind in ("output_text", "text"):
        notes = block.get("annotations")
        yield Text(string(block, "text"), citations=tuple(notes) if type(notes) is list else ())
    elif type(kind) is str:
        yield Opaque(NAME, kind, block)


def thought_of(item: Mapping[str, JSON]) -> Thought:
    text, sealed = reasoning_text(item), string(item, "encrypted_content")
    if not sealed:
        return Thought(text)
    # Another router of this kind may stand behind: its token is as good as ours.
    return read_thought(sealed) or Thought(text, signature=sealed, origin=NAME)


_CALL = frozenset({"type", "id", "call_id", "status", "name", "arguments", "input"})


def call_of(item: Mapping[str, JSON]) -> ToolUse:
    custom = item.get("type") == "custom_tool_call"
    given = item.get("input" if custom else "arguments")
    text = given if type(given) is str else ("" if given is None else dumps(given))
    return ToolUse(
        id=string(item, "call_id") or string(item, "id"),
        name=called(item),
        arguments=text,
        input=None if custom else parsed_arguments(text),
        kind="custom" if custom else "function",
        extra=call_extra(item),
    )


def called(item: Mapping[str, JSON]) -> str:
    """The flat name of the tool that an item calls."""
    name, namespace = string(item, "name"), string(item, "namespace")
    return flat_name(namespace, name) if namespace else name


def call_extra(item: Mapping[str, JSON]) -> Mapping[str, JSON]:
    return {n: v for n, v in check.rest(item, _CALL).items() if v is not None} or EMPTY


# --- a client's answer ----------------------------------------------------------------------------


def write_response(
    response: Response, ledger: Ledger, stamp: Stamp, request: Request | None = None, /
) -> bytes:
    """The body for a client of this format. request: what it asked, which is told again in the
    answer and says what it calls its tools."""
    encoder = Encoder(request or Request(NAME, response.model), ledger, stamp)
    for event in unfold(response):
        encoder.encode(event)
    answer = encoder.answer
    own = response.extra.get(NAME)
    return dump({**answer, **own} if isinstance(own, dict) else answer)
