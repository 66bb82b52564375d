"""Admission: what a client may use and spend, and a place at the provider, through the whole pipeline."""

from collections import Counter
from random import Random

import pytest
import trio
import trio.testing

from llmrouterd.model import (
    Allowance,
    AttemptFailed,
    Caller,
    Headers,
    Queued,
    Routing,
    Slots,
)
from llmrouterd.pipeline import admit
from tests.pipeline.stage import (
    REFUSED,
    STREAM,
    anthropic,
    chat_answer,
    chat_stream,
    openai,
    replies,
    request,
    said,
    sse,
    stage,
)

FINE = replies(200, chat_answer("hello"))
ONE = Slots(at_once=1)


def takes(seconds, answer=FINE):
    async def script(up):
        await up.request()
        await trio.sleep(seconds)
        await up.reply(200, chat_answer("hello"))

    return script


async def asks_all(st, count, *, each_s=0.0, **more):
    """So many clients, one after the other by `each_s`. Their answers in the order of asking."""
    outs = [None] * count

    async def one(number):
        await trio.sleep(number * each_s)
        outs[number] = await st.ask("openai", request("openai"), **more)

    async with trio.open_nursery() as nursery:
        for number in range(count):
            nursery.start_soon(one, number)
    return outs


# --- places ---------------------------------------------------------------------------------------


async def test_an_upstream_never_gets_more_than_it_may(autojump_clock) -> None:
    now, most = 0, 0

    async def script(up):
        nonlocal now, most
        await up.request()
        now += 1
        most = max(most, now)
        await trio.sleep(1.0)
        now -= 1
        await up.reply(200, chat_answer("hello"))

    async with stage(openai("a", slots=Slots(at_once=2)), up={"a": script}) as st:
        outs = await asks_all(st, 7)
        assert {out.status for out in outs} == {200}
        assert most == 2
        assert trio.current_time() == pytest.approx(4.0, abs=0.1)


async def test_waiting_longer_than_the_first_token_clock_is_no_timeout(autojump_clock) -> None:
    provider = openai("a", slots=Slots(at_once=1, timeout_s=0.0))
    async with stage(provider, up={"a": takes(250.0)}) as st:
        outs = await asks_all(st, 3, each_s=0.5)
        assert [out.status for out in outs] == [200, 200, 200]
        assert [r.queue_ms for r in st.sink.records] == pytest.approx(
            [0, 249_500, 499_000], abs=200
        )
        assert "x-router-queue-ms" not in outs[0].headers
        assert int(outs[2].headers.get("x-router-queue-ms")) == pytest.approx(499_000, abs=200)


async def test_positions_are_events_of_ours(autojump_clock) -> None:
    async with stage(openai("a", slots=ONE), up={"a": takes(2.0)}) as st:
        await asks_all(st, 4, each_s=0.1)
        told = [t for t in st.sink.told if isinstance(t, Queued)]
        by_id = {}
        for each in told:
            by_id.setdefault(each.id, []).append(each.position)
        assert by_id == {2: [1, 0], 3: [2, 1, 0], 4: [3, 2, 1, 0]}
        last = told[-2]
        assert (last.provider, last.model) == ("a", "a-model")
        assert last.estimate_ms == pytest.approx(2000, rel=0.2)


async def test_a_full_queue_is_a_503_with_the_time_to_come_again(autojump_clock) -> None:
    async with stage(openai("a", slots=Slots(at_once=1, max_queue=1)), up={"a": takes(4.0)}) as st:
        await st.ask("openai", request("openai"))
        outs = await asks_all(st, 3, each_s=0.5)
        assert [out.status for out in outs] == [200, 200, 503]
        assert outs[2].headers.get("x-router-error") == "queue_full"
        assert outs[2].headers.get("retry-after") == "3"
        assert outs[2].json["error"]["code"] == "queue_full"
        ends = {r.error_kind: (r.end, r.fault) for r in st.sink.records}
        assert ends["queue_full"] == ("refused", "router")


@pytest.mark.parametrize(
    ("fmt", "status", "where"),
    [
        ("openai", 503, ("error", "type", "server_error")),
        ("anthropic", 529, ("error", "type", "overloaded_error")),
        ("ollama", 503, ()),
        ("responses", 503, ("error", "type", "server_error")),
    ],
)
async def test_a_full_queue_in_each_client_s_words(
    autojump_clock, fmt: str, status: int, where
) -> None:
    async with stage(openai("a", slots=Slots(at_once=1, max_queue=0)), up={"a": takes(4.0)}) as st:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(st.ask, "openai", request("openai"))
            await trio.sleep(1.0)
            out = await st.ask(fmt, request(fmt))
        assert out.status == status
        assert int(out.headers.get("retry-after")) >= 1
        if where:
            assert out.json[where[0]][where[1]] == where[2]
        assert "the queue for a is full" in out.body.decode()


async def test_what_would_start_too_late_is_refused_at_once(autojump_clock) -> None:
    slots = Slots(at_once=1, timeout_s=10.0)
    async with stage(openai("a", slots=slots), up={"a": takes(6.0)}) as st:
        await st.ask("openai", request("openai"))
        begun = trio.current_time()
        outs = await asks_all(st, 4, each_s=0.1)
        assert [out.status for out in outs] == [200, 200, 503, 503]
        assert outs[2].headers.get("x-router-error") == "queue_timeout"
        assert "would begin this in about 1" in outs[2].json["error"]["message"]
        assert outs[2].headers.get("retry-after") == "2"
        assert trio.current_time() == pytest.approx(begun + 12.0, abs=0.2)


async def test_a_time_in_the_queue_that_ran_out(autojump_clock) -> None:
    slots = Slots(at_once=1, timeout_s=3.0)
    async with stage(openai("a", slots=slots), up={"a": takes(6.0)}) as st:
        outs = await asks_all(st, 2, each_s=0.1)
        assert [out.status for out in outs] == [200, 503]
        assert "did not begin this within 3 s" in outs[1].json["error"]["message"]


async def test_a_full_queue_walks_on_and_says_nothing_of_anybody_s_health(autojump_clock) -> None:
    full = openai("a", slots=Slots(at_once=1, max_queue=0))
    async with stage(full, openai("b"), up={"a": takes(4.0), "b": FINE}) as st:
        outs = await asks_all(st, 5, each_s=0.1)
        assert [out.headers.get("x-router-provider") for out in outs] == list("abbbb")
        assert st.daemon.health.spotless
        failed = [t for t in st.sink.told if isinstance(t, AttemptFailed)]
        assert {(t.provider, t.kind) for t in failed} == {("a", "queue_full")}


async def test_a_local_request_does_not_leave_for_a_full_queue(autojump_clock) -> None:
    full = openai("a", slots=Slots(at_once=1, max_queue=0))
    far = openai("b", local=False)
    routing = Routing(implicit=True)
    async with stage(full, far, up={"a": takes(4.0), "b": FINE}, routing=routing) as st:
        outs = await asks_all(st, 2, each_s=0.1)
        assert [out.status for out in outs] == [200, 503]
        assert st.asked["b"] == []


async def test_who_waited_while_the_circuit_opened_does_not_ask_all_the_same(
    autojump_clock,
) -> None:
    async def breaks(up):
        await up.request()
        await trio.sleep(4.0)
        await up.reply(500, {"error": {"message": "it broke"}})

    ill = openai("a", slots=ONE, circuit_failures=1, max_retries=0)
    async with stage(ill, openai("b"), up={"a": breaks, "b": FINE}) as st:
        outs = await asks_all(st, 3, each_s=0.1)
        assert [out.headers.get("x-router-provider") for out in outs] == ["b"] * 3
        assert len(st.asked["a"]) == 1
        assert st.daemon.admission.gates["a"].queue.idle
        waited = [record for record in st.sink.records if record.queue_ms]
        assert [record.attempts for record in waited] == [(), ()]
        assert all("health" in [step.code for step in record.trace] for record in waited)


async def test_a_retry_waits_for_a_place_again(autojump_clock) -> None:
    broken = replies(500, {"error": {"message": "it broke"}})
    provider = openai("a", slots=ONE, max_retries=1)
    async with stage(provider, up={"a": [broken, FINE]}) as st:
        out = await st.ask("openai", request("openai"))
        assert out.status == 200
        assert st.daemon.admission.gates["a"].queue.idle


async def test_a_waiting_stream_gets_life_signs(autojump_clock) -> None:
    streamed = chat_stream("hi")

    async def script(up):
        await up.request()
        await trio.sleep(20.0)
        await up.head(STREAM["openai"])
        await up.chunk(streamed)
        await up.end()

    async with stage(openai("a", slots=ONE), up={"a": script}, life_sign_s=6.0) as st:
        outs = []

        async def ask():
            outs.append(await st.ask("openai", request("openai", stream=True)))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask)
            await trio.sleep(0.1)
            nursery.start_soon(ask)
        signs = [out.body.count(b": keep-alive") for out in outs]
        assert signs == [3, 6]
        assert all(b"[DONE]" in out.body for out in outs)


async def test_interactive_goes_before_batch_and_nobody_raises_himself(autojump_clock) -> None:
    callers = {"night": Caller("night", batch=True), "ann": Caller("ann")}
    async with stage(openai("a", slots=ONE), up={"a": takes(1.0)}) as st:
        st.callers = callers
        order = []

        async def one(at, name, *fields):
            await trio.sleep(at)
            await st.ask("openai", request("openai"), [("x-router-key", name), *fields])
            order.append(at)

        high, low = ("x-router-priority", "interactive"), ("x-router-priority", "Batch")
        async with trio.open_nursery() as nursery:
            for at, *who in (
                (0.0, "ann"),
                (0.1, "night", high),
                (0.2, "ann", low),
                (0.3, "ann"),
                (0.4, "ann"),
            ):
                nursery.start_soon(one, at, *who)
        assert order[:3] == [0.0, 0.3, 0.4]


def test_a_client_may_only_lower_itself() -> None:
    def fields(value):
        return Headers([(b"x-router-priority", value)])

    night, ann = Caller("night", batch=True), Caller("ann")
    assert admit.is_batch(night, fields(b"interactive"))
    assert admit.is_batch(ann, fields(b"batch"))
    assert not admit.is_batch(ann, fields(b"urgent"))
    assert not admit.is_batch(ann, Headers())


async def test_what_waits_counts_as_busy(autojump_clock) -> None:
    async with stage(openai("a", slots=ONE), up={"a": takes(5.0)}) as st:
        async with trio.open_nursery() as nursery:
            for _ in range(4):
                nursery.start_soon(st.ask, "openai", request("openai"))
            await trio.sleep(1.0)
            assert st.daemon.busy(st.daemon.fleet(st.gen, 0)).states["a"].in_flight == 4
            assert st.daemon.in_flight_at["a"] == 1


async def test_the_measured_time_to_the_first_token_leaves_the_wait_out(autojump_clock) -> None:
    """Story's clock is real time, so the wait is put there by hand."""
    async with stage(
        openai("a", slots=ONE), up={"a": replies(200, chat_stream("hi"), STREAM["openai"])}
    ) as st:
        await st.ask("openai", request("openai", stream=True))
        assert st.daemon.health.seen["a"].first_token_ms.value < 60_000


# --- nobody leaves a place behind -------------------------------------------------------------------


@pytest.mark.parametrize("moment", [0.0, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0])
async def test_a_client_that_leaves_at_that_moment_gives_its_place_on(
    autojump_clock, moment: float
) -> None:
    async with stage(openai("a", slots=ONE), up={"a": takes(2.0)}) as st:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(st.ask, "openai", request("openai"))
            await trio.sleep(0.1)
            nursery.start_soon(st.ask, "openai", request("openai"))
            await trio.sleep(0.1)
            leaving = st.client
            nursery.start_soon(st.ask, "openai", request("openai"))
            await trio.sleep(moment)
            st.client = leaving
            if not leaving.finished:
                st.hang_up()
        assert len(st.sink.records) == 3
        assert trio.current_time() < 7.0


class Nth(trio.abc.Instrument):
    """Does something after so many steps of any task."""

    def __init__(self, number, act) -> None:
        self.left, self.act = number, act

    def after_task_step(self, task) -> None:
        self.left -= 1
        if self.left == 0:
            self.act()


@pytest.mark.slow
@pytest.mark.parametrize("start", range(4))
async def test_cancelled_at_every_checkpoint_a_place_is_passed_on(autojump_clock, start) -> None:
    """Whichever step of whatever task the client's going away falls upon."""
    for number in range(1 + start, 240, 8):
        async with stage(openai("a", slots=ONE), up={"a": takes(1.0)}) as st:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(st.ask, "openai", request("openai"))
                await trio.testing.wait_all_tasks_blocked()
                nursery.start_soon(st.ask, "openai", request("openai"))
                await trio.testing.wait_all_tasks_blocked()
                leaving = st.client

                def leave(st=st, leaving=leaving) -> None:
                    if not leaving.finished and leaving.nursery is not None:
                        leaving.went_away()
                        leaving.nursery.cancel_scope.cancel()

                nursery.start_soon(st.ask, "openai", request("openai"))
                instrument = Nth(number, leave)
                trio.lowlevel.add_instrument(instrument)
            trio.lowlevel.remove_instrument(instrument)
            assert len(st.sink.records) == 3
            ends = Counter(record.end for record in st.sink.records)
            assert ends["complete"] >= 2, ends


@pytest.mark.slow
async def test_hundreds_who_vanish_at_random_leave_nothing(autojump_clock) -> None:
    """Before they are heard, queued, at work, in the middle of a stream."""
    chance = Random(11)

    async def script(up):
        await up.request()
        await trio.sleep(chance.uniform(0.0, 0.5))
        await up.head(STREAM["openai"])
        for word in ["one", "two", "three", "four"]:
            await up.chunk(sse(said(word), done=False))
            await trio.sleep(chance.uniform(0.0, 0.3))
        await up.chunk(chat_stream("end"))
        await up.end()

    slots = Slots(at_once=3, max_queue=60, timeout_s=8.0, max_loaded=1, residency_s=0.5)
    providers = [openai("a", slots=slots), openai("b", slots=slots)]
    allowance = Allowance(tpm=10**9, at_once=1000, budget_usd_per_day=1e9)
    async with stage(*providers, up={"a": script, "b": script}) as st:
        st.callers = {f"c{n}": Caller(f"c{n}", allowance=allowance) for n in range(5)}
        ends = Counter()

        async def one(number):
            await trio.sleep(chance.uniform(0.0, 10.0))
            mine = None

            def seen():
                nonlocal mine
                mine = st.client

            async def leave():
                seen()
                await trio.sleep(chance.expovariate(1.0))
                if mine is not None and not mine.finished and mine.nursery is not None:
                    mine.went_away()
                    mine.nursery.cancel_scope.cancel()

            async with trio.open_nursery() as nursery:

                async def before():
                    await trio.testing.wait_all_tasks_blocked()
                    nursery.start_soon(leave)

                fields = [("x-router-key", f"c{number % 5}")]
                body = request("openai", stream=True)
                await st.ask("openai", body, fields, before_read=before)
                nursery.cancel_scope.cancel()

        async with trio.open_nursery() as nursery:
            for number in range(300):
                nursery.start_soon(one, number)
        for record in st.sink.records:
            ends[record.end] += 1
        assert sum(ends.values()) == 300
        assert ends["client_gone"] > 50, ends
        assert ends["complete"] > 5, ends


# --- what a client may use --------------------------------------------------------------------------


def limited(st, **more):
    st.callers = {"ann": Caller("ann", allowance=Allowance(**more))}
    return [("x-router-key", "ann")]


async def test_so_many_requests_a_minute(autojump_clock) -> None:
    async with stage(openai("a"), up={"a": FINE}) as st:
        ann = limited(st, rpm=2)
        outs = await asks_all(st, 3, each_s=1.0, headers=ann)
        assert [out.status for out in outs] == [200, 200, 429]
        assert [out.headers.get("x-router-remaining-requests") for out in outs] == ["1", "0", "0"]
        assert outs[2].headers.get("x-router-error") == "client_limit:rpm"
        assert outs[2].headers.get("retry-after") == "28"
        assert "client 'ann' may have 2 requests a minute (rpm)" in outs[2].body.decode()
        assert (await st.ask("openai", request("openai"))).status == 200  # somebody else
        await trio.sleep(28.0)
        assert (await st.ask("openai", request("openai"), ann)).status == 200
        refused = next(r for r in st.sink.records if r.status == 429)
        assert (refused.end, refused.fault, refused.provider) == ("refused", "client", "")


async def test_tokens_a_minute_are_put_right(autojump_clock) -> None:
    async with stage(openai("a"), up={"a": FINE}) as st:
        ann = limited(st, tpm=1000)
        for _ in range(20):  # estimated at 300 and more each, and really 10
            assert (await st.ask("openai", request("openai"), ann)).status == 200
        left = st.daemon.admission.limits("ann", Allowance(tpm=1000)).left(trio.current_time())
        assert left.tokens == 1000 - 20 * 10


async def test_so_many_at_a_time(autojump_clock) -> None:
    async with stage(openai("a"), up={"a": takes(3.0)}) as st:
        ann = limited(st, at_once=1)
        outs = await asks_all(st, 2, each_s=1.0, headers=ann)
        assert [out.status for out in outs] == [200, 429]
        assert outs[1].headers.get("x-router-error") == "client_limit:max_concurrency"
        assert (await st.ask("openai", request("openai"), ann)).status == 200


async def test_nothing_was_used_where_nobody_answered(autojump_clock) -> None:
    async with stage(openai("a", max_retries=0), up={"a": REFUSED}) as st:
        ann = limited(st, tpm=1000)
        assert (await st.ask("openai", request("openai"), ann)).status == 502
        left = st.daemon.admission.limits("ann", Allowance(tpm=1000)).left(trio.current_time())
        assert left.tokens == 1000


# --- what a client may spend ------------------------------------------------------------------------

PRICED = {"input_cost_per_1m": 1000.0, "output_cost_per_1m": 10_000.0}
COST = (7 * 1000 + 3 * 10_000) / 1e6  # of every answer here


async def test_a_budget_is_spent_and_then_it_is_over(autojump_clock) -> None:
    async with stage(openai("a", local=False, **PRICED), up={"a": FINE}) as st:
        ann = limited(st, budget_usd_per_day=0.1)
        body = request("openai", max_tokens=5)
        outs = [await st.ask("openai", body, ann) for _ in range(3)]
        assert [out.status for out in outs] == [200, 200, 429]
        assert outs[1].headers.get("x-router-remaining-budget-usd") == f"{0.1 - COST:.6f}"
        last = outs[2]
        assert last.headers.get("x-router-error") == "over_budget"
        assert last.headers.get("x-should-retry") == "false"
        assert 0 < int(last.headers.get("retry-after")) <= 86400
        assert last.json["error"]["type"] == "insufficient_quota"
        record = next(r for r in st.sink.records if r.status == 429)
        assert (record.end, record.fault) == ("over_budget", "client")
        assert st.daemon.health.spotless


async def test_requests_that_run_together_do_not_overspend_together(autojump_clock) -> None:
    async with stage(openai("a", local=False, **PRICED), up={"a": takes(1.0)}) as st:
        ann = limited(st, budget_usd_per_day=0.12)
        body = request("openai", max_tokens=5)
        statuses = Counter()

        async def one():
            statuses[(await st.ask("openai", body, ann)).status] += 1

        async with trio.open_nursery() as nursery:
            for _ in range(10):
                nursery.start_soon(one)
        assert statuses[200] in (1, 2)
        assert statuses[429] == 10 - statuses[200]


async def test_over_budget_there_is_still_the_machine_at_home(autojump_clock) -> None:
    far, home = openai("a", local=False, **PRICED), openai("b")
    async with stage(far, home, up={"a": FINE, "b": FINE}) as st:
        ann = limited(st, budget_usd_per_day=0.07)
        body = request("openai", max_tokens=5)
        outs = [await st.ask("openai", body, ann) for _ in range(2)]
        assert [out.headers.get("x-router-provider") for out in outs] == ["a", "b"]


async def test_where_no_prices_are_known_no_budget_is_spent(autojump_clock) -> None:
    async with stage(openai("a", local=False), up={"a": FINE}) as st:
        out = await st.ask("openai", request("openai"), limited(st, budget_usd_per_day=5.0))
        assert out.status == 429
        assert "no price is known to count by" in out.body.decode()
        assert st.asked["a"] == []


async def test_a_failure_before_any_answer_costs_nothing(autojump_clock) -> None:
    async with stage(openai("a", local=False, max_retries=0, **PRICED), up={"a": REFUSED}) as st:
        await st.ask("openai", request("openai"), limited(st, budget_usd_per_day=50.0))
        assert st.daemon.admission.budget.spent("ann", st.daemon.wall_ms() // admit.DAY_MS) == 0.0


async def test_an_unknown_cost_is_the_reservation_and_not_nothing(autojump_clock) -> None:
    """The client leaves in the middle of the answer: what it cost nobody tells."""
    spent = []

    async def script(up):
        await up.request()
        await up.head(STREAM["openai"])
        await up.chunk(sse(said("one"), done=False))
        await trio.sleep(100.0)

    async with stage(openai("a", local=False, **PRICED), up={"a": script}) as st:
        st.daemon.admission.spent = lambda client, day, usd: spent.append((client, usd))
        ann = limited(st, budget_usd_per_day=50.0)

        async def leave(piece):
            st.hang_up()

        await st.ask("openai", request("openai", stream=True, max_tokens=100), ann, each=leave)
        [(client, usd)] = spent
        assert client == "ann"
        assert usd == pytest.approx(100 * 10_000 / 1e6, rel=0.05)


async def test_who_leaves_before_the_last_figures_pays_for_more_than_the_first_token(
    autojump_clock,
) -> None:
    """Anthropic's format begins with the figures of the prompt and of one token."""
    spent = []
    usage = {"input_tokens": 7, "output_tokens": 1}
    begun = {"id": "m", "type": "message", "role": "assistant", "model": "m", "content": []}
    block = {"type": "text", "text": ""}
    events = (
        {"type": "message_start", "message": {**begun, "usage": usage}},
        {"type": "content_block_start", "index": 0, "content_block": block},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "hi"}},
    )

    async def script(up):
        await up.request()
        await up.head(STREAM["anthropic"])
        await up.chunk(sse(*events, done=False))
        await trio.sleep(100.0)

    async with stage(anthropic("a", local=False, **PRICED), up={"a": script}) as st:
        st.daemon.admission.spent = lambda client, day, usd: spent.append(usd)
        ann = limited(st, budget_usd_per_day=50.0)

        async def leave(piece):
            st.hang_up()

        await st.ask(
            "anthropic", request("anthropic", stream=True, max_tokens=100), ann, each=leave
        )
    assert spent == [pytest.approx(100 * 10_000 / 1e6, rel=0.05)]


async def test_an_answer_without_usage_counts_by_estimate(autojump_clock) -> None:
    bare = chat_answer("hello")
    del bare["usage"]
    async with stage(openai("a", local=False, **PRICED), up={"a": replies(200, bare)}) as st:
        ann = limited(st, budget_usd_per_day=50.0)
        await st.ask("openai", request("openai", max_tokens=100), ann)
        day = st.daemon.wall_ms() // admit.DAY_MS
        assert st.daemon.admission.budget.spent("ann", day) > 0.9


# --- where nothing is limited -----------------------------------------------------------------------


async def test_without_limits_nothing_of_this_is_entered(autojump_clock, monkeypatch) -> None:
    def never(*args):
        raise AssertionError("entered")

    monkeypatch.setattr(admit, "slot", never)
    monkeypatch.setattr(admit, "client", never)
    async with stage(openai("a"), up={"a": FINE}) as st:
        assert (await st.ask("openai", request("openai"))).status == 200
        assert st.daemon.admission.gates == {}


async def test_limits_that_were_changed_hold_for_those_who_wait(autojump_clock) -> None:
    provider = openai("a", slots=ONE)
    async with stage(provider, up={"a": takes(10.0)}) as st:
        async with trio.open_nursery() as nursery:
            for _ in range(4):
                nursery.start_soon(st.ask, "openai", request("openai"))
            await trio.sleep(1.0)
            more = openai("a", slots=Slots(at_once=3))
            st.daemon.admission.renewed({"a": more})
            await trio.testing.wait_all_tasks_blocked()
            assert st.daemon.admission.gates["a"].queue.running == 3
            st.daemon.admission.renewed({"a": openai("a")})
            await trio.testing.wait_all_tasks_blocked()
            assert st.daemon.admission.queued() == {"a": 0}
