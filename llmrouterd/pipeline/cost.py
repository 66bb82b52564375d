"""What an answer cost, by the prices its provider declares.

Owns: that sum, for what was used and for what may be. Refuses to know: where prices come from.

Law: unknown is None, never 0. A provider without declared prices has no known cost.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from formats.canonical import Usage
    from llmrouterd.model import Provider

_MILLION = 1_000_000


def cost_usd(provider: Provider, usage: Usage | None) -> float | None:
    """USD for `usage`. Input and output prices win over the blended one; cached input has its own
    price where one is declared, else the input's."""
    if usage is None or usage.input is None or usage.output is None:
        return None
    if provider.input_cost_per_1m is None and provider.output_cost_per_1m is None:
        blended = provider.cost_per_1m_tokens
        return None if blended is None else (usage.input + usage.output) * blended / _MILLION
    price_in, price_out = provider.input_cost_per_1m or 0.0, provider.output_cost_per_1m or 0.0
    cached_price = provider.cached_input_cost_per_1m
    cached = min(usage.cache_read or 0, usage.input) if cached_price is not None else 0
    total = (usage.input - cached) * price_in + cached * (cached_price or 0.0)
    return (total + usage.output * price_out) / _MILLION


def estimated_usd(provider: Provider, input_tokens: float, output_tokens: float) -> float:
    """The same for tokens that nobody has counted yet; nothing is taken to come from a cache."""
    if provider.input_cost_per_1m is None and provider.output_cost_per_1m is None:
        blended = provider.cost_per_1m_tokens or 0.0
        return (input_tokens + output_tokens) * blended / _MILLION
    price_in, price_out = provider.input_cost_per_1m or 0.0, provider.output_cost_per_1m or 0.0
    return (input_tokens * price_in + output_tokens * price_out) / _MILLION
