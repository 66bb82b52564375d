"""Small things that reading and writing Ollama's requests, answers and streams share.

Owns: names of options, stop reasons, figures and metrics, the shape of a call, and what this
format's errors mean, however deep they are wrapped.
Refuses to know: whole requests, lines, HTTP.

Laws:
1. The server says `stop` when it made calls: an end is derived from what was sent.
2. A figure that the server left out is unknown, not zero; clients want numbers, and get estimates.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from formats import jsontext
from formats.canonical import JSON, Stamp, StopReason, Usage
from formats.errors import Failure, FailureKind, FormatError
from formats.fold import derived_stop, parsed_arguments

if TYPE_CHECKING:
    from formats.ledger import Ledger

# Options that are canonical sampling, under the same names.
NUMBERS = (
    "temperature",
    "top_p",
    "min_p",
    "typical_p",
    "repeat_penalty",
    "frequency_penalty",
    "presence_penalty",
)
WHOLE = ("top_k", "seed")
LEVELS = ("low", "medium", "high", "max")
TOO_LARGE = "a number is too large to be written as JSON"  # 1e999 is read as infinity
BAD_CALL = "tool call arguments are not valid JSON"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_NATIVE_STOP: Mapping[str, StopReason] = {
    "length": "max_tokens",
    "load": "load",
    "unload": "unload",
}
_TO_NATIVE: Mapping[StopReason, str] = {
    "max_tokens": "length",
    "context_window": "length",
    "load": "load",
    "unload": "unload",
}


# --- what lines and whole answers have in common --------------------------------------------------


def message_in(value: Mapping[str, JSON]) -> JSON:
    """What a line, or a whole answer, of /api/chat says."""
    return value.get("message")


def stop_reason(native: JSON, calls: bool) -> StopReason:
    """What an end means: calls beat the server's `stop`."""
    reason = _NATIVE_STOP.get(native, "end_turn") if type(native) is str else "end_turn"
    return derived_stop(reason, has_call=calls)


def usage_of(value: Mapping[str, JSON]) -> Usage | None:
    """The figures of a last line. The server leaves zeros out, so a missing one is unknown."""
    prompt, answer = value.get("prompt_eval_count"), value.get("eval_count")
    if type(prompt) is not int and type(answer) is not int:
        return None
    return Usage(
        prompt if type(prompt) is int else None,
        answer if type(answer) is int else None,
        load_ms=_ms(value.get("load_duration")),
        prefill_ms=_ms(value.get("prompt_eval_duration")),
    )


def _ms(nanoseconds: JSON) -> int | None:
    return nanoseconds // 1_000_000 if type(nanoseconds) is int else None


def created_of(value: Mapping[str, JSON]) -> int | None:
    """`created_at` as UTC seconds, None where it is no time."""
    text = value.get("created_at")
    try:
        moment = datetime.fromisoformat(text) if type(text) is str else None
    except ValueError:
        return None
    if moment is None or moment.tzinfo is None:
        return None
    return (moment - _EPOCH) // timedelta(seconds=1)


def created_at(stamp: Stamp) -> str:
    """Now, in the server's way of writing it."""
    seconds, nanos = divmod(stamp.elapsed_ns(), 1_000_000_000)
    return f"{date_text(stamp.created + seconds)}.{nanos:09d}Z"


def date_text(seconds: int) -> str:
    """UTC seconds as the beginning of an RFC 3339 time."""
    return (_EPOCH + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%S")


def metrics(usage: Usage | None, stamp: Stamp, first_ns: int | None, size: int) -> dict[str, JSON]:
    """The figures of a last line; estimates where nobody counted, since clients want numbers.
    first_ns: when the answer's first text came. size: its characters."""
    total = stamp.elapsed_ns()
    first = total if first_ns is None else first_ns
    prompt = None if usage is None else usage.input
    answer = None if usage is None else usage.output
    return {
        "total_duration": total,
        "load_duration": 0,
        "prompt_eval_count": stamp.input_estimate if prompt is None else prompt,
        "prompt_eval_duration": first,
        "eval_count": (size + 3) // 4 if answer is None else answer,
        "eval_duration": total - first,
    }


def native_stop(reason: StopReason, ledger: Ledger) -> str:
    """`done_reason`; Ollama has no word for a filter or a pause."""
    if reason in ("content_filter", "pause"):
        ledger.note("done_reason", "approximated", f"Ollama has no word for {reason}")
    return _TO_NATIVE.get(reason, "stop")


def call_text(
    call_id: str, index: int, name: str, arguments: Mapping[str, JSON] | None
) -> str | None:
    """One call as clients get it, None where it cannot be told as JSON (1e999 is no number)."""
    if arguments is None:
        return None
    value = {"id": call_id, "function": {"index": index, "name": name, "arguments": arguments}}
    try:
        return jsontext.dump_ascii(value).decode("ascii")
    except (ValueError, FormatError):
        return None


# --- errors inside an answer ----------------------------------------------------------------------


_TOO_LONG = re.compile(
    r"exceed_context_size|context (?:length|size|window)|prompt is (?:too long|longer)",
    re.IGNORECASE,
)
_UNABLE = re.compile(r"does not support|input is not supported|not supported by", re.IGNORECASE)
_SPENT = re.compile(r"insufficient_quota|usage limit|quota|billing", re.IGNORECASE)
_BUSY = re.compile(r"server busy|maximum pending requests|overloaded", re.IGNORECASE)
_UNKNOWN_MODEL = re.compile(r"\bmodel\b.*(?:not found|does not exist)", re.IGNORECASE | re.DOTALL)
# Mistakes of a request that this server answers with 500: another try would not cure them.
_REQUEST_FAULT = re.compile(
    r'^option ".*" must be of type|^invalid (?:format|options)', re.IGNORECASE
)
_OF_STATUS: Mapping[int, FailureKind] = {
    401: "credential",
    402: "quota",
    403: "credential",
    408: "timeout",
    413: "too_large",
    429: "rate_limit",
    499: "upstream",
    503: "overloaded",
    504: "timeout",
    529: "overloaded",
}


def failure_of(value: Mapping[str, JSON], status: int | None = None) -> Failure:
    """An error object as a value: `error` may be text, JSON inside a text, or an object."""
    kind_word, code, message = _told(value)
    kind = _kind(status, message, f"{kind_word} {message}")
    return Failure(
        kind,
        message or "the upstream reported an error without a word",
        status=status,
        type=kind_word or None,
        code=code if type(code) in (int, str) else None,
        native=dict(value),
    )


def _told(value: JSON) -> tuple[str, JSON, str]:
    """(type, code, message), as deep as servers have been seen to wrap them."""
    kind, code, said = "", None, ""
    for _ in range(4):
        if type(value) is str:
            said = value
            inner = parsed_arguments(value) if value.lstrip().startswith("{") else None
            if not inner:
                return kind, code, value
            value = inner
        if not isinstance(value, Mapping):
            break
        if type(value.get("type")) is str:
            kind = value["type"]
        code = value.get("code", code)
        value = value.get("error") or value.get("message") or value.get("detail")
    return kind, code, value if type(value) is str else said


def _kind(status: int | None, message: str, all_words: str) -> FailureKind:
    """Whose fault it is. status None: the error came inside a stream."""
    doubtful = status is None or status in (400, 413, 422, 500)
    if doubtful and _TOO_LONG.search(all_words):
        return "context_too_long"
    if doubtful and _UNABLE.search(message):
        return "unsupported"
    if _UNKNOWN_MODEL.search(message) and status in (None, 400, 404):
        return "model_not_found"
    if status in (None, 429) and _SPENT.search(all_words):
        return "quota"
    if status in (None, 500) and _BUSY.search(message):
        return "overloaded"
    if status is None:
        return "upstream"
    if status in _OF_STATUS:
        return _OF_STATUS[status]
    if status == 404 or not 400 <= status < 500:
        return "refused_by_upstream" if _REQUEST_FAULT.search(message) else "upstream"
    return "refused_by_upstream"


def error_line(failure: Failure) -> dict[str, JSON]:
    """The error object for a client; what else an Ollama server said beside its text stays."""
    native = failure.native
    if (
        failure.kind != "credential"
        and isinstance(native, dict)
        and isinstance(native.get("error"), str)
    ):
        return {**native, "error": failure.message}
    return {"error": failure.message}


# --- what a server sent ---------------------------------------------------------------------------


def calls_of(calls: JSON, seen: set[str]) -> list[tuple[str, str, str]]:
    """(id, name, arguments as text) of each call. Old servers send no ids; one that stands twice
    gets a number. Raises ValueError when it is no list of calls."""
    out = []
    for call in calls if type(calls) is list else [calls]:
        function = call.get("function") if type(call) is dict else None
        if type(function) is not dict or type(function.get("name")) is not str:
            raise ValueError("no call")
        given = call.get("id")
        call_id = first = given if type(given) is str else ""
        count = 1
        while call_id and call_id in seen:
            count += 1
            call_id = f"{first}_{count}"
        seen.add(call_id)
        arguments = function.get("arguments")
        if type(arguments) is not str:
            arguments = "" if arguments is None else jsontext.dumps(arguments)
        out.append((call_id, function["name"], arguments))
    return out


def not_a_line(line: bytes) -> str:
    """What a server sent in place of a line of its answer."""
    start = line[:80].decode("utf-8", "replace")
    what = "HTML" if start.lstrip().startswith("<") else "something"
    return f"the upstream sent {what} that is not a line of an Ollama answer: {start!r}"


def refusal_words(details: JSON) -> str:
    """Why an upstream refused, where it says so beside the answer."""
    words = details.get("explanation") if isinstance(details, dict) else None
    return words if isinstance(words, str) else ""
