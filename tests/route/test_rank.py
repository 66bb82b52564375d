"""The orderings: inclusive limits, undeclared figures left out, ties as configured."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmrouterd.model import Price, Provider, ProviderState
from llmrouterd.route.rank import (
    blended_cost,
    by_latency,
    by_load,
    by_price,
    by_quality,
    by_throughput,
)


def at(name: str, **figures) -> ProviderState:
    return ProviderState(Provider(name, "openai", **figures))


def names(states: list[ProviderState]) -> str:
    return "".join(state.provider.name for state in states)


@pytest.mark.parametrize(
    ("figures", "cost"),
    [
        ({}, 0.0),
        ({"cost_per_1m_tokens": 3.0}, 3.0),
        ({"cost_per_1m_tokens": 0.0, "input_cost_per_1m": 9.0}, 0.0),
        ({"input_cost_per_1m": 1.0, "output_cost_per_1m": 5.0}, 2.0),
        ({"input_cost_per_1m": 1.0}, 1.0),
        ({"output_cost_per_1m": 5.0}, 5.0),
        ({"input_cost_per_1m": 0.0, "output_cost_per_1m": 4.0}, 1.0),
    ],
)
def test_the_one_price_of_a_provider(figures: dict, cost: float) -> None:
    assert blended_cost(Provider("a", "openai", **figures)) == pytest.approx(cost)


def test_the_owners_price_for_the_model_comes_first() -> None:
    own = (Price(("m*",), 4.0, 8.0),)
    provider = Provider("a", "openai", prices=own, cost_per_1m_tokens=1.0)
    assert blended_cost(provider, "m-1") == 5.0
    assert blended_cost(provider, "other") == 1.0


def test_the_list_that_ships_never_decides_where_a_request_goes() -> None:
    """A file of the original's ranks an undeclared price as 0, and goes on doing so."""
    listed = Provider("a", "openai", list_prices=(Price(("m",), 4.0, 8.0),))
    assert blended_cost(listed, "m") == 0.0


def test_providers_are_ranked_by_what_the_model_asked_for_costs_there() -> None:
    states = [
        at("a", prices=(Price(("big",), 9.0, 9.0), Price(("*",), 1.0, 1.0))),
        at("b", cost_per_1m_tokens=2.0),
    ]
    assert names(by_price(states, model="small")) == "ab"
    assert names(by_price(states, model="big")) == "ba"
    assert names(by_price(states, 5.0, model="big")) == "b"
    assert names(by_quality(states, 0.5, model="big")) == "ba"


@pytest.mark.parametrize(
    ("most", "order"), [(None, "dbca"), (3.0, "dbca"), (2.0, "dbc"), (1.9, "d"), (-1, "")]
)
def test_cheapest_first_up_to_an_inclusive_limit(most: float | None, order: str) -> None:
    states = [
        at("a", cost_per_1m_tokens=3.0),
        at("b", cost_per_1m_tokens=2.0),
        at("c", input_cost_per_1m=2.0, output_cost_per_1m=2.0),
        at("d"),
    ]
    assert names(by_price(states, most)) == order


@pytest.mark.parametrize(("most", "order"), [(None, "bca"), (100, "bc"), (99, ""), (300, "bca")])
def test_fastest_first_without_those_that_declare_nothing(most: float | None, order: str) -> None:
    states = [at("a", latency_ms=300), at("b", latency_ms=100), at("c", latency_ms=100), at("d")]
    assert names(by_latency(states, most)) == order


@pytest.mark.parametrize(("least", "order"), [(None, "bca"), (50, "bc"), (51, ""), (0, "bca")])
def test_highest_throughput_first_without_those_that_declare_nothing(
    least: float | None, order: str
) -> None:
    rate = "throughput_tokens_per_sec"
    states = [at("a", **{rate: 20}), at("b", **{rate: 50}), at("c", **{rate: 50}), at("d")]
    assert names(by_throughput(states, least)) == order


def test_a_declared_zero_is_a_figure() -> None:
    assert names(by_latency([at("a", latency_ms=0.0)])) == "a"
    assert names(by_throughput([at("a", throughput_tokens_per_sec=0.0)])) == "a"


@pytest.mark.parametrize(
    ("bias", "order"),
    [(1.0, "abcd"), (0.0, "cdba"), (0.5, "abcd")],
)
def test_quality_against_cost_by_the_bias(bias: float, order: str) -> None:
    states = [
        at("a", quality=90, cost_per_1m_tokens=10),
        at("b", quality=80, cost_per_1m_tokens=5),
        at("c", quality=50),
        at("d", quality=50),
    ]
    assert names(by_quality(states, bias)) == order


@given(st.lists(st.sampled_from([None, 1.0, 2.0]), max_size=8))
def test_every_ordering_is_stable(figures: list[float | None]) -> None:
    for key, order in (
        ("cost_per_1m_tokens", by_price),
        ("latency_ms", by_latency),
        ("throughput_tokens_per_sec", by_throughput),
    ):
        states = [at(str(i), **{key: figure}) for i, figure in enumerate(figures)]
        ranked = order(states)
        for first, second in itertools.pairwise(ranked):
            if getattr(first.provider, key) == getattr(second.provider, key):
                assert int(first.provider.name) < int(second.provider.name)


def seen(name: str, **figures) -> ProviderState:
    return ProviderState(Provider(name, "openai"), **figures)


def test_failures_count_as_load() -> None:
    """Who fails fast has few in flight because of it."""
    quick = seen("a", in_flight=0, failing=0.4)
    assert names(by_load([quick, seen("b", in_flight=3)])) == "ba"
    assert names(by_load([quick, seen("b", in_flight=5)])) == "ab"
    assert names(by_load([seen("a", failing=0.6), seen("b", in_flight=500)])) == "ba"


def test_a_measured_figure_has_the_failures_in_it() -> None:
    quick, slow = seen("a", first_token_ms=600, failing=0.5), seen("b", first_token_ms=1000)
    assert names(by_latency([quick, slow], measured=True)) == "ba"
    fast, steady = seen("a", tokens_per_s=90, failing=0.5), seen("b", tokens_per_s=50)
    assert names(by_throughput([fast, steady], measured=True)) == "ba"
