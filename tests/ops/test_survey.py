"""Providers asked once: what each answer means, over real sockets."""

import pytest
import trio

from llmrouterd.config.dialects import PRESETS
from llmrouterd.edge.dial import DialError
from llmrouterd.edge.pool import Pool
from llmrouterd.model import Provider, Secret
from llmrouterd.ops.survey import AT_ONCE, Finding, survey
from tests.fakes.upstream import FakeUpstream, Turn
from tests.ops.test_catalog import HANGS, KnowingPool

MODELS = {"data": [{"id": "a"}, {"id": "b"}]}


def openai(up: FakeUpstream, name: str = "p", **more) -> Provider:
    return Provider(name, "openai", f"{up.url}/v1", **more)


async def one(provider: Provider, within_s: float = 20) -> Finding:
    pool = Pool()
    try:
        (finding,) = await survey(pool, [provider], within_s)
    finally:
        pool.close()
    return finding


async def test_a_provider_that_works_with_its_models_and_its_time() -> None:
    with FakeUpstream(lambda turn: turn.whole(MODELS)) as up:
        found = await one(openai(up, key=Secret("sk-1")))
        assert (found.state, found.works, found.models, found.keys) == ("ok", True, ("a", "b"), 1)
        assert found.ms is not None
        assert found.ms > 0
        (received,) = up.received
        assert (received.target, received.headers["authorization"]) == ("/v1/models", "Bearer sk-1")


async def test_an_ollama_server_and_an_echo() -> None:
    with FakeUpstream(lambda turn: turn.whole({"models": [{"name": "m:1"}]})) as up:
        found = await one(Provider("o", "ollama", up.url))
        assert (found.state, found.models) == ("ok", ("m:1",))
        assert up.received[0].target == "/api/tags"
    assert (await one(Provider("e", "echo"))).models == ("echo",)


async def test_a_list_of_which_there_is_more_is_not_known() -> None:
    answer = {"data": [{"id": "a"}], "has_more": True, "last_id": "a"}
    with FakeUpstream(lambda turn: turn.whole(answer)) as up:
        found = await one(Provider("a", "anthropic", f"{up.url}/v1"))
        assert (found.state, found.models) == ("ok", None)


@pytest.mark.parametrize(
    ("status", "body", "more", "state", "works", "said"),
    [
        (401, {}, {"key": Secret("k")}, "refused", False, "it refuses the key"),
        (403, {}, {"key": Secret("k")}, "refused", False, "it refuses the key"),
        (401, {}, {}, "no_key", False, "it wants a key"),
        (401, {}, {"credentials": "client"}, "client_key", True, "keys that clients bring"),
        (404, {}, {"models": ("x",)}, "no_list", True, "the file does"),
        (404, {}, {}, "odd", False, "is base_url right"),
        (500, {}, {}, "odd", False, "answered 500"),
        (200, b"<html>", {}, "odd", False, "not as a server of the format 'openai'"),
        (200, {"models": []}, {}, "odd", False, "no `data`"),
    ],
)
async def test_what_an_answer_means(status, body, more, state, works, said) -> None:
    with FakeUpstream(lambda turn: turn.whole(body, status)) as up:
        found = await one(openai(up, **more))
    assert (found.state, found.works) == (state, works)
    assert said in found.why
    assert found.ms is not None


async def test_every_key_is_tried_and_none_is_told() -> None:
    def only_the_first(turn: Turn) -> None:
        right = turn.received.headers["authorization"] == "Bearer sk-1"
        turn.whole(MODELS if right else {}, 200 if right else 401)

    keys = (Secret("sk-1"), Secret("sk-2"), Secret("sk-3"))
    with FakeUpstream(only_the_first) as up:
        found = await one(openai(up, key=keys[0], keys=keys))
    assert (found.state, found.keys, found.wrong_keys, found.works) == ("ok", 3, (2, 3), False)
    assert found.why == "of its 3 keys it refuses number 2, 3"
    assert "sk-" not in repr(found)


async def test_a_list_that_is_open_to_everybody_says_nothing_of_the_key() -> None:
    def public(turn: Turn) -> None:
        turn.whole(MODELS) if turn.received.target.endswith("/models") else turn.whole({}, 401)

    with FakeUpstream(public) as up:
        found = await one(openai(up, key=Secret("k"), dialect=PRESETS["openrouter"]))
    assert (found.state, found.wrong_keys, found.works) == ("refused", (1,), False)


@pytest.mark.parametrize(
    ("kind", "state"),
    [
        ("dns", "dns"),
        ("tls", "tls"),
        ("proxy", "proxy"),
        ("refused", "unreachable"),
        ("unreachable", "unreachable"),
        ("denied", "unreachable"),
    ],
)
async def test_who_cannot_be_reached(autojump_clock, kind, state) -> None:
    pool = KnowingPool(lambda target, body: DialError(kind, "why it is not there"))
    (found,) = await survey(pool, [Provider("p", "openai", "http://h/v1")], 20)
    assert (found.state, found.why, found.ms) == (state, "why it is not there", None)
    assert not found.works


async def test_nobody_is_waited_for_longer_than_was_said(autojump_clock) -> None:
    many = [Provider(f"p{n}", "openai", "http://h/v1") for n in range(AT_ONCE + 3)]
    began = trio.current_time()
    found = await survey(KnowingPool(lambda target, body: HANGS), many, 7)
    assert trio.current_time() - began == 7
    assert [each.provider.name for each in found] == [each.name for each in many]
    assert {(each.state, each.why) for each in found} == {("silent", "no answer within 7 s")}


async def test_providers_are_asked_beside_each_other(autojump_clock) -> None:
    """One that hangs takes nobody else's time."""
    pool = KnowingPool(lambda target, body: HANGS if "slow" in target else MODELS)
    two = [Provider("s", "openai", "http://h/slow"), Provider("q", "openai", "http://h/v1")]
    slow, quick = await survey(pool, two, 300)
    assert (slow.state, quick.state) == ("silent", "ok")
    assert slow.ms is None
