"""An upstream's answer that is not 200: what it says, as a Failure.

Owns: reading it within bounds, without the credentials it may repeat, and when to come back.
Refuses to know: what is done about it (route/plan.py), what its words mean (the codec).
"""

from __future__ import annotations

import email.utils
import re
import time
from dataclasses import replace
from datetime import UTC
from typing import TYPE_CHECKING

from formats import FORMATS
from formats.errors import Failure, FormatError
from llmrouterd.edge.dial import proxy_authorization
from llmrouterd.pipeline.masked import Mask

if TYPE_CHECKING:
    from llmrouterd.edge.dial import DialError, Origin
    from llmrouterd.edge.exchange import Exchange
    from llmrouterd.model import Headers, Provider
    from llmrouterd.pipeline.headers import Fields
    from llmrouterd.pipeline.outgoing import Outgoing

# An error body is read this far: enough for any message, too little to hurt.
_LIMIT = 256 * 1024
# Anything longer is no number of seconds, and must not become one that cannot be counted.
_SECONDS = re.compile(r"[0-9]{1,9}(?:\.[0-9]{0,9})?")
_DENIED = (401, 403)


async def refused(exchange: Exchange, sent: Outgoing, origin: Origin) -> Failure:
    """What went wrong, in the upstream's own words."""
    return await refused_by(exchange, sent.provider, sent.codec.NAME, origin, sent.fields)


async def refused_by(
    exchange: Exchange,
    provider: Provider,
    spoken: str,
    origin: Origin,
    fields: Fields | None = None,
) -> Failure:
    """The same, of an upstream that was asked in the format `spoken`, with these fields."""
    status = exchange.status
    if 300 <= status < 400:
        words = f"the upstream answered with a redirect ({status}), which is not followed"
        return Failure("upstream", f"{words}: is base_url right?")
    try:
        body = await exchange.read_all(_LIMIT)
    except FormatError:  # too long, cut, garbled: the status says enough
        body = b""
    if status < 400:
        return Failure("upstream", f"the upstream answered with status {status}")
    body = Mask(provider, proxy_authorization(origin), fields)(body)
    failure = FORMATS[spoken].parse_error(status, body)
    if provider.credentials == "client" and status in _DENIED:  # its own credential it was
        own = body if failure.native is not None else None
        failure = replace(failure, kind="refused_by_upstream", body=own)
    wait_s = retry_after(exchange.headers, time.time())
    return replace(failure, retry_after_s=wait_s) if wait_s is not None else failure


def retry_after(fields: Headers, now: float) -> float | None:
    """Seconds an upstream asks us to wait: `retry-after-ms`, seconds, or an HTTP date."""
    text = (fields.get("retry-after-ms") or "").strip()
    if _SECONDS.fullmatch(text):
        return float(text) / 1000
    text = (fields.get("retry-after") or "").strip()
    return float(text) if _SECONDS.fullmatch(text) else _until(text, now)


def _until(date: str, now: float) -> float | None:
    try:
        when = email.utils.parsedate_to_datetime(date)
        if when.tzinfo is None:  # HTTP's dates are of Greenwich, whether they say so or not
            when = when.replace(tzinfo=UTC)
        return max(0.0, when.timestamp() - now)
    except (TypeError, ValueError, OverflowError):
        return None


def not_reached(error: DialError) -> Failure:
    """No connection: the server's fault, or none at all where our own door stayed shut."""
    return Failure("forbidden" if error.kind == "denied" else "upstream", str(error))
