"""Following a router's event feed, over breaks and restarts.

Owns: the stream of events, the id of the last one seen, when to try again.
Refuses to know: what events mean, beyond `hello`, which says whose feed it is; who shows them.

Laws:
1. What is still held is not missed: a reader comes back with the last id it saw, and starts from the
   beginning where the feed is another one than before.
2. One event is bounded in size, and silence in time: the router gives a life sign every 15 s.
3. A router that refuses is not asked again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import trio

from formats.sse import SSEDecoder
from llmrouterd.commands.router import BROKEN, Refused, as_object, refusal

if TYPE_CHECKING:
    from llmrouterd.commands.router import Router
    from llmrouterd.edge.pool import Exchange

JSON = Any
_EVENT_BYTES = 64 * 1024 * 1024  # a `complete` event holds a whole conversation, pictures too
_REFUSAL_BYTES = 64 * 1024
_SILENCE_S = 50.0
_FIRST_PAUSE_S = 0.5
_LONGEST_PAUSE_S = 10.0


class Listener(Protocol):
    """What is told to whoever follows."""

    def heard(self, event: dict[str, JSON], text: str, number: str) -> None:
        """An event, the JSON it came as, and its id, "" if it has none."""

    def joined(self) -> None:
        """The feed is there."""

    def parted(self, why: str, again_s: float) -> None:
        """It is not, or not any more; it will be tried again."""


class Following:
    """One reader. after: where to begin; "0": with all that is held, "": now."""

    def __init__(self, router: Router, listener: Listener, query: str, after: str = "") -> None:
        self._router = router
        self._listener = listener
        self._query = query
        self._last = after
        self._feed: object = None  # which one it was
        self._pause_s = _FIRST_PAUSE_S

    async def run(self) -> None:
        """Follow for ever.

        Raises: Refused, when the router does not let this reader in.
        """
        while True:
            why = await self._once()
            if why:
                self._listener.parted(why, self._pause_s)
                await trio.sleep(self._pause_s)
                self._pause_s = min(self._pause_s * 2, _LONGEST_PAUSE_S)

    async def _once(self) -> str:
        """Follow until the connection ends. Returns why it did; "": to be tried at once."""
        fields = [("accept", "text/event-stream")]
        if self._last:
            fields.append(("last-event-id", self._last))
        target = f"/dashboard/events?{self._query}"
        try:
            with trio.move_on_after(_SILENCE_S) as patience:
                async with self._router.ask("GET", target, fields=tuple(fields)) as exchange:
                    await self._check(exchange)
                    self._listener.joined()
                    return await self._read(exchange, patience)
        except BROKEN as error:
            return str(error)
        return f"nothing came for {_SILENCE_S:g} s"

    async def _check(self, exchange: Exchange) -> None:
        if exchange.status == 200:
            return
        text = refusal(exchange.status, await exchange.read_all(_REFUSAL_BYTES))
        raise Refused(exchange.status, text)

    async def _read(self, exchange: Exchange, patience: trio.CancelScope) -> str:
        decoder = SSEDecoder(limit=_EVENT_BYTES)
        while data := await exchange.read():
            patience.deadline = trio.current_time() + _SILENCE_S
            self._pause_s = _FIRST_PAUSE_S
            for event in decoder.feed(data):
                told = as_object(event.data)
                if told.get("type") == "hello" and self._is_another(told.get("feed")):
                    return ""
                self._listener.heard(told, event.data, event.id)
                self._last = event.id or self._last
        return "the router ended the feed"

    def _is_another(self, feed: object) -> bool:
        """After a restart the numbers begin anew, and the old one would skip what has happened."""
        before, self._feed = self._feed, feed
        if before in (None, feed) or self._last in ("", "0"):
            return False
        self._last = "0"
        return True
