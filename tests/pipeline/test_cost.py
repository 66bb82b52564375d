"""llmrouterd/pipeline/cost.py"""

import pytest

from formats.canonical import Usage
from llmrouterd.model import Price, Provider
from llmrouterd.pipeline.cost import cost_usd, estimated_usd


def provider(**prices: float) -> Provider:
    return Provider("p", "openai", **prices)


def test_without_prices_the_cost_is_unknown() -> None:
    assert cost_usd(provider(), Usage(10, 10)) is None


def test_without_usage_the_cost_is_unknown() -> None:
    priced = provider(cost_per_1m_tokens=2.0)
    assert cost_usd(priced, None) is None
    assert cost_usd(priced, Usage(input=5)) is None


def test_a_blended_price_counts_every_token() -> None:
    assert cost_usd(provider(cost_per_1m_tokens=2.0), Usage(400_000, 100_000)) == 1.0


def test_input_and_output_prices_win_over_the_blended_one() -> None:
    priced = provider(cost_per_1m_tokens=99.0, input_cost_per_1m=3.0, output_cost_per_1m=15.0)
    assert cost_usd(priced, Usage(1_000_000, 200_000)) == pytest.approx(6.0)


def test_cached_input_has_its_own_price_where_one_is_declared() -> None:
    priced = provider(input_cost_per_1m=3.0, output_cost_per_1m=0.0, cached_input_cost_per_1m=0.3)
    assert cost_usd(priced, Usage(1_000_000, 0, cache_read=900_000)) == pytest.approx(0.57)


def test_a_free_provider_costs_nothing_and_says_so() -> None:
    assert cost_usd(provider(cost_per_1m_tokens=0.0), Usage(10, 10)) == 0.0


def test_what_may_be_used_costs_what_it_would_cost_without_a_cache() -> None:
    prices = {"input_cost_per_1m": 3.0, "output_cost_per_1m": 15.0, "cached_input_cost_per_1m": 0.3}
    assert estimated_usd(provider(**prices), "m", 1_000_000, 200_000) == pytest.approx(6.0)
    assert estimated_usd(provider(cost_per_1m_tokens=2.0), "m", 400_000, 100_000) == 1.0


def test_a_price_of_nothing_is_a_price() -> None:
    assert provider(cost_per_1m_tokens=0.0).is_priced
    assert not provider().is_priced
    assert estimated_usd(provider(), "m", 1, 1) is None


def test_a_models_own_price_and_what_a_cache_costs() -> None:
    priced = provider(cost_per_1m_tokens=99.0, prices=(Price(("m",), 3.0, 15.0, 0.3, 3.75),))
    usage = Usage(1_000_000, 100_000, cache_read=500_000, cache_write=200_000)
    assert cost_usd(priced, usage, "m") == pytest.approx(0.9 + 0.15 + 0.75 + 1.5)
    assert cost_usd(priced, Usage(1_000_000, 0), "other") == pytest.approx(99.0)


def test_caches_without_a_price_of_their_own_cost_what_input_costs() -> None:
    priced = provider(prices=(Price(("m",), 3.0, 15.0),))
    assert cost_usd(priced, Usage(1_000_000, 0, 400_000, 400_000), "m") == pytest.approx(3.0)


def test_counts_that_do_not_add_up_never_make_the_input_negative() -> None:
    priced = provider(prices=(Price(("m",), 3.0, 0.0, 0.3, 3.75),))
    assert cost_usd(priced, Usage(100, 0, 500, 500), "m") == pytest.approx(100 * 0.3 / 1e6)


def test_a_prompt_beyond_what_a_price_is_for_has_no_cost() -> None:
    listed = provider(list_prices=(Price(("m",), 3.0, 15.0, max_input_tokens=10),))
    assert cost_usd(listed, Usage(11, 1), "m") is None
    assert cost_usd(listed, Usage(10, 1), "m") == pytest.approx(45e-6)
