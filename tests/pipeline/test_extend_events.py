"""Plugins at the events of an answer, streamed or whole."""

import json
from collections.abc import Iterable
from dataclasses import replace

import pytest
import trio
import trio.testing

from formats import FORMATS as MODULES
from formats.canonical import Event, Response, TextDelta
from formats.fold import fold
from llmrouterd.hooks import Context, Plugin
from llmrouterd.plugins.response_healing import ResponseHealing
from tests.pipeline.plugged import (
    FORMATS,
    SSE,
    Diary,
    Scripted,
    Tagger,
    Wired,
    answering,
    both,
    installed,
)
from tests.pipeline.stage import (
    STREAM,
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

# --- events ---------------------------------------------------------------------------------------


class Bleep(Plugin):
    """Changes events as they pass; fails on one word, drops another."""

    id = "bleep"

    def on_event(self, event: Event, ctx: Context) -> Iterable[Event]:
        if isinstance(event, TextDelta):
            if event.text == "boom":
                raise ValueError("bang")
            if event.text == "drop":
                return ()
            return (replace(event, text=event.text.replace("damn", "****")),)
        return (event,)


@pytest.mark.parametrize("fmt", FORMATS)
@both
async def test_a_plugin_edits_events_of_streams_and_whole_answers_alike(
    fmt: str,
    stream: bool,
    autojump_clock: trio.testing.MockClock,
    caplog: pytest.LogCaptureFixture,
) -> None:
    words = ["damn ", "drop", "boom", " end"] if stream else ["damn "]
    up = streams(SSE, *(sse(role_chunk(), *map(said, words), done=False), chat_stream()))
    up = up if stream else replies(200, chat_answer("damn "))
    async with stage(openai(), up={"a": up}, plugins=[Bleep()]) as st:
        out = await st.ask(fmt, request(fmt, stream=stream))
    assert b"****" in out.body
    assert b"damn" not in out.body
    assert b"drop" not in out.body
    assert st.record.plugins == ("bleep",)
    assert st.record.response.text == ("**** boom end" if stream else "**** ")
    if stream:
        assert b"boom" in out.body
        assert "plugin 'bleep' failed in on_event: bang" in caplog.text


@pytest.mark.parametrize("fmt", FORMATS)
@both
async def test_each_plugin_sees_the_events_that_the_one_before_it_has_made(
    fmt: str, stream: bool, autojump_clock: trio.testing.MockClock
) -> None:
    def saying(word: str):
        return lambda events, ctx: [replace(event, text=f"{event.text}{word}") for event in events]

    diary = Diary()
    plugins = [
        Wired("one", diary, on_event=saying(" one")),
        Wired("two", diary),
        Wired("three", diary, on_event=saying(" three")),
    ]
    async with stage(openai(), up={"a": answering(stream=stream)}, plugins=plugins) as st:
        out = await st.ask(fmt, request(fmt, stream=stream))
    assert b"from a one three" in out.body
    told = [line for line in diary.lines if "on_event" in line]
    assert told == ["one.on_event", "two.on_event", "three.on_event"]
    assert st.record.plugins == ("one", "three")
    assert plugins[1].given["post_response"].text == "from a one three"


@both
async def test_one_that_gives_back_no_events_at_all_is_passed_over(
    stream: bool, autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    plugin = Wired("one", Diary(), on_event=lambda events, ctx: 7)
    async with stage(openai(), up={"a": answering(stream=stream)}, plugins=[plugin]) as st:
        out = await st.ask("openai", request("openai", stream=stream))
    assert b"from a" in out.body
    assert "plugin 'one' failed in on_event" in caplog.text
    assert st.record.plugins == ()


async def test_another_attempt_begins_another_stream(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """What a plugin keeps of a stream goes with it; what it keeps of the request stays."""

    def count(events, ctx):
        ctx.stream = (ctx.stream or 0) + 1
        return [replace(event, text=f"{ctx.state}{ctx.stream} ") for event in events]

    def keep(request_, ctx):
        ctx.state = "s"
        return request_

    plugin = Wired("one", Diary(), on_event=count, on_start=keep, recall=lambda value, ctx: None)
    broken = streams(SSE, sse(role_chunk(), done=False), cut=True)
    up = {"a": broken, "b": streams(SSE, chat_stream("x", "y"))}
    async with stage(openai(max_retries=0), openai("b"), up=up, plugins=[plugin]) as st:
        await st.ask("openai", request("openai", stream=True))
    assert st.record.response.text == "s1 s2 "


@both
async def test_one_that_holds_events_back_has_changed_them_only_if_it_says_so(
    stream: bool, autojump_clock: trio.testing.MockClock
) -> None:
    for says in (False, True):

        def late(events, ctx, says=says):
            if says:
                ctx.modified()
            return [replace(event, text=f"{event.text} ") for event in events]

        plugin = Wired("one", Diary(), on_event=late)
        plugin.delays = True
        async with stage(openai(), up={"a": answering(stream=stream)}, plugins=[plugin]) as st:
            await st.ask("openai", request("openai", stream=stream))
        assert st.record.plugins == (("one",) if says else ())


async def test_streams_keep_their_pace_when_a_plugin_only_looks(
    autojump_clock: trio.testing.MockClock,
) -> None:
    diary = Diary()
    plugin = Scripted("one", diary)
    script = streams(SSE, *(sse(said(f"{i}"), done=False) for i in range(3)), chat_stream())
    seen: list[str] = []

    async def each(data: bytes) -> None:
        seen.append("piece" if "one.post_response" not in diary.lines else "late")

    async with stage(openai(), up={"a": script}, plugins=[plugin]) as st:
        await st.ask("openai", request("openai", stream=True), each=each)
    assert seen[:3] == ["piece"] * 3


@pytest.mark.parametrize("client", FORMATS)
async def test_a_stream_is_healed_and_unfolded_in_the_clients_format(
    client: str, autojump_clock: trio.testing.MockClock
) -> None:
    parts = ["Sure:\n```json\n", '{"a": 1,', ' "b": [1, 2,]', "}\n```\n"]
    script = streams(SSE, sse(role_chunk(), *map(said, parts), done=False), chat_stream())
    plugin = installed(ResponseHealing({}), enabled=client == "ollama")
    asked = {} if client == "ollama" else {"plugins": [{"id": "response-healing"}]}
    async with stage(openai(), up={"a": script}, plugins=[plugin]) as st:
        out = await st.ask(client, request(client, stream=True, **asked))
    assert (out.headers.get("content-type") or "").startswith(STREAM[client])
    decoder = MODULES[client].decoder(limit=1 << 20)
    answer = fold([*decoder.feed(out.body), *decoder.eof()])
    assert isinstance(answer, Response)
    assert json.loads(answer.text) == {"a": 1, "b": [1, 2]}
    assert st.record.plugins == ("response-healing",)
    assert st.record.response.text == answer.text


@pytest.mark.parametrize("client", FORMATS)
async def test_without_te_trailers_there_are_none(
    client: str, autojump_clock: trio.testing.MockClock
) -> None:
    async with stage(
        openai(),
        up={"a": answering(stream=True)},
        response_classifiers=[installed(Tagger("late", Diary(), "r"))],
    ) as st:
        asked = await st.ask(client, request(client, stream=True), [("te", "trailers")])
        plain = await st.ask(client, request(client, stream=True))
    assert asked.trailers.get("x-router-response-tags") == "r"
    assert asked.trailers.get("x-router-input-tokens") == "7"
    assert asked.trailers.get("x-router-output-tokens") == "3"
    assert list(plain.trailers) == []
    assert [r.response_tags for r in st.sink.records] == [("r",), ("r",)]
