"""llmrouterd/plugins/pareto_router.py"""

import pytest

from formats.canonical import Request
from llmrouterd.hooks import Context, PluginFailed
from llmrouterd.plugins.pareto_router import ParetoRouter

TIERS = {"low": ["a"], "medium": ["b", "c"], "high": []}
REQUEST = Request("openai", "m")


async def choose(**settings):
    ctx = Context("pareto-router", settings)
    assert await ParetoRouter({}).pre_request(REQUEST, ctx) is REQUEST
    return ctx


@pytest.mark.parametrize(
    ("settings", "provider"),
    [
        ({}, "b"),
        ({"default_tier": "low"}, "a"),
        ({"default_tier": "low", "tier": "medium"}, "b"),
    ],
)
async def test_the_first_provider_of_the_tier_is_forced(settings, provider):
    ctx = await choose(tiers=TIERS, **settings)
    assert ctx.forced == provider
    assert ctx.changed


@pytest.mark.parametrize("settings", [{"tier": "high"}, {"tier": "best"}, {"default_tier": "x"}])
async def test_a_tier_without_a_provider_fails_the_request(settings):
    wanted = next(iter(settings.values()))
    with pytest.raises(PluginFailed, match=f"tier '{wanted}' is not configured"):
        await choose(tiers=TIERS, **settings)


async def test_no_tiers_at_all_fail_the_request():
    with pytest.raises(PluginFailed, match="tier 'medium' is not configured"):
        await choose()


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"tier": 1}, "tier: expected the name of a tier"),
        ({"default_tier": []}, "default_tier: expected the name of a tier"),
        ({"tiers": ["a"]}, "tiers: expected a table"),
        ({"tiers": {"low": "a"}}, "tiers.low: expected a list of providers"),
        ({"tiers": {"low": [1]}}, "tiers.low: expected a list of providers"),
    ],
)
async def test_a_wrong_setting_is_named(settings, words):
    with pytest.raises(ValueError, match=words):
        ParetoRouter(settings)
    with pytest.raises(PluginFailed, match=words):
        await choose(**settings)
