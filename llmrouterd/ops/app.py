"""Builds the daemon and runs it: read this second.

Owns: what exists once per process, the nurseries and the order in which they end, signals.
Refuses to know: how anything is decided.

Order of death: accepting, idle connections, running requests at the drain deadline, then the
services, so that the last record is still written.
"""

from __future__ import annotations

import errno
import logging
import signal
from dataclasses import dataclass
from typing import TYPE_CHECKING

import trio

from llmrouterd.config import Config, overridden
from llmrouterd.edge.hangup import Hangups
from llmrouterd.edge.incoming import Limits
from llmrouterd.edge.listen import Listener, Server, Service, bind_tcp
from llmrouterd.edge.pool import Pool
from llmrouterd.guard.health import Health
from llmrouterd.model import ConfigError
from llmrouterd.observe.dashboard import Dashboard
from llmrouterd.observe.feed import Feed
from llmrouterd.observe.journal import Journal
from llmrouterd.ops import local
from llmrouterd.ops.catalog import Catalog
from llmrouterd.ops.generation import build
from llmrouterd.ops.pages import Pages, refuse
from llmrouterd.ops.probes import Probes
from llmrouterd.pipeline.daemon import Daemon, Generation

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

LOG = logging.getLogger("llmrouter")
# The sum of all bodies held at once: eight of the largest that one request may have.
_BODIES_AT_ONCE = 8


@dataclass(frozen=True, slots=True)
class Running:
    """What the caller is told when the daemon listens."""

    config: Config
    addresses: tuple[str, ...]


async def run(
    config: Config | None,
    *,
    user_agent: str,
    environ: Mapping[str, str],
    host: str | None = None,
    port: int | None = None,
    ready: Callable[[Running], None] = lambda running: None,
) -> None:
    """Serve until a signal says stop. config None: look at the machine and serve what it has.

    Raises ConfigError when it cannot start, before any task is: nothing is left open then.
    """
    pool = Pool()
    try:
        if config is None:
            config = await local.found(environ, pool)
            config = overridden(config, host, port)
        generation = build(config, 1, user_agent)
        listeners = _listen(config)
    except ConfigError:
        pool.close()
        raise
    async with trio.open_nursery() as services:
        await services.start(pool.run)
        await _serve(config, generation, pool, listeners, services, ready)
        services.cancel_scope.cancel()


async def _serve(
    config: Config,
    generation: Generation,
    pool: Pool,
    listeners: list[Listener],
    services: trio.Nursery,
    ready: Callable[[Running], None],
) -> None:
    addresses = tuple(listener.address for listener in listeners)
    health = Health()
    catalog = Catalog(pool, config.providers, generation.upstreams, health.reached)
    probes = Probes(pool, config.providers, generation.upstreams, health)
    feed = Feed() if config.server.dashboard else None
    journal = _journal(config)
    daemon = Daemon(
        pool,
        fleet=catalog.fleet,
        health=health,
        sinks=tuple(sink for sink in (feed, journal) if sink is not None),
        learn=catalog.learn,
        keep_bodies=feed is not None or (journal is not None and config.logging.bodies == "full"),
    )
    hangups = Hangups()
    await services.start(hangups.run)
    pages = Pages(config, generation, daemon, Dashboard(feed) if feed is not None else None)
    server = Server(listeners, _service(config, pages, hangups))
    async with trio.open_nursery() as writing:
        if journal is not None:
            writing.start_soon(journal.run)
        async with trio.open_nursery() as background:
            await background.start(_heed_signals, server, daemon, feed, config.server.drain_timeout)
            await background.start(catalog.run)
            background.start_soon(probes.run)
            async with trio.open_nursery() as serving:
                await serving.start(server.run)
                if not server.connections.draining:  # a signal may have come before this
                    ready(Running(config, addresses))
            background.cancel_scope.cancel()
        if journal is not None:
            journal.close()


def _service(config: Config, pages: Pages, hangups: Hangups) -> Service:
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
        answer=pages.answer,
        limits=limits,
        hangups=hangups,
        refuse=refuse,
        max_connections=server.max_connections,
    )


def _listen(config: Config) -> list[Listener]:
    """Bind, or say in one line why not."""
    host, port = config.server.host, config.server.port
    try:
        return bind_tcp(host, port)
    except OSError as error:
        why = (error.strerror or str(error)).lower()
        hint = "; another program listens there (--port takes another one)"
        text = f"cannot listen on {host}:{port}: {why}"
        in_use = error.errno == errno.EADDRINUSE
        raise ConfigError([text + (hint if in_use else "")]) from error


async def _heed_signals(
    server: Server,
    daemon: Daemon,
    feed: Feed | None,
    drain_timeout_s: float,
    *,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """The first SIGTERM or SIGINT drains, the second one ends everything at once."""
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        task_status.started()
        timeout_s = drain_timeout_s
        async for number in signals:
            name = signal.Signals(number).name
            LOG.info("%s: %s", name, "draining" if timeout_s else "stopping at once")
            daemon.draining = True
            if feed is not None:
                feed.close()
            server.drain(timeout_s)
            timeout_s = 0.0


def _journal(config: Config) -> Journal | None:
    settings = config.logging
    if not settings.enabled:
        return None
    return Journal(
        settings.path,
        bodies=settings.bodies,
        max_bytes=settings.max_bytes,
        keep=settings.keep,
    )
