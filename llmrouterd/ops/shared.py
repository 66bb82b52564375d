"""What workers learn of each other, put into a worker's daemon.

Owns: which news of providers' health are told, and how those of others are taken.
Refuses to know: how news travel (uplink.py, hub.py); that takes up to a second.

Laws:
1. Times are told as what is left of them: each process has a clock of its own.
2. Good news are told only where there was something wrong: a fleet in order costs nothing.
3. What others met is not told on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import trio

from llmrouterd.guard.health import Health

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from formats.errors import Failure
    from llmrouterd.model import Candidate
    from llmrouterd.observe.exposition import Samples
    from llmrouterd.ops.uplink import Uplink
    from llmrouterd.pipeline.daemon import Daemon


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

    def heard(self, news: list[Any], now: float) -> None:
        """What requests of others met."""
        for kind, candidate, *more in news:
            if kind == "failed":
                super().failed(candidate, more[0], now, **more[1])
            else:
                self.forgive(candidate)


def join(uplink: Uplink, daemon: Daemon, figures: Callable[[], Mapping[str, Samples]]) -> None:
    """Make of a daemon one among several."""
    health = daemon.health

    def take(paused: frozenset[str], at: dict[str, float], news: list[Any]) -> None:
        daemon.paused = paused
        daemon.elsewhere = {name: int(count) for name, count in at.items()}
        if isinstance(health, Told):
            health.heard(news, trio.current_time())

    uplink.figures = figures
    uplink.paused = lambda: daemon.paused
    uplink.shared = take
    daemon.told_pause = uplink.pause
