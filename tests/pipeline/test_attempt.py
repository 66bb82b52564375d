"""One try: the upstream's request, its clocks, and what its answers of all kinds become."""

import gzip
import json
from dataclasses import replace

import pytest
import trio
import trio.testing

from llmrouterd.hooks import Plugin
from llmrouterd.model import Candidate, Clocks, Provider
from tests.pipeline.stage import (
    REFUSED,
    STREAM,
    Script,
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
    streams,
)

SSE = STREAM["openai"]
FORMATS = ["openai", "anthropic", "ollama"]
PROVIDER = {"openai": openai, "anthropic": anthropic, "ollama": ollama}
TARGETS = {
    "openai": "/v1/chat/completions",
    "anthropic": "/v1/messages",
    "ollama": "/v1/api/chat",  # the stage puts /v1 before all
}
both = pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])


# --- the request ----------------------------------------------------------------------------------


@pytest.mark.parametrize("client", FORMATS)
@pytest.mark.parametrize("up", FORMATS)
@both
async def test_each_client_reaches_each_upstream(
    client: str, up: str, stream: bool, autojump_clock: trio.testing.MockClock
) -> None:
    async with stage(PROVIDER[up](), up={"a": replies(500, b"")}) as st:
        await st.ask(client, request(client, stream=stream), query="?beta=true")
    asked = st.asked["a"][0]
    kept = "?beta=true" if client == up else ""
    assert asked.target == TARGETS[up] + kept
    assert asked.json["model"] == "a-model"
    assert asked.json.get("stream", up == "ollama") is stream  # Ollama streams unless told not to
    assert asked.headers.get("content-type") == "application/json"
    assert asked.headers.get("host") == "a"


@pytest.mark.parametrize("fmt", FORMATS)
async def test_the_same_format_gets_the_clients_own_text(
    fmt: str, autojump_clock: trio.testing.MockClock
) -> None:
    """White space, number text, key order, unknown members: caches and signatures depend on it."""
    body = b'{ "max_tokens" : 1.0e2, "zzz": [1.50, 12345678901234567890], "model"  :"m",\n'
    body += b'  "messages":[{"role":"user","content":"h\\u00e9\\/"}],"stream":false}'
    if fmt != "anthropic":
        body = body.replace(b'"max_tokens" : 1.0e2, ', b"")
    body = body.replace(b"1.0e2", b"100")
    async with stage(PROVIDER[fmt](), up={"a": replies(500, b"")}) as st:
        await st.ask(fmt, body)
    assert st.asked["a"][0].body == body.replace(b'"model"  :"m"', b'"model"  :"a-model"')


@pytest.mark.parametrize(
    ("query", "sent"),
    [
        ("?api_key=secret", ""),
        ("?beta=true&api_key=secret&x=1", "?beta=true&x=1"),
        ("?api%5Fkey=secret&api_key", ""),
        ("?api_keys=1", "?api_keys=1"),
    ],
)
async def test_the_key_in_a_query_is_never_forwarded(
    query: str, sent: str, autojump_clock: trio.testing.MockClock
) -> None:
    async with stage(openai(), up={"a": replies(500, b"")}) as st:
        await st.ask("openai", request("openai"), query=query)
    assert st.asked["a"][0].target == "/v1/chat/completions" + sent


@pytest.mark.parametrize("edited", [False, True])
async def test_a_task_budget_brings_its_beta(
    edited: bool, autojump_clock: trio.testing.MockClock
) -> None:
    class Edit(Plugin):
        id = "edit"

        async def on_start(self, request, ctx):
            return replace(request, max_tokens=7)

    budget = {"task_budget": {"type": "tokens", "total": 9}}
    async with stage(
        anthropic(), up={"a": replies(500, b"")}, plugins=[Edit()] if edited else []
    ) as st:
        await st.ask("anthropic", request("anthropic", output_config=budget))
        await st.ask("anthropic", request("anthropic", output_config={"effort": "low"}))
    with_budget, without = st.asked["a"][0], st.asked["a"][-1]
    assert with_budget.json["output_config"] == budget
    assert with_budget.headers.get("anthropic-beta") == "task-budgets-2026-03-13"
    assert without.headers.get("anthropic-beta") is None


async def test_what_a_format_cannot_carry_is_told(autojump_clock: trio.testing.MockClock) -> None:
    async with stage(anthropic(), up={"a": replies(500, b"")}) as st:
        out = await st.ask("openai", request("openai", logit_bias={"1": 2}, seed=3))
    assert {"logit_bias", "seed"} <= set(st.record.dropped)
    assert "seed" in (out.headers.get("x-router-dropped") or "")


# --- bad answers ----------------------------------------------------------------------------------


async def no_answer(up: Up) -> None:
    await up.request()
    await up.cut()


async def half_a_head(up: Up) -> None:
    await up.request()
    await up.stream.send_all(b"HTTP/1.1 200 OK\r\nContent-")
    await up.cut()


async def not_http(up: Up) -> None:
    await up.request()
    await up.stream.send_all(b"SSH-2.0-OpenSSH_9.2\r\n")
    await up.cut()


async def huge_head(up: Up) -> None:
    await up.request()
    try:
        for _ in range(40):
            await up.stream.send_all(
                (b"X-A: " + b"a" * 30_000 + b"\r\n") if _ else b"HTTP/1.1 200 OK\r\n"
            )
    except trio.BrokenResourceError:
        pass


async def cut_body(up: Up) -> None:
    await up.request()
    await up.stream.send_all(
        b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 999\r\n\r\n{"id":'
    )
    await up.cut()


async def bad_chunk(up: Up) -> None:
    await up.request()
    await up.stream.send_all(
        b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"
    )
    await up.cut()


async def brotli(up: Up) -> None:
    await up.request()
    await up.reply(200, b"x", headers=[("content-encoding", "br")])


DEEP = b'{"choices":' + b"[" * 200_000 + b"}"
BAD: dict[str, Script | str] = {
    "refused": REFUSED,
    "no answer": no_answer,
    "half a head": half_a_head,
    "not http": not_http,
    "huge head": huge_head,
    "cut body": cut_body,
    "bad chunk": bad_chunk,
    "brotli": brotli,
    "html": replies(200, b"<html>hello</html>", "text/html; charset=utf-8"),
    "html as json": replies(200, b"<html>hello</html>"),
    "empty": replies(200, b""),
    "another shape": replies(200, {"hello": 1}),
    "an array": replies(200, b"[1]"),
    "deep": replies(200, DEEP),
    "error in a 200": replies(200, {"error": {"message": "no memory", "code": 500}}),
    "redirect": replies(302, b"", headers=[("location", "http://evil/")]),
    "204": replies(204, b""),
    "empty stream": streams(SSE),
    "garbage stream": streams(SSE, b"\x00\xff garbage\n\n", b"data: {nonsense\n\n"),
    "deep stream": streams(SSE, b"data: " + DEEP + b"\n\n"),
    "array stream": streams(SSE, b"data: [1,2]\n\ndata: 7\n\n"),
    "html stream": streams("text/html", b"<html>"),
    "no type": streams("", b"hello"),
    "plain text": streams("text/plain", b"hello"),
}


SLOWER = [pytest.param(fmt, marks=pytest.mark.slow) for fmt in FORMATS[1:]]


@pytest.mark.parametrize("what", BAD)
@pytest.mark.parametrize("client", [FORMATS[0], *SLOWER])
@pytest.mark.parametrize("up", FORMATS)
@both
async def test_an_answer_that_is_none_goes_to_the_next_and_is_no_bug_of_ours(
    what: str,
    client: str,
    up: str,
    stream: bool,
    autojump_clock: trio.testing.MockClock,
    caplog: pytest.LogCaptureFixture,
) -> None:
    scripts = {"a": BAD[what], "b": streams(SSE, chat_stream("from b"))}
    async with stage(PROVIDER[up]("a", max_retries=0), openai("b"), up=scripts) as st:
        out = await st.ask(client, request(client, stream=stream))
    assert not caplog.records
    assert out.status == 200
    assert b"from b" in out.body
    assert st.dialled == ["a", "b"]
    assert (st.record.end, len(st.record.attempts)) == ("complete", 1)


@pytest.mark.parametrize("what", ["cut body", "html", "error in a 200", "redirect", "brotli"])
@pytest.mark.parametrize("client", FORMATS)
async def test_with_nobody_left_the_client_is_told_in_its_own_shape(
    what: str, client: str, autojump_clock: trio.testing.MockClock
) -> None:
    async with stage(openai(max_retries=0), up={"a": BAD[what]}) as st:
        out = await st.ask(client, request(client))
    assert out.status >= 500
    told = out.json["error"] if client == "ollama" else out.json["error"]["message"]
    assert told == st.record.error
    assert st.record.end == "upstream_error"
    assert st.record.fault == "upstream"
    if what == "error in a 200":
        assert "no memory" in told
    if what in ("html", "redirect"):  # the usual mistake, and the owner's
        assert told.startswith("the upstream answered with a ")
        assert told.endswith(": is base_url right?")


async def test_a_status_speaks_even_when_its_body_is_cut(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async def cut_error(up: Up) -> None:
        await up.request()
        await up.stream.send_all(
            b"HTTP/1.1 429 Too Many\r\nRetry-After: 30\r\nContent-Length: 50\r\n\r\n{"
        )
        await up.cut()

    async with stage(openai(), up={"a": cut_error}) as st:
        out = await st.ask("openai", request("openai"))
    assert out.status == 429
    assert out.headers.get("retry-after") == "30"


async def test_a_whole_answer_over_the_limit_is_refused(
    autojump_clock: trio.testing.MockClock,
) -> None:
    script = replies(200, chat_answer("x" * 5000))
    async with stage(openai(max_retries=0), up={"a": script}, response_limit_bytes=1000) as st:
        out = await st.ask("openai", request("openai"))
    assert out.status == 502
    assert "over 1000 bytes" in (st.record.error or "")


async def test_a_compressed_answer_is_unpacked(autojump_clock: trio.testing.MockClock) -> None:
    plain = json.dumps(chat_answer("packed")).encode()
    script = replies(200, gzip.compress(plain), headers=[("content-encoding", "gzip")])
    async with stage(openai(), up={"a": script}) as st:
        out = await st.ask("openai", request("openai"))
    assert out.body == plain
    assert out.headers.get("content-encoding") is None


# --- what attempts leave behind -------------------------------------------------------------------


async def test_of_an_attempt_that_failed_nothing_is_left_in_the_story(
    autojump_clock: trio.testing.MockClock,
) -> None:
    first = replies(500, {"error": {"message": "x"}}, headers=[("x-request-id", "from-a")])
    async with stage(openai("a"), openai("b"), up={"a": first, "b": REFUSED}) as st:
        await st.ask("openai", request("openai"))
    assert st.record.provider in ("a", "b")
    if st.record.provider == "b":
        assert (st.record.address, st.record.upstream_request_id) == ("", "")


@pytest.mark.parametrize(("near", "said_so"), [(True, "no"), (False, "yes")])
async def test_whether_anything_left_this_host_counts_every_attempt(
    near: bool, said_so: str, autojump_clock: trio.testing.MockClock
) -> None:
    bad = replies(500, {"error": {"message": "x"}})
    up = {"a": bad, "b": replies(200, chat_answer("x"))}
    async with stage(openai("a", local=near), openai("b"), up=up) as st:
        out = await st.ask("openai", request("openai"))
    assert out.headers.get("x-router-provider") == "b"
    assert out.headers.get("x-router-left-host") == said_so


async def test_who_took_the_request_and_never_answered_has_it_all_the_same(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async def silent(up) -> None:
        await up.request()
        await up.closed()

    far = openai("a", local=False, clocks=Clocks(first_token_s=1))
    up = {"a": silent, "b": replies(200, chat_answer("x"))}
    async with stage(far, openai("b"), up=up) as st:
        out = await st.ask("openai", request("openai"))
    assert out.headers.get("x-router-provider") == "b"
    assert out.headers.get("x-router-left-host") == "yes"


async def test_a_connection_is_used_again_after_a_stream(
    autojump_clock: trio.testing.MockClock,
) -> None:
    for fmt, tail_s in (("openai", 0.0), ("openai", 0.1)):

        async def script(up: Up, tail_s=tail_s) -> None:
            await up.request()
            await up.head(SSE)
            await up.chunk(chat_stream("x"))
            await trio.sleep(tail_s)
            await up.end()

        async with stage(openai(), up={"a": script}) as st:
            for _ in range(3):
                out = await st.ask(fmt, request(fmt, stream=True))
                assert not out.cut
            assert st.dialled == ["a"]
        assert [r.end for r in st.sink.records] == ["complete"] * 3


async def test_a_clock_that_runs_out_when_all_is_said_changes_nothing(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async def script(up: Up) -> None:
        await up.request()
        await up.head(SSE)
        await trio.sleep(9.9)
        await up.chunk(chat_stream("x"))
        await up.closed()

    async with stage(openai(clocks=Clocks(total_s=10)), up={"a": script}) as st:
        out = await st.ask("openai", request("openai", stream=True))
    assert out.body == chat_stream("x")
    assert not out.cut
    assert st.record.end == "complete"


@both
async def test_the_connect_clock(stream: bool, autojump_clock: trio.testing.MockClock) -> None:
    async with stage(openai("a", clocks=Clocks(connect_s=3)), up={"a": REFUSED}) as st:

        async def hang(origin, **more):
            await trio.sleep_forever()

        st.pool._dial = hang
        begun = trio.current_time()
        out = await st.ask("openai", request("openai", stream=stream))
        assert trio.current_time() - begun == pytest.approx(3, abs=0.1)
    assert out.status == 504
    assert st.record.error_kind == "timeout:connect"


async def test_a_folded_answer_has_the_idle_clock(autojump_clock: trio.testing.MockClock) -> None:
    async def script(up: Up) -> None:
        await up.request()
        await up.head(SSE)
        await up.chunk(sse(role_chunk(), said("x"), done=False))
        await up.closed()

    async with stage(openai(clocks=Clocks(idle_s=5), max_retries=0), up={"a": script}) as st:
        out = await st.ask("openai", request("openai"))
    assert out.status == 504
    assert st.record.error_kind == "timeout:idle"


async def test_the_first_token_of_a_folded_answer_is_measured(
    autojump_clock: trio.testing.MockClock,
) -> None:
    pieces = (sse(role_chunk(), done=False), sse(said("x"), chunk({}, "stop")))
    up = {"a": streams(SSE, *pieces, pause_s=3.0)}
    async with stage(openai(stream_upstream="always"), up=up) as st:
        out = await st.ask("openai", request("openai"))
        assert out.status == 200
        first = st.daemon.health.seen["a"].first_token_ms.value
    assert first == pytest.approx(3000, abs=500)


async def test_a_whole_answer_without_a_finish_reason_gets_one(
    autojump_clock: trio.testing.MockClock,
) -> None:
    answer = chat_answer("x")
    answer["choices"][0]["finish_reason"] = None
    async with stage(openai(), up={"a": replies(200, answer)}) as st:
        out = await st.ask("openai", request("openai"))
    assert out.json["choices"][0]["finish_reason"] == "stop"
    assert out.json["id"] == answer["id"]


async def test_of_who_failed_nothing_is_told_when_echo_answers(
    autojump_clock: trio.testing.MockClock,
) -> None:
    bad = replies(500, {"error": {"message": "x"}}, headers=[("x-request-id", "from-a")])
    async with stage(openai("a"), Provider("e", "echo"), up={"a": bad}) as st:
        out = await st.ask("openai", request("openai"))
    assert (out.status, st.record.provider) == (200, "e")
    assert (st.record.address, st.record.upstream_request_id) == ("", "")
    assert "x-router-upstream-request-id" not in out.headers


# --- figures that nobody gave ---------------------------------------------------------------------

UNCOUNTED = {"model": "m", "created_at": "2026-11-23T10:00:00Z", "done": False}
UNCOUNTED |= {"message": {"role": "assistant", "content": "Hello there."}}
UNCOUNTED_END = {**UNCOUNTED, "done": True, "done_reason": "stop"}


async def test_a_stream_without_figures_ends_with_estimates_that_are_marked(
    autojump_clock: trio.testing.MockClock,
) -> None:
    lines = [json.dumps(each).encode() + b"\n" for each in (UNCOUNTED, UNCOUNTED_END)]
    asked = request("openai", stream=True, stream_options={"include_usage": True})
    async with stage(ollama(), up={"a": streams(STREAM["ollama"], *lines)}) as st:
        out = await st.ask("openai", asked, [("te", "trailers")])
    last = json.loads(out.body.split(b"\n\n")[-3].removeprefix(b"data: "))
    assert (last["choices"], last["usage"]["completion_tokens"]) == ([], 7)
    assert last["usage"]["prompt_tokens"] > 0
    assert out.trailers.get("x-router-token-count") == "estimate"
    assert (st.record.usage.output, st.record.usage_estimated) == (7, True)


async def test_a_whole_answer_without_figures_has_estimates_that_are_marked(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with stage(ollama(), up={"a": replies(200, UNCOUNTED_END)}) as st:
        out = await st.ask("openai", request("openai"))
    assert out.json["usage"]["completion_tokens"] == 4
    assert out.headers.get("x-router-token-count") == "estimate"
    assert st.record.usage_estimated


async def test_figures_of_the_server_are_its_own(autojump_clock: trio.testing.MockClock) -> None:
    counted = {**UNCOUNTED_END, "prompt_eval_count": 5, "eval_count": 6}
    async with stage(ollama(), up={"a": replies(200, counted)}) as st:
        out = await st.ask("openai", request("openai"))
    assert out.json["usage"]["total_tokens"] == 11
    assert "x-router-token-count" not in out.headers
    assert not st.record.usage_estimated


async def test_an_estimate_teaches_nothing(autojump_clock: trio.testing.MockClock) -> None:
    """The next estimate is corrected by what servers count, not by what was made up."""
    words = "word " * 200
    asked = request("openai", messages=[{"role": "user", "content": words}])
    counted = {**UNCOUNTED_END, "prompt_eval_count": 450, "eval_count": 6}
    answers = [replies(200, counted), replies(200, UNCOUNTED_END)]
    place = Candidate("a", "a-model", "")
    async with stage(ollama(), up={"a": answers}) as st:
        await st.ask("openai", asked)
        learned = st.daemon.calibration.factor(place)
        await st.ask("openai", asked)
        assert st.daemon.calibration.factor(place) == learned != 1.0


async def test_where_bytes_pass_nothing_is_added(autojump_clock: trio.testing.MockClock) -> None:
    lines = b"".join(json.dumps(each).encode() + b"\n" for each in (UNCOUNTED, UNCOUNTED_END))
    async with stage(ollama(), up={"a": streams(STREAM["ollama"], lines)}) as st:
        out = await st.ask("ollama", request("ollama", stream=True))
    assert out.body == lines
    assert st.record.usage is not None
    assert (st.record.usage.output, st.record.usage_estimated) == (7, True)


async def test_anthropics_clients_get_figures_from_a_server_that_gives_none(
    autojump_clock: trio.testing.MockClock,
) -> None:
    said = {"type": "text", "text": "eight words that nobody has counted for us"}
    body = {"id": "m", "type": "message", "role": "assistant", "model": "m", "content": [said]}
    body |= {"stop_reason": "end_turn", "stop_sequence": None}
    async with stage(anthropic(), up={"a": replies(200, body)}) as st:
        out = await st.ask("anthropic", request("anthropic"))
    assert json.loads(out.body)["usage"]["output_tokens"] > 0
    assert st.record.usage_estimated
    assert st.record.usage is not None
    assert st.record.usage.output
