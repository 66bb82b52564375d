"""Signals, and a file that is watched."""

import os
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path

import trio
import trio.testing

from llmrouterd.ops import signals


async def heeding(act: Callable[[], Awaitable[None]]) -> list[str]:
    """What came of it."""
    told: list[str] = []

    async def reload() -> None:
        told.append("reload")
        await trio.sleep_forever()  # one that takes long does not keep the next signal waiting

    async def run(*, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        await signals.heed(
            end=lambda at_once: told.append("at once" if at_once else "drain"),
            reload=reload,
            reopen=lambda: told.append("reopen"),
            task_status=task_status,
        )

    async with trio.open_nursery() as nursery:
        await nursery.start(run)
        await act()
        await trio.testing.wait_all_tasks_blocked(0.01)
        nursery.cancel_scope.cancel()
    return told


async def test_every_signal_does_its_own() -> None:
    async def act() -> None:
        for number in (signal.SIGHUP, signal.SIGUSR1, signal.SIGTERM, signal.SIGINT):
            signal.raise_signal(number)
            await trio.testing.wait_all_tasks_blocked(0.01)

    assert await heeding(act) == ["reload", "reopen", "drain", "at once"]


async def watched(path: Path, act: Callable[[Callable[[float], Awaitable[None]]], Awaitable[None]]):
    changes: list[str] = []

    async def changed() -> None:
        changes.append(path.read_text())  # noqa: ASYNC240

    async with trio.open_nursery() as nursery:
        known = signals.look(str(path))
        assert known is not None
        nursery.start_soon(signals.watch, str(path), known, changed)
        await trio.sleep(5.5)  # never at the same moment as a look
        await act(trio.sleep)
        nursery.cancel_scope.cancel()
    return changes


async def test_a_change_is_told_once_when_it_stands_still(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    path = tmp_path / "x.toml"
    path.write_text("one")

    async def act(sleep) -> None:
        path.write_text("two, longer")
        await sleep(signals.WATCH_S)
        path.write_text("three, and longer still")  # before anybody has read the second
        await sleep(10)
        path.unlink()  # as some editors do
        await sleep(10)
        (tmp_path / "new").write_text("four")
        (tmp_path / "new").rename(path)
        await sleep(10)

    assert await watched(path, act) == ["three, and longer still", "four"]


async def test_the_same_file_again_is_no_change(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    path = tmp_path / "x.toml"
    path.write_text("one")
    stamp = path.stat()

    async def act(sleep) -> None:
        path.write_text("one")
        os.utime(path, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
        await sleep(10)

    assert await watched(path, act) == []
