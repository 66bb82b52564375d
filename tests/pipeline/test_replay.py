"""A log decided again: under the same configuration nothing changes, under another what must."""

import json
from collections import Counter
from dataclasses import replace

import pytest

from llmrouterd.model import Caller, Routing, RuleSpec
from llmrouterd.observe import discreet
from llmrouterd.pipeline.replay import NoFacts, NotRouted, Replay
from llmrouterd.route.decide import decide, explain_lines
from llmrouterd.route.recorded import ListMissing, Unreadable, read
from tests.pipeline.traffic import IMPLICIT, KINDS, RULED, config_of, served


def replay_of(config, **more) -> Replay:
    callers = {holder.caller.name: holder.caller for holder in config.clients}
    return Replay(
        more.pop("routing", config.routing),
        more.pop("providers", config.providers),
        callers,
        **more,
    )


def providers_of(text):
    """As the traffic had them: one that is asked only when it is needed."""
    return [replace(p, on_demand=p.name == "asked") for p in config_of(text).providers]


def all_of(replay, lines):
    return [replay.compare(json.loads(line)) for line in lines]


def rules_of(lines):
    """How often each rule had the first place."""
    made = (json.loads(line)["decision"]["candidates"] for line in lines)
    return Counter(each[0][2] for each in made if each)


@pytest.mark.slow
@pytest.mark.parametrize(("text", "count"), [(RULED, 2000), (IMPLICIT, 1000)])
async def test_the_same_configuration_decides_all_requests_alike(
    autojump_clock, tmp_path, text: str, count: int
) -> None:
    """With every place of the walk, every word of the trace, and who answered in the end."""
    lines = await served(text, count, tmp_path)
    assert len(lines) == count
    providers, lists, routing = providers_of(text), {}, config_of(text).routing
    skips: Counter[str] = Counter()
    for line in map(json.loads, lines):
        found = read(line["decision"], providers, lists)
        verdict = decide(found.facts, found.fleet, routing)
        now = [[c.provider, c.model, c.rule] for c in verdict.candidates]
        assert now == line["decision"]["candidates"]
        told = tuple(map(discreet._step, verdict.trace))  # as a log without bodies has it
        decided = explain_lines(replace(verdict, trace=told))
        assert line["trace"][: len(decided)] == decided
        later = line["trace"][len(decided) :]  # who fell ill while the request walked
        assert all(": skipped " in step for step in later)
        skips.update(step.code.partition(":")[0] for step in verdict.trace)
        if line["end"] == "complete":
            assert [line["provider"], line["sent_model"], line["rule"]] in now
    replay = replay_of(config_of(text), providers=providers)
    compared = all_of(replay, lines)
    assert (replay.sum.requests, replay.sum.same, replay.sum.reordered) == (count, count, 0)
    for each, line in zip(compared, map(json.loads, lines), strict=True):
        if line["end"] == "complete":
            assert each.now.answers == (line["provider"], line["sent_model"])
    assert replay.sum.refused_then == replay.sum.refused_now > 0
    assert replay.sum.cost_now == pytest.approx(replay.sum.cost_then)
    assert replay.sum.priced > 0
    assert not (replay.sum.new | replay.sum.gone)
    _assert_mixed(text, lines, skips)


def _assert_mixed(text, lines, skips) -> None:
    """The traffic was what it is meant to be: nothing above held for want of cases."""
    rules = rules_of(lines)
    told = [json.loads(line) for line in lines]
    if text is RULED:
        kinds = {rule.partition(" ")[2] for rule in rules if rule.startswith("routers[")}
        wanted = {name.partition("-")[0] for name in KINDS}
        assert kinds == wanted | {"prefix", "model", "tag", "context", "fallback"}
        assert len({rule for rule in rules if rule.startswith("routers[")}) == len(KINDS) + 5
        assert any("seat" in line["decision"] for line in told)
        assert any("in_flight" in s for line in told for s in line["decision"]["fleet"].values())
        assert {"health", "rest", "model_out", "capability", "context", "remote", "policy"} <= set(
            skips
        )
    else:
        chain = {"implicit discover", "implicit pass-on", "implicit best-local"}
        assert chain <= set(rules)
        assert any(line["provider"] == "asked" for line in told)
    assert {"models.fast", "provider/model", "X-Router-Provider"} <= set(rules)
    failed = Counter(f["kind"] for line in told for f in line["decision"].get("failed", ()))
    assert {"upstream", "rate_limit", "model_not_found"} <= set(failed)
    sizes = sorted(len(json.dumps(line["decision"])) for line in told)
    assert sizes[-2] < 4000


@pytest.mark.slow
async def test_one_changed_rule_changes_what_it_decides_and_nothing_else(
    autojump_clock, tmp_path
) -> None:
    lines = await served(RULED, 400, tmp_path)
    routing = config_of(RULED).routing
    where = next(rule.where for rule in routing.rules if rule.type == "prefix")
    rules = (
        replace(rule, providers=("b",), rewrite_model="big") if rule.where == where else rule
        for rule in routing.rules
    )
    replay = replay_of(config_of(RULED), routing=replace(routing, rules=tuple(rules)))
    compared = all_of(replay, lines)
    for each in compared:
        meant = each.model.startswith("pre-")  # what the rule is for
        assert meant or not (each.changed or each.reordered)
        assert each.changed or where not in (each.then.rule, each.now.rule)
        assert bool(each.reason) == each.changed
    assert 0 < replay.sum.changed < 100
    assert replay.sum.pairs["a/m", "b/big"] > 0
    assert sum(replay.sum.pairs.values()) == replay.sum.changed


# --- single lines ---------------------------------------------------------------------------------


def line(*, fleet=None, failed=(), **facts):
    """A line of a request for `m` that went to a/m and was answered by c/y for a dollar."""
    return {
        "ts_ms": 5,
        "request_id": "req_1",
        "requested_model": "m",
        "status": 200,
        "provider": "c",
        "sent_model": "y",
        "cost_usd": 1.0,
        "input_tokens": 10**6,
        "output_tokens": 10**6,
        "cached_tokens": None,
        "decision": {
            "facts": {"model": "m", "size_tokens": 1, **facts},
            "seed": "0",
            "fleet": {"a": {}, "c": {}} if fleet is None else fleet,
            "candidates": [["a", "m", "models.m"], ["c", "y", "models.m"]],
            "failed": [{"provider": p, "model": m, "kind": "upstream", "ms": 1} for p, m in failed],
        },
    }


ALIAS = Routing(aliases={"m": ("a/m", "c/y")}, failover_to_remote=True)
CONFIG = config_of(RULED)


def under(routing=ALIAS, providers=CONFIG.providers, callers=None, **more) -> Replay:
    return Replay(routing, providers, callers or {}, **more)


def test_providers_that_are_new_or_gone_are_said_to_be() -> None:
    left = [p for p in CONFIG.providers if p.name == "c"]
    new = replace(left[0], name="new", models=("m",))
    rule = RuleSpec("discover", "routers[0] discover")
    replay = under(Routing((rule,)), [new, *left])
    each = replay.compare(line())
    assert (each.then.name, each.now.name) == ("a/m", "new/m")
    assert each.reason == "routers[0] discover takes it: a is not configured"
    assert (replay.sum.new, replay.sum.gone) == ({"new"}, {"a"})


def test_a_provider_without_its_key_counts_only_where_the_log_knows_it() -> None:
    replay = under(unsure=frozenset({"a", "d"}))
    assert not replay.compare(line()).changed
    assert "d" not in replay.sum.new
    assert replay.sum.left_out == {"d"}
    assert replay.compare(line(fleet={"c": {}})).now.first == ("c", "y")


def test_what_failed_then_is_not_paid_now() -> None:
    """A cost is that of who would have answered, which is not always who is asked first."""
    replay = under()
    each = replay.compare(line(failed=[("a", "m")]))
    assert (each.now.first, each.now.answers, each.changed) == (("a", "m"), ("c", "y"), False)
    assert (each.now.cost_usd, replay.sum.cost_now, replay.sum.cost_then) == (12.0, 12.0, 1.0)
    again = under(Routing(aliases={"m": ("c/y",)})).compare(line(failed=[("c", "y")]))
    assert again.now.answers == ("c", "y")  # it failed, was asked again, and answered


def test_costs_that_nobody_knows_are_counted_apart() -> None:
    replay = under()
    replay.compare(line() | {"cost_usd": None})
    replay.compare(line() | {"output_tokens": None})
    replay.compare(line() | {"status": 502})
    assert (replay.sum.priced, replay.sum.unpriced) == (0, 3)


def test_cached_tokens_have_their_own_price() -> None:
    cached = replace(
        next(p for p in CONFIG.providers if p.name == "c"), cached_input_cost_per_1m=1.0
    )
    each = under(Routing(aliases={"m": ("c/y",)}), [cached]).compare(
        line() | {"cached_tokens": 500_000}
    )
    assert each.now.cost_usd == pytest.approx(0.5 * 3 + 0.5 * 1 + 9)


@pytest.mark.parametrize(
    ("routing", "fleet", "reason"),
    [
        (Routing(aliases={"m": ("c/y", "a/m")}), {}, "models.m comes first"),
        (Routing(aliases={"m": ("b/x", "a/m")}), {}, "models.m comes first"),
        (Routing(aliases={"m": ("b/x",)}), {}, "models.m takes it, and nothing names a/m"),
        (ALIAS, {"a": {"healthy": False, "why": "ill"}}, "models.m skips a/m: unhealthy: ill"),
        (Routing(), {}, "no provider configured for model 'm'"),
    ],
)
def test_the_reason_says_why_it_does_not_go_where_it_went(routing, fleet, reason) -> None:
    each = under(routing).compare(line(fleet=fleet))
    assert each.changed
    assert each.reason == reason


def test_rules_that_take_turns_take_them_where_the_log_knows_of_none() -> None:
    rule = RuleSpec("round_robin", "routers[9] round_robin", ("a", "b"))
    replay = under(Routing((rule,)))
    firsts = [replay.compare(line()).now.first for _ in range(4)]
    assert [place[0] for place in firsts if place] == ["a", "b", "a", "b"]
    told = line()
    told["decision"]["turns"] = {rule.where: 7}
    assert replay.compare(told).now.first == ("b", "m")


def test_a_client_that_may_not_ask_any_more_is_refused() -> None:
    replay = under(callers={"ann": Caller("ann", ("other-*",))})
    each = replay.compare(line(client="ann"))
    assert each.now.first is None
    assert each.reason == "client 'ann' may not ask for this model"
    assert each.now.cost_usd == 0.0
    replay.compare(line(client="bob"))
    assert replay.sum.strangers == {"bob"}


def test_what_cannot_be_replayed_is_told_apart() -> None:
    replay, told = under(), line()
    with pytest.raises(ListMissing):
        replay.compare(line(fleet={"a": {"models": "0123"}}))
    with pytest.raises(NotRouted):
        replay.compare(told | {"decision": None})
    with pytest.raises(Unreadable):
        replay.compare(told | {"decision": {"fleet": {}}})
    del told["decision"]
    with pytest.raises(NoFacts):
        replay.compare(told)
    assert replay.sum.requests == 0
