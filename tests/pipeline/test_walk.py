"""The walk: who is asked next, and what a failure of everybody looks like."""

import pytest
import trio
import trio.testing

from llmrouterd.model import Clocks, Routed
from tests.pipeline.stage import (
    REFUSED,
    STREAM,
    Up,
    chat_answer,
    chat_stream,
    openai,
    replies,
    request,
    role_chunk,
    said,
    sse,
    stage,
    streams,
)

SSE = STREAM["openai"]
FORMATS = ["openai", "anthropic", "ollama"]
both = pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
OVERLOADED = {"error": {"message": "busy", "type": "server_error"}}
RATE = {"error": {"message": "slow down", "type": "requests", "code": "rate_limit_exceeded"}}


def answering(text: str = "hello", *, stream: bool = False):
    return streams(SSE, chat_stream(text)) if stream else replies(200, chat_answer(text))


async def silent(up: Up) -> None:
    await up.request()
    await up.closed()


@both
async def test_the_next_candidate_is_asked_before_any_retry(
    stream: bool, autojump_clock: trio.testing.MockClock
) -> None:
    up = {"a": replies(503, OVERLOADED), "b": answering("from b", stream=stream)}
    async with stage(openai("a"), openai("b"), up=up) as st:
        begun = trio.current_time()
        out = await st.ask("openai", request("openai", stream=stream))
        assert trio.current_time() - begun < 0.3
    assert st.dialled == ["a", "b"]
    assert b"from b" in out.body
    assert out.headers.get("x-router-provider") == "b"
    assert out.headers.get("x-router-attempts") == "2"
    assert [type(t) for t in st.sink.told].count(Routed) == 2
    assert st.record.attempts == ("a/a-model: overloaded: busy",)
    assert st.record.provider == "b"
    assert st.record.end == "complete"


async def test_when_nobody_else_is_left_the_same_one_is_asked_again_after_a_pause(
    autojump_clock: trio.testing.MockClock,
) -> None:
    up = {"a": [replies(503, OVERLOADED), answering("second")]}
    async with stage(openai("a"), up=up) as st:
        begun = trio.current_time()
        out = await st.ask("openai", request("openai"))
        assert 0.3 < trio.current_time() - begun < 0.8
    assert b"second" in out.body
    assert len(st.asked["a"]) == 2
    assert out.headers.get("x-router-attempts") == "2"


@both
async def test_retry_after_is_honoured(
    stream: bool, autojump_clock: trio.testing.MockClock
) -> None:
    up = {
        "a": [replies(429, RATE, headers=[("retry-after", "4")]), answering(stream=stream)],
    }
    async with stage(openai("a"), up=up) as st:
        begun = trio.current_time()
        out = await st.ask("openai", request("openai", stream=stream))
        assert trio.current_time() - begun == pytest.approx(4, abs=0.5)
    assert out.status == 200


async def test_a_pause_too_long_is_the_clients_to_wait(
    autojump_clock: trio.testing.MockClock,
) -> None:
    up = {"a": replies(429, RATE, headers=[("retry-after", "60.2")])}
    async with stage(openai("a"), up=up) as st:
        out = await st.ask("openai", request("openai"))
    assert out.status == 429
    assert out.headers.get("retry-after") == "61"
    assert out.headers.get("x-router-error") == "rate_limit"
    assert out.json["error"]["message"] == "slow down"
    assert len(st.asked["a"]) == 1
    assert (st.record.end, st.record.fault) == ("upstream_error", "upstream")


async def test_retries_are_bounded_by_the_providers_own_number(
    autojump_clock: trio.testing.MockClock,
) -> None:
    up = {"a": replies(500, OVERLOADED), "b": replies(500, OVERLOADED)}
    async with stage(openai("a", max_retries=2), openai("b", max_retries=0), up=up) as st:
        out = await st.ask("openai", request("openai"))
    assert (len(st.asked["a"]), len(st.asked["b"])) == (3, 1)
    assert out.status in (500, 502)
    assert len(st.record.attempts) == 4
    assert out.headers.get("x-router-attempts") == "4"


@pytest.mark.parametrize("fmt", FORMATS)
@both
async def test_the_last_error_names_every_candidate(
    fmt: str, stream: bool, autojump_clock: trio.testing.MockClock
) -> None:
    up = {"a": REFUSED, "b": replies(500, {"error": {"message": "boom"}})}
    async with stage(openai("a"), openai("b", max_retries=0), up=up) as st:
        out = await st.ask(fmt, request(fmt, stream=stream))
    text = out.body.decode()
    assert "a/a-model: " in text
    assert "connection refused" in text
    assert "b/b-model: boom" in text
    assert out.status >= 500
    assert out.headers.get("content-type") == "application/json"
    assert out.headers.get("x-router-error") == "upstream"
    assert (st.record.end, st.record.fault) == ("upstream_error", "upstream")
    assert st.record.status == out.status


@pytest.mark.parametrize("status", [400, 404, 413, 422])
async def test_a_mistake_of_the_client_ends_the_walk_with_the_upstreams_own_words(
    status: int, autojump_clock: trio.testing.MockClock
) -> None:
    body = {"error": {"message": "bad thing", "type": "invalid_request_error", "param": "x"}}
    up = {"a": replies(status, body), "b": answering()}
    async with stage(openai("a"), openai("b"), up=up) as st:
        out = await st.ask("openai", request("openai"))
    if status == 404:  # perhaps another has it
        assert st.dialled in (["a"], ["a", "b"])
        return
    assert st.dialled == ["a"]
    assert out.status == status
    assert out.json["error"].items() >= body["error"].items()
    assert (st.record.end, st.record.fault) == ("refused", "client")


@pytest.mark.parametrize("status", [401, 403])
async def test_a_credential_that_fails_is_never_taken_for_the_clients(
    status: int, autojump_clock: trio.testing.MockClock
) -> None:
    body = {"error": {"message": "Incorrect API key", "code": "invalid_api_key"}}
    up = {"a": replies(status, body)}
    async with stage(openai("a"), up=up) as st:
        out = await st.ask("openai", request("openai"))
    assert out.status == 502
    assert out.headers.get("x-router-error") == "credential"
    assert out.headers.get("x-should-retry") == "false"
    assert out.json["error"].get("code") != "invalid_api_key"
    assert st.record.fault == "owner"


# --- the clocks -----------------------------------------------------------------------------------


async def hangs_after(up: Up, *chunks: bytes) -> None:
    await up.request()
    await up.head(SSE)
    for piece in chunks:
        await up.chunk(piece)
    await up.closed()


async def role_only(up: Up) -> None:
    await hangs_after(up, sse(role_chunk(), done=False), b": hm\n\n")


async def one_word(up: Up) -> None:
    await hangs_after(up, sse(role_chunk(), said("Hel"), done=False))


async def word_by_word(up: Up) -> None:
    await up.request()
    await up.head(SSE)
    while True:
        await up.chunk(sse(said("x"), done=False))
        await trio.sleep(1)


@pytest.mark.parametrize(
    ("clocks", "script", "name", "seconds"),
    [
        ({"connect_s": 3}, None, "connect", 3),
        ({"first_token_s": 7}, silent, "first_token", 7),
        ({"first_token_s": 7}, role_only, "first_token", 7),  # those are no token
        ({"idle_s": 4}, one_word, "idle", 4),
        ({"total_s": 9}, word_by_word, "total", 9),
    ],
    ids=["connect", "silent", "role only", "idle", "total"],
)
async def test_each_clock_says_its_name_and_what_it_was_set_to(
    clocks: dict, script, name: str, seconds: float, autojump_clock: trio.testing.MockClock
) -> None:
    provider = openai("a", clocks=Clocks(**clocks), max_retries=0)
    async with stage(provider, up={"a": script or silent}) as st:
        if script is None:

            async def dial(*args, **more):
                await trio.sleep_forever()

            st.pool._dial = dial
        begun = trio.current_time()
        out = await st.ask("openai", request("openai", stream=True))
        assert trio.current_time() - begun == pytest.approx(seconds, abs=0.1)
    assert f"{name} clock ran out after {seconds} s" in out.body.decode()
    assert st.record.error_kind == f"timeout:{name}"
    assert st.record.attempts[0].startswith(f"a/a-model: timeout:{name}: ")


async def test_a_stream_that_stalls_before_its_first_token_is_walked_past(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Its 200, its head and its role chunk are not the client's yet."""
    provider = openai("a", clocks=Clocks(first_token_s=7))
    up = {"a": role_only, "b": answering("from b", stream=True)}
    async with stage(provider, openai("b"), up=up, life_sign_s=5) as st:
        out = await st.ask("openai", request("openai", stream=True))
    assert out.pieces[0].startswith(b":")  # the head went with a life sign
    assert b"from b" in out.body
    assert out.body.count(b'"role"') == 1
    assert st.record.end == "complete"
