"""What goes wrong with bytes and requests, and whose fault it is.

Owns: the exceptions of this package and `Failure`, the one value that stands for "this answer is
an error" wherever it came from (a client's mistake, an upstream's reply, a broken stream, the
router's own refusal).
Refuses to know: sockets, HTTP libraries, how a failure is retried (that is decided elsewhere).

Laws:
1. The type says whose fault it is: `Invalid` is the sender of a request, `TooLong`, `Truncated` and
   `Garbled` are the sender of bytes. Everything else that escapes a codec is a bug of ours.
2. A message names the thing and its place (`messages[3].content[0].type`), never a secret.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal


class FormatError(Exception):
    """Base of all that a codec raises on purpose."""


class Invalid(FormatError):
    """A request (or a whole reply) that breaks its format. `path` is where, `why` is what."""

    def __init__(self, path: str, why: str, *, kind: FailureKind = "bad_request") -> None:
        super().__init__(f"{path}: {why}" if path else why)
        self.path = path
        self.why = why
        self.kind: FailureKind = kind


class Unsupported(Invalid):
    """A legal request that the target format cannot carry without changing its meaning.

    The client is told (400, naming the field), but another candidate may be able to serve it.
    """

    def __init__(self, path: str, why: str) -> None:
        super().__init__(path, why, kind="unsupported")


class TooLong(FormatError):
    """A line, an event or a body beyond its limit: refused, never buffered."""


class Truncated(FormatError):
    """The bytes ended before the format said so."""


class Garbled(FormatError):
    """Bytes that are not of the format at all (HTML where JSON was due, a JSON array, ...)."""


FailureKind = Literal[
    # the client's fault: nobody else would answer differently
    "bad_request",
    "unsupported",
    "context_too_long",
    "too_large",
    "too_slow",
    "not_found",
    "method_not_allowed",
    "unsupported_media",
    "upgrade_refused",
    "http_version",
    "unauthorized",
    "forbidden",
    "not_available",
    "client_limit",
    "over_budget",
    # the router's own decision
    "no_provider",
    "queue_full",
    "queue_timeout",
    "no_hub",
    "plugin",
    "draining",
    "internal",
    # the upstream's fault
    "model_not_found",
    "credential",
    "rate_limit",
    "quota",
    "overloaded",
    "upstream",
    "timeout",
    "truncated",
    "refused_by_upstream",
    # an answer that came, and that a rule does not want to be the last word
    "tagged",
]

# (status to a Chat Completions or Ollama client, status to an Anthropic client): the table of the
# translation rules, section 9.9. A Failure that carries an upstream's own 4xx keeps that status.
STATUS: dict[FailureKind, tuple[int, int]] = {
    "bad_request": (400, 400),
    "unsupported": (400, 400),
    "context_too_long": (400, 400),
    "too_large": (413, 413),
    "too_slow": (408, 408),
    "not_found": (404, 404),
    "method_not_allowed": (405, 405),
    "unsupported_media": (415, 415),
    "upgrade_refused": (426, 426),
    "http_version": (505, 505),
    "unauthorized": (401, 401),
    "forbidden": (403, 403),
    "not_available": (501, 501),
    "client_limit": (429, 429),
    "over_budget": (429, 429),
    "no_provider": (400, 400),
    "queue_full": (503, 529),
    "queue_timeout": (503, 529),
    "no_hub": (503, 529),
    "plugin": (500, 500),
    "draining": (503, 529),
    "internal": (500, 500),
    "model_not_found": (404, 404),
    "credential": (502, 500),
    "rate_limit": (429, 429),
    "quota": (429, 429),
    "overloaded": (503, 529),
    "upstream": (502, 500),
    "timeout": (504, 504),
    "truncated": (502, 500),
    "refused_by_upstream": (400, 400),
    "tagged": (502, 500),
}


@dataclass(frozen=True, slots=True)
class Failure:
    """One error, as a value.

    message: for the person who reads it; an upstream's own words stay word for word.
    status: the HTTP status the upstream (or the edge) gave; None: derived from `kind`.
    type, code: the upstream's own `type` and `code`, kept for clients of the same format.
    retry_after_s: seconds to wait, when known.
    limit: which of the client's own limits it was.
    native: the upstream's error object as parsed, so that the same format gets every field back.
    body: the upstream's own text, for a client of its format that it was meant for word for word.
    """

    kind: FailureKind
    message: str
    status: int | None = None
    type: str | None = None
    code: str | int | None = None
    param: str | None = None
    retry_after_s: float | None = None
    clock: str | None = None
    native: object = None
    body: bytes | None = None
    limit: str | None = None

    @property
    def tag(self) -> str:
        """What `X-Router-Error` says: the kind, and which clock ran out or which limit it was."""
        if self.limit:
            return f"{self.kind}:{self.limit}"
        return f"timeout:{self.clock}" if self.clock else self.kind


_KEY = re.compile(
    r"(?:\b(?:sk|pk|rk|xai|gsk|key|AIza)[-_][A-Za-z0-9_*-]{6,}|\bBearer\s+[A-Za-z0-9._~+/-]{8,})"
)


def scrubbed(text: str) -> str:
    """The text with anything that looks like a credential masked."""
    return _KEY.sub("***", text)
