"""`[[policies]]`."""

import pytest

from llmrouterd.config import parse
from llmrouterd.model import ConfigError, Policy

BASE = '[[providers]]\nname = "a"\nformat = "echo"\n[[providers]]\nname = "b"\nformat = "echo"\n'


def policies(text: str) -> tuple[Policy, ...]:
    return parse(BASE + text, "x.toml", {}).routing.policies


def problem(text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        policies("[[policies]]\n" + text)
    (one,) = caught.value.problems
    return one


def test_all_that_a_policy_may_say() -> None:
    text = """
[[policies]]
tag = "pii"
client = ["kid", "guest"]
model = "gpt-*"
allow = ["a"]
deny = ["b"]
require = "local"
networks = ["10.1.0.0/16", "fd00::/8"]
message = "it stays here"
[[policies]]
action = "block"
"""
    first, second = policies(text)
    assert first == Policy(
        "policies[0]",
        tags=("pii",),
        clients=("kid", "guest"),
        models=("gpt-*",),
        allow=("a",),
        deny=("b",),
        local=True,
        networks=("10.1.0.0/16", "fd00::/8"),
        message="it stays here",
    )
    assert second == Policy("policies[1]", block=True)


def test_none_at_all() -> None:
    assert policies("") == ()
    assert parse("policies = []\n" + BASE, "x.toml", {}).routing.policies == ()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('tag = "pii"', "forbids nothing: give allow, deny, require or action"),
        ('allow = ["c"]', 'there is no provider "c"'),
        ("allow = []", "must not be an empty list"),
        ('deny = ["A"]', 'there is no provider "A"'),
        ('require = "remote"', 'expected one of "local"'),
        ('action = "warn"', 'expected one of "block"'),
        ('deny = ["a"]\nnetworks = ["10.0.0.0/8"]', 'goes with require = "local"'),
        ('require = "local"\nnetworks = ["ten"]', 'expected a network like "10.1.0.0/16"'),
        ('require = "local"\nnetworks = ["10.1.0.1/16"]', "has host bits set"),
        ('tags = ["pii"]\naction = "block"', 'did you mean "tag"?'),
        ('tag = ""\naction = "block"', "must not be empty"),
    ],
)
def test_what_is_wrong_with_a_policy(text: str, said: str) -> None:
    assert said in problem(text)
