"""The pages of models, with real servers behind them."""

import json

import pytest

from llmrouterd.config import Config
from llmrouterd.model import Fleet, ModelInfo, Provider, ProviderState, Routing
from llmrouterd.observe.feed import Feed
from llmrouterd.ops.pages import Pages
from tests.fakes.upstream import FakeUpstream, Turn
from tests.ops.stage import ask_pages, pages_of

ANTHROPIC = ("anthropic-version", "2023-06-01")


def pages_with(*providers: tuple[Provider, tuple[str, ...]], **aliases: tuple[str, ...]) -> Pages:
    config = Config(providers=tuple(p for p, _ in providers), routing=Routing(aliases=aliases))
    states = {
        p.name: ProviderState(p, {name: ModelInfo(name) for name in names})
        for p, names in providers
    }
    return pages_of(config, Fleet(states).states)


def ollama(name: str, up: FakeUpstream) -> Provider:
    return Provider(name, "ollama", up.url)


async def test_one_model_in_each_shape() -> None:
    pages = pages_with((Provider("a", "openai", "http://127.0.0.1:9/v1"), ("org/m:7b",)))
    for path in ("/v1/models/org/m:7b", "/v1/models/org%2Fm%3A7b", "/models/org/m:7b"):
        said = await ask_pages(pages, "GET", path)
        assert (said.status, said.json["id"], said.json["object"]) == (200, "org/m:7b", "model")
    said = await ask_pages(pages, "GET", "/v1/models/org/m:7b", ANTHROPIC)
    assert (said.json["id"], said.json["type"]) == ("org/m:7b", "model")


async def test_a_model_that_nobody_has() -> None:
    pages = pages_with((Provider("a", "openai", "http://127.0.0.1:9/v1"), ("m",)))
    said = await ask_pages(pages, "GET", "/v1/models/n")
    assert (said.status, said.json["error"]["code"]) == (404, "model_not_found")
    said = await ask_pages(pages, "GET", "/v1/models/n", ANTHROPIC)
    assert (said.status, said.json["error"]["type"]) == (404, "not_found_error")
    said = await ask_pages(pages, "POST", "/api/show", body=b'{"model": "n"}')
    assert (said.status, said.json) == (404, {"error": "model 'n' not found"})


async def test_a_page_that_cannot_be_is_refused() -> None:
    said = await ask_pages(pages_of(), "GET", "/v1/models?limit=x", ANTHROPIC)
    assert (said.status, said.json["error"]["type"]) == (400, "invalid_request_error")


@pytest.mark.parametrize("member", ["model", "name"])
async def test_show_is_the_ollama_server_s_own_answer(member: str) -> None:
    with FakeUpstream(lambda turn: turn.whole({"template": "T", "capabilities": ["x"]})) as up:
        pages = pages_with((ollama("o", up), ("m:latest",)))
        body = json.dumps({member: "m"}).encode()
        said = await ask_pages(pages, "POST", "/api/show", body=body)
        assert (said.status, said.json) == (200, {"template": "T", "capabilities": ["x"]})
        (asked,) = up.received
        assert (asked.target, asked.json) == ("/api/show", {"model": "m:latest", "verbose": False})


async def test_show_of_a_model_elsewhere_is_made_here() -> None:
    pages = pages_with((Provider("a", "openai", "http://127.0.0.1:9/v1"), ("gpt-x",)))
    said = await ask_pages(pages, "POST", "/api/show", body=b'{"model": "gpt-x"}')
    assert said.status == 200
    assert "completion" in said.json["capabilities"]


async def test_show_when_the_server_does_not_answer() -> None:
    pages = pages_with((Provider("o", "ollama", "http://127.0.0.1:9"), ("m",)))
    said = await ask_pages(pages, "POST", "/api/show", body=b'{"model": "m"}')
    assert (said.status, "details" in said.json) == (200, True)


@pytest.mark.parametrize("body", [b"{}", b"[]", b"{", b'{"model": 1}'])
async def test_show_of_nothing(body: bytes) -> None:
    said = await ask_pages(pages_of(), "POST", "/api/show", body=body)
    assert said.status == 400
    assert isinstance(said.json["error"], str)


async def test_ps_is_what_all_ollama_servers_have_loaded() -> None:
    def loaded(name: str):
        return lambda turn: turn.whole({"models": [{"name": name}]})

    def broken(turn: Turn) -> None:
        turn.whole({"error": "no"}, 500)

    with FakeUpstream(loaded("a")) as a, FakeUpstream(loaded("b")) as b, FakeUpstream(broken) as c:
        pages = pages_with(
            (ollama("one", a), ()),
            (ollama("two", c), ()),
            (ollama("three", b), ()),
            (Provider("cloud", "openai", "http://127.0.0.1:9/v1"), ()),
        )
        said = await ask_pages(pages, "GET", "/api/ps")
    assert said.json == {"models": [{"name": "a"}, {"name": "b"}]}


async def test_ps_without_any_ollama_server() -> None:
    assert (await ask_pages(pages_of(), "GET", "/api/ps")).json == {"models": []}


async def test_the_dashboard_sees_every_providers_models_and_the_aliases() -> None:
    config = Config(
        providers=(Provider("a", "ollama"), Provider("b", "echo")),
        routing=Routing(aliases={"fast": ("a/m",)}),
    )
    able = ModelInfo("m", frozenset({"tools", "chat"}), 8192, loaded=True)
    states = {
        "a": ProviderState(config.providers[0], {"m": able}),
        "b": ProviderState(config.providers[1]),
    }
    said = await ask_pages(pages_of(config, states, Feed()), "GET", "/dashboard/api/models")
    assert said.json == {
        "models": [
            {
                "name": "m",
                "provider": "a",
                "loaded": True,
                "context": 8192,
                "capabilities": ["chat", "tools"],
                "size_bytes": None,
            }
        ],
        "aliases": {"fast": ["a/m"]},
    }
