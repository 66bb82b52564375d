"""The JSON shapes of events and log lines.

Owns: how a telling looks as JSON: strictly the four event types that readers of the original's
feed know, with our own members beside theirs, and our own types for readers that ask for them.
Refuses to know: files, sockets, subscribers.

Laws:
1. Readers of the original are strict: roles are user or assistant, content parts are text, image,
   tool_use or tool_result, stop reasons are end_turn, max_tokens, tool_use or other. Unknown extra
   members are ignored by them, unknown event types are not. Nor is JSON that not every parser
   takes: half a surrogate pair, nesting without end, a number beyond all floats.
2. No key or token is ever in a shape: nothing here holds header fields.
"""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Mapping
from typing import Any

from formats.canonical import (
    Audio,
    Document,
    Image,
    Message,
    Opaque,
    Part,
    Request,
    Response,
    Text,
    Thought,
    Tool,
    ToolResult,
    ToolUse,
)
from llmrouterd.model import (
    AttemptFailed,
    Classified,
    FirstToken,
    Opened,
    Progress,
    Queued,
    Record,
    Routed,
    Standing,
    Step,
    Telling,
    Unread,
)

JSON = Any
LOG = logging.getLogger("llmrouter.observe")
# Many a reader splits lines there, too. In JSON these stand only in strings.
_LINE_ENDS = {ord(c): f"\\u{ord(c):04x}" for c in "\u0085\u2028\u2029"}
_ENCODER = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"))
_DEPTH = 100  # of a tool's input; the original's parser stops at 128 in all
_LARGEST = 1 << 1000
_STOPS = {"end_turn": "end_turn", "max_tokens": "max_tokens", "tool_use": "tool_use"}


def shape(telling: Telling, *, bodies: bool = True) -> dict[str, JSON]:
    """One telling as a JSON object. bodies: with the words of request and answer."""
    match telling:
        case Opened():
            return {
                "type": "start",
                "id": telling.id,
                "ts_ms": telling.ts_ms,
                "model": telling.model,
                "in_flight": telling.in_flight,
            }
        case Classified():
            return {
                "type": "classified",
                "id": telling.id,
                "ts_ms": telling.ts_ms,
                "tags": list(telling.tags),
            }
        case Routed():
            return {
                "type": "routed",
                "id": telling.id,
                "ts_ms": telling.ts_ms,
                "provider": telling.provider,
                "model": telling.model,
            }
        case Queued():
            return {
                "type": "queued",
                "id": telling.id,
                "ts_ms": telling.ts_ms,
                "provider": telling.provider,
                "model": telling.model,
                "position": telling.position,
                "estimate_ms": telling.estimate_ms,
            }
        case FirstToken():
            return {
                "type": "first_token",
                "id": telling.id,
                "ts_ms": telling.ts_ms,
                "ttft_ms": telling.ttft_ms,
            }
        case Progress():
            return {
                "type": "progress",
                "id": telling.id,
                "ts_ms": telling.ts_ms,
                "pieces": telling.pieces,
                "bytes": telling.size_bytes,
                "writing_ms": telling.writing_ms,
            }
        case AttemptFailed():
            return {
                "type": "attempt_failed",
                "id": telling.id,
                "ts_ms": telling.ts_ms,
                "provider": telling.provider,
                "model": telling.model,
                "kind": telling.kind,
                "error": telling.error,
                "duration_ms": telling.duration_ms,
            }
        case Standing():
            return {
                "type": "provider",
                "ts_ms": telling.ts_ms,
                "provider": telling.provider,
                "healthy": telling.healthy,
                "circuit": telling.circuit,
                "paused": telling.paused,
                "reached": telling.reached,
                "why": telling.why or None,
                "back_s": telling.back_s,
            }
        case Record():
            return complete(telling, bodies=bodies)


def is_original(telling: Telling) -> bool:
    """Whether readers of the original's feed know this type."""
    return not isinstance(telling, Queued | FirstToken | Progress | AttemptFailed | Standing)


def as_text(telling: Telling, *, bodies: bool = True, more: dict[str, JSON] | None = None) -> str:
    """`shape` as JSON text in one line. Never fails: words that cannot be written are left out. more:
    further members."""
    try:
        text = _ENCODER.encode(shape(telling, bodies=bodies) | (more or {}))
    except (TypeError, ValueError, RecursionError) as error:
        LOG.warning("the words of request %d are left out: %s", telling.id, error)
        text = _ENCODER.encode(shape(telling, bodies=False) | (more or {}))
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError:
        text = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text.translate(_LINE_ENDS)


def complete(record: Record, *, bodies: bool = True) -> dict[str, JSON]:
    """The `complete` object: the original's members first, then ours."""
    request, response = record.request, record.response
    if isinstance(response, Unread):
        response = response.response() if bodies else None
    usage = record.usage
    out: dict[str, JSON] = {
        "type": "complete",
        "id": record.id,
        "ts_ms": record.ts_ms,
        "provider": record.provider,
        "requested_model": record.requested_model,
        "sent_model": record.sent_model,
        "duration_ms": record.duration_ms,
        "tags": list(record.tags),
        "trace_id": record.trace_id,
        "plugins": list(record.plugins),
        "system": _system(request) if bodies and request else None,
        "messages": _messages(request) if bodies and request else [],
        "response": _response(response, record) if bodies and response else None,
        "error": record.error,
        "request_id": record.request_id,
        "client": record.client,
        "client_format": record.client_format,
        "endpoint": record.endpoint,
        "stream": record.stream,
        "status": record.status,
        "end": record.end,
        "fault": record.fault,
        "error_kind": record.error_kind,
        "rule": record.rule,
        "cache": record.cache or None,
        "trace": [_step(step) for step in record.trace],
        "attempts": list(record.attempts),
        "ttft_ms": record.ttft_ms,
        "queue_ms": record.queue_ms,
        "asked_ms": record.asked_ms,
        "connect_ms": record.connect_ms,
        "head_ms": record.head_ms,
        "left_host": record.left_host,
        "overhead_ms": None if record.overhead_ms is None else round(record.overhead_ms, 3),
        "input_tokens": usage.input if usage else None,
        "output_tokens": usage.output if usage else None,
        "cached_tokens": usage.cache_read if usage else None,
        "cache_write_tokens": usage.cache_write if usage else None,
        "reasoning_tokens": usage.reasoning if usage else None,
        "load_ms": usage.load_ms if usage else None,
        "prefill_ms": usage.prefill_ms if usage else None,
        "usage_estimated": record.usage_estimated,
        "cost_usd": record.cost_usd,
        "response_tags": list(record.response_tags),
        "dropped": list(record.dropped),
        "upstream_request_id": record.upstream_request_id,
        "address": record.address,
        "model_digest": record.model_digest or None,
        "quantization": record.quantization or None,
        "notes": list(record.notes),
        "policies": list(record.policies),
        "generation": record.generation,
    }
    if record.worker:
        out["worker"] = record.worker
    return out


def asked(request: Request) -> dict[str, JSON]:
    """What was asked for besides the words; only what was said. Tools that clients run themselves."""
    sampling, out = request.sampling, {}
    for name in ("temperature", "top_p", "top_k", "seed"):
        if (value := getattr(sampling, name)) is not None:
            out[name] = value
    if sampling.stop:
        out["stop"] = list(sampling.stop)
    if request.max_tokens is not None:
        out["max_tokens"] = request.max_tokens
    if tools := [_tool(tool) for tool in request.tools if tool.kind == "function"]:
        out["tools"] = tools
    if request.tool_choice is not None:
        out["tool_choice"] = _said(request.tool_choice, "mode", "names")
    if request.output is not None:
        out["output"] = _said(request.output, "kind", "schema", "name", "strict")
    if request.thinking is not None:
        out["thinking"] = _said(request.thinking, "mode", "effort", "budget_tokens")
    return out


def _tool(tool: Tool) -> dict[str, JSON]:
    return _said(tool, "name", "description", "parameters")


def _said(value: object, *names: str) -> dict[str, JSON]:
    """The members that say something."""
    pairs = ((name, getattr(value, name)) for name in names)
    return {n: _plain(v) for n, v in pairs if v is not None and v != ()}


def _plain(value: JSON) -> JSON:
    if isinstance(value, Mapping):
        return dict(value) if _fits(value, _DEPTH) else {}
    return list(value) if isinstance(value, tuple) else value


def _step(step: Step) -> str:
    """`routers[0] prefix: skipped local/llava: no tools`."""
    place = f" {step.provider}/{step.model}" if step.provider else ""
    return f"{step.rule}: {step.outcome}{place}" + (f": {step.reason}" if step.reason else "")


def _system(request: Request) -> str | None:
    texts = [
        part.text
        for message in request.messages
        if message.role in ("system", "developer")
        for part in message.parts
        if isinstance(part, Text)
    ]
    return "\n".join(texts) if texts else None


def _messages(request: Request) -> list[JSON]:
    return [
        {
            "role": "assistant" if message.role == "assistant" else "user",
            "content": _content(message),
        }
        for message in request.messages
        if message.role not in ("system", "developer")
    ]


def _content(message: Message) -> list[JSON]:
    return [_part(part) for part in message.parts]


def _part(part: Part) -> JSON:
    """A part in one of the original's four shapes; what has none is told of as text."""
    match part:
        case Text():
            return {"type": "text", "text": part.text}
        case Image(data=str() as data):
            return {"type": "image", "media_type": part.mime, "data": data}
        case Image():
            return {"type": "text", "text": f"[image {part.url or part.file_id}]"}
        case ToolUse():
            return {"type": "tool_use", "id": part.id, "name": part.name, "input": _input(part)}
        case ToolResult():
            text = "".join(p.text if isinstance(p, Text) else _told(p) for p in part.parts)
            return {"type": "tool_result", "tool_use_id": part.call_id, "content": text}
        case Thought():
            return {
                "type": "text",
                "text": f"[thinking] {part.text}" if part.text else "[thinking]",
            }
        case Document() | Audio() | Opaque():
            return {"type": "text", "text": _told(part)}


def _input(part: ToolUse) -> JSON:
    """A call's arguments; as text where they are no object, or one that not every parser takes."""
    if part.input is None or not _fits(part.input, _DEPTH):
        return {"_raw": part.arguments}
    return dict(part.input)


def _fits(value: JSON, depth: int) -> bool:
    match value:
        case str() | bool() | None:
            return True
        case float():
            return math.isfinite(value)
        case int():
            return -_LARGEST < value < _LARGEST
        case dict():
            return depth > 0 and all(_fits(each, depth - 1) for each in value.values())
        case list():
            return depth > 0 and all(_fits(each, depth - 1) for each in value)
        case _:  # a Mapping of another kind is the outermost one
            return isinstance(value, Mapping) and _fits(dict(value), depth)


def _told(part: Part) -> str:
    match part:
        case Document():
            return part.text or f"[document {part.name or part.mime or part.url}]"
        case Opaque():
            return f"[{part.type}]"
        case _:
            return f"[{type(part).__name__.lower()}]"


def _response(response: Response, record: Record) -> JSON:
    usage = response.usage or record.usage
    calls = [
        {
            "id": part.id,
            "name": part.name,
            "input": _input(part),
        }
        for part in response.parts
        if isinstance(part, ToolUse)
    ]
    out: dict[str, JSON] = {
        "id": response.id,
        "model": response.model,
        "content": "".join(p.text for p in response.parts if isinstance(p, Text)),
        "stop_reason": _STOPS.get(response.stop, "other"),
    }
    if calls:
        out["tool_calls"] = calls
    out["usage"] = {
        "input_tokens": (usage.input if usage else None) or 0,
        "output_tokens": (usage.output if usage else None) or 0,
    }
    out["tags"] = list(record.response_tags)
    thoughts = "".join(p.text for p in response.parts if isinstance(p, Thought))
    if thoughts:
        out["reasoning"] = thoughts
    return out
