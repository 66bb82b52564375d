"""How long the client of one request will wait for its answer to begin.

Owns: reading it from the request's head.
Refuses to know: what is done when it is over (walk.py, edge/deadline.py, whoever queues).

Laws:
1. `X-Router-Timeout` is the client's word to the router, and is kept: when it is over and nothing of an
   answer has come, the client is told who was asked and why nobody answered.
2. What an SDK tells of its own timeout is a hint: nothing is begun that would begin after it. The SDK
   itself ends the request.
3. A stream that gets life signs outlives an SDK's timeout, so the hint is not for such a one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from formats.errors import Failure

if TYPE_CHECKING:
    from llmrouterd.model import Headers

HEADER = "x-router-timeout"
# Python's SDKs tell the pause between two reads, which is the wait for a whole answer.
_HINTS = ("x-stainless-timeout", "x-stainless-read-timeout")


@dataclass(frozen=True, slots=True)
class Patience:
    """until: on the monotonic clock. seconds: as it was asked for. kept: an attempt that is running
    then is ended."""

    until: float = math.inf
    seconds: float = math.inf
    kept: bool = False


ENDLESS = Patience()


def patience(fields: Headers, now: float, *, signs: bool) -> Patience | Failure:
    """signs: it is a stream that gets life signs. A Failure: the client asks for no number."""
    text = fields.get(HEADER)
    if text is not None:
        asked_s = _seconds(text)
        if asked_s is None:
            words = f"expected a number of seconds above 0, got {text[:40]!r}"
            return Failure("bad_request", f"X-Router-Timeout: {words}", param="X-Router-Timeout")
        return Patience(now + asked_s, asked_s, kept=True)
    hint_s = None if signs else _hint(fields)
    return ENDLESS if hint_s is None else Patience(now + hint_s, hint_s)


def _hint(fields: Headers) -> float | None:
    for name in _HINTS:
        text = fields.get(name)
        seconds = None if text is None else _seconds(text)
        if seconds is not None:
            return seconds
    return None


def _seconds(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if 0 < value < math.inf else None
