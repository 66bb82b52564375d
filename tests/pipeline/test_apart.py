"""Work in a process of its own: what comes of it, its bounds, and that nothing of it is left."""

import os
import textwrap
import time
from pathlib import Path

import pytest
import trio
import trio.testing

from llmrouterd.hooks import ApartFailed
from llmrouterd.pipeline.apart import Apart

WORK = """
    import os, sys, time
    def echoes(data, settings): return data + repr(settings).encode()
    def environment(data, settings): return repr(sorted(os.environ)).encode()
    def sleeps(data, settings):
        open(settings["note"], "w").close() if "note" in settings else None
        time.sleep(600)
    def spins(data, settings):
        while True: pass
    def eats(data, settings): return bytes(bytearray(1 << 33)[:1])
    def talks(data, settings): return b"x" * 1000
    def fails(data, settings): raise ValueError("no")
    def leaves(data, settings): os._exit(0)
    def pid(data, settings): return str(os.getpid()).encode()
"""


@pytest.fixture
def work(tmp_path: Path, monkeypatch) -> str:
    (tmp_path / "apart_work.py").write_text(textwrap.dedent(WORK))
    monkeypatch.syspath_prepend(str(tmp_path))
    return "apart_work:"


async def test_what_comes_out_is_what_the_function_returned(work: str) -> None:
    assert await Apart()(f"{work}echoes", b"in ", {"a": 1}) == b"in {'a': 1}"


async def test_much_goes_in_and_out(work: str) -> None:
    data = os.urandom(3_000_000)
    assert (await Apart()(f"{work}echoes", data))[: len(data)] == data


async def test_it_has_nothing_of_this_ones_environment(work: str, monkeypatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    said = await Apart()(f"{work}environment", b"")
    assert b"KEY" not in said
    assert b"HOME" not in said


@pytest.mark.slow
@pytest.mark.parametrize(
    ("function", "how", "said"),
    [
        ("sleeps", {"timeout_s": 1.0}, "it took longer than 1 s"),
        ("spins", {"timeout_s": 1.0}, "it took longer than 1 s"),
        ("eats", {}, "it wanted more memory than it may have"),
        ("talks", {"max_bytes": 10}, "it said more than 10 bytes"),
        ("fails", {}, "it failed"),
        ("nothing", {}, "it failed"),
    ],
)
async def test_what_goes_wrong_is_said(work: str, function: str, how: dict, said: str) -> None:
    with pytest.raises(ApartFailed) as failed:
        await Apart()(f"{work}{function}", b"", **how)
    assert str(failed.value) == said


async def test_whoever_reads_nothing_is_no_trouble(work: str) -> None:
    data = bytes(5_000_000)
    assert await Apart()(f"{work}leaves", b"") == b""
    assert len(await Apart()(f"{work}pid", data)) > 0


async def test_a_python_that_is_not_there_is_said(work: str, monkeypatch) -> None:
    monkeypatch.setattr("sys.executable", "/nowhere/python")
    with pytest.raises(ApartFailed, match="no process could be started: No such file"):
        await Apart()(f"{work}echoes", b"")
    monkeypatch.setattr("sys.executable", "")
    with pytest.raises(ApartFailed, match="does not know where it is"):
        await Apart()(f"{work}echoes", b"")


async def test_when_nobody_waits_any_more_it_is_gone(work: str, tmp_path: Path) -> None:
    before = children()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(Apart(), f"{work}sleeps", b"", {})
        while children() == before:  # noqa: ASYNC110 - the system tells nobody
            await trio.sleep(0.01)
        nursery.cancel_scope.cancel()
    assert children() == before


def children() -> set[str]:
    """Of this process."""
    lists = Path("/proc/self/task").glob("*/children")
    return {each for one in lists for each in one.read_text().split()}


@pytest.mark.slow
async def test_few_run_at_a_time_and_who_waits_waits_within_its_time(work: str) -> None:
    apart = Apart(at_once=1)
    begun = time.monotonic()
    with trio.CancelScope() as scope:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(apart, f"{work}sleeps", b"", {})
            await trio.testing.wait_all_tasks_blocked()
            with pytest.raises(ApartFailed, match=r"longer than 0\.5 s"):
                await apart(f"{work}echoes", b"", timeout_s=0.5)
            scope.cancel()
    assert time.monotonic() - begun < 60
    assert (await apart(f"{work}echoes", b"x")).startswith(b"x")
