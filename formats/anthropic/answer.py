"""Anthropic Messages: whole answers, read from a server and written for a client.

Owns: the parts of an answer as content blocks, and back.
Refuses to know: streams, requests, headers.

Laws:
1. A whole answer means what the stream of the same answer means.
2. A call that was cut short is not given to a client as a call.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from formats import jsontext
from formats.anthropic.errors import answer_failure
from formats.anthropic.wire import (
    ANSWER_EXTRAS,
    CITATION_TYPES,
    NAME,
    answer_id,
    call_input,
    estimated_output,
    figures,
    has_call,
    native_stop,
    omits_thinking,
    shows_thinking,
    stop_reason,
    usage_of,
    write_usage,
)
from formats.canonical import (
    CUT_SHORT,
    Opaque,
    Part,
    Request,
    Response,
    Stamp,
    Text,
    Thought,
    ToolUse,
    Usage,
)
from formats.errors import Garbled
from formats.ids import ANTHROPIC, ClientNames, legal_id, minted_id
from formats.losses import note_answer
from formats.token import write_token

if TYPE_CHECKING:
    from formats.ledger import Ledger

JSON = Any
_Object = dict[str, JSON]

# --- an upstream's answer -------------------------------------------------------------------------


def parse_response(body: bytes) -> Response:
    """An upstream's whole answer. Raises Garbled."""
    try:
        value = jsontext.loads(body.decode())
    except ValueError:
        raise Garbled("the upstream's answer is not JSON") from None
    if type(value) is not dict:
        raise Garbled("the upstream's answer is not a JSON object")
    if "content" not in value:
        if value.get("error") is not None:
            said = answer_failure(200, value).message
            raise Garbled(f"the upstream answered with an error: {said}")
        raise Garbled("the upstream's answer is no message: it has no content")
    content = value["content"]
    blocks = content if type(content) is list else []  # a server sends null for nothing at all
    if type(content) is str:
        blocks = [{"type": "text", "text": content}]
    parts = tuple(_part(block) for block in blocks if type(block) is dict)
    native, sequence = _string(value, "stop_reason"), _string(value, "stop_sequence")
    return Response(
        id=_string(value, "id") or "",
        model=_string(value, "model") or "",
        parts=parts,
        stop=stop_reason(native, sequence, calls=has_call(parts)),
        stop_native=native,
        stop_sequence=sequence,
        stop_details=value.get("stop_details"),
        usage=usage_of(figures(value.get("usage"))),
        extra={name: value[name] for name in ANSWER_EXTRAS if value.get(name) is not None},
    )


def _string(value: _Object, name: str) -> str | None:
    given = value.get(name)
    return given if type(given) is str else None


def _part(block: _Object) -> Part:
    match block.get("type"):
        case "text":
            citations = block.get("citations")
            return Text(
                _string(block, "text") or "",
                citations=tuple(citations) if type(citations) is list else (),
            )
        case "thinking":
            signature = _string(block, "signature") or None
            return Thought(_string(block, "thinking") or "", signature=signature, origin=NAME)
        case "redacted_thinking":
            return Thought(redacted=_string(block, "data") or "", origin=NAME)
        case "tool_use":
            return _call(block)
        case type_:
            return Opaque(NAME, type_ if type(type_) is str else "", block)


def _call(block: _Object) -> ToolUse:
    given = block.get("input")
    value = given if type(given) is dict else ({} if given is None else None)
    known = ("type", "id", "name", "input")
    return ToolUse(
        _string(block, "id") or "",
        _string(block, "name") or "",
        arguments=given
        if type(given) is str
        else jsontext.dumps(value if given is None else given),
        input=value,
        extra={name: each for name, each in block.items() if name not in known},
    )


# --- a client's answer ----------------------------------------------------------------------------


def write_response(
    response: Response, ledger: Ledger, stamp: Stamp, request: Request | None = None, /
) -> bytes:
    """The body for a client. request: what it asked, which says whether it wants thinking and what
    it calls its tools; without it all thinking is shown."""
    usage = response.usage or Usage()
    body: _Object = {
        "id": answer_id(response.id, stamp.id),
        "type": "message",
        "role": "assistant",
        "model": response.model or stamp.model,
        "content": _content(response, ledger, stamp, request),
        "stop_reason": native_stop(
            response.stop, response.stop_native, request.version if request else ""
        ),
        "stop_sequence": response.stop_sequence,
        "usage": write_usage(usage, stamp.input_estimate, estimated_output(response)),
    }
    if isinstance(response.stop_details, dict):
        body["stop_details"] = response.stop_details
    body |= {name: response.extra[name] for name in ANSWER_EXTRAS if name in response.extra}
    return jsontext.dump(body)


def _content(
    response: Response, ledger: Ledger, stamp: Stamp, request: Request | None
) -> list[_Object]:
    names, used, blocks = ClientNames(request), set[str](), []
    for index, part in enumerate(response.parts):
        match part:
            case Text():
                block = _text_block(part, ledger)
            case Thought():
                block = _thinking_block(part, request)
            case ToolUse():
                block = _call_block(part, response, ledger, names)
                if block is not None:
                    given = legal_id(part.id, ANTHROPIC) if part.id else ""
                    if not given or given in used:
                        given = minted_id(stamp.id, index)
                    used.add(given)
                    block["id"] = given
            case Opaque(origin, _, value) if origin == NAME:
                block = dict(value)
            case _:
                name = part.type if isinstance(part, Opaque) else type(part).__name__.lower()
                note_answer(ledger, NAME, "block", at=f"content[].{name}")
                block = None
        if block is not None:
            blocks.append(block)
    return blocks


def _text_block(part: Text, ledger: Ledger) -> _Object | None:
    if not part.text and not part.citations:
        return None
    block: _Object = {"type": "text", "text": part.text}
    citations = [c for c in part.citations if type(c) is dict and c.get("type") in CITATION_TYPES]
    if citations:
        block["citations"] = citations
    if len(citations) < len(part.citations):
        note_answer(ledger, NAME, "citations")
    return block


def _thinking_block(part: Thought, request: Request | None) -> _Object | None:
    signed = part.origin == NAME
    if signed and part.redacted is not None:
        return {"type": "redacted_thinking", "data": part.redacted}
    signature = part.signature if signed else None
    if not signature:
        if not shows_thinking(request) or not (part.text or part.signature):
            return None
        signature = write_token(part.origin, part.text, part.signature, part.redacted)
    text = "" if omits_thinking(request) else part.text
    return {"type": "thinking", "thinking": text, "signature": signature}


def _call_block(
    part: ToolUse, response: Response, ledger: Ledger, names: ClientNames
) -> _Object | None:
    value = call_input(part)
    if value is None:
        if response.stop in CUT_SHORT:
            note_answer(ledger, NAME, "arguments: cut")
            return None
        note_answer(ledger, NAME, "arguments")
        value = {"_raw_arguments": part.arguments}
    block: _Object = {"type": "tool_use", "id": "", "name": names.client_name(part.name)}
    block["input"] = value
    if isinstance(caller := part.extra.get("caller"), dict):
        block["caller"] = caller
    return block
