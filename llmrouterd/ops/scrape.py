"""The page /metrics.

Owns: what is asked for at the moment of a scrape (in flight, circuits, connections, losses, the
process), put beside what was counted as requests ended.
Refuses to know: how a page is written (observe/exposition.py), who may see it (access.py).

Law: a scrape asks nobody outside the process, and waits for nothing.
"""

from __future__ import annotations

import platform
from typing import TYPE_CHECKING

import trio

from llmrouterd.observe import exposition, process
from llmrouterd.observe.families import CIRCUITS, FAMILIES

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from llmrouterd.edge.client import Client
    from llmrouterd.edge.connection import Connections
    from llmrouterd.edge.incoming import Incoming
    from llmrouterd.model import Fleet
    from llmrouterd.observe.exposition import Samples
    from llmrouterd.observe.feed import Feed
    from llmrouterd.observe.journal import Journal
    from llmrouterd.observe.metrics import Metrics
    from llmrouterd.observe.otlp import Export
    from llmrouterd.pipeline.daemon import Daemon

    Page = Callable[[Incoming, Client], Awaitable[None]]


class Scrape:
    """What the page reads. fleet: the providers as of now. queued: how many requests wait for each provider.
    kept: answers in the cache, and what they weigh."""

    def __init__(
        self,
        metrics: Metrics,
        daemon: Daemon,
        version: str,
        feed: Feed | None = None,
        journal: Journal | None = None,
        connections: Connections | None = None,
        *,
        telemetry: Export | None = None,
        fleet: Callable[[], Fleet],
        queued: Callable[[], Mapping[str, int]] = dict,
        kept: Callable[[], Mapping[str, int]] = dict,
    ) -> None:
        self._metrics = metrics
        self._daemon = daemon
        self._version = version
        self._feed = feed
        self._journal = journal
        self._connections = connections
        self._telemetry = telemetry
        self._fleet = fleet
        self._queued = queued
        self._kept = kept
        self._elsewhere: Page | None = None

    def passed_to(self, page: Page) -> Scrape:
        """The same, but for who answers: the page of all workers stands for this one's."""
        self._elsewhere = page
        return self

    async def page(self, incoming: Incoming, client: Client) -> None:
        if self._elsewhere is not None:
            return await self._elsewhere(incoming, client)
        wanted = exposition.accepts_openmetrics(incoming.headers.get("accept") or "")
        kind = exposition.OPENMETRICS if wanted else exposition.PROMETHEUS
        fields = [("content-type", kind), ("cache-control", "no-store")]
        return await client.respond(200, fields, self.text(openmetrics=wanted))

    def text(self, *, openmetrics: bool = False) -> bytes:
        samples = {**self._metrics.samples, **self.now()}
        return exposition.write(FAMILIES.values(), samples, openmetrics=openmetrics)

    def now(self) -> dict[str, Samples]:
        """The gauges, and counters that others keep."""
        single = {**self._of_daemon(), **self._of_observers(), **process.figures()}
        single |= self._kept()
        found: dict[str, Samples] = {name: {(): value} for name, value in single.items()}
        info = (self._version, platform.python_version())
        found["llmrouter_build_info"] = {info: 1}
        found["llmrouter_requests_queued"] = {
            (name,): count for name, count in self._queued().items()
        }
        if self._telemetry is not None:
            found |= {name: dict(values) for name, values in self._telemetry.figures.items()}
        return found | self._of_providers()

    def _of_daemon(self) -> dict[str, float]:
        daemon = self._daemon
        figures: dict[str, float] = {
            "llmrouter_requests_in_flight": daemon.in_flight,
            "llmrouter_draining": int(daemon.draining),
            "llmrouter_event_loop_tasks": trio.lowlevel.current_statistics().tasks_living,
        }
        if self._connections is not None:
            figures["llmrouter_connections_open"] = self._connections.open
        return figures

    def _of_observers(self) -> dict[str, float]:
        figures: dict[str, float] = {}
        if self._feed is not None:
            figures["llmrouter_feed_readers"] = self._feed.readers
            figures["llmrouter_feed_events_dropped_total"] = self._feed.lost
        if self._journal is not None:
            figures["llmrouter_log_lines_written_total"] = self._journal.written
            figures["llmrouter_log_lines_dropped_total"] = self._journal.lost
        return figures

    def _of_providers(self) -> dict[str, Samples]:
        daemon, now = self._daemon, trio.current_time()
        flying: Samples = {}
        up: Samples = {}
        circuits: Samples = {}
        for name, state in self._fleet().states.items():
            flying[(name,)] = daemon.in_flight_at.get(name, 0)
            up[(name,)] = int(state.healthy and state.reached is not False)
            here = daemon.health.breaker.circuit(name).state(now)
            circuits |= {(name, each): int(each == here) for each in CIRCUITS}
        return {
            "llmrouter_upstream_requests_in_flight": flying,
            "llmrouter_provider_up": up,
            "llmrouter_circuit_state": circuits,
        }
