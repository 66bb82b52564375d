"""Counts what requests came to, for /metrics.

Owns: the counters and histograms that grow as requests end, and the bounds on their labels.
Refuses to know: the page's text (exposition.py), gauges of the daemon (ops/scrape.py), HTTP.

Laws:
1. `tell` never waits and never fails; it costs a few microseconds.
2. The number of series is bounded whatever clients send. A model has a name of its own here only
   once somebody has answered for it; each label has at most so many values, each family so many
   series, and what is beyond is counted under "other". No count is lost that way.
3. Counted is what the log says: the same requests, tokens and costs.
"""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING

from llmrouterd.model import AttemptFailed, Record
from llmrouterd.observe.exposition import Distribution
from llmrouterd.observe.families import FAMILIES

if TYPE_CHECKING:
    from collections.abc import Mapping

    from llmrouterd.model import Telling
    from llmrouterd.observe.exposition import Value

OTHER = "other"
NONE = "none"  # no provider or model had been chosen
MODELS = 100  # names of models that get series of their own
VALUES = 50  # of any other label
SERIES = 1000  # of a counter
HISTOGRAMS = 250  # of a histogram, each a dozen and more lines: a scrape must not take long
_UNBOUNDED = ("provider", "model")  # all others have few values by nature, or are cut to few
# Neither of these says that something is wrong with the router or its providers.
_NO_ERROR = ("complete", "client_gone")


class Names:
    """The values that a label has had, up to a limit."""

    __slots__ = ("_known", "_limit")

    def __init__(self, limit: int) -> None:
        self._known: set[str] = {NONE, OTHER}
        self._limit = limit + 2

    def of(self, name: str) -> str:
        """The name, or "other" once there are too many."""
        if name in self._known:
            return name
        if not name or len(self._known) >= self._limit:
            return OTHER if name else NONE
        self._known.add(name)
        return name

    def known(self, name: str) -> str:
        """The name if it is one of them already; else "other"."""
        return name if name in self._known else OTHER if name else NONE


class Counter:
    """The series of one counter."""

    __slots__ = ("_labels", "samples")

    def __init__(self, name: str) -> None:
        self._labels = FAMILIES[name].labels
        self.samples: dict[tuple[str, ...], float] = {}

    def add(self, labels: tuple[str, ...], amount: float = 1) -> None:
        samples = self.samples
        before = samples.get(labels)
        if before is None:
            if len(samples) >= SERIES:
                labels = folded(self._labels, labels)
            before = samples.get(labels, 0)
        samples[labels] = before + amount


class Histogram:
    """The series of one histogram."""

    __slots__ = ("_bounds", "_labels", "samples")

    def __init__(self, name: str) -> None:
        self._labels, self._bounds = FAMILIES[name].labels, FAMILIES[name].bounds
        self.samples: dict[tuple[str, ...], Distribution] = {}

    def observe(self, labels: tuple[str, ...], value: float) -> None:
        here = self.samples.get(labels)
        if here is None:
            if len(self.samples) >= HISTOGRAMS:
                labels = folded(self._labels, labels)
            here = self.samples.setdefault(labels, Distribution(len(self._bounds) + 1))
        here.counts[bisect_left(self._bounds, value)] += 1
        here.total += value


def folded(names: tuple[str, ...], labels: tuple[str, ...]) -> tuple[str, ...]:
    """The labels under which a new series is counted when there are enough already (law 2)."""
    return tuple(
        OTHER if name in _UNBOUNDED else value for name, value in zip(names, labels, strict=True)
    )


class Metrics:
    """A Sink. `samples` is what it has counted so far."""

    follows = False

    def __init__(self) -> None:
        self._requests = Counter("llmrouter_requests_total")
        self._errors = Counter("llmrouter_errors_total")
        self._attempts_failed = Counter("llmrouter_attempts_failed_total")
        self._tokens = Counter("llmrouter_tokens_total")
        self._estimated = Counter("llmrouter_usage_estimated_total")
        self._cost_usd = Counter("llmrouter_cost_usd_total")
        self._unpriced = Counter("llmrouter_unpriced_requests_total")
        self._cache = Counter("llmrouter_cache_total")
        self._duration = Histogram("llmrouter_request_duration_seconds")
        self._first_token = Histogram("llmrouter_time_to_first_token_seconds")
        self._gap = Histogram("llmrouter_inter_token_seconds")
        self._queue = Histogram("llmrouter_queue_wait_seconds")
        self._overhead = Histogram("llmrouter_overhead_seconds")
        self._lag = Histogram("llmrouter_event_loop_lag_seconds")
        self._providers = Names(VALUES)
        self._kinds = Names(VALUES)
        self._models = Names(MODELS)

    @property
    def samples(self) -> dict[str, Mapping[tuple[str, ...], Value]]:
        """By the family's name. Views, not copies: to be read at once."""
        return {
            "llmrouter_requests_total": self._requests.samples,
            "llmrouter_errors_total": self._errors.samples,
            "llmrouter_attempts_failed_total": self._attempts_failed.samples,
            "llmrouter_tokens_total": self._tokens.samples,
            "llmrouter_usage_estimated_total": self._estimated.samples,
            "llmrouter_cost_usd_total": self._cost_usd.samples,
            "llmrouter_unpriced_requests_total": self._unpriced.samples,
            "llmrouter_cache_total": self._cache.samples,
            "llmrouter_request_duration_seconds": self._duration.samples,
            "llmrouter_time_to_first_token_seconds": self._first_token.samples,
            "llmrouter_inter_token_seconds": self._gap.samples,
            "llmrouter_queue_wait_seconds": self._queue.samples,
            "llmrouter_overhead_seconds": self._overhead.samples,
            "llmrouter_event_loop_lag_seconds": self._lag.samples,
        }

    def tell(self, telling: Telling) -> None:
        kind = type(telling)
        if kind is Record:
            assert isinstance(telling, Record)
            self._ended(telling)
        elif kind is AttemptFailed:
            assert isinstance(telling, AttemptFailed)
            provider = self._providers.of(telling.provider)
            self._attempts_failed.add((provider, self._kinds.of(telling.kind)))

    def lagged(self, seconds: float) -> None:
        """The event loop was so late."""
        self._lag.observe((), seconds)

    # --- one request ------------------------------------------------------------------------------

    def _ended(self, record: Record) -> None:
        provider = self._providers.of(record.provider)
        answered = record.end == "complete"
        name = record.sent_model or record.requested_model
        model = self._models.of(name) if answered else self._models.known(name)
        stream = "true" if record.stream else "false"
        labels = (record.client_format, provider, model, record.end, stream)
        self._requests.add(labels)
        if record.end not in _NO_ERROR:
            kind = self._kinds.of(record.error_kind or "")
            self._errors.add((record.end, kind, provider))
        if record.cache:
            self._cache.add((record.cache,))
        at = (provider, model)
        if record.usage is not None:
            self._used(record, at)
        self._timed(record, at, answered=answered)

    def _used(self, record: Record, at: tuple[str, str]) -> None:
        """Tokens and what they cost."""
        usage = record.usage
        assert usage is not None
        for kind, tokens in (
            ("input", usage.input),
            ("output", usage.output),
            ("cached", usage.cache_read),
            ("cache_write", usage.cache_write),
            ("reasoning", usage.reasoning),
        ):
            if tokens:
                self._tokens.add((*at, kind), tokens)
        known = usage.input is not None or usage.output is not None
        if known and record.usage_estimated:
            self._estimated.add(at[:1])
        if record.cost_usd is not None:
            self._cost_usd.add(at, record.cost_usd)
        elif known:
            self._unpriced.add(at)

    def _timed(self, record: Record, at: tuple[str, str], *, answered: bool) -> None:
        if answered:
            self._duration.observe(at, record.duration_ms / 1000)
        if record.stream and record.ttft_ms is not None:
            self._first_token.observe(at, record.ttft_ms / 1000)
            gap_s = gap_of(record) if answered else None
            if gap_s is not None:
                self._gap.observe(at, gap_s)
        if record.queue_ms is not None:
            self._queue.observe(at[:1], record.queue_ms / 1000)
        if record.overhead_ms is not None:
            own_ms = max(0.0, record.overhead_ms - (record.queue_ms or 0))
            self._overhead.observe((), own_ms / 1000)


def gap_of(record: Record) -> float | None:
    """Mean seconds between two tokens of a stream; None where nobody counted them."""
    tokens = record.usage.output if record.usage is not None else None
    if record.usage_estimated or record.ttft_ms is None or tokens is None or tokens < 2:
        return None
    return (record.duration_ms - record.ttft_ms) / (tokens - 1) / 1000
