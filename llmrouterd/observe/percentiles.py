"""Percentiles of any number of figures in bounded memory.

Owns: a histogram whose buckets grow by a fixed ratio.
Refuses to know: what the figures are.

Laws:
1. A percentile is told within 1 % of the true one (buckets grow by 2 %, the middle of one is told),
   and never outside of what was seen.
2. Memory does not grow with the number of figures: between a thousandth and a thousand million lie
   some 1,400 buckets.
"""

from __future__ import annotations

import math
from functools import lru_cache

_RATIO = 1.02
_LOG = math.log(_RATIO)
_LEAST = 1e-3  # what is below counts as nought
_MOST = 1e9


@lru_cache(maxsize=4096)  # the same figure is added to several totals, one after the other
def _bucket(figure: float) -> int:
    return math.ceil(math.log(min(figure, _MOST)) / _LOG)


class Percentiles:
    """add() figures of nought or more, then ask."""

    __slots__ = ("_buckets", "_noughts", "count", "high", "low", "total")

    def __init__(self) -> None:
        self._buckets: dict[int, int] = {}
        self._noughts = 0
        self.count = 0
        self.total = 0.0
        self.low = math.inf
        self.high = 0.0

    def add(self, figure: float) -> None:
        self.count += 1
        self.total += figure
        if figure < self.low:
            self.low = figure
        if figure > self.high:
            self.high = figure
        if figure < _LEAST:
            self._noughts += 1
            return
        bucket = _bucket(figure)
        self._buckets[bucket] = self._buckets.get(bucket, 0) + 1

    def at(self, share: float) -> float | None:
        """The figure that `share` (0 to 1) of all do not exceed; None of no figures."""
        if not self.count:
            return None
        wanted = max(1, math.ceil(share * self.count))
        if wanted >= self.count:
            return self.high
        seen = self._noughts
        if seen >= wanted:
            return max(0.0, min(self.low, _LEAST))
        for bucket in sorted(self._buckets):
            seen += self._buckets[bucket]
            if seen >= wanted:
                middle = 2 * _RATIO**bucket / (_RATIO + 1)
                return min(max(middle, self.low), self.high)
        return self.high

    @property
    def mean(self) -> float | None:
        return self.total / self.count if self.count else None
