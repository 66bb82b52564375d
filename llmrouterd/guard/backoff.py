"""How long to stay away from a place that failed: our own growing pause, and the one it asked for.

Owns: the exponential pause with its ceiling, and the bound on what a server may ask for.
Refuses to know: why somebody failed, who waits, the clock, chance, how `Retry-After` is written
(that is read where header fields are: here it is a number of seconds already).

Laws:
1. Pure: `jitter` is an argument.
2. Every result lies between 0 and the ceiling, whatever a server says.
"""

from __future__ import annotations

# 2 ** 60 of anything is over every ceiling; beyond that the power itself would overflow.
_DOUBLINGS = 60


def delay(retried: int, *, base: float, ceiling: float, jitter: float) -> float:
    """Seconds before the next try, after `retried` retries came to nothing.

    jitter: 0..1, drawn evenly for full jitter: many that failed together do not come back together.
    A caller for whom next to no pause is of no use draws from a part of it (0.5..1).
    """
    return jitter * min(ceiling, base * 2.0 ** min(max(retried, 0), _DOUBLINGS))


def asked_for(retry_after_s: float | None, *, ceiling: float) -> float:
    """Seconds that a server asked us to stay away: 0 when it did not, at most the ceiling."""
    if retry_after_s is None or not retry_after_s > 0:  # "not >": whatever is no number, too
        return 0.0
    return min(retry_after_s, ceiling)
