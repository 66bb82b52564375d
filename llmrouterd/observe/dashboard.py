"""The dashboard: one page without outside assets, and the event feed it reads.

Owns: serving the page, turning a key in its address into a cookie, the feed as server-sent events
with replay.
Refuses to know: what the events mean.

Laws:
1. The page loads nothing from anywhere else (its Content-Security-Policy says so).
2. A reader that is too slow loses events, never holds anybody up, and is told how many it lost.
"""

from __future__ import annotations

from importlib.resources import files
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, quote

import trio

if TYPE_CHECKING:
    from llmrouterd.observe.feed import Feed, Subscription
    from llmrouterd.observe.surface import Answering, Asking

COOKIE = "llmrouter_key"
KEEPALIVE_S = 15.0
_CSP = (
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; "
    "connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_PAGE_FIELDS = [
    ("content-type", "text/html; charset=utf-8"),
    ("content-security-policy", _CSP),
    ("x-content-type-options", "nosniff"),
    ("referrer-policy", "no-referrer"),
    ("cache-control", "no-store"),
]


class Dashboard:
    """Two pages: the page itself and its events. The caller has checked the key."""

    def __init__(self, feed: Feed) -> None:
        self._feed = feed

    async def page(self, incoming: Asking, client: Answering) -> None:
        key = parse_qs(incoming.query).get("api_key")
        if key:
            return await client.respond(303, _with_cookie(key[0]), b"")
        html = files("llmrouterd.observe").joinpath("dashboard.html").read_bytes()
        return await client.respond(200, _PAGE_FIELDS, html)

    async def events(self, incoming: Asking, client: Answering) -> None:
        """Follow the feed until the reader leaves. Starts after Last-Event-ID, if one is given."""
        fields = [("content-type", "text/event-stream; charset=utf-8")]
        fields += [("cache-control", "no-cache"), ("x-accel-buffering", "no")]
        with self._feed.subscribe() as subscription:
            last = _last_seen(incoming)
            missed = [] if last is None else self._feed.since(last)
            await client.start(200, fields)
            await client.send(b": llmrouter\n\n")
            number = 0
            for entry in missed:
                await client.send(entry.event())
                number = entry.number
            try:
                await _follow(subscription, client, number)
            except trio.EndOfChannel:
                await client.finish()


async def _follow(subscription: Subscription, client: Answering, number: int) -> None:
    told = 0
    while True:
        with trio.move_on_after(KEEPALIVE_S) as quiet:
            entry = await subscription.next()
        if quiet.cancelled_caught:
            await client.send(b": keep-alive\n\n")
            continue
        if subscription.lost > told:
            lost, told = subscription.lost - told, subscription.lost
            await client.send(f": {lost} events lost\n\n".encode())
        if entry.number > number:
            number = entry.number
            await client.send(entry.event())


def _last_seen(incoming: Asking) -> int | None:
    """The last id a reader has. None: it has none, and starts now."""
    text = incoming.headers.get("last-event-id") or ""
    if not text:
        given = parse_qs(incoming.query).get("after")
        text = given[0] if given else ""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else None


def _with_cookie(key: str) -> list[tuple[str, str]]:
    cookie = f"{COOKIE}={quote(key, safe='')}; Path=/dashboard; HttpOnly; SameSite=Strict"
    return [("location", "/dashboard"), ("set-cookie", cookie), ("cache-control", "no-store")]
