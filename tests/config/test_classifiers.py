"""Whom classifiers may ask, as the file says it."""

import pytest

from llmrouterd.config import Config, parse
from llmrouterd.model import ConfigError

PROVIDERS = """
[[providers]]
name = "near"
format = "ollama"
base_url = "http://localhost:11434"
[[providers]]
name = "far"
format = "openai"
base_url = "https://api.example.com"
api_key_env = "FAR_KEY"
[[providers]]
name = "words"
format = "anthropic"
base_url = "http://localhost:1"
[[providers]]
name = "echo"
format = "echo"
[[providers]]
name = "theirs"
format = "openai"
base_url = "http://localhost:2"
credentials = "client"
"""
LLM = '[classifiers.llm]\nenabled = true\nmodel = "m"\nlabels = { a = "" }\n'
SEMANTIC = '[classifiers.semantic]\nenabled = true\nmodel = "m"\nexamples = { a = ["b"] }\n'


def load(text: str, **environ: str) -> Config:
    return parse(PROVIDERS + text, "x.toml", {"FAR_KEY": "k", **environ})


def problems(text: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load(text)
    return [problem.partition(": ")[2] for problem in caught.value.problems]


@pytest.mark.parametrize("table", [LLM, SEMANTIC, LLM.replace("[cl", "[response_cl")])
def test_a_local_provider_may_be_asked(table: str) -> None:
    assert load(table + 'provider = "near"\n').warnings == ()


@pytest.mark.parametrize(
    ("table", "provider", "words"),
    [
        (LLM, "nera", 'there is no provider "nera"; did you mean "near"?'),
        (LLM, "far", '"far" is remote, and texts are private before they are classified'),
        (LLM, "echo", '"echo" has no models to ask'),
        (LLM, "theirs", "takes clients' credentials"),
        (SEMANTIC, "words", 'speaks "anthropic", which has no embeddings'),
        (LLM.replace('"m"', '"m:cloud"'), "near", "runs this model elsewhere"),
    ],
)
def test_who_cannot_or_must_not_be_asked_is_named(table: str, provider: str, words: str) -> None:
    (problem,) = problems(f'{table}provider = "{provider}"\n')
    assert ".provider: " in problem
    assert words in problem


@pytest.mark.parametrize(("model", "provider"), [("m", "far"), ("m:cloud", "near")])
def test_the_owner_may_let_texts_leave(model: str, provider: str) -> None:
    table = LLM.replace('"m"', f'"{model}"')
    load(f'{table}provider = "{provider}"\nallow_remote = true\n')


def test_a_provider_without_its_key_is_a_warning() -> None:
    table = LLM + 'provider = "far"\nallow_remote = true\n'
    config = parse(PROVIDERS + table, "x.toml", {})
    assert any("this classifier will fail" in warning for warning in config.warnings)


def test_everything_that_is_missing_is_said_at_once() -> None:
    said = problems("[classifiers.llm]\nenabled = true\n[classifiers.semantic]\nenabled = true\n")
    assert sorted(said) == [
        'classifiers.llm: the key "labels" is missing',
        'classifiers.llm: the key "model" is missing',
        'classifiers.llm: the key "provider" is missing',
        'classifiers.semantic: the key "examples" is missing',
        'classifiers.semantic: the key "model" is missing',
        'classifiers.semantic: the key "provider" is missing',
    ]


def test_what_is_not_enabled_may_be_half_written() -> None:
    load("[classifiers.llm]\nenabled = false\n[response_classifiers.llm]\n")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('[classifiers.pii]\nkinds = ["emial"]\n', 'got "emial" in place 0; did you mean "email"?'),
        ('[classifiers.structure]\nonly = ["size"]\n', "expected some of"),
        ('[classifiers.secrets]\nroles = ["me"]\n', "expected some of"),
        ("[classifiers.llm]\ntimeout = 0\n", "expected a number from 0.01 to 600"),
        ("[classifiers.semantic]\nthreshold = 2\n", "expected a number from -1 to 1"),
    ],
)
def test_a_wrong_value_is_named_even_where_nothing_is_enabled(text: str, words: str) -> None:
    (problem,) = problems(text)
    assert words in problem


def test_instructions_may_have_several_lines() -> None:
    load('[classifiers.llm]\nprompt = """Sort\nthese."""\n')
    assert "control character" in problems('[classifiers.llm]\nprompt = "a\\u0007"\n')[0]
