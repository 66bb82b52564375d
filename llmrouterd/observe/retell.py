"""What one request's page tells beyond its event: the answer's fields, and the request to send again.

Owns: the X-Router-* fields as its client had them, and the body in the client's own format, written
anew from what was understood of it.
Refuses to know: HTTP, the feed.

Law: no credential is in here: a record holds none, and of header fields only our own are told.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from formats import FORMATS
from formats.canonical import Target, Text
from formats.errors import Unsupported
from formats.jsontext import dump
from formats.ledger import Ledger

if TYPE_CHECKING:
    from collections.abc import Iterator

    from formats.canonical import Request
    from llmrouterd.model import Record

JSON = Any
_CHATS = {
    "/v1/chat/completions": "openai",
    "/v1/responses": "responses",
    "/v1/messages": "anthropic",
    "/api/chat": "ollama",
}
_PROMPTS = ("/v1/completions", "/api/generate")


def retell(record: Record) -> dict[str, JSON]:
    """Members to add to the record's event. body: None where it cannot be written again."""
    return {"headers": [list(pair) for pair in _fields(record)], "body": _body(record)}


def _body(record: Record) -> str | None:
    request = record.request
    if request is None:
        return None
    if record.endpoint in _PROMPTS:
        told = {"model": request.model, "prompt": _prompt(request), "stream": request.stream}
        return dump(told).decode("utf-8", "replace")
    fmt = _CHATS.get(record.endpoint)
    if fmt is None:
        return None
    try:
        body = FORMATS[fmt].write_request(request, Ledger(), Target(request.model))
    except (Unsupported, RecursionError):
        return None
    return body.decode("utf-8", "replace")


def _prompt(request: Request) -> str:
    return "\n".join(
        part.text
        for message in request.messages
        if message.role == "user"
        for part in message.parts
        if isinstance(part, Text)
    )


def _fields(record: Record) -> Iterator[tuple[str, str]]:
    """As far as the record tells them. Of a stream the last ones came as trailers."""
    yield "x-router-request-id", record.request_id
    if record.provider:
        yield "x-router-provider", record.provider
        yield "x-router-model", record.sent_model
    if record.rule:
        yield "x-router-rule", record.rule
    if record.provider:
        yield "x-router-attempts", str(len(record.attempts) + (record.error is None) or 1)
    if record.queue_ms:
        yield "x-router-queue-ms", str(record.queue_ms)
    yield from record.limit_fields
    if record.tags:
        yield "x-router-request-tags", ",".join(record.tags)
    if record.dropped:
        yield "x-router-dropped", ",".join(record.dropped)
    if record.left_host is not None:
        yield "x-router-left-host", "yes" if record.left_host else "no"
    if record.upstream_request_id:
        yield "x-router-upstream-request-id", record.upstream_request_id
    if record.error_kind:
        yield "x-router-error", record.error_kind
    yield from _trailers(record)


def _trailers(record: Record) -> Iterator[tuple[str, str]]:
    usage = record.usage
    if usage is not None:
        yield "x-router-input-tokens", str(usage.input or 0)
        yield "x-router-output-tokens", str(usage.output or 0)
    if record.usage_estimated:
        yield "x-router-token-count", "estimate"
    if record.response_tags:
        yield "x-router-response-tags", ",".join(record.response_tags)
    if record.cost_usd is not None:
        yield "x-router-cost-usd", f"{record.cost_usd:.6f}"
