"""Addresses on unix sockets, taken apart."""

import pytest

from llmrouterd.config import Config, parse
from llmrouterd.config.sockets import on_socket, wrong_socket
from llmrouterd.model import Provider


@pytest.mark.parametrize(
    ("address", "place"),
    [
        ("unix:/run/x.sock", ("/run/x.sock", "")),
        ("unix:/run/x.sock:/v1", ("/run/x.sock", "/v1")),
        ("unix:/run/with blank.sock:/v1/", ("/run/with blank.sock", "/v1")),
        ("http://localhost", None),
    ],
)
def test_the_parts_of_an_address(address: str, place: tuple[str, str] | None) -> None:
    assert on_socket(address) == place


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("unix:/run/x.sock:/v1", ""),
        ("unix:x.sock", "whole path"),
        ("unix:", "whole path"),
        ("unix:/run/", "whole path"),
        ("unix:/run/x\x07.sock", "whole path"),
        ("unix:/run/x.sock:v1", "what follows the socket is a path"),
        ("unix:/run/x.sock:/v1?a=b", "what follows the socket is a path"),
    ],
)
def test_what_is_wrong_with_one(address: str, said: str) -> None:
    assert wrong_socket(address).count(said or "nothing") == bool(said)


def provider(text: str) -> tuple[Provider, Config]:
    config = parse(f'[[providers]]\nname = "p"\n{text}', "x.toml", {})
    return config.providers[0], config


def test_a_provider_on_a_socket_is_local_and_gets_the_usual_path() -> None:
    for kind, used in (("openai", ":/v1"), ("anthropic", ":/v1"), ("ollama", "")):
        it, _ = provider(f'format = "{kind}"\nbase_url = "unix:/run/x.sock"')
        assert (it.base_url, it.local) == (f"unix:/run/x.sock{used}", True)
    it, _ = provider('format = "openai"\nbase_url = "unix:/run/x.sock:/api/"\nlocal = false')
    assert (it.base_url, it.local) == ("unix:/run/x.sock:/api", False)


def test_a_proxy_is_not_used_for_a_socket() -> None:
    text = 'format = "ollama"\nbase_url = "unix:/run/x.sock"\nhttp_proxy = "http://proxy:3128"'
    _, config = provider(text)
    assert "not used" in config.warnings[0]
