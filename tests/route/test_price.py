"""Which price holds: the owner's for the model, the provider's declared one, the list's."""

import pytest

from llmrouterd.model import Price, Provider
from llmrouterd.route.price import blended, owners_price, price_of

LISTED = (Price(("m", "m-20*"), 1.0, 2.0), Price(("long",), 3.0, 4.0, max_input_tokens=100))


def provider(**figures) -> Provider:
    return Provider("p", "openai", **figures)


def test_nothing_known_is_none_and_never_a_nought() -> None:
    assert price_of(provider(), "m") is None
    assert price_of(provider(local=True), "m") is None


def test_the_owners_price_for_the_model_comes_first() -> None:
    own = Price(("m*",), 9.0, 9.0)
    all_three = provider(prices=(own,), cost_per_1m_tokens=5.0, list_prices=LISTED)
    assert price_of(all_three, "m") is own
    assert owners_price(all_three, "m") is own
    assert owners_price(all_three, "other") is None


def test_what_was_declared_for_the_provider_comes_before_the_list() -> None:
    declared = provider(cost_per_1m_tokens=5.0, list_prices=LISTED)
    assert price_of(declared, "m") == Price(("*",), 5.0, 5.0)


def test_the_list_tells_when_the_owner_said_nothing() -> None:
    assert price_of(provider(list_prices=LISTED), "m-2026-01-01") == LISTED[0]
    assert price_of(provider(list_prices=LISTED), "M") is None
    assert price_of(provider(list_prices=LISTED), "my-m") is None


def test_a_free_model_costs_nothing_which_is_known() -> None:
    free = Price(("m",), 0.0, 0.0)
    assert price_of(provider(prices=(free,), cost_per_1m_tokens=5.0), "m") is free


@pytest.mark.parametrize(("tokens", "index"), [(0, 0), (100, 0), (101, 1), (10**9, 1)])
def test_a_price_for_short_prompts_leaves_long_ones_to_the_next(tokens: int, index: int) -> None:
    short, long = Price(("m",), 1, 2, max_input_tokens=100), Price(("m",), 2, 3)
    assert price_of(provider(prices=(short, long)), "m", tokens) is (short, long)[index]


def test_a_prompt_longer_than_any_price_is_for_has_none() -> None:
    assert price_of(provider(list_prices=LISTED), "long", 101) is None


def test_input_and_output_prices_win_over_the_blended_one() -> None:
    both = provider(cost_per_1m_tokens=9.0, input_cost_per_1m=1.0, cached_input_cost_per_1m=0.1)
    assert price_of(both, "m") == Price(("*",), 1.0, 0.0, 0.1)


def test_three_of_four_tokens_are_prompt() -> None:
    assert blended(1.0, 5.0) == 2.0
