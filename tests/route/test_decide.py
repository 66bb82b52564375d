"""Where a request may go: the order of those who are asked, every skip, and local stays local."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from formats.errors import Failure
from llmrouterd.model import (
    Facts,
    Fleet,
    ModelInfo,
    Provider,
    ProviderState,
    Routing,
    RuleSpec,
    Verdict,
)
from llmrouterd.route.decide import decide, explain_lines, lists_wanted, no_candidate


def at(name: str, *models: str | ModelInfo, known: bool = False, **more) -> ProviderState:
    """A provider: `known` says that its list of models is known even when it is empty."""
    state = {key: more.pop(key) for key in ("healthy", "why", "reached") if key in more}
    infos = [m if isinstance(m, ModelInfo) else ModelInfo(m) for m in models]
    listed = {info.name: info for info in infos} if models or known else None
    return ProviderState(Provider(name, more.pop("fmt", "openai"), **more), listed, **state)


def fleet(*states: ProviderState, seed: int = 0) -> Fleet:
    return Fleet({state.provider.name: state for state in states}, seed=seed)


def rule(kind: str, *providers: str, n: int = 0, **more) -> RuleSpec:
    return RuleSpec(kind, f"routers[{n}] {kind}", providers, **more)


def routing(*rules: RuleSpec, **more) -> Routing:
    return Routing(rules, **more)


def places(verdict: Verdict) -> list[str]:
    return [f"{c.provider}/{c.model}" for c in verdict.candidates]


def go(facts: Facts | str, on: Fleet, by: Routing) -> list[str]:
    return places(decide(Facts(facts) if isinstance(facts, str) else facts, on, by))


def codes(verdict: Verdict) -> dict[str, str]:
    return {f"{s.provider}/{s.model}": s.code for s in verdict.trace if s.outcome == "skipped"}


IMPLICIT = Routing(implicit=True)
SIGHTED = frozenset({"completion", "vision"})
BLIND = frozenset({"completion"})
LOCAL, REMOTE = at("home"), at("cloud", local=False)


# --- who is asked, in which order -----------------------------------------------------------------


def test_the_rules_are_asked_in_order_and_the_trace_says_everything() -> None:
    on = fleet(at("a"), at("b"))
    by = routing(
        rule("prefix", "a", model_prefix="gpt-"),
        rule("tag", "b", n=1, tag="code", rewrite_model="x"),
        rule("fallback", n=2),
        rule("odd", n=3),
    )
    verdict = decide(Facts("m", tags=("code",)), on, by)
    assert places(verdict) == ["b/x", "a/m", "b/m"]
    assert explain_lines(verdict) == [
        "routers[0] prefix: passed: the model does not start with 'gpt-'",
        "routers[1] tag: candidate b/x",
        "routers[2] fallback: candidate a/m",
        "routers[2] fallback: candidate b/m",
        "routers[3] odd: passed: rules of type 'odd' are not known here",
    ]
    assert [c.rule for c in verdict.candidates] == [
        "routers[1] tag",
        "routers[2] fallback",
        "routers[2] fallback",
    ]


def test_a_plugins_choice_goes_past_everything_else() -> None:
    by = routing(rule("fallback", "a"), aliases={"m": ("a/x",)}, implicit=True)
    verdict = decide(Facts("m", forced="b", wish="a"), fleet(at("a", "m"), at("b")), by)
    assert [(c.provider, c.model, c.rule) for c in verdict.candidates] == [("b", "m", "plugin")]


def test_a_plugins_choice_that_does_not_exist_leaves_no_candidates() -> None:
    facts = Facts("m", forced="gone")
    verdict = decide(facts, fleet(at("a", "m")), routing(rule("fallback"), implicit=True))
    assert verdict.candidates == ()
    failure = no_candidate(facts, verdict, Fleet({}))
    assert failure.kind == "no_provider"
    assert failure.message.startswith("no provider configured for model 'm'")


def test_an_alias_is_its_list_in_order_and_nothing_more() -> None:
    by = routing(rule("fallback", "c"), aliases={"fast": ("a/x", "b/y/z", "gone/w")})
    verdict = decide(Facts("fast"), fleet(at("a"), at("b"), at("c")), by)
    assert places(verdict) == ["a/x", "b/y/z"]
    assert {c.rule for c in verdict.candidates} == {"models.fast"}
    assert all(c.written_out for c in verdict.candidates)
    assert codes(verdict) == {"gone/w": "unknown"}


def test_a_wish_reorders_an_alias_but_adds_nothing_to_it() -> None:
    by = routing(aliases={"fast": ("a/x", "b/y")})
    on = fleet(at("a"), at("b"), at("c"))
    assert go(Facts("fast", wish="b"), on, by) == ["b/y", "a/x"]
    assert go(Facts("fast", wish="c"), on, by) == ["a/x", "b/y"]


def test_an_alias_without_a_model_is_skipped() -> None:
    verdict = decide(Facts("fast"), fleet(at("a")), routing(aliases={"fast": ("a", "a/")}))
    assert verdict.candidates == ()


def test_a_wish_is_tried_first_and_then_the_rules() -> None:
    on = fleet(at("a"), at("b"))
    verdict = decide(Facts("m", wish="b"), on, routing(rule("fallback")))
    assert places(verdict) == ["b/m", "a/m"]
    assert verdict.candidates[0].rule == "X-Router-Provider"
    assert not verdict.candidates[0].written_out


def test_a_wish_that_does_not_exist_is_noted_and_passed() -> None:
    verdict = decide(Facts("m", wish="gone"), fleet(at("a")), routing(rule("fallback")))
    assert places(verdict) == ["a/m"]
    assert codes(verdict) == {"gone/m": "unknown"}


def test_a_wish_takes_the_spelling_of_the_providers_own_list() -> None:
    on = fleet(at("a", "Llama:latest", fmt="ollama"))
    assert go(Facts("llama", wish="a"), on, Routing()) == ["a/Llama:latest"]
    assert go(Facts("a/llama", wish="a"), on, Routing()) == ["a/Llama:latest"]
    assert go(Facts("other", wish="a"), on, Routing()) == ["a/other"]


def test_a_client_may_name_the_provider_with_the_model() -> None:
    on = fleet(at("a"), at("b"))
    verdict = decide(Facts("b/m"), on, routing(rule("prefix", "a", model_prefix="m")))
    assert places(verdict) == ["b/m", "a/m"]
    assert verdict.candidates[0].rule == "provider/model"


@pytest.mark.parametrize("model", ["gone/m", "/m", "a/", "m"])
def test_a_slash_alone_names_no_provider(model: str) -> None:
    verdict = decide(Facts(model), fleet(at("a")), routing(rule("fallback")))
    assert places(verdict) == [f"a/{model}"]
    assert verdict.candidates[0].rule == "routers[0] fallback"


def test_a_whole_name_with_a_slash_still_finds_its_model() -> None:
    on = fleet(at("openai", "gpt"), at("proxy", "openai/gpt", "x/y/z"))
    assert go("openai/gpt", on, IMPLICIT) == ["openai/gpt", "proxy/openai/gpt"]
    assert go("x/y/z", on, IMPLICIT) == ["proxy/x/y/z"]
    assert go("proxy/x/y/z", on, IMPLICIT) == ["proxy/x/y/z"]


def test_a_rule_written_for_such_names_wins_over_the_clients_reading() -> None:
    on = fleet(at("openai"), at("proxy"))
    by = routing(rule("prefix", "proxy", model_prefix="openai/"))
    assert go("openai/gpt", on, by) == ["proxy/openai/gpt"]


# --- the built-in chain ---------------------------------------------------------------------------


def test_who_really_has_the_model_comes_first_local_before_remote() -> None:
    on = fleet(
        at("cloud", "m", local=False),
        at("blank"),
        at("one", "m"),
        at("two", "M"),
        at("other", "x"),
    )
    by = Routing(implicit=True, failover_to_remote=True)
    assert go("m", on, by) == ["one/m", "two/M", "cloud/m", "blank/m"]
    assert go("m", on, IMPLICIT) == ["one/m", "two/M", "blank/m"]


def test_ollama_names_match_with_and_without_latest() -> None:
    assert go("m", fleet(at("a", "m:latest", fmt="ollama")), IMPLICIT) == ["a/m:latest"]


def test_unknown_lists_get_the_name_as_it_is_and_then_the_best_local_model_serves() -> None:
    on = fleet(at("blank"), at("home", "small", ModelInfo("big", size_bytes=9)))
    verdict = decide(Facts("claude-x"), on, IMPLICIT)
    assert places(verdict) == ["blank/claude-x", "home/big"]
    assert verdict.candidates[1].rule == "implicit best-local"


def test_another_model_never_stands_in_for_one_that_somebody_has() -> None:
    sick = at("a", "m", healthy=False, why="connection refused")
    assert go("m", fleet(sick, at("b", "other")), IMPLICIT) == []
    assert go("a/gone", fleet(at("a", "m"), at("b", "other")), IMPLICIT) == ["a/gone"]


def test_an_on_demand_provider_serves_only_models_asked_for_by_name() -> None:
    asked = at("cloud", "gpt", local=False, on_demand=True)
    waiting = at("later", local=False, on_demand=True)
    on = fleet(at("home", "llama"), asked, waiting)
    assert go("gpt", on, IMPLICIT) == ["cloud/gpt"]
    assert go("claude", on, IMPLICIT) == ["home/llama"]
    assert go("later/claude", on, IMPLICIT) == ["later/claude"]
    assert go(Facts("claude", wish="later"), on, IMPLICIT)[0] == "later/claude"
    assert go("x", on, routing(aliases={"x": ("later/claude",)})) == ["later/claude"]
    assert go("x", on, routing(rule("fallback", "later"))) == ["later/x"]
    assert go("gpt", on, routing(rule("discover"))) == ["cloud/gpt"]
    verdict = decide(Facts("x"), on, routing(rule("fallback")))
    assert places(verdict) == ["home/x"]
    assert codes(verdict) == {"cloud/x": "on_demand", "later/x": "on_demand"}


def test_an_on_demand_provider_is_never_the_best_local_one() -> None:
    on = fleet(at("near", "m", on_demand=True, quality=99), at("home", "n"))
    assert go("x", on, IMPLICIT) == ["home/n"]
    assert go("x", fleet(at("near", "m", on_demand=True)), IMPLICIT) == []


@pytest.mark.parametrize(
    ("states", "order"),
    [
        ([at("a", "x"), at("b", "y", quality=5)], ["b/y", "a/x"]),
        ([at("a", "x", ModelInfo("y", loaded=True))], ["a/y"]),
        ([at("a", ModelInfo("x", loaded=True)), at("b", "y", quality=5)], ["b/y", "a/x"]),
        ([at("a", ModelInfo("x", size_bytes=9), ModelInfo("y", loaded=True))], ["a/y"]),
        ([at("a", ModelInfo("x", size_bytes=1), ModelInfo("y", size_bytes=2))], ["a/y"]),
        ([at("a", ModelInfo("x", context_length=1), ModelInfo("y", context_length=2))], ["a/y"]),
        ([at("a", "y", "x")], ["a/x"]),
        ([at("e", "echo", fmt="echo", quality=99), at("a", "x")], ["a/x", "e/echo"]),
        ([at("e", fmt="echo")], ["e/m"]),
        ([at("e", fmt="echo", known=True)], ["e/m"]),
        ([at("a", "nomic-embed-text", "x")], ["a/x"]),
        ([at("a", "nomic-embed-text")], []),
        ([at("a", ModelInfo("y", frozenset({"embedding"})), "z")], ["a/z"]),
        ([at("a", "x", local=False)], []),
        ([at("a", known=True)], []),
        ([], []),
    ],
)
def test_which_local_model_is_best(states: list[ProviderState], order: list[str]) -> None:
    assert go("m", fleet(*states), IMPLICIT) == order


def test_the_best_local_model_has_what_the_request_needs() -> None:
    blind = ModelInfo("blind", BLIND, size_bytes=9)
    on = fleet(at("a", blind, ModelInfo("sighted", SIGHTED)))
    facts = Facts("claude", needs=frozenset({"vision"}))
    assert go(facts, on, IMPLICIT) == ["a/sighted"]
    only = decide(facts, fleet(at("a", blind)), IMPLICIT)
    assert no_candidate(facts, only, Fleet({})).kind == "unsupported"
    small = at("a", ModelInfo("small", context_length=100, loaded=True), "unknown")
    assert go(Facts("claude", size_tokens=1000), fleet(small), IMPLICIT) == ["a/unknown"]


def test_the_chain_is_silent_when_the_owner_wrote_rules() -> None:
    assert go("m", fleet(at("a", "m")), routing(rule("tag", "a", tag="x"))) == []


@pytest.mark.parametrize(
    ("facts", "wanted"),
    [
        (Facts("gpt"), ("cloud",)),
        (Facts("llama"), ()),
        (Facts("home/gpt"), ()),
        (Facts("cloud/gpt"), ()),
        (Facts("gpt", wish="home"), ()),
        (Facts("gpt", forced="home"), ()),
        (Facts("fast"), ()),
        (Facts("x/gpt"), ("cloud",)),
    ],
)
def test_a_list_is_asked_for_only_when_nobody_has_the_model(
    facts: Facts, wanted: tuple[str, ...]
) -> None:
    on = fleet(at("home", "Llama"), at("cloud", local=False, on_demand=True))
    by = Routing(implicit=True, aliases={"fast": ("home/llama",)})
    assert lists_wanted(facts, on, by) == wanted
    assert lists_wanted(facts, on, Routing()) == ()


# --- who is admitted ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("state", "facts", "code"),
    [
        (at("b"), Facts("m"), "unknown"),
        (at("a", healthy=False), Facts("m"), "health"),
        (at("a", ModelInfo("m", BLIND)), Facts("m", frozenset({"vision"})), "capability:vision"),
        (at("a", ModelInfo("m", BLIND)), Facts("m", frozenset({"tools"})), "capability:tools"),
        (at("a", ModelInfo("m", SIGHTED)), Facts("m", frozenset({"vision"})), None),
        (at("a", "m"), Facts("m", frozenset({"vision"})), None),
        (at("a", "other"), Facts("m", frozenset({"vision"})), None),
        (at("a", ModelInfo("m", frozenset({"embedding"}))), Facts("m"), "embedding"),
        (at("a", ModelInfo("m", context_length=100)), Facts("m", size_tokens=91), "context:100"),
        (at("a", ModelInfo("m", context_length=100)), Facts("m", size_tokens=90), None),
        (at("a", context_length=100), Facts("m", size_tokens=91), "context:100"),
        (
            at("a", ModelInfo("m", context_length=100), context_length=200),
            Facts("m", size_tokens=150),
            None,
        ),
        (at("a"), Facts("m", size_tokens=10**9), None),
    ],
)
def test_a_candidate_is_admitted_or_skipped_with_its_reason(
    state: ProviderState, facts: Facts, code: str | None
) -> None:
    verdict = decide(facts, fleet(state), routing(rule("fallback", "a")))
    (step,) = verdict.trace
    assert (step.outcome, step.code) == ("skipped" if code else "candidate", code or "")
    assert bool(step.reason) is bool(code)
    assert len(verdict.candidates) == (code is None)


def test_capabilities_go_by_the_models_name_where_its_own_provider_does_not_know() -> None:
    facts = Facts("m", frozenset({"vision"}))
    on = fleet(at("a"), at("b", ModelInfo("m", BLIND)))
    assert go(facts, on, routing(rule("fallback"))) == []
    told = fleet(at("a", ModelInfo("m", SIGHTED)), at("b", ModelInfo("m", BLIND)))
    assert go(facts, told, routing(rule("fallback"))) == ["a/m"]


def test_the_same_place_is_listed_once() -> None:
    by = routing(rule("fallback", "a"), rule("fallback", "a", n=1))
    verdict = decide(Facts("m"), fleet(at("a")), by)
    assert places(verdict) == ["a/m"]
    assert codes(verdict) == {"a/m": "repeated"}


def test_the_same_provider_with_another_model_is_another_place() -> None:
    by = routing(rule("fallback", "a"), rule("fallback", "a", n=1, rewrite_model="x"))
    assert go("m", fleet(at("a")), by) == ["a/m", "a/x"]


# --- what began local stays local -----------------------------------------------------------------

SICK = at("home", healthy=False, why="connection refused")
KEPT, LEFT = ["home/m"], ["home/m", "cloud/m"]


@pytest.mark.parametrize(
    ("home", "rules", "more", "expected"),
    [
        # the owner wrote both into one list
        (LOCAL, [rule("fallback", "home", "cloud")], {}, LEFT),
        (SICK, [rule("fallback", "home", "cloud")], {}, ["cloud/m"]),
        # all providers is not a list that anybody wrote
        (LOCAL, [rule("fallback")], {}, KEPT),
        (SICK, [rule("fallback")], {}, []),
        (LOCAL, [rule("fallback")], {"failover_to_remote": True}, LEFT),
        (SICK, [rule("fallback")], {"failover_to_remote": True}, ["cloud/m"]),
        # written out, but in another rule
        (LOCAL, [rule("fallback", "home"), rule("fallback", "cloud", n=1)], {}, KEPT),
        (SICK, [rule("fallback", "home"), rule("fallback", "cloud", n=1)], {}, []),
        (LOCAL, [rule("fallback", "home"), rule("price", "home", "cloud", n=1)], {}, KEPT),
        (
            LOCAL,
            [rule("fallback", "home"), rule("fallback", "cloud", n=1)],
            {"failover_to_remote": True},
            LEFT,
        ),
        # what began remote may go on anywhere
        (LOCAL, [rule("fallback", "cloud", "home")], {}, ["cloud/m", "home/m"]),
        (LOCAL, [rule("fallback", "cloud"), rule("fallback", "home", n=1)], {}, LEFT[::-1]),
        # a candidate that could not serve in good health either did not begin the walk
        (at("home", context_length=1), [rule("fallback")], {}, ["cloud/m"]),
        (at("home", context_length=1, healthy=False), [rule("fallback")], {}, ["cloud/m"]),
        (
            at("elsewhere"),
            [rule("fallback", "home"), rule("fallback", "cloud", n=1)],
            {},
            ["cloud/m"],
        ),
    ],
)
def test_what_began_local_stays_local(
    home: ProviderState, rules: list[RuleSpec], more: dict, expected: list[str]
) -> None:
    on = fleet(home, REMOTE)
    facts = Facts("m", size_tokens=100)
    assert go(facts, on, routing(*rules, **more)) == expected


def test_an_alias_is_a_list_that_the_owner_wrote() -> None:
    by = routing(aliases={"fast": ("home/m", "cloud/m")})
    assert go("fast", fleet(LOCAL, REMOTE), by) == LEFT
    assert go("fast", fleet(SICK, REMOTE), by) == ["cloud/m"]


def test_targets_are_a_list_that_the_owner_wrote() -> None:
    spec = rule("random", targets=(("home", "m"), ("cloud", "m")))
    for seed in range(8):
        assert sorted(go("m", fleet(LOCAL, REMOTE, seed=seed), routing(spec))) == sorted(LEFT)


def test_a_wish_for_a_local_provider_stays_local() -> None:
    by = routing(rule("fallback", "home", "cloud"))
    assert go(Facts("m", wish="home"), fleet(LOCAL, REMOTE), by) == KEPT
    assert go(Facts("m", wish="home"), fleet(SICK, REMOTE), by) == []
    assert go(Facts("m", wish="cloud"), fleet(LOCAL, REMOTE), by) == LEFT[::-1]


def test_a_named_local_provider_stays_local() -> None:
    by = routing(rule("fallback", "home", "cloud"))
    assert go("home/m", fleet(LOCAL, REMOTE), by) == KEPT
    assert go("cloud/m", fleet(LOCAL, REMOTE), by) == LEFT[::-1]


def test_a_remote_candidate_refused_for_leaving_says_so() -> None:
    verdict = decide(Facts("m"), fleet(LOCAL, REMOTE), routing(rule("fallback")))
    assert codes(verdict) == {"cloud/m": "remote"}
    assert "routers[0] fallback" in verdict.trace[-1].reason


# --- when nobody is left --------------------------------------------------------------------------


def refused(facts: Facts, on: Fleet, by: Routing) -> Failure:
    verdict = decide(facts, on, by)
    assert verdict.candidates == ()
    return no_candidate(facts, verdict, Fleet({}))


def test_without_any_candidate_the_original_words_are_said() -> None:
    failure = refused(Facts("m"), fleet(), routing(rule("tag", "a", tag="x")))
    assert (failure.kind, failure.message) == (
        "no_provider",
        "no provider configured for model 'm'",
    )


def test_the_skips_are_listed_with_their_reasons() -> None:
    by = routing(rule("fallback", "gone"), rule("fallback", "away", n=1))
    failure = refused(Facts("m"), fleet(), by)
    assert failure.kind == "no_provider"
    assert failure.message == (
        "no provider configured for model 'm': "
        "gone/m: not configured or without its key; away/m: not configured or without its key"
    )


def test_the_missing_capability_is_named() -> None:
    on = fleet(at("a", ModelInfo("m", BLIND)), at("b", ModelInfo("m", BLIND)))
    failure = refused(Facts("m", frozenset({"vision"})), on, routing(rule("fallback")))
    assert failure.kind == "unsupported"
    assert "'vision'" in failure.message
    assert "a/m: the model lacks 'vision'; b/m" in failure.message


def test_a_prompt_that_fits_nowhere_is_told_with_numbers_and_the_largest_context() -> None:
    on = fleet(at("a", context_length=100), at("b", context_length=200))
    failure = refused(Facts("m", size_tokens=1000), on, routing(rule("fallback")))
    assert failure.kind == "context_too_long"
    assert failure.message.startswith("prompt is too long: 1100 tokens > 200 maximum")


def test_who_cannot_be_asked_for_its_models_may_still_have_this_one() -> None:
    """A server that is being restarted must not make its models look misspelt."""
    down = at("home", reached=False, why="refused")
    on = fleet(down, at("other", "x"))
    for asked in (rule("discover"), rule("discover", "home")):
        verdict = decide(Facts("m"), on, routing(asked))
        failure = no_candidate(Facts("m"), verdict, Fleet({}))
        assert failure.kind == "overloaded"
        assert failure.message.endswith("'m': home/m: its models are not known: refused")
    for never in (at("home"), at("home", reached=True), at("home", "y", reached=False)):
        verdict = decide(Facts("m"), fleet(never), routing(rule("discover")))
        assert no_candidate(Facts("m"), verdict, Fleet({})).kind == "no_provider"
    assert not codes(decide(Facts("x"), on, routing(rule("discover"))))
    assert not codes(decide(Facts("m"), on, routing(rule("discover", "other"))))


def test_ill_health_is_not_the_clients_fault() -> None:
    failure = refused(Facts("m"), fleet(SICK, REMOTE), routing(rule("fallback")))
    assert failure.kind == "overloaded"
    assert failure.message.startswith("no provider is available for model 'm': home/m: unhealthy")
    assert "connection refused" in failure.message
    assert "cloud/m: remote" in failure.message


def test_different_reasons_stay_no_provider() -> None:
    on = fleet(at("a", ModelInfo("m", BLIND)))
    failure = refused(Facts("m", frozenset({"vision"})), on, routing(rule("fallback", "a", "gone")))
    assert failure.kind == "no_provider"


def test_a_long_list_and_a_long_name_are_shortened() -> None:
    by = routing(rule("fallback", *(f"p{i}" for i in range(50))))
    failure = refused(Facts("m" * 100_000), fleet(), by)
    assert "and 44 more" in failure.message
    assert len(failure.message) < 2000


# --- for every input ------------------------------------------------------------------------------

NAMES = st.sampled_from(["a", "b", "c", "d"])
MODELS = st.sampled_from(["m", "M", "m:latest", "a/m", "n", "embed", ""])
NEEDS = st.frozensets(st.sampled_from(["vision", "tools"]))
INFOS = st.builds(
    ModelInfo,
    name=MODELS,
    capabilities=st.none() | st.frozensets(st.sampled_from(["vision", "tools", "embedding"])),
    context_length=st.sampled_from([0, 10, 1000]),
    loaded=st.booleans(),
)
STATES = st.builds(
    lambda provider, infos, healthy: ProviderState(
        provider, None if infos is None else {info.name: info for info in infos}, healthy
    ),
    st.builds(
        Provider,
        name=NAMES,
        format=st.sampled_from(["openai", "ollama", "echo"]),
        local=st.booleans(),
        on_demand=st.booleans(),
        models=st.lists(MODELS, max_size=2).map(tuple),
        context_length=st.sampled_from([0, 10, 1000]),
        latency_ms=st.none() | st.just(5.0),
        cost_per_1m_tokens=st.none() | st.floats(0, 9),
    ),
    st.none() | st.lists(INFOS, max_size=3),
    st.booleans(),
)
FLEETS = st.builds(
    lambda states, seed: fleet(*states, seed=seed), st.lists(STATES, max_size=4), st.integers()
)
KINDS = [
    "prefix",
    "model",
    "tag",
    "price",
    "latency",
    "throughput",
    "discover",
    "random",
    "fallback",
]
RULE_LISTS = st.lists(
    st.builds(
        RuleSpec,
        type=st.sampled_from([*KINDS, "odd"]),
        where=st.just("?"),
        providers=st.lists(NAMES, max_size=3).map(tuple),
        match=st.just(("*",)),
        tag=st.just("t"),
        targets=st.lists(st.tuples(NAMES, MODELS), max_size=2).map(tuple),
        rewrite_model=st.none() | MODELS,
    ),
    max_size=4,
).map(lambda specs: [replace(s, where=f"routers[{i}] {s.type}") for i, s in enumerate(specs)])
ROUTINGS = st.builds(
    lambda rules, aliases, remote, implicit: Routing(tuple(rules), aliases, remote, implicit),
    RULE_LISTS,
    st.dictionaries(MODELS, st.lists(st.sampled_from(["a/m", "b/n", "x", "/"])).map(tuple)),
    st.booleans(),
    st.booleans(),
)
FACTS = st.builds(
    Facts,
    model=MODELS,
    needs=NEEDS,
    tags=st.sampled_from([(), ("t",)]),
    size_tokens=st.sampled_from([0, 100, 10**6]),
    forced=st.none() | NAMES,
    wish=st.none() | NAMES | st.just(""),
)


@given(FACTS, FLEETS, ROUTINGS)
def test_every_decision_keeps_the_laws(facts: Facts, on: Fleet, by: Routing) -> None:
    verdict = decide(facts, on, by)
    assert verdict == decide(facts, on, by)
    listed = places(verdict)
    assert len(listed) == len(set(listed))
    began_local = None
    admitted = []
    for step in verdict.trace:
        if step.outcome == "passed":
            assert step.reason
            continue
        state = on.states.get(step.provider)
        if step.outcome == "skipped":
            assert step.reason
            assert step.code
            if step.code == "health" and state is not None and state.provider.local:
                began_local = began_local or step.rule
            continue
        assert state is not None
        assert state.healthy
        candidate = verdict.candidates[len(admitted)]
        admitted.append(step)
        assert (step.provider, step.model, step.rule) == (
            candidate.provider,
            candidate.model,
            candidate.rule,
        )
        if state.provider.local:
            began_local = began_local or step.rule
        elif began_local is not None and not by.failover_to_remote:
            assert candidate.written_out
            assert candidate.rule == began_local
    assert len(admitted) == len(verdict.candidates)
    assert len(explain_lines(verdict)) == len(verdict.trace)
    lists_wanted(facts, on, by)
    if not verdict.candidates:
        assert no_candidate(facts, verdict, Fleet({})).message
