"""Tables that name a file of the owner's."""

import pytest

from llmrouterd.config import parse
from llmrouterd.model import ConfigError

ECHO = '[[providers]]\nname = "e"\nformat = "echo"\n'
KINDS = ["plugins", "classifiers", "response_classifiers"]


def problems(text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        parse(ECHO + text, "/etc/llmrouter/x.toml", {})
    return "\n".join(caught.value.problems)


@pytest.mark.parametrize("kind", KINDS)
def test_a_path_is_taken_from_the_files_folder_and_the_rest_is_handed_on(kind: str) -> None:
    text = f'[{kind}.mine]\npath = "own/mine.py"\nenabled = true\ntimeout = 3\nx = [1]\ny = {{ a = 2 }}\n'
    config = parse(ECHO + text, "/etc/llmrouter/x.toml", {})
    assert getattr(config, kind)["mine"] == {
        "path": "/etc/llmrouter/own/mine.py",
        "enabled": True,
        "timeout": 3.0,
        "x": [1],
        "y": {"a": 2},
    }
    assert config.warnings == ()


def test_it_is_off_until_it_is_enabled() -> None:
    config = parse(ECHO + '[plugins.mine]\npath = "/opt/mine.py"', "x.toml", {})
    assert config.plugins["mine"] == {"path": "/opt/mine.py", "enabled": False}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[plugins.redact]\npath = "x.py"', "plugins.redact.path: this name is llmrouter's own"),
        ('[classifiers.pii]\npath = "x.py"', "classifiers.pii.path: this name is llmrouter's own"),
        ('[plugins.cache]\npath = "x.py"', "plugins.cache.path: this name is llmrouter's own"),
        ('[plugins."a b"]\npath = "x.py"', "a name has letters, digits, - and _"),
        ("[plugins.mine]\npath = 3", "plugins.mine.path: expected a text"),
        ('[plugins.mine]\npath = ""', "plugins.mine.path: must not be empty"),
        ('[plugins.mine]\npath = "x"\nenabled = 1', "plugins.mine.enabled: expected true or false"),
        ('[plugins.mine]\npath = "x"\ntimeout = -1', "plugins.mine.timeout: expected a number"),
    ],
)
def test_what_is_wrong_is_said(text: str, said: str) -> None:
    assert said in problems(text)


def test_without_a_path_an_unknown_name_is_ignored_with_a_word_on_how_to_have_ones_own() -> None:
    config = parse(ECHO + "[plugins.mine]\nenabled = true", "x.toml", {})
    assert config.plugins == {}
    assert "your own has a path" in config.warnings[0]
