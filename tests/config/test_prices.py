"""`[[prices]]`, and the list that ships."""

import re

import pytest

from llmrouterd.config import Config, parse
from llmrouterd.config.prices import list_date, with_prices
from llmrouterd.model import ConfigError, Price, Provider
from llmrouterd.route.price import price_of

ECHO = '[[providers]]\nname = "e"\nformat = "echo"\n'
OPENAI = '[[providers]]\nname = "o"\nformat = "openai"\nbase_url = "https://api.openai.com"\n'


def read(text: str) -> Config:
    return parse(ECHO + OPENAI + text, "f.toml", {})


def problems(text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        read(text)
    return str(caught.value)


def vendor(host: str) -> Provider:
    return with_prices(Provider("v", "openai", f"https://{host}/v1"))


def test_a_price_is_for_a_model_at_one_provider_or_at_all() -> None:
    text = '[[prices]]\nmodel = "a*"\ninput = 1\noutput = 2\n'
    text += '[[prices]]\nmodel = ["b", "c"]\nprovider = "o"\ninput = 3\noutput = 4\n'
    text += "cached_input = 0.5\ncache_write = 5\nmax_input_tokens = 1000\n"
    echo, openai = read(text).providers
    everywhere = Price(("a*",), 1.0, 2.0)
    assert echo.prices == (everywhere,)
    assert openai.prices == (everywhere, Price(("b", "c"), 3.0, 4.0, 0.5, 5.0, 1000))


def test_without_prices_nobody_has_any_but_the_vendor() -> None:
    echo, openai = read("").providers
    assert (echo.prices, echo.list_prices, openai.prices) == ((), (), ())
    assert openai.list_prices


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("model = 'm'\ninput = 1", 'the key "output" is missing'),
        ("input = 1\noutput = 1", 'the key "model" is missing'),
        ("model = 'm'\ninput = -1\noutput = 1", "of at least 0"),
        ("model = []\ninput = 1\noutput = 1", "must not be an empty list"),
        ("model = 'm'\ninput = 1\noutput = 1\nprovider = 'x'", 'there is no provider "x"'),
        ("model = 'm'\ninput = 1\noutput = 1\ncached = 1", 'did you mean "cached_input"?'),
    ],
)
def test_a_wrong_price_is_named(text: str, words: str) -> None:
    assert words in problems(f"[[prices]]\n{text}\n")


# ---- the list that ships -------------------------------------------------------------------------


def test_the_list_has_its_date() -> None:
    assert re.fullmatch(r"20\d\d-[01]\d-[0-3]\d", list_date())


@pytest.mark.parametrize(
    ("host", "model", "tokens", "read", "written"),
    [
        ("api.openai.com", "gpt-4o-mini", 0, 0.15, 0.60),
        ("api.openai.com", "gpt-5-mini-2025-08-07", 0, 0.25, 2.0),
        ("api.openai.com", "gpt-6.2-sol", 272_000, 2.0, 10.0),
        ("api.openai.com", "gpt-6.2-sol", 272_001, 4.0, 15.0),
        ("api.anthropic.com", "claude-haiku-4-5-20251001", 0, 1.0, 5.0),
        ("api.anthropic.com", "claude-opus-5-5", 0, 4.0, 20.0),
        ("api.anthropic.com", "claude-haiku-5-5", 100_001, 0.5, 2.5),
    ],
)
def test_a_vendors_model_has_its_price(
    host: str, model: str, tokens: int, read: float, written: float
) -> None:
    price = price_of(vendor(host), model, tokens)
    assert price is not None
    assert (price.input, price.output) == (read, written)


@pytest.mark.parametrize(
    ("host", "model"),
    [
        ("api.openai.com", "claude-opus-5-5"),
        ("api.openai.com", "gpt-4o-2024-05-13"),
        ("api.openai.com", "ft:gpt-4o-mini:mine"),
        ("api.openai.com", "gpt-4o-audio-preview"),
        ("api.anthropic.com", "claude-sonnet-5-fast"),
        ("openrouter.ai", "gpt-4o-mini"),
        ("127.0.0.1", "gpt-4o-mini"),
        ("api.openai.com.example", "gpt-4o-mini"),
    ],
)
def test_what_only_looks_like_a_listed_model_has_none(host: str, model: str) -> None:
    assert price_of(vendor(host), model) is None


def test_every_listed_price_is_a_whole_and_likely_one() -> None:
    """A slip of the finger makes cached input dear, or output cheap."""
    for host in ("api.openai.com", "api.anthropic.com"):
        for price in vendor(host).list_prices:
            assert price.models
            assert price.input > 0
            assert price.output == 0 or price.output >= price.input
            assert price.cached_input is None or price.cached_input < price.input
            assert price.cache_write is None or price.input < price.cache_write < 2 * price.input


def test_a_longer_prompt_never_costs_less() -> None:
    for host in ("api.openai.com", "api.anthropic.com"):
        for price in vendor(host).list_prices:
            long = price_of(vendor(host), price.models[0], 10**7)
            assert long is None or long.input >= price.input
