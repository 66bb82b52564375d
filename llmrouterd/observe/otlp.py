"""OpenTelemetry export: traces, metrics and logs on their way to a collector.

Owns: what waits to be sent, the bounds on it, batches, tries and pauses, and what was lost.
Refuses to know: how messages look (otlp_payload.py, otlp_metrics.py), sockets and addresses: `Send`
is handed in, and says when something may not go there.

Laws:
1. A request never waits for a collector, and no collector makes memory grow: what does not fit is
   counted, and the daemon's own log tells once.
2. What is known of a request that must stay on this network is never in one message with anything
   else, and is handed to `Send` with its bounds. Refused there, it is dropped and counted.
3. The end is bounded: one last try for what waits, within seconds.
"""

from __future__ import annotations

import json
import logging
import random
import time
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

import trio

from llmrouterd.model import Record
from llmrouterd.observe import otlp_payload
from llmrouterd.observe.otlp_metrics import Meter
from llmrouterd.observe.otlp_payload import Line, Source, Told, cut, told_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Mapping

    from llmrouterd.model import Telling

    InThread = Callable[..., Awaitable[bytes]]

LOG = logging.getLogger("llmrouter.otlp")
QUEUE = 2048  # what may wait, of each signal
LINES = 512  # of the daemon's own log, until they are sorted
BATCH = 128  # requests in one message
TRIES = 8  # of one message: some two minutes
FIRST_PAUSE_S, LONGEST_PAUSE_S = 1.0, 30.0
LONGEST_ASKED_S = 300.0  # of a pause that the collector asks for
LAST_S = 5.0  # for what is left at the end
GROUPS = 16  # of different bounds: policies are few
_AGAIN = frozenset({0, 429, 502, 503, 504})  # statuses of OTLP that may be tried again
_REJECTED = ("rejectedSpans", "rejectedDataPoints", "rejectedLogRecords")

Confined = tuple[str, ...] | None  # as Record has it
Loss = Literal["overflow", "refused", "denied", "unreachable"]


@dataclass(frozen=True, slots=True)
class Reply:
    """What came of a message. status 0: there was no answer, and `why` says why. denied: nothing was
    sent, since what was in it may not go there."""

    status: int = 0
    body: bytes = b""
    retry_after_s: float | None = None
    why: str = ""
    denied: bool = False


class Send(Protocol):
    """Posts a message to the path of a signal. Bounded in time; raises nothing."""

    async def __call__(self, path: str, body: bytes, confined: Confined) -> Reply: ...


class Signal:
    """One of traces, metrics and logs: what was sent and lost, and whether the log knows."""

    def __init__(self, name: str, send: Send) -> None:
        self.name = name
        self._send = send
        self._told: set[str] = set()
        self.sent = 0
        self.lost: dict[Loss, int] = {}

    def lose(self, reason: Loss, count: int, words: str) -> None:
        """So much will not arrive. Told once, until it works again."""
        self.lost[reason] = self.lost.get(reason, 0) + count
        self._tell(reason, "are lost: %s", words)

    async def post(self, body: bytes, confined: Confined, count: int) -> float | None:
        """Send a message of so many. The seconds until it may be tried again; None when it is
        settled: it has arrived, or never will."""
        reply = await self._send(f"/v1/{self.name}", body, confined)
        if 200 <= reply.status < 300:
            self._arrived(reply.body, count)
            return None
        words = reply.why or f"the collector answered {reply.status}"
        if reply.denied:
            self.lose("denied", count, f"{words}. They are of requests that must stay here")
            return None
        if reply.status not in _AGAIN:
            said = cut(reply.body.decode("utf-8", "replace").strip(), 200)
            self.lose("refused", count, f"{words} {said!r}" if said else words)
            return None
        self._tell("again", "are sent again later: %s", words)
        return min(reply.retry_after_s or 0.0, LONGEST_ASKED_S)

    def _arrived(self, body: bytes, count: int) -> None:
        rejected, words = partial_success(body)
        rejected = min(rejected, count)
        if rejected:
            self.lose("refused", rejected, words or "the collector took only a part")
        elif words:
            self._tell("warned", "have arrived, with a warning: %s", words)
        elif self._told:
            LOG.info("%s arrive at the collector again; %s", self.name, self._losses())
            self._told.clear()
        self.sent += count - rejected

    def _tell(self, about: str, words: str, why: str) -> None:
        if about not in self._told:
            self._told.add(about)
            LOG.warning(f"%s {words}", self.name, why)  # noqa: G004 - one of a few texts

    def _losses(self) -> str:
        return f"{sum(self.lost.values())} were lost since the start"


def partial_success(body: bytes) -> tuple[int, str]:
    """How many of a message's entries were refused after all, and what the collector says to it. A
    body that is no such answer says nothing."""
    try:
        partial = json.loads(body)["partialSuccess"]
        counts = [int(partial.get(name) or 0) for name in _REJECTED]
        words = str(partial.get("errorMessage") or "")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return 0, ""
    return max(0, *counts), cut(words)


class Outbox:
    """What waits to be sent of one signal, by its bounds."""

    def __init__(self, signal: Signal, write: Callable[[list[Any]], Awaitable[bytes]]) -> None:
        self.signal = signal
        self._write = write
        self._groups: dict[Confined, deque[Any]] = {}
        self.waiting = 0
        self.due = trio.Event()  # a message's worth is there
        self.gather: Callable[[], None] = lambda: None  # what others have put aside

    def put(self, item: Any, confined: Confined) -> None:
        group = self._groups.get(confined)
        if self.waiting >= QUEUE or (group is None and len(self._groups) >= GROUPS):
            words = "the collector does not keep up"
            self.signal.lose("overflow", 1, words)
            return
        if group is None:
            group = self._groups[confined] = deque()
        group.append(item)
        self.waiting += 1
        if self.waiting >= BATCH:
            self.due.set()

    async def run(self, interval_s: float, closing: trio.Event) -> None:
        """Send what comes, until closed and empty."""
        while True:
            if self.waiting < BATCH and not closing.is_set():
                with trio.move_on_after(interval_s):
                    await self.due.wait()
            self.gather()
            for confined, items in self._batches():
                await self._ship(confined, items, closing)
            if closing.is_set() and not self.waiting:
                return
            if not closing.is_set():
                self.due = trio.Event()

    def _batches(self) -> Iterator[tuple[Confined, list[Any]]]:
        """What waits now, a message's worth at a time."""
        while self._groups:
            confined, group = next(iter(self._groups.items()))
            items = [group.popleft() for _ in range(min(BATCH, len(group)))]
            del self._groups[confined]
            if group:
                self._groups[confined] = group  # the others come first
            self.waiting -= len(items)
            yield confined, items

    async def _ship(self, confined: Confined, items: list[Any], closing: trio.Event) -> None:
        """One message, tried until it is settled or there have been enough tries."""
        settled, words = False, "the collector was not there at the end"
        try:
            body = await self._write(items)
            for tried in range(TRIES):
                last = closing.is_set()
                asked_s = await self.signal.post(body, confined, len(items))
                settled = asked_s is None
                if asked_s is None or last:
                    break
                with trio.move_on_after(max(asked_s, pause_s(tried))):
                    await closing.wait()
            else:
                words = "the collector was not there for too long"
        finally:
            if not settled:
                self.signal.lose("unreachable", len(items), words)


def pause_s(tried: int) -> float:
    """Before the next try: longer each time, and not for everybody at the same moment."""
    longest = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2.0 ** min(tried, 16))
    return longest * random.uniform(0.5, 1.0)


class Export:
    """A Sink that sends what requests came to. `run` is its one task.

    strictest: the bounds of what belongs to no request in particular, the daemon's own log lines:
    they may be about any. in_thread: calls what takes long.
    """

    follows = False

    def __init__(
        self,
        source: Source,
        send: Send,
        *,
        interval_s: float,
        strictest: Callable[[], Confined] = lambda: None,
        in_thread: InThread = trio.to_thread.run_sync,
    ) -> None:
        self._source = source
        self._interval_s = interval_s
        self._in_thread = in_thread
        self._closing = trio.Event()
        self._started_unix_ns = time.time_ns()
        self._meters: dict[Confined, Meter] = {}
        self._metrics = Signal("metrics", send)
        self._traces = Outbox(Signal("traces", send), self._written_traces)
        self._logs = Outbox(Signal("logs", send), self._written_logs)
        self._logs.gather = self._sort_lines
        self.lines = Lines(strictest)

    async def _written_traces(self, told: list[Told]) -> bytes:
        return await self._in_thread(otlp_payload.traces, self._source, told)

    async def _written_logs(self, told: list[Told | Line]) -> bytes:
        return await self._in_thread(otlp_payload.logs, self._source, told)

    @property
    def signals(self) -> tuple[Signal, ...]:
        return self._traces.signal, self._metrics, self._logs.signal

    def tell(self, telling: Telling) -> None:
        if not isinstance(telling, Record) or self._closing.is_set():
            return
        told, confined = told_of(telling), telling.confined
        self._meter(confined).count(told.record)
        if told.record.traced is not None and told.record.traced.sampled:
            self._traces.put(told, confined)
        self._logs.put(told, confined)

    def _meter(self, confined: Confined) -> Meter:
        """Of requests with these bounds. Points of those that are bound say so, since they must not
        be taken for the others' at a collector that gets both."""
        meter = self._meters.get(confined)
        if meter is None:
            more = () if confined is None else (("llmrouter.confined", confined or ("local",)),)
            meter = Meter(self._started_unix_ns, more)
            if len(self._meters) < GROUPS:
                self._meters[confined] = meter
            else:
                self._metrics.lose("overflow", 1, "there are too many different bounds")
        return meter

    def close(self) -> None:
        """Nothing comes any more: `run` sends what it has, and returns soon."""
        self._closing.set()
        self._traces.due.set()
        self._logs.due.set()

    async def run(self) -> None:
        """Send until closed."""
        daemon = logging.getLogger("llmrouter")
        daemon.addHandler(self.lines)
        try:
            async with trio.open_nursery() as nursery:
                for outbox in (self._traces, self._logs):
                    nursery.start_soon(outbox.run, self._interval_s, self._closing)
                nursery.start_soon(self._measure)
                await self._closing.wait()
                nursery.cancel_scope.deadline = trio.current_time() + LAST_S
        finally:
            daemon.removeHandler(self.lines)
            self._count_left()

    def _count_left(self) -> None:
        for outbox in (self._traces, self._logs):
            if outbox.waiting:
                words = "there was no time for them at the end"
                outbox.signal.lose("unreachable", outbox.waiting, words)

    async def _measure(self) -> None:
        """Metrics are sent as they stand, so there is nothing to keep: a later message says more."""
        failed, closing = 0, False
        while not closing:
            wait_s = max(self._interval_s, pause_s(failed - 1) if failed else 0.0)
            with trio.move_on_after(wait_s):
                await self._closing.wait()
            closing = self._closing.is_set()
            asked_s = await self._send_metrics()
            failed = 0 if asked_s is None else failed + 1
            with trio.move_on_after(asked_s or 0.0):
                await self._closing.wait()

    async def _send_metrics(self) -> float | None:
        waits: list[float] = []
        for confined, meter in list(self._meters.items()):
            now, frozen = time.time_ns(), meter.copy()
            body = await self._in_thread(frozen.message, self._source, now)
            asked_s = await self._metrics.post(body, confined, frozen.size)
            waits += [] if asked_s is None else [asked_s]
        return max(waits, default=None)

    # --- the daemon's own log ---------------------------------------------------------------------

    def _sort_lines(self) -> None:
        for confined, line in self.lines.taken():
            self._logs.put(line, confined)
        missed = self.lines.missed()
        if missed:
            self._logs.signal.lose("overflow", missed, "there are too many lines")

    @property
    def figures(self) -> Mapping[str, Mapping[tuple[str, ...], float]]:
        """For /metrics: what was sent, and what was lost and why."""
        return {
            "llmrouter_telemetry_sent_total": {(s.name,): s.sent for s in self.signals},
            "llmrouter_telemetry_dropped_total": {
                (s.name, reason): count for s in self.signals for reason, count in s.lost.items()
            },
        }


class Lines(logging.Handler):
    """Lines of the daemon's own log, put aside by whatever thread logs them."""

    def __init__(self, strictest: Callable[[], Confined]) -> None:
        super().__init__(logging.INFO)
        self._strictest = strictest
        self._lines: deque[tuple[Confined, Line]] = deque()
        self._missed = 0

    def emit(self, record: logging.LogRecord) -> None:
        if record.name == LOG.name:  # what is said of sending is not sent
            return
        if len(self._lines) >= LINES:
            self._missed += 1
            return
        text, trace_id = record.getMessage(), getattr(record, "trace_id", "")
        when = int(record.created * 1e9)
        line = Line(when, record.levelno, record.name, text, trace_id)
        self._lines.append((self._strictest(), line))

    def taken(self) -> Iterator[tuple[Confined, Line]]:
        while self._lines:
            yield self._lines.popleft()

    def missed(self) -> int:
        """How many there was no room for, since this was last asked."""
        missed, self._missed = self._missed, 0
        return missed
