"""The desk: what it refuses to hear. What it counts is tested with those who ask: test_permits.py."""

import pytest
import trio
import trio.testing

from llmrouterd.model import Allowance, Slots
from llmrouterd.ops.desk import Desk, slots_of, table_of
from llmrouterd.ops.frames import HELLO
from llmrouterd.ops.lines import Lines, line
from llmrouterd.pipeline.admit import Admission

STATE = {
    "table": table_of(1, {}, {}),
    "paused": {},
    **{name: [] for name in ("spent", "levels", "entered", "reserved", "placed")},
}


async def said(desk: Desk, *texts: bytes) -> tuple[list[list], bool]:
    """What it answers, and whether it closed the connection."""
    ours, theirs = trio.testing.memory_stream_pair()
    found, closed = [], False
    async with trio.open_nursery() as nursery:

        async def serve() -> None:
            await desk.serve(theirs, await theirs.receive_some(65536))
            nonlocal closed
            closed = True

        nursery.start_soon(serve)
        for text in texts:
            await ours.send_all(text)
            await trio.testing.wait_all_tasks_blocked()
        lines = Lines()
        with trio.move_on_after(0.05):
            while True:
                found += lines.feed(await ours.receive_some(65536))
        nursery.cancel_scope.cancel()
    return found, closed


def hello(version: int = HELLO, number: int = 1) -> bytes:
    return line("hello", version, number, STATE)


@pytest.mark.parametrize(
    "text",
    [
        line("enter", 1, "ann", 0.0),
        hello(version=HELLO + 1),
        hello() + line("nothing"),
        hello() + line("enter", 1),
        hello() + line("offer", 1, "p", ["ann"], 1.0, 0.0),
        hello() + line("table", {}),
        hello() + b"x\n",
        line("hello", HELLO, 1, {}),
    ],
)
async def test_what_is_not_understood_ends_the_connection_and_nothing_else(text: bytes) -> None:
    desk = Desk(Admission())
    _, closed = await said(desk, text)
    assert closed
    assert not desk.lines
    assert desk.admission.idle
    answers, closed = await said(desk, hello(), line("bye"))
    assert (answers, closed) == ([["paused", {}], ["bye"]], False)


async def test_a_worker_that_comes_back_is_one_not_two() -> None:
    desk = Desk(Admission())
    ours, theirs = trio.testing.memory_stream_pair()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(desk.serve, theirs, hello() + line("enter", 1, "ann", 0.0))
        await trio.testing.wait_all_tasks_blocked()
        assert not desk.admission.idle
        await said(desk, hello())
        assert desk.admission.idle
        nursery.cancel_scope.cancel()
    await ours.aclose()


def test_limits_are_read_as_they_were_written() -> None:
    slots = Slots(at_once=2, per_model=(("a*", 1), ("b", 3)), timeout_s=1.5, max_loaded=2)
    [words] = Lines().feed(
        line(table_of(3, {"p": slots}, {"ann": Allowance(rpm=4)})).replace(b"[", b'["x",', 1)
    )
    table = words[1]
    assert table["generation"] == 3
    assert slots_of(table["slots"]["p"]) == slots
    assert Allowance(*table["clients"]["ann"]) == Allowance(rpm=4)


async def test_a_sync_ends_when_all_others_have_said_so_or_gone() -> None:
    desk = Desk(Admission())
    with trio.fail_after(20):
        await desk.sync(1)  # there is nobody else
        async with trio.open_nursery() as nursery:
            streams = []
            for number in (1, 2, 3):
                ours, theirs = trio.testing.memory_stream_pair()
                streams.append(ours)
                nursery.start_soon(desk.serve, theirs, hello(number=number))
            await trio.testing.wait_all_tasks_blocked()
            done = trio.Event()

            async def sync() -> None:
                await desk.sync(1)
                done.set()

            nursery.start_soon(sync)
            await trio.testing.wait_all_tasks_blocked()
            desk.synced(1, 2)
            await trio.testing.wait_all_tasks_blocked()
            assert not done.is_set()
            await streams[2].aclose()
            await done.wait()
            nursery.cancel_scope.cancel()


async def test_what_is_refused_is_held_no_more() -> None:
    desk = Desk(Admission())
    table = table_of(1, {"p": Slots(1, (), max_queue=0)}, {})
    who = ["ann", "m", 0, False, None]
    offers = [line("offer", at, "p", who, 60.0, 0.0) for at in range(1, 101)]
    ours, theirs = trio.testing.memory_stream_pair()
    async with trio.open_nursery() as nursery:
        begin = line("hello", HELLO, 1, {**STATE, "table": table})
        nursery.start_soon(desk.serve, theirs, begin + b"".join(offers))
        await trio.testing.wait_all_tasks_blocked()
        assert list(desk.lines[1].holds) == [1]
        nursery.cancel_scope.cancel()
    await ours.aclose()


async def test_what_a_worker_said_on_a_line_that_it_left_takes_nothing() -> None:
    desk = Desk(Admission())
    old, left = trio.testing.memory_stream_pair()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(desk.serve, left, hello())
        await trio.testing.wait_all_tasks_blocked()
        new, comes = trio.testing.memory_stream_pair()
        nursery.start_soon(desk.serve, comes, hello())
        await trio.testing.wait_all_tasks_blocked()
        await old.send_all(line("enter", 1, "ann", 0.0))
        await trio.testing.wait_all_tasks_blocked()
        await old.aclose()
        await trio.testing.wait_all_tasks_blocked()
        assert desk.admission.idle
        nursery.cancel_scope.cancel()
    await new.aclose()
