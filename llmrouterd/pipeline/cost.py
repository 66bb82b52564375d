"""What an answer cost, as far as its price is known.

Owns: that sum, for what was used and for what may be.
Refuses to know: which price holds (route/price.py), where prices come from.

Law: unknown is None, never 0. Without a price there is no known cost, nor without token counts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmrouterd.route.price import price_of

if TYPE_CHECKING:
    from formats.canonical import Usage
    from llmrouterd.model import Provider

_MILLION = 1_000_000


def cost_usd(provider: Provider, usage: Usage | None, model: str = "") -> float | None:
    """USD for `usage` of `model`. Input that was read from a cache or written to one has its own
    price where there is one, else that of input."""
    if usage is None or usage.input is None or usage.output is None:
        return None
    price = price_of(provider, model, usage.input)
    if price is None:
        return None
    cached = min(usage.cache_read or 0, usage.input)
    stored = min(usage.cache_write or 0, usage.input - cached)
    total = (usage.input - cached - stored) * price.input + usage.output * price.output
    total += cached * (price.input if price.cached_input is None else price.cached_input)
    total += stored * (price.input if price.cache_write is None else price.cache_write)
    return total / _MILLION


def estimated_usd(
    provider: Provider, model: str, input_tokens: float, output_tokens: float
) -> float | None:
    """The same for tokens that nobody has counted yet; nothing is taken to come from a cache."""
    price = price_of(provider, model, int(input_tokens))
    if price is None:
        return None
    return (input_tokens * price.input + output_tokens * price.output) / _MILLION
