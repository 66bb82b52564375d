"""Counting a prompt's tokens: there is always a number, and it says whose it is."""

import json

import pytest

from llmrouterd.config import Config, Server
from llmrouterd.config.nouns import KeyHolder
from llmrouterd.model import (
    Caller,
    ModelInfo,
    Policy,
    Provider,
    ProviderState,
    Routing,
    RuleSpec,
    Secret,
)
from llmrouterd.pipeline.count import HEADER
from tests.fakes.upstream import FakeUpstream, Turn
from tests.ops.stage import Said, ask_pages, pages_of

VERSION = ("anthropic-version", "2023-06-01")
BODY = {"model": "m", "messages": [{"role": "user", "content": "word " * 200}]}


def pages_with(provider: Provider):
    states = {provider.name: ProviderState(provider, {"m": ModelInfo("m")})}
    return pages_of(Config(providers=(provider,)), states)


async def counted(pages, **more) -> Said:
    body = json.dumps({**BODY, **more}).encode()
    path = "/v1/messages/count_tokens?beta=true"
    return await ask_pages(pages, "POST", path, VERSION, body=body)


async def test_anthropic_s_server_is_asked_with_the_client_s_own_text() -> None:
    with FakeUpstream(lambda turn: turn.whole({"input_tokens": 321})) as up:
        pages = pages_with(Provider("a", "anthropic", up.url + "/v1", key=Secret("k")))
        said = await counted(pages, tools=[{"name": "t", "input_schema": {}}])
        assert (said.status, said.json, said.get(HEADER)) == (
            200,
            {"input_tokens": 321},
            "upstream",
        )
        (asked,) = up.received
        assert asked.target == "/v1/messages/count_tokens?beta=true"
        assert asked.json == {**BODY, "tools": [{"name": "t", "input_schema": {}}]}
        assert asked.headers["x-api-key"] == "k"


@pytest.mark.parametrize("status", [400, 404, 500])
async def test_what_an_upstream_cannot_say_is_estimated(status: int) -> None:
    with FakeUpstream(lambda turn: turn.whole({"error": {"message": "no"}}, status)) as up:
        said = await counted(pages_with(Provider("a", "anthropic", up.url + "/v1")))
    assert (said.status, said.get(HEADER)) == (200, "estimate")
    assert said.json["input_tokens"] >= 250  # 200 words and the margin


async def test_one_that_has_no_counter_is_asked_once() -> None:
    with FakeUpstream(lambda turn: turn.whole({"error": "no"}, 404)) as up:
        pages = pages_with(Provider("local", "openai", up.url + "/v1"))
        for _ in range(3):
            assert (await counted(pages)).get(HEADER) == "estimate"
        assert len(up.received) == 1


@pytest.mark.parametrize("answer", [b"[]", b"{}", b'{"input_tokens": "9"}', b"<html>", b""])
async def test_an_odd_answer_is_no_number(answer: bytes) -> None:
    with FakeUpstream(lambda turn: turn.whole(answer)) as up:
        said = await counted(pages_with(Provider("a", "anthropic", up.url + "/v1")))
    assert said.get(HEADER) == "estimate"


async def test_a_cloud_server_of_another_format_is_not_asked() -> None:
    def script(turn: Turn) -> None:
        turn.whole({"input_tokens": 1})

    with FakeUpstream(script) as up:
        pages = pages_with(Provider("c", "openai", up.url + "/v1", local=False))
        assert (await counted(pages)).get(HEADER) == "estimate"
        assert up.received == []


async def test_a_model_that_nobody_has_is_counted_all_the_same() -> None:
    said = await counted(pages_of(), model="nobody-has-this")
    assert (said.status, said.get(HEADER)) == (200, "estimate")


async def test_real_usage_makes_the_estimate_better() -> None:
    answer = {
        "choices": [{"message": {"role": "assistant", "content": "hi"}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 500, "completion_tokens": 1, "total_tokens": 501},
    }

    def script(turn: Turn) -> None:
        whole = turn.received.target.endswith("/chat/completions")
        turn.whole(answer) if whole else turn.whole({}, 404)

    with FakeUpstream(script) as up:
        pages = pages_with(Provider("local", "openai", up.url + "/v1"))
        before = (await counted(pages)).json["input_tokens"]
        chat = json.dumps(BODY).encode()
        assert (await ask_pages(pages, "POST", "/v1/chat/completions", body=chat)).status == 200
        after = (await counted(pages)).json["input_tokens"]
    assert before < 400
    assert after == pytest.approx(550, abs=2)


async def test_a_broken_body_is_a_400_in_anthropic_s_shape() -> None:
    said = await ask_pages(pages_of(), "POST", "/v1/messages/count_tokens", body=b"{")
    assert (said.status, said.json["type"]) == (400, "error")


async def test_a_prompt_is_counted_where_it_would_be_answered_and_nowhere_else() -> None:
    """What a tag keeps on one server is not sent to another to be counted."""
    tags = {"private": ["salary"]}
    rules = (
        RuleSpec("tag", "routers[0]", tag="private", providers=("here",)),
        RuleSpec("discover", "routers[1]"),
    )
    with FakeUpstream(lambda turn: turn.whole({"input_tokens": 321})) as up:
        cloud = Provider("cloud", "anthropic", up.url + "/v1", local=False)
        here = Provider("here", "ollama", up.url)
        config = Config(
            providers=(here, cloud),
            routing=Routing(rules),
            classifiers={"keyword": {"enabled": True, "tags": tags}},
        )
        states = {p.name: ProviderState(p, {"m": ModelInfo("m")}) for p in (cloud, here)}
        pages = pages_of(config, states)
        private = [{"role": "user", "content": "my salary"}]
        assert (await counted(pages, messages=private)).get(HEADER) == "estimate"
        assert up.received == []
        wish = ("x-router-provider", "cloud")
        body = json.dumps(BODY).encode()
        said = await ask_pages(pages, "POST", "/v1/messages/count_tokens", wish, body=body)
        assert said.get(HEADER) == "upstream"


async def test_nobody_is_asked_for_a_client_that_may_not_ask_for_the_model() -> None:
    with FakeUpstream(lambda turn: turn.whole({"input_tokens": 321})) as up:
        provider = Provider("a", "anthropic", up.url + "/v1")
        caller = Caller("ann", models=("small*",))
        config = Config(
            server=Server(), clients=(KeyHolder(Secret("anns"), caller),), providers=(provider,)
        )
        pages = pages_of(config, {"a": ProviderState(provider, {"m": ModelInfo("m")})})
        body = json.dumps(BODY).encode()
        key = ("x-api-key", "anns")
        said = await ask_pages(pages, "POST", "/v1/messages/count_tokens", key, body=body)
        assert (said.status, said.get(HEADER)) == (200, "estimate")
        assert up.received == []


async def test_several_keys_are_used_in_turn() -> None:
    keys = (Secret("k1"), Secret("k2"))
    with FakeUpstream(lambda turn: turn.whole({"input_tokens": 321})) as up:
        provider = Provider("a", "anthropic", up.url + "/v1", key=keys[0], keys=keys)
        pages = pages_with(provider)
        for _ in range(3):
            assert (await counted(pages)).get(HEADER) == "upstream"
        assert [each.headers["x-api-key"] for each in up.received] == ["k1", "k2", "k1"]


@pytest.mark.parametrize(
    ("words", "tags", "asked"), [("hi", "", 1), ("my salary", "", 0), ("hi", "pii", 0)]
)
async def test_a_prompt_that_a_policy_keeps_here_is_not_sent_away_to_be_counted(
    words: str, tags: str, asked: int
) -> None:
    with FakeUpstream(lambda turn: turn.whole({"input_tokens": 321})) as up:
        provider = Provider("a", "anthropic", up.url + "/v1", local=False)
        policies = (Policy("policies[0]", tags=("pii",), local=True),)
        config = Config(
            providers=(provider,),
            routing=Routing(implicit=True, policies=policies),
            classifiers={"keyword": {"enabled": True, "tags": {"pii": ["salary"]}}},
        )
        pages = pages_of(config, {"a": ProviderState(provider, {"m": ModelInfo("m")})})
        body = json.dumps({**BODY, "messages": [{"role": "user", "content": words}]}).encode()
        path = "/v1/messages/count_tokens"
        said = await ask_pages(pages, "POST", path, ("x-router-tags", tags), body=body)
        assert said.get(HEADER) == ("upstream" if asked else "estimate")
        assert len(up.received) == asked


async def test_what_is_for_the_router_s_plugins_is_not_sent_along() -> None:
    """Words that a request wants covered stand there."""
    with FakeUpstream(lambda turn: turn.whole({"input_tokens": 321})) as up:
        pages = pages_with(Provider("a", "anthropic", up.url + "/v1", key=Secret("k")))
        said = await counted(pages, plugins=[{"id": "redact", "words": ["Nightingale"]}])
        assert said.get(HEADER) == "upstream"
        assert b"Nightingale" not in up.received[0].body
