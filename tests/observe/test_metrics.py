"""What is counted as requests end, and the bounds on it."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from formats.canonical import Usage
from llmrouterd.model import AttemptFailed, Opened, Record
from llmrouterd.observe.exposition import Distribution, write
from llmrouterd.observe.families import FAMILIES
from llmrouterd.observe.metrics import (
    HISTOGRAMS,
    MODELS,
    NONE,
    OTHER,
    SERIES,
    VALUES,
    Metrics,
    Names,
    gap_of,
)

DONE = Record(
    1,
    "req_1",
    0,
    "complete",
    200,
    "openai",
    "/v1/chat/completions",
    "m",
    sent_model="m-1",
    provider="p",
    stream=True,
    duration_ms=1100,
    ttft_ms=100,
    usage=Usage(30, 11, 20, 5, 4),
    cost_usd=0.5,
    overhead_ms=7.0,
    queue_ms=5,
)
FAILED = replace(
    DONE, end="upstream_error", status=502, usage=None, cost_usd=None, error_kind="timeout"
)


def counted(*records: Record) -> dict:
    metrics = Metrics()
    for record in records:
        metrics.tell(record)
    return {name: dict(samples) for name, samples in metrics.samples.items() if samples}


def one(samples: dict, name: str) -> Distribution:
    [found] = samples[f"llmrouter_{name}_seconds"].values()
    return found


def test_a_complete_stream_is_counted_in_every_way() -> None:
    samples = counted(DONE, DONE)
    assert samples["llmrouter_requests_total"] == {("openai", "p", "m-1", "complete", "true"): 2}
    assert samples["llmrouter_tokens_total"] == {
        ("p", "m-1", "input"): 60,
        ("p", "m-1", "output"): 22,
        ("p", "m-1", "cached"): 40,
        ("p", "m-1", "cache_write"): 10,
        ("p", "m-1", "reasoning"): 8,
    }
    assert samples["llmrouter_cost_usd_total"] == {("p", "m-1"): 1.0}
    assert "llmrouter_errors_total" not in samples
    assert one(samples, "request_duration").total == pytest.approx(2.2)
    assert one(samples, "time_to_first_token").total == pytest.approx(0.2)
    assert one(samples, "inter_token").total == pytest.approx(0.2)
    assert one(samples, "queue_wait").total == pytest.approx(0.01)
    assert one(samples, "overhead").total == pytest.approx(0.004)


def test_an_observation_on_a_bound_is_in_its_bucket() -> None:
    samples = counted(replace(DONE, duration_ms=1000), replace(DONE, duration_ms=1001))
    bounds = FAMILIES["llmrouter_request_duration_seconds"].bounds
    counts = one(samples, "request_duration").counts
    assert (counts[bounds.index(1)], counts[bounds.index(2.5)]) == (1, 1)


def test_what_takes_longer_than_the_last_bucket_is_counted_too() -> None:
    assert one(counted(replace(DONE, duration_ms=10**7)), "request_duration").counts[-1] == 1


def test_an_error_is_counted_by_end_and_kind_and_has_no_duration() -> None:
    samples = counted(DONE, FAILED)
    assert samples["llmrouter_errors_total"] == {("upstream_error", "timeout", "p"): 1}
    assert sum(one(samples, "request_duration").counts) == 1


def test_a_client_that_went_away_is_no_error_and_its_tokens_count() -> None:
    samples = counted(replace(DONE, end="client_gone", error_kind=None))
    assert "llmrouter_errors_total" not in samples
    assert samples["llmrouter_tokens_total"]["p", OTHER, "input"] == 30


def test_without_a_price_the_request_is_counted_as_such() -> None:
    samples = counted(replace(DONE, cost_usd=None, usage_estimated=True))
    assert samples["llmrouter_unpriced_requests_total"] == {("p", "m-1"): 1}
    assert samples["llmrouter_usage_estimated_total"] == {("p",): 1}
    assert "llmrouter_cost_usd_total" not in samples


def test_an_answer_for_nothing_is_a_known_cost() -> None:
    assert counted(replace(DONE, cost_usd=0.0))["llmrouter_cost_usd_total"] == {("p", "m-1"): 0.0}


def test_whole_answers_have_no_time_to_the_first_token() -> None:
    samples = counted(replace(DONE, stream=False))
    assert "llmrouter_time_to_first_token_seconds" not in samples
    assert samples["llmrouter_requests_total"] == {("openai", "p", "m-1", "complete", "false"): 1}


@pytest.mark.parametrize(
    "record",
    [
        replace(DONE, usage=None),
        replace(DONE, usage=Usage(1, 1)),
        replace(DONE, usage_estimated=True),
        replace(DONE, ttft_ms=None),
    ],
)
def test_the_gap_between_tokens_is_unknown_where_nobody_counted(record: Record) -> None:
    assert gap_of(record) is None


def test_a_request_that_nobody_was_chosen_for_is_counted() -> None:
    refused = Record(1, "r", 0, "refused", 400, "openai", "/v1/chat/completions", "")
    samples = counted(refused)
    assert samples["llmrouter_requests_total"] == {("openai", NONE, NONE, "refused", "false"): 1}
    assert samples["llmrouter_errors_total"] == {("refused", NONE, NONE): 1}


def test_failed_tries_are_counted_and_other_tellings_are_not() -> None:
    metrics = Metrics()
    metrics.tell(AttemptFailed(1, 0, "p", "m", "upstream", "no", 3))
    metrics.tell(Opened(1, 0, "m", 1))
    told = {name: samples for name, samples in metrics.samples.items() if samples}
    assert told == {"llmrouter_attempts_failed_total": {("p", "upstream"): 1}}


def test_the_event_loops_delay_is_counted() -> None:
    metrics = Metrics()
    metrics.lagged(0.003)
    samples = metrics.samples["llmrouter_event_loop_lag_seconds"][()]
    assert isinstance(samples, Distribution)
    assert samples.total == 0.003


# --- bounds ---------------------------------------------------------------------------------------


def test_a_model_that_nobody_answered_for_gets_no_series_of_its_own() -> None:
    """Clients may ask for any name."""
    samples = counted(*(replace(FAILED, sent_model=f"guess-{n}") for n in range(50)))
    assert samples["llmrouter_requests_total"] == {
        ("openai", "p", OTHER, "upstream_error", "true"): 50
    }


def test_a_model_that_has_answered_keeps_its_name_when_it_fails() -> None:
    samples = counted(DONE, FAILED)
    assert samples["llmrouter_requests_total"]["openai", "p", "m-1", "upstream_error", "true"] == 1


def test_names_beyond_the_limit_are_other() -> None:
    names = Names(2)
    assert [names.of(name) for name in ("a", "b", "c", "a", "", OTHER)] == [
        *("a", "b", OTHER, "a", NONE, OTHER)
    ]
    assert (names.known("a"), names.known("z"), names.known("")) == ("a", OTHER, NONE)


def test_no_flood_of_names_makes_the_page_grow() -> None:
    """An echo, or a server that takes any name for its one model, answers for all of them."""
    metrics = Metrics()
    flood = 2 * SERIES
    for number in range(flood):  # the two have no divisor in common: every pair comes
        told = DONE if number % 3 else FAILED
        model, provider = number % (MODELS + 50), number % (VALUES + 11)
        told = replace(told, sent_model=f"model-{model}", provider=f"provider-{provider}")
        metrics.tell(replace(told, error_kind=f"kind-{number}"))
    samples = metrics.samples["llmrouter_requests_total"]
    assert len(samples) > SERIES / 2
    assert sum(samples.values()) == flood
    for name, series in metrics.samples.items():
        assert len(series) <= (HISTOGRAMS + 1 if FAMILIES[name].bounds else SERIES + 500)
    assert len(metrics.samples["llmrouter_request_duration_seconds"]) == HISTOGRAMS + 1
    assert len(write(FAMILIES.values(), metrics.samples)) < 2_000_000
    kinds = {labels[2] for labels in metrics.samples["llmrouter_tokens_total"]}
    assert kinds == {"input", "output", "cached", "cache_write", "reasoning"}


ENDS = ("complete", "truncated", "client_gone", "upstream_error", "refused", "internal_error")


@given(
    st.lists(
        st.builds(
            lambda end, model, tokens, cost: replace(
                DONE, end=end, sent_model=model, usage=Usage(tokens, tokens), cost_usd=cost
            ),
            st.sampled_from(ENDS),
            st.text(max_size=3),
            st.none() | st.integers(0, 10**6),
            st.none() | st.floats(0, 10),
        ),
        max_size=30,
    )
)
def test_no_count_is_lost(records: list[Record]) -> None:
    samples = counted(*records)
    assert sum(samples.get("llmrouter_requests_total", {}).values()) == len(records)
    errors = sum(r.end not in ("complete", "client_gone") for r in records)
    assert sum(samples.get("llmrouter_errors_total", {}).values()) == errors
    tokens = sum(r.usage.input or 0 for r in records if r.usage)
    told = samples.get("llmrouter_tokens_total", {})
    assert sum(v for labels, v in told.items() if labels[2] == "input") == tokens
    cost = sum(r.cost_usd or 0 for r in records)
    assert sum(samples.get("llmrouter_cost_usd_total", {}).values()) == pytest.approx(cost)


def test_what_the_cache_did_is_counted_by_what_came_of_it() -> None:
    records = [replace(DONE, cache=result) for result in ("hit", "hit", "miss", "joined", "")]
    samples = counted(*records)
    assert samples["llmrouter_cache_total"] == {("hit",): 2, ("miss",): 1, ("joined",): 1}
