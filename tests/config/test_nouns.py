"""The defaults of a configuration's nouns are those of the file's keys."""

from dataclasses import fields

from llmrouterd.config import Config, Logging, Server, parse
from llmrouterd.model import Secret

ECHO = '[[providers]]\nname = "e"\nformat = "echo"\n'


def test_a_file_that_says_nothing_gives_the_nouns_own_defaults() -> None:
    config = parse(ECHO, "x.toml", {})
    assert config.server == Server()
    assert config.logging == Logging()


def test_a_configuration_without_a_file_can_be_built() -> None:
    config = Config()
    assert config.routing.implicit
    assert not config.providers


def test_no_key_shows_in_the_text_of_a_configuration() -> None:
    text = ECHO + '[[providers]]\nname = "o"\nformat = "openai"\napi_key_env = "K"\n'
    text += 'base_url = "https://api.example"\n'
    text += 'headers = { x-secret = "whisper" }\nhttp_proxy = "http://me:murmur@proxy:1"\n'
    config = parse(text, "x.toml", {"K": "sk-loud"})
    assert config.providers[1].key == Secret("sk-loud")
    shown = repr(config) + str(config)
    assert not any(word in shown for word in ("sk-loud", "whisper", "murmur"))


def test_every_field_is_frozen_and_named_once() -> None:
    for noun in (Server, Logging, Config):
        names = [field.name for field in fields(noun)]
        assert len(names) == len(set(names))
