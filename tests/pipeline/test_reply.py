"""The answering side: life signs, the head, errors before and after it."""

import json
from dataclasses import dataclass, field

import pytest
import trio
import trio.testing

from formats import FORMATS
from formats.canonical import Finished, Request, Started, TextDelta
from formats.errors import Failure
from formats.ledger import Ledger
from llmrouterd.edge.client import Client
from llmrouterd.model import Clocks
from llmrouterd.pipeline.reply import Reply, Tape
from llmrouterd.pipeline.story import Story
from tests.pipeline.stage import (
    REFUSED,
    STREAM,
    Up,
    anthropic,
    chat_answer,
    chat_stream,
    chunk,
    ollama,
    openai,
    replies,
    request,
    role_chunk,
    said,
    sse,
    stage,
)

SSE = STREAM["openai"]
PROVIDER = {"openai": openai, "anthropic": anthropic, "ollama": ollama}
OVERLOADED = {"error": {"message": "busy", "type": "server_error"}}
COMMENT = b": keep-alive\n\n"
PING = b'event: ping\ndata: {"type":"ping"}\n\n'


def slowly(head_s: float, first_s: float, between_s: float):
    """An upstream with a pause before its head, before its first content, and after that."""

    async def script(up: Up) -> None:
        await up.request()
        await trio.sleep(head_s)
        await up.head(SSE)
        await up.chunk(sse(role_chunk(), done=False))
        await trio.sleep(first_s)
        await up.chunk(sse(said("one"), done=False))
        await trio.sleep(between_s)
        await up.chunk(sse(said("two"), chunk({}, "stop")))
        await up.end()

    return script


# --- life signs -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("client", "sign"), [("openai", COMMENT), ("anthropic", PING)])
async def test_a_stream_that_waits_gets_life_signs(
    client: str, sign: bytes, autojump_clock: trio.testing.MockClock
) -> None:
    """35 s each before the head, before the first content and after it: two signs each time."""
    times: list[tuple[float, bytes]] = []
    begun = trio.current_time()

    async def each(data: bytes) -> None:
        times.append((round(trio.current_time() - begun), data))

    async with stage(openai(), up={"a": slowly(35, 35, 35)}, life_sign_s=15.0) as st:
        out = await st.ask(client, request(client, stream=True), each=each)
    signs = [(at, data) for at, data in times if data in (COMMENT, PING)]
    before, after = [s for s in signs if s[0] < 70], [s for s in signs if s[0] > 70]
    assert [at for at, _ in before] == [15, 30, 50, 65]
    assert {data for _, data in before} == {COMMENT}
    assert [at for at, _ in after] == [85, 100]
    assert {data for _, data in after} == {sign}
    assert st.record.end == "complete"
    assert b"message_start" not in b"".join(data for at, data in times if at < 70)
    assert b"one" in out.body
    assert out.status == 200


async def test_in_a_stream_that_passes_a_sign_stands_between_events(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async def script(up: Up) -> None:
        await up.request()
        await up.head(SSE)
        whole = sse(role_chunk(), said("one"), done=False)
        rest = sse(said("two"), chunk({}, "stop"))
        await up.chunk(whole + rest[:20])
        await trio.sleep(20)
        await up.chunk(rest[20:])
        await up.end()

    async with stage(openai(), up={"a": script}, life_sign_s=15.0) as st:
        out = await st.ask("openai", request("openai", stream=True))
    assert out.body == (
        sse(role_chunk(), said("one"), done=False) + COMMENT + sse(said("two"), chunk({}, "stop"))
    )


@pytest.mark.parametrize(
    ("client", "stream", "life_sign_s"),
    [("ollama", True, 15.0), ("openai", False, 15.0), ("openai", True, 0.0)],
    ids=["ndjson", "whole", "off"],
)
async def test_who_gets_no_life_sign(
    client: str, stream: bool, life_sign_s: float, autojump_clock: trio.testing.MockClock
) -> None:
    """Blank lines break NDJSON readers; a whole answer's status must stay open."""
    begun = trio.current_time()
    first: list[float] = []

    async def each(data: bytes) -> None:
        first.append(trio.current_time() - begun)

    async with stage(openai(), up={"a": slowly(40, 40, 40)}, life_sign_s=life_sign_s) as st:
        out = await st.ask(client, request(client, stream=stream), each=each)
    assert first[0] > 79
    assert COMMENT not in out.body
    if client == "ollama":
        assert all(json.loads(line) for line in out.body.splitlines())


@pytest.mark.parametrize("client", ["openai", "anthropic"])
async def test_after_a_life_sign_another_can_still_serve(
    client: str, autojump_clock: trio.testing.MockClock
) -> None:
    async def late_failure(up: Up) -> None:
        await up.request()
        await trio.sleep(20)
        await up.reply(500, OVERLOADED)

    up = {"a": late_failure, "b": slowly(0, 0, 0)}
    async with stage(openai("a"), openai("b"), up=up, life_sign_s=15.0) as st:
        out = await st.ask(client, request(client, stream=True))
    assert out.body.startswith(COMMENT)
    assert b"two" in out.body
    assert b"error" not in out.body
    assert (st.record.end, st.record.provider) == ("complete", "b")


async def test_a_pause_before_a_retry_has_life_signs_too(
    autojump_clock: trio.testing.MockClock,
) -> None:
    rate = replies(429, OVERLOADED, headers=[("retry-after", "9")])
    async with stage(openai(), up={"a": [rate, slowly(0, 0, 0)]}, life_sign_s=4.0) as st:
        begun = trio.current_time()
        out = await st.ask("openai", request("openai", stream=True))
        assert trio.current_time() - begun == pytest.approx(9, abs=0.5)
    assert out.body.startswith(COMMENT * 2 + b"data: ")


@pytest.mark.parametrize("client", ["openai", "anthropic"])
async def test_an_error_after_a_life_sign_is_an_event(
    client: str, autojump_clock: trio.testing.MockClock
) -> None:
    async def late_failure(up: Up) -> None:
        await up.request()
        await trio.sleep(20)
        await up.reply(400, {"error": {"message": "no such thing", "type": "x"}})

    async with stage(openai(), up={"a": late_failure}, life_sign_s=15.0) as st:
        out = await st.ask(client, request(client, stream=True))
    assert out.status == 200
    assert out.body.startswith(COMMENT)
    assert b"no such thing" in out.body
    assert b"[DONE]" not in out.body
    if client == "anthropic":
        assert b"event: error\n" in out.body
        assert b"message_start" not in out.body
    assert not out.cut
    assert (st.record.end, st.record.status, st.record.fault) == ("refused", 200, "client")


async def test_a_life_sign_does_not_start_the_upstreams_clock_anew(
    autojump_clock: trio.testing.MockClock,
) -> None:
    provider = openai(clocks=Clocks(first_token_s=40), max_retries=0)
    async with stage(provider, up={"a": slowly(100, 0, 0)}, life_sign_s=15.0) as st:
        begun = trio.current_time()
        out = await st.ask("openai", request("openai", stream=True))
        assert trio.current_time() - begun == pytest.approx(40, abs=0.5)
    assert out.body.startswith(COMMENT * 2)
    assert st.record.error_kind == "timeout:first_token"
    assert st.record.end == "upstream_error"


# --- the head -------------------------------------------------------------------------------------


@pytest.mark.parametrize("client", ["openai", "anthropic", "ollama"])
async def test_the_head_of_a_stream(client: str, autojump_clock: trio.testing.MockClock) -> None:
    async with stage(openai(), up={"a": slowly(0, 0, 0)}) as st:
        out = await st.ask(client, request(client, stream=True))
    assert out.headers.get("content-type") == FORMATS[client].STREAM_TYPE
    assert out.headers.get("cache-control") == "no-cache"
    assert out.headers.get("x-accel-buffering") == "no"
    assert out.headers.get("transfer-encoding") == "chunked"
    assert out.headers.get("x-router-input-tokens") is None


@pytest.mark.parametrize("client", ["openai", "anthropic", "ollama"])
async def test_a_whole_answer_for_a_stream_is_unfolded_and_the_other_way_round(
    client: str, autojump_clock: trio.testing.MockClock
) -> None:
    async def stubborn(up: Up) -> None:
        asked = await up.request()
        if asked.json.get("stream"):
            await up.reply(200, chat_answer("whole"))
        else:
            await up.head(SSE)
            await up.chunk(chat_stream("wh", "ole"))
            await up.end()

    async with stage(openai(), up={"a": stubborn}) as st:
        streamed = await st.ask(client, request(client, stream=True))
        plain = await st.ask(client, request(client))
    assert (streamed.headers.get("content-type") or "").startswith(STREAM[client])
    assert b'whole"' in streamed.body
    assert plain.headers.get("content-type") == "application/json"
    assert b'whole"' in plain.body
    assert [r.end for r in st.sink.records] == ["complete"] * 2


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
async def test_a_whole_answer_that_the_clients_format_cannot_show_is_an_upstreams_error(
    stream: bool, autojump_clock: trio.testing.MockClock
) -> None:
    """To an Ollama client, arguments are an object; a stubborn upstream answers a stream whole."""
    call = {"id": "c", "type": "function", "function": {"name": "add", "arguments": "{{ no"}}
    answer = chat_answer("")
    answer["choices"][0]["message"]["tool_calls"] = [call]
    answer["choices"][0]["finish_reason"] = "tool_calls"
    async with stage(openai(max_retries=0), up={"a": replies(200, answer)}) as st:
        out = await st.ask("ollama", request("ollama", stream=stream))
    assert out.status == 502
    assert "arguments" in json.loads(out.body)["error"]
    assert (st.record.end, st.record.fault) == ("upstream_error", "upstream")


# --- alone, over a scripted client ----------------------------------------------------------------


@dataclass
class FakeClient:
    """Notes what it was told to do."""

    headers_sent: bool = False
    did: list[object] = field(default_factory=list)

    async def start(self, status: int, headers: list) -> None:
        self.headers_sent = True
        self.did.append(("start", status))

    async def send(self, data: bytes) -> None:
        self.did.append(data)

    async def finish(self, trailers=()) -> None:
        self.did.append("finish")

    async def respond(self, status: int, headers: list, body: bytes) -> None:
        self.headers_sent = True
        self.did.append(("respond", status))

    def abort(self) -> None:
        self.did.append("abort")


async def reply_to(client: FakeClient, *, stream: bool, fmt: str = "openai") -> Reply:
    async with stage(openai(), up={"a": REFUSED}) as st:
        story = Story(st.daemon, client_format=fmt, endpoint="/x")
    as_client: Client = client  # type: ignore[assignment]
    reply = Reply(as_client, FORMATS[fmt], story, life_sign_s=15.0)
    reply.request = Request(fmt, "m", stream=stream)  # type: ignore[arg-type]
    return reply


async def test_the_two_marks() -> None:
    client = FakeClient()
    reply = await reply_to(client, stream=True)
    await reply.life_sign()
    assert client.did == [("start", 200), COMMENT]
    assert not reply.content_sent
    assert reply.story.first_token_ns is None
    await reply.send(b"x")
    assert reply.content_sent
    assert reply.story.first_token_ns is not None
    assert client.did[2:] == [b"x"]


async def test_a_whole_answer_that_broke_after_its_head_is_cut() -> None:
    client = FakeClient(headers_sent=True)
    reply = await reply_to(client, stream=False)
    await reply.fail(Failure("upstream", "boom"))
    assert client.did == ["abort"]


async def test_an_error_that_no_event_can_tell_any_more_cuts_the_stream() -> None:
    """A clean end comes from Finished alone."""
    client = FakeClient(headers_sent=True)
    reply = await reply_to(client, stream=True)
    encode = reply.new_encoder(Ledger()).encode
    for event in (Started("", "m"), TextDelta(0, "x"), Finished("end_turn")):
        encode(event)
    await reply.fail(Failure("upstream", "boom"))
    assert client.did == ["abort"]


async def test_an_error_that_the_client_has_had_is_not_told_again() -> None:
    client = FakeClient(headers_sent=True)
    reply = await reply_to(client, stream=True)
    reply.error_told = True
    await reply.fail(Failure("upstream", "boom"))
    assert client.did == ["finish"]


async def test_an_error_before_the_request_is_understood_is_a_plain_answer() -> None:
    client = FakeClient()
    reply = await reply_to(client, stream=True)
    reply.request = None
    assert not reply.streaming
    assert reply.quiet_s == 0
    await reply.fail(Failure("bad_request", "no"))
    assert client.did == [("respond", 400)]
    assert reply.story.status == 400


# --- what is kept ---------------------------------------------------------------------------------


def test_a_tape_has_the_whole_answer_or_nothing_of_it():
    tape = Tape(6)
    assert tape.whole() is None
    tape.add(b"abc")
    tape.add(b"def")
    assert tape.whole() == b"abcdef"
    tape.add(b"g")
    assert tape.whole() is None
    tape.add(b"h")
    assert tape.whole() is None
