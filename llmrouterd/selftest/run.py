"""The self-test: every fault, through every client, whole and streamed, alone and with another.

Owns: the misbehaving upstream, a router like the daemon's and the client, all in this process; the
order of the cases, their results.
Refuses to know: how results are shown.

Laws:
1. Every socket is a loopback one: a dialler that connects to nothing else is the only one there is.
2. It leaves nothing behind: no file, no task, no socket.
3. A case that went wrong is run once more by itself before it is called wrong: a busy machine must
   not look like a broken router.
"""

from __future__ import annotations

import socket
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import trio

from llmrouterd.edge.connection import Connections
from llmrouterd.edge.dial import DialError, Origin, dial
from llmrouterd.edge.hangup import Hangups
from llmrouterd.edge.listen import Listener, Server, bind_tcp
from llmrouterd.edge.pool import Pool
from llmrouterd.guard.egress import is_loopback
from llmrouterd.model import Record
from llmrouterd.ops.app import service
from llmrouterd.ops.current import Current
from llmrouterd.ops.generation import build
from llmrouterd.pipeline.daemon import Daemon
from llmrouterd.selftest.client import ask
from llmrouterd.selftest.faults import FAULTS, HEALTHY, Expected, Fault, held
from llmrouterd.selftest.judge import Place, Seen, differences
from llmrouterd.selftest.setting import Setting, Subject, setting
from llmrouterd.selftest.upstream import Upstream

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from llmrouterd.config import Config
    from llmrouterd.edge.wire import Wire
    from llmrouterd.model import Receipt, Telling

CLIENTS = ("openai", "anthropic", "ollama")
LIMIT_S = 120.0  # for everything: what takes longer has hung
_QUICK = 16  # cases at one time
_SLOW = 48  # these mostly wait for a clock
_MOST_AGAIN = 6
_BODIES_BYTES = 64 * 1024 * 1024  # of all requests at once; they are small
_RECORD_S = 5.0  # a record may come a moment after the answer


@dataclass(frozen=True, slots=True)
class Case:
    """One request. alone: nobody else could answer it. held: a plugin holds answers back."""

    number: int
    fault: Fault
    subject: Subject
    client: str
    stream: bool
    alone: bool
    held: bool = False

    @property
    def expected(self) -> Expected:
        expected = self.fault.stream if self.stream else self.fault.whole
        assert expected is not None
        return held(expected) if self.held else expected

    @property
    def place(self) -> Place:
        asked = self.subject.asked(self.fault)
        second = "" if self.alone else self.subject.second
        return Place(self.client, asked, self.fault.name, second)


@dataclass(frozen=True, slots=True)
class Result:
    """wrong: what differed, nothing when it went as it must. again: only the second time."""

    case: Case
    seen: Seen
    duration_ms: int
    wrong: tuple[str, ...] = ()
    again: bool = False


@dataclass(frozen=True, slots=True)
class Report:
    results: tuple[Result, ...]
    notes: tuple[str, ...]
    duration_s: float

    @property
    def ok(self) -> bool:
        return not any(result.wrong for result in self.results)


class Records:
    """A sink that keeps the record of each request until it is asked for."""

    follows = False

    def __init__(self) -> None:
        self._waiting: dict[str, Record] = {}
        self._came = trio.Event()

    def tell(self, telling: Telling) -> None:
        if isinstance(telling, Record):
            self._waiting[telling.request_id] = telling
            self._came.set()
            self._came = trio.Event()

    async def of(self, request_id: str) -> Record | None:
        with trio.move_on_after(_RECORD_S):
            while request_id not in self._waiting:
                await self._came.wait()
        return self._waiting.pop(request_id, None)


def cases(subjects: Sequence[Subject], *, held: bool = False) -> Iterator[Case]:
    """Every case there is: what takes a clock first, so that it is over when the others are."""
    number = 0
    for fault in sorted(FAULTS, key=lambda fault: not fault.slow):
        for subject in subjects:
            for client in CLIENTS:
                for stream in (False, True):
                    if not stream and fault.whole is None:
                        continue
                    for alone in (True, False) if fault.name != HEALTHY else (True,):
                        number += 1
                        yield Case(number, fault, subject, client, stream, alone, held)


async def run(config: Config | None, *, user_agent: str) -> Report:
    """Run every case. Raises ConfigError when the owner's extensions cannot be made, and
    trio.TooSlowError when it hangs."""
    begun = trio.current_time()
    with socket.socket() as unheard:  # bound and not listening: whoever calls is refused
        unheard.bind(("127.0.0.1", 0))
        (listening,) = bind_tcp("127.0.0.1", 0)
        try:
            upstream = Upstream(listening)
            nobody = f"http://127.0.0.1:{unheard.getsockname()[1]}"
            tested = setting(config, upstream.url, nobody)
            with trio.fail_after(LIMIT_S):
                results = await _with_router(tested, upstream, user_agent)
        finally:
            listening.sock.close()
    order = sorted(results, key=lambda result: result.case.number)
    return Report(tuple(order), tested.notes, trio.current_time() - begun)


async def _with_router(tested: Setting, upstream: Upstream, user_agent: str) -> list[Result]:
    """The daemon's own parts, put together as ops/app.py does it, but without signals and files."""
    generation = build(tested.config, 1, user_agent)
    plugins = generation.plugins.values()
    holds = any(plugin.enabled and plugin.hook.whole_response for plugin in plugins)
    upstream.waits = not holds  # the first words come with the last ones
    pool, own, records, hangups = Pool(dialer=_near), Pool(dialer=_near), Records(), Hangups()
    daemon = Daemon(pool, sinks=(records,), keep_bodies=True)
    current = Current(tested.config, generation, daemon, None)
    (listener,) = bind_tcp("127.0.0.1", 0)
    connections = Connections(_BODIES_BYTES)
    server = Server([listener], service(tested.config, current, hangups, connections))
    runner = _Runner(upstream, own, _origin(listener), records)
    try:
        async with trio.open_nursery() as nursery:
            for each in (pool.run, own.run, hangups.run, upstream.run, server.run):
                await nursery.start(each)
            results = await runner.all(list(cases(tested.subjects, held=holds)))
            nursery.cancel_scope.cancel()
    finally:
        server.close()
    return results


def _origin(listener: Listener) -> Origin:
    return Origin("http", "127.0.0.1", listener.port)


async def _near(origin: Origin, **more: object) -> tuple[Wire, Receipt]:
    """Dial, on this machine only."""
    if not is_loopback(origin.host) or origin.proxied:
        raise DialError("refused", f"{origin.where}: the self-test stays on this machine")
    return await dial(origin, **more)  # type: ignore[arg-type]


class _Runner:
    def __init__(self, upstream: Upstream, pool: Pool, origin: Origin, records: Records) -> None:
        self._upstream = upstream
        self._pool = pool
        self._origin = origin
        self._records = records
        self._results: list[Result] = []

    async def all(self, wanted: Sequence[Case]) -> list[Result]:
        quick, slow = trio.CapacityLimiter(_QUICK), trio.CapacityLimiter(_SLOW)
        async with trio.open_nursery() as nursery:
            for case in wanted:
                nursery.start_soon(self._within, slow if case.fault.slow else quick, case)
        wrong = [result for result in self._results if result.wrong]
        if len(wrong) > _MOST_AGAIN:  # that is no accident, and would take minutes
            return self._results
        right = [result for result in self._results if not result.wrong]
        return right + [await self._once_more(result) for result in wrong]

    async def _within(self, limiter: trio.CapacityLimiter, case: Case) -> None:
        async with limiter:
            self._results.append(await self._one(case, f"{case.number}"))

    async def _once_more(self, result: Result) -> Result:
        again = await self._one(result.case, f"{result.case.number}-again")
        return result if again.wrong else replace(again, again=True)

    async def _one(self, case: Case, name: str) -> Result:
        begun = trio.current_time()
        model = case.subject.model(case.fault.name, alone=case.alone)
        request_id, seen = await ask(
            self._pool,
            self._origin,
            case.client,
            model,
            name,
            stream=case.stream,
            heard=self._upstream.heard,
        )
        took_ms = int((trio.current_time() - begun) * 1000)
        record = await self._records.of(request_id) if request_id else None
        if record is None:
            seen = seen if seen.trouble else replace(seen, trouble="the request has no record")
        else:
            seen = _with_record(seen, record)
        return Result(case, seen, took_ms, tuple(differences(case.expected, case.place, seen)))


def _with_record(seen: Seen, record: Record) -> Seen:
    return replace(
        seen,
        end=record.end,
        fault=record.fault,
        error_kind=record.error_kind,
        tried=record.attempts,
        estimated=record.usage_estimated,
        output_tokens=record.usage.output if record.usage else None,
    )
