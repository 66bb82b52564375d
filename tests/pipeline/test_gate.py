"""Tasks that wait for places: woken, told where they stand, and leaving without a trace."""

from functools import partial
from itertools import pairwise

import pytest
import trio
import trio.testing

from llmrouterd.guard.fairqueue import Place, Waiter
from llmrouterd.model import Slots
from llmrouterd.pipeline.gate import TELL_S, Gate, Ticket, Timer


class Told:
    """What a waiting request was told, and when."""

    def __init__(self) -> None:
        self.places: list[tuple[float, int]] = []
        self.estimates: list[float | None] = []

    def __call__(self, place: Place) -> None:
        self.places.append((trio.current_time(), place.position))
        self.estimates.append(place.estimate_s)

    @property
    def positions(self) -> list[int]:
        return [position for _, position in self.places]


def ticket(client: str = "ann", model: str = "m", tell: Told | None = None) -> Ticket:
    return Ticket(Waiter(client, model, 100.0), tell)


def gate_of(**more) -> Gate:
    return Gate(Slots(**{"at_once": 1} | more), Timer())


async def holds(gate: Gate, held: Ticket, seconds: float) -> None:
    """A request: waits, works, goes."""
    try:
        if await gate.enter(held) is None:
            await trio.sleep(seconds)
    finally:
        gate.leave(held, served=True)


async def test_a_free_place_is_had_without_waiting(autojump_clock) -> None:
    gate, one = gate_of(), ticket()
    assert await gate.enter(one) is None
    gate.leave(one, served=True)
    assert gate.queue.idle


async def test_whoever_waits_is_woken_when_it_is_its_turn(autojump_clock) -> None:
    gate = gate_of()
    async with trio.open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(holds, gate, ticket(), 2.0)
    assert trio.current_time() == pytest.approx(10.0)
    assert gate.queue.idle


async def test_a_timeout_in_the_queue(autojump_clock) -> None:
    gate, late = gate_of(timeout_s=3.0), ticket()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(holds, gate, ticket(), 10.0)
        await trio.testing.wait_all_tasks_blocked()
        refusal = await gate.enter(late)
        assert refusal is not None
        assert refusal.why == "timeout"
        assert trio.current_time() == pytest.approx(3.0)
        gate.leave(late, served=False)


async def test_who_gives_way_to_another_is_told_at_once(autojump_clock) -> None:
    gate, loser, newcomer = gate_of(max_queue=1), ticket(), ticket("bob")
    refusals = []

    async def lose() -> None:
        refusals.append(await gate.enter(loser))
        gate.leave(loser, served=False)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(holds, gate, ticket(), 10.0)
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(holds, gate, ticket("ann"), 1.0)
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(lose)
        await trio.testing.wait_all_tasks_blocked()
        assert refusals[0].why == "full"
        nursery.start_soon(holds, gate, newcomer, 1.0)
    assert gate.queue.idle


async def test_a_grant_to_a_task_that_is_being_cancelled_is_passed_on(autojump_clock) -> None:
    """The classic leak: granted and cancelled in one go, before the task has run."""
    gate, first, second, third = gate_of(), ticket(), ticket(), ticket()
    assert await gate.enter(first) is None
    async with trio.open_nursery() as nursery:
        scope = trio.CancelScope()

        async def waits() -> None:
            with scope:
                await holds(gate, second, 5.0)

        nursery.start_soon(waits)
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(holds, gate, third, 5.0)
        await trio.testing.wait_all_tasks_blocked()
        gate.leave(first, served=True)
        assert second.waiter.state == "running"
        scope.cancel()
        await trio.testing.wait_all_tasks_blocked()
        assert (second.waiter.state, third.waiter.state) == ("gone", "running")
    assert gate.queue.idle


async def test_waiting_that_is_interrupted_goes_on_in_its_place(autojump_clock) -> None:
    """As life signs do it: cancelled, and called again."""
    gate, patient = gate_of(), ticket()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(holds, gate, ticket(), 10.0)
        await trio.testing.wait_all_tasks_blocked()
        for _ in range(4):
            with trio.move_on_after(1.0):
                await gate.enter(patient)
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(holds, gate, ticket(), 1.0)
        assert await gate.enter(patient) is None
        assert trio.current_time() == pytest.approx(10.0)
        gate.leave(patient, served=True)


# --- what is told ---------------------------------------------------------------------------------


async def test_a_position_is_told_and_told_again_when_it_is_another(autojump_clock) -> None:
    gate, told = gate_of(), Told()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(gate._timer.run)
        async with trio.open_nursery() as people:
            for _ in range(3):
                people.start_soon(holds, gate, ticket(), 2.0)
                await trio.testing.wait_all_tasks_blocked()
            people.start_soon(holds, gate, ticket(tell=told), 2.0)
        nursery.cancel_scope.cancel()
    assert told.places == [(0.0, 3), (2.0, 2), (4.0, 1), (6.0, 0)]
    assert told.estimates == [None, pytest.approx(4.0), pytest.approx(2.0), 0.0]


async def test_at_most_four_times_a_second(autojump_clock) -> None:
    gate, told = gate_of(), Told()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(gate._timer.run)
        async with trio.open_nursery() as people:
            for _ in range(60):
                people.start_soon(holds, gate, ticket(), 0.02)
            await trio.testing.wait_all_tasks_blocked()
            people.start_soon(holds, gate, ticket(tell=told), 0.02)
        nursery.cancel_scope.cancel()
    times = [when for when, _ in told.places]
    assert min(b - a for a, b in pairwise(times[:-1])) >= TELL_S - 1e-9
    assert all(sum(t <= other < t + 1.0 for other in times) <= 4 for t in times)
    assert told.positions == sorted(told.positions, reverse=True)
    assert len(told.positions) == 2 + int(1.2 / TELL_S)


async def test_whoever_has_nobody_to_tell_costs_nothing_for_it(autojump_clock) -> None:
    gate = gate_of()
    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(holds, gate, ticket(), 1.0)
        await trio.testing.wait_all_tasks_blocked()
        assert gate.wake_at == float("inf")


# --- the timer ------------------------------------------------------------------------------------


async def test_the_end_of_a_residency_wakes_who_waits_for_it(autojump_clock) -> None:
    gate = gate_of(max_loaded=1, residency_s=30.0)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(gate._timer.run)
        await holds(gate, ticket("ann", "a"), 5.0)
        await trio.sleep(1.0)
        await holds(gate, ticket("bob", "b"), 5.0)
        assert trio.current_time() == pytest.approx(40.0)
        nursery.cancel_scope.cancel()


async def test_cancelled_at_any_moment_nothing_is_left(autojump_clock) -> None:
    """Every point in time at which something happens, and those between."""
    for number in range(0, 90, 3):
        gate = gate_of(timeout_s=4.0, max_loaded=1, residency_s=1.0)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(gate._timer.run)
            with trio.move_on_after(number / 10):
                async with trio.open_nursery() as people:
                    for name, model in ("aa", "bb", "ab", "ca"):
                        people.start_soon(partial(holds, gate, ticket(name, model, Told()), 2.0))
            nursery.cancel_scope.cancel()
        assert gate.queue.idle
        assert not gate._tickets


async def test_whoever_is_no_task_here_is_told_when_it_is_its_turn(autojump_clock) -> None:
    gate, heard = gate_of(max_queue=1), []
    held = [ticket() for _ in range(3)]
    for number, each in enumerate(held):
        each.heard = lambda number=number, each=each: heard.append((number, each.waiter.state))
        gate.offer(each)
    assert heard == [(0, "running"), (2, "gone")]
    gate.leave(held[0], served=True)
    assert heard[2:] == [(1, "running")]
    gate.leave(held[1], served=True)
    assert gate.queue.idle
