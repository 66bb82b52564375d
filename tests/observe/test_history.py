"""Bins for charts: what they count, and that they stay few."""

import json
from typing import Any

import pytest

from formats.canonical import Usage
from llmrouterd.model import Opened, Record
from llmrouterd.observe.history import NAMES, OTHER, SPANS, History

T0 = 1_800_000_000_000  # on a border of every width


def record(at_ms: int = T0, **told: Any) -> Record:
    whole: dict[str, Any] = {
        "id": 1,
        "request_id": "req",
        "ts_ms": at_ms,
        "end": "complete",
        "status": 200,
        "client_format": "openai",
        "endpoint": "/v1/chat/completions",
        "requested_model": "m",
        "provider": "p",
        "stream": True,
        "duration_ms": 1100,
        "ttft_ms": 100,
        "usage": Usage(10, 50),
        "cost_usd": 0.25,
    }
    return Record(**(whole | told))


def bins(history: History, span_s: int = 300, now_ms: int = T0) -> list[dict[str, Any]]:
    return list(history.shape(span_s, now_ms)["bins"])


def test_a_bin_counts_what_ended_in_it() -> None:
    history = History()
    history.tell(Opened(1, T0, "m", 1))
    history.tell(record())
    history.tell(record(T0 + 4999, duration_ms=2100, provider="q"))
    history.tell(record(T0 + 1, end="upstream_error", duration_ms=9, ttft_ms=None, usage=None))
    history.tell(record(T0 + 2, end="client_gone", duration_ms=9, cost_usd=None))
    history.tell(record(T0 + 5000))
    first, second = bins(history, now_ms=T0 + 5000)
    assert (first["at_ms"], second["at_ms"]) == (T0, T0 + 5000)
    assert (first["requests"], first["errors"], first["left"]) == (4, 1, 1)
    assert (first["input_tokens"], first["output_tokens"]) == (30, 150)
    assert first["cost_usd"] == {"p": 0.5, "q": 0.25}
    assert first["duration_ms"] == [pytest.approx(1100, rel=0.02), 2100, 2100]
    assert first["ttft_ms"][0] == pytest.approx(100, rel=0.02)
    assert first["tokens_per_s"] == [pytest.approx(25, rel=0.02), 50, 50]
    assert (second["requests"], second["duration_ms"]) == (1, [1100, 1100, 1100])


def test_what_has_no_figures_says_null_and_not_nought() -> None:
    history = History()
    history.tell(record(end="refused"))
    history.tell(record(T0 + 5000, stream=False))
    refused, whole = bins(history, now_ms=T0 + 5000)
    assert (refused["duration_ms"], refused["ttft_ms"]) == (None, None)
    assert whole["duration_ms"] is not None
    assert (whole["ttft_ms"], whole["tokens_per_s"]) == (None, None)


def test_each_span_has_bins_of_its_own_width() -> None:
    history = History()
    for second in range(0, 7200, 10):
        history.tell(record(T0 + second * 1000))
    now_ms = T0 + 7200 * 1000
    for span_s, width_s in SPANS.items():
        told = history.shape(span_s, now_ms)
        assert (told["span_ms"], told["step_ms"]) == (span_s * 1000, width_s * 1000)
        ages = [now_ms - each["at_ms"] for each in told["bins"]]
        assert max(ages) <= told["span_ms"] + told["step_ms"]
        assert ages == sorted(ages, reverse=True)
    assert sum(each["requests"] for each in bins(history, 86_400, now_ms)) == 720
    assert sum(each["requests"] for each in bins(history, 3600, now_ms)) == 360


def test_bins_grow_old_and_are_forgotten() -> None:
    history = History()
    history.tell(record())
    assert bins(history, 300, T0 + 299_000)
    assert not bins(history, 300, T0 + 306_000)
    assert bins(history, 3600, T0 + 306_000)


def test_a_clock_that_is_set_back_loses_nothing() -> None:
    history = History()
    history.tell(record(T0 + 60_000))
    history.tell(record(T0))
    (only,) = bins(history, 300, T0 + 60_000)
    assert (only["at_ms"], only["requests"]) == (T0 + 60_000, 2)


@pytest.mark.slow
def test_it_stays_small_whatever_happens() -> None:
    """A year in a few steps, from any number of providers."""
    history = History()
    for n in range(20_000):
        history.tell(record(T0 + n * 1_500_000, provider=f"p{n}", duration_ms=n))
    now_ms = T0 + 19_999 * 1_500_000
    for span_s, width_s in SPANS.items():
        row = history._rows[span_s]
        assert len(row._closed) <= span_s // width_s
        assert len(json.dumps(history.shape(span_s, now_ms))) < 200_000


def test_the_names_in_one_bin_are_bounded() -> None:
    history = History()
    for n in range(NAMES + 10):
        history.tell(record(provider=f"p{n}"))
    (only,) = bins(history)
    assert len(only["cost_usd"]) == NAMES + 1
    assert only["cost_usd"][OTHER] == 10 * 0.25


def test_totals_are_of_all_that_has_ended() -> None:
    history = History()
    for n, end in enumerate(("complete", "complete", "client_gone", "truncated", "refused")):
        usage = None if end == "refused" else Usage(10, 5 if n else None)
        history.tell(record(end=end, usage=usage, cost_usd=None if n else 0.25))
    assert history.totals.shape() == {
        "requests": 5,
        "errors": 2,
        "left": 1,
        "input_tokens": 40,
        "output_tokens": 15,
        "cost_usd": 0.25,
    }
