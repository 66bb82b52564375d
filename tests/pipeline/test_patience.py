"""How long a client waits, and what becomes of its request when that is over."""

import math

import pytest
import trio
import trio.testing

from formats.errors import Failure
from llmrouterd.model import Headers, Routing, RuleSpec
from llmrouterd.pipeline.patience import ENDLESS, patience
from tests.pipeline.stage import (
    STREAM,
    Up,
    chat_answer,
    openai,
    replies,
    request,
    role_chunk,
    said,
    sse,
    stage,
    streams,
)

BUSY = {"error": {"message": "busy", "type": "server_error"}}
both = pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
THIRTY = [("x-router-timeout", "30")]


async def silent(up: Up) -> None:
    await up.request()
    await up.closed()


def of(signs: bool = False, **fields: str):
    raw = [(name.replace("_", "-").encode(), value.encode()) for name, value in fields.items()]
    return patience(Headers(raw), 100.0, signs=signs)


def test_without_a_word_there_is_no_end() -> None:
    assert of() is ENDLESS
    assert math.inf == ENDLESS.until


def test_the_clients_word_is_kept_and_an_sdks_is_a_hint() -> None:
    word = of(x_router_timeout="2.5", x_stainless_timeout="600")
    assert (word.until, word.kept) == (102.5, True)
    hint = of(x_stainless_timeout="600")
    assert (hint.until, hint.kept) == (700, False)
    assert of(x_stainless_read_timeout="60.0").until == 160


def test_a_stream_with_life_signs_outlives_an_sdks_timeout() -> None:
    assert of(True, x_stainless_timeout="600") is ENDLESS
    assert of(True, x_router_timeout="60").kept


@pytest.mark.parametrize("text", ["", "soon", "0", "-1", "inf", "nan", "1e999"])
def test_what_is_no_time_is_refused_from_a_client_and_overlooked_in_an_sdk(text: str) -> None:
    assert isinstance(of(x_router_timeout=text), Failure)
    assert of(x_stainless_timeout=text) is ENDLESS


@pytest.mark.parametrize("fmt", ["openai", "anthropic", "ollama"])
async def test_a_word_that_is_no_time_is_a_400(fmt: str, autojump_clock) -> None:
    async with stage(openai(), up={"a": silent}) as st:
        out = await st.ask(fmt, request(fmt), [("x-router-timeout", "soon")])
    assert out.status == 400
    assert "X-Router-Timeout" in out.body.decode()
    assert st.record.end == "refused"


@both
async def test_when_it_is_over_the_client_is_told_who_was_asked(
    stream: bool, autojump_clock: trio.testing.MockClock
) -> None:
    up = {"a": replies(503, BUSY), "b": silent, "c": silent}
    async with stage(openai("a"), openai("b"), openai("c"), up=up) as st:
        begun = trio.current_time()
        out = await st.ask("openai", request("openai", stream=stream), THIRTY)
        assert trio.current_time() - begun == pytest.approx(30, abs=0.1)
        assert "b" not in st.daemon.health.seen  # the time was the client's own, b is not slow
    assert st.dialled == ["a", "b"]
    assert out.status in (503, 504)
    text = out.json["error"]["message"]
    assert "a/a-model: busy" in text
    assert "b/b-model: the client's 30 s were over" in text
    assert "timeout:request" in st.record.attempts[1]


async def test_nothing_is_waited_for_that_would_begin_after_it(autojump_clock) -> None:
    limited = replies(429, BUSY, headers=[("retry-after", "8")])
    async with stage(openai("a"), up={"a": [limited, replies(200, chat_answer("x"))]}) as st:
        begun = trio.current_time()
        out = await st.ask("openai", request("openai"), [("x-router-timeout", "5")])
        assert trio.current_time() - begun < 0.1
    assert (out.status, out.headers.get("retry-after")) == (429, "8")
    async with stage(openai("a"), up={"a": [limited, replies(200, chat_answer("x"))]}) as st:
        out = await st.ask("openai", request("openai"), [("x-stainless-timeout", "5")])
    assert out.status == 429


async def test_what_has_begun_goes_on(autojump_clock) -> None:
    """It is for the beginning of an answer: the provider's own clocks look after the rest."""
    slow = streams(
        STREAM["openai"],
        sse(role_chunk(), said("a"), done=False),
        *[sse(said("b"), done=False)] * 5,
        sse(),
        pause_s=20,
    )
    async with stage(openai("a"), up={"a": slow}) as st:
        out = await st.ask("openai", request("openai", stream=True), THIRTY)
    assert out.body.count(b'"b"') == 5


async def test_an_sdks_timeout_does_not_end_what_runs(autojump_clock) -> None:
    async def late(up: Up) -> None:
        await up.request()
        await trio.sleep(9)
        await up.reply(200, chat_answer("late"))

    async with stage(openai("a"), up={"a": late}) as st:
        out = await st.ask("openai", request("openai"), [("x-stainless-timeout", "5")])
    assert b"late" in out.body


async def test_it_holds_for_two_beside_each_other(autojump_clock) -> None:
    rule = RuleSpec("fallback", "r", ("a", "b"), hedge_after_ms=1000)
    up = {"a": silent, "b": silent}
    async with stage(openai("a"), openai("b"), up=up, routing=Routing(rules=(rule,))) as st:
        begun = trio.current_time()
        out = await st.ask("openai", request("openai"), THIRTY)
        assert trio.current_time() - begun == pytest.approx(30, abs=0.1)
    assert out.status == 504
    assert out.headers.get("x-router-error") == "timeout:request"
