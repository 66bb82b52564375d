"""What a request meets at a provider decides whether the next ones go there."""

import pytest
import trio
import trio.testing

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
        await trio.sleep(31)
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
