"""Builds the daemon and runs it: read this second.

Owns: what exists once per process, the nurseries and the order in which they end.
Refuses to know: how anything is decided.

Order of death: accepting, idle connections, running requests at the drain deadline, then the
services, so that the last record is still written.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import trio

from llmrouterd.config import Config, overridden
from llmrouterd.edge.connection import Connections
from llmrouterd.edge.hangup import Hangups
from llmrouterd.edge.incoming import Limits
from llmrouterd.edge.listen import Listener, Server, Service
from llmrouterd.edge.pool import Pool
from llmrouterd.guard.health import Health
from llmrouterd.model import ConfigError
from llmrouterd.observe.audit import Audit
from llmrouterd.observe.dashboard import Dashboard
from llmrouterd.observe.feed import Feed
from llmrouterd.observe.history import History
from llmrouterd.observe.journal import Journal
from llmrouterd.observe.lag import watch_lag
from llmrouterd.observe.metrics import Metrics
from llmrouterd.ops import local, signals
from llmrouterd.ops.current import Current
from llmrouterd.ops.generation import build
from llmrouterd.ops.listening import handed_down, listeners, server_context
from llmrouterd.ops.pages import refuse
from llmrouterd.ops.scrape import Scrape
from llmrouterd.ops.spendings import Spendings
from llmrouterd.ops.systemd import Notifier
from llmrouterd.pipeline.admit import DAY_MS, Admission
from llmrouterd.pipeline.binding import confined, unclassified
from llmrouterd.pipeline.daemon import Daemon, Generation
from llmrouterd.pipeline.tracing import Tracer

if TYPE_CHECKING:
    from collections.abc import Callable, MutableMapping

    from llmrouterd.observe.otlp import Export

LOG = logging.getLogger("llmrouter")
# The sum of all bodies held at once: eight of the largest that one request may have.
_BODIES_AT_ONCE = 8


@dataclass(frozen=True, slots=True)
class Running:
    """What the caller is told when the daemon listens. secure: by HTTPS, where it is TCP."""

    config: Config
    addresses: tuple[str, ...]
    secure: bool = False


async def run(
    config: Config | None,
    *,
    user_agent: str,
    environ: MutableMapping[str, str],
    host: str | None = None,
    port: int | None = None,
    load: Callable[[], Config] | None = None,
    watch: bool = False,
    ready: Callable[[Running], None] = lambda running: None,
    in_force: Callable[[int], None] = lambda number: None,
) -> None:
    """Serve until a signal says stop. config None: look at the machine and serve what it has.

    Args:
        environ: variables of service managers are taken out of it.
        load: reads the configuration again; None: it cannot be reloaded.
        watch: reload when the file changes.
        in_force: told the number of each configuration that takes effect.

    Raises ConfigError when it cannot start, before any task is: nothing is left open then.
    """
    pool = Pool()
    seen = signals.look(config.path) if watch and config is not None else None
    try:
        if config is None:
            config = await local.found(environ, pool)
            config = overridden(config, host, port)
        generation = build(config, 1, user_agent)
        admission = Admission()
        spendings = _spendings(config, admission)
        found = listeners(config, handed_down(environ))
    except ConfigError:
        pool.close()
        raise
    notifier = Notifier(environ)
    async with trio.open_nursery() as services:
        await services.start(pool.run)
        await services.start(admission.timer.run)
        if spendings is not None:
            await services.start(spendings.run)
        house = _House(config, generation, pool, admission, notifier, load, in_force)
        await house.serve(found, services, ready, seen)
        services.cancel_scope.cancel()


class _House:
    """What exists once per process, put together."""

    def __init__(
        self,
        config: Config,
        generation: Generation,
        pool: Pool,
        admission: Admission,
        notifier: Notifier,
        load: Callable[[], Config] | None,
        in_force: Callable[[int], None],
    ) -> None:
        self.feed = Feed() if config.server.dashboard else None
        self.journal = _journal(config)
        self.metrics = Metrics() if config.server.metrics else None
        history = History() if config.server.dashboard else None
        self.telemetry = self._telemetry(config, generation, pool)
        sinks = (self.feed, history, self.journal, self.metrics, self.telemetry)
        self.daemon = Daemon(
            pool,
            health=Health(),
            sinks=tuple(sink for sink in sinks if sink is not None),
            keep_bodies=_keeps_bodies(config),
            tracer=Tracer(config.telemetry.sample_ratio) if self.telemetry else None,
            keep_decisions=self.journal is not None,
            admission=admission,
        )
        self.hangups = Hangups()
        self.notifier = notifier
        dashboard = Dashboard(self.feed, history) if self.feed is not None else None
        self.connections = Connections(_BODIES_AT_ONCE * config.server.max_body_bytes)
        scrape = self._scrape(generation) if self.metrics is not None else None
        self.current = Current(config, generation, self.daemon, dashboard, scrape, load=load)
        self.server: Server | None = None
        self._in_force = in_force

    def _telemetry(self, config: Config, generation: Generation, pool: Pool) -> Export | None:
        if not config.telemetry.enabled:
            return None
        from llmrouterd.ops import collector  # here: the start of everybody else is sooner

        def strictest() -> tuple[str, ...] | None:
            return confined(unclassified(self.current.generation.routing))

        return collector.export(pool, config.telemetry, generation.user_agent, strictest)

    def _scrape(self, generation: Generation) -> Scrape:
        assert self.metrics is not None
        return Scrape(
            self.metrics,
            self.daemon,
            generation.user_agent.partition("/")[2],
            self.feed,
            self.journal,
            self.connections,
            telemetry=self.telemetry,
            fleet=lambda: self.daemon.fleet(self.current.generation, 0),
            queued=self.daemon.admission.queued,
        )

    async def serve(
        self,
        found: list[Listener],
        services: trio.Nursery,
        ready: Callable[[Running], None],
        seen: signals.Look | None,
    ) -> None:
        addresses = tuple(listener.address for listener in found)
        config = self.current.config
        await services.start(self.hangups.run)
        server = self.server = Server(found, self._service(config))
        async with trio.open_nursery() as writing:
            if self.journal is not None:
                writing.start_soon(self.journal.run)
            if self.telemetry is not None:
                writing.start_soon(self.telemetry.run)
            async with trio.open_nursery() as background:
                heed = partial(
                    signals.heed, end=self._end, reload=self._reload, reopen=self._reopen
                )
                await background.start(heed)
                await background.start(self.current.run)
                if self.metrics is not None:
                    background.start_soon(watch_lag, self.metrics.lagged)
                async with trio.open_nursery() as serving:
                    await serving.start(server.run)
                    if not server.connections.draining:  # a signal may have come before this
                        ready(Running(config, addresses, secure=server.secure))
                        self.notifier.ready(self._status())
                        background.start_soon(self.notifier.beat, self._status)
                        if seen is not None:
                            background.start_soon(signals.watch, config.path, seen, self._reload)
                background.cancel_scope.cancel()
            if self.journal is not None:
                self.journal.close()
            if self.telemetry is not None:
                self.telemetry.close()

    def _end(self, at_once: bool) -> None:
        assert self.server is not None
        self.daemon.draining = True
        if self.feed is not None:
            self.feed.close()
        self.notifier.stopping(f"draining, {self.daemon.in_flight} requests in flight")
        self.server.drain(0.0 if at_once else self.current.config.server.drain_timeout)

    async def _reload(self) -> None:
        """The file anew; then what the edge took from it."""
        if self.daemon.draining:
            return
        self.notifier.reloading()
        if await self.current.reload():
            self._in_force(self.current.generation.number)
            self._renew_edge()
        self.notifier.ready(self._status())

    def _renew_edge(self) -> None:
        assert self.server is not None
        config = self.current.config
        self.server.renew(self._service(config))
        try:
            self.server.secure_with(server_context(config.server))
        except ConfigError as error:
            for problem in error.problems:
                LOG.error("the certificate stays as it was: %s", problem)

    def _service(self, config: Config) -> Service:
        return service(config, self.current, self.hangups, self.connections)

    def _reopen(self) -> None:
        if self.journal is not None:
            self.journal.reopen()

    def _status(self) -> str:
        number, wrong = self.current.generation.number, self.current.failed
        refused = f"; the last reload was refused: {wrong[:200]}" if wrong else ""
        return f"generation {number}, {self.daemon.in_flight} requests in flight{refused}"


def _keeps_bodies(config: Config) -> bool:
    logs = config.logging.enabled and config.logging.bodies == "full"
    return config.server.dashboard or logs


def service(
    config: Config, current: Current, hangups: Hangups, connections: Connections
) -> Service:
    """How connections are served under this configuration."""
    server = config.server
    limits = Limits(
        max_body_bytes=server.max_body_bytes,
        header_timeout_s=server.header_timeout,
        body_timeout_s=server.body_timeout,
        keepalive_timeout_s=server.keepalive_timeout,
        client_stall_s=server.client_stall,
        body_budget_bytes=_BODIES_AT_ONCE * server.max_body_bytes,
        half_close=server.half_close,
    )
    return Service(
        answer=current.answer,
        limits=limits,
        hangups=hangups,
        connections=connections,
        refuse=refuse,
        max_connections=server.max_connections,
    )


def _spendings(config: Config, admission: Admission) -> Spendings | None:
    """Where budgets outlive the process. Without a folder they are kept in memory."""
    if not config.server.state_dir:
        return None
    spendings = Spendings(config.server.state_dir)
    spendings.load(admission.budget, time.time_ns() // 1_000_000 // DAY_MS)
    admission.spent = spendings.spent
    return spendings


def _journal(config: Config) -> Journal | None:
    settings = config.logging
    if not settings.enabled:
        return None
    key = settings.audit_key
    return Journal(
        settings.path,
        bodies=settings.bodies,
        max_bytes=settings.max_bytes,
        keep=settings.keep,
        rotate=settings.rotate,
        compress=settings.compress,
        audit=Audit(key.reveal().encode() if key else b"") if settings.audit else None,
    )
