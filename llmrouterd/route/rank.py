"""In which order providers are taken: by price, latency, throughput, quality.

Owns: the four orderings and the one price of a provider that has several.
Refuses to know: rules, models, health. What is measured may replace declared figures here, later.

Laws:
1. Every ordering is stable: equals stay in the order in which they were handed in.
2. Limits are inclusive. A figure that was not declared leaves the provider out of its ordering;
   only a price that was not declared is 0, as a local server's is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from llmrouterd.model import Provider, ProviderState

# of four tokens of a chat, three are prompt: the usual blend of price lists
_INPUT_SHARE = 0.75


def blended_cost(provider: Provider) -> float:
    """USD per million tokens: the declared blend, or one made of the input and output prices."""
    if provider.cost_per_1m_tokens is not None:
        return provider.cost_per_1m_tokens
    read, written = provider.input_cost_per_1m, provider.output_cost_per_1m
    if read is None or written is None:
        return read or written or 0.0
    return _INPUT_SHARE * read + (1 - _INPUT_SHARE) * written


def by_price(states: Iterable[ProviderState], most: float | None = None) -> list[ProviderState]:
    """Cheapest first; none above `most`."""
    priced = [(blended_cost(state.provider), state) for state in states]
    kept = [pair for pair in priced if most is None or pair[0] <= most]
    return [state for _, state in sorted(kept, key=lambda pair: pair[0])]


def by_latency(states: Iterable[ProviderState], most: float | None = None) -> list[ProviderState]:
    """Fastest first by declared milliseconds; none above `most`."""
    timed = [(state.provider.latency_ms, state) for state in states]
    kept = [(ms, s) for ms, s in timed if ms is not None and (most is None or ms <= most)]
    return [state for _, state in sorted(kept, key=lambda pair: pair[0])]


def by_throughput(
    states: Iterable[ProviderState], least: float | None = None
) -> list[ProviderState]:
    """Highest declared tokens per second first; none below `least`."""
    rated = [(state.provider.throughput_tokens_per_sec, state) for state in states]
    kept = [(tps, s) for tps, s in rated if tps is not None and (least is None or tps >= least)]
    return [state for _, state in sorted(kept, key=lambda pair: -pair[0])]


def by_quality(states: Iterable[ProviderState], bias: float) -> list[ProviderState]:
    """Best first by bias * quality - (1 - bias) * cost."""

    def score(state: ProviderState) -> float:
        return bias * state.provider.quality - (1 - bias) * blended_cost(state.provider)

    return sorted(states, key=score, reverse=True)
