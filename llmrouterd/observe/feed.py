"""The live feed: what has just happened, for whoever looks on.

Owns: a bounded ring of recent tellings and the subscribers to what comes.
Refuses to know: HTTP, pages, files.

Laws:
1. `tell` never waits. A subscriber that is too slow loses events and is told how many.
2. The ring is bounded in number and in bytes; JSON is made when somebody reads, not before.
3. A reader that comes back with the last id it saw gets what it missed, as far as it is held.
"""

from __future__ import annotations

from collections import deque
from contextlib import contextmanager
from typing import TYPE_CHECKING

import trio

from llmrouterd.model import Record, Telling
from llmrouterd.observe.shapes import as_text

if TYPE_CHECKING:
    from collections.abc import Iterator

RING_EVENTS = 2000
RING_BYTES = 16 * 1024 * 1024
# A subscriber that falls this many events behind begins to lose them.
BEHIND = 256
_SMALL = 200  # what a telling without bodies weighs, roughly


class Entry:
    """One telling with its number in the feed; its JSON is made once, for all readers."""

    __slots__ = ("_text", "number", "telling", "weight")

    def __init__(self, number: int, telling: Telling) -> None:
        self.number = number
        self.telling = telling
        self._text: str | None = None
        # Parsed objects weigh more than their text; three times is what was seen.
        self.weight = _SMALL + 3 * telling.size_bytes if isinstance(telling, Record) else _SMALL

    def event(self) -> bytes:
        """The entry as one SSE event with its id."""
        if self._text is None:
            self._text = as_text(self.telling)
        return f"id: {self.number}\ndata: {self._text}\n\n".encode()


class Subscription:
    """What one reader has still to get. `lost` counts what it was too slow for."""

    def __init__(self, receive: trio.MemoryReceiveChannel[Entry]) -> None:
        self._receive = receive
        self.lost = 0

    async def next(self) -> Entry:
        """The next entry. Raises trio.EndOfChannel when the feed is closed."""
        return await self._receive.receive()


class Feed:
    """A Sink with readers."""

    def __init__(self, *, events: int = RING_EVENTS, size: int = RING_BYTES) -> None:
        self._ring: deque[Entry] = deque()
        self._events = events
        self._size = size
        self._weight = 0
        self._number = 0
        self._closed = False
        self._readers: dict[trio.MemorySendChannel[Entry], Subscription] = {}

    def tell(self, telling: Telling) -> None:
        self._number += 1
        entry = Entry(self._number, telling)
        self._ring.append(entry)
        self._weight += entry.weight
        while len(self._ring) > self._events or (self._weight > self._size and len(self._ring) > 1):
            self._weight -= self._ring.popleft().weight
        for channel, subscription in self._readers.items():
            try:
                channel.send_nowait(entry)
            except (trio.WouldBlock, trio.ClosedResourceError):
                subscription.lost += 1

    @property
    def readers(self) -> int:
        return len(self._readers)

    def since(self, number: int) -> list[Entry]:
        """What the ring holds after entry `number`; all of it when the number is of a feed before
        this one, which had counted further."""
        if number > self._number:
            number = 0
        return [entry for entry in self._ring if entry.number > number]

    def close(self) -> None:
        """No more: every reader comes to its end."""
        self._closed = True
        for channel in self._readers:
            channel.close()

    @contextmanager
    def subscribe(self) -> Iterator[Subscription]:
        """What is told from now on."""
        send, receive = trio.open_memory_channel[Entry](BEHIND)
        subscription = Subscription(receive)
        self._readers[send] = subscription
        if self._closed:
            send.close()
        try:
            yield subscription
        finally:
            del self._readers[send]
            send.close()
            receive.close()
