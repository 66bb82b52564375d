"""Which price holds for a model at a provider.

Owns: the precedence of prices: the owner's for this model, then what the owner declared for the
whole provider, then the list that ships with the program.
Refuses to know: where prices come from (config/prices.py), how much was used (pipeline/cost.py).

Laws:
1. Unknown is None, never 0. A local provider without a declared price has no known cost either.
2. The list that ships says what an answer cost. It never decides where a request goes: a release
   with newer figures must not route differently.
"""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from llmrouterd.model import Price

if TYPE_CHECKING:
    from collections.abc import Iterable

    from llmrouterd.model import Provider

# of four tokens of a chat, three are prompt: the usual blend of price lists
_INPUT_SHARE = 0.75


def price_of(provider: Provider, model: str, input_tokens: int = 0) -> Price | None:
    """What `model` costs there for a prompt of that size; None when nobody knows."""
    owners = owners_price(provider, model, input_tokens) or _declared(provider)
    return owners or _first(provider.list_prices, model, input_tokens)


def owners_price(provider: Provider, model: str, input_tokens: int = 0) -> Price | None:
    """The owner's price for this very model."""
    return _first(provider.prices, model, input_tokens)


def blended(read: float, written: float) -> float:
    """USD per million tokens in one figure, for comparing."""
    return _INPUT_SHARE * read + (1 - _INPUT_SHARE) * written


def _first(prices: Iterable[Price], model: str, input_tokens: int) -> Price | None:
    for price in prices:
        if price.max_input_tokens and input_tokens > price.max_input_tokens:
            continue
        if any(model == name or fnmatchcase(model, name) for name in price.models):
            return price
    return None


def _declared(provider: Provider) -> Price | None:
    """The provider's own figures. Those for input and output win over the blended one."""
    read, written = provider.input_cost_per_1m, provider.output_cost_per_1m
    if read is not None or written is not None:
        cached = provider.cached_input_cost_per_1m
        return Price(("*",), read or 0.0, written or 0.0, cached)
    both = provider.cost_per_1m_tokens
    return None if both is None else Price(("*",), both, both)
