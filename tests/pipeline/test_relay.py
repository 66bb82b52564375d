"""The pump: bytes that pass unchanged, marks, ends, clocks. Through the real edge and pipeline."""

import itertools
import json
import random

import pytest
import trio
import trio.testing

from formats import FORMATS
from formats.canonical import Response, Text
from llmrouterd.hooks import Context, Plugin
from llmrouterd.model import Clocks, Unread
from llmrouterd.pipeline import relay
from llmrouterd.pipeline.daemon import Installed
from tests.pipeline.stage import (
    GOLDEN,
    GOLDEN_FORMAT,
    REFUSED,
    STREAM,
    Up,
    anthropic,
    chat_stream,
    chunk,
    ollama,
    openai,
    replies,
    request,
    responses,
    role_chunk,
    said,
    sse,
    stage,
    streams,
    usage_chunk,
)

PROVIDER = {
    "openai": openai,
    "completions": openai,
    "responses": responses,
    "anthropic": anthropic,
    "ollama": ollama,
    "generate": ollama,
}
NAMED = ("ollama", "generate")  # their clients know a model by the name they asked for
SSE = STREAM["openai"]


def golden(*, stream: bool) -> list:
    index = json.loads((GOLDEN / "index.json").read_text())
    return [
        pytest.param(GOLDEN_FORMAT[entry["format"]], entry, id=entry["file"])
        for entry in index["entries"]
        if entry["format"] in GOLDEN_FORMAT
        and entry["http_status"] == 200
        and entry["stream"] is stream
    ]


def model_in(data: bytes) -> str:
    """The name that the transcript has: whoever asks by it sees no name changed."""
    return data.split(b'"model":"', 1)[1].split(b'"', 1)[0].decode()


def pieces(data: bytes, sizes) -> list[bytes]:
    out, at = [], 0
    while at < len(data):
        size = next(sizes)
        out.append(data[at : at + size])
        at += size
    return out


async def through(fmt: str, data: bytes, cuts: list[bytes], error: str | None) -> None:
    model = model_in(data)
    provider = PROVIDER[fmt]()
    async with stage(provider, up={"a": streams(STREAM[fmt], *cuts)}) as st:
        out = await st.ask(fmt, request(fmt, stream=True, model=f"a/{model}"))
    record = st.record
    if fmt in NAMED:
        data = data.replace(f'"model":"{model}"'.encode(), f'"model":"a/{model}"'.encode())
    assert out.status == 200
    assert out.body == data
    assert not out.cut
    assert record.end == ("upstream_error" if error else "complete")
    assert record.error == error
    assert record.fault == ("upstream" if error else "")


def random_sizes(name: str, sizes: list[int]):
    chance = random.Random(name)
    return iter(lambda: chance.choice(sizes), None)


@pytest.mark.parametrize(("fmt", "entry"), golden(stream=True))
async def test_a_stream_of_the_same_format_passes_byte_for_byte(
    fmt: str, entry: dict, autojump_clock: trio.testing.MockClock
) -> None:
    """In pieces so small that an error does not come together with the first content: then
    nothing was sent, and the error would be the answer."""
    data = (GOLDEN / entry["file"]).read_bytes()
    error = entry["canonical"]["error"]
    sizes = random_sizes(entry["file"], [1, 2, 7, 40] if error else [1, 7, 60, 300])
    await through(fmt, data, pieces(data, sizes), error["message"] if error else None)


@pytest.mark.parametrize(
    ("fmt", "entry"),
    [param for param in golden(stream=True) if not param.values[1]["canonical"]["error"]],
)
async def test_a_stream_that_comes_in_one_piece_passes_byte_for_byte(
    fmt: str, entry: dict, autojump_clock: trio.testing.MockClock
) -> None:
    data = (GOLDEN / entry["file"]).read_bytes()
    await through(fmt, data, [data], None)


@pytest.mark.slow
@pytest.mark.parametrize(("fmt", "entry"), golden(stream=True))
async def test_a_stream_in_single_bytes_passes_byte_for_byte(
    fmt: str, entry: dict, autojump_clock: trio.testing.MockClock
) -> None:
    data = (GOLDEN / entry["file"]).read_bytes()
    error = entry["canonical"]["error"]
    cuts = pieces(data, itertools.repeat(1))
    await through(fmt, data, cuts, error["message"] if error else None)


@pytest.mark.parametrize(("fmt", "entry"), golden(stream=False))
async def test_a_whole_answer_of_the_same_format_passes_byte_for_byte(
    fmt: str, entry: dict, autojump_clock: trio.testing.MockClock
) -> None:
    data = (GOLDEN / entry["file"]).read_bytes()
    async with stage(PROVIDER[fmt](), up={"a": replies(200, data)}) as st:
        out = await st.ask(fmt, request(fmt, model=f"a/{model_in(data)}"))
    assert out.status == 200
    if fmt in NAMED:
        model = model_in(data)
        data = data.replace(f'"model":"{model}"'.encode(), f'"model":"a/{model}"'.encode())
    assert out.body == data
    assert st.record.end == "complete"


@pytest.mark.parametrize(("fmt", "entry"), golden(stream=True))
async def test_what_passed_can_be_read_for_the_record(
    fmt: str, entry: dict, autojump_clock: trio.testing.MockClock
) -> None:
    data = (GOLDEN / entry["file"]).read_bytes()
    async with stage(PROVIDER[fmt](), up={"a": streams(STREAM[fmt], data[:-9], data[-9:])}) as st:
        await st.ask(fmt, request(fmt, stream=True))
    response = st.record.response
    assert isinstance(response, Unread)
    read = response.response()
    assert read is not None
    assert read.text == entry["canonical"]["text"]
    assert response.response() is read


# --- the two marks --------------------------------------------------------------------------------


async def test_nothing_is_sent_before_the_first_content(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Role chunks and comments of one upstream are not seen when another one answers."""
    first = b": PROCESSING\n\n" + sse(role_chunk(), done=False)
    bad = streams(SSE, first, cut=True)
    good = streams(SSE, chat_stream("from b"))
    async with stage(openai("a", max_retries=0), openai("b"), up={"a": bad, "b": good}) as st:
        out = await st.ask("openai", request("openai", stream=True))
    assert out.body == chat_stream("from b")
    assert st.record.end == "complete"
    assert st.record.provider == "b"
    assert st.dialled == ["a", "b"]
    assert len(st.record.attempts) == 1
    assert "truncated" in st.record.attempts[0]
    assert out.headers.get("x-router-attempts") == "2"


@pytest.mark.parametrize("fmt", ["openai", "anthropic", "ollama"])
async def test_an_error_event_before_content_leaves_the_walk_free(
    fmt: str, autojump_clock: trio.testing.MockClock
) -> None:
    bad = streams(SSE, sse(role_chunk(), {"error": {"message": "CUDA error", "code": 500}}))
    good = streams(SSE, chat_stream("from b"))
    async with stage(openai("a", max_retries=0), openai("b"), up={"a": bad, "b": good}) as st:
        out = await st.ask(fmt, request(fmt, stream=True))
    assert b"from b" in out.body
    assert b"CUDA" not in out.body
    assert st.record.end == "complete"


async def test_after_content_nobody_else_is_asked(autojump_clock: trio.testing.MockClock) -> None:
    bad = streams(SSE, sse(role_chunk(), said("Hel"), done=False), cut=True)
    async with stage(openai("a"), openai("b"), up={"a": bad, "b": REFUSED}) as st:
        out = await st.ask("openai", request("openai", stream=True))
    assert st.dialled == ["a"]
    assert out.body.startswith(sse(role_chunk(), said("Hel"), done=False))
    assert b'"error"' in out.body
    assert st.record.end == "truncated"


async def test_what_is_held_back_is_bounded(autojump_clock: trio.testing.MockClock) -> None:
    flood = [b": " + b"x" * 65536 + b"\n\n"] * 8
    bad = streams(SSE, *flood, chat_stream("too late"))
    good = streams(SSE, chat_stream("from b"))
    async with stage(openai("a", max_retries=0), openai("b"), up={"a": bad, "b": good}) as st:
        out = await st.ask("openai", request("openai", stream=True))
    assert out.body == chat_stream("from b")
    assert "no content in the first" in st.record.attempts[0]


async def test_what_is_held_back_within_the_bound_goes_out_with_the_content(
    autojump_clock: trio.testing.MockClock,
) -> None:
    comment = b": " + b"x" * (relay.HELD_LIMIT // 2) + b"\n\n"
    async with stage(openai("a"), up={"a": streams(SSE, comment, chat_stream("hi"))}) as st:
        out = await st.ask("openai", request("openai", stream=True))
    assert out.body == comment + chat_stream("hi")


# --- ends -----------------------------------------------------------------------------------------

ENDS = {
    "openai": b"data: [DONE]\n\n",
    "anthropic": b'data: {"type":"message_stop"}\n\n',
    "ollama": b'"done":true',
}


BEFORE_THE_END = {
    "openai": b'"finish_reason":"stop"',
    "anthropic": b"content_block_stop",
    "ollama": b'{"model":"qwen3:8b","created_at":"2026-11-23T10:00:01.123456Z","message":{"role":"assistant","content":""},"done":true',
}


def golden_plain(fmt: str) -> bytes:
    folder = {v: k for k, v in GOLDEN_FORMAT.items()}[fmt]
    return (GOLDEN / folder / ("plain.ndjson" if fmt == "ollama" else "plain.sse")).read_bytes()


@pytest.mark.parametrize("up", ["openai", "anthropic", "ollama"])
@pytest.mark.parametrize("client", ["openai", "anthropic", "ollama"])
async def test_a_cut_after_the_end_mark_is_complete(
    client: str, up: str, autojump_clock: trio.testing.MockClock
) -> None:
    data = golden_plain(up)
    async with stage(
        PROVIDER[up](), up={"a": streams(STREAM[up], data[:-1], data[-1:], cut=True)}
    ) as st:
        out = await st.ask(client, request(client, stream=True))
    assert st.record.end == "complete"
    assert not out.cut
    assert b"error" not in out.body


@pytest.mark.parametrize("up", ["openai", "anthropic", "ollama"])
@pytest.mark.parametrize("client", ["openai", "anthropic", "ollama"])
async def test_silence_after_the_end_mark_is_complete(
    client: str, up: str, autojump_clock: trio.testing.MockClock
) -> None:
    """An upstream that says all and then neither ends its body nor closes."""

    async def script(it: Up) -> None:
        await it.request()
        await it.head(STREAM[up])
        await it.chunk(golden_plain(up))
        await it.closed()

    async with stage(PROVIDER[up](), up={"a": script}) as st:
        begun = trio.current_time()
        out = await st.ask(client, request(client, stream=True))
        assert trio.current_time() - begun < 1
    assert st.record.end == "complete"
    assert not out.cut
    assert b"error" not in out.body


@pytest.mark.parametrize("how", ["cut", "end"])
@pytest.mark.parametrize("up", ["openai", "anthropic", "ollama"])
@pytest.mark.parametrize("client", ["openai", "anthropic", "ollama"])
async def test_an_end_before_the_end_mark_is_truncated_and_told(
    client: str, up: str, how: str, autojump_clock: trio.testing.MockClock
) -> None:
    whole = golden_plain(up)
    some = whole[: whole.index(BEFORE_THE_END[up])]
    if up != "ollama":
        some = some[: some.rindex(b"\n\n") + 2]
    async with stage(
        PROVIDER[up](), up={"a": streams(STREAM[up], some, b'{"par', cut=how == "cut")}
    ) as st:
        out = await st.ask(client, request(client, stream=True))
    assert st.record.end == "truncated"
    assert st.record.fault == "upstream"
    assert out.status == 200
    assert not out.cut  # the error event ends it: readers of all three raise on it
    assert out.body.count(b'"error"') == (2 if client == "anthropic" else 1)
    assert ENDS[client] not in out.body
    assert b"[DONE]" not in out.body
    if client == up:
        assert out.body.startswith(some.replace(b"qwen3:8b", b"m"))


async def test_a_partial_event_never_reaches_the_client(
    autojump_clock: trio.testing.MockClock,
) -> None:
    whole = sse(role_chunk(), said("Hel"), done=False)
    part = b'data: {"choices":[{"index":0,"del'
    async with stage(openai(), up={"a": streams(SSE, whole, part, cut=True)}) as st:
        out = await st.ask("openai", request("openai", stream=True))
    assert out.body.startswith(whole)
    assert part not in out.body


@pytest.mark.parametrize("client", ["openai", "anthropic", "ollama"])
@pytest.mark.parametrize("up", ["openai", "anthropic", "ollama"])
async def test_an_upstreams_error_event_is_told_once(
    client: str, up: str, autojump_clock: trio.testing.MockClock
) -> None:
    folder = {v: k for k, v in GOLDEN_FORMAT.items()}[up]
    name = "error-mid.ndjson" if up == "ollama" else "error-mid.sse"
    data = (GOLDEN / folder / name).read_bytes()
    at = data.rindex(b"event: error") if up == "anthropic" else data.rindex(b"\n", 0, -3) + 1
    async with stage(PROVIDER[up](), up={"a": streams(STREAM[up], data[:at], data[at:])}) as st:
        out = await st.ask(client, request(client, stream=True))
    assert st.record.end == "upstream_error"
    assert out.body.count(st.record.error.encode()) == 1
    if client == up:
        assert out.body == data.replace(b'"model":"qwen3:8b"', b'"model":"m"')
    assert b"[DONE]" not in out.body


@pytest.mark.parametrize(
    "event",
    [
        b'error: {"code":500,"message":"boom","type":"server_error"}\n\n',
        sse(chunk({}, "error"), done=False),
        b'data: {"choices":[{"finish_reason":"stop"\n\n',
    ],
    ids=["field", "finish_reason", "garbled"],
)
async def test_an_error_that_no_client_would_see_is_told_in_the_formats_own_event(
    event: bytes, autojump_clock: trio.testing.MockClock
) -> None:
    """What SDKs overlook (an `error:` field, a finish_reason of its own) would look like success."""
    start = sse(role_chunk(), said("Hel"), done=False)
    async with stage(openai(), up={"a": streams(SSE, start, event)}) as st:
        out = await st.ask("openai", request("openai", stream=True))
    assert st.record.end == "upstream_error"
    last = out.body.rstrip().rsplit(b"\n\n", 1)[-1]
    assert "error" in json.loads(last.removeprefix(b"data: "))


def bad_call() -> dict:
    """A call that Ollama's format cannot show: its arguments are no JSON."""
    function = {"name": "add", "arguments": "{{ no"}
    return chunk({"tool_calls": [{"index": 0, "id": "c", "function": function}]})


async def test_what_the_encoder_cannot_write_is_an_error_of_the_upstreams_told_once(
    autojump_clock: trio.testing.MockClock,
) -> None:
    data = sse(role_chunk(), said("Hel"), bad_call(), chunk({}, "tool_calls"))
    async with stage(openai(), up={"a": streams(SSE, data[:-20], data[-20:])}) as st:
        out = await st.ask("ollama", request("ollama", stream=True))
    assert (st.record.end, st.record.fault) == ("upstream_error", "upstream")
    lines = [json.loads(line) for line in out.body.splitlines()]
    assert lines[0]["message"]["content"] == "Hel"
    assert [line for line in lines if "error" in line] == [{"error": st.record.error}]
    assert not any(line.get("done") for line in lines)
    assert not out.cut


async def test_what_the_encoder_cannot_write_before_content_is_another_upstreams_to_serve(
    autojump_clock: trio.testing.MockClock,
) -> None:
    bad = streams(SSE, sse(role_chunk(), bad_call(), chunk({}, "tool_calls")))
    good = streams(SSE, chat_stream("from b"))
    async with stage(openai("a", max_retries=0), openai("b"), up={"a": bad, "b": good}) as st:
        out = await st.ask("ollama", request("ollama", stream=True))
    assert b"from b" in out.body
    assert b"error" not in out.body
    assert (st.record.end, st.record.provider) == ("complete", "b")
    assert len(st.record.attempts) == 1


async def test_a_garbled_line_after_content_is_told_at_once(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Not at the end of an upstream that goes on for ever."""
    line = b'{"model":"m","message":{"role":"assistant","content":"x"},"done":false}\n'

    async def script(up: Up) -> None:
        await up.request()
        await up.head(STREAM["ollama"])
        await up.chunk(line)
        await up.chunk(b"<html>\n")
        while True:
            await up.chunk(line)
            await trio.sleep(1)

    async with stage(ollama(), up={"a": script}) as st:
        out = await st.ask("ollama", request("ollama", stream=True))
    assert out.body.startswith(line)
    assert b"<html>" not in out.body.splitlines()[-1] or b'"error"' in out.body.splitlines()[-1]
    assert out.body.count(b'"error"') == 1
    assert st.record.end == "upstream_error"


# --- clocks ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("client", ["openai", "anthropic", "ollama"])
async def test_a_stalled_stream_is_told_and_recorded(
    client: str, autojump_clock: trio.testing.MockClock
) -> None:
    async def script(up: Up) -> None:
        await up.request()
        await up.head(SSE)
        await up.chunk(sse(role_chunk(), said("Hel"), done=False))
        await up.closed()

    async with stage(openai(clocks=Clocks(idle_s=30)), up={"a": script}) as st:
        begun = trio.current_time()
        out = await st.ask(client, request(client, stream=True))
        assert trio.current_time() - begun == pytest.approx(30, abs=0.5)
    assert st.record.end == "stalled"
    assert st.record.error_kind == "timeout:idle"
    assert st.record.fault == "upstream"
    assert b'"error"' in out.body


async def test_before_content_the_first_token_clock_runs_on(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Heartbeats of an upstream are no tokens."""

    async def script(up: Up) -> None:
        await up.request()
        await up.head(SSE)
        while True:
            await up.chunk(b": still here\n\n")
            await trio.sleep(5)

    clocks = Clocks(first_token_s=60, idle_s=10)
    async with stage(openai(clocks=clocks, max_retries=0), up={"a": script}) as st:
        begun = trio.current_time()
        out = await st.ask("openai", request("openai", stream=True))
        assert trio.current_time() - begun == pytest.approx(60, abs=1)
    assert out.status == 504
    assert out.headers.get("x-router-error") == "timeout:first_token"


async def slow_reader(data: bytes) -> None:
    await trio.sleep(25)


@pytest.mark.parametrize("client", ["openai", "anthropic"])
async def test_a_slow_client_is_not_a_stalled_upstream(
    client: str, autojump_clock: trio.testing.MockClock
) -> None:
    """Every write waits 25 s for the client, the upstream's clock would allow 10 s of silence."""
    chunks = [sse(said(f"{i} "), done=False) for i in range(5)]
    chunks = [sse(role_chunk(), done=False), *chunks, sse(chunk({}, "stop"), usage_chunk())]
    provider = openai(clocks=Clocks(idle_s=10, first_token_s=10))
    async with stage(provider, up={"a": streams(SSE, *chunks)}) as st:
        st.pair = trio.testing.lockstep_stream_pair
        out = await st.ask(client, request(client, stream=True), each=slow_reader)
    assert st.record.end == "complete"
    assert b"4 " in out.body


async def test_the_last_write_waits_for_the_client_too(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """An answer whose end mark came with the cut: all of it goes out in one last write."""
    data = sse(role_chunk(), chunk({}, "stop"))

    async def late() -> None:
        await trio.sleep(25)

    provider = openai(clocks=Clocks(idle_s=10, first_token_s=10))
    async with stage(provider, up={"a": streams(SSE, data[:-14], data[-14:], cut=True)}) as st:
        st.pair = trio.testing.lockstep_stream_pair
        out = await st.ask("anthropic", request("anthropic", stream=True), before_read=late)
    assert st.record.end == "complete"
    assert b"message_stop" in out.body


async def test_a_client_that_never_reads_is_gone_after_its_own_clock(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with stage(openai(), up={"a": streams(SSE, chat_stream("x"))}) as st:
        st.pair = trio.testing.lockstep_stream_pair

        async def never() -> None:
            await trio.sleep(100)

        out = await st.ask("openai", request("openai", stream=True), before_read=never)
    assert out.cut
    assert st.record.end == "client_gone"
    assert st.record.fault == "client"


async def test_a_slow_client_slows_the_upstream_down(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """No more than one piece lies between the two sockets."""
    sent = 0
    ahead: list[int] = []

    async def script(up: Up) -> None:
        nonlocal sent
        await up.request()
        await up.head(SSE)
        for _ in range(50):
            await up.chunk(sse(said("x" * 1000), done=False))
            sent += 1
        await up.chunk(sse(chunk({}, "stop")))
        await up.end()

    got = 0

    async def each(data: bytes) -> None:
        nonlocal got
        got += data.count(b"\n\n")
        await trio.sleep(1)
        ahead.append(sent - got)

    async with stage(openai(), up={"a": script}) as st:
        st.pair = trio.testing.lockstep_stream_pair
        await st.ask("openai", request("openai", stream=True), each=each)
    assert st.record.end == "complete"
    assert max(ahead) <= 3


# --- plugins that want the whole of it ------------------------------------------------------------


class Shout(Plugin):
    id = "shout"
    whole_response = True

    async def post_response(self, response: Response, ctx: Context) -> Response:
        await trio.sleep(float(ctx.settings.get("takes_s", 0)))
        parts = tuple(Text(p.text.upper()) for p in response.parts if isinstance(p, Text))
        return Response(response.id, response.model, parts, response.stop, usage=response.usage)


@pytest.mark.parametrize("client", ["openai", "anthropic", "ollama"])
@pytest.mark.parametrize("up", ["openai", "anthropic", "ollama"])
async def test_a_plugin_that_wants_the_whole_answer_has_it_before_the_client(
    client: str, up: str, autojump_clock: trio.testing.MockClock
) -> None:
    data = golden_plain(up)
    script = streams(STREAM[up], *pieces(data, itertools.repeat(100)))
    async with stage(PROVIDER[up](), up={"a": script}, plugins=[Shout()]) as st:
        out = await st.ask(client, request(client, stream=True))
    assert (out.headers.get("content-type") or "").startswith(STREAM[client])
    assert b"HELLO, WORLD!" in out.body
    assert b"Hello" not in out.body
    assert st.record.plugins == ("shout",)
    assert isinstance(st.record.response, Response)
    assert st.record.response.text == "HELLO, WORLD!"
    assert st.record.usage is not None
    assert st.record.usage.output == 4


async def test_a_held_answer_that_breaks_can_still_be_served_by_another(
    autojump_clock: trio.testing.MockClock,
) -> None:
    bad = streams(SSE, sse(role_chunk(), said("half"), done=False), cut=True)
    good = streams(SSE, chat_stream("whole"))
    async with stage(
        openai("a", max_retries=0), openai("b"), up={"a": bad, "b": good}, plugins=[Shout()]
    ) as st:
        out = await st.ask("openai", request("openai", stream=True))
    assert b"WHOLE" in out.body
    assert b"half" not in out.body.lower()
    assert st.record.end == "complete"


async def test_a_slow_plugin_is_not_a_stalled_upstream(
    autojump_clock: trio.testing.MockClock,
) -> None:
    plugin = Installed("shout", Shout(), {"takes_s": 100})
    provider = openai(clocks=Clocks(idle_s=10, first_token_s=10))
    async with stage(provider, up={"a": streams(SSE, chat_stream("x"))}, plugins=[plugin]) as st:
        out = await st.ask("openai", request("openai", stream=True))
    assert b'"X"' in out.body
    assert st.record.end == "complete"


async def test_a_held_answer_over_the_limit_is_refused(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relay, "KEPT_LIMIT", 1000)
    script = streams(SSE, chat_stream("x" * 600, "y" * 600))
    async with stage(openai(max_retries=0), up={"a": script}, plugins=[Shout()]) as st:
        out = await st.ask("openai", request("openai", stream=True))
    assert out.status == 502
    assert "longer than may be kept" in out.body.decode()


@pytest.mark.parametrize("up", ["openai", "anthropic"])
async def test_what_the_log_keeps_of_a_long_answer_is_bounded_and_the_answer_is_not(
    up: str, autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relay, "KEPT_LIMIT", 1000)
    script = streams(SSE, sse(role_chunk(), said("x" * 600), done=False), chat_stream("y" * 600))
    async with stage(openai(), up={"a": script}) as st:
        out = await st.ask(up, request(up, stream=True))
    assert st.record.end == "complete"
    assert b"y" * 600 in out.body


# --- pieces ---------------------------------------------------------------------------------------


def test_what_is_too_long_to_be_read_back_gives_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    fmt = FORMATS["openai"]
    kept = [chat_stream("x" * 200)]
    read = relay.read_back(kept, fmt, 10_000)
    assert read is not None
    assert read.text == "x" * 200
    monkeypatch.setattr(relay, "KEPT_LIMIT", 100)
    assert relay.read_back(kept, fmt, 10_000) is None


async def test_a_stream_over_the_event_limit_is_the_upstreams_fault(
    autojump_clock: trio.testing.MockClock,
) -> None:
    long = sse(said("x" * 5000), done=False)
    script = streams(SSE, sse(role_chunk(), said("Hel"), done=False), long)
    async with stage(openai(), up={"a": script}, event_limit_bytes=2000) as st:
        out = await st.ask("openai", request("openai", stream=True))
    assert st.record.end == "upstream_error"
    assert b"longer than 2000 bytes" in out.body
