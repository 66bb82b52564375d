"""The live feed: what has just happened, for whoever looks on.

Owns: a bounded ring of recent tellings, where each of its readers is in it, and when they are woken.
Refuses to know: HTTP, pages, files.

Laws:
1. `tell` never waits. What a slow reader did not get before it left the ring is lost to it, and it
   is told how much that was.
2. The ring is bounded in number and in bytes (the newest entry not counted), and readers hold
   nothing of their own. Words go first: an old record outlives the words of its request and answer.
   JSON is made when somebody reads, not before, and once for all readers that are in step.
3. A stream's progress has no number and no place in the ring: only the newest is of any use.
4. A reader that comes back with the last id it saw gets what it missed, as far as it is held.
5. Readers are woken together, `BEAT_S` after the first news: however much happens, a reader costs
   no more than so many wakes a second. The one that saw the news first keeps the time for all.
"""

from __future__ import annotations

import time
from collections import deque
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import trio

from formats.sse import write_sse
from llmrouterd.model import (
    AttemptFailed,
    Opened,
    Progress,
    Queued,
    Record,
    Routed,
    Standing,
    Telling,
)
from llmrouterd.observe.running import Running
from llmrouterd.observe.shapes import as_text, is_original

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

RING_EVENTS = 2000
RING_BYTES = 16 * 1024 * 1024
AT_ONCE = 256  # entries a reader takes in one go
BEAT_S = 0.1  # how long news wait for more of them
PIECE_BYTES = 64 * 1024  # events are gathered up to this size
_SHARED_BYTES = 256 * 1024  # what is kept for other readers of the same entries
_BATCHES = 8  # that are kept
_SMALL = 200  # what a telling weighs, roughly
_RECORD = 2000  # the same of a record without its bodies
_DECISION = 2000  # and of the fleet that was read for it


class Entry:
    """One telling with its number in the feed; its JSON is made once, for all readers."""

    __slots__ = ("_brief", "_whole", "number", "original", "telling", "weight", "words")

    def __init__(self, number: int, telling: Telling) -> None:
        self.number = number
        self.telling = telling
        self.original = is_original(telling)  # readers of the original's feed know its type
        self.words = type(telling) is Record  # whether it has, or still has, what was said
        self.weight = _weight(telling)
        self._whole: str | None = None
        self._brief: str | None = None

    def text(self, *, bodies: bool = True) -> str:
        """The entry as JSON in one line. bodies: with the words of request and answer."""
        if bodies or not isinstance(self.telling, Record):
            if self._whole is None:
                self._whole = as_text(self.telling)
            return self._whole
        if self._brief is None:
            self._brief = as_text(self.telling, bodies=False)
        return self._brief

    def shed(self) -> int:
        """Forget the words. How much lighter that made it."""
        if not isinstance(self.telling, Record):
            return 0
        before = self.weight
        self.telling = replace(self.telling, request=None, response=None, decision=None)
        self._whole = None
        self.words = False
        self.weight = _RECORD
        return before - self.weight

    def event(self, *, bodies: bool = True) -> bytes:
        """The entry as one SSE event with its id."""
        return f"id: {self.number}\ndata: {self.text(bodies=bodies)}\n\n".encode()


def _weight(telling: Telling) -> int:
    """What a telling costs in memory, roughly. Names and errors are as long as others made them."""
    match telling:
        case Record():  # parsed objects weigh more than their text; three times is what was seen
            kept = _DECISION if telling.decision is not None else 0
            return _RECORD + kept + 3 * telling.size_bytes
        case Opened() | Routed() | Queued():
            return _SMALL + len(telling.model)
        case AttemptFailed():
            return _SMALL + len(telling.model) + len(telling.error)
        case Standing():
            return _SMALL + len(telling.why)
        case _:
            return _SMALL


class Batch:
    """Some entries in a row, for all readers that have come so far. Their events are made by the first
    one of each kind: ours: it knows all types; bodies: it wants the words."""

    __slots__ = ("_made", "entries")

    def __init__(self, entries: Sequence[Entry]) -> None:
        self.entries = entries
        self._made: dict[tuple[bool, bool], tuple[bytes, ...]] = {}

    def pieces(self, *, ours: bool, bodies: bool) -> Iterator[bytes]:
        """Its events, gathered to be written."""
        made = self._made.get((ours, bodies))
        if made is not None:
            yield from made
            return
        kept, size = [], 0
        for piece in self._written(ours=ours, bodies=bodies):
            size += len(piece)
            if size <= _SHARED_BYTES:
                kept.append(piece)
            yield piece
        if size <= _SHARED_BYTES:
            self._made[ours, bodies] = tuple(kept)

    def _written(self, *, ours: bool, bodies: bool) -> Iterator[bytes]:
        out: list[bytes] = []
        size = 0
        for entry in self.entries:
            if not (ours or entry.original):
                continue
            event = entry.event(bodies=bodies)
            if size + len(event) > PIECE_BYTES and out:
                yield b"".join(out)
                out, size = [], 0
            out.append(event)
            size += len(event)
        if out:
            yield b"".join(out)


class Subscription:
    """One reader's place in the feed. `lost` counts what was gone before it came to it."""

    def __init__(self, feed: Feed, number: int) -> None:
        self._feed = feed
        self._number = number
        self.lost = 0

    async def next(self) -> Batch:
        """What was told since the last call: some entries, at least one.

        Raises: trio.EndOfChannel when the feed is closed and all was read.
        """
        batch = await self._feed.after(self._number)
        lost = batch.entries[0].number - self._number - 1
        self.lost += lost
        self._feed.lost += lost
        self._number = batch.entries[-1].number
        return batch


class Feed:
    """A Sink with readers. `begun_ms` tells this feed from one of an earlier process."""

    follows = True

    def __init__(self, *, events: int = RING_EVENTS, size: int = RING_BYTES) -> None:
        self.begun_ms = time.time_ns() // 1_000_000
        self.readers = 0
        self.lost = 0  # entries that readers did not get, all of them together
        self.running = Running()
        self._ring: deque[Entry] = deque()
        self._wordy: deque[Entry] = deque()  # those of the ring that have words, oldest first
        self._events = events
        self._size = size
        self._weight = 0
        self._number = 0
        self._closed_at: int | None = None
        self._told = 0  # the number of the last entry that readers may take by now
        self._beat_at: float | None = None  # when they may take what came after it
        self._kept_time = False  # somebody waits for that moment
        self._waiting = trio.lowlevel.ParkingLot()
        self._batches: dict[int, Batch] = {}  # by the number of the first entry
        self._progress = (0, 0, b"")  # after which turn, up to which, and the events

    def tell(self, telling: Telling) -> None:
        self.running.tell(telling)
        if type(telling) is Progress:
            return
        self._number += 1
        entry = Entry(self._number, telling)
        # `_weight` is that of the entries before the newest one
        self._weight += self._ring[-1].weight if self._ring else 0
        while self._weight > self._size and self._wordy:
            self._weight -= self._wordy.popleft().shed()
        while self._ring and (self._weight > self._size or len(self._ring) >= self._events):
            self._forget_oldest()
        self._ring.append(entry)
        if entry.words:
            self._wordy.append(entry)
        if self._number == self._told + 1 and self._closed_at is None:
            self._waiting.unpark()  # one of them, to keep the time for the others

    def _forget_oldest(self) -> None:
        oldest = self._ring.popleft()
        self._weight -= oldest.weight
        if oldest.words:
            self._wordy.popleft()
            if self.readers:  # one that is stuck may still hold it
                oldest.shed()

    @property
    def number(self) -> int:
        """That of the newest entry."""
        return self._number

    def since(self, number: int) -> list[Entry]:
        """What the ring holds after entry `number`; all of it when the number is of a feed before
        this one, which had counted further."""
        count = self._number - number
        if count < 0 or count > len(self._ring):
            count = len(self._ring)
        return [self._ring[at] for at in range(-count, 0)]

    def entry(self, number: int) -> Entry | None:
        """The entry of this number, while it is held."""
        back = self._number - number
        return self._ring[-1 - back] if 0 <= back < len(self._ring) else None

    def close(self) -> None:
        """No more: every reader comes to its end."""
        if self._closed_at is None:
            self._closed_at = self._number
        self._release()

    @contextmanager
    def subscribe(self, after: int | None = None) -> Iterator[Subscription]:
        """What is told after that entry; 0: all that is held; None: from now on."""
        if after is None:
            after = self._number
        elif after == 0 or after > self._number:
            after = self._ring[0].number - 1 if self._ring else self._number
        if self._closed_at is None:
            self._told = self._number  # it waits for nothing that has happened
        self.readers += 1
        try:
            yield Subscription(self, after)
        finally:
            self.readers -= 1

    async def after(self, number: int) -> Batch:
        """Some entries after that one, at least one; for a Subscription."""
        while self._told <= number:
            if self._closed_at is not None:
                raise trio.EndOfChannel
            if self._number > self._told and not self._kept_time:
                await self._keep_time()
            else:
                await self._waiting.park()
        first = max(number + 1, self._ring[0].number)
        if first > self._told:
            raise trio.EndOfChannel
        return self._batch(first, min(first + AT_ONCE - 1, self._told))

    async def _keep_time(self) -> None:
        """Wait for what else comes, then wake all. Who is called away leaves that to another one."""
        if self._beat_at is None:
            self._beat_at = trio.current_time() + BEAT_S
        self._kept_time = True
        try:
            await trio.sleep_until(self._beat_at)
            self._release()
        finally:
            self._kept_time = False
            self._waiting.unpark()

    def _release(self) -> None:
        """Readers may take all that there is."""
        self._told = self._number if self._closed_at is None else self._closed_at
        self._beat_at = None
        self._batches.clear()
        self._waiting.unpark_all()

    def _batch(self, first: int, last: int) -> Batch:
        batch = self._batches.get(first)
        if batch is None:
            newest = self._ring[-1].number
            batch = Batch([self._ring[n - newest - 1] for n in range(first, last + 1)])
            if len(self._batches) >= _BATCHES:
                self._batches.clear()
            self._batches[first] = batch
        return batch

    def progress(self, after: int) -> tuple[int, bytes]:
        """Events of what came since turn `after`, the newest of each stream; and the turn to ask for
        next. Made once for all readers that ask for the same."""
        turn = self.running.turn
        if self._progress[:2] != (after, turn):
            news = self.running.progress(after)
            self._progress = (after, turn, b"".join(write_sse(as_text(n).encode()) for n in news))
        return turn, self._progress[2]
