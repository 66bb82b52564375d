"""The text of a first configuration: it loads whatever was found, and names all that was looked at."""

import itertools

import pytest

from llmrouterd.commands.starter import text
from llmrouterd.config import Config, parse
from llmrouterd.model import ModelInfo
from llmrouterd.ops.local import CLOUDS, PLACES, Place, Sight

VARIABLES = [variable for *_, variable in CLOUDS]
MODELS = (ModelInfo("small:1b", size_bytes=1), ModelInfo("big:9b", size_bytes=9))


def sights(*there: str, models: tuple[ModelInfo, ...] = MODELS) -> list[Sight]:
    return [Sight(p, models) if p.name in there else Sight(p, why="nobody") for p in PLACES]


def load(written: str, *variables: str) -> Config:
    return parse(written, "x.toml", dict.fromkeys(variables, "sk-planted"))


@pytest.mark.parametrize(
    ("there", "variables"),
    list(
        itertools.product(
            [(), ("ollama",), ("vllm", "ollama")], [(), ("OPENAI_API_KEY",), VARIABLES]
        )
    ),
)
def test_it_loads_without_a_warning_whatever_was_found(there, variables) -> None:
    written = text(sights(*there), variables)
    config = load(written, *variables)
    clouds = [name for name, *_, variable in CLOUDS if variable in variables]
    local = [place.name for place in PLACES if place.name in there]
    assert [p.name for p in config.providers] == ([*local, *clouds] or ["echo"])
    assert (config.warnings, config.routing.implicit) == ((), False)
    assert all(place.name in written for place in PLACES)
    assert all(variable in written for variable in VARIABLES)


def test_local_servers_come_first_and_a_strange_name_gets_the_largest_of_theirs() -> None:
    config = load(text(sights("ollama"), ["ANTHROPIC_API_KEY"]), "ANTHROPIC_API_KEY")
    rules = config.routing.rules
    assert [each.type for each in rules] == ["discover", "prefix", "discover", "fallback"]
    assert rules[0].providers == ("ollama",)
    assert rules[1].model_prefix == "claude-"
    assert (rules[3].providers, rules[3].rewrite_model) == (("ollama",), "big:9b")
    assert config.routing.aliases == {"local": ("ollama/big:9b",)}


@pytest.mark.parametrize("name", ["nomic-embed-text", "gpt-oss:120b-cloud", "a\nb", ' "'])
def test_what_is_no_local_model_for_chat_is_not_chosen(name: str) -> None:
    models = (ModelInfo(name, size_bytes=99), *MODELS)
    config = load(text(sights("ollama", models=models), ()))
    assert name == ' "' or config.routing.rules[-1].rewrite_model == "big:9b"


def test_the_names_of_a_server_cannot_break_out_of_a_comment() -> None:
    evil = ModelInfo('x\n[[providers]]\nname = "evil"\nformat = "echo"')
    config = load(text(sights("ollama", models=(evil,)), ()))
    assert [p.name for p in config.providers] == ["ollama"]


def test_a_server_on_another_machine_has_no_model_for_strange_names() -> None:
    place = Place("ollama", "ollama", "http://ollama.example:11434", "/api/tags", "models")
    assert load(text([Sight(place, MODELS)], ())).routing.rules[-1].type == "discover"


def test_the_key_s_file_is_named_and_commented_out_without_one() -> None:
    assert '\napi_key_file = "r.key"\n' in text(sights(), (), "r.key")
    assert "\napi_key_file" not in text(sights(), ())
