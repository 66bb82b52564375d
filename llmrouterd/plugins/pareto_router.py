"""The plugin `pareto-router`: the client says how good an answer must be, the owner says where.

    [plugins.pareto-router]
    enabled = true
    default_tier = "medium"
    tiers = { low = ["ollama"], medium = ["ollama"], high = ["anthropic"] }

A request may choose: `"plugins": [{"id": "pareto-router", "tier": "high"}]`.

Owns: which provider a tier stands for.
Refuses to know: rules and policies. The choice goes past the rules; policies still hold.

Law: a tier that is not configured fails the request, rather than going somewhere unasked.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from llmrouterd.hooks import Plugin, PluginFailed

if TYPE_CHECKING:
    from formats.canonical import Request
    from llmrouterd.hooks import Context

DEFAULT_TIER = "medium"


class ParetoRouter(Plugin):
    id = "pareto-router"

    def __init__(self, settings: Mapping[str, Any]) -> None:
        chosen_provider(settings)

    async def pre_request(self, request: Request, ctx: Context) -> Request:
        try:
            provider, tier = chosen_provider(ctx.settings)
        except ValueError as error:  # the request's own settings may be anything
            raise PluginFailed(str(error)) from None
        if provider is None:
            raise PluginFailed(f"tier {tier!r} is not configured")
        ctx.force(provider)
        ctx.modified()
        return request


def chosen_provider(settings: Mapping[str, Any]) -> tuple[str | None, str]:
    """The first provider of the wanted tier, None when it has none; and the tier's name. Raises
    ValueError when a setting is of the wrong kind."""
    for key in ("tier", "default_tier"):
        if not isinstance(settings.get(key, ""), str):
            raise ValueError(f"{key}: expected the name of a tier")
    tiers = settings.get("tiers", {})
    if not isinstance(tiers, Mapping):
        raise ValueError("tiers: expected a table of lists of providers")
    for name, providers in tiers.items():
        listed = isinstance(providers, Sequence) and not isinstance(providers, str)
        if not listed or not all(isinstance(provider, str) for provider in providers):
            raise ValueError(f"tiers.{name}: expected a list of providers")
    tier = settings.get("tier") or settings.get("default_tier") or DEFAULT_TIER
    return next(iter(tiers.get(tier, ())), None), tier
