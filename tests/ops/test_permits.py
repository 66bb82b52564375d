"""What is limited, asked for by several workers of one desk."""

from random import Random

import pytest
import trio
import trio.testing

from formats.errors import Failure
from llmrouterd.model import Caller
from llmrouterd.ops.permits import AWAY_S
from llmrouterd.pipeline.admit import today
from tests.ops.desks import Allowance, Slots, desks, provider, ticket
from tests.pipeline.stage import chat_answer, openai, request, stage

TWO = {"p": Slots(at_once=2)}


async def hold(permits, seconds=1.0, *, seen=None, client="", slots=TWO["p"], tell=None):
    """Wait for a place and keep it so long. Returns the refusal."""
    gate, mine = permits.gate(provider(slots=slots)), ticket(client, tell=tell)
    try:
        refusal = await gate.enter(mine)
        if refusal is None and seen is not None:
            seen.append(trio.current_time())
        if refusal is None:
            await trio.sleep(seconds)
        return refusal
    finally:
        gate.leave(mine, served=True)


async def settled(all_) -> None:
    await trio.testing.wait_all_tasks_blocked()
    assert all_.desk.admission.idle
    assert all(each.idle for each in all_.workers.values())


# --- places ---------------------------------------------------------------------------------------


async def test_two_places_are_two_whoever_asks(autojump_clock) -> None:
    async with desks(slots=TWO) as all_:
        seen: list[float] = []
        async with trio.open_nursery() as nursery:
            for number in (1, 2, 3):
                permits = await all_.worker(number)
                for _ in range(4):
                    nursery.start_soon(lambda p=permits: hold(p, seen=seen))
        assert [round(at - seen[0]) for at in seen] == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5]
        await settled(all_)


async def test_positions_over_all_are_told_and_known_of_each(autojump_clock) -> None:
    async with desks(slots={"p": Slots(at_once=1)}) as all_:
        one, other = await all_.worker(1), await all_.worker(2)
        told: list[int] = []
        async with trio.open_nursery() as nursery:
            for permits in (one, other, one):
                nursery.start_soon(hold, permits, 2.0)
                await trio.testing.wait_all_tasks_blocked()
            nursery.start_soon(
                lambda: hold(other, 2.0, tell=lambda place: told.append(place.position))
            )
            await trio.sleep(1.0)
            assert all_.desk.queues()["p"][:2] == (1, 3)
            one.seen(all_.desk.queues())
            assert one.waiting("p") == 3
            assert one.snapshot("p").running == 1
            assert one.waiting("nobody") == 0
        assert told == [3, 2, 1, 0]
        assert one.queued() == {}
        await settled(all_)


async def test_a_full_queue_is_full_for_all(autojump_clock) -> None:
    slots = Slots(at_once=1, max_queue=1)
    async with desks(slots={"p": slots}) as all_:
        one, other = await all_.worker(1), await all_.worker(2)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(hold, one, 3.0)
            await trio.testing.wait_all_tasks_blocked()
            nursery.start_soon(hold, other, 3.0)
            await trio.testing.wait_all_tasks_blocked()
            refusal = await hold(one, slots=slots)
            assert (refusal.why, refusal.waiting) == ("full", 1)
        await settled(all_)


async def test_who_has_waited_long_enough_is_told_and_leaves(autojump_clock) -> None:
    slots = Slots(at_once=1, timeout_s=5.0)
    async with desks(slots={"p": slots}) as all_:
        one, other = await all_.worker(1), await all_.worker(2)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(hold, one, 20.0)
            await trio.testing.wait_all_tasks_blocked()
            begun = trio.current_time()
            refusal = await hold(other, slots=slots)
            assert refusal.why == "timeout"
            assert trio.current_time() - begun == pytest.approx(5.0)
            await trio.testing.wait_all_tasks_blocked()
            assert all_.desk.admission.gates["p"].queue.waiting == 0
        await settled(all_)


async def test_a_place_goes_on_with_its_workers_death(autojump_clock) -> None:
    async with desks(slots={"p": Slots(at_once=1)}) as all_:
        one, other = await all_.worker(1), await all_.worker(2)
        async with trio.open_nursery() as nursery:
            mine = ticket()
            assert await one.gate(provider()).enter(mine) is None
            seen: list[float] = []
            nursery.start_soon(lambda: hold(other, seen=seen))
            await trio.sleep(1.0)
            assert not seen
            killed_at = trio.current_time()
            all_.kill(1)
            await trio.sleep(0.5)
            assert seen == [pytest.approx(killed_at)]
        await settled(all_)


async def test_who_is_cancelled_as_the_place_comes_hands_it_on(autojump_clock) -> None:
    async with desks(slots={"p": Slots(at_once=1)}) as all_:
        one = await all_.worker(1)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(hold, one, 1.0)
            await trio.testing.wait_all_tasks_blocked()
            with trio.move_on_after(1.0):
                await hold(one, 100.0)
        await settled(all_)


# --- clients --------------------------------------------------------------------------------------


async def test_requests_a_minute_are_those_of_all(autojump_clock) -> None:
    ann = Allowance(rpm=5)
    async with desks(clients={"ann": ann}) as all_:
        found = []
        for number in range(8):
            at = 1 + number % 3
            permits = all_.workers.get(at) or await all_.worker(at)
            entry = await permits.enter("ann", ann, 0.0)
            found.append(entry.exceeded.limit if entry.exceeded else entry.left.requests)
            if entry.exceeded is None:
                permits.leave(entry, 0.0)
        assert found == [4, 3, 2, 1, 0, "rpm", "rpm", "rpm"]
        await settled(all_)


async def test_levels_and_who_is_at_work_outlive_the_hub(autojump_clock) -> None:
    ann = Allowance(rpm=5, at_once=2)
    async with desks(clients={"ann": ann}) as all_:
        one, other = await all_.worker(1), await all_.worker(2)
        entries = [await one.enter("ann", ann, 0.0), await other.enter("ann", ann, 0.0)]
        all_.die()
        await trio.sleep(0.2)
        all_.begin()
        full = await one.enter("ann", ann, 0.0)
        assert full.exceeded.limit == "max_concurrency"
        one.leave(entries[0], 0.0)
        third = await other.enter("ann", ann, 0.0)
        assert (third.exceeded, third.left.requests) == (None, 2)
        for permits, entry in ((other, entries[1]), (other, third)):
            permits.leave(entry, 0.0)
        await settled(all_)


async def test_a_dead_workers_client_is_no_longer_at_work(autojump_clock) -> None:
    ann = Allowance(at_once=1)
    async with desks(clients={"ann": ann}) as all_:
        one, other = await all_.worker(1), await all_.worker(2)
        await one.enter("ann", ann, 0.0)
        assert (await other.enter("ann", ann, 0.0)).exceeded
        all_.kill(1)
        await trio.testing.wait_all_tasks_blocked()
        entry = await other.enter("ann", ann, 0.0)
        assert entry.exceeded is None
        other.leave(entry, None)
        await settled(all_)


async def test_a_budget_is_not_overspent_by_several_together(autojump_clock) -> None:
    day = today()
    async with desks(clients={"ann": Allowance(budget_usd_per_day=1.0)}) as all_:
        one, other = await all_.worker(1), await all_.worker(2)
        first = await one.reserve("ann", 0.6, 1.0, day)
        assert await other.reserve("ann", 0.6, 1.0, day) is None
        one.settle(first, 0.3)
        second = await other.reserve("ann", 0.6, 1.0, day)
        await trio.testing.wait_all_tasks_blocked()
        assert other.spent_usd("ann", day) == pytest.approx(0.3)
        other.settle(second, 0.6)
        await settled(all_)
        assert all_.desk.admission.budget.spent("ann", day) == pytest.approx(0.9)


async def test_what_a_dead_worker_had_reserved_counts_as_spent(autojump_clock) -> None:
    day = today()
    async with desks(clients={"ann": Allowance(budget_usd_per_day=1.0)}) as all_:
        one = await all_.worker(1)
        await one.reserve("ann", 0.4, 1.0, day)
        all_.kill(1)
        await settled(all_)
        assert all_.desk.admission.budget.spent("ann", day) == pytest.approx(0.4)


async def test_what_was_spent_while_the_hub_was_away_is_counted_once(autojump_clock) -> None:
    day = today()
    async with desks(clients={"ann": Allowance(budget_usd_per_day=9.0)}) as all_:
        one, other = await all_.worker(1), await all_.worker(2)
        settled_before = await one.reserve("ann", 1.0, 9.0, day)
        one.settle(settled_before, 1.0)
        under_way, kept = (
            await one.reserve("ann", 2.0, 9.0, day),
            await other.reserve("ann", 3.0, 9.0, day),
        )
        await trio.testing.wait_all_tasks_blocked()
        all_.die()
        await trio.testing.wait_all_tasks_blocked()
        one.settle(under_way, 1.5)
        all_.begin()
        await trio.sleep(4.0)
        budget = all_.desk.admission.budget
        assert budget.spent("ann", day) == pytest.approx(2.5)
        assert budget.left("ann", 9.0, day) == pytest.approx(9.0 - 2.5 - 3.0)
        other.settle(kept, 0.0)
        await settled(all_)


# --- without a hub --------------------------------------------------------------------------------


async def test_without_the_hub_nothing_limited_is_let_in_and_soon_nobody_waits(
    autojump_clock,
) -> None:
    ann = Allowance(rpm=5)
    async with desks(begun=False, slots=TWO, clients={"ann": ann}) as all_:
        one = await all_.worker(1)
        begun = trio.current_time()
        assert not one.away
        found = await one.enter("ann", ann, 0.0)
        assert isinstance(found, Failure)
        assert (found.kind, found.retry_after_s) == ("no_hub", 1.0)
        assert trio.current_time() - begun == pytest.approx(AWAY_S, abs=0.1)
        assert one.away
        assert isinstance(await one.reserve("ann", 1.0, 2.0, 1), Failure)
        assert (await hold(one)).why == "away"
        assert trio.current_time() - begun == pytest.approx(AWAY_S, abs=0.1)
        all_.begin()
        await trio.sleep(1.0)
        assert not one.away
        assert await hold(one) is None
        await settled(all_)


async def test_without_limits_nothing_is_amiss_without_a_hub(autojump_clock) -> None:
    async with desks(begun=False) as all_:
        one = await all_.worker(1)
        await trio.sleep(100.0)
        assert not one.away


async def test_a_new_hub_knows_who_is_at_work_before_it_lets_anybody_in(autojump_clock) -> None:
    async with desks(slots={"p": Slots(at_once=1)}) as all_:
        one, other = await all_.worker(1), await all_.worker(2)
        seen: list[float] = []
        async with trio.open_nursery() as nursery:
            nursery.start_soon(lambda: hold(one, 4.0, seen=seen))
            await trio.testing.wait_all_tasks_blocked()
            nursery.start_soon(lambda: hold(other, 1.0, seen=seen))
            await trio.sleep(0.5)
            all_.die()
            await trio.sleep(1.0)
            all_.begin()
        assert seen[1] - seen[0] == pytest.approx(4.0)
        await settled(all_)


async def test_a_worker_that_does_not_come_back_is_waited_for_a_while(autojump_clock) -> None:
    async with desks(slots=TWO) as all_:
        one, _ = await all_.worker(1), await all_.worker(2)
        all_.die()
        all_._scopes[2].cancel()  # it lives, and says nothing
        await trio.sleep(0.1)
        all_.begin()
        begun = trio.current_time()
        assert await hold(one, 0.0) is None
        assert 1.0 < trio.current_time() - begun < AWAY_S


async def test_whoever_gave_up_while_the_hub_counted_holds_nothing(autojump_clock) -> None:
    ann = Allowance(at_once=1)
    async with desks(slots=TWO, clients={"ann": ann}) as all_:
        one, _ = await all_.worker(1), await all_.worker(2)
        all_.die()
        all_._scopes[2].cancel()
        await trio.sleep(0.1)
        all_.begin()
        with trio.move_on_after(1.0):
            await one.enter("ann", ann, 0.0)
        with trio.move_on_after(1.0):
            await hold(one)
        await trio.sleep(10.0)
        all_.workers.pop(2)
        await settled(all_)


# --- what all are told ----------------------------------------------------------------------------


async def test_who_is_paused_is_told_to_all_at_once_and_outlives_the_hub(autojump_clock) -> None:
    async with desks() as all_:
        said = {}
        for number in (1, 2):
            permits = await all_.worker(number)
            said[number] = frozenset()
            permits.told_paused = lambda names, number=number: said.update({number: names})
        all_.workers[1].pause("p", paused=True)
        all_.workers[1].pause("q", paused=True)
        await trio.testing.wait_all_tasks_blocked()
        assert said[2] == {"p", "q"}
        all_.die()
        await trio.testing.wait_all_tasks_blocked()
        all_.workers[2].pause("p", paused=False)  # it is asked again while there is no hub
        all_.begin()
        await trio.sleep(1.0)
        assert said[1] == {"q"}
        third = await all_.worker(3)
        third.told_paused = lambda names: said.update({3: names})
        all_.workers[1].pause("r", paused=True)
        await trio.testing.wait_all_tasks_blocked()
        assert said[3] == {"q", "r"}


async def test_news_go_to_the_others(autojump_clock) -> None:
    async with desks() as all_:
        found = []
        for number in (1, 2, 3):
            permits = await all_.worker(number)
            permits.told_news = lambda *words, number=number: found.append((number, *words))
        all_.workers[2].tell("calls", "x")
        await trio.testing.wait_all_tasks_blocked()
        assert sorted(found) == [(1, "calls", "x"), (3, "calls", "x")]


async def test_the_newer_limits_hold_whoever_tells_them(autojump_clock) -> None:
    async with desks(slots={"p": Slots(at_once=1)}) as all_:
        one, other = await all_.worker(1), await all_.worker(2)
        one.put_in_force(3, {"p": Slots(at_once=2)}, {})
        await trio.testing.wait_all_tasks_blocked()
        other.put_in_force(2, {"p": Slots(at_once=1)}, {})
        await trio.testing.wait_all_tasks_blocked()
        seen: list[float] = []
        async with trio.open_nursery() as nursery:
            for _ in range(2):
                nursery.start_soon(lambda: hold(other, seen=seen))
        assert seen[0] == seen[1]
        await settled(all_)


async def test_at_the_end_what_was_said_last_is_heard(autojump_clock) -> None:
    day = today()
    async with desks(clients={"ann": Allowance(budget_usd_per_day=1.0)}) as all_:
        one = await all_.worker(1)
        one.settle(await one.reserve("ann", 0.5, 1.0, day), 0.25)
        one.close()
        await trio.testing.wait_all_tasks_blocked()
        assert not all_.desk.lines
        assert all_.desk.admission.budget.spent("ann", day) == pytest.approx(0.25)


# --- all at once ----------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(12))
async def test_whoever_dies_when_limits_hold_and_nothing_is_left(autojump_clock, seed: int) -> None:
    """Workers and the hub die at random while many ask. Those of a dead worker are not at work."""
    random, ann = Random(seed), Allowance(at_once=3)
    async with desks(slots=TWO, clients={"ann": ann}) as all_:
        at_work: dict[int, int] = {}
        inside: dict[int, int] = {}

        async def ask(number, permits) -> None:
            entry = await permits.enter("ann", ann, 0.0)
            if isinstance(entry, Failure) or entry.exceeded:
                return
            inside[number] = inside.get(number, 0) + 1
            gate, mine = permits.gate(provider()), ticket("ann")
            try:
                assert sum(inside.values()) <= 3
                if await gate.enter(mine) is None:
                    at_work[number] = at_work.get(number, 0) + 1
                    assert sum(at_work.values()) <= 2
                    await trio.sleep(random.random())
                    at_work[number] -= 1
            finally:
                gate.leave(mine, served=True)
                permits.leave(entry, 0.0)
                inside[number] -= 1

        async def live(number) -> None:
            """A worker's lives, one after the other."""
            for _ in range(3):
                permits = await all_.worker(number)
                with trio.move_on_after(random.uniform(2, 12)):
                    async with trio.open_nursery() as nursery:
                        while True:
                            nursery.start_soon(ask, number, permits)
                            await trio.sleep(random.random() / 2)
                at_work[number] = inside[number] = 0
                all_.kill(number)
                await trio.testing.wait_all_tasks_blocked()

        async def hub() -> None:
            while True:
                await trio.sleep(random.uniform(1, 6))
                all_.die()
                await trio.sleep(random.uniform(0, 2))
                all_.begin()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(hub)
            async with trio.open_nursery() as living:
                for number in (1, 2, 3):
                    living.start_soon(live, number)
            nursery.cancel_scope.cancel()
        if all_.desk is None:
            all_.begin()
        await trio.sleep(10.0)
        await settled(all_)


# --- through the whole pipeline -------------------------------------------------------------------


async def test_requests_see_no_difference(autojump_clock) -> None:
    slots = Slots(at_once=1)
    ann = Caller("ann", allowance=Allowance(rpm=3))

    async def takes(up) -> None:
        await up.request()
        await trio.sleep(1.0)
        await up.reply(200, chat_answer("hello"))

    async with desks(slots={"a": slots}, clients={"ann": ann.allowance}) as all_:
        async with stage(openai("a", slots=slots), up={"a": takes}, life_sign_s=0.3) as st:
            st.daemon.admission = await all_.worker(1)
            st.callers["k"] = ann
            outs = []

            async def ask() -> None:
                outs.append(
                    await st.ask("openai", request("openai", stream=False), [("x-router-key", "k")])
                )

            async with trio.open_nursery() as nursery:
                for _ in range(4):
                    nursery.start_soon(ask)
                    await trio.testing.wait_all_tasks_blocked()
            assert sorted(out.status for out in outs) == [200, 200, 200, 429]
            assert [r.queue_ms for r in st.sink.records if r.end == "complete"] == [0, 1000, 2000]
            assert {o.headers.get("x-router-remaining-requests") for o in outs} >= {"2", "1", "0"}
            all_.die()
            await trio.sleep(100.0)
            out = await st.ask("openai", request("openai"))
            assert out.status == 503
            assert out.headers.get("x-router-error") == "no_hub"
            assert out.json["error"]["code"] == "no_hub"
            assert "the hub that keeps the limits" in out.json["error"]["message"]
            assert out.headers.get("retry-after") == "1"
            assert st.sink.records[-1].fault == "router"
