"""What is known of kinds of servers, and what the file may say over it."""

import pytest

from llmrouterd.config import keys, parse
from llmrouterd.config.dialects import PRESETS, of_host
from llmrouterd.model import ConfigError, Dialect

OPENAI = '[[providers]]\nname = "o"\nformat = "openai"\nbase_url = "http://h:1/v1"\n'
ANTHROPIC = '[[providers]]\nname = "a"\nformat = "anthropic"\nbase_url = "http://h:1/v1"\n'


def dialect_of(text: str) -> Dialect:
    return parse(text, "x", {"K": "k"}).providers[0].dialect


def problem(text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        parse(text, "x", {"K": "k"})
    (found,) = caught.value.problems
    return found


def test_every_preset_is_a_word_of_the_key() -> None:
    assert set(keys.PROVIDER["dialect"].one_of) == {"auto", *PRESETS}
    assert all(name == preset.name for name, preset in PRESETS.items())


@pytest.mark.parametrize(
    ("host", "fmt", "name"),
    [
        ("api.openai.com", "openai", "openai"),
        ("API.openai.com", "openai", "openai"),
        ("api.openai.com.evil.example", "openai", "other"),
        ("api.openai.com", "anthropic", "other"),
        ("api.anthropic.com", "anthropic", "anthropic"),
        ("mine.openai.azure.com", "openai", "azure"),
        ("api.deepseek.com", "openai", "deepseek"),
        ("localhost", "openai", "other"),
        ("", "ollama", "other"),
    ],
)
def test_auto_looks_at_the_address(host: str, fmt: str, name: str) -> None:
    assert of_host(host, fmt) == name


def test_without_a_word_a_server_is_like_any_other() -> None:
    assert dialect_of(OPENAI) == Dialect()


def test_a_preset_and_single_keys_over_it() -> None:
    text = OPENAI + 'dialect = "vllm"\ninclude_usage = false\nsystem_role = "developer"\n'
    found = dialect_of(text + 'forward_headers = ["X-Title"]\nmax_tokens_field = "max_tokens"\n')
    assert (found.name, found.reasoning_echo) == ("vllm", "reasoning")
    assert (found.include_usage, found.system_role) == (False, "developer")
    assert (found.forward, found.max_tokens_field) == (("x-title",), "max_tokens")


def test_a_key_wins_over_its_preset() -> None:
    text = OPENAI + 'dialect = "deepseek"\nreasoning_required = false\nreasoning_echo = "none"\n'
    assert not dialect_of(text).reasoning_required
    assert dialect_of(text).reasoning_echo == "none"


def test_betas_are_for_anthropic_s_format() -> None:
    assert dialect_of(ANTHROPIC + 'betas = ["b"]\n').betas == ("b",)
    assert "betas" in problem(OPENAI + 'betas = ["b"]\n')


@pytest.mark.parametrize("name", ["Authorization", "cookie", "X-Api-Key", "x-router-key", "host"])
def test_no_credential_is_passed_on_by_name(name: str) -> None:
    said = problem(OPENAI + f'forward_headers = ["x-title", "{name}"]\n')
    assert "forward_headers[1]" in said
    assert "never passed on" in said


def test_a_preset_of_another_format() -> None:
    assert 'not one of the format "anthropic"' in problem(ANTHROPIC + 'dialect = "openai"\n')


@pytest.mark.parametrize("line", ['dialect = "vllm"', 'reasoning_echo = "none"', "betas = []"])
def test_ollama_s_own_api_has_no_dialects(line: str) -> None:
    text = '[[providers]]\nname = "l"\nformat = "ollama"\nbase_url = "http://h:1"\n'
    assert line.partition(" ")[0] in problem(text + line)


def test_a_word_that_is_none() -> None:
    assert 'did you mean "vllm"' in problem(OPENAI + 'dialect = "vlm"\n')


def test_one_credential_or_the_other() -> None:
    assert parse(OPENAI + 'credentials = "client"\n', "x", {}).providers[0].credentials == "client"
    assert "credentials" in problem(OPENAI + 'credentials = "client"\napi_key_env = "K"\n')
