"""Errors as Chat Completions servers write them: read, judged, and written for clients.

Owns: the many shapes in which servers of this format say that something went wrong, what kind of
failure each is, and the one shape that clients are given.
Refuses to know: headers, retries, streams.

Laws:
1. Whatever an upstream sends, it is a `Failure` with a message for a person; nothing raises.
2. The upstream's words stay word for word, but for credentials in them, which are masked.
3. A client is never told that its own key is bad because the router's was.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from formats.errors import STATUS, Failure, FailureKind, scrubbed
from formats.jsontext import dump_ascii, loads

if TYPE_CHECKING:
    from collections.abc import Mapping

    from formats.canonical import JSON

_MESSAGE_KEPT = 4000
_AGAIN_IN = re.compile(r"try again in (\d+(?:\.\d+)?)\s?(ms|s|m)\b", re.IGNORECASE)
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0}


class OpenAIError(dict):  # type: ignore[type-arg]
    """An error object as it came from a server of this format: what `Failure.native` holds, so
    that clients of this format get the upstream's own type and code."""


# --- what servers say -----------------------------------------------------------------------------


def parse_error(status: int, body: bytes, /) -> Failure:
    """An upstream's error answer, whatever shape it really has."""
    text = body.decode("utf-8", "replace").strip()
    try:
        value = loads(text)
    except ValueError:
        return failure_of(status, {"message": _plain_message(status, text)}, native=False)
    if isinstance(value, list) and value and isinstance(value[0], dict):
        value = value[0]
    if isinstance(value, dict):
        return failure_of(status, error_object(value) or {"message": _unnamed(status, text)})
    if isinstance(value, str) and value:
        return failure_of(status, _from_text(value))
    return failure_of(status, {"message": _unnamed(status, text)}, native=False)


def error_object(obj: Mapping[str, JSON]) -> dict[str, JSON] | None:
    """The error inside an answer or an event: nested, flat, in a string, or as FastAPI has it."""
    error = obj.get("error")
    if isinstance(error, dict):
        return _unwrapped(error)
    if isinstance(error, str) and error:
        return _from_text(error)
    if error:
        return {"message": f"the upstream reported an error: {error}"}
    if obj.get("object") == "error" or ("message" in obj and "choices" not in obj):
        return _unwrapped(dict(obj))
    detail = obj.get("detail")
    if detail and "choices" not in obj:
        return _unwrapped(detail) if isinstance(detail, dict) else {"message": _details(detail)}
    return None


def _unwrapped(error: dict[str, JSON]) -> dict[str, JSON]:
    """Some servers hand on the JSON of the server behind them as the message's text."""
    message = error.get("message")
    if isinstance(message, str) and message.lstrip().startswith("{"):
        inner = _from_text(message)
        if inner.get("message") != message:
            return {**error, **inner}
    return error


def _from_text(text: str) -> dict[str, JSON]:
    if text.lstrip().startswith("{"):
        try:
            value = loads(text)
        except ValueError:
            value = None
        inner = value.get("error") if isinstance(value, dict) else None
        if isinstance(inner, dict):
            return inner
        if isinstance(inner, str):
            return {"message": inner}
        if isinstance(value, dict) and isinstance(value.get("message"), str):
            return value
    return {"message": text}


def _details(detail: JSON) -> str:
    if isinstance(detail, str):
        return detail
    items = detail if isinstance(detail, list) else [detail]
    said = []
    for item in items:
        if isinstance(item, dict) and isinstance(item.get("msg"), str):
            places = item.get("loc")
            where = ".".join(map(str, places)) if isinstance(places, list) else ""
            said.append(f"{where}: {item['msg']}" if where else item["msg"])
        else:
            said.append(str(item))
    return "; ".join(said)


def _plain_message(status: int, text: str) -> str:
    if not text:
        return f"the upstream answered {status} without a body"
    if text[:200].lstrip().lower().startswith(("<!doctype", "<html", "<?xml", "<head", "<body")):
        found = re.search(r"<title[^>]*>([^<]{1,200})", text[:20000], re.IGNORECASE)
        title = f": {' '.join(found[1].split())}" if found else ""
        return f"the upstream answered {status} with a page of HTML{title}"
    return text


def _unnamed(status: int, text: str) -> str:
    return f"the upstream answered {status}: {text[:300]}" if text else _plain_message(status, "")


# --- what kind of failure it is -------------------------------------------------------------------


def failure_of(status: int | None, error: Mapping[str, JSON], *, native: bool = True) -> Failure:
    """An error object as a failure. status None: it came inside a stream."""
    message = error.get("message")
    if not isinstance(message, str) or not message:
        message = _nameless(error)
    kind_said = error.get("type")
    code = error.get("code")
    code = code if isinstance(code, str) or type(code) is int else None
    kind_said = kind_said if isinstance(kind_said, str) else None
    param = error.get("param")
    kind = _judged(status or _status_in(code), kind_said or "", str(code or ""), message)
    return Failure(
        kind=kind,
        message=scrubbed(message)[:_MESSAGE_KEPT],
        status=status,
        type=kind_said,
        code=code,
        param=param if isinstance(param, str) else None,
        retry_after_s=_again_in(message) if kind in ("rate_limit", "overloaded") else None,
        native=OpenAIError(error) if native else None,
    )


def _nameless(error: Mapping[str, JSON]) -> str:
    for name in ("detail", "msg", "error", "description", "code", "type"):
        value = error.get(name)
        if value and isinstance(value, str | int):
            return f"the upstream reported: {value}"
    return "the upstream reported an error without a message"


def _status_in(code: str | int | None) -> int | None:
    """Many servers write the HTTP status into `code`, as a number or as text."""
    if isinstance(code, str) and code.isascii() and code.isdigit() and len(code) == 3:
        code = int(code)
    return code if isinstance(code, int) and 400 <= code < 600 else None


def _again_in(message: str) -> float | None:
    found = _AGAIN_IN.search(message)
    return float(found[1]) * _UNITS[found[2].lower()] if found else None


_TOO_MUCH_CONTEXT = re.compile(
    r"maximum context length|context[ _]length[ _]exceeded|exceeds? (?:the )?(?:available |model'?s? )?"
    r"(?:maximum )?context|context window|prompt is too long|input is too long|too many input tokens"
    r"|maximum (?:prompt|input) length|longer than the (?:maximum )?(?:model|context)"
)
_NO_SUCH_MODEL = re.compile(
    r"model\b.{0,200}\b(?:not found|does not exist|not exist\b|is not available|not supported\b)"
    r"|(?:no such|unknown|invalid|unable to find|could not find) model|invalid model name"
)
# What a model lacks and mistakes of the client: some servers (llama.cpp, Ollama, LiteLLM) answer
# both with a 500.
_UNABLE = re.compile(
    r"input is not supported|does not support (?:tools|images|vision|chat|thinking|audio)"
)
_CLIENTS_MISTAKE = re.compile(
    r"failed to parse (?:tools|messages|input|grammar|json schema)|missing tool function"
    r"|key '\w+' not found|json\.exception|unsupported tool type|invalid tool_choice|is required$"
    r"|must be of type|^invalid (?:format|option|image)|unable to generate parser"
    r"|only one of|failed to (?:load|decode) image|cannot use \w+ with|unknown content part"
)
_QUOTA = re.compile(
    r"insufficient[ _](?:quota|balance|credit)|current quota|credit balance|billing"
)
_OVERLOADED = re.compile(
    r"overloaded|server (?:is )?busy|loading model|no slots? available|capacity"
)
_KEY_REFUSED = re.compile(r"(?:invalid|incorrect|missing) (?:api|x-api)[ _-]?key|no connected db")
_FILTERED = frozenset({"content_filter", "content_policy_violation", "moderation_blocked"})


def _judged(status: int | None, kind: str, code: str, message: str) -> FailureKind:
    said = f"{kind} {code}".lower()
    words = message.lower()
    return (
        _by_name(said, words, status)
        or _by_words(words, status)
        or _by_status(status, said, words)
        or "upstream"
    )


def _by_name(said: str, words: str, status: int | None) -> FailureKind | None:
    """By `type` and `code`, where servers use the vendor's words."""
    if "context_length_exceeded" in said or "exceed_context_size" in said:
        return "context_too_long"
    if "insufficient_quota" in said or "billing" in said or status == 402:
        return "quota"
    if "model_not_found" in said or ("not_found_error" in said and "model" in words):
        return "model_not_found"
    if "invalid_api_key" in said or "authentication_error" in said or status in (401, 403):
        return "credential"
    if "overloaded" in said or "unavailable_error" in said or "slow_down" in said:
        return "overloaded"
    if any(word in said for word in _FILTERED):
        return "refused_by_upstream"
    return None


def _by_words(words: str, status: int | None) -> FailureKind | None:
    head = words[:2000]
    if status == 429 or "rate limit" in head:
        return "quota" if _QUOTA.search(head) else "rate_limit"
    if _TOO_MUCH_CONTEXT.search(head):
        return "context_too_long"
    if status in (400, 404, 422) and _NO_SUCH_MODEL.search(head):
        return "model_not_found"
    if status == 400 and _KEY_REFUSED.search(head):
        return "credential"
    if status is None or status >= 500:
        if _UNABLE.search(head):
            return "unsupported"
        if _CLIENTS_MISTAKE.search(head):
            return "bad_request"
        if _OVERLOADED.search(head):
            return "overloaded"
    return None


def _by_status(status: int | None, said: str, words: str) -> FailureKind | None:
    if "rate_limit" in said:
        return "rate_limit"
    if status in (503, 529):
        return "overloaded"
    if status == 413:
        return "too_large"
    if status in (408, 504):
        return "timeout"
    if status in (400, 415, 422):
        return "bad_request"
    if status is None:
        return "bad_request" if "invalid_request" in said else "upstream"
    if status in (404, 405) or status >= 500 or status < 400:
        return "upstream"  # the wrong address, or the upstream's own trouble: others may do better
    return "refused_by_upstream"


# --- what clients are told ------------------------------------------------------------------------

# `router_error` is for what only a router can get wrong: the formats have no word for it.
_WORDS: Mapping[FailureKind, tuple[str, str | None]] = {
    "bad_request": ("invalid_request_error", None),
    "unsupported": ("invalid_request_error", "unsupported_parameter"),
    "context_too_long": ("invalid_request_error", "context_length_exceeded"),
    "too_large": ("invalid_request_error", None),
    "too_slow": ("invalid_request_error", None),
    "not_found": ("invalid_request_error", "unknown_url"),
    "method_not_allowed": ("invalid_request_error", None),
    "unsupported_media": ("invalid_request_error", None),
    "upgrade_refused": ("invalid_request_error", None),
    "http_version": ("invalid_request_error", None),
    "unauthorized": ("invalid_request_error", "invalid_api_key"),
    "forbidden": ("permission_error", None),
    "not_available": ("invalid_request_error", "not_available"),
    "client_limit": ("requests", "rate_limit_exceeded"),
    "over_budget": ("insufficient_quota", "insufficient_quota"),
    "no_provider": ("router_error", "no_provider"),
    "queue_full": ("server_error", "queue_full"),
    "queue_timeout": ("server_error", "queue_timeout"),
    "no_hub": ("server_error", "no_hub"),
    "plugin": ("router_error", None),
    "draining": ("server_error", None),
    "internal": ("router_error", None),
    "model_not_found": ("invalid_request_error", "model_not_found"),
    "credential": ("api_error", None),
    "rate_limit": ("requests", "rate_limit_exceeded"),
    "quota": ("insufficient_quota", "insufficient_quota"),
    "overloaded": ("server_error", None),
    "upstream": ("server_error", None),
    "timeout": ("server_error", None),
    "truncated": ("server_error", None),
    "refused_by_upstream": ("invalid_request_error", None),
    "tagged": ("server_error", None),
}
# With these an upstream refuses the client's own credential.
_REFUSALS: Mapping[int, tuple[str, str | None]] = {
    401: _WORDS["unauthorized"],
    403: _WORDS["forbidden"],
}
# Kinds that leave an upstream's own 4xx standing: the others are not the client's affair.
_KEEPS_STATUS: frozenset[FailureKind] = frozenset(
    {
        "bad_request",
        "unsupported",
        "context_too_long",
        "too_large",
        "model_not_found",
        "rate_limit",
        "quota",
        "refused_by_upstream",
    }
)


def write_failure(failure: Failure, /) -> tuple[int, bytes]:
    """Status and body of an error before the first byte."""
    status = STATUS[failure.kind][0]
    given = failure.status or 0
    if 400 <= given < 500 and failure.kind in _KEEPS_STATUS:
        status = given
    body = dump_ascii({"error": error_for_client(failure)}).decode()
    return status, scrubbed(body).encode()  # no key has a quote: it stays the same JSON


def error_for_client(failure: Failure) -> dict[str, JSON]:
    """The error object, with the upstream's own words where it spoke this format."""
    kind, code = _WORDS[failure.kind]
    if failure.kind == "refused_by_upstream":
        kind, code = _REFUSALS.get(failure.status or 0, (kind, code))
    error: dict[str, JSON] = {"message": failure.message, "type": kind}
    native = failure.native
    error |= {"param": failure.param, "code": code if native or not failure.code else failure.code}
    if isinstance(native, OpenAIError) and failure.kind != "credential":
        own = {name: value for name, value in native.items() if value is not None}
        error |= {name: value for name, value in own.items() if name not in ("message", "error")}
    return error


def event_for_client(failure: Failure) -> dict[str, JSON]:
    """The error object of a stream that has begun. Agents give a turn up for good when they read
    `invalid_request_error`, so what may be better next time says `server_error`."""
    error = error_for_client(failure)
    retryable = STATUS[failure.kind][0] >= 429
    if retryable and error["type"] in ("invalid_request_error", "api_error"):
        error["type"] = "server_error"
    return error
