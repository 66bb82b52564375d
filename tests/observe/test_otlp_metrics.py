"""Metrics for OpenTelemetry: what is counted where, and that sums are cumulative."""

from dataclasses import replace

import pytest

from formats.canonical import Usage
from llmrouterd.model import Record
from llmrouterd.observe import otlp_metrics
from llmrouterd.observe.metrics import HISTOGRAMS, MODELS, SERIES
from llmrouterd.observe.otlp_metrics import INSTRUMENTS, Meter
from llmrouterd.spans import Attempted, Traced
from tests.fakes.collector import metrics, pairs, read
from tests.observe.test_otlp_payload import RECORD, SOURCE, TRACED

CUMULATIVE = 2


def points(meter: Meter, now: int = 2000) -> dict[str, list]:
    found = metrics(read("metrics", meter.message(SOURCE, now)))
    return {
        name: list((metric.sum if metric.HasField("sum") else metric.histogram).data_points)
        for name, metric in found.items()
    }


def meter_of(*records: Record, **more) -> Meter:
    meter = Meter(1000, **more)
    for record in records:
        meter.count(record)
    return meter


FAILED = replace(
    RECORD,
    end="upstream_error",
    status=502,
    error_kind="upstream",
    usage=None,
    ttft_ms=None,
    traced=replace(TRACED, attempts=TRACED.attempts[:1], first_token_ns=None),
)


def test_the_names_of_the_original_are_counted() -> None:
    found = points(meter_of(RECORD, RECORD, FAILED))
    at = {"provider": "near", "model": "llama"}
    requests = {pairs(p)["error"]: p.as_int for p in found["router.requests"]}
    assert requests == {False: 2, True: 1}
    assert all(pairs(p).items() >= at.items() for p in found["router.requests"])
    assert [p.as_int for p in found["router.tokens.input"]] == [60]
    assert [p.as_int for p in found["router.tokens.output"]] == [24]
    [fine] = [p for p in found["router.request.duration_ms"] if not pairs(p)["error"]]
    assert (fine.count, fine.sum) == (2, 20)


def test_temporality_is_cumulative_and_sums_are_monotonic() -> None:
    meter = meter_of(RECORD)
    before = points(meter, 2000)
    meter.count(RECORD)
    message = read("metrics", meter.message(SOURCE, 3000))
    for metric in metrics(message).values():
        kind = metric.sum if metric.HasField("sum") else metric.histogram
        assert kind.aggregation_temporality == CUMULATIVE
        assert not metric.HasField("sum") or metric.sum.is_monotonic
        for point in kind.data_points:
            assert (point.start_time_unix_nano, point.time_unix_nano) == (1000, 3000)
    after = points(meter, 3000)
    assert before.keys() == after.keys()
    assert after["router.requests"][0].as_int == 2 * before["router.requests"][0].as_int
    assert after["router.request.duration_ms"][0].count == 2


def test_histograms_are_whole() -> None:
    values = [0.0, 0.01, 0.011, 81.92, 82.0, 1e9]
    meter = Meter(1000)
    for value in values:
        meter.count(replace(RECORD, duration_ms=int(value * 1000)))
    [point] = points(meter)["gen_ai.server.request.duration"]
    assert point.count == sum(point.bucket_counts) == len(values)
    assert len(point.bucket_counts) == len(point.explicit_bounds) + 1
    assert (point.bucket_counts[0], point.bucket_counts[1], point.bucket_counts[-1]) == (2, 1, 2)
    assert point.bucket_counts[-2] == 1  # a bound belongs to what is below it


def test_each_try_is_an_operation_and_the_request_is_served_once() -> None:
    found = points(meter_of(RECORD))
    tries = [pairs(p) for p in found["gen_ai.client.operation.duration"]]
    assert [t["gen_ai.provider.name"] for t in tries] == ["openai", "ollama"]
    assert [t.get("error.type") for t in tries] == ["overloaded", None]
    [served] = found["gen_ai.server.request.duration"]
    assert pairs(served) == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "ollama",
        "gen_ai.request.model": "llama",
    }
    usage = {pairs(p)["gen_ai.token.type"]: p.sum for p in found["gen_ai.client.token.usage"]}
    assert usage == {"input": 30, "output": 12}
    assert found["gen_ai.client.operation.time_to_first_chunk"][0].sum == 0.002
    assert found["gen_ai.server.time_to_first_token"][0].sum == 0.008
    assert found["gen_ai.server.time_per_output_token"][0].sum == pytest.approx(0.002 / 11)


def test_an_estimate_is_no_usage_of_the_conventions() -> None:
    found = points(meter_of(replace(RECORD, usage_estimated=True)))
    assert "gen_ai.client.token.usage" not in found
    assert [p.as_int for p in found["router.tokens.input"]] == [30]


def test_what_is_no_stream_or_failed_has_no_first_token() -> None:
    names = {"gen_ai.server.time_to_first_token", "gen_ai.server.time_per_output_token"}
    assert not names & points(meter_of(replace(RECORD, stream=False), FAILED)).keys()


def test_models_that_nobody_answered_for_get_no_series() -> None:
    never = replace(FAILED, sent_model="", requested_model="made up", provider="")
    [point] = points(meter_of(replace(never, traced=None)))["router.requests"]
    assert pairs(point) == {"provider": "none", "model": "other", "error": True}


def test_series_are_bounded_and_no_count_is_lost() -> None:
    meter, many = Meter(1000), 4 * MODELS
    for number in range(many):
        attempt = Attempted("1" * 16, 0, f"p{number}", f"m{number}", 1, f"s{number}")
        traced = Traced("1" * 32, "1" * 16, 0, 1, attempts=(attempt,))
        meter.count(replace(RECORD, sent_model=f"m{number}", provider=f"p{number}", traced=traced))
    found = points(meter)
    assert sum(p.as_int for p in found["router.requests"]) == many
    assert sum(p.count for p in found["gen_ai.client.operation.duration"]) == many
    assert all(len(each) <= HISTOGRAMS + 1 for name, each in found.items() if "router" not in name)
    assert all(len(each) <= SERIES + 1 for each in found.values())
    assert meter.size == sum(len(each) for each in found.values())


def test_beyond_the_bound_one_series_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(otlp_metrics, "SERIES", 1)
    found = points(meter_of(RECORD, FAILED, FAILED))["router.requests"]
    assert [(p.as_int, pairs(p).get("otel.metric.overflow")) for p in found] == [
        (1, None),
        (2, True),
    ]


def test_more_attributes_stand_at_every_point() -> None:
    meter = meter_of(RECORD, more=(("llmrouter.confined", ("local",)),))
    for each in points(meter).values():
        assert all(pairs(point)["llmrouter.confined"] == ["local"] for point in each)


def test_a_copy_does_not_change_with_what_is_counted_later() -> None:
    meter = meter_of(RECORD)
    copy = meter.copy()
    before = copy.message(SOURCE, 5)
    meter.count(replace(RECORD, usage=Usage(1, 1)))
    meter.count(FAILED)
    assert copy.message(SOURCE, 5) == before
    assert meter.message(SOURCE, 5) != before


def test_names_and_units_are_those_of_the_conventions() -> None:
    assert len({each.name for each in INSTRUMENTS}) == len(INSTRUMENTS)
    for each in INSTRUMENTS:
        assert list(each.bounds) == sorted(set(each.bounds))
        assert bool(each.bounds) is (each.kind == "histogram")
        if each.name.startswith("gen_ai."):
            assert each.unit in ("s", "{token}")
