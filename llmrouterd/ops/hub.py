"""What is one over all workers: the request log, the feed with its dashboard, the metrics; limits
(desk.py) and answers to go on from (archive.py).

Owns: the process behind the unix socket, what it keeps of each worker, the pages it answers.
Refuses to know: requests as bytes, clients, providers; who forks and restarts (supervisor.py).

Laws:
1. A worker that goes leaves nothing open: each of its requests ends here, as one that the router lost.
2. A peer that says what is no frame is cut off; nothing it says ends the hub.
3. Told last to end, when the workers are gone, so that their last records are written.
4. Nobody but this user's processes is heard.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import trio

from llmrouterd.model import Headers, Opened, Record, Standing
from llmrouterd.observe import process
from llmrouterd.observe.dashboard import Dashboard
from llmrouterd.observe.exposition import OPENMETRICS, PROMETHEUS, accepts_openmetrics, write
from llmrouterd.observe.families import FAMILIES
from llmrouterd.observe.feed import Feed
from llmrouterd.observe.history import History
from llmrouterd.observe.metrics import Metrics
from llmrouterd.ops.archive import Archive
from llmrouterd.ops.desk import Desk
from llmrouterd.ops.frames import HELLO, Others, Reader, Writer
from llmrouterd.ops.lines import MARK
from llmrouterd.ops.peer import ours
from llmrouterd.ops.standings import Latest
from llmrouterd.ops.supervisor import clear
from llmrouterd.ops.worker import Link

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from llmrouterd.observe.exposition import Samples
    from llmrouterd.observe.journal import Journal
    from llmrouterd.ops.spendings import Spendings
    from llmrouterd.ops.worker import Child
    from llmrouterd.pipeline.admit import Admission

LOG = logging.getLogger("llmrouter.hub")
LOST = "the worker process that served this ended"
UNTOLD = "what came of this was lost on its way to the hub"
AT = "llmrouter_upstream_requests_in_flight"
IN_FLIGHT = "llmrouter_requests_in_flight"
CIRCUIT = "llmrouter_circuit_state"
_WORSE = ("open", "half_open", "closed")
NEWS = 256  # of others, for a worker that does not ask
_READ = 64 * 1024
_ANY = frozenset({"llmrouter_draining", "llmrouter_circuit_state"})  # one worker's is enough
_ALL = frozenset({"llmrouter_provider_up", "process_start_time_seconds"})  # the least of them
_ONE = frozenset({"llmrouter_build_info", "process_max_fds"})


async def run(
    child: Child,
    journal: Journal | None,
    admission: Admission,
    spendings: Spendings | None,
    grace_s: float,
) -> None:
    """Serve the workers until the supervisor says stop. When that is gone: until they are, at most
    `grace_s`; and then nobody else takes the socket's folder away."""
    link = Link(child.link)
    hub = Hub(journal, link, grace_s, Desk(admission, child.awaited))
    async with trio.open_nursery() as keeping:
        if spendings is not None:
            await keeping.start(spendings.run)
        await hub.run(child)
        keeping.cancel_scope.cancel()
    if link.orphaned:
        clear(child.hub)


@dataclass(eq=False)
class Worker:
    """A connection. flying: how its requests began that have not ended."""

    number: int
    stream: trio.SocketStream
    flying: dict[int, Opened] = field(default_factory=dict)
    figures: Mapping[str, Samples] = field(default_factory=dict)
    news: list[tuple[Any, ...]] = field(default_factory=list)


class Hub:
    def __init__(self, journal: Journal | None, link: Link, grace_s: float, desk: Desk) -> None:
        self.desk = desk
        self.archive = Archive()
        self.feed = Feed()
        self.metrics = Metrics()
        self.workers: dict[int, Worker] = {}
        self._grace_s = grace_s
        self._journal = journal
        self._link = link
        self.history = History()
        self._dashboard = Dashboard(self.feed, self.history)
        self._ending = trio.CancelScope()
        self._closing = False
        self._lost = 0
        self._standings = Latest()

    async def run(self, child: Child) -> None:
        assert child.listening is not None
        async with trio.open_nursery() as writing:
            if self._journal is not None:
                writing.start_soon(self._journal.run)
            with self._ending:
                async with trio.open_nursery() as nursery:
                    heed = partial(
                        self._link.heed, end=self._end, reload=_nothing, reopen=self._reopen
                    )
                    await nursery.start(heed)
                    await nursery.start(self.desk.admission.timer.run)
                    nursery.start_soon(self.desk.run)
                    listener = trio.SocketListener(trio.socket.from_stdlib_socket(child.listening))
                    nursery.start_soon(trio.serve_listeners, self._serve, [listener])
                    self._link.ready("hub")
                    await self._link.beat(lambda: "hub")
            if self._journal is not None:
                self._journal.close()

    def _reopen(self) -> None:
        if self._journal is not None:
            self._journal.reopen()

    def _end(self, at_once: bool) -> None:
        """Told by the supervisor the workers are gone; when that is gone itself, they drain first."""
        self.feed.close()
        self._closing = True
        self._ending.deadline = trio.current_time() + self._grace_s
        if at_once or not self.workers:
            self._ending.cancel()

    async def _serve(self, stream: trio.SocketStream) -> None:
        """One connection: a worker's tellings, its line to the desk, or a question."""
        try:
            if not ours(stream):
                LOG.error("somebody else connects to the hub: not heard")
                return
            data = await stream.receive_some(_READ)
            if data.startswith(MARK):
                await self.desk.serve(stream, data)
            else:
                await self._read(stream, data)
        except trio.BrokenResourceError as error:
            LOG.debug("a connection to the hub broke: %s", error)
        except (AssertionError, AttributeError, LookupError, TypeError, ValueError) as error:
            LOG.error("what is said to the hub is not understood: %r", error)
        finally:
            stream.socket.close()

    async def _read(self, stream: trio.SocketStream, data: bytes) -> None:
        reader = Reader()
        worker: Worker | None = None
        try:
            while data:
                for kind, *words in reader.feed(data):
                    if kind in ("page", "find", "forget"):
                        return await self._asked(stream, kind, words)
                    if kind == "hello" and words[0] == HELLO:
                        worker = self._met(words[1], stream)
                    elif worker is not None:
                        await self._heard(worker, kind, words)
                data = await stream.receive_some(_READ)
        finally:
            if worker is not None:
                self._gone(worker)

    async def _asked(self, stream: trio.SocketStream, kind: str, words: list[Any]) -> None:
        if kind == "page":
            return await self._page(_Answer(stream), *words)
        if kind == "forget":
            dropped = await self.archive.drop(*words)
            return await stream.send_all(Writer().frame("forgot", dropped))
        number, client, names = words
        if self.archive.lacks(client, names):  # it may be on its way
            await self.desk.sync(number)
        return await stream.send_all(Writer().frame("found", *self.archive.find(client, names)))

    def _met(self, number: int, stream: trio.SocketStream) -> Worker:
        """A worker comes, or comes back."""
        before = self.workers.get(number)
        if before is not None:
            self._gone(before)
        worker = self.workers[number] = Worker(number, stream)
        return worker

    async def _heard(self, worker: Worker, kind: str, words: list[Any]) -> None:
        if kind == "tell":
            self._told(worker, words[0])
        elif kind == "figures":
            worker.figures = words[0]
            await self._share(worker)
        elif kind == "lagged":
            self.metrics.lagged(words[0])
        elif kind == "lost":
            self._lost += words[0]
            LOG.warning("%d records of worker %d were lost", words[0], worker.number)
        elif kind == "over":
            opened = worker.flying.pop(words[0], None)
            if opened is not None:  # for those who look on: it is counted as lost, not as failed
                self.feed.tell(lost(opened, worker.number, UNTOLD))
        elif kind == "shelve":
            self.archive.put(*words)
        elif kind == "synced":
            self.desk.synced(words[0], worker.number)
        elif kind == "health":
            for other in self.workers.values():
                if other is not worker:
                    other.news = [*other.news, tuple(words)][-NEWS:]

    async def _share(self, worker: Worker) -> None:
        """What the others have to say, in answer to its figures: one task writes to a connection."""
        news, worker.news = worker.news, []
        figures = summed(
            {name: each.figures.get(name, {}) for name in (IN_FLIGHT, AT)}
            for each in self.workers.values()
            if each is not worker
        )
        in_flight = int(sum(map(_number, figures.get(IN_FLIGHT, {}).values())))
        at = {labels[0]: int(_number(n)) for labels, n in figures.get(AT, {}).items()}
        others = Others(in_flight, at, self.desk.queues(), tuple(news))
        await worker.stream.send_all(Writer().frame("shared", others))

    def _told(self, worker: Worker, telling: Any) -> None:
        if isinstance(telling, Standing) and not self._standings.is_news(telling):
            return
        if isinstance(telling, Opened):
            worker.flying[telling.id] = telling
        elif isinstance(telling, Record):
            worker.flying.pop(telling.id, None)
        for sink in (self.feed, self.history, self.metrics, self._journal):
            if sink is not None:
                sink.tell(telling)

    def _gone(self, worker: Worker) -> None:
        """Law 1."""
        if self.workers.get(worker.number) is worker:
            del self.workers[worker.number]
        for opened in list(worker.flying.values()):
            self._told(worker, lost(opened, worker.number))
        if self._closing and not self.workers:
            self._ending.cancel()

    # --- pages ------------------------------------------------------------------------------------

    async def _page(
        self, answer: _Answer, page: str, query: str, fields: Iterable[tuple[str, str]]
    ) -> None:
        raw = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in fields]
        asked = _Asked(query, Headers(raw))
        if page == "metrics":
            openmetrics = accepts_openmetrics(asked.headers.get("accept") or "")
            kind = OPENMETRICS if openmetrics else PROMETHEUS
            head = [("content-type", kind), ("cache-control", "no-store")]
            await answer.respond(200, head, self.text(openmetrics=openmetrics))
        elif page == "event":
            await self._dashboard.event(asked, answer)
        elif page == "history":
            await self._dashboard.history(asked, answer)
        else:
            await self._events(asked, answer)

    async def _events(self, asked: _Asked, answer: _Answer) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_until_closed, answer.stream, nursery.cancel_scope)
            try:
                await self._dashboard.events(asked, answer)
            except trio.BrokenResourceError:
                LOG.debug("a reader of the feed has gone")
            nursery.cancel_scope.cancel()

    def text(self, *, openmetrics: bool = False) -> bytes:
        """The metrics of all workers."""
        workers = summed([each.figures for each in self.workers.values()])
        workers[CIRCUIT] = worst(workers.get(CIRCUIT, {}))
        samples = {**workers, **self._own(), **self._of_each(), **self.metrics.samples}
        return write(FAMILIES.values(), samples, openmetrics=openmetrics)

    def _own(self) -> dict[str, Samples]:
        journal = self._journal
        figures = {
            "llmrouter_workers": len(self.workers),
            "llmrouter_feed_readers": self.feed.readers,
            "llmrouter_feed_events_dropped_total": self.feed.lost,
        }
        if journal is not None:
            figures["llmrouter_log_lines_written_total"] = journal.written
            figures["llmrouter_log_lines_dropped_total"] = journal.lost + self._lost
        found: dict[str, Samples] = {name: {(): value} for name, value in figures.items()}
        queued = self.desk.admission.queued()
        return found | {"llmrouter_requests_queued": {(name,): n for name, n in queued.items()}}

    def _of_each(self) -> dict[str, Samples]:
        """By worker: its number, 1 to N, so that a restarted one goes on under its label."""
        of = {
            IN_FLIGHT: "llmrouter_worker_requests_in_flight",
            "process_resident_memory_bytes": "llmrouter_worker_resident_memory_bytes",
            "process_cpu_seconds_total": "llmrouter_worker_cpu_seconds_total",
        }
        hub = process.figures()
        found: dict[str, Samples] = {name: {} for name in of.values()}
        for source, name in of.items():
            for worker in self.workers.values():
                for value in worker.figures.get(source, {}).values():
                    found[name][(str(worker.number),)] = value
            if source in hub:
                found[name][("hub",)] = hub[source]
        return found


def _number(value: Any) -> float:
    assert isinstance(value, int | float)
    return value


async def _nothing(number: int | None = None) -> None:
    """The hub has nothing that a reload changes."""


async def _until_closed(stream: trio.SocketStream, scope: trio.CancelScope) -> None:
    """A reader that goes is noticed although nothing is sent to it."""
    try:
        while await stream.receive_some(_READ):
            pass
    except trio.BrokenResourceError:
        pass
    scope.cancel()


def lost(opened: Opened, worker: int, why: str = LOST) -> Record:
    """How a request is told of whose worker is gone."""
    now_ms = time.time_ns() // 1_000_000
    return Record(
        id=opened.id,
        request_id="",
        ts_ms=now_ms,
        end="internal_error",
        status=0,
        client_format="",
        endpoint="",
        requested_model=opened.model,
        duration_ms=max(0, now_ms - opened.ts_ms),
        error=why,
        error_kind="internal",
        fault="router",
        worker=worker,
    )


def summed(found: Iterable[Mapping[str, Samples]]) -> dict[str, Samples]:
    """The figures of all workers as those of one daemon."""
    out: dict[str, Samples] = {}
    for figures in found:
        for name, samples in figures.items():
            into = out.setdefault(name, {})
            for labels, value in samples.items():
                into[labels] = _both(name, into.get(labels), value)
    return out


def worst(circuits: Samples) -> Samples:
    """A provider's circuit is in one state, though workers may see it in several."""
    out: Samples = {}
    for (name, state), value in circuits.items():
        before = _WORSE[: _WORSE.index(state)]
        worse = any(circuits.get((name, each)) for each in before)
        out[name, state] = 0 if worse else value
    return out


def _both(name: str, one: Any, other: Any) -> Any:
    if one is None or name in _ONE:
        return other
    if name in _ANY:
        return max(one, other)
    return min(one, other) if name in _ALL else one + other


@dataclass(slots=True)
class _Asked:
    """scheme: the worker has looked after whatever hangs on it."""

    query: str
    headers: Headers
    scheme: str = "http"


class _Answer:
    """A page's answer as frames. A worker passes them on."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self.stream = stream
        self._writer = Writer()

    async def respond(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
        await self.stream.send_all(self._writer.frame("respond", status, headers, body))

    async def start(self, status: int, headers: list[tuple[str, str]]) -> None:
        await self.stream.send_all(self._writer.frame("start", status, headers))

    async def send(self, data: bytes) -> None:
        await self.stream.send_all(self._writer.frame("send", data))

    async def finish(self) -> None:
        pass
