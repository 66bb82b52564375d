"""What workers learn of each other, put into a worker's daemon.

Owns: which news of providers' health are told, and how those of others are taken; what a worker's
daemon is told of pauses, queues, and calls that clients do not hand back.
Refuses to know: how news travel: at once (permits.py, desk.py) or within a second (uplink.py, hub.py).

Laws:
1. Times are told as what is left of them: each process has a clock of its own.
2. Good news are told only where there was something wrong: a fleet in order costs nothing.
3. What others met is not told on.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import trio

from formats import jsontext
from llmrouterd.guard.health import Health

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from formats.errors import Failure
    from llmrouterd.model import Candidate
    from llmrouterd.observe.exposition import Samples
    from llmrouterd.ops.frames import Others
    from llmrouterd.ops.permits import Permits
    from llmrouterd.ops.uplink import Uplink
    from llmrouterd.pipeline.daemon import Daemon

STALE_S = 2.5  # what is known of others is told once a second, and told on once a second
MOST = 1024 * 1024  # characters of what is remembered of one answer, to be told on


class Told(Health):
    """A Health that tells what requests met here, and takes what they met elsewhere."""

    def __init__(self, tell: Callable[..., None]) -> None:
        super().__init__()
        self._tell = tell

    def answered(self, candidate: Candidate, now: float, **figures: Any) -> None:
        if not self.spotless:
            self._tell("health", "answered", candidate)
        super().answered(candidate, now, **figures)

    def failed(
        self, candidate: Candidate, failure: Failure, now: float, **circumstances: Any
    ) -> None:
        self._tell("health", "failed", candidate, failure, circumstances)
        super().failed(candidate, failure, now, **circumstances)

    def heard(self, news: Sequence[Any], now: float) -> None:
        """What requests of others met."""
        for kind, candidate, *more in news:
            if kind == "failed":
                super().failed(candidate, more[0], now, **more[1])
            else:
                self.forgive(candidate)


def join(
    uplink: Uplink, permits: Permits, daemon: Daemon, figures: Callable[[], Mapping[str, Samples]]
) -> None:
    """Make of a daemon one among several."""
    health = daemon.health

    def take(others: Others) -> None:
        daemon.in_flight_elsewhere, daemon.elsewhere = others.in_flight, others.at
        permits.seen(others.queues)
        if isinstance(health, Told):
            health.heard(others.news, trio.current_time())

    uplink.figures, uplink.shared = figures, take
    daemon.stale_s = STALE_S
    permits.synced = partial(uplink.say, "synced")
    permits.told_paused = partial(setattr, daemon, "paused")
    daemon.told_pause = permits.pause
    permits.told_news = partial(_take_news, daemon)
    daemon.told_calls = partial(_tell_calls, permits)
    daemon.told_seat = partial(permits.tell, "seat")


def _tell_calls(permits: Permits, client: str, calls: list[tuple[str, Any]], thought: str) -> None:
    """What a client does not hand back: its next request may come to another worker."""
    text = jsontext.dumps([thought, calls])
    if len(text) <= MOST:
        permits.tell("calls", client, text)


def _take_news(daemon: Daemon, kind: str, *words: Any) -> None:
    if kind == "calls":
        _remember(daemon, *words)
    elif kind == "seat":
        session, place = words
        daemon.seats.sit(session, tuple(place), trio.current_time())


def _remember(daemon: Daemon, client: str, text: str) -> None:
    thought, calls = jsontext.loads(text)
    daemon.recall(client).hear([(name, extra) for name, extra in calls], thought)
