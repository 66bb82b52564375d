"""What was seen of each provider: how soon it answers, how fast it writes, how often it fails.

Owns: figures that fade with time, by provider, and how they take over from declared ones.
Refuses to know: clocks (`now` is an argument), what is done with the figures.

Laws:
1. A figure lies between the least and the greatest of what was seen.
2. What was seen long ago counts less: half after every half-life. With nothing seen there is no
   figure (None), never a nought.
3. A failure is never a quick answer: it counts among the failures, and makes no time to the first
   token.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

HALF_LIFE_S = 300.0
_FULL = 3.0  # so many recent answers weigh as much as a declared figure three times over


class Faded:
    """An average of figures in which old ones count less."""

    __slots__ = ("_at", "_weight", "value")

    def __init__(self) -> None:
        self.value: float | None = None
        self._weight = 0.0
        self._at = 0.0

    def add(self, figure: float, now: float, half_life_s: float = HALF_LIFE_S) -> None:
        weight = self.weight(now, half_life_s)
        if self.value is None:
            self.value = figure
        else:
            self.value += (figure - self.value) / (weight + 1.0)
        self._weight, self._at = weight + 1.0, max(now, self._at)

    def weight(self, now: float, half_life_s: float = HALF_LIFE_S) -> float:
        """How many figures it is worth by now."""
        return self._weight * math.exp2(-max(0.0, now - self._at) / half_life_s)

    def beside(self, declared: float | None, now: float) -> float | None:
        """The figure to go by: what was declared gives way as answers come, and comes back when they
        stay away."""
        if self.value is None or declared is None:
            return declared if self.value is None else self.value
        weight = self.weight(now)
        return (self.value * weight + declared / _FULL) / (weight + 1.0 / _FULL)


@dataclass(slots=True)
class Seen:
    """first_token_ms; tokens_per_s; failing: 1.0 means every recent request failed."""

    first_token_ms: Faded = field(default_factory=Faded)
    tokens_per_s: Faded = field(default_factory=Faded)
    failing: Faded = field(default_factory=Faded)

    def answered(
        self, now: float, *, first_token_ms: float | None, tokens: int | None, writing_s: float
    ) -> None:
        """A whole answer. tokens: how many it had, if anybody knows. writing_s: from the first token
        to the last."""
        self.failing.add(0.0, now)
        if first_token_ms is not None:
            self.first_token_ms.add(first_token_ms, now)
        if tokens is not None and tokens > 1 and writing_s > 0:
            self.tokens_per_s.add((tokens - 1) / writing_s, now)

    def failed(self, now: float) -> None:
        self.failing.add(1.0, now)
