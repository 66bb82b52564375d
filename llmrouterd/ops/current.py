"""The configuration in force, and how another one takes its place.

Owns: the generation that new requests begin under with its pages, catalog and probes, and reloading.
Refuses to know: signals, sockets, what a configuration says.

Laws:
1. Whole or not at all: a file with a mistake changes nothing, and the log says what is wrong.
2. A request ends under the generation it began with; what outlives generations (connections,
   health, counters) belongs to the Daemon.
3. What cannot change while the daemon runs stays as it was, and the log names it.
"""

from __future__ import annotations

import logging
from dataclasses import fields, replace
from typing import TYPE_CHECKING

import trio

from llmrouterd.model import ConfigError
from llmrouterd.ops.catalog import Catalog
from llmrouterd.ops.generation import build
from llmrouterd.ops.pages import Pages
from llmrouterd.ops.probes import Probes
from llmrouterd.pipeline.tracing import CURRENT

if TYPE_CHECKING:
    from collections.abc import Callable

    from llmrouterd.config import Config
    from llmrouterd.edge.client import Client
    from llmrouterd.edge.incoming import Incoming
    from llmrouterd.observe.dashboard import Dashboard
    from llmrouterd.ops.scrape import Scrape
    from llmrouterd.pipeline.daemon import Daemon, Generation

LOG = logging.getLogger("llmrouter.reload")
# Of [server] what sockets, processes and observers were made from.
FIXED = frozenset({"hosts", "port", "unix_mode", "dashboard", "metrics", "state_dir", "workers"})


def _nobody(config: Config, number: int) -> None:
    pass


class Current:
    """`answer` is what the edge calls. `run` keeps the catalogs; `reload` is asked for by signals."""

    def __init__(
        self,
        config: Config,
        generation: Generation,
        daemon: Daemon,
        dashboard: Dashboard | None,
        scrape: Scrape | None = None,
        *,
        load: Callable[[], Config] | None = None,
        swapped: Callable[[Config, int], None] = _nobody,
    ) -> None:
        """load: reads the configuration anew, raising ConfigError; None: there is no file. swapped: told
        of each that takes effect, with its number."""
        self._daemon = daemon
        self._dashboard = dashboard
        self._scrape = scrape
        self._load = load
        self._catalogs: trio.Nursery | None = None
        self._reloading = False
        self._again = False
        self._number = 0
        self._swapped = swapped
        self.failed = ""  # why the last reload changed nothing
        self.config = config
        self._catalog = self._catalog_of(config, generation)
        self._probes = self._probes_of(config, generation)
        self.generation = _stocked(generation, self._catalog)
        self.pages = self._pages_of(config)

    async def answer(self, incoming: Incoming, client: Client) -> None:
        """A request begins, and ends, under what is in force now."""
        if CURRENT.get():  # of the last request of this connection
            CURRENT.set("")
        await self.pages.answer(incoming, client)

    def _catalog_of(self, config: Config, generation: Generation) -> Catalog:
        health = self._daemon.health
        return Catalog(self._daemon.pool, config.providers, generation.upstreams, health.reached)

    def _probes_of(self, config: Config, generation: Generation) -> Probes:
        daemon = self._daemon
        return Probes(daemon.pool, config.providers, generation.upstreams, daemon.health)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Keep asking providers what they have; started when the first round is over."""
        async with trio.open_nursery() as nursery:
            self._catalogs = nursery
            try:
                nursery.start_soon(self._probes.run)
                await nursery.start(self._catalog.run)
                task_status.started()
                await trio.sleep_forever()
            finally:
                self._catalogs = None

    # --- reloading --------------------------------------------------------------------------------

    async def reload(self, number: int = 0) -> bool:
        """Read the file anew and put it in force, under this number or the next. False: the old one
        stays."""
        self._number = number
        if self._load is None:
            LOG.warning("there is no configuration file to read again")
            return False
        if self._reloading:  # the one that runs may have read the file before its last change
            self._again = True
            return False
        self._reloading = True
        try:
            done = await self._once(self._load)
            while self._again:
                self._again = False
                done = await self._once(self._load)
            return done
        finally:
            self._reloading = False

    async def _once(self, load: Callable[[], Config]) -> bool:
        try:
            config = await trio.to_thread.run_sync(load)
            config = with_fixed(config, self.config)
            number = self._number or self.generation.number + 1
            generation = build(config, number, self.generation.user_agent)
        except ConfigError as error:
            self.failed = "; ".join(error.problems)
            for problem in error.problems:
                LOG.error("not reloaded: %s", problem)
            return False
        catalog = self._catalog_of(config, generation)
        catalog.inherit(self._catalog)
        if self._catalogs is not None:
            await self._catalogs.start(catalog.run)
        self._swap(config, generation, catalog)
        return True

    def _swap(self, config: Config, generation: Generation, catalog: Catalog) -> None:
        """Synchronous: there is no moment between two configurations."""
        self._catalog.stop()
        self._probes.stop()
        self._catalog, self._probes = catalog, self._probes_of(config, generation)
        if self._catalogs is not None:
            self._catalogs.start_soon(self._probes.run)
        self.config, self.failed = config, ""
        self.generation = _stocked(generation, catalog)
        self._daemon.renewed(self.generation, trio.current_time())
        self._swapped(config, generation.number)
        self.pages = self._pages_of(config)
        for warning in config.warnings:
            LOG.warning("%s", warning)
        LOG.info("generation %d of %s is in force", generation.number, config.path)

    def _pages_of(self, config: Config) -> Pages:
        return Pages(config, self.generation, self._daemon, self._dashboard, self._scrape)


def with_fixed(config: Config, before: Config) -> Config:
    """The new configuration with what takes a restart as it was."""
    old, new = before.server, config.server
    names = [each.name for each in fields(new) if each.name in FIXED]
    changed = [name for name in names if getattr(old, name) != getattr(new, name)]
    for name in changed:
        LOG.warning("server.%s takes a restart and stays as it was", name)
    if config.logging != before.logging:
        LOG.warning("[logging] takes a restart and stays as it was")
    if config.telemetry != before.telemetry:
        LOG.warning("[telemetry] takes a restart and stays as it was")
    server = replace(new, **{name: getattr(old, name) for name in changed})
    return replace(config, server=server, logging=before.logging, telemetry=before.telemetry)


def _stocked(generation: Generation, catalog: Catalog) -> Generation:
    return replace(generation, fleet=catalog.fleet, learn=catalog.learn)
