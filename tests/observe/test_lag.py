"""The event loop's delay."""

import trio
import trio.testing

from llmrouterd.observe.lag import EVERY_S, watch_lag


async def test_a_loop_on_time_has_no_delay(autojump_clock: trio.testing.MockClock) -> None:
    told: list[float] = []
    with trio.move_on_after(3.5 * EVERY_S):
        await watch_lag(told.append)
    assert told == [0.0, 0.0, 0.0]


async def test_a_loop_that_was_busy_is_late(mock_clock: trio.testing.MockClock) -> None:
    told: list[float] = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(watch_lag, told.append)
        await trio.testing.wait_all_tasks_blocked()
        mock_clock.jump(EVERY_S + 0.25)
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    assert told == [0.25]
