"""The search engine of `[plugins.web]`: its address, and a key that is nowhere to be seen."""

from pathlib import Path

import pytest

from llmrouterd.config import Config, parse
from llmrouterd.model import ConfigError, Secret

ECHO = '[[providers]]\nname = "e"\nformat = "echo"\n[plugins.web]\n'
ON = 'enabled = true\nurl = "http://localhost:8888"\n'
ENVIRON = {"ENGINE_KEY": "sk-engine"}


def read(text: str, path: str = "x.toml") -> Config:
    return parse(ECHO + text, path, ENVIRON)


def problems(text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        read(text)
    return "\n".join(caught.value.problems)


def test_the_settings_are_handed_on() -> None:
    web = read(ON + "max_results = 3\nkeep = 0\nserve_hosted = true\n").plugins["web"]
    assert web == {
        "enabled": True,
        "url": "http://localhost:8888",
        "max_results": 3,
        "keep": 0.0,
        "serve_hosted": True,
    }


def test_a_key_takes_the_place_of_where_it_is_found(tmp_path: Path) -> None:
    config = read(ON + 'key_env = "ENGINE_KEY"\n')
    assert config.plugins["web"]["key"] == Secret("sk-engine")
    assert "key_env" not in config.plugins["web"]
    assert "sk-engine" not in repr(config)
    (tmp_path / "key").write_text("from-a-file\n")
    (tmp_path / "key").chmod(0o600)
    config = read(ON + 'key_file = "key"\n', str(tmp_path / "x.toml"))
    assert config.plugins["web"]["key"] == Secret("from-a-file")


@pytest.mark.parametrize("switch", ["enabled", "serve_hosted"])
def test_an_engine_is_missing_where_one_is_needed(switch: str) -> None:
    assert 'plugins.web: the key "url" is missing' in problems(f"{switch} = true\n")
    assert read(f"{switch} = false\n").warnings == ()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('key_env = "NOT_SET"', "plugins.web.key_env: the variable NOT_SET is not set"),
        ('key_file = "/none"', 'plugins.web.key_file: the file "/none" cannot be read'),
        ('key_env = "ENGINE_KEY"\nkey_file = "x"', "only one of them can hold the key"),
        ('ca_file = "/none"', 'plugins.web.ca_file: "/none" cannot be read'),
        ("max_results = 21", "from 1 to 20"),
        ('on_failure = "stop"', 'expected one of "continue", "fail"'),
        ('method = "GET"', "unknown key"),
    ],
)
def test_what_is_wrong_is_said(text: str, said: str) -> None:
    assert said in problems(ON + text)


def test_a_key_that_is_missing_is_only_odd_while_nobody_searches_unasked() -> None:
    config = read('url = "http://x"\nkey_env = "NOT_SET"\n')
    assert "NOT_SET is not set, so that every search fails" in config.warnings[0]


def test_a_key_in_the_file_is_odd() -> None:
    config = read(ON + 'headers = { X-Api-Key = "sk-in-the-file" }\n')
    assert "a key does not belong into the file" in config.warnings[0]
    assert "sk-in-the-file" not in "\n".join(config.warnings)
    assert read(ON + 'headers = { Accept-Language = "de", X-Api-Key = "{key}" }\n').warnings == ()
