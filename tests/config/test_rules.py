"""`[[routers]]` and `[models]`."""

import pytest

from llmrouterd.config import parse
from llmrouterd.model import ConfigError, Routing, RuleSpec, When

BASE = """
[[providers]]
name = "a"
format = "echo"
[[providers]]
name = "b/c"
format = "echo"
[[providers]]
name = "keyless"
format = "openai"
base_url = "https://x.example"
api_key_env = "NOT_THERE"
"""


def routing(text: str) -> Routing:
    return parse(BASE + text, "x.toml", {}).routing


def rule(text: str) -> RuleSpec:
    return routing("[[routers]]\n" + text).rules[0]


def problems(text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        routing(text)
    return str(caught.value)


@pytest.mark.parametrize(
    ("text", "spec"),
    [
        (
            'type = "prefix"\nmodel_prefix = "gpt-"\nprovider = "a"\nrewrite_model = "m"',
            RuleSpec("prefix", "", ("a",), model_prefix="gpt-", rewrite_model="m"),
        ),
        (
            'type = "tag"\ntag = "code"\nprovider = "keyless"',
            RuleSpec("tag", "", ("keyless",), tag="code"),
        ),
        (
            'type = "model"\nmatch = "q*"\nprovider = "a"',
            RuleSpec("model", "", ("a",), match=("q*",)),
        ),
        (
            'type = "model"\nmatch = ["x", "y"]\n'
            'targets = [{ provider = "a", model = "m" }, { provider = "b/c" }]',
            RuleSpec("model", "", match=("x", "y"), targets=(("a", "m"), ("b/c", ""))),
        ),
        (
            'type = "price"\nmax_cost_per_1m_tokens = 1',
            RuleSpec("price", "", max_cost_per_1m_tokens=1.0),
        ),
        (
            'type = "latency"\nproviders = ["a"]\nmax_latency_ms = 9.5',
            RuleSpec("latency", "", ("a",), max_latency_ms=9.5),
        ),
        (
            'type = "throughput"\nmin_tokens_per_sec = 3',
            RuleSpec("throughput", "", min_tokens_per_sec=3.0),
        ),
        ('type = "discover"\nprovider = "a"', RuleSpec("discover", "", ("a",))),
        ('type = "discover"\nproviders = ["a"]', RuleSpec("discover", "", ("a",))),
        ('type = "discover"', RuleSpec("discover", "")),
        ('type = "random"', RuleSpec("random", "")),
        (
            'type = "random"\ncandidates = [{ provider = "a", model = "m" }]',
            RuleSpec("random", "", targets=(("a", "m"),)),
        ),
        (
            'type = "fallback"\nproviders = []\nquality_bias = 1\nrewrite_model = "m"',
            RuleSpec("fallback", "", quality_bias=1.0, rewrite_model="m"),
        ),
    ],
)
def test_a_rule_of_each_type(text: str, spec: RuleSpec) -> None:
    got = rule(text)
    assert got.where == f"routers[0] {spec.type}"
    assert got == RuleSpec(**{**{f: getattr(spec, f) for f in spec.__slots__}, "where": got.where})


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("x = 1", 'x.toml:13: routers[0]: the key "type" is missing: one of'),
        ('type = "fallbck"', 'did you mean "fallback"?'),
        ("type = 3", 'expected one of "prefix",'),
        ('type = "context"\nprovider = "e"', "give min_tokens or max_tokens, or both"),
        (
            'type = "context"\nprovider = "e"\nmin_tokens = 5\nmax_tokens = 4',
            "max_tokens: is below min_tokens = 5: no prompt is both",
        ),
        ('type = "fallback"\nwhen = { tag = "x" }', "when.tag: unknown key"),
        ('type = "fallback"\nwhen = { stream = "yes" }', "when.stream"),
        ('type = "tag"\ntag = "x"', 'the key "provider" is missing'),
        ('type = "tag"\ntag = ""\nprovider = "a"', "tag: must not be empty"),
        (
            'type = "price"\nproviders = ["a", "zz"]',
            'routers[0].providers[1]: there is no provider "zz"',
        ),
        ('type = "price"\nmax_cost_per_1m_tokens = -1', "of at least 0"),
        ('type = "price"\nquality_bias = 1', "quality_bias: unknown key"),
        ('type = "fallback"\nquality_bias = 2', "from 0 to 1"),
        ('type = "fallback"\nhedge_after_ms = -1', "hedge_after_ms: "),
        ('type = "fallback"\nretry_on_tags = [""]', "retry_on_tags: must not hold an empty text"),
        ('type = "random"\nweight = [1]', "weight: unknown key"),
        ('type = "discover"\nprovider = "a"\nproviders = ["a"]', "either provider or providers"),
        ('type = "model"\nmatch = "x"', "either provider or targets"),
        ('type = "model"\nmatch = []\nprovider = "a"', "match: must not be an empty list"),
        (
            'type = "model"\nmatch = "x"\nrewrite_model = "y"\ntargets = [{ provider = "a" }]',
            "each of the targets names its own model",
        ),
        (
            'type = "model"\nmatch = "x"\ntargets = [{ provider = "a", weight = -2 }]',
            "targets[0].weight",
        ),
        ('type = "random"\ncandidates = [{ provider = "a" }]', 'the key "model" is missing'),
        (
            'type = "random"\ncandidates = [\n{ provider = "zz", model = "m" }]',
            'x.toml:16: routers[0].candidates[0].provider: there is no provider "zz"',
        ),
    ],
)
def test_a_wrong_rule(text: str, said: str) -> None:
    assert said in problems("[[routers]]\n" + text)


def test_a_rule_may_say_what_is_off() -> None:
    rule('type = "latency"\nmeasured = false\nsticky = false\nhedge_after_ms = 0')


def test_hedging_and_tags_go_with_any_type() -> None:
    found = rule('type = "latency"\nhedge_after_ms = 800\nretry_on_tags = ["refusal"]')
    assert (found.hedge_after_ms, found.retry_on_tags) == (800, ("refusal",))


@pytest.mark.parametrize("classifier", ["", "\n[response_classifiers.refusal]\nenabled = true"])
def test_tags_that_no_classifier_can_set_are_warned_of(classifier: str) -> None:
    text = '[[routers]]\ntype = "fallback"\nretry_on_tags = ["refusal"]'
    config = parse(BASE + text + classifier, "x.toml", {})
    said = [w for w in config.warnings if "no response classifier is enabled" in w]
    assert len(said) == (0 if classifier else 1)


def test_candidates_leave_the_rest_of_a_random_rule_aside() -> None:
    text = '[[routers]]\ntype = "random"\nproviders = ["a"]\n'
    text += 'candidates = [{ provider = "a", model = "m" }]'
    config = parse(BASE + text, "x.toml", {})
    assert "do nothing" in config.warnings[-1]


def test_without_rules_the_built_in_chain_applies() -> None:
    assert routing("").implicit
    assert not routing('[[routers]]\ntype = "discover"').implicit


def test_aliases() -> None:
    aliases = routing('[models]\ns = "a/m"\n"gpt-4.1" = ["b/c/x/y", "keyless/z"]').aliases
    assert aliases == {"s": ("a/m",), "gpt-4.1": ("b/c/x/y", "keyless/z")}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('gpt-4.1 = "a/m"', "models.gpt-4: a name with a dot in it stands in quotes"),
        ('x = "m"', 'expected "provider/model", got "m"'),
        ('x = "a/"', 'expected "provider/model", got "a/"'),
        ('x = "zz/m"', 'there is no provider "zz"'),
        ("x = 3", 'expected "provider/model" or a list of such, got 3'),
        ("x = [3]", 'expected "provider/model" or a list of such'),
        ("x = []", "must not be empty"),
        ('"" = "a/m"', "must not be empty"),
    ],
)
def test_a_wrong_alias(text: str, said: str) -> None:
    assert said in problems("[models]\n" + text)


def test_the_keys_that_every_rule_may_have() -> None:
    text = 'type = "fallback"\nsticky = true\nwhen = { tags = ["a", "b"], client = "ann", stream = false }'
    got = rule(text)
    assert got.sticky
    assert got.when == When(tags=("a", "b"), clients=("ann",), stream=False)
    assert rule('type = "fallback"').when is None


def test_weights_where_one_has_a_weight_the_others_have_1() -> None:
    targets = 'targets = [{ provider = "a", weight = 2.5 }, { provider = "a" }]'
    assert rule(f'type = "model"\nmatch = "x"\n{targets}').weights == (2.5, 1.0)
    plain = 'targets = [{ provider = "a" }, { provider = "a" }]'
    assert rule(f'type = "model"\nmatch = "x"\n{plain}').weights == ()


def test_rules_by_size_and_by_what_was_seen() -> None:
    got = rule('type = "context"\nprovider = "a"\nmin_tokens = 10\nmax_tokens = 20')
    assert (got.providers, got.min_tokens, got.max_tokens) == (("a",), 10, 20)
    assert rule('type = "latency"\nmeasured = true').measured
