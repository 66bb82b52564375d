"""OpenTelemetry's metrics: what requests came to, added up since the start.

Owns: the instruments, what is counted in which, the bounds on their series, and the message.
Refuses to know: sending (otlp.py), the page /metrics (metrics.py, which counts for itself).

Laws:
1. Sums are monotonic and cumulative: a message that is lost costs nothing but its moment.
2. The number of series is bounded whatever clients send; what is beyond is counted in one series
   that says so, and no count is lost.
3. An estimate is no count of tokens for `gen_ai.client.token.usage`.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from llmrouterd.observe.exposition import Distribution
from llmrouterd.observe.metrics import HISTOGRAMS, MODELS, SERIES, VALUES, Names, gap_of
from llmrouterd.observe.otlp_payload import (
    SCHEMA,
    Source,
    answered_by,
    attributes,
    dump,
    error_of,
    first_chunk_s,
    operation_of,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from llmrouterd.model import Record
    from llmrouterd.observe.otlp_payload import JSON, Pairs
    from llmrouterd.spans import Attempted

# The buckets are those of the conventions, for names that are theirs.
_SECONDS = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92)
_FIRST_S = (0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5)
_GAP_S = (0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5)
_TOKENS = tuple(float(4**power) for power in range(14))
_MS = (5, 10, 25, 50, 75, 100, 250, 500, 750, 1000, 2500, 5000, 7500, 10000, 30000, 60000, 300000)
_CUMULATIVE = 2
_OVERFLOW: Pairs = (("otel.metric.overflow", True),)


@dataclass(frozen=True, slots=True)
class Instrument:
    """One metric. bounds: of a histogram's buckets, without the infinite one."""

    name: str
    kind: Literal["sum", "histogram"]
    unit: str
    text: str
    bounds: tuple[float, ...] = ()


def _sum(name: str, unit: str, text: str) -> Instrument:
    return Instrument(name, "sum", unit, text)


def _histogram(name: str, unit: str, text: str, bounds: tuple[float, ...]) -> Instrument:
    return Instrument(name, "histogram", unit, text, bounds)


REQUESTS = _sum("router.requests", "{request}", "Requests that have ended.")
DURATION = _histogram("router.request.duration_ms", "ms", "Duration of requests.", _MS)
INPUT = _sum("router.tokens.input", "{token}", "Input tokens, estimates included.")
OUTPUT = _sum("router.tokens.output", "{token}", "Output tokens, estimates included.")
OPERATION = _histogram(
    "gen_ai.client.operation.duration", "s", "One try at one provider.", _SECONDS
)
USAGE = _histogram(
    "gen_ai.client.token.usage", "{token}", "Number of input and output tokens used.", _TOKENS
)
FIRST_CHUNK = _histogram(
    "gen_ai.client.operation.time_to_first_chunk",
    "s",
    "From asking a provider to the first content of its stream.",
    _SECONDS,
)
SERVED = _histogram(
    "gen_ai.server.request.duration", "s", "Requests, from their head to the last byte.", _SECONDS
)
FIRST_TOKEN = _histogram(
    "gen_ai.server.time_to_first_token",
    "s",
    "From a request's head to the first content sent, of complete streams.",
    (*_FIRST_S, 10.0),
)
PER_TOKEN = _histogram(
    "gen_ai.server.time_per_output_token",
    "s",
    "Mean gap between two tokens of a complete stream.",
    _GAP_S,
)
INSTRUMENTS = (
    *(REQUESTS, DURATION, INPUT, OUTPUT),
    *(OPERATION, USAGE, FIRST_CHUNK, SERVED, FIRST_TOKEN, PER_TOKEN),
)


class Meter:
    """What has been counted. more: attributes that stand at every point."""

    def __init__(self, started_unix_ns: int, more: Pairs = ()) -> None:
        self._started = str(started_unix_ns)
        self._more = more
        self._providers = Names(VALUES)
        self._systems = Names(VALUES)
        self._models = Names(MODELS)
        self._kinds = Names(VALUES)
        self._sums: dict[str, dict[Pairs, float]] = {}
        self._spreads: dict[str, dict[Pairs, Distribution]] = {}

    def count(self, record: Record) -> None:
        """One request has ended."""
        answered = record.end == "complete"
        name = record.sent_model or record.requested_model
        model = self._models.of(name) if answered else self._models.known(name)
        self._ours(record, model, answered=answered)
        kind = error_of(record)
        error: Pairs = () if kind is None else (("error.type", self._kinds.of(kind)),)
        self._served(record, model, error)
        for attempt in record.traced.attempts if record.traced is not None else ():
            self._tried(record, attempt)

    def _ours(self, record: Record, model: str, *, answered: bool) -> None:
        """Under the names of opensourcellmrouter."""
        at: Pairs = (
            ("provider", self._providers.of(record.provider)),
            ("model", model),
            ("error", not answered),
        )
        self._add(REQUESTS, at, 1)
        self._observe(DURATION, at, record.duration_ms)
        usage = record.usage
        if usage is not None:
            self._add(INPUT, at, usage.input or 0)
            self._add(OUTPUT, at, usage.output or 0)

    def _served(self, record: Record, model: str, error: Pairs) -> None:
        """Towards the client."""
        at = self._at(record, answered_by(record), model)
        self._observe(SERVED, at + error, record.duration_ms / 1000)
        if record.usage is not None and not record.usage_estimated:
            for kind, tokens in (("input", record.usage.input), ("output", record.usage.output)):
                if tokens is not None:
                    self._observe(USAGE, (*at, ("gen_ai.token.type", kind)), tokens)
        first_s = first_chunk_s(record)
        if first_s is not None:
            self._observe(FIRST_CHUNK, at, first_s)
        if error or not record.stream or record.ttft_ms is None:
            return
        self._observe(FIRST_TOKEN, at, record.ttft_ms / 1000)
        gap_s = gap_of(record)
        if gap_s is not None:
            self._observe(PER_TOKEN, at, gap_s)

    def _tried(self, record: Record, attempt: Attempted) -> None:
        """Towards a provider."""
        model = self._models.of(attempt.model) if not attempt.error else ""
        at = self._at(record, attempt, model or self._models.known(attempt.model))
        if attempt.error:
            at = (*at, ("error.type", self._kinds.of(attempt.error)))
        self._observe(OPERATION, at, (attempt.ended_ns - attempt.asked_ns) / 1e9)

    def _at(self, record: Record, attempt: Attempted | None, model: str) -> Pairs:
        system = "" if attempt is None else attempt.system or attempt.provider
        return (
            ("gen_ai.operation.name", operation_of(record)),
            ("gen_ai.provider.name", self._systems.of(system or record.provider)),
            ("gen_ai.request.model", model),
        )

    def _add(self, instrument: Instrument, at: Pairs, amount: float) -> None:
        points = self._sums.setdefault(instrument.name, {})
        at = at if at in points or len(points) < SERIES else _OVERFLOW
        points[at] = points.get(at, 0) + amount

    def _observe(self, instrument: Instrument, at: Pairs, value: float) -> None:
        points = self._spreads.setdefault(instrument.name, {})
        at = at if at in points or len(points) < HISTOGRAMS else _OVERFLOW
        here = points.get(at)
        if here is None:
            here = points[at] = Distribution(len(instrument.bounds) + 1)
        here.counts[bisect_left(instrument.bounds, value)] += 1
        here.total += value

    # --- the message ------------------------------------------------------------------------------

    @property
    def size(self) -> int:
        """How many points a message has."""
        kinds: tuple[Mapping[str, Mapping[Pairs, Any]], ...] = (self._sums, self._spreads)
        return sum(len(points) for kind in kinds for points in kind.values())

    def copy(self) -> Meter:
        """As of now, to be written elsewhere while this one counts on."""
        out = Meter(0, self._more)
        out._started = self._started
        out._sums = {name: dict(points) for name, points in self._sums.items()}
        out._spreads = {
            name: {at: _copied(spread) for at, spread in points.items()}
            for name, points in self._spreads.items()
        }
        return out

    def message(self, source: Source, now_unix_ns: int) -> bytes:
        """The message for /v1/metrics."""
        found = [self._metric(each, str(now_unix_ns)) for each in INSTRUMENTS]
        metrics = [metric for metric in found if metric is not None]
        scope = {"scope": source.scope, "metrics": metrics, "schemaUrl": SCHEMA}
        return dump({"resourceMetrics": [{"resource": source.resource, "scopeMetrics": [scope]}]})

    def _metric(self, instrument: Instrument, now: str) -> JSON | None:
        out: dict[str, JSON] = {
            "name": instrument.name,
            "description": instrument.text,
            "unit": instrument.unit,
        }
        if instrument.kind == "sum":
            sums = self._sums.get(instrument.name, {})
            points = [self._point(at, now) | {"asInt": str(int(n))} for at, n in sums.items()]
            out["sum"] = {
                "dataPoints": points,
                "aggregationTemporality": _CUMULATIVE,
                "isMonotonic": True,
            }
        else:
            spreads = self._spreads.get(instrument.name, {})
            points = [
                self._point(at, now) | _buckets(instrument, spread)
                for at, spread in spreads.items()
            ]
            out["histogram"] = {"dataPoints": points, "aggregationTemporality": _CUMULATIVE}
        return out if points else None

    def _point(self, at: Pairs, now: str) -> dict[str, JSON]:
        return {
            "attributes": attributes((*at, *self._more)),
            "startTimeUnixNano": self._started,
            "timeUnixNano": now,
        }


def _copied(spread: Distribution) -> Distribution:
    out = Distribution(0)
    out.counts, out.total = list(spread.counts), spread.total
    return out


def _buckets(instrument: Instrument, spread: Distribution) -> dict[str, JSON]:
    return {
        "count": str(sum(spread.counts)),
        "sum": float(spread.total),
        "bucketCounts": [str(count) for count in spread.counts],
        "explicitBounds": [float(bound) for bound in instrument.bounds],
    }
