"""Each kind of rule, clause by clause."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmrouterd.model import Candidate, Facts, Fleet, ModelInfo, Provider, ProviderState, RuleSpec
from llmrouterd.route.rules import RULES, claims, find, known_models, why_passed


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
