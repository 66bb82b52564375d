"""Builds the daemon and runs it: read this second.

Owns: what exists once per process, the nurseries and the order in which they end.
Refuses to know: how anything is decided.

Order of death: accepting, idle connections, running requests at the drain deadline, then the
services, so that the last record is still written.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, field
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
from llmrouterd.ops import archive, hub, local, signals
from llmrouterd.ops.current import Current
from llmrouterd.ops.generation import build, kept_answers
from llmrouterd.ops.listening import handed_down, listeners, server_context
from llmrouterd.ops.pages import refuse
from llmrouterd.ops.peer import reach
from llmrouterd.ops.permits import Permits
from llmrouterd.ops.scrape import Scrape
from llmrouterd.ops.shared import Told, join
from llmrouterd.ops.spendings import Spendings
from llmrouterd.ops.standings import Standings
from llmrouterd.ops.systemd import Notifier
from llmrouterd.ops.tally import Counted
from llmrouterd.ops.uplink import LAST_S, Passed, Uplink
from llmrouterd.ops.worker import Link
from llmrouterd.pipeline.admit import DAY_MS, Admission
from llmrouterd.pipeline.binding import confined, unclassified
from llmrouterd.pipeline.daemon import Daemon, Generation
from llmrouterd.pipeline.tracing import Tracer

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, MutableMapping

    from llmrouterd.model import Allowance, Fleet, ProviderState, Slots
    from llmrouterd.observe.otlp import Export
    from llmrouterd.ops.worker import Child

LOG = logging.getLogger("llmrouter")
# The sum of all bodies held at once: eight of the largest that one request may have.
_BODIES_AT_ONCE = 8


@dataclass(frozen=True, slots=True)
class Running:
    """What the caller is told when the daemon listens. secure: by HTTPS, where it is TCP. states: the
    providers, as far as they have answered by now."""

    config: Config
    addresses: tuple[str, ...]
    secure: bool = False
    states: Mapping[str, ProviderState] = field(default_factory=dict)


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
    child: Child | None = None,
) -> None:
    """Serve until a signal says stop. config None: look at the machine and serve what it has.

    Args:
        environ: variables of service managers are taken out of it.
        load: reads the configuration again; None: it cannot be reloaded.
        watch: reload when the file changes.
        in_force: told the number of each configuration that takes effect.
        child: this is one of several workers, or their hub; None: it is the only process.

    Raises ConfigError when it cannot start, before any task is: nothing is left open then.
    """
    if child is not None and child.listening is not None:
        assert config is not None
        await _keep_common(config, child)
        return
    pool = Pool()
    seen = signals.look(config.path) if watch and config is not None else None
    try:
        if config is None:
            config = await local.found(environ, pool)
            config = overridden(config, host, port)
        generation = build(config, child.generation if child else 1, user_agent)
        admission = _permits(config, generation.number, child) if child else Admission()
        spendings = None if child else _spendings(config, admission)
        found = list(child.listeners) if child else listeners(config, handed_down(environ))
    except ConfigError:
        pool.close()
        raise
    notifier = Link(child.link) if child else Notifier(environ)
    async with trio.open_nursery() as services:
        await services.start(pool.run)
        await services.start(admission.timer.run)
        if spendings is not None:
            await services.start(spendings.run)
        house = _House(config, generation, pool, admission, notifier, load, in_force, child)
        await house.serve(found, services, ready, seen)
        services.cancel_scope.cancel()


async def _keep_common(config: Config, child: Child) -> None:
    """This process is the hub. It was found right before: what is wrong now is no reason to be none."""
    admission = Admission()
    try:
        spendings = _spendings(config, admission)
    except ConfigError as error:
        spendings = None
        LOG.error("budgets are kept in memory only: %s", error)
    grace_s = config.server.drain_timeout + LAST_S
    await hub.run(child, _journal(config), admission, spendings, grace_s)


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
        child: Child | None = None,
    ) -> None:
        self.uplink = Uplink(child.hub, child.number) if child else None
        self.feed = Feed() if config.server.dashboard and not child else None
        self.journal = None if child else _journal(config)
        self.metrics = Metrics() if config.server.metrics else None
        counted = None if child else self.metrics
        history = History() if config.server.dashboard and not child else None
        self.telemetry = self._telemetry(config, generation, pool)
        sinks = (self.feed, history, self.journal, counted, self.telemetry, self.uplink)
        self.daemon = Daemon(
            pool,
            health=Told(self.uplink.say) if self.uplink else Health(),
            sinks=tuple(sink for sink in sinks if sink is not None),
            keep_bodies=_keeps_bodies(config),
            tracer=Tracer(config.telemetry.sample_ratio) if self.telemetry else None,
            keep_decisions=config.logging.enabled,
            admission=admission,
            shelves=self._shelves(child),
            first_id=child.first_id if child else 1,
        )
        self.hangups = Hangups()
        self.notifier = notifier
        dashboard = Dashboard(self.feed, history) if self.feed is not None else None
        self.passed = Passed(child.hub) if child else None
        self.connections = _connections(config, child)
        scrape = self._scrape(generation) if self.metrics is not None else None
        swapped: Callable[[Config, int], None] = _nobody
        self.permits = admission if isinstance(admission, Permits) else None
        if self.uplink is not None and self.passed is not None and self.permits is not None:
            own = scrape or Scrape(Metrics(), self.daemon, "", fleet=self._fleet)
            join(self.uplink, self.permits, self.daemon, own.now)
            swapped = partial(_put_in_force, self.permits)
            dashboard = self.passed if config.server.dashboard else None
            scrape = own.passed_to(self.passed.metrics) if scrape else None
        self.current = Current(
            config, generation, self.daemon, dashboard, scrape, load=load, swapped=swapped
        )
        self.server: Server | None = None
        self._in_force = in_force

    def _shelves(self, child: Child | None) -> archive.Far | None:
        """None: this process keeps answers itself."""
        if child is None or self.uplink is None:
            return None
        return archive.Far(child.hub, child.number, self.uplink.send)

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
            fleet=self._fleet,
            queued=self.daemon.admission.queued,
            kept=lambda: kept_answers(self.current.generation),
        )

    def _fleet(self) -> Fleet:
        return self.daemon.fleet(self.current.generation, 0)

    def _standings(self) -> Standings:
        daemon = self.daemon
        return Standings(lambda: self._fleet().states, lambda: daemon.paused, daemon.tell)

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
            for each in self._outlasting():
                writing.start_soon(each.run)
            async with trio.open_nursery() as background:
                link = self.notifier
                heed = partial(
                    link.heed if isinstance(link, Link) else signals.heed,
                    end=self._end,
                    reload=self._reload,
                    reopen=self._reopen,
                )
                await background.start(heed)
                await background.start(self.current.run)
                if config.server.dashboard:
                    background.start_soon(self._standings().run)
                if self.metrics is not None:
                    uplink = self.uplink
                    lagged = partial(uplink.say, "lagged") if uplink else self.metrics.lagged
                    background.start_soon(watch_lag, lagged)
                async with trio.open_nursery() as serving:
                    await serving.start(server.run)
                    if not server.connections.draining:  # a signal may have come before this
                        states = self.current.generation.fleet(0).states
                        ready(Running(config, addresses, server.secure, states))
                        self.notifier.ready(self._status())
                        background.start_soon(self.notifier.beat, self._status)
                        if seen is not None:
                            background.start_soon(signals.watch, config.path, seen, self._reload)
                background.cancel_scope.cancel()
            for each in self._outlasting():
                each.close()

    def _outlasting(self) -> list[Journal | Uplink | Permits | Export]:
        """What goes on until the last request has its record, and then has some of it to write."""
        every = (self.journal, self.uplink, self.permits, self.telemetry)
        return [each for each in every if each is not None]

    def _end(self, at_once: bool) -> None:
        assert self.server is not None
        self.daemon.draining = True
        if self.feed is not None:
            self.feed.close()
        if self.passed is not None:
            self.passed.close()
        self.notifier.stopping(f"draining, {self.daemon.in_flight} requests in flight")
        self.server.drain(0.0 if at_once else self.current.config.server.drain_timeout)

    async def _reload(self, number: int = 0) -> None:
        """The file anew, under this number or the next; then what the edge took from it."""
        if self.daemon.draining:
            return
        self.notifier.reloading()
        if await self.current.reload(number):
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


def _permits(config: Config, number: int, child: Child) -> Permits:
    connect = partial(reach, child.hub)
    return Permits(connect, child.number, number, *_limits(config))


def _put_in_force(permits: Permits, config: Config, number: int) -> None:
    permits.put_in_force(number, *_limits(config))


def _limits(config: Config) -> tuple[dict[str, Slots], dict[str, Allowance]]:
    """Of providers and of clients, by their names."""
    callers = [client.caller for client in config.clients]
    return (
        {each.name: each.slots for each in config.providers if each.slots is not None},
        {each.name: each.allowance for each in callers if each.allowance is not None},
    )


def _connections(config: Config, child: Child | None) -> Connections:
    budget_bytes = _BODIES_AT_ONCE * config.server.max_body_bytes
    if child is None or child.tally is None:
        return Connections(budget_bytes)
    return Counted(budget_bytes, child.tally, child.number)


def _nobody(config: Config, number: int) -> None:
    pass


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
