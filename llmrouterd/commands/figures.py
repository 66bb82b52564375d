"""Figures over requests that have ended: by provider, by tag, in all.

Owns: counts, sums, and percentiles over the newest of them.
Refuses to know: events, how figures are shown.

Laws:
1. What nobody told is unknown, not 0: a sum says how many it is made of.
2. A bounded number of names and of samples: further names are counted together.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from llmrouterd.commands.board import Asked

SAMPLES = 500
NAMES = 100
REST = "(others)"


class Tally:
    """Of one name. A request whose client left counts as neither answered nor failed."""

    def __init__(self) -> None:
        self.requests = 0
        self.answered = 0
        self.failed = 0
        self.failed_tries = 0
        self.input_tokens = 0
        self.output_tokens = 0
        self.cost_usd: float | None = None
        self.last_ok_ms: int | None = None
        self.took_ms: deque[int] = deque(maxlen=SAMPLES)
        self.ttft_ms: deque[int] = deque(maxlen=SAMPLES)
        self.rates: deque[float] = deque(maxlen=SAMPLES)

    def add(self, asked: Asked) -> None:
        self.requests += 1
        self.input_tokens += asked.input_tokens or 0
        self.output_tokens += asked.output_tokens or 0
        if asked.cost_usd is not None:
            self.cost_usd = (self.cost_usd or 0.0) + asked.cost_usd
        if asked.failed:
            self.failed += 1
        if asked.how != "complete":
            return
        self.answered += 1
        self.last_ok_ms = asked.since_ms
        for samples, value in ((self.took_ms, asked.duration_ms), (self.ttft_ms, asked.ttft_ms)):
            if value is not None:
                samples.append(value)
        if asked.tokens_per_s is not None:
            self.rates.append(asked.tokens_per_s)


class Figures:
    """All tallies."""

    def __init__(self) -> None:
        self.total = Tally()
        self.by_provider: dict[str, Tally] = {}
        self.by_tag: dict[str, Tally] = {}

    def add(self, asked: Asked) -> None:
        self.total.add(asked)
        self.total.failed_tries += len(asked.tries)
        if asked.provider:
            _of(self.by_provider, asked.provider).add(asked)
        for failed in asked.tries:
            _of(self.by_provider, failed.provider).failed_tries += 1
        for tag in asked.tags:
            _of(self.by_tag, tag).add(asked)


def _of(tallies: dict[str, Tally], name: str) -> Tally:
    if name not in tallies and len(tallies) >= NAMES:
        name = REST
    return tallies.setdefault(name, Tally())


def mean(samples: Iterable[float]) -> float | None:
    values = list(samples)
    return sum(values) / len(values) if values else None


def percentile(samples: Iterable[float], share: float) -> float | None:
    """The nearest sample at or above that share of all."""
    values = sorted(samples)
    if not values:
        return None
    return values[min(len(values) - 1, int(share * len(values)))]
