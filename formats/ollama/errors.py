"""Ollama's errors, read from a server and written for a client.

Owns: `{"error": "text"}` with a true status, and what a server's words mean.
Refuses to know: which error leads to which next step.
"""

from __future__ import annotations

from dataclasses import replace

from formats import jsontext
from formats.errors import STATUS, Failure
from formats.ollama.wire import error_line, failure_of

# Kinds whose status is the router's to choose, whatever the upstream's own was.
_OWN_STATUS = frozenset(
    {"credential", "rate_limit", "quota", "overloaded", "upstream", "timeout", "truncated"}
)


def write_failure(failure: Failure, /) -> tuple[int, bytes]:
    """Status and body of an error before the first line. An upstream's own 4xx stays."""
    status = failure.status
    if status is None or not 400 <= status < 500 or failure.kind in _OWN_STATUS:
        status = STATUS[failure.kind][0]
    return status, jsontext.dump_ascii(error_line(failure))


def parse_error(status: int, body: bytes, /) -> Failure:
    """A server's error answer: JSON of some shape, plain text, HTML or nothing. With status 200 it
    is judged by its words alone, as one inside a stream."""
    text = body.decode("utf-8", "replace").strip()
    try:
        value = jsontext.loads(text)
    except ValueError:
        value = None
    told = None if status == 200 else status
    if type(value) is dict and not value.keys().isdisjoint(("error", "message", "detail")):
        return failure_of(value, told)
    if not text:
        said = f"the upstream answered {status} without a body"
    elif text.startswith("<"):
        said = f"the upstream answered {status} with HTML"
    else:
        said = text[:500]
    return replace(failure_of({"error": said}, told), native=None)
