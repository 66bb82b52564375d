"""Each kind of rule, clause by clause."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmrouterd.model import (
    Candidate,
    Facts,
    Fleet,
    ModelInfo,
    Provider,
    ProviderState,
    RuleSpec,
    When,
)
from llmrouterd.route.rules import RULES, claims, find, known_models, seated, unmet, why_passed


def at(name: str, *models: str, fmt: str = "openai", **figures) -> ProviderState:
    listed = {model: ModelInfo(model) for model in models} if models else None
    return ProviderState(Provider(name, fmt, **figures), listed)  # type: ignore[arg-type]


def fleet(*states: ProviderState, seed: int = 0) -> Fleet:
    return Fleet({state.provider.name: state for state in states}, seed=seed)


ABC = fleet(
    at("a", cost_per_1m_tokens=3, latency_ms=300, throughput_tokens_per_sec=10, quality=90),
    at("b", cost_per_1m_tokens=1, latency_ms=100, throughput_tokens_per_sec=90, quality=50),
    at("c", cost_per_1m_tokens=2, quality=50),
)


def run(spec: RuleSpec, facts: Facts | str = "m", on: Fleet = ABC) -> list[str]:
    known = Facts(facts) if isinstance(facts, str) else facts
    return [f"{c.provider}/{c.model}" for c in RULES[spec.type](spec, known, on)]


def rule(kind: str, *providers: str, **more) -> RuleSpec:
    return RuleSpec(kind, f"routers[0] {kind}", providers, **more)


@pytest.mark.parametrize(
    ("spec", "model", "found"),
    [
        (rule("prefix", "a", model_prefix="gpt-"), "gpt-4o", ["a/gpt-4o"]),
        (rule("prefix", "a", model_prefix="gpt-"), "GPT-4o", []),
        (rule("prefix", "a", model_prefix="gpt-"), "my-gpt-4o", []),
        (rule("prefix", "a", model_prefix=""), "anything", ["a/anything"]),
        (rule("prefix", "a", model_prefix="gpt-", rewrite_model="x"), "gpt-4o", ["a/x"]),
        (rule("prefix", "gone", model_prefix="gpt-"), "gpt-4o", ["gone/gpt-4o"]),
        (rule("model", "a", match=("gpt-4o",)), "gpt-4o", ["a/gpt-4o"]),
        (rule("model", "a", match=("gpt-4o",)), "gpt-4o-mini", []),
        (rule("model", "a", match=("x", "gpt-*")), "gpt-4o-mini", ["a/gpt-4o-mini"]),
        (rule("model", "a", match=("odd[1]",)), "odd[1]", ["a/odd[1]"]),
        (rule("model", "a", match=("*",), rewrite_model="x"), "m", ["a/x"]),
        (rule("model", match=("*",), targets=(("b", "y"), ("c", ""))), "m", ["b/y", "c/m"]),
        (rule("model", "a"), "m", []),
    ],
)
def test_rules_by_name(spec: RuleSpec, model: str, found: list[str]) -> None:
    assert run(spec, model) == found


def test_a_tag_rule_is_for_requests_with_that_tag() -> None:
    spec = rule("tag", "a", tag="code")
    assert run(spec, Facts("m", tags=("x", "code"))) == ["a/m"]
    assert run(spec, Facts("m", tags=("x",))) == []
    rewriting = rule("tag", "a", tag="code", rewrite_model="coder")
    assert run(rewriting, Facts("m", tags=("code",))) == ["a/coder"]


@pytest.mark.parametrize(
    ("spec", "found"),
    [
        (rule("price"), ["b/m", "c/m", "a/m"]),
        (rule("price", "a", "c"), ["c/m", "a/m"]),
        (rule("price", max_cost_per_1m_tokens=2), ["b/m", "c/m"]),
        (rule("price", max_cost_per_1m_tokens=0.5), []),
        (rule("price", "a", "gone"), ["a/m", "gone/m"]),
        (rule("latency"), ["b/m", "a/m"]),
        (rule("latency", max_latency_ms=100), ["b/m"]),
        (rule("latency", max_latency_ms=99), []),
        (rule("latency", "c"), []),
        (rule("throughput"), ["b/m", "a/m"]),
        (rule("throughput", min_tokens_per_sec=90), ["b/m"]),
        (rule("throughput", min_tokens_per_sec=91), []),
        (rule("throughput", "c", "a"), ["a/m"]),
        (rule("fallback"), ["a/m", "b/m", "c/m"]),
        (rule("fallback", quality_bias=0.0), ["b/m", "c/m", "a/m"]),
        (rule("fallback", "c", "b", quality_bias=1.0), ["c/m", "b/m"]),
        (rule("fallback", "b", rewrite_model="x"), ["b/x"]),
        (rule("fallback", "b", "b"), ["b/m"]),
    ],
)
def test_rules_by_figures(spec: RuleSpec, found: list[str]) -> None:
    assert run(spec) == found


def test_discover_names_who_really_has_the_model() -> None:
    on = fleet(at("a", "x", "y"), at("b", "Y"), at("c"), at("d", "y:latest", fmt="ollama"))
    assert run(rule("discover"), "y", on) == ["a/y", "b/Y", "d/y:latest"]
    assert run(rule("discover", "b"), "y", on) == ["b/Y"]
    assert run(rule("discover", "c"), "y", on) == []
    assert run(rule("discover", "a"), "z", on) == []
    assert run(rule("discover", "gone", "a"), "y", on) == ["a/y", "gone/y"]


@pytest.mark.parametrize(
    ("fmt", "listed", "asked", "meant"),
    [
        ("openai", "Llama", "Llama", "Llama"),
        ("openai", "Llama", "llama", "Llama"),
        ("openai", "llama:latest", "llama", None),
        ("ollama", "llama:latest", "llama", "llama:latest"),
        ("ollama", "Llama:latest", "llama", "Llama:latest"),
        ("ollama", "llama", "llama:latest", "llama"),
        ("ollama", "llama:8b", "llama", None),
        ("ollama", "llama:8b:latest", "llama:8b", None),
        ("ollama", "hf.co:80/x/llama:latest", "hf.co:80/x/llama", "hf.co:80/x/llama:latest"),
    ],
)
def test_how_a_name_finds_its_model(fmt: str, listed: str, asked: str, meant: str | None) -> None:
    info = find(at("a", listed, fmt=fmt), asked)
    assert (info.name if info else None) == meant


def test_the_exact_name_wins_over_another_case() -> None:
    info = find(at("a", "LLAMA", "llama"), "llama")
    assert info is not None
    assert info.name == "llama"


def test_a_static_list_stands_in_until_the_models_are_discovered() -> None:
    waiting = at("a", **{"models": ("x",)})  # noqa: PIE804 (the provider's field, not ours)
    assert list(known_models(waiting) or ()) == ["x"]
    asked = ProviderState(waiting.provider, {})
    assert known_models(asked) == {}
    assert known_models(at("b")) is None


def test_random_is_repeatable_for_a_seed_and_varies_between_seeds() -> None:
    states = [at(name) for name in "abcdefgh"]
    drawn = {tuple(run(rule("random"), on=fleet(*states, seed=seed))) for seed in range(20)}
    again = {tuple(run(rule("random"), on=fleet(*states, seed=seed))) for seed in range(20)}
    assert drawn == again
    assert len(drawn) > 10


def test_random_candidates_ignore_providers_and_rewrite_model() -> None:
    spec = rule("random", "a", rewrite_model="x", targets=(("b", "y"), ("c", "z")))
    assert sorted(run(spec)) == ["b/y", "c/z"]


def test_random_takes_the_providers_written_or_all() -> None:
    assert sorted(run(rule("random", "a", "c", rewrite_model="x"))) == ["a/x", "c/x"]
    assert sorted(run(rule("random"))) == ["a/m", "b/m", "c/m"]


@given(st.integers(), st.lists(st.sampled_from("abcdef"), unique=True, min_size=1))
def test_random_is_a_permutation(seed: int, providers: list[str]) -> None:
    on = fleet(seed=seed)
    spec = rule("random", *providers)
    first = run(spec, on=on)
    assert sorted(first) == sorted(f"{name}/m" for name in providers)
    assert first == run(spec, on=on)


@pytest.mark.parametrize(
    ("spec", "written"),
    [
        (rule("prefix", "a", model_prefix=""), True),
        (rule("model", "a", match=("*",)), True),
        (rule("model", match=("*",), targets=(("a", ""),)), True),
        (rule("price", "a"), True),
        (rule("price"), False),
        (rule("latency", "a"), True),
        (rule("latency"), False),
        (rule("throughput"), False),
        (rule("fallback", "a"), True),
        (rule("fallback"), False),
        (rule("random", "a"), True),
        (rule("random"), False),
        (rule("random", targets=(("a", "m"),)), True),
        (rule("discover", "a"), True),
        (rule("discover"), False),
    ],
)
def test_written_out_means_that_the_owner_wrote_the_provider_in_this_rule(
    spec: RuleSpec, written: bool
) -> None:
    on = fleet(at("a", "m", latency_ms=1, throughput_tokens_per_sec=1))
    found = RULES[spec.type](spec, Facts("m"), on)
    assert list(found) == [Candidate("a", "m", spec.where, written)]


@pytest.mark.parametrize("kind", sorted(RULES))
def test_every_rule_that_passes_has_its_words(kind: str) -> None:
    words = why_passed(rule(kind, tag="t", match=("x",), model_prefix="p"), Facts("m"))
    assert words
    assert "not known" not in words


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        (rule("price", max_cost_per_1m_tokens=0.5), "no provider costs at most 0.5"),
        (rule("latency"), "no provider declares a latency"),
        (rule("latency", max_latency_ms=5), "no provider declares a latency of at most 5 ms"),
        (
            rule("throughput", min_tokens_per_sec=5),
            "no provider declares a throughput of at least 5",
        ),
        (rule("tag", tag="code"), "no classifier set the tag 'code'"),
        (rule("odd"), "rules of type 'odd' are not known here"),
    ],
)
def test_the_words_name_the_limit(spec: RuleSpec, words: str) -> None:
    assert why_passed(spec, Facts("m")) == words


@pytest.mark.parametrize(
    ("spec", "claimed"),
    [
        (rule("prefix", model_prefix="openai/"), True),
        (rule("prefix", model_prefix="open"), False),
        (rule("prefix", model_prefix="other/"), False),
        (rule("model", match=("openai/gpt*",)), True),
        (rule("model", match=("*",)), False),
        (rule("fallback"), False),
    ],
)
def test_a_rule_claims_names_with_a_slash_only_when_it_has_one_itself(
    spec: RuleSpec, claimed: bool
) -> None:
    assert claims(spec, "openai/gpt-4o") is claimed


# --- in turn, by load, by what was seen, by size --------------------------------------------------


def test_round_robin_goes_in_turn_and_names_everybody() -> None:
    spec = rule("round_robin", "a", "b", "c")
    firsts = [run(spec, on=replace(ABC, turns={spec.where: turn}))[0] for turn in range(4)]
    assert firsts == ["a/m", "b/m", "c/m", "a/m"]
    assert run(spec, on=replace(ABC, turns={spec.where: 2})) == ["c/m", "a/m", "b/m"]


def test_round_robin_over_candidates_with_models_of_their_own() -> None:
    spec = rule("round_robin", targets=(("a", "x"), ("b", "")))
    assert run(spec, on=replace(ABC, turns={spec.where: 1})) == ["b/m", "a/x"]
    assert run(rule("round_robin"), on=fleet()) == []


def busy(**in_flight: int) -> Fleet:
    states = {n: replace(s, in_flight=in_flight.get(n, 0)) for n, s in ABC.states.items()}
    return replace(ABC, states=states)


def test_least_busy_is_whoever_has_the_fewest_in_flight() -> None:
    assert run(rule("least_busy"), on=busy(a=3, b=1, c=2)) == ["b/m", "c/m", "a/m"]
    spec = rule("least_busy", targets=(("a", "x"), ("b", "y"), ("a", "z")))
    assert run(spec, on=busy(a=3, b=1)) == ["b/y", "a/x", "a/z"]


def test_who_fails_a_lot_is_not_idle() -> None:
    on = busy(a=3, b=0, c=2)
    failing = replace(on.states["b"], failing=0.8)
    on = replace(on, states={**on.states, "b": failing})
    assert run(rule("least_busy"), on=on) == ["c/m", "a/m", "b/m"]


def seen(**figures: dict) -> Fleet:
    states = {n: replace(s, **figures.get(n, {})) for n, s in ABC.states.items()}
    return replace(ABC, states=states)


def test_what_was_seen_takes_over_from_what_was_declared() -> None:
    spec = rule("latency", measured=True)
    assert run(spec) == ["b/m", "a/m", "c/m"]  # declared; c has no figure and comes last
    on = seen(c={"first_token_ms": 50}, b={"first_token_ms": 900})
    assert run(spec, on=on) == ["c/m", "a/m", "b/m"]
    assert run(rule("latency", measured=True, max_latency_ms=400), on=on) == ["c/m", "a/m"]
    assert run(rule("latency"), on=on) == ["b/m", "a/m"]
    fast = seen(a={"tokens_per_s": 500.0})
    assert run(rule("throughput", measured=True), on=fast) == ["a/m", "b/m", "c/m"]


def test_a_quick_failure_is_not_quick() -> None:
    on = seen(b={"first_token_ms": 1, "failing": 0.9})
    assert run(rule("latency", measured=True), on=on) == ["a/m", "c/m", "b/m"]


def test_warm_is_whoever_has_the_model_in_memory() -> None:
    warm = ModelInfo("m", loaded=True)
    on = Fleet({"a": at("a", "m"), "b": replace(at("b", "m"), models={"m": warm})})
    assert run(rule("warm", "a", "b"), on=on) == ["b/m"]
    assert run(rule("warm", "a"), on=on) == []


@pytest.mark.parametrize(("size", "found"), [(9, []), (10, ["a/x"]), (20, ["a/x"]), (21, [])])
def test_context_is_by_the_size_of_the_prompt(size: int, found: list[str]) -> None:
    spec = rule("context", "a", min_tokens=10, max_tokens=20, rewrite_model="x")
    assert run(spec, Facts("m", size_tokens=size)) == found
    assert ("21 tokens" in why_passed(spec, Facts("m", size_tokens=21))) is True


def test_weights_draw_the_order_by_lot() -> None:
    spec = rule("model", match=("*",), targets=(("a", ""), ("b", "")), weights=(3.0, 1.0))
    firsts = [run(spec, on=replace(ABC, seed=seed))[0] for seed in range(4000)]
    assert 0.72 < firsts.count("a/m") / len(firsts) < 0.78
    assert run(spec, on=replace(ABC, seed=7)) == run(spec, on=replace(ABC, seed=7))
    last = rule("random", targets=(("a", "x"), ("b", "y")), weights=(0.0, 1.0))
    assert {tuple(run(last, on=replace(ABC, seed=s))) for s in range(50)} == {("b/y", "a/x")}


@pytest.mark.parametrize(
    ("when", "asked"),
    [
        (When(), True),
        (When(tags=("x", "code")), True),
        (When(tags=("x",)), False),
        (When(clients=("ann",)), True),
        (When(clients=("bob",)), False),
        (When(stream=True), True),
        (When(stream=False), False),
        (When(capabilities=("vision", "tools")), True),
        (When(capabilities=("audio",)), False),
        (When(tags=("code",), stream=False), False),
    ],
)
def test_a_condition(when: When, asked: bool) -> None:
    facts = Facts(
        "m", tags=("code",), client="ann", stream=True, needs=frozenset({"tools", "vision"})
    )
    assert (unmet(when, facts) == "") is asked


def test_a_conversation_is_offered_its_seat_first() -> None:
    found = [Candidate(name, "m", "r") for name in "abc"]
    assert [c.provider for c in seated(found, ("b", "m"))] == ["b", "a", "c"]
    assert [c.provider for c in seated(found, ("b", "other"))] == ["a", "b", "c"]
    assert [c.provider for c in seated(found, None)] == ["a", "b", "c"]
