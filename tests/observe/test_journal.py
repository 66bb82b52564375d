"""The request log on a real disk: rotation, trouble and recovery, and that nothing is lost."""

import json
import logging
import resource
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from formats.canonical import Message, Request, Response, Text
from llmrouterd.model import (
    Decision,
    Facts,
    Fleet,
    ModelInfo,
    Opened,
    Provider,
    ProviderState,
    Record,
    Routing,
)
from llmrouterd.observe import journal as journal_module
from llmrouterd.observe.journal import Journal
from llmrouterd.observe.shapes import as_text
from llmrouterd.route.decide import decide

PATIENCE_S = 30


def record(number: int, text: str = "the question") -> Record:
    request = Request("openai", "m", (Message("user", (Text(text),)),))
    response = Response("r", "m", (Text("the answer"),))
    return Record(
        number, "r", 0, "complete", 200, "openai", "/", "m", request=request, response=response
    )


def journal_at(path: Path, **more: Any) -> Journal:
    return Journal(str(path), **{"bodies": "full", "max_bytes": 0, "keep": 5, **more})


def ids(*paths: Path) -> list[int]:
    return [json.loads(x)["id"] for path in paths for x in path.read_text().splitlines()]


def names_in(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.iterdir())


async def write(journal: Journal, *numbers: int) -> None:
    """A whole life: accept, close, write."""
    for number in numbers:
        journal.tell(record(number))
    journal.close()
    with trio.fail_after(PATIENCE_S):
        await journal.run()


async def until(condition: Any) -> None:
    with trio.fail_after(PATIENCE_S):
        while not condition():  # noqa: ASYNC110 - the disk tells nobody
            await trio.sleep(0.002)


@contextmanager
def full_disk(size: int) -> Iterator[None]:
    """No file may grow beyond `size`: a disk that fills up in the middle of a write."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


# --- writing --------------------------------------------------------------------------------------


async def test_a_record_is_a_line(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "er" / "requests.jsonl"
    journal = journal_at(path)
    journal.tell(Opened(1, 0, "m", 1))  # only what is complete is logged
    await write(journal, 1, 2, 3)
    assert ids(path) == [1, 2, 3]
    first = json.loads(path.read_text().splitlines()[0])
    assert first["type"] == "complete"
    assert first["messages"][0]["content"][0]["text"] == "the question"
    assert first["response"]["content"] == "the answer"
    assert (journal.written, journal.lost) == (3, 0)


async def test_only_the_owner_may_read_the_log(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    await write(journal_at(path, max_bytes=1), 1)
    await write(journal_at(path, max_bytes=1), 2)
    for file in (path, tmp_path / "x.jsonl.1"):
        assert stat.S_IMODE(file.stat().st_mode) == 0o600


async def test_without_bodies_no_word_is_written(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    await write(journal_at(path, bodies="none"), 1)
    assert "the question" not in path.read_text()
    assert "the answer" not in path.read_text()
    assert ids(path) == [1]


async def test_a_log_that_is_there_is_added_to(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    await write(journal_at(path), 1)
    await write(journal_at(path), 2)
    assert ids(path) == [1, 2]


async def test_a_newline_in_the_words_makes_no_new_line(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    journal = journal_at(path)
    journal.tell(record(1, "a\nb\r\n\u2028\x85 世界 \ud800"))
    await write(journal)
    assert ids(path) == [1]


# --- rotation -------------------------------------------------------------------------------------


async def test_the_log_is_rotated_by_size_and_the_oldest_goes(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    for number in range(1, 7):
        await write(journal_at(path, max_bytes=1, keep=3), number)
    names = ["x.jsonl", "x.jsonl.1", "x.jsonl.2", "x.jsonl.3"]
    assert names_in(tmp_path) == names
    assert [ids(tmp_path / name) for name in names] == [[6], [5], [4], [3]]


async def test_no_file_grows_over_the_size_and_no_line_is_torn(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    for number in range(1, 21):
        await write(journal_at(path, max_bytes=3000, keep=50), number)
    names = sorted(
        names_in(tmp_path), key=lambda n: int(n.rpartition(".")[2].replace("jsonl", "0"))
    )
    files = [tmp_path / name for name in names]
    assert len(files) > 3
    assert all(file.stat().st_size <= 3000 for file in files)
    assert ids(*reversed(files)) == list(range(1, 21))


async def test_a_record_larger_than_the_size_is_written_all_the_same(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    await write(journal_at(path, max_bytes=10), 1)
    assert ids(path) == [1]


async def test_keeping_none_starts_the_file_anew(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    await write(journal_at(path, max_bytes=1, keep=0), 1)
    await write(journal_at(path, max_bytes=1, keep=0), 2)
    assert names_in(tmp_path) == ["x.jsonl"]
    assert ids(path) == [2]


async def test_a_size_of_zero_never_rotates(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    for number in (1, 2, 3):
        await write(journal_at(path, max_bytes=0), number)
    assert ids(path) == [1, 2, 3]


# --- trouble --------------------------------------------------------------------------------------


async def test_a_file_that_cannot_be_written_is_reported_once_and_written_when_it_can(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(journal_module, "RETRY_S", 0.001)
    path = tmp_path / "there" / "x.jsonl"
    (tmp_path / "there").write_text("a file where a directory should be")
    journal = journal_at(path)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(journal.run)
        for number in (1, 2, 3):
            journal.tell(record(number))
            await until(lambda number=number: journal.lost == number)
        (tmp_path / "there").unlink()
        journal.tell(record(4))
        await until(lambda: journal.written == 1)
        journal.tell(record(5))
        journal.close()
    assert ids(path) == [4, 5]
    errors = [r for r in caplog.records if r.levelno == logging.ERROR]
    warnings = [r for r in caplog.records if r.levelno == logging.WARNING]
    assert len(errors) == 1
    assert str(path) in errors[0].getMessage()
    assert [w.getMessage() for w in warnings] == [
        "the request log is written again; 3 records were lost"
    ]


async def test_a_full_disk_leaves_no_half_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal_module, "RETRY_S", 0.001)
    path = tmp_path / "x.jsonl"
    await write(journal_at(path), 1)
    before = path.read_bytes()
    journal = journal_at(path)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(journal.run)
        with full_disk(len(before) + 100):
            journal.tell(record(2))
            await until(lambda: journal.lost == 1)
            assert path.read_bytes() == before
        journal.tell(record(3))
        journal.close()
    assert ids(path) == [1, 3]


async def test_a_device_that_is_full_costs_the_record_only(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """There is nothing to cut off where there is no file."""
    monkeypatch.setattr(journal_module, "RETRY_S", 0.001)
    journal = journal_at(Path("/dev/full"), max_bytes=0)
    await write(journal, 1)
    assert (journal.lost, journal.written) == (1, 0)
    assert "cannot be written: No space left on device" in caplog.text


async def test_a_full_queue_is_counted_and_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(journal_module, "QUEUE", 10)
    path = tmp_path / "x.jsonl"
    journal = journal_at(path)
    await write(journal, *range(25))
    assert ids(path) == list(range(10))
    assert (journal.written, journal.lost) == (10, 15)
    assert "15 records were lost" in caplog.text


async def test_tell_never_fails_whatever_has_become_of_the_log(tmp_path: Path) -> None:
    journal = journal_at(tmp_path / "x.jsonl")
    await write(journal)
    journal.tell(record(1))
    assert journal.lost == 1


# --- decisions ------------------------------------------------------------------------------------


def routed(number: int) -> Record:
    """A record of a request that was decided over a provider with a list of models."""
    listed = {f"model-{n}": ModelInfo(f"model-{n}", context_length=n) for n in range(9)}
    fleet = Fleet({"p": ProviderState(Provider("p", "openai"), listed)})
    facts, routing = Facts("model-1"), Routing(implicit=True)
    made = Decision(facts, fleet, routing, decide(facts, fleet, routing))
    return replace(record(number), decision=made)


def decisions(path: Path) -> list[Any]:
    return [json.loads(line)["decision"] for line in path.read_text().splitlines()]


async def test_a_line_says_what_was_decided_with_bodies_or_without(tmp_path: Path) -> None:
    for bodies in ("full", "none"):
        path = tmp_path / bodies
        journal = journal_at(path, bodies=bodies)
        journal.tell(routed(1))
        await write(journal, 2)
        made, never = decisions(path)
        assert made["facts"]["model"] == "model-1"
        assert made["candidates"] == [["p", "model-1", "implicit discover"]]
        assert never is None


async def test_every_file_has_the_lists_that_its_lines_name(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    size = 4 * len(as_text(routed(1)))
    journal = journal_at(path, max_bytes=size, keep=99)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(journal.run)
        for number in range(1, 21):
            journal.tell(routed(number))
            await until(lambda number=number: journal.written == number)
        journal.close()
    files = [tmp_path / name for name in names_in(tmp_path)]
    assert len(files) > 2
    for file in files:
        first, *others = decisions(file)
        assert set(first["lists"]) == {first["fleet"]["p"]["models"]}
        assert not any("lists" in other for other in others)
    assert any(len(decisions(file)) > 1 for file in files)


async def test_a_list_that_was_lost_or_taken_away_is_written_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal_module, "RETRY_S", 0.001)
    path = tmp_path / "x.jsonl"
    await write(journal_at(path), 1)
    journal = journal_at(path)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(journal.run)
        with full_disk(path.stat().st_size + 100):
            journal.tell(routed(2))
            await until(lambda: journal.lost == 1)
        journal.tell(routed(3))
        await until(lambda: journal.written == 1)
        assert "lists" in decisions(path)[-1]
        path.rename(tmp_path / "elsewhere")
        journal.tell(routed(4))
        journal.close()
    assert "lists" in decisions(path)[0]


# --- the end --------------------------------------------------------------------------------------


async def test_whatever_was_accepted_is_written_on_close(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal_module, "BATCH", 7)
    path = tmp_path / "x.jsonl"
    await write(journal_at(path), *range(1000))
    assert ids(path) == list(range(1000))


async def test_whatever_was_accepted_is_written_on_cancellation(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    journal = journal_at(path)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(journal.run)
        await trio.testing.wait_all_tasks_blocked()
        for number in range(1000):
            journal.tell(record(number))
        nursery.cancel_scope.cancel()
    assert ids(path) == list(range(1000))
    assert (journal.written, journal.lost) == (1000, 0)


async def test_a_cancellation_in_the_middle_of_a_write_loses_and_repeats_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "x.jsonl"
    journal = journal_at(path)
    writing, go_on = threading.Event(), threading.Event()
    real = journal._append

    def slow(records: list[Record]) -> None:
        writing.set()
        assert go_on.wait(PATIENCE_S)
        real(records)

    monkeypatch.setattr(journal, "_append", slow)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(journal.run)
        journal.tell(record(1))
        await until(writing.is_set)
        journal.tell(record(2))
        nursery.cancel_scope.cancel()
        go_on.set()
    assert ids(path) == [1, 2]


async def test_a_log_that_cannot_be_written_does_not_hold_up_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ten batches, each with the pause before another try, would be close to a minute."""
    monkeypatch.setattr(journal_module, "BATCH", 10)
    monkeypatch.setattr(journal_module, "RETRY_S", 3600)
    (tmp_path / "file").write_text("")
    journal = journal_at(tmp_path / "file" / "x.jsonl")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(journal.run)
        journal.tell(record(0))
        await until(lambda: journal.lost == 1)  # it pauses now
        for number in range(100):
            journal.tell(record(number))
        journal.close()
        with trio.fail_after(PATIENCE_S):
            await until(lambda: journal.lost == 101)
