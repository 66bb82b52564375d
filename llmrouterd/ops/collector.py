"""The way to an OpenTelemetry collector.

Owns: `[telemetry]` made into an Export with its door: where connections go, what goes along, and the
label under which each message is dialled.
Refuses to know: what is in a message (observe/otlp.py).

Law: a message's bounds are the label of its exchange, so that the door itself keeps what must stay
here from leaving.
"""

from __future__ import annotations

import os
import socket
import time
import uuid
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from formats.errors import FormatError
from llmrouterd.edge.deadline import Deadline
from llmrouterd.edge.dial import DialError
from llmrouterd.edge.pool import Origin
from llmrouterd.guard.egress import FREE, Label
from llmrouterd.model import Clocks
from llmrouterd.observe.otlp import Export, Reply
from llmrouterd.observe.otlp_payload import Source
from llmrouterd.pipeline.refused import retry_after
from llmrouterd.pipeline.tracing import Stamp

if TYPE_CHECKING:
    from collections.abc import Callable

    from llmrouterd.config.nouns import Telemetry
    from llmrouterd.edge.pool import Pool
    from llmrouterd.observe.otlp import Confined

_LIMIT = 64 * 1024  # of a collector's answer


class Collector:
    """Posts messages to `[telemetry] otlp_endpoint`: a `Send`."""

    def __init__(self, pool: Pool, settings: Telemetry, user_agent: str) -> None:
        self._origin = origin_of(settings)
        self._prefix = urlsplit(settings.endpoint).path
        self._fields = [
            ("content-type", "application/json"),
            ("accept", "application/json"),
            ("user-agent", user_agent),
            *((name, value.reveal()) for name, value in settings.headers),
        ]
        limit_s = settings.timeout
        self._clocks = Clocks(limit_s, limit_s, limit_s, limit_s)
        self._pool = pool

    async def __call__(self, path: str, body: bytes, confined: Confined) -> Reply:
        """Bounded by `[telemetry] timeout`; whatever fails is in the Reply."""
        label = FREE if confined is None else Label(local_only=True, networks=confined)
        with Deadline(self._clocks) as deadline:
            try:
                return await self._asked(path, body, label, deadline)
            except DialError as error:
                return Reply(why=str(error), denied=error.kind == "denied")
            except FormatError as error:
                return Reply(why=str(error))
        return Reply(why=f"no answer within {deadline.expired_s:g} s")

    async def _asked(self, path: str, body: bytes, label: Label, deadline: Deadline) -> Reply:
        async with self._pool.exchange(
            self._origin, "POST", self._prefix + path, self._fields, body, deadline, label=label
        ) as exchange:
            answer = await exchange.read_all(_LIMIT)
            wait_s = retry_after(exchange.headers, time.time())
            return Reply(exchange.status, answer, wait_s)


def origin_of(settings: Telemetry) -> Origin:
    """Where its connections go."""
    url = urlsplit(settings.endpoint)
    secure = url.scheme == "https"
    return Origin(
        scheme="https" if secure else "http",
        host=url.hostname or "",
        port=url.port or (443 if secure else 80),
        ca_file=settings.ca_file,
    )


def export(
    pool: Pool, settings: Telemetry, user_agent: str, strictest: Callable[[], Confined]
) -> Export:
    """What `[telemetry]` asks for. user_agent: `llmrouter/VERSION`."""
    source = Source(
        settings.service_name,
        user_agent.partition("/")[2] or "unknown",
        str(uuid.uuid4()),
        socket.gethostname(),
        os.getpid(),
    )
    send = Collector(pool, settings, user_agent)
    made = Export(source, send, interval_s=settings.interval, strictest=strictest)
    made.lines.addFilter(Stamp())
    return made
