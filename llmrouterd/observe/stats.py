"""What a log says when it is added up.

Owns: reading one line of a request log (ours, or the original's, which has fewer members), the
totals of many lines, and their groups.
Refuses to know: files, arguments, how totals are shown (commands/stats.py).

Laws:
1. Memory is bounded however long the log is: totals, percentiles in buckets (within 1 %), and at
   most so many groups of a kind; what is beyond them is in the group "other".
2. Counted is what /metrics counts, by the same rules: an error is whatever did not end well, but
   for a client that went away; durations are those of complete answers.
3. A line that is no record is counted as such, and nothing else is lost with it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from llmrouterd.observe.percentiles import Percentiles

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

JSON = Any
GROUPS = 1000
OTHER = "other"
_DAY_MS = 86_400_000


@dataclass(slots=True)
class Reading:
    """One request, as its line tells. Tokens and cost None: not known."""

    ts_ms: int
    provider: str
    model: str
    client: str
    format: str
    tags: tuple[str, ...]
    end: str
    stream: bool
    duration_ms: float
    ttft_ms: float | None
    input: int | None
    output: int | None
    cached: int | None
    cache_write: int | None
    reasoning: int | None
    estimated: bool
    cost_usd: float | None


def read_line(line: bytes | str) -> Reading | None:
    """The request that a line tells of; None when it tells of none. Never raises."""
    try:
        told = json.loads(line)
        if told.get("type", "complete") != "complete":
            return None
        return _reading(told)
    except (ValueError, TypeError, AttributeError, RecursionError):
        return None


def _reading(told: Mapping[str, JSON]) -> Reading | None:
    ts_ms, duration_ms = told.get("ts_ms"), told.get("duration_ms", 0)
    if type(ts_ms) is not int or type(duration_ms) not in (int, float) or duration_ms < 0:
        return None
    usage = told if "input_tokens" in told else _usage(told)
    return Reading(
        ts_ms,
        _text(told.get("provider")),
        _text(told.get("sent_model")) or _text(told.get("requested_model")),
        _text(told.get("client")),
        _text(told.get("client_format")),
        tuple(_text(tag) for tag in told.get("tags") or ()),
        # the original knows an error or none
        _text(told.get("end")) or ("complete" if told.get("error") is None else "failed"),
        told.get("stream") is True,
        duration_ms,
        _figure(told.get("ttft_ms")),
        _whole(usage.get("input_tokens")),
        _whole(usage.get("output_tokens")),
        _whole(told.get("cached_tokens")),
        _whole(told.get("cache_write_tokens")),
        _whole(told.get("reasoning_tokens")),
        told.get("usage_estimated") is True,
        _figure(told.get("cost_usd")),
    )


def _usage(told: Mapping[str, JSON]) -> Mapping[str, JSON]:
    """Where the original has the token counts."""
    response = told.get("response")
    usage = response.get("usage") if isinstance(response, dict) else None
    return usage if isinstance(usage, dict) else {}


def _text(value: JSON) -> str:
    return value if isinstance(value, str) else ""


def _whole(value: JSON) -> int | None:
    return value if type(value) is int and value >= 0 else None


def _figure(value: JSON) -> float | None:
    return value if type(value) in (int, float) and value >= 0 else None


class Totals:
    """Many requests in a few figures."""

    __slots__ = (
        "cache_write",
        "cached",
        "cost_usd",
        "duration_ms",
        "errors",
        "estimated",
        "gone",
        "input",
        "output",
        "priced",
        "reasoning",
        "requests",
        "tokens_per_s",
        "ttft_ms",
        "unpriced",
    )

    def __init__(self) -> None:
        self.requests = self.errors = self.gone = 0
        self.input = self.output = self.cached = self.cache_write = self.reasoning = 0
        self.estimated = self.priced = self.unpriced = 0
        self.cost_usd = 0.0
        self.duration_ms = Percentiles()
        self.ttft_ms = Percentiles()
        self.tokens_per_s = Percentiles()

    def add(self, one: Reading) -> None:
        self.requests += 1
        self._count_tokens(one)
        if one.end == "complete":
            self.duration_ms.add(one.duration_ms)
        elif one.end == "client_gone":
            self.gone += 1
        else:
            self.errors += 1
        if one.stream and one.ttft_ms is not None:
            self.ttft_ms.add(one.ttft_ms)
            writing_ms = one.duration_ms - one.ttft_ms
            counted = one.end == "complete" and not one.estimated and (one.output or 0) > 1
            if counted and writing_ms > 0:
                self.tokens_per_s.add(((one.output or 0) - 1) / writing_ms * 1000)

    def _count_tokens(self, one: Reading) -> None:
        self.input += one.input or 0
        self.output += one.output or 0
        self.cached += one.cached or 0
        self.cache_write += one.cache_write or 0
        self.reasoning += one.reasoning or 0
        known = one.input is not None or one.output is not None
        self.estimated += known and one.estimated
        if one.cost_usd is not None:
            self.cost_usd += one.cost_usd
            self.priced += 1
        elif known:
            self.unpriced += 1

    def figures(self) -> dict[str, JSON]:
        """All of them, for programs. Cost None: nothing had a known price."""
        return {
            "requests": self.requests,
            "errors": self.errors,
            "client_gone": self.gone,
            "input_tokens": self.input,
            "output_tokens": self.output,
            "cached_tokens": self.cached,
            "cache_write_tokens": self.cache_write,
            "reasoning_tokens": self.reasoning,
            "usage_estimated": self.estimated,
            "cost_usd": round(self.cost_usd, 9) if self.priced else None,
            "unpriced": self.unpriced,
            **_spread("duration_ms", self.duration_ms),
            **_spread("ttft_ms", self.ttft_ms),
            **_spread("tokens_per_s", self.tokens_per_s),
        }


def _spread(name: str, seen: Percentiles) -> dict[str, float | None]:
    """Its middle and its ends. Of speeds the low end is the bad one, and told all the same."""
    shares = {"p50": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99}
    found = {f"{name}_{key}": seen.at(share) for key, share in shares.items()}
    return {key: None if value is None else round(value, 3) for key, value in found.items()}


# --- groups ---------------------------------------------------------------------------------------


@lru_cache(maxsize=4)  # a log is in the order of its days, nearly
def _day(number: int) -> str:
    return datetime.fromtimestamp(number * _DAY_MS / 1000, UTC).date().isoformat()


def _day_of(one: Reading) -> Sequence[str]:
    try:
        return [_day(one.ts_ms // _DAY_MS)]
    except (ValueError, OverflowError, OSError):
        return [""]


BY: Mapping[str, Callable[[Reading], Sequence[str]]] = MappingProxyType(
    {
        "provider": lambda one: [one.provider],
        "model": lambda one: [one.model],
        "client": lambda one: [one.client],
        "tag": lambda one: list(dict.fromkeys(one.tags)) or [""],  # one with two is in both
        "day": _day_of,
        "end": lambda one: [one.end],
        "format": lambda one: [one.format],
    }
)


class Summary:
    """Totals of all lines, and of each group. since_ms, until_ms: the first moment that counts, and
    the first that counts no more."""

    def __init__(
        self, by: Iterable[str], *, since_ms: float | None = None, until_ms: float | None = None
    ) -> None:
        self.total = Totals()
        self.groups: dict[str, dict[str, Totals]] = {name: {} for name in by}
        self.broken = 0  # lines that tell of no request
        self.outside = 0  # requests before since_ms or after until_ms
        self.first_ms: int | None = None
        self.last_ms: int | None = None
        self._since_ms = since_ms
        self._until_ms = until_ms

    def add(self, line: bytes | str) -> None:
        """One line of a log. An empty one is nothing at all."""
        one = read_line(line)
        if one is None:
            self.broken += bool(line.strip())
        elif self._is_outside(one.ts_ms):
            self.outside += 1
        else:
            self._count(one)

    def _is_outside(self, ts_ms: int) -> bool:
        before = self._since_ms is not None and ts_ms < self._since_ms
        return before or (self._until_ms is not None and ts_ms >= self._until_ms)

    def _count(self, one: Reading) -> None:
        self.total.add(one)
        self.first_ms = one.ts_ms if self.first_ms is None else min(self.first_ms, one.ts_ms)
        self.last_ms = one.ts_ms if self.last_ms is None else max(self.last_ms, one.ts_ms)
        for kind, groups in self.groups.items():
            for name in BY[kind](one):
                found = groups.get(name)
                if found is None:
                    name = name if len(groups) < GROUPS else OTHER
                    found = groups.setdefault(name, Totals())
                found.add(one)

    def sorted(self, kind: str) -> list[tuple[str, Totals]]:
        """A kind's groups, the largest first; days in their order."""
        groups = self.groups[kind].items()
        if kind == "day":
            return sorted(groups, key=lambda group: group[0])
        return sorted(groups, key=lambda group: (-group[1].requests, group[0]))
