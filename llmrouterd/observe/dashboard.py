"""The dashboard: one page without outside assets, and the event feed it reads.

Owns: serving the page, turning a key into a cookie, the feed as server-sent events with replay, one
event with its words, and the figures of its charts.
Refuses to know: what the events mean, which key is the right one.

Laws:
1. The page loads nothing from anywhere else, and only the script and the style that are in it are
   run (its Content-Security-Policy says so).
2. A reader that is too slow loses events, never holds anybody up, and is told how many it lost.
3. A reader gets the four event types of the original and nothing else, unless it asks for more.
"""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, quote

import trio

from llmrouterd.model import Record
from llmrouterd.observe import bundle
from llmrouterd.observe.history import SPANS, History, Totals
from llmrouterd.observe.retell import retell
from llmrouterd.observe.shapes import as_text

if TYPE_CHECKING:
    from llmrouterd.observe.feed import Batch, Feed, Subscription
    from llmrouterd.observe.surface import Answering, Asking

JSON = Any
COOKIE = "llmrouter_key"
KEEPALIVE_S = 15.0
PROGRESS_S = 0.25  # the least time between two events of one stream's progress
_JSON_FIELDS = [
    ("content-type", "application/json"),
    ("x-content-type-options", "nosniff"),
    ("cache-control", "no-store"),
]


class Dashboard:
    """The page, its events, one event whole, what charts show. The caller has checked the key."""

    def __init__(self, feed: Feed, history: History | None = None) -> None:
        self._feed = feed
        self._history = history or History()

    async def page(self, incoming: Asking, client: Answering) -> None:
        key = parse_qs(incoming.query).get("api_key")
        if key:
            fields = [("location", "/dashboard"), *cookie_fields(key[0], incoming.scheme)]
            return await client.respond(303, fields, b"")
        return await client.respond(200, *bundle.page())

    async def door(self, client: Answering) -> None:
        """The page for a browser without a key: it gets nothing, and asks for one."""
        await client.respond(401, *bundle.page())

    async def event(self, incoming: Asking, client: Answering) -> None:
        """A request's last event with the words of request and answer, while they are held."""
        number = _number(_asked(incoming, "number"))
        entry = None if number is None else self._feed.entry(number)
        if entry is None or not entry.words:
            error = {"type": "not_found_error", "message": "its words are not held any more"}
            return await client.respond(404, _JSON_FIELDS, json.dumps({"error": error}).encode())
        assert isinstance(entry.telling, Record)
        text = as_text(entry.telling, more=retell(entry.telling))
        return await client.respond(200, _JSON_FIELDS, text.encode())

    async def history(self, incoming: Asking, client: Answering) -> None:
        """The bins of the last five minutes, hour or day."""
        span_s = _number(_asked(incoming, "span")) or min(SPANS)
        if span_s not in SPANS:
            words = f"span is one of {', '.join(map(str, SPANS))} (seconds)"
            error = {"type": "invalid_request_error", "message": words}
            return await client.respond(400, _JSON_FIELDS, json.dumps({"error": error}).encode())
        told = self._history.shape(span_s, time.time_ns() // 1_000_000)
        return await client.respond(200, _JSON_FIELDS, json.dumps(told).encode())

    async def events(self, incoming: Asking, client: Answering) -> None:
        """Follow the feed until the reader leaves. Starts after Last-Event-ID, if one is given."""
        fields = [("content-type", "text/event-stream; charset=utf-8")]
        fields += [("cache-control", "no-cache"), ("x-accel-buffering", "no")]
        after = _number(incoming.headers.get("last-event-id") or _asked(incoming, "after"))
        ours = _asked(incoming, "v") == "2"
        bodies = _asked(incoming, "bodies") != "none"
        with self._feed.subscribe(after) as subscription:
            await client.start(200, fields)
            totals = self._history.totals
            reading = _Reading(self._feed, totals, subscription, client, ours=ours, bodies=bodies)
            try:
                await reading.run()
            except trio.EndOfChannel:
                await client.finish()


class _Reading:
    """One reader of the feed. ours: it asked for our own types, too; bodies: with the words."""

    def __init__(
        self,
        feed: Feed,
        totals: Totals,
        subscription: Subscription,
        client: Answering,
        *,
        ours: bool,
        bodies: bool,
    ) -> None:
        self._feed = feed
        self._totals = totals
        self._subscription = subscription
        self._client = client
        self._ours = ours
        self._bodies = bodies
        self._lost = 0  # as told to it
        self._turn = 0  # of the progress told to it
        self._tick = 0.0  # when it is told the next one
        self._quiet_at = 0.0  # when it is due a life sign

    async def run(self) -> None:
        await self._send(b": llmrouter\n\n" + (self._greeting() if self._ours else b""))
        while True:
            watching = self._ours and self._feed.running.streaming
            batch: Batch | None = None
            with trio.move_on_at(min(self._tick, self._quiet_at) if watching else self._quiet_at):
                batch = await self._subscription.next()
            if batch is not None:
                await self._tell(batch)
            now = trio.current_time()
            if watching and now >= self._tick:
                self._tick = PROGRESS_S * (now // PROGRESS_S + 1)  # the same for all readers
                self._turn, news = self._feed.progress(self._turn)
                await self._send(news)
            if now >= self._quiet_at:
                await self._send(b": keep-alive\n\n")

    def _greeting(self) -> bytes:
        """Which feed this is, and what is going on as the reader comes in."""
        now_ms = time.time_ns() // 1_000_000
        running = self._feed.running.snapshot()
        hello = _note("hello", feed=self._feed.begun_ms, now_ms=now_ms, **self._so_far())
        return hello + _note("snapshot", requests=running)

    def _so_far(self) -> dict[str, JSON]:
        """What has ended up to the entry of that number, for readers that have not seen all of it."""
        return {"number": self._feed.number, "totals": self._totals.shape()}

    async def _tell(self, batch: Batch) -> None:
        if self._subscription.lost > self._lost:
            lost, self._lost = self._subscription.lost - self._lost, self._subscription.lost
            note = b": %d events lost\n\n" % lost
            await self._send(_note("lost", count=lost, **self._so_far()) if self._ours else note)
        for piece in batch.pieces(ours=self._ours, bodies=self._bodies):
            await self._send(piece)

    async def _send(self, data: bytes) -> None:
        if data:
            await self._client.send(data)
            self._quiet_at = trio.current_time() + KEEPALIVE_S


def _note(kind: str, **members: JSON) -> bytes:
    """An event about the feed itself: it has no number."""
    return f"data: {json.dumps({'type': kind, **members})}\n\n".encode()


def _asked(incoming: Asking, name: str) -> str:
    return parse_qs(incoming.query).get(name, [""])[0]


def _number(text: str) -> int | None:
    """An entry's number; None when it is none."""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else None


def cookie_fields(key: str, scheme: str) -> list[tuple[str, str]]:
    """The cookie; one that came by HTTPS is not sent without it."""
    cookie = f"{COOKIE}={quote(key, safe='')}; Path=/dashboard; HttpOnly; SameSite=Strict"
    cookie += "; Secure" if scheme == "https" else ""
    return [("set-cookie", cookie), ("cache-control", "no-store")]
