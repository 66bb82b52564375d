"""What a request meets at a provider decides whether the next ones go there."""

import time
from email.utils import formatdate

import pytest
import trio
import trio.testing

from llmrouterd.model import ModelInfo, Provider, Secret
from tests.pipeline.stage import (
    STREAM,
    Up,
    chat_answer,
    chat_stream,
    openai,
    replies,
    request,
    stage,
    streams,
)

BROKEN = {"error": {"message": "it broke", "type": "server_error"}}
RATE = {"error": {"message": "slow down", "type": "requests", "code": "rate_limit_exceeded"}}
MISSING = {"error": {"message": "no such model", "code": "model_not_found"}}
WRONG = {"error": {"message": "no such field", "type": "invalid_request_error"}}


def two(**up):
    providers = [openai(name, max_retries=0) for name in ("a", "b")]
    return stage(*providers, up={"b": replies(200, chat_answer("from b")), **up})


async def asks(st, times=1, **more):
    return [await st.ask("openai", request("openai", **more)) for _ in range(times)]


async def test_a_provider_that_fails_again_and_again_is_left_alone(autojump_clock) -> None:
    async with two(a=replies(500, BROKEN)) as st:
        await asks(st, 5)
        assert len(st.asked["a"]) == 3
        assert st.sink.records[-1].provider == "b"
        steps = [step for step in st.sink.records[-1].trace if step.code == "health"]
        assert steps[0].reason.startswith("unhealthy: 3 failures in a row, the last upstream: ")


async def test_one_request_tries_it_again_and_its_success_brings_it_back(autojump_clock) -> None:
    failing = [replies(500, BROKEN)] * 3
    async with two(a=[*failing, replies(200, chat_answer("from a"))]) as st:
        await asks(st, 3)
        await trio.sleep(5)
        await asks(st, 2)
        assert len(st.asked["a"]) == 5
        assert st.daemon.health.spotless


async def test_a_client_that_leaves_gives_the_try_to_the_next_one(autojump_clock) -> None:
    async def silent(up: Up) -> None:
        await up.request()
        await up.closed()

    failing = [replies(500, BROKEN)] * 3
    async with two(a=[*failing, silent, replies(200, chat_answer("from a"))]) as st:
        await asks(st, 3)
        await trio.sleep(5)
        with trio.move_on_after(1):
            await asks(st)
        out = (await asks(st))[0]
    assert b"from a" in out.body


async def test_what_the_client_did_wrong_does_not_count(autojump_clock) -> None:
    async with two(a=replies(400, WRONG)) as st:
        await asks(st, 5)
        assert len(st.asked["a"]) == 5
        assert st.daemon.health.spotless


async def test_a_rate_limit_is_a_rest_for_its_time(autojump_clock) -> None:
    limited = replies(429, RATE, headers=[("retry-after", "30")])
    async with two(a=[limited, replies(200, chat_answer("from a"))]) as st:
        first = (await asks(st, 3))[0]
        assert (first.status, len(st.asked["a"])) == (200, 1)
        await trio.sleep(29)
        await asks(st)
        assert len(st.asked["a"]) == 1
        await trio.sleep(2)
        await asks(st)
        assert len(st.asked["a"]) == 2


async def test_a_model_that_is_not_there_is_not_asked_for_again(autojump_clock) -> None:
    async with two(a=replies(404, MISSING)) as st:
        await asks(st, 2)
        assert len(st.asked["a"]) == 1
        await asks(st, 1, model="a/another")
        assert len(st.asked["a"]) == 2


async def test_with_nobody_else_the_client_is_told_when_to_come_again(autojump_clock) -> None:
    async with stage(openai("a", max_retries=0), up={"a": replies(500, BROKEN)}) as st:
        out = (await asks(st, 4))[-1]
    assert len(st.asked["a"]) == 3
    assert out.status == 503
    assert out.headers.get("retry-after") in ("2", "3")
    assert "3 failures in a row" in out.json["error"]["message"]


async def test_with_nobody_but_one_that_rests_the_client_is_rate_limited(autojump_clock) -> None:
    limited = replies(429, RATE, headers=[("retry-after", "90")])
    async with stage(openai("a", max_retries=0), up={"a": limited}) as st:
        out = (await asks(st, 2))[-1]
    assert len(st.asked["a"]) == 1
    assert (out.status, out.headers.get("retry-after")) == (429, "90")


async def test_what_was_seen_of_streams_is_kept(autojump_clock) -> None:
    up = {"a": streams(STREAM["openai"], chat_stream("hello"))}
    async with stage(openai("a"), up=up) as st:
        await asks(st, 2, stream=True)
        seen = st.daemon.health.seen["a"]
    assert seen.failing.value == 0
    assert seen.first_token_ms.value == pytest.approx(0, abs=5000)


async def test_a_half_open_circuit_lets_exactly_one_of_many_through(autojump_clock) -> None:
    async def slowly(up: Up) -> None:
        await up.request()
        await trio.sleep(1)
        await up.reply(200, chat_answer("from a"))

    async with two(a=[*[replies(500, BROKEN)] * 3, slowly, replies(200, chat_answer("a"))]) as st:
        await asks(st, 3)
        await trio.sleep(5)
        async with trio.open_nursery() as nursery:
            for _ in range(10):
                nursery.start_soon(asks, st)
        assert len(st.asked["a"]) == 4
        assert [r.provider for r in st.sink.records[-10:]].count("a") == 1
        assert st.daemon.health.spotless
        assert (await asks(st))[0].headers.get("x-router-provider") == "a"


async def test_who_fell_ill_while_a_request_was_elsewhere_is_passed_over(autojump_clock) -> None:
    """Its own decision was made before that; the record says why it did not go there."""

    async def slow_to_fail(up: Up) -> None:
        await up.request()
        await trio.sleep(1)
        await up.reply(503, BROKEN)

    up = {"a": slow_to_fail, "b": replies(500, BROKEN), "c": replies(200, chat_answer("from c"))}
    providers = [openai(name, max_retries=0) for name in "abc"]
    async with stage(*providers, up=up) as st:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(asks, st)
            await trio.sleep(0.5)
            for _ in range(3):
                nursery.start_soon(st.ask, "openai", request("openai", model="b/b-model"))
        first = next(r for r in st.sink.records if r.requested_model == "m")
    assert len(st.asked["b"]) == 3
    assert first.provider == "c"
    assert first.attempts == ("a/a-model: overloaded: it broke",)
    skipped = [step for step in first.trace if step.outcome == "skipped"]
    assert [(s.provider, s.code) for s in skipped] == [("b", "health")]
    assert "3 failures in a row" in skipped[0].reason


async def test_an_error_names_those_too_that_were_not_asked(autojump_clock) -> None:
    models = {"c": {"c-model": ModelInfo("c-model", frozenset({"completion"}))}}
    tool = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
    providers = [openai(name, max_retries=0) for name in "abc"]
    up = {"a": replies(500, BROKEN), "b": [*[replies(500, BROKEN)] * 3, replies(429, RATE)]}
    async with stage(*providers, up=up, models=models) as st:
        for _ in range(3):
            await st.ask("openai", request("openai", model="b/b-model"))
        out = await st.ask("openai", request("openai", tools=[tool]))
    words = out.json["error"]["message"]
    assert out.status >= 500
    assert words.startswith("it broke (not asked: ")
    assert "b/b-model: unhealthy: 3 failures in a row" in words
    assert "c/c-model: the model lacks 'tools'" in words


@pytest.mark.parametrize("fmt", ["openai", "anthropic"])
async def test_llamas_500_for_a_clients_mistake_is_the_clients(fmt: str, autojump_clock) -> None:
    """It does not count against the server, and nobody else is asked."""
    words = "[json.exception.out_of_range.403] key 'function' not found"
    wrong = {"error": {"code": 500, "message": words, "type": "server_error"}}
    providers = [Provider("a", fmt, "http://a"), openai("b")]
    up = {"a": replies(500, wrong), "b": replies(200, chat_answer("x"))}
    async with stage(*providers, up=up) as st:
        outs = [await st.ask(fmt, request(fmt)) for _ in range(4)]
        assert st.daemon.health.spotless
    assert st.dialled == ["a"] * len(st.dialled)
    assert {words in out.body.decode() for out in outs} == {True}
    assert {record.fault for record in st.sink.records} == {"client"}


async def test_a_date_in_retry_after_is_a_time_to_rest_for_provider_and_key(autojump_clock) -> None:
    when = formatdate(time.time() + 90, usegmt=True)
    limited = replies(429, RATE, headers=[("retry-after", when)])
    keys = (Secret("key-one"), Secret("key-two"))
    keyed = openai("b", key=keys[0], keys=keys, max_retries=0)
    up = {"a": limited, "b": [limited, replies(200, chat_answer("x"))]}
    async with stage(openai("a", max_retries=0), keyed, up=up) as st:
        out = (await asks(st))[0]
        assert out.status == 200
        assert st.daemon.health.rests["a"].until == pytest.approx(90, abs=5)
        resting = [key.until for key in st.daemon.keyring(keyed).snapshot(trio.current_time())]
    assert resting[0] == pytest.approx(90, abs=5)
    assert resting[1] is None
