"""Two attempts beside each other: the first token wins, and the other has never been."""

import json
from collections.abc import Callable

import pytest
import trio
import trio.testing

from llmrouterd.model import AttemptFailed, FirstToken, Record, Routed, Routing, RuleSpec, Secret
from llmrouterd.route.facts import facts
from tests.pipeline.stage import (
    REFUSED,
    STREAM,
    Up,
    anthropic,
    chat_answer,
    chunk,
    openai,
    replies,
    request,
    role_chunk,
    said,
    sse,
    stage,
    streams,
    usage_chunk,
)

SSE = STREAM["openai"]
both = pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
BUSY = {"error": {"message": "busy", "type": "server_error"}}
WRONG = {"error": {"message": "no such field", "type": "invalid_request_error", "param": "x"}}


def hedging(*names: str, after_ms: int = 500) -> Routing:
    targets = tuple((name, "") for name in names)
    rule = RuleSpec("model", "r", match=("*",), targets=targets, hedge_after_ms=after_ms)
    return Routing(rules=(rule,))


def after(seconds: float, text: str, closed: list[str] | None = None):
    """Answers after a while, as a stream or whole; notes when it was left before."""

    async def script(up: Up) -> None:
        asked = await up.request()
        left = trio.Event()

        async def watch() -> None:
            await up.closed()
            left.set()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(watch)
            with trio.move_on_after(seconds):
                await left.wait()
                if closed is not None:
                    closed.append(f"{text} at {trio.current_time():g}")
                return
            nursery.cancel_scope.cancel()
        if asked.json.get("stream"):
            await up.head(SSE)
            await up.chunk(sse(role_chunk(), said(text), chunk({}, "stop"), usage_chunk()))
            await up.end()
        else:
            await up.reply(200, chat_answer(text))

    return script


@both
async def test_a_silent_one_gets_another_beside_it_and_the_first_token_wins(
    stream: bool, autojump_clock: trio.testing.MockClock
) -> None:
    closed: list[str] = []
    up = {"a": after(60, "from a", closed), "b": after(0.2, "from b")}
    async with stage(openai("a"), openai("b"), up=up, routing=hedging("a", "b")) as st:
        begun = trio.current_time()
        out = await st.ask("openai", request("openai", stream=stream))
        await trio.testing.wait_all_tasks_blocked()
        assert trio.current_time() - begun == pytest.approx(0.7, abs=0.01)
        assert closed == [f"from a at {begun + 0.7:g}"]  # at once
    assert b"from b" in out.body
    assert out.headers.get("x-router-provider") == "b"
    assert out.headers.get("x-router-attempts") == "2"
    record = st.record
    assert (record.end, record.provider, record.sent_model) == ("complete", "b", "m")
    assert record.attempts == ("a/m: hedged: cancelled: the first token came from b/m",)
    assert record.notes == ("hedged: a/m was silent for 500 ms, b/m was started beside it",)
    assert record.usage.output == 3
    told = [t for t in st.sink.told if isinstance(t, AttemptFailed)]
    assert [(t.provider, t.kind, t.duration_ms) for t in told] == [("a", "hedged", 700)]
    assert st.daemon.health.spotless  # nothing speaks against a
    assert "a" not in st.daemon.health.seen


@both
async def test_when_the_first_one_wins_after_all_the_second_is_let_go(
    stream: bool, autojump_clock: trio.testing.MockClock
) -> None:
    closed: list[str] = []
    up = {"a": after(0.8, "from a"), "b": after(60, "from b", closed)}
    async with stage(openai("a"), openai("b"), up=up, routing=hedging("a", "b")) as st:
        out = await st.ask("openai", request("openai", stream=stream))
        await trio.testing.wait_all_tasks_blocked()
        assert len(closed) == 1
    assert b"from a" in out.body
    assert out.headers.get("x-router-provider") == "a"
    assert st.record.provider == "a"
    routed = [t.provider for t in st.sink.told if isinstance(t, Routed)]
    assert routed == ["a", "b", "a"]  # who reads along knows who answers
    assert [type(t) for t in st.sink.told[-2:]] == [FirstToken, Record]


@both
async def test_who_is_quick_enough_has_nobody_beside_it(
    stream: bool, autojump_clock: trio.testing.MockClock
) -> None:
    up = {"a": after(0.4, "from a"), "b": REFUSED}
    async with stage(openai("a"), openai("b"), up=up, routing=hedging("a", "b")) as st:
        out = await st.ask("openai", request("openai", stream=stream))
    assert st.dialled == ["a"]
    assert out.headers.get("x-router-attempts") == "1"
    assert st.record.attempts == st.record.notes == ()


@both
async def test_one_that_fails_before_its_time_is_walked_past_as_ever(
    stream: bool, autojump_clock: trio.testing.MockClock
) -> None:
    up = {"a": replies(503, BUSY), "b": after(0, "from b")}
    async with stage(openai("a"), openai("b"), up=up, routing=hedging("a", "b")) as st:
        begun = trio.current_time()
        out = await st.ask("openai", request("openai", stream=stream))
        assert trio.current_time() - begun < 0.1
    assert b"from b" in out.body
    assert st.record.attempts == ("a/m: overloaded: busy",)


@both
async def test_when_one_of_the_two_fails_the_other_goes_on(
    stream: bool, autojump_clock: trio.testing.MockClock
) -> None:
    up = {"a": after(2, "from a"), "b": replies(503, BUSY)}
    async with stage(openai("a"), openai("b"), up=up, routing=hedging("a", "b")) as st:
        out = await st.ask("openai", request("openai", stream=stream))
    assert b"from a" in out.body
    assert st.record.attempts == ("b/m: overloaded: busy",)
    assert st.record.provider == "a"


async def test_never_more_than_two_at_once(autojump_clock: trio.testing.MockClock) -> None:
    up = {name: after(9, f"from {name}") for name in "abc"}
    providers = [openai(name) for name in "abc"]
    async with stage(*providers, up=up, routing=hedging("a", "b", "c")) as st:
        out = await st.ask("openai", request("openai"))
    assert st.dialled == ["a", "b"]
    assert b"from a" in out.body


async def test_a_third_begins_beside_the_second_when_the_first_has_failed(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async def fails(up: Up) -> None:
        await up.request()
        await trio.sleep(0.7)
        await up.reply(503, BUSY)

    up = {"a": fails, "b": after(60, "from b"), "c": after(0, "from c")}
    async with stage(*[openai(n) for n in "abc"], up=up, routing=hedging("a", "b", "c")) as st:
        begun = trio.current_time()
        out = await st.ask("openai", request("openai"))
        assert trio.current_time() - begun == pytest.approx(1.0, abs=0.01)
    assert b"from c" in out.body
    assert st.record.attempts == (
        "a/m: overloaded: busy",
        "b/m: hedged: cancelled: the first token came from c/m",
    )


@both
async def test_when_both_fail_the_walk_goes_on(
    stream: bool, autojump_clock: trio.testing.MockClock
) -> None:
    async def fails(up: Up) -> None:
        await up.request()
        await trio.sleep(0.7)
        await up.reply(500, BUSY)

    up = {"a": fails, "b": replies(503, BUSY), "c": after(0, "from c")}
    async with stage(*[openai(n) for n in "abc"], up=up, routing=hedging("a", "b", "c")) as st:
        out = await st.ask("openai", request("openai", stream=stream))
    assert b"from c" in out.body
    assert len(st.record.attempts) == 2


async def test_a_mistake_of_the_client_ends_both(autojump_clock: trio.testing.MockClock) -> None:
    closed: list[str] = []
    up = {"a": after(60, "from a", closed), "b": replies(400, WRONG)}
    async with stage(openai("a"), openai("b"), up=up, routing=hedging("a", "b")) as st:
        out = await st.ask("openai", request("openai"))
        await trio.testing.wait_all_tasks_blocked()
    assert len(closed) == 1
    assert (out.status, out.json["error"]["message"]) == (400, "no such field")
    assert st.record.end == "refused"
    assert "a/m: hedged: cancelled: the client's mistake ended the walk" in st.record.attempts


async def test_role_chunks_and_comments_are_no_first_token(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async def hesitates(up: Up) -> None:
        await up.request()
        await up.head(SSE)
        await up.chunk(sse(role_chunk(), done=False))
        await up.chunk(b": wait\n\n")
        await up.closed()

    up = {"a": hesitates, "b": after(0, "from b")}
    async with stage(openai("a"), openai("b"), up=up, routing=hedging("a", "b")) as st:
        out = await st.ask("openai", request("openai", stream=True))
    assert b"from b" in out.body
    assert out.body.count(b'"role"') == 1


async def test_until_there_is_a_winner_the_client_gets_life_signs_only(
    autojump_clock: trio.testing.MockClock,
) -> None:
    up = {"a": after(40, "from a"), "b": after(60, "from b")}
    async with stage(
        openai("a"), openai("b"), up=up, routing=hedging("a", "b"), life_sign_s=15
    ) as st:
        out = await st.ask("openai", request("openai", stream=True))
    assert all(piece.startswith(b":") for piece in out.pieces[:2])
    assert b"from a" in out.pieces[2]


async def test_a_stream_that_breaks_after_it_won_ends_in_an_error(
    autojump_clock: trio.testing.MockClock,
) -> None:
    up = {
        "a": after(60, "x"),
        "b": streams(SSE, sse(role_chunk(), said("Hel"), done=False), cut=True),
    }
    async with stage(openai("a"), openai("b"), up=up, routing=hedging("a", "b")) as st:
        out = await st.ask("openai", request("openai", stream=True))
    assert b"Hel" in out.body
    assert b'"error"' in out.body
    assert st.record.end == "truncated"


async def test_both_formats_race(autojump_clock: trio.testing.MockClock) -> None:
    """What each attempt notes of itself stays apart: ledger, fields, the encoder's state."""
    up = {"a": after(0.8, "from a"), "b": after(60, "x")}
    async with stage(openai("a"), anthropic("b"), up=up, routing=hedging("a", "b")) as st:
        body = request("openai", stream=True, logit_bias={"5": 1})
        out = await st.ask("openai", body)
    assert "logit_bias" in json.loads(st.asked["a"][0].body)
    assert st.record.dropped == ()  # of b, which cannot carry it, nothing is told
    assert out.headers.get("x-router-dropped") is None


@both
@pytest.mark.parametrize("moment", ["one runs", "two run", "one has won"])
async def test_a_client_that_leaves_ends_both_at_once(
    moment: str, stream: bool, autojump_clock: trio.testing.MockClock
) -> None:
    closed: list[str] = []

    async def begins(up: Up) -> None:
        await up.request()
        if moment == "one has won" and stream:
            await up.head(SSE)
            await up.chunk(sse(role_chunk(), said("Hel"), done=False))
        await up.closed()
        closed.append("b")

    up = {"a": after(60, "a", closed), "b": begins}
    async with stage(openai("a"), openai("b"), up=up, routing=hedging("a", "b")) as st:

        async def leave() -> None:
            await trio.sleep(0.2 if moment == "one runs" else 0.7)
            st.hang_up()

        await st.ask("openai", request("openai", stream=stream), before_read=leave)
        await trio.testing.wait_all_tasks_blocked()
        assert len(closed) == (1 if moment == "one runs" else 2)
        st.assert_settled()
    assert (st.record.end, st.record.fault) == ("client_gone", "client")


async def test_what_a_cancelled_one_may_cost_is_in_the_cost(
    autojump_clock: trio.testing.MockClock,
) -> None:
    dear = openai(
        "a", input_cost_per_1m=1e6, output_cost_per_1m=0.0
    )  # a dollar for each token read
    cheap = openai("b", input_cost_per_1m=0.0, output_cost_per_1m=0.0)
    up = {"a": after(60, "x"), "b": after(0, "from b")}
    async with stage(dear, cheap, up=up, routing=hedging("a", "b")) as st:
        out = await st.ask("openai", request("openai"))
    size = facts(st.record.request, tags=()).size_tokens  # the estimate
    assert st.record.cost_usd == pytest.approx(size)
    assert float(out.headers.get("x-router-cost-usd")) == pytest.approx(size)


async def test_a_clients_own_credential_goes_to_nobody_beside_another(
    autojump_clock: trio.testing.MockClock,
) -> None:
    up = {"a": after(2, "from a"), "b": replies(200, chat_answer("x"))}
    mine = openai("b", credentials="client")
    async with stage(openai("a"), mine, up=up, routing=hedging("a", "b")) as st:
        out = await st.ask("openai", request("openai"), [("authorization", "Bearer k")])
    assert st.dialled == ["a"]
    assert b"from a" in out.body
    assert st.daemon.health.spotless


async def test_each_of_the_two_has_its_own_idempotency_key(
    autojump_clock: trio.testing.MockClock,
) -> None:
    up = {"a": after(60, "x"), "b": after(0, "from b")}
    async with stage(openai("a"), openai("b"), up=up, routing=hedging("a", "b")) as st:
        await st.ask("openai", request("openai"), [("idempotency-key", "k1")])
    keys = [st.asked[name][0].headers.get("idempotency-key") for name in "ab"]
    assert keys[0] == "k1"
    assert keys[1] not in (None, "k1")


async def test_the_trial_of_a_half_open_circuit_is_given_back_by_the_loser(
    autojump_clock: trio.testing.MockClock,
) -> None:
    failing = [replies(500, BUSY)] * 3
    up = {"a": [*failing, after(60, "x"), after(0, "from a")], "b": after(0, "from b")}
    providers = [openai("a", max_retries=0), openai("b")]
    async with stage(*providers, up=up, routing=hedging("a", "b")) as st:
        for _ in range(3):
            await st.ask("openai", request("openai"))
        await trio.sleep(5)
        assert b"from b" in (await st.ask("openai", request("openai"))).body
        assert b"from a" in (await st.ask("openai", request("openai"))).body
        assert st.daemon.health.spotless


async def test_many_races_at_once_leave_nothing_behind(
    autojump_clock: trio.testing.MockClock,
) -> None:
    up = {"a": after(1, "from a"), "b": after(0.5, "from b")}  # both at the same moment
    async with stage(openai("a"), openai("b"), up=up, routing=hedging("a", "b")) as st:
        async with trio.open_nursery() as nursery:
            for _ in range(20):
                nursery.start_soon(st.ask, "openai", request("openai", stream=True))
    assert [r.end for r in st.sink.records] == ["complete"] * 20
    assert all(len(r.attempts) == 1 for r in st.sink.records)


async def test_a_bug_in_one_of_the_two_is_an_internal_error_with_a_record(
    autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    up = {"a": after(60, "x"), "b": after(0, "from b")}
    async with stage(openai("a"), openai("b"), up=up, routing=hedging("a", "b")) as st:

        def broken(*more: object) -> None:
            raise ZeroDivisionError("secret words")

        st.daemon.calibration.learn = broken
        out = await st.ask("openai", request("openai"))
        st.assert_settled()
    assert out.status in (200, 500)
    assert (st.record.end, st.record.fault) == ("internal_error", "router")
    assert "secret words" not in caplog.text


async def test_what_began_local_stays_local_beside_it_too(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Only a place is started that the walk would try next."""
    rules = tuple(
        RuleSpec("fallback", f"routers[{n}] fallback", (name,), hedge_after_ms=500)
        for n, name in enumerate("ab")
    )
    up = {"a": after(2, "from a"), "b": REFUSED}
    remote = openai("b", local=False)
    async with stage(openai("a"), remote, up=up, routing=Routing(rules=rules)) as st:
        out = await st.ask("openai", request("openai"))
    assert st.dialled == ["a"]
    assert b"from a" in out.body


async def test_each_of_the_two_has_a_key_of_its_own_and_the_losers_does_not_rest(
    autojump_clock: trio.testing.MockClock,
) -> None:
    keys = (Secret("key-one"), Secret("key-two"))
    keyed = [openai(name, key=keys[0], keys=keys) for name in "ab"]
    up = {"a": after(60, "x"), "b": after(0, "from b")}
    async with stage(*keyed, up=up, routing=hedging("a", "b")) as st:
        for _ in range(3):
            out = await st.ask("openai", request("openai"))
            assert b"from b" in out.body
        for name in "ab":
            sent = [asked.headers.get("authorization") for asked in st.asked[name]]
            assert sent == ["Bearer key-one", "Bearer key-two", "Bearer key-one"]
            ring = st.daemon.keyring(st.gen.providers[name])
            assert ring.resting(trio.current_time()) is None


async def test_vectors_race_too(autojump_clock: trio.testing.MockClock) -> None:
    vectors = {"object": "list", "data": [{"index": 0, "embedding": [0.5]}], "model": "m"}

    async def silent(up: Up) -> None:
        await up.request()
        await up.closed()

    up = {"a": silent, "b": replies(200, vectors)}
    async with stage(openai("a"), openai("b"), up=up, routing=hedging("a", "b")) as st:
        out = await st.ask("/v1/embeddings", {"model": "m", "input": "hi"})
    assert out.json["data"][0]["embedding"] == [0.5]
    assert st.record.provider == "b"
    assert len(st.record.attempts) == 1


class LeaveAt(trio.abc.Instrument):
    """The client leaves when so many steps were taken, by whatever task."""

    def __init__(self, step: int, leave: Callable[[], None]) -> None:
        self.step, self.leave, self.taken = step, leave, 0

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        self.taken += 1
        if self.taken == self.step:
            self.leave()


@pytest.mark.slow
@both
@pytest.mark.parametrize("winner", ["a", "b", "nobody"])
async def test_left_at_any_moment_it_leaves_one_record_and_nothing_else(
    winner: str, stream: bool, autojump_clock: trio.testing.MockClock
) -> None:
    waits = {"a": 0.8 if winner == "a" else 60, "b": 0.2 if winner == "b" else 60}
    ends: set[str] = set()
    step = 0
    while True:
        step += 2
        up = {name: after(waits[name], f"from {name}") for name in "ab"}
        if winner == "nobody":
            up = {name: replies(500, BUSY) for name in "ab"}
        providers = [openai(name, max_retries=0) for name in "ab"]
        async with stage(*providers, up=up, routing=hedging("a", "b"), life_sign_s=0.3) as st:

            def leave(st=st) -> None:
                if st.client is not None and st.client.nursery is not None:
                    st.hang_up()

            instrument = LeaveAt(step, leave)
            trio.lowlevel.add_instrument(instrument)
            await st.ask("openai", request("openai", stream=stream))
            trio.lowlevel.remove_instrument(instrument)
            await trio.testing.wait_all_tasks_blocked()
            st.assert_settled()
        records = st.sink.records
        assert len(records) == 1 or (not records and st.sink.told == [])
        ends |= {record.end for record in records}
        if instrument.taken < step:
            break
    assert "client_gone" in ends
    assert len(ends) == 2
