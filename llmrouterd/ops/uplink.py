"""A worker's way to the hub: what it tells, and the pages that the hub answers.

Owns: the connection and its coming back, the bounded queue before it, the passing on of pages.
Refuses to know: what the hub does with either.

Laws:
1. `tell` never waits. What does not fit, and what was under way when the hub went, is lost and
   counted, and the hub is told how much that was.
2. Without a hub a worker serves as before; pages of the hub are a 503 until it is back.
3. Whatever was accepted before the end is sent before the worker ends, within `LAST_S`.
"""

from __future__ import annotations

import logging
import math
from collections import deque
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import trio

from llmrouterd.model import Record
from llmrouterd.observe.dashboard import Dashboard
from llmrouterd.observe.feed import Feed
from llmrouterd.observe.history import History
from llmrouterd.ops.frames import HELLO, Malformed, Others, Reader, TooLarge, Writer
from llmrouterd.ops.peer import reach

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from llmrouterd.model import Telling
    from llmrouterd.observe.surface import Answering, Asking

LOG = logging.getLogger("llmrouter.hub")
QUEUE = 4096  # tellings that wait
QUEUE_BYTES = 64 * 1024 * 1024  # of bodies among them
BATCH = 64
AGAIN_S = (0.05, 2.0)  # between two tries to reach the hub: the first, the longest
FIGURES_S = 1.0
LAST_S = 3.0
PAGE_S = 5.0  # for the beginning of a page
_READ = 64 * 1024
_JSON = [("content-type", "application/json"), ("retry-after", "1")]
_NO_HUB = b'{"error":{"type":"router_error","message":"the hub is not there right now"}}'


class Uplink:
    """A Sink. `run` is its task. figures: what this process has to say of itself, asked for once a
    second. shared: told in answer what there is to know of the others."""

    follows = True

    def __init__(self, path: str, number: int) -> None:
        self.path = path
        self.number = number
        self.figures: Callable[[], Any] | None = None
        self.shared: Callable[[Others], None] = _nobody
        self._queue: deque[Telling | tuple[Any, ...] | _Large] = deque()
        self._bytes = 0
        self._lost = 0
        self._closed = False
        self._more = trio.Event()
        self._scope = trio.CancelScope()

    def tell(self, telling: Telling) -> None:
        if isinstance(telling, Record):
            telling = replace(telling, worker=self.number)
        size = _size(telling)
        full = len(self._queue) >= QUEUE or self._bytes + size > QUEUE_BYTES
        if full or self._closed:
            if isinstance(telling, Record):
                self._lost += 1
                self._over(telling.id)
            return
        self._bytes += size
        self._put(telling)

    def _over(self, number: int) -> None:
        """Behind whatever was told of that request: else the hub would take it for one under way."""
        if len(self._queue) < 2 * QUEUE and not self._closed:
            self._put(("over", number))

    def say(self, *words: Any) -> None:
        """Something that is no telling; of no use any more when there is no hub."""
        if len(self._queue) < QUEUE and not self._closed:
            self._put(words)

    def send(self, size: int, *words: Any) -> None:
        """The same, of about so many bytes."""
        if self._bytes + size <= QUEUE_BYTES and len(self._queue) < QUEUE and not self._closed:
            self._bytes += size
            self._put(_Large(size, words))

    def _put(self, item: Telling | tuple[Any, ...] | _Large) -> None:
        self._queue.append(item)
        self._more.set()

    def close(self) -> None:
        """No more: `run` sends what it has and returns."""
        self._closed = True
        self._more.set()
        self._scope.deadline = trio.current_time() + LAST_S

    async def run(self) -> None:
        """Send until closed."""
        wait_s = AGAIN_S[0]
        with self._scope:
            while not self._closed or self._queue:
                if await self._connected():
                    wait_s = AGAIN_S[0]
                elif self._closed:
                    return
                await trio.sleep(wait_s)
                wait_s = min(2 * wait_s, AGAIN_S[1])

    async def _connected(self) -> bool:
        """One connection to its end. False: there was none."""
        try:
            stream = await reach(self.path)
        except OSError:
            return False
        async with stream, trio.open_nursery() as nursery:
            nursery.start_soon(self._listen, stream, nursery.cancel_scope)
            nursery.start_soon(self._gauge)
            try:
                writer = Writer()
                await stream.send_all(writer.frame("hello", HELLO, self.number))
                while await self._send(stream, writer):
                    pass
            except trio.BrokenResourceError:
                pass  # counted; the listener says it
            nursery.cancel_scope.cancel()
        return True

    async def _send(self, stream: trio.SocketStream, writer: Writer) -> bool:
        """What there is, waited for. False: closed, and all is sent."""
        if not self._queue:
            if self._closed:
                return False
            self._more = trio.Event()
            await self._more.wait()
        count = min(BATCH, len(self._queue))
        batch = [self._queue.popleft() for _ in range(count)]
        self._bytes -= sum(map(_size, batch))
        records, self._lost = self._lost, 0
        sent = False
        try:
            frames = [self._framed(writer, item) for item in batch]
            if records:
                frames.append(writer.frame("lost", records))
            await stream.send_all(b"".join(frames))
            sent = True
        finally:
            if not sent:
                self._lost += records + sum(isinstance(each, Record) for each in batch)
        return True

    def _framed(self, writer: Writer, item: Telling | tuple[Any, ...] | _Large) -> bytes:
        try:
            if isinstance(item, _Large):
                return writer.frame(*item.words)
            return writer.frame(*item) if isinstance(item, tuple) else writer.frame("tell", item)
        except TooLarge:
            self._lost += isinstance(item, Record)
            return writer.frame("over", item.id) if isinstance(item, Record) else b""

    async def _listen(self, stream: trio.SocketStream, scope: trio.CancelScope) -> None:
        """What the hub says; its end is the end of the connection."""
        reader = Reader()
        try:
            while data := await stream.receive_some(_READ):
                for kind, *words in reader.feed(data):
                    if kind == "shared":
                        self.shared(words[0])
        except (trio.BrokenResourceError, Malformed):
            pass
        if not self._closed:
            LOG.warning("the hub is gone; looking for it again")
        scope.cancel()

    async def _gauge(self) -> None:
        while self.figures is not None:
            self.say("figures", self.figures())
            await trio.sleep(FIGURES_S)


@dataclass(frozen=True, slots=True)
class _Large:
    """Words of about so many bytes."""

    size: int
    words: tuple[Any, ...]


def _nobody(others: Others) -> None:
    pass


def _size(item: Telling | tuple[Any, ...] | _Large) -> int:
    if isinstance(item, _Large):
        return item.size
    return item.size_bytes if isinstance(item, Record) else 0


# --- pages ----------------------------------------------------------------------------------------


class Passed(Dashboard):
    """The dashboard and the metrics of all workers: this one's page, the hub's events."""

    def __init__(self, path: str) -> None:
        super().__init__(Feed(events=1), History())
        self._path = path
        self._open: set[trio.CancelScope] = set()

    async def events(self, incoming: Asking, client: Answering) -> None:
        await self._pass_on("events", incoming, client)

    async def event(self, incoming: Asking, client: Answering) -> None:
        await self._pass_on("event", incoming, client)

    async def history(self, incoming: Asking, client: Answering) -> None:
        await self._pass_on("history", incoming, client)

    async def metrics(self, incoming: Asking, client: Answering) -> None:
        await self._pass_on("metrics", incoming, client)

    def close(self) -> None:
        """Every reader comes to its end."""
        for scope in self._open:
            scope.cancel()

    async def _pass_on(self, page: str, incoming: Asking, client: Answering) -> None:
        names = ("last-event-id", "accept")
        found = [(name, incoming.headers.get(name)) for name in names]
        asked = (page, incoming.query, [pair for pair in found if pair[1] is not None])
        begun = False
        with self._ending() as scope:
            try:
                async with await reach(self._path) as stream:
                    await stream.send_all(Writer().frame("page", *asked))
                    reader = Reader()
                    scope.deadline = trio.current_time() + PAGE_S
                    while data := await stream.receive_some(_READ):
                        scope.deadline = math.inf
                        for kind, *words in reader.feed(data):
                            begun = True
                            await _said(kind, words, client)
            except (OSError, trio.BrokenResourceError, Malformed):
                LOG.info("the hub went while it gave a page")
        if not begun:
            await client.respond(503, _JSON, _NO_HUB)
        elif page == "events":
            await client.finish()

    @contextmanager
    def _ending(self) -> Iterator[trio.CancelScope]:
        with trio.CancelScope() as scope:
            self._open.add(scope)
            try:
                yield scope
            finally:
                self._open.discard(scope)


async def _said(kind: str, words: list[Any], client: Answering) -> None:
    if kind == "respond":
        await client.respond(words[0], words[1], words[2])
    elif kind == "start":
        await client.start(words[0], words[1])
    elif kind == "send":
        await client.send(words[0])
