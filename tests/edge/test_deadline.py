import pytest
import trio

from llmrouterd.edge.deadline import Deadline
from llmrouterd.model import Clocks

CLOCKS = Clocks(connect_s=1, first_token_s=10, idle_s=5, total_s=0)


@pytest.mark.parametrize(
    ("phase", "seconds"), [("connect", 1), ("send", 5), ("first_token", 10), ("idle", 5)]
)
async def test_the_clock_of_the_phase_runs_out(autojump_clock, phase, seconds) -> None:
    start = trio.current_time()
    with Deadline(CLOCKS) as deadline:
        deadline.enter(phase)
        await trio.sleep_forever()
    assert trio.current_time() - start == pytest.approx(seconds)
    assert (deadline.expired, deadline.expired_s) == (phase, seconds)


async def test_entering_a_phase_again_starts_its_clock_anew(autojump_clock) -> None:
    with Deadline(CLOCKS) as deadline:
        for _ in range(10):
            deadline.enter("idle")
            await trio.sleep(4)
    assert deadline.expired is None


async def test_off_leaves_the_time_to_us(autojump_clock) -> None:
    with Deadline(CLOCKS) as deadline:
        deadline.enter("idle")
        deadline.off()
        await trio.sleep(1000)
    assert deadline.expired is None


async def test_the_total_clock_bounds_every_phase(autojump_clock) -> None:
    start = trio.current_time()
    with Deadline(Clocks(idle_s=5, total_s=12)) as deadline:
        while True:
            deadline.enter("idle")
            await trio.sleep(4)
    assert trio.current_time() - start == pytest.approx(12)
    assert (deadline.expired, deadline.expired_s) == ("total", 12)


async def test_the_total_clock_runs_while_off(autojump_clock) -> None:
    with Deadline(Clocks(total_s=3)) as deadline:
        deadline.enter("idle")
        deadline.off()
        await trio.sleep_forever()
    assert deadline.expired == "total"


async def test_a_phase_that_ends_before_the_total_has_its_own_name(autojump_clock) -> None:
    with Deadline(Clocks(connect_s=1, total_s=3)) as deadline:
        deadline.enter("connect")
        await trio.sleep_forever()
    assert deadline.expired == "connect"


async def test_a_clock_of_zero_does_not_run(autojump_clock) -> None:
    with Deadline(Clocks(0, 0, 0, 0)) as deadline:
        for phase in ("connect", "send", "first_token", "idle"):
            deadline.enter(phase)
            await trio.sleep(80_000)
    assert deadline.expired is None


async def test_a_cancellation_from_above_flies_through(autojump_clock) -> None:
    with trio.move_on_after(2) as above:
        with Deadline(CLOCKS) as deadline:
            deadline.enter("first_token")
            await trio.sleep_forever()
    assert above.cancelled_caught
    assert deadline.expired is None


async def test_exceptions_pass() -> None:
    with pytest.raises(KeyError):
        with Deadline(CLOCKS):
            raise KeyError


async def test_it_notes_how_long_making_a_connection_took(autojump_clock) -> None:
    with Deadline(CLOCKS) as deadline:
        deadline.enter("send")
        assert deadline.connect_s is None  # one was there already
        deadline.enter("connect")
        await trio.sleep(0.25)
        deadline.enter("send")
        await trio.sleep(0.5)
        deadline.enter("first_token")
    assert deadline.connect_s == pytest.approx(0.25)
