"""In which order providers are taken: by price, latency, throughput, quality.

Owns: the four orderings and the one price of a provider that has several.
Refuses to know: rules, and how figures are measured.

Laws:
1. Every ordering is stable: equals stay in the order in which they were handed in.
2. Limits are inclusive. A figure that was not declared leaves the provider out of its ordering;
   only a price that was not declared is 0, as a local server's is. Prices are the owner's: the list
   that ships decides nothing (price.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmrouterd.route.price import blended, owners_price

if TYPE_CHECKING:
    from collections.abc import Iterable

    from llmrouterd.model import Provider, ProviderState

_OFTEN = 0.5  # a share of failures above this is no accident
_AS_LOAD = 10.0  # requests in flight that one who fails always would count for


def blended_cost(provider: Provider, model: str = "") -> float:
    """USD per million tokens: by the owner's price for the model, else the provider's declared blend,
    or one made of its input and output prices."""
    price = owners_price(provider, model) if provider.prices else None
    if price is not None:
        return blended(price.input, price.output)
    if provider.cost_per_1m_tokens is not None:
        return provider.cost_per_1m_tokens
    read, written = provider.input_cost_per_1m, provider.output_cost_per_1m
    if read is None or written is None:
        return read or written or 0.0
    return blended(read, written)


def by_price(
    states: Iterable[ProviderState], most: float | None = None, *, model: str = ""
) -> list[ProviderState]:
    """Cheapest first; none above `most`. model: the one that will be asked for."""
    priced = [(blended_cost(state.provider, model), state) for state in states]
    kept = [pair for pair in priced if most is None or pair[0] <= most]
    return [state for _, state in sorted(kept, key=lambda pair: pair[0])]


def by_latency(
    states: Iterable[ProviderState], most: float | None = None, *, measured: bool = False
) -> list[ProviderState]:
    """Fastest first by milliseconds; none above `most`. measured: by what was seen, declared figures
    fading beside it, what fails counted in; one that fails a lot comes behind those that do not, and
    one of which nothing is known comes last."""
    if not measured:
        timed = [(state.provider.latency_ms, state) for state in states]
        kept = [(ms, s) for ms, s in timed if ms is not None and (most is None or ms <= most)]
        return [state for _, state in sorted(kept, key=lambda pair: pair[0])]
    seen = [(_seen(s.first_token_ms, s.provider.latency_ms), s) for s in states]
    able = [(ms, s) for ms, s in seen if most is None or ms is None or ms <= most]
    able.sort(
        key=lambda pair: (_fails(pair[1]), pair[0] is None, (pair[0] or 0.0) / _share(pair[1]))
    )
    return [state for _, state in able]


def _seen(figure: float | None, declared: float | None) -> float | None:
    return declared if figure is None else figure


def _fails(state: ProviderState) -> bool:
    return state.failing > _OFTEN


def _share(state: ProviderState) -> float:
    """The share of its requests that it answers: to ask one in vain costs time, too."""
    return max(1.0 - state.failing, 0.01)


def by_load(states: Iterable[ProviderState]) -> list[ProviderState]:
    """The fewest requests in flight first. Who fails quickly has few in flight because of it, so
    failures count as load."""

    def load(state: ProviderState) -> tuple[bool, float]:
        return _fails(state), state.in_flight + _AS_LOAD * state.failing

    return sorted(states, key=load)


def by_throughput(
    states: Iterable[ProviderState], least: float | None = None, *, measured: bool = False
) -> list[ProviderState]:
    """Highest tokens per second first; none below `least`. measured: as with `by_latency`."""
    if measured:
        seen = [(_seen(s.tokens_per_s, s.provider.throughput_tokens_per_sec), s) for s in states]
        able = [(tps, s) for tps, s in seen if least is None or tps is None or tps >= least]
        able.sort(
            key=lambda pair: (_fails(pair[1]), pair[0] is None, -(pair[0] or 0.0) * _share(pair[1]))
        )
        return [state for _, state in able]
    rated = [(state.provider.throughput_tokens_per_sec, state) for state in states]
    kept = [(tps, s) for tps, s in rated if tps is not None and (least is None or tps >= least)]
    return [state for _, state in sorted(kept, key=lambda pair: -pair[0])]


def by_quality(
    states: Iterable[ProviderState], bias: float, *, model: str = ""
) -> list[ProviderState]:
    """Best first by bias * quality - (1 - bias) * cost. model: the one that will be asked for."""

    def score(state: ProviderState) -> float:
        return bias * state.provider.quality - (1 - bias) * blended_cost(state.provider, model)

    return sorted(states, key=score, reverse=True)
