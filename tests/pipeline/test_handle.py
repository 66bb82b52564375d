"""The story of a call: the walk, its records and end states, also when it is cancelled anywhere."""

import json
from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest
import trio
import trio.testing

from llmrouterd.edge.incoming import Limits
from llmrouterd.hooks import Plugin
from llmrouterd.model import (
    Classified,
    Clocks,
    FirstToken,
    ModelInfo,
    Opened,
    Record,
    Routed,
    Routing,
    RuleSpec,
)
from tests.pipeline.stage import (
    GOLDEN,
    REFUSED,
    STREAM,
    Stage,
    Up,
    anthropic,
    chat_answer,
    chat_stream,
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
both = pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
OVERLOADED = {"error": {"message": "busy", "type": "server_error"}}
RATE = {"error": {"message": "slow down", "type": "requests", "code": "rate_limit_exceeded"}}


def answering(text: str = "hello", *, stream: bool = False):
    return streams(SSE, chat_stream(text)) if stream else replies(200, chat_answer(text))


async def silent(up: Up) -> None:
    await up.request()
    await up.closed()


def kinds(st: Stage) -> list[type]:
    return [type(told) for told in st.sink.told]


# --- what is told ---------------------------------------------------------------------------------


@both
async def test_a_request_is_told_from_its_beginning_to_its_end(
    stream: bool, autojump_clock: trio.testing.MockClock
) -> None:
    async with stage(openai(), up={"a": answering(stream=stream)}) as st:
        await st.ask("openai", request("openai", stream=stream))
    assert kinds(st) == [Opened, Classified, Routed, FirstToken, Record]
    opened, _, routed, first, record = st.sink.told
    assert first.ttft_ms == record.ttft_ms
    assert len({told.id for told in st.sink.told}) == 1
    assert (opened.model, opened.in_flight) == ("m", 1)
    assert (routed.provider, routed.model) == ("a", "a-model")
    assert (record.end, record.status, record.stream) == ("complete", 200, stream)
    assert (record.requested_model, record.sent_model) == ("m", "a-model")
    assert (record.provider, record.rule) == ("a", "models.m")
    assert (record.error, record.error_kind, record.fault) == (None, None, "")
    assert record.endpoint == "/v1/chat/completions"
    assert record.address == "a:80"
    assert record.usage is not None
    assert record.usage.output == 3
    assert record.ttft_ms is not None
    assert record.request is not None
    assert record.request.raw is None


async def test_the_record_counts_the_bodies_both_ways(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Whoever keeps records within a bound of memory goes by it."""
    async with stage(openai(), up={"a": answering("x" * 10_000)}) as st:
        out = await st.ask("openai", request("openai"))
    sent = len(json.dumps(request("openai")))
    assert st.record.size_bytes >= sent + len(out.body)
    assert st.record.size_bytes < sent + len(out.body) + 2000


async def test_in_flight_is_counted_while_it_runs(autojump_clock: trio.testing.MockClock) -> None:
    counts: list[tuple[int, int]] = []

    async def script(up: Up) -> None:
        await up.request()
        counts.append((st.daemon.in_flight, st.daemon.in_flight_at["a"]))
        await up.reply(200, chat_answer("x"))

    async with stage(openai(), up={"a": script}) as st:
        await st.ask("openai", request("openai"))
    assert counts == [(1, 1)]
    assert st.daemon.in_flight_at == {"a": 0}


# --- what was not understood ----------------------------------------------------------------------


@pytest.mark.parametrize("fmt", FORMATS)
@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b'"x"',
        b"\xff\xfe",
        b'{"model": 1}',
        b'{"messages": []}',
        b'{"model":"m","messages":"x","max_tokens":1}',
        b"[" * 100_000,
        b'{"model":"m","model":"n","messages":[{"role":"user","content":"x"}],"max_tokens":1}',
    ],
    ids=lambda body: repr(body[:24]),
)
async def test_a_body_that_is_no_request_is_a_400_in_the_clients_format(
    fmt: str, body: bytes, autojump_clock: trio.testing.MockClock
) -> None:
    async with stage(openai(), up={"a": REFUSED}) as st:
        out = await st.ask(fmt, body)
    assert out.status == 400
    assert out.headers.get("content-type") == "application/json"
    assert out.headers.get("x-router-error") == "bad_request"
    error = out.json["error"]
    assert error if fmt == "ollama" else error["message"]
    assert st.dialled == []
    assert kinds(st) == [Record]
    assert (st.record.end, st.record.fault, st.record.status) == ("refused", "client", 400)


@pytest.mark.parametrize("fmt", FORMATS)
async def test_a_body_over_the_limit_is_a_413_with_a_record(
    fmt: str, autojump_clock: trio.testing.MockClock
) -> None:
    async with stage(openai(), up={"a": REFUSED}) as st:
        st.limits = Limits(max_body_bytes=50)
        out = await st.ask(fmt, request(fmt, user="x" * 100))
    assert out.status == 413
    assert (st.record.end, st.record.fault) == ("refused", "client")


async def test_a_client_that_leaves_before_its_body_is_whole_is_recorded_as_gone(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with stage(openai(), up={"a": REFUSED}) as st:

        async def leave() -> None:
            await trio.testing.wait_all_tasks_blocked()
            assert st.daemon.in_flight == 1
            st.hang_up()

        out = await st.ask("openai", b"{", missing=5, before_read=leave)
    assert out.cut
    assert (st.record.end, st.record.fault, st.record.status) == ("client_gone", "client", 0)


# --- the decision ---------------------------------------------------------------------------------


async def test_no_rule_that_decides_is_a_400(autojump_clock: trio.testing.MockClock) -> None:
    async with stage(openai(), up={"a": REFUSED}, routing=Routing()) as st:
        out = await st.ask("openai", request("openai", model="x"))
    assert out.status == 400
    assert "no provider configured for model 'x'" in out.json["error"]["message"]
    assert kinds(st) == [Opened, Classified, Record]
    assert (st.record.end, st.record.fault, st.record.provider) == ("refused", "owner", "")


async def test_a_model_that_lacks_what_the_request_needs_is_passed_over(
    autojump_clock: trio.testing.MockClock,
) -> None:
    models = {"a": {"a-model": ModelInfo("a-model", frozenset({"completion"}))}}
    tool = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
    async with stage(
        openai("a"), openai("b"), up={"a": REFUSED, "b": answering()}, models=models
    ) as st:
        await st.ask("openai", request("openai", tools=[tool]))
    assert st.dialled == ["b"]
    assert any(step.outcome == "skipped" for step in st.record.trace)


async def test_a_wish_for_a_provider_goes_first(autojump_clock: trio.testing.MockClock) -> None:
    async with stage(openai("a"), openai("b"), up={"a": REFUSED, "b": answering()}) as st:
        out = await st.ask("openai", request("openai"), [("x-router-provider", "b")])
    assert st.dialled == ["b"]
    assert out.headers.get("x-router-attempts") == "1"


async def test_lists_that_are_wanted_are_learnt_before_deciding(
    autojump_clock: trio.testing.MockClock,
) -> None:
    asked: list = []
    provider = openai("cloud", on_demand=True)
    async with stage(provider, up={"cloud": answering()}, routing=Routing(implicit=True)) as st:

        async def learn(names) -> None:
            asked.append(tuple(names))
            state = st._states["cloud"]
            st._states["cloud"] = replace(state, models={"x": ModelInfo("x")})

        st.gen = replace(st.gen, learn=learn)
        out = await st.ask("openai", request("openai", model="x"))
    assert asked == [("cloud",)]
    assert out.status == 200


async def test_random_is_repeatable_from_the_requests_id(
    autojump_clock: trio.testing.MockClock,
) -> None:
    rule = RuleSpec("random", "routers[0] random", providers=("a", "b"))
    up = {"a": answering(), "b": answering()}
    seeds = []
    async with stage(openai("a"), openai("b"), up=up, routing=Routing(rules=(rule,))) as st:
        fleet = st.gen.fleet
        st.gen = replace(st.gen, fleet=lambda seed: seeds.append(seed) or fleet(seed))
        await st.ask("openai", request("openai"))
    assert f"req_{seeds[0]:024x}" == st.record.request_id


# --- clocks and clients ---------------------------------------------------------------------------


async def test_a_timeout_before_content_goes_on_to_the_next(
    autojump_clock: trio.testing.MockClock,
) -> None:
    provider = openai("a", clocks=Clocks(first_token_s=7))
    async with stage(provider, openai("b"), up={"a": silent, "b": answering()}) as st:
        begun = trio.current_time()
        out = await st.ask("openai", request("openai"))
        assert trio.current_time() - begun == pytest.approx(7, abs=0.3)
    assert out.status == 200
    assert "timeout:first_token" in st.record.attempts[0]


@pytest.mark.parametrize("fmt", FORMATS)
async def test_a_timeout_with_nobody_left_is_a_504(
    fmt: str, autojump_clock: trio.testing.MockClock
) -> None:
    async with stage(openai(clocks=Clocks(first_token_s=7)), up={"a": silent}) as st:
        out = await st.ask(fmt, request(fmt))
    assert out.status == 504
    assert out.headers.get("x-router-error") == "timeout:first_token"
    assert st.record.error_kind == "timeout:first_token"
    assert (st.record.end, st.record.fault) == ("upstream_error", "upstream")


async def test_the_total_clock_bounds_a_stream(autojump_clock: trio.testing.MockClock) -> None:
    async def endless(up: Up) -> None:
        await up.request()
        await up.head(SSE)
        while True:
            await up.chunk(sse(said("x"), done=False))
            await trio.sleep(1)

    async with stage(openai(clocks=Clocks(total_s=20)), up={"a": endless}) as st:
        begun = trio.current_time()
        out = await st.ask("openai", request("openai", stream=True))
        assert trio.current_time() - begun == pytest.approx(20, abs=0.5)
    assert st.record.end == "truncated"  # it was still speaking
    assert st.record.error_kind == "timeout:total"
    assert b'"error"' in out.body


@both
@pytest.mark.parametrize("moment", ["waiting", "pausing", "streaming"])
async def test_a_client_that_leaves_ends_everything_at_once(
    moment: str, stream: bool, autojump_clock: trio.testing.MockClock
) -> None:
    closed = trio.Event()

    async def script(up: Up) -> None:
        await up.request()
        if moment == "pausing":
            await up.reply(503, OVERLOADED)
            return
        if moment == "streaming":
            await up.head(SSE)
            await up.chunk(sse(role_chunk(), said("Hel"), done=False))
        await up.closed()
        closed.set()

    async with stage(openai(), up={"a": script}) as st:

        async def leave() -> None:
            await trio.testing.wait_all_tasks_blocked(0.001)
            st.hang_up()

        begun = trio.current_time()
        await st.ask("openai", request("openai", stream=stream), before_read=leave)
        if moment != "pausing":
            await closed.wait()
        assert trio.current_time() - begun < 0.1
    record = st.record
    assert (record.end, record.fault) == ("client_gone", "client")
    if moment == "streaming" and stream:
        assert record.status == 200
        assert record.response.response().text == "Hel"
        assert (record.usage.output, record.usage_estimated) == (1, True)  # it will be billed
    else:
        assert record.status == 0


async def test_a_client_that_leaves_once_it_was_told_of_an_error_changes_nothing(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """The libraries close as soon as they read it, while what the upstream still says is awaited."""
    begun = (GOLDEN / "anthropic-messages" / "plain.sse").read_bytes()
    first = begun[: begun.index(b"event: content_block_stop")]
    error = {"type": "error", "error": {"type": "api_error", "message": "it broke"}}

    async def script(up: Up) -> None:
        await up.request()
        await up.head(SSE)
        await up.chunk(first)
        await trio.sleep(1)
        await up.chunk(b"event: error\n" + sse(error, done=False))
        await up.closed()

    async with stage(anthropic(), up={"a": script}) as st:

        async def leave() -> None:
            await trio.sleep(1.1)
            st.hang_up()

        await st.ask("anthropic", request("anthropic", stream=True), before_read=leave)
    assert (st.record.end, st.record.fault) == ("upstream_error", "upstream")
    assert (st.record.error, st.record.status) == ("it broke", 200)


async def test_a_stop_of_the_router_is_the_routers_own_doing(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Cancelled from above, and the client is still there."""
    async with stage(openai(), up={"a": silent}) as st:

        async def stop() -> None:
            await trio.testing.wait_all_tasks_blocked()
            assert st.client is not None
            assert st.client.nursery is not None
            st.client.nursery.cancel_scope.cancel()

        await st.ask("openai", request("openai"), before_read=stop)
    record = st.record
    assert (record.end, record.error_kind, record.fault) == ("refused", "draining", "router")


async def test_a_bug_is_an_internal_error_with_a_record(
    autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async with stage(openai(), up={"a": answering()}) as st:

        def broken(seed: int) -> None:
            raise ZeroDivisionError("secret words")

        st.gen = replace(st.gen, fleet=broken)
        out = await st.ask("openai", request("openai"))
    assert out.status == 500
    record = st.record
    assert (record.end, record.fault, record.status) == ("internal_error", "router", 500)
    assert (record.error, record.error_kind) == ("internal error", "internal")
    assert "ZeroDivisionError" in caplog.text
    assert "secret words" not in caplog.text


# --- cancelled at any await -----------------------------------------------------------------------


@dataclass(eq=False)
class CancelAt(trio.abc.Instrument):
    """Cancels a request at the n-th time its task goes on."""

    step: int
    cancel: Callable[[], None]
    task: trio.lowlevel.Task | None = None
    taken: int = 0

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        if task is self.task:
            self.taken += 1
            if self.taken == self.step:
                self.cancel()


SCRIPTS = {
    "whole": (answering, False),
    "stream": (
        lambda: streams(
            SSE, *(sse(x, done=False) for x in (role_chunk(), said("a"))), chat_stream("b")
        ),
        True,
    ),
    "failover": (lambda: [REFUSED, replies(503, OVERLOADED)], True),
    "broken": (lambda: streams(SSE, sse(role_chunk(), said("a"), done=False), cut=True), True),
}


@pytest.mark.parametrize("fmt", ["openai", "anthropic"])
@pytest.mark.parametrize("case", SCRIPTS)
@pytest.mark.parametrize("whole_response", [False, True])
async def test_cancelled_at_any_moment_a_request_leaves_one_record_and_nothing_else(
    case: str, fmt: str, whole_response: bool, autojump_clock: trio.testing.MockClock
) -> None:
    class Patient(Plugin):
        """Awaits in every hook, so that there is a moment to be cancelled in."""

        id = "patient"

        async def on_start(self, request, ctx):
            await trio.sleep(0.1)
            return request

        async def post_response(self, response, ctx):
            await trio.sleep(0.1)
            return response

        async def on_end(self, record) -> None:
            await trio.sleep(0.1)

    Patient.whole_response = whole_response
    script, stream = SCRIPTS[case]
    ends: set[str] = set()
    step = 0
    while True:
        step += 1
        up = script()
        async with stage(
            openai("a"),
            ollama("b"),
            up={"a": up, "b": replies(500, b"")},
            plugins=[Patient()],
            life_sign_s=5,
        ) as st:
            wrapped = st._answer
            instrument = CancelAt(step, st.hang_up)

            async def answer(incoming, client, wrapped=wrapped, instrument=instrument):
                st.client = client
                instrument.task = trio.lowlevel.current_task()
                try:
                    await wrapped(incoming, client)
                finally:
                    instrument.task = None

            st._answer = answer
            trio.lowlevel.add_instrument(instrument)
            await st.ask(fmt, request(fmt, stream=stream))
            trio.lowlevel.remove_instrument(instrument)
            await trio.testing.wait_all_tasks_blocked()
        if Opened in kinds(st):
            assert kinds(st).count(Record) == 1
            assert kinds(st)[-1] is Record
            ends.add(st.record.end)
        else:
            assert kinds(st) == []
        st.assert_settled()
        assert st.pool.idle == 0
        if instrument.taken < step:
            break
    assert step > 8
    assert "client_gone" in ends
    assert len(ends) == 2  # and the one that it has when it is left alone


async def test_many_at_once_have_their_own_ids_and_records(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with stage(anthropic("a"), up={"a": REFUSED}) as st:
        async with trio.open_nursery() as nursery:
            for _ in range(20):
                nursery.start_soon(st.ask, "openai", request("openai"))
    records = st.sink.records
    assert sorted(r.id for r in records) == list(range(1, 21))
    assert len({r.request_id for r in records}) == 20


async def test_the_record_says_which_configuration_the_request_ran_under(autojump_clock) -> None:
    async with stage(openai(), up={"a": answering()}) as st:
        st.gen = replace(st.gen, number=7)
        await st.ask("openai", request("openai"))
    assert st.record.generation == 7
