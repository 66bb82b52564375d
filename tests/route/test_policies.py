"""What the owner forbids: who is bound, several at once, and the candidates that stay."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmrouterd.model import ANY_TAG, Facts, ModelInfo, Policy, Provider
from llmrouterd.route.policies import FREE, bounds, forbids, might_bind, runs_elsewhere, strictest

HOME, CLOUD = Provider("home", "ollama"), Provider("cloud", "openai", local=False)


def policy(n: int = 0, **more) -> Policy:
    return Policy(f"policies[{n}]", **more)


def refusal(provider: Provider, *policies: Policy, model: str = "m", facts: Facts | None = None):
    return forbids(bounds(facts or Facts("m"), policies), provider, model, None)


def test_without_policies_nothing_is_bound() -> None:
    assert bounds(Facts("m"), ()) is FREE
    assert strictest(()) is FREE
    assert refusal(CLOUD) == ""


def test_one_that_names_nobody_binds_every_request() -> None:
    assert "keeps the request on this network" in refusal(CLOUD, policy(local=True))
    assert refusal(HOME, policy(local=True)) == ""


def test_all_that_a_policy_names_must_be_so() -> None:
    both = policy(tags=("pii", "secret"), clients=("kid",), models=("gpt-*",), deny=("cloud",))
    right = Facts("gpt-9", tags=("secret",), client="kid")
    assert refusal(CLOUD, both, facts=right) == "policies[0] denies it"
    for other in (
        Facts("o3", tags=("secret",), client="kid"),
        Facts("gpt-9", tags=("code",), client="kid"),
        Facts("gpt-9", tags=("secret",), client="ann"),
    ):
        assert refusal(CLOUD, both, facts=other) == ""


def test_allow_and_deny_of_several_hold_all_at_once() -> None:
    allow, deny = policy(allow=("home", "cloud")), policy(1, deny=("cloud",))
    assert refusal(HOME, allow, deny) == ""
    assert refusal(CLOUD, allow, deny) == "policies[1] denies it"
    other = Provider("other", "openai")
    assert refusal(other, allow, deny) == "policies[0] allows only home, cloud"


def test_the_owner_s_own_words_stand_behind_the_reason() -> None:
    assert refusal(CLOUD, policy(deny=("cloud",), message="ask Ann")) == (
        "policies[0] denies it (ask Ann)"
    )


def test_a_failed_classifier_binds_the_policies_for_tags_only() -> None:
    unseen = Facts("m", client="ann", unknown_tags=frozenset({"pii"}))
    assert refusal(CLOUD, policy(tags=("pii",), local=True), facts=unseen)
    assert refusal(CLOUD, policy(tags=("code",), local=True), facts=unseen) == ""
    kids = policy(tags=("pii",), clients=("kid",), local=True)
    assert refusal(CLOUD, kids, facts=unseen) == ""


@pytest.mark.parametrize(
    "spelling", ["secret-7b", "SECRET-7b", "cloud/secret-7b", "Cloud/Secret-7B", "secret-7b:latest"]
)
def test_no_spelling_of_a_models_name_leads_past_a_policy(spelling: str) -> None:
    here = policy(models=("Secret-*b",), local=True)
    assert refusal(CLOUD, here, facts=Facts(spelling))
    assert refusal(CLOUD, here, facts=Facts("public-7b")) == ""


@pytest.mark.parametrize("tag", ["private", "PRIVATE", "Private"])
def test_a_tag_in_any_case_binds(tag: str) -> None:
    here = policy(tags=("Private",), local=True)
    assert refusal(CLOUD, here, facts=Facts("m", tags=(tag,)))
    assert refusal(CLOUD, here, facts=Facts("m", unknown_tags=frozenset({tag})))
    assert refusal(CLOUD, here, facts=Facts("m", tags=("privat",))) == ""


def test_a_cloud_model_of_a_local_server_is_not_local() -> None:
    assert "runs elsewhere" in refusal(HOME, policy(local=True), model="gpt-oss:120b-cloud")
    assert refusal(HOME, policy(deny=("cloud",)), model="gpt-oss:120b-cloud") == ""
    for model in ("glm-4.7:cloud", "GLM:Cloud", "deepseek-v3.1:671b-cloud"):
        assert runs_elsewhere(HOME, model, None)
    assert not runs_elsewhere(HOME, "cloudy:7b", None)
    assert not runs_elsewhere(Provider("e", "echo"), "x:cloud", None)
    told = ModelInfo("mine", native={"remote_host": "https://ollama.com:443"})
    assert runs_elsewhere(HOME, "mine", told)


def test_a_block_leaves_nobody() -> None:
    bound = bounds(Facts("m"), [policy(local=True), policy(1, block=True, message="not here")])
    assert (bound.blocked, bound.blocker) == ("not here", "policies[1]")


def test_networks_of_several_are_those_they_have_in_common() -> None:
    wide = policy(local=True, networks=("10.0.0.0/8", "fd00::/8"))
    narrow = policy(1, local=True, networks=("10.1.0.0/16", "192.168.0.0/16"))
    assert bounds(Facts("m"), [wide, narrow, policy(2, local=True)]).networks == ("10.1.0.0/16",)
    apart = policy(2, local=True, networks=("172.16.0.0/12",))
    bound = bounds(Facts("m"), [wide, apart])
    assert "no network in common" in bound.blocked
    assert bound.blocker == "policies[2]"


TAGS = st.lists(st.sampled_from("abc"), max_size=2).map(tuple)
POLICIES = st.builds(
    Policy,
    st.sampled_from(["policies[0]", "policies[1]"]),
    tags=TAGS,
    clients=TAGS,
    allow=st.sampled_from([(), ("home",), ("cloud",)]),
    deny=st.sampled_from([(), ("home",), ("cloud",)]),
    local=st.booleans(),
    block=st.booleans(),
)


@given(st.lists(POLICIES, max_size=4), TAGS, st.sampled_from(["", "a", "b"]))
def test_another_policy_or_another_tag_never_opens_anything(policies, tags, client) -> None:
    facts = Facts("m", tags=tags, client=client)
    for provider in (HOME, CLOUD):
        for fewer in (policies[:i] + policies[i + 1 :] for i in range(len(policies))):
            if forbids(bounds(facts, fewer), provider, "m", None):
                assert forbids(bounds(facts, policies), provider, "m", None)
        strict = strictest(policies)
        if forbids(bounds(facts, policies), provider, "m", None):
            assert forbids(strict, provider, "m", None)
            assert forbids(might_bind(policies, client), provider, "m", None)
        unseen = Facts("m", client=client, unknown_tags=frozenset({ANY_TAG}))
        if forbids(bounds(facts, policies), provider, "m", None):
            assert forbids(bounds(unseen, policies), provider, "m", None)


def test_of_a_request_whose_client_alone_is_known_other_clients_policies_are_left_out() -> None:
    policies = [
        Policy("tag", tags=("t",), local=True),
        Policy("model", models=("x",), deny=("a",)),
        Policy("ann", clients=("ann",), block=True),
    ]
    assert [p.where for p in might_bind(policies, "bob").policies] == ["tag", "model"]
    assert might_bind(policies, "ann").blocker == "ann"
    assert might_bind((), "ann") is FREE


def test_the_name_that_was_asked_for_binds_where_another_model_is_to_serve() -> None:
    policies = [Policy("p", models=("finance",), local=True)]
    assert bounds(Facts("gpt", asked="finance"), policies).local == "p"
    assert bounds(Facts("finance", asked="gpt"), policies).local == "p"
    assert bounds(Facts("gpt", asked="other"), policies) == FREE
