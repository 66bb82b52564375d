"""What the last five minutes, hour and day looked like, for charts.

Owns: three rows of bins (each with a width of its own), filled as requests end, and their JSON.
Refuses to know: where a chart is drawn, HTTP, the clock: a bin is chosen by the record's own time.

Laws:
1. Memory is bounded, however much happens: so many bins of each row, and of one bin some figures and
   at most `NAMES` providers. Only the newest bin of a row holds more than its figures.
2. Counted is what /metrics and `stats` count, by the same rules: an error is whatever did not end
   well, but for a client that went away; durations are those of complete answers.
3. What comes later than its bin was closed (a clock was set back) counts into the newest one.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

from llmrouterd.model import Record
from llmrouterd.observe.percentiles import Percentiles

if TYPE_CHECKING:
    from collections.abc import Mapping

    from llmrouterd.model import Telling

JSON = Any
NAMES = 50  # providers whose costs are told apart in one bin
OTHER = "other"
SHARES = (0.5, 0.9, 0.99)
# span in seconds -> width of a bin in seconds
SPANS: Mapping[int, int] = {300: 5, 3600: 60, 86_400: 1200}


class Counts:
    """How many requests have ended, how, and with how many tokens."""

    __slots__ = ("errors", "input", "left", "output", "requests")

    def __init__(self) -> None:
        self.requests = self.errors = self.left = self.input = self.output = 0

    def add(self, record: Record) -> None:
        self.requests += 1
        self.left += record.end == "client_gone"
        self.errors += record.end not in ("complete", "client_gone")
        if record.usage is not None:
            self.input += record.usage.input or 0
            self.output += record.usage.output or 0


class Bin(Counts):
    """One bin, while it is the newest."""

    __slots__ = ("at_ms", "cost", "durations", "rates", "ttfts")

    def __init__(self, at_ms: int) -> None:
        super().__init__()
        self.at_ms = at_ms
        self.cost: dict[str, float] = {}
        self.durations = Percentiles()
        self.ttfts = Percentiles()
        self.rates = Percentiles()

    def add(self, record: Record) -> None:
        super().add(record)
        if record.cost_usd is not None:
            known = record.provider in self.cost or len(self.cost) < NAMES
            name = record.provider if known else OTHER
            self.cost[name] = self.cost.get(name, 0.0) + record.cost_usd
        if record.end == "complete":
            self._measure(record)

    def _measure(self, record: Record) -> None:
        self.durations.add(record.duration_ms)
        if record.ttft_ms is None or not record.stream:
            return
        self.ttfts.add(record.ttft_ms)
        output = record.usage.output if record.usage is not None else None
        writing_ms = record.duration_ms - record.ttft_ms
        if output and writing_ms > 0:
            self.rates.add(output * 1000 / writing_ms)

    def shape(self) -> JSON:
        return {
            "at_ms": self.at_ms,
            "requests": self.requests,
            "errors": self.errors,
            "left": self.left,
            "input_tokens": self.input,
            "output_tokens": self.output,
            "cost_usd": dict(self.cost),
            "duration_ms": _shares(self.durations),
            "ttft_ms": _shares(self.ttfts),
            "tokens_per_s": _shares(self.rates),
        }


def _shares(seen: Percentiles) -> JSON:
    """The percentiles of `SHARES`; null where nothing was seen."""
    return None if not seen.count else [round(seen.at(share) or 0.0, 1) for share in SHARES]


class Totals(Counts):
    """What has ended since the router began."""

    __slots__ = ("cost",)

    def __init__(self) -> None:
        super().__init__()
        self.cost = 0.0

    def add(self, record: Record) -> None:
        super().add(record)
        self.cost += record.cost_usd or 0.0

    def shape(self) -> JSON:
        return {
            "requests": self.requests,
            "errors": self.errors,
            "left": self.left,
            "input_tokens": self.input,
            "output_tokens": self.output,
            "cost_usd": self.cost,
        }


class _Row:
    """The bins of one width, oldest first; those that are closed as their JSON."""

    def __init__(self, span_s: int, width_s: int) -> None:
        self._span_ms = span_s * 1000
        self._width_ms = width_s * 1000
        self._closed: deque[JSON] = deque(maxlen=span_s // width_s)
        self._newest: Bin | None = None

    def add(self, record: Record) -> None:
        at_ms = record.ts_ms - record.ts_ms % self._width_ms
        newest = self._newest
        if newest is None or at_ms > newest.at_ms:
            if newest is not None:
                self._closed.append(newest.shape())
            newest = self._newest = Bin(at_ms)
        newest.add(record)

    def shape(self, now_ms: int) -> JSON:
        since_ms = now_ms - self._span_ms - self._width_ms
        bins = [each for each in self._closed if each["at_ms"] > since_ms]
        if self._newest is not None and self._newest.at_ms > since_ms:
            bins.append(self._newest.shape())
        return {
            "now_ms": now_ms,
            "span_ms": self._span_ms,
            "step_ms": self._width_ms,
            "shares": list(SHARES),
            "bins": bins,
        }


class History:
    """A Sink."""

    follows = False

    def __init__(self) -> None:
        self.totals = Totals()
        self._rows = {span: _Row(span, width) for span, width in SPANS.items()}

    def tell(self, telling: Telling) -> None:
        if isinstance(telling, Record):
            self.totals.add(telling)
            for row in self._rows.values():
                row.add(telling)

    def shape(self, span_s: int, now_ms: int) -> JSON:
        """The bins of the last `span_s` seconds, one of `SPANS`; those in which nothing ended are
        left out."""
        return self._rows[span_s].shape(now_ms)
