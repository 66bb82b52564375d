"""Errors around Anthropic Messages: an upstream's, whatever shape it has, and a client's own.

Owns: whose fault an upstream's error is, and how this format words any failure.
Refuses to know: streams and requests; when to try again.

Laws:
1. An upstream's words stay word for word, but for credentials in them, and for an overflow of the
   context: clients of this format shorten their history when they read one certain sentence.
2. A client never hears of the router's own credential: that is a failure of the server to it.
3. Servers that merely speak this format send errors of other formats: all are understood.
"""

from __future__ import annotations

import re
from typing import Any

from formats import jsontext
from formats.errors import STATUS, Failure, FailureKind, scrubbed

JSON = Any
_Object = dict[str, JSON]

_KIND_OF_TYPE: dict[str, FailureKind] = {
    "invalid_request_error": "refused_by_upstream",
    "authentication_error": "credential",
    "permission_error": "credential",
    "billing_error": "quota",
    "insufficient_quota": "quota",
    "not_found_error": "model_not_found",
    "model_not_found": "model_not_found",
    "request_too_large": "too_large",
    "rate_limit_error": "rate_limit",
    "rate_limit_exceeded": "rate_limit",
    "timeout_error": "timeout",
    "overloaded_error": "overloaded",
    "unavailable_error": "overloaded",
    "exceed_context_size_error": "context_too_long",
    "context_length_exceeded": "context_too_long",
    "api_error": "upstream",
}
_KIND_OF_STATUS: dict[int, FailureKind] = {
    401: "credential",
    402: "quota",
    403: "credential",
    408: "timeout",
    413: "too_large",
    429: "rate_limit",
    503: "overloaded",
    504: "timeout",
    529: "overloaded",
}
_TYPE_OF_KIND: dict[FailureKind, str] = {
    "bad_request": "invalid_request_error",
    "unsupported": "invalid_request_error",
    "context_too_long": "invalid_request_error",
    "refused_by_upstream": "invalid_request_error",
    "no_provider": "router_error",  # for what only a router can get wrong the format has no word
    "plugin": "router_error",
    "internal": "router_error",
    "method_not_allowed": "invalid_request_error",
    "unsupported_media": "invalid_request_error",
    "upgrade_refused": "invalid_request_error",
    "http_version": "invalid_request_error",
    "too_large": "request_too_large",
    "too_slow": "timeout_error",
    "not_found": "not_found_error",
    "model_not_found": "not_found_error",
    "unauthorized": "authentication_error",
    "forbidden": "permission_error",
    "rate_limit": "rate_limit_error",
    "quota": "rate_limit_error",
    "overloaded": "overloaded_error",
    "draining": "overloaded_error",
    "queue_full": "overloaded_error",
    "queue_timeout": "overloaded_error",
    "no_hub": "overloaded_error",
    "client_limit": "rate_limit_error",
    "over_budget": "rate_limit_error",
    "timeout": "timeout_error",
}
# With these an upstream refuses the client's own credential.
_TYPE_OF_REFUSAL = {401: "authentication_error", 403: "permission_error"}
_MESSAGE_SEARCHED = 2000  # characters; the patterns below are not linear in bad cases
_TOO_LONG = re.compile(
    r"prompt is too long|context (?:length|size|window)|maximum context|exceed_context_size",
    re.IGNORECASE,
)
_SPENT = re.compile(
    r"insufficient_quota|exceeded your current quota|_spend_limit_reached", re.IGNORECASE
)
# Mistakes of a request that some servers answer with 500, and what a server is not able to do.
_NOT_CURED = re.compile(
    r"is required|invalid|must be|failed to parse (?:tools|messages|input|grammar|json schema)"
    r"|key '\w+' not found|json\.exception|missing tool|unsupported tool type"
    r"|unable to generate parser|failed to (?:load|decode) image",
    re.IGNORECASE,
)
_UNABLE = re.compile(r"(?:is|are) not supported|does not support", re.IGNORECASE)
_NUMBERS = (
    re.compile(r"(\d[\d,]*) tokens?\)? (?:>|exceeds?)\D*(\d[\d,]*)", re.IGNORECASE),
    re.compile(
        r"requested\D*(\d[\d,]*) tokens\b.*?maximum\D*(\d[\d,]*)", re.IGNORECASE | re.DOTALL
    ),
)
_NUMBERS_REVERSED = re.compile(
    r"maximum context length is (\d[\d,]*) tokens\D*?(\d[\d,]*) (?:input )?tokens",
    re.IGNORECASE | re.DOTALL,
)


def failure_kind(status: int | None, type_: str, code: str, message: str) -> FailureKind:
    """Whose fault an upstream's error is. status None: it came inside a stream."""
    message = message[:_MESSAGE_SEARCHED]
    if _SPENT.search(f"{type_} {code} {message}"):
        return "quota"
    said = _KIND_OF_TYPE.get(type_) or _KIND_OF_TYPE.get(code)
    doubtful = status is None or status in (400, 413, 422, 500)
    if doubtful and (said == "context_too_long" or _TOO_LONG.search(message)):
        return "context_too_long"
    if status in (400, 500) and _UNABLE.search(message):
        return "unsupported"
    if status is None:
        return said or "upstream"
    if status in _KIND_OF_STATUS:
        return _KIND_OF_STATUS[status]
    if status == 404:
        # An unknown path is 404 too, but then nobody speaks of a model.
        named = said == "model_not_found" or "model" in message.lower()
        return "model_not_found" if named else "upstream"
    if 400 <= status < 500 or (status == 500 and _NOT_CURED.search(message)):
        return "refused_by_upstream"
    return "upstream"


def client_status(failure: Failure) -> int:
    """An upstream's own 4xx stays what it was, except where it speaks of the router's credential."""
    status = failure.status
    own = failure.kind not in ("credential", "upstream", "context_too_long", "unauthorized")
    if own and status is not None and 400 <= status < 500:
        return status
    return STATUS[failure.kind][1]


def error_object(failure: Failure) -> dict[str, JSON]:
    """The body (or the stream event) that tells a client of this format what went wrong."""
    native = failure.native
    message = failure.message
    if failure.kind == "context_too_long":
        message = _overflow_message(failure)
    elif (
        failure.kind != "credential"
        and isinstance(native, dict)
        and native.get("type") == "error"
        and isinstance(native.get("error"), dict)
        and isinstance(native["error"].get("type"), str)
    ):
        return {**native, "error": {**native["error"], "message": message}}
    type_ = _TYPE_OF_KIND.get(failure.kind, "api_error")
    if failure.kind == "quota" and failure.status == 402:
        type_ = "billing_error"
    elif failure.kind == "refused_by_upstream":
        type_ = _TYPE_OF_REFUSAL.get(failure.status or 0, type_)
    error: dict[str, JSON] = {"type": type_, "message": message}
    if failure.kind == "unsupported" and failure.param == "thread":
        error["details"] = dict(_NO_THREADS)  # at this the SDKs send the whole conversation
    return {"type": "error", "error": error}


_NO_THREADS = {"error_code": "thread_unsupported_request", "unsupported": ["thread"]}


def _overflow_message(failure: Failure) -> str:
    """Clients of this format shorten their history when they read exactly this."""
    said = failure.message
    head = said[:_MESSAGE_SEARCHED]
    if said.lower().startswith("prompt is too long"):
        return said
    for pattern in _NUMBERS:
        if found := pattern.search(head):
            return _too_long(found[1], found[2], said)
    if found := _NUMBERS_REVERSED.search(head):
        return _too_long(found[2], found[1], said)
    return f"prompt is too long: {said}"


def _too_long(tokens: str, maximum: str, said: str) -> str:
    tokens, maximum = tokens.replace(",", ""), maximum.replace(",", "")
    return f"prompt is too long: {tokens} tokens > {maximum} maximum ({said})"


# --- an upstream's error --------------------------------------------------------------------------

_SHOWN = 500  # characters of a body that is no error object


def parse_error(status: int, body: bytes) -> Failure:
    """An upstream's answer with an error status, in any shape seen at servers of this format."""
    try:
        value = jsontext.loads(body.decode())
    except ValueError:
        value = None
    if value is None or value in ("", [], {}):
        return _plain(status, body)
    return answer_failure(status, value)


def event_failure(value: _Object) -> Failure:
    """The error event of a stream that had begun well."""
    return _failure(None, value)


def answer_failure(status: int, value: JSON) -> Failure:
    """An error from parsed JSON."""
    return _failure(status, value)


def stray_failure(stray: bytes) -> Failure:
    """What came where a stream was due: a bare JSON error, or something else altogether."""
    try:
        value = jsontext.loads(stray.decode())
    except ValueError:
        value = None
    if type(value) is dict and value.get("error") is not None:
        return _failure(None, value)
    return Failure("upstream", f"the upstream sent no stream of events but: {_shown(stray)}")


def _plain(status: int, body: bytes) -> Failure:
    kind = failure_kind(status, "", "", "")
    said = _shown(body)
    message = f"the upstream answered {status}" + (f": {said}" if said else " without a word")
    return Failure(kind, message, status=status)


def _shown(body: bytes) -> str:
    text = body[: 4 * _SHOWN].decode(errors="replace")
    if "<html" in text.lower() or text.lstrip()[:9].lower() == "<!doctype":
        text = re.sub(r"<[^<>]*>", " ", text)
    return scrubbed(" ".join(text.split())[:_SHOWN])


def _failure(status: int | None, value: JSON) -> Failure:
    """{"error": {...}} of Anthropic and OpenAI, {"error": "words"} of Ollama, {"detail": ...} and
    {"message": ...} of Python servers."""
    outer = value if type(value) is dict else {}
    error = outer.get("error", outer.get("detail"))
    if type(error) is str:
        error = _unwrapped(error)
    inner = error if type(error) is dict else outer
    message = inner.get("message")
    if type(message) is not str or not message:
        message = error if type(error) is str and error else jsontext.dumps(value)[:_SHOWN]
    else:
        nested = _unwrapped(message)
        if type(nested) is dict:  # an error object as the text of another one
            inner, message = nested, nested["message"]
    type_, code = inner.get("type"), inner.get("code")
    details = inner.get("details")
    if type(details) is dict and type(details.get("error_code")) is str:
        code = details["error_code"]
    type_ = type_ if type(type_) is str else None
    code = code if type(code) in (str, int) else None
    param = inner.get("param")
    return Failure(
        failure_kind(status, type_ or "", code if type(code) is str else "", message),
        scrubbed(message),
        status=status,
        type=type_,
        code=code,
        param=param if type(param) is str else None,
        native=value,
    )


def _unwrapped(text: str) -> JSON:
    """The error object that some servers put into a string; else the text itself."""
    if not text.startswith("{"):
        return text
    try:
        value = jsontext.loads(text)
    except ValueError:
        return text
    inner = value.get("error", value) if type(value) is dict else None
    if type(inner) is dict and type(inner.get("message")) is str:
        return inner
    return text


def write_failure(failure: Failure, /) -> tuple[int, bytes]:
    """Status and body of an error before the first byte."""
    return client_status(failure), jsontext.dump(error_object(failure))
