"""Answers that a rule does not want to be the last word."""

import json

import pytest
import trio
import trio.testing

from llmrouterd.classifiers.refusal import Refusal
from llmrouterd.hooks import Plugin
from llmrouterd.model import AttemptFailed, Routing, RuleSpec
from llmrouterd.pipeline.aside import HELD_BYTES
from llmrouterd.pipeline.daemon import Installed
from tests.pipeline.stage import (
    STREAM,
    anthropic,
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
both = pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
NO = "I'm sorry, but I can't do that."
BUSY = {"error": {"message": "busy", "type": "server_error"}}
REFUSALS = (Installed("refusal", Refusal({})),)


def says(text: str, *, stream: bool):
    return streams(SSE, chat_stream(text)) if stream else replies(200, chat_answer(text))


def choosy(*names: str, tags=("refusal",), **more) -> Routing:
    targets = tuple((name, "") for name in names)
    rule = RuleSpec("model", "r", match=("*",), targets=targets, retry_on_tags=tags, **more)
    return Routing(rules=(rule,))


def among(*providers, up, routing=None, **more):
    routing = routing or choosy(*(p.name for p in providers))
    return stage(*providers, up=up, routing=routing, response_classifiers=REFUSALS, **more)


@both
async def test_a_refusal_sends_the_walk_on(
    stream: bool, autojump_clock: trio.testing.MockClock
) -> None:
    up = {"a": says(NO, stream=stream), "b": says("Gladly.", stream=stream)}
    async with among(openai("a"), openai("b"), up=up) as st:
        out = await st.ask("openai", request("openai", stream=stream))
    assert b"Gladly." in out.body
    assert b"sorry" not in out.body
    assert out.headers.get("x-router-provider") == "b"
    assert out.headers.get("x-router-attempts") == "2"
    record = st.record
    assert record.attempts == ("a/m: tagged: its answer was tagged refusal",)
    assert (record.end, record.provider, record.response_tags) == ("complete", "b", ())
    told = [t.kind for t in st.sink.told if isinstance(t, AttemptFailed)]
    assert told == ["tagged"]
    assert st.daemon.health.spotless


@both
async def test_when_all_refuse_the_first_answer_is_given_with_its_tags(
    stream: bool, autojump_clock: trio.testing.MockClock
) -> None:
    up = {"a": says(NO + " A", stream=stream), "b": says(NO + " B", stream=stream)}
    async with among(openai("a"), openai("b"), up=up) as st:
        out = await st.ask("openai", request("openai", stream=stream))
    assert out.status == 200
    assert NO + " A" in out.body.decode()
    assert out.headers.get("x-router-provider") == "a"
    assert out.headers.get("x-router-attempts") == "2"
    if not stream:
        assert out.headers.get("x-router-response-tags") == "refusal"
    record = st.record
    assert (record.end, record.provider, record.response_tags) == ("complete", "a", ("refusal",))
    assert len(record.attempts) == 2
    assert record.error is None
    assert record.usage.output == 3
    response = record.response
    assert (response if hasattr(response, "text") else response.response()).text == NO + " A"


@both
async def test_when_the_others_fail_the_refusal_is_given_after_all(
    stream: bool, autojump_clock: trio.testing.MockClock
) -> None:
    up = {"a": says(NO, stream=stream), "b": replies(503, BUSY), "c": replies(400, BUSY)}
    providers = [openai("a"), openai("b", max_retries=0), openai("c")]
    async with among(*providers, up=up) as st:
        out = await st.ask("openai", request("openai", stream=stream))
    assert (out.status, st.record.end, st.record.provider) == (200, "complete", "a")
    assert NO in out.body.decode()
    assert len(st.record.attempts) == 3


@both
async def test_it_is_translated_like_any_other_answer(
    stream: bool, autojump_clock: trio.testing.MockClock
) -> None:
    up = {"a": says(NO, stream=stream), "b": says(NO, stream=stream)}
    async with among(openai("a"), openai("b"), up=up) as st:
        out = await st.ask("anthropic", request("anthropic", stream=stream))
    assert NO in out.body.decode()
    if stream:
        assert b"message_stop" in out.body
    else:
        assert out.json["stop_reason"] == "end_turn"


async def test_a_waiting_stream_gets_life_signs(autojump_clock: trio.testing.MockClock) -> None:
    slow = streams(SSE, sse(role_chunk(), done=False), chat_stream(NO), pause_s=40)
    up = {"a": slow, "b": says("Gladly.", stream=True)}
    async with among(openai("a"), openai("b"), up=up, life_sign_s=15) as st:
        out = await st.ask("openai", request("openai", stream=True))
    assert out.pieces[0].startswith(b":")
    assert b"Gladly." in out.body
    assert b"sorry" not in out.body


async def test_what_is_held_back_is_bounded(autojump_clock: trio.testing.MockClock) -> None:
    """An answer that long goes out unjudged."""
    piece = "x" * (HELD_BYTES // 8)
    pieces = [sse(said(piece), done=False) for _ in range(9)]
    up = {"a": streams(SSE, sse(role_chunk(), done=False), *pieces, chat_stream(NO)), "b": REFUSALS}
    async with among(openai("a"), openai("b"), up=up) as st:
        out = await st.ask("openai", request("openai", stream=True))
    assert out.status == 200
    assert len(out.pieces) > 1
    assert st.dialled == ["a"]
    assert st.record.response_tags == ("refusal",)  # told all the same


@both
async def test_tags_that_the_rule_does_not_name_pass(
    stream: bool, autojump_clock: trio.testing.MockClock
) -> None:
    up = {"a": says(NO, stream=stream), "b": says("Gladly.", stream=stream)}
    routing = choosy("a", "b", tags=("empty",))
    async with among(openai("a"), openai("b"), up=up, routing=routing) as st:
        out = await st.ask("openai", request("openai", stream=stream))
    assert NO in out.body.decode()
    assert st.record.response_tags == ("refusal",)
    assert st.dialled == ["a"]


@both
async def test_a_stream_that_breaks_while_it_is_held_is_walked_past(
    stream: bool, autojump_clock: trio.testing.MockClock
) -> None:
    broken = streams(SSE, sse(role_chunk(), said("Hel"), done=False), cut=True)
    up = {"a": broken, "b": says("Gladly.", stream=stream)}
    async with among(openai("a"), openai("b"), up=up) as st:
        out = await st.ask("openai", request("openai", stream=stream))
    assert b"Gladly." in out.body
    assert b"Hel" not in out.body
    assert st.record.end == "complete"


async def test_answers_that_nobody_got_are_paid_for(autojump_clock: trio.testing.MockClock) -> None:
    priced = [openai(n, cost_per_1m_tokens=1e6) for n in "ab"]  # ten tokens: ten dollars
    up = {"a": says(NO, stream=False), "b": says("Gladly.", stream=False)}
    async with among(*priced, up=up) as st:
        await st.ask("openai", request("openai"))
    assert st.record.cost_usd == pytest.approx(20)
    up = {"a": says(NO, stream=False), "b": says(NO, stream=False)}
    async with among(*priced, up=up) as st:
        await st.ask("openai", request("openai"))
    assert st.record.cost_usd == pytest.approx(20)


@both
async def test_each_answer_is_shown_to_the_classifiers_once(
    stream: bool, autojump_clock: trio.testing.MockClock
) -> None:
    shown: list[str] = []

    class Counting(Refusal):
        async def classify(self, request, response, ctx):
            shown.append(response.text)
            return await super().classify(request, response, ctx)

    up = {"a": says(NO, stream=stream), "b": says("Gladly.", stream=stream)}
    async with stage(
        openai("a"),
        openai("b"),
        up=up,
        routing=choosy("a", "b"),
        response_classifiers=[Installed("refusal", Counting({}))],
    ) as st:
        await st.ask("openai", request("openai", stream=stream))
    assert shown == [NO, "Gladly."]


@both
async def test_plugins_see_only_the_answer_that_is_given(
    stream: bool, autojump_clock: trio.testing.MockClock
) -> None:
    seen: list[str] = []

    class Looks(Plugin):
        id = "looks"

        async def post_response(self, response, ctx):
            seen.append(response.text)
            return response

    up = {"a": says(NO, stream=stream), "b": says("Gladly.", stream=stream)}
    async with among(openai("a"), openai("b"), up=up, plugins=[Looks()]) as st:
        await st.ask("openai", request("openai", stream=stream))
    assert seen == ["Gladly."]


async def test_with_hedging_too(autojump_clock: trio.testing.MockClock) -> None:
    """A refusal that won the race does not win the walk: the other one is asked again."""

    async def slow(up) -> None:
        await up.request()
        await trio.sleep(2)
        await up.reply(200, chat_answer("Gladly."))

    up = {"a": slow, "b": says(NO, stream=False)}
    routing = choosy("a", "b", hedge_after_ms=500)
    async with among(openai("a"), openai("b"), up=up, routing=routing) as st:
        out = await st.ask("openai", request("openai"))
    assert b"Gladly." in out.body
    assert st.record.attempts == (
        "a/m: hedged: cancelled: the first token came from b/m",
        "b/m: tagged: its answer was tagged refusal",
    )
    assert json.loads(out.body)["choices"][0]["message"]["content"] == "Gladly."


async def test_a_client_that_leaves_meanwhile(autojump_clock: trio.testing.MockClock) -> None:
    async def silent(up) -> None:
        await up.request()
        await up.closed()

    up = {"a": says(NO, stream=True), "b": silent}
    async with among(openai("a"), anthropic("b"), up=up) as st:

        async def leave() -> None:
            await trio.sleep(1)
            st.hang_up()

        await st.ask("openai", request("openai", stream=True), before_read=leave)
    assert st.record.end == "client_gone"
