"""OpenTelemetry's messages as JSON: what a request came to, as spans and as a log record.

Owns: which spans there are, whose child each is, and the names of attributes (OpenTelemetry's
semantic conventions for HTTP and generative AI as of November 2026, `llmrouter.*` for the rest).
Refuses to know: sending, batches (otlp.py), counting (otlp_metrics.py), clocks.

Laws:
1. Values in, JSON out: nothing here waits, or asks for the time.
2. No words of a request or an answer: figures, names and kinds only. Names that clients choose are
   cut, and so are lists.
3. Ids are written in hex and 64-bit numbers as text, as OTLP's JSON wants them.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from formats.canonical import Response

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from formats.canonical import Request, Usage
    from llmrouterd.model import Record, Unread
    from llmrouterd.spans import Attempted, Exchanged, Traced

JSON = Any
Pairs = tuple[tuple[str, Any], ...]
INTERNAL = "internal"  # the endpoint of the router's own questions: no request of a client's
SCHEMA = "https://opentelemetry.io/schemas/1.42.0"
_TEXT = 256  # letters of one value
_LIST = 32  # of its entries
_INTERNAL, _SERVER, _CLIENT = 1, 2, 3  # kinds of spans
_ERROR = 2  # a span's status
_HAS_REMOTE, _REMOTE = 0x100, 0x200  # of a span's flags: whether its parent is somebody else's
_INFO, _WARN, _FAULT = (9, "INFO"), (13, "WARN"), (17, "ERROR")
_LEVELS = ((40, _FAULT), (30, _WARN), (20, _INFO))
# What is an error of ours towards the client, and no 4xx.
_OUR_ERRORS = frozenset({"upstream_error", "truncated", "stalled", "internal_error"})
# Neither of these speaks against a provider.
_NO_FAULT = frozenset({"client_gone", "hedged", "tagged"})
_STOPS = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "context_window": "length",
    "tool_use": "tool_call",
    "content_filter": "content_filter",
    "refusal": "content_filter",
}


@dataclass(frozen=True, slots=True)
class Source:
    """Who tells: the resource that every message names."""

    service: str
    version: str
    instance: str
    host: str
    pid: int = 0

    @property
    def resource(self) -> JSON:
        pairs = (
            ("service.name", self.service),
            ("service.version", self.version),
            ("service.instance.id", self.instance),
            ("host.name", self.host),
            ("process.pid", self.pid or None),
        )
        return {"attributes": attributes(pairs)}

    @property
    def scope(self) -> JSON:
        return {"name": "llmrouter", "version": self.version}


@dataclass(frozen=True, slots=True)
class Told:
    """One request as it waits to be sent: its record without any words, and what was asked for and
    answered in figures."""

    record: Record
    asked: Pairs = ()
    answered: Pairs = ()


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the daemon's own log."""

    unix_ns: int
    level: int
    logger: str
    text: str
    trace_id: str = ""


def told_of(record: Record) -> Told:
    """The record in little memory."""
    slim = replace(
        record,
        request=None,
        response=None,
        attempts=(),
        error=None,
        notes=(),
        decision=None,
        tried=(),
    )
    asked = () if record.request is None else _asked(record.request)
    return Told(slim, asked, _answered(record.response))


def _asked(request: Request) -> Pairs:
    sampling = request.sampling
    return (
        ("gen_ai.request.max_tokens", request.max_tokens),
        ("gen_ai.request.temperature", _float(sampling.temperature)),
        ("gen_ai.request.top_p", _float(sampling.top_p)),
        ("gen_ai.request.top_k", _float(sampling.top_k)),
        ("gen_ai.request.frequency_penalty", _float(sampling.frequency_penalty)),
        ("gen_ai.request.presence_penalty", _float(sampling.presence_penalty)),
        ("gen_ai.request.seed", sampling.seed),
        ("gen_ai.request.choice.count", sampling.n if sampling.n != 1 else None),
    )


def _answered(response: Response | Unread | None) -> Pairs:
    """What passed through as bytes is not read for this."""
    if not isinstance(response, Response):
        return ()
    return (
        ("gen_ai.response.id", response.id),
        ("gen_ai.response.model", response.model),
        ("gen_ai.response.finish_reasons", (_STOPS.get(response.stop, str(response.stop)),)),
    )


def operation_of(record: Record) -> str:
    """`gen_ai.operation.name`."""
    if "/embed" in record.endpoint:
        return "embeddings"
    return "text_completion" if record.client_format in ("completions", "generate") else "chat"


def error_of(record: Record) -> str | None:
    """`error.type`: few values; None when all went well."""
    return None if record.end == "complete" else record.error_kind or record.end


# --- messages -------------------------------------------------------------------------------------


def traces(source: Source, told: Iterable[Told]) -> bytes:
    """The message for /v1/traces."""
    spans = (span for each in told for span in spans_of(each))
    return _message(source, ("resourceSpans", "scopeSpans", "spans"), spans)


def logs(source: Source, told: Iterable[Told | Line]) -> bytes:
    """The message for /v1/logs."""
    records = (_line(each) if isinstance(each, Line) else _log_record(each) for each in told)
    return _message(source, ("resourceLogs", "scopeLogs", "logRecords"), records)


def _message(source: Source, names: tuple[str, str, str], entries: Iterable[JSON]) -> bytes:
    """Written entry by entry: one large piece would hold up every other thread."""
    of_resource, of_scope, of_entries = names
    scope = {"scope": source.scope, "schemaUrl": SCHEMA, of_entries: []}
    whole = dump({of_resource: [{"resource": source.resource, of_scope: [scope]}]})
    end = len(b"]}]}]}")  # of the list that is empty so far, and of all round it
    return whole[:-end] + b",".join(map(dump, entries)) + whole[-end:]


def dump(message: JSON) -> bytes:
    return json.dumps(message, separators=(",", ":"), allow_nan=False).encode()


def attributes(pairs: Iterable[tuple[str, Any]]) -> list[JSON]:
    """Key-value pairs as OTLP writes them; what is unknown or empty is left out."""
    return [
        {"key": key, "value": _value(value)}
        for key, value in pairs
        if value is not None and value not in ("", ())
    ]


def _value(value: Any) -> JSON:
    match value:
        case bool():
            return {"boolValue": value}
        case int():
            return {"intValue": str(max(-(1 << 63), min(value, (1 << 63) - 1)))}
        case float():
            return {"doubleValue": value if math.isfinite(value) else 0.0}
        case tuple() | list():
            return {"arrayValue": {"values": [_value(each) for each in value[:_LIST]]}}
        case _:
            return {"stringValue": cut(str(value))}


def cut(text: str, limit: int = _TEXT) -> str:
    """The text within bounds, and without half surrogate pairs."""
    text = text if len(text) <= limit else text[: limit - 3] + "..."
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


def _float(value: float | None) -> float | None:
    """A sampling figure as a double, whatever a client wrote."""
    try:
        return None if value is None else float(value)
    except OverflowError:
        return None


# --- spans ----------------------------------------------------------------------------------------


def spans_of(told: Told) -> list[JSON]:
    """The request, what came before its first attempt, each attempt, and each of its exchanges."""
    record, traced = told.record, told.record.traced
    if traced is None or not traced.sampled:
        return []
    own = record.endpoint == INTERNAL
    spans = [] if own else [_request(told, traced)]
    if traced.classify is not None:
        spans.append(_step(traced, "classify", traced.classify, _classify(record)))
    if traced.route is not None:
        spans.append(_step(traced, "route", traced.route, _route(record)))
    for number, attempt in enumerate(traced.attempts):
        parent_id = traced.parent_id if own else traced.span_id
        spans.append(_attempt(told, traced, attempt, number, parent_id))
        if attempt.queue is not None:
            spans.append(_step(traced, "queue", attempt.queue, (), attempt.span_id))
        for resent, exchange in enumerate(attempt.exchanges):
            spans.append(_exchange(traced, attempt, exchange, resent))
    return spans


def _span(
    traced: Traced,
    name: str,
    kind: int,
    span_id: str,
    parent_id: str,
    times_ns: tuple[int, int],
    pairs: Iterable[tuple[str, Any]],
    *,
    failed: bool = False,
) -> dict[str, JSON]:
    begun_ns, ended_ns = times_ns
    out: dict[str, JSON] = {
        "traceId": traced.trace_id,
        "spanId": span_id,
        "flags": traced.flags | _HAS_REMOTE,
        "name": cut(name),
        "kind": kind,
        "startTimeUnixNano": str(traced.begun_unix_ns + begun_ns),
        "endTimeUnixNano": str(traced.begun_unix_ns + max(begun_ns, ended_ns)),
        "attributes": attributes(pairs),
    }
    if parent_id:
        out["parentSpanId"] = parent_id
    if traced.state:
        out["traceState"] = traced.state
    if failed:
        out["status"] = {"code": _ERROR}
    return out


def _request(told: Told, traced: Traced) -> JSON:
    record = told.record
    span = _span(
        traced,
        f"POST {record.endpoint}",
        _SERVER,
        traced.span_id,
        traced.parent_id,
        (0, traced.ended_ns),
        _request_pairs(record),
        failed=record.end in _OUR_ERRORS or record.status >= 500,
    )
    if traced.parent_id:
        span["flags"] |= _REMOTE
    if traced.first_token_ns is not None:
        at = str(traced.begun_unix_ns + traced.first_token_ns)
        span["events"] = [{"timeUnixNano": at, "name": "llmrouter.first_token"}]
    return span


def _request_pairs(record: Record) -> Pairs:
    http = (
        ("http.request.method", "POST"),
        ("http.route", record.endpoint),
        ("http.response.status_code", record.status or None),
    )
    return (
        *(() if record.endpoint == INTERNAL else http),
        ("error.type", error_of(record)),
        ("gen_ai.operation.name", operation_of(record)),
        ("gen_ai.request.model", record.requested_model),
        *((("gen_ai.request.stream", True),) if record.stream else ()),
        *_usage(record.usage),
        *_of_router(record),
    )


def _of_router(record: Record) -> Pairs:
    return (
        ("llmrouter.request_id", record.request_id),
        ("llmrouter.end", record.end),
        ("llmrouter.fault", record.fault),
        ("llmrouter.client", record.client),
        ("llmrouter.client_format", record.client_format),
        ("llmrouter.provider", record.provider),
        ("llmrouter.model", record.sent_model),
        ("llmrouter.rule", record.rule),
        ("llmrouter.attempts", len(record.traced.attempts) if record.traced else None),
        ("llmrouter.tags", record.tags),
        ("llmrouter.response_tags", record.response_tags),
        ("llmrouter.plugins", record.plugins),
        ("llmrouter.cache", record.cache),
        ("llmrouter.policies", record.policies),
        ("llmrouter.dropped", record.dropped),
        ("llmrouter.cost_usd", record.cost_usd),
        ("llmrouter.usage_estimated", True if record.usage_estimated else None),
        ("llmrouter.overhead_ms", record.overhead_ms),
        ("llmrouter.queue_ms", record.queue_ms),
        ("llmrouter.time_to_first_token_ms", record.ttft_ms),
    )


def _usage(usage: Usage | None) -> Pairs:
    if usage is None:
        return ()
    return (
        ("gen_ai.usage.input_tokens", usage.input),
        ("gen_ai.usage.output_tokens", usage.output),
        ("gen_ai.usage.cache_read.input_tokens", usage.cache_read),
        ("gen_ai.usage.cache_creation.input_tokens", usage.cache_write),
        ("gen_ai.usage.reasoning.output_tokens", usage.reasoning),
    )


def _step(
    traced: Traced, name: str, step: tuple[str, int, int], pairs: Pairs, parent_id: str = ""
) -> JSON:
    """parent_id: "" for the request's."""
    span_id, begun_ns, ended_ns = step
    times_ns = (begun_ns, ended_ns)
    return _span(traced, name, _INTERNAL, span_id, parent_id or traced.span_id, times_ns, pairs)


def _classify(record: Record) -> Pairs:
    return (("llmrouter.tags", record.tags),)


def _route(record: Record) -> Pairs:
    steps = tuple(
        f"{step.rule}: {step.outcome}"
        + (f" {step.provider}/{step.model}" if step.provider else "")
        + (f": {step.code}" if step.code else "")
        for step in record.trace[:_LIST]
    )
    return (("llmrouter.route", steps), ("llmrouter.policies", record.policies))


def _attempt(told: Told, traced: Traced, attempt: Attempted, number: int, parent_id: str) -> JSON:
    record = told.record
    last = attempt is answered_by(record)
    pairs = (
        ("gen_ai.operation.name", operation_of(record)),
        ("gen_ai.provider.name", attempt.system or attempt.provider),
        ("gen_ai.request.model", attempt.model),
        *((("gen_ai.request.stream", True),) if record.stream else ()),
        *told.asked,
        *((*told.answered, *_usage(record.usage)) if last else ()),
        ("gen_ai.response.time_to_first_chunk", first_chunk_s(record) if last else None),
        *_server(attempt.base_url),
        ("error.type", attempt.error),
        ("llmrouter.provider", attempt.provider),
        ("llmrouter.attempt", number + 1),
    )
    return _span(
        traced,
        f"{operation_of(record)} {attempt.model}",
        _CLIENT,
        attempt.span_id,
        parent_id,
        (attempt.begun_ns, attempt.ended_ns),
        pairs,
        failed=bool(attempt.error) and attempt.error not in _NO_FAULT,
    )


def answered_by(record: Record) -> Attempted | None:
    """The attempt that the record is about: an answer that was set aside may have been given after
    all."""
    attempts = record.traced.attempts if record.traced is not None else ()
    at = (record.provider, record.sent_model)
    found = (each for each in reversed(attempts) if (each.provider, each.model) == at)
    return next(found, attempts[-1] if attempts else None)


def first_chunk_s(record: Record) -> float | None:
    """Seconds from asking the provider that answered to its first content, of streams."""
    traced, attempt = record.traced, answered_by(record)
    if traced is None or attempt is None or not record.stream or traced.first_token_ns is None:
        return None
    return max(0, traced.first_token_ns - attempt.asked_ns) / 1e9


def _exchange(traced: Traced, attempt: Attempted, exchange: Exchanged, resent: int) -> JSON:
    transport, peer, port = _peer(exchange.address)
    answered_ns, connect_s = exchange.answered_ns, exchange.connect_s
    waited_ns = None if answered_ns is None else answered_ns - exchange.begun_ns
    url = urlsplit(attempt.base_url)
    pairs = (
        ("http.request.method", "POST"),
        ("http.response.status_code", exchange.status),
        ("http.request.resend_count", resent or None),
        ("url.full", f"{url.scheme}://{url.netloc}{exchange.target}" if url.netloc else None),
        *_server(attempt.base_url),
        ("network.transport", transport),
        ("network.peer.address", peer),
        ("network.peer.port", port),
        ("error.type", exchange.error),
        ("llmrouter.connect_ms", None if connect_s is None else round(connect_s * 1e3, 3)),
        ("llmrouter.first_byte_ms", None if waited_ns is None else waited_ns / 1e6),
    )
    return _span(
        traced,
        "POST",
        _CLIENT,
        exchange.span_id,
        attempt.span_id,
        (exchange.begun_ns, exchange.ended_ns),
        pairs,
        failed=bool(exchange.error),
    )


def _peer(address: str) -> tuple[str | None, str, int | None]:
    """Transport (where it is not TCP), address and port of a receipt."""
    if address.startswith("unix:"):
        return "unix", address.removeprefix("unix:"), None
    peer, _, port = address.rpartition(":")
    return None, peer.strip("[]"), int(port) if port.isdecimal() else None


def _server(base_url: str) -> Pairs:
    url = urlsplit(base_url)
    if not url.hostname:
        return ()
    return (
        ("server.address", url.hostname),
        ("server.port", url.port or (443 if url.scheme == "https" else 80)),
    )


# --- log records ----------------------------------------------------------------------------------


def _log_record(told: Told) -> JSON:
    record = told.record
    level = _INFO if record.fault in ("", "client") else _WARN
    level = _FAULT if record.end == "internal_error" else level
    place = f" {record.provider}/{record.sent_model}" if record.provider else ""
    text = f"{record.end} {record.status}{place} {record.duration_ms} ms"
    out = _logged(record.ts_ms * 1_000_000, level, text, _request_pairs(record))
    out["eventName"] = "llmrouter.request"
    if record.traced is not None:
        out |= {"traceId": record.traced.trace_id, "spanId": record.traced.span_id}
        out["flags"] = record.traced.flags
    elif record.trace_id:
        out["traceId"] = record.trace_id
    return out


def _line(line: Line) -> JSON:
    level = next((level for least, level in _LEVELS if line.level >= least), (5, "DEBUG"))
    out = _logged(line.unix_ns, level, line.text, (("logger", line.logger),))
    if line.trace_id:
        out["traceId"] = line.trace_id
    return out


def _logged(
    unix_ns: int, level: tuple[int, str], text: str, pairs: Sequence[tuple[str, Any]]
) -> dict[str, JSON]:
    return {
        "timeUnixNano": str(unix_ns),
        "observedTimeUnixNano": str(unix_ns),
        "severityNumber": level[0],
        "severityText": level[1],
        "body": {"stringValue": cut(text, 2048)},
        "attributes": attributes(pairs),
    }
