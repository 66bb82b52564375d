"""`check --online`: models that the file names and nobody has, and how answers are shown."""

import json

import pytest

from llmrouterd.commands import online
from llmrouterd.commands.online import Answers, Missing, as_json, as_text, missing, named
from llmrouterd.config import parse
from llmrouterd.model import Provider
from llmrouterd.ops.survey import Finding

PROVIDERS = """
[[providers]]
name = "ollama"
format = "ollama"
base_url = "http://localhost:11434"
[[providers]]
name = "cloud"
format = "openai"
base_url = "https://api.example/v1"
[[providers]]
name = "e"
format = "echo"
[[providers]]
name = "gone"
format = "openai"
base_url = "https://b.example/v1"
api_key_env = "NOT_SET"
"""
RULES = """
[[routers]]
type = "prefix"
model_prefix = "claude-"
provider = "cloud"
rewrite_model = "gpt-b"
[[routers]]
type = "model"
match = ["gpt-a", "gpt-z", "any*"]
provider = "cloud"
[[routers]]
type = "model"
match = "x"
targets = [{ provider = "ollama", model = "llama" }, { provider = "e", model = "whatever" }]
[[routers]]
type = "random"
rewrite_model = "nowhere"
[models]
small = ["ollama/Llama:latest", "cloud/gpt-c", "gone/m"]
"""


def answers(*found: Finding, text: str = PROVIDERS + RULES) -> Answers:
    config = parse(text, "x.toml", {})
    return Answers(found, config.skipped, tuple(missing(config, found)))


def findings(cloud: tuple[str, ...] | None = ("gpt-a", "gpt-b")) -> tuple[Finding, ...]:
    config = parse(PROVIDERS, "x.toml", {})
    lists = {"ollama": ("llama:latest",), "cloud": cloud, "e": ("echo",)}
    return tuple(Finding(p, "ok", ms=12.34, models=lists[p.name]) for p in config.providers)


def test_what_the_file_names() -> None:
    found = list(named(parse(PROVIDERS + RULES, "x.toml", {})))
    assert [(provider, model) for _, provider, model in found] == [
        ("ollama", "Llama:latest"),
        ("cloud", "gpt-c"),
        ("gone", "m"),
        ("cloud", "gpt-b"),
        ("cloud", "gpt-a"),
        ("cloud", "gpt-z"),
        ("ollama", "llama"),
        ("e", "whatever"),
        ("", "nowhere"),
    ]


def test_models_that_are_not_there() -> None:
    found = answers(*findings())
    assert [(each.provider, each.model) for each in found.missing] == [
        ("cloud", "gpt-c"),
        ("gone", "m"),
        ("cloud", "gpt-z"),
        ("", "nowhere"),
    ]
    whys = {each.model: each.why for each in found.missing}
    assert whys["gpt-c"].startswith("'cloud' does not have it; did you mean 'gpt-")
    assert "the variable NOT_SET is not set" in whys["m"]
    assert whys["nowhere"] == "no provider has it"
    assert not found.well


def test_where_the_list_is_not_known_nothing_is_missing() -> None:
    found = answers(*findings(cloud=None))
    assert [each.model for each in found.missing] == ["m"]


def test_who_has_it_instead_is_told() -> None:
    text = PROVIDERS + '[models]\nsmall = "cloud/llama"\n'
    (each,) = answers(*findings(), text=text).missing
    assert each.why == "'cloud' does not have it; ollama has"


def test_the_owner_s_list_goes_before_the_server_s() -> None:
    listed = PROVIDERS.replace('api.example/v1"', 'api.example/v1"\nmodels = ["mine"]')
    text = listed + '[models]\nsmall = ["cloud/mine", "cloud/gpt-a"]\n'
    config = parse(text, "x.toml", {})
    found = tuple(Finding(p, "ok", models=("gpt-a", "llama")) for p in config.providers)
    assert [each.model for each in missing(config, found)] == ["gpt-a"]


def test_a_classifier_s_model_counts() -> None:
    text = PROVIDERS + '[classifiers.llm]\nenabled = true\nprovider = "ollama"\nmodel = "tiny"\n'
    text += 'labels = { a = "b", c = "d" }\n'
    (each,) = answers(*findings(), text=text).missing
    assert (each.where, each.model) == ("classifiers.llm", "tiny")


PROVIDER = Provider("p", "openai", "http://h/v1")


def test_the_table_and_the_object() -> None:
    found = Answers(
        (
            Finding(PROVIDER, "ok", ms=12.34, models=("a",), keys=1),
            Finding(PROVIDER, "refused", "it refuses the key", ms=3.0, keys=1, wrong_keys=(1,)),
            Finding(PROVIDER, "ok", "of its 2", ms=3.0, models=(), keys=2, wrong_keys=(2,)),
        ),
        (("gone", "the variable K is not set"),),
        (Missing("models.small", "p", "m", "'p' does not have it"),),
    )
    text = as_text(found)
    assert "p      answers            12  1       1     -" in text
    assert "p      key refused        3   -       1     it refuses the key" in text
    assert "some keys refused" in text
    assert "gone   skipped" in text
    assert "m      models.small  'p' does not have it" in text
    assert text.endswith(
        "1 of 4 providers work, and 1 of the models that the file names cannot be had"
    )
    told = json.loads(json.dumps(as_json(found)))
    assert (told["well"], len(told["providers"])) == (False, 3)
    assert told["missing"][0]["named_by"] == "models.small"
    assert told["skipped"] == [{"name": "gone", "why": "the variable K is not set"}]


def test_when_all_is_well() -> None:
    found = Answers((Finding(PROVIDER, "ok", ms=1.0, models=("a",)),), (), ())
    assert found.well
    assert as_text(found).endswith("every model that the file names is there")


@pytest.mark.parametrize("state", ["ok", "no_list", "client_key", "refused", "no_key", "odd"])
def test_every_state_has_its_words(state) -> None:
    assert online._WORDS[state] in as_text(Answers((Finding(PROVIDER, state),), (), ()))
