"""A log's file on a real disk: locks, links, rights, rotation and what others do to it."""

import fcntl
import gzip
import logging
import os
import shutil
import stat
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from llmrouterd.observe import logfile
from llmrouterd.observe.logfile import LogFile, State, rotated

DAY = 86400


def file_at(path: Path, **more: Any) -> LogFile:
    return LogFile(str(path), **{"max_bytes": 0, "keep": 5, **more})


def saying(text: str) -> Callable[[Path, State], bytes]:
    return lambda _path, _state: text.encode() + b"\n"


def states(log: LogFile, text: str = "x") -> list[State]:
    """The states in which the file was found, in one append."""
    seen: list[State] = []

    def compose(_path: Path, state: State) -> bytes:
        seen.append(state)
        return text.encode() + b"\n"

    log.append(compose)
    return seen


def names_in(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.iterdir())


def test_it_tells_how_the_file_was_found(tmp_path: Path) -> None:
    path = tmp_path / "x"
    log = file_at(path)
    assert states(log) == [State.NEW]
    assert states(log) == [State.SAME]
    assert states(file_at(path)) == [State.OTHER]
    assert states(log) == [State.OTHER]
    path.write_bytes(b"")
    assert states(log) == [State.NEW]


def test_what_logrotate_moved_away_is_not_written_any_more(tmp_path: Path) -> None:
    path = tmp_path / "x"
    log = file_at(path)
    log.append(saying("one"))
    path.rename(tmp_path / "x-old")
    log.append(saying("two"))
    assert (path.read_text(), (tmp_path / "x-old").read_text()) == ("two\n", "one\n")


def test_what_logrotate_copied_and_truncated_begins_at_its_beginning(tmp_path: Path) -> None:
    path = tmp_path / "x"
    log = file_at(path)
    log.append(saying("one"))
    shutil.copy(path, tmp_path / "x-old")
    os.truncate(path, 0)
    log.append(saying("two"))
    assert path.read_bytes() == b"two\n"


def test_a_directory_that_vanished_is_made_again(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "x"
    log = file_at(path)
    log.append(saying("one"))
    shutil.rmtree(tmp_path / "a")
    log.append(saying("two"))
    assert path.read_text() == "two\n"


def test_a_link_is_followed_and_rotated_where_it_points(tmp_path: Path) -> None:
    (tmp_path / "big").mkdir()
    path = tmp_path / "x"
    path.symlink_to(tmp_path / "big" / "real")
    log = file_at(path, max_bytes=1)
    log.append(saying("one"))
    log.append(saying("two"))
    assert path.is_symlink()
    assert names_in(tmp_path / "big") == ["real", "real.1"]
    assert path.read_text() == "two\n"


def test_a_file_that_others_may_read_stays_so_over_rotation(tmp_path: Path) -> None:
    path = tmp_path / "x"
    log = file_at(path, max_bytes=1, compress=True)
    log.append(saying("one"))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.chmod(0o640)
    log.append(saying("two"))
    modes = [stat.S_IMODE(each.stat().st_mode) for each in (path, tmp_path / "x.1.gz")]
    assert modes == [0o640, 0o640]


# --- rotation -------------------------------------------------------------------------------------


def test_a_new_day_begins_a_new_file(tmp_path: Path) -> None:
    path = tmp_path / "x"
    now = [10.0 * DAY + 100]
    log = file_at(path, daily=True, now=lambda: now[0])
    log.append(saying("one"))
    os.utime(path, (now[0], now[0]))
    log.append(saying("two"))
    os.utime(path, (now[0], now[0]))
    assert names_in(tmp_path) == ["x"]
    now[0] += DAY
    assert states(log, "three") == [State.SAME, State.NEW]
    assert names_in(tmp_path) == ["x", "x.1"]
    assert path.read_text() == "three\n"


def test_a_clock_that_goes_back_rotates_nothing(tmp_path: Path) -> None:
    log = file_at(tmp_path / "x", daily=True, now=lambda: 5.0 * DAY)
    log.append(saying("one"))
    log.append(saying("two"))
    assert names_in(tmp_path) == ["x"]


def test_rotated_files_are_compressed_and_the_oldest_goes(tmp_path: Path) -> None:
    path = tmp_path / "x"
    (tmp_path / "x.1").write_text("plain, of before\n")
    log = file_at(path, max_bytes=1, keep=3, compress=True)
    for text in ("one", "two", "three"):
        log.append(saying(text))
    assert names_in(tmp_path) == ["x", "x.1.gz", "x.2.gz", "x.3"]
    assert gzip.decompress((tmp_path / "x.1.gz").read_bytes()) == b"two\n"
    log.append(saying("four"))
    assert names_in(tmp_path) == ["x", "x.1.gz", "x.2.gz", "x.3.gz"]


def test_fewer_files_to_keep_take_the_others_away(tmp_path: Path) -> None:
    for number in range(1, 9):
        (tmp_path / f"x.{number}").write_text("old")
    (tmp_path / "x.20260101").write_text("a date is no number of ours")
    log = file_at(tmp_path / "x", max_bytes=1, keep=2)
    log.append(saying("one"))
    log.append(saying("two"))
    assert names_in(tmp_path) == ["x", "x.1", "x.2", "x.20260101"]


def test_without_room_to_compress_the_file_is_kept_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(logfile.shutil, "copyfileobj", full)
    log = file_at(tmp_path / "x", max_bytes=1, compress=True)
    log.append(saying("one"))
    log.append(saying("two"))
    assert names_in(tmp_path) == ["x", "x.1"]
    assert "kept uncompressed: No space left on device" in caplog.text


def test_rotated_files_are_told_oldest_first(tmp_path: Path) -> None:
    for name in ("x.1", "x.10.gz", "x.2", "x.head", "x.2.part", "y.3", "x.20261101"):
        (tmp_path / name).write_text("")
    assert [path.name for _, path in rotated(tmp_path / "x")] == ["x.10.gz", "x.2", "x.1"]


def test_none_asks_for_a_new_file(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_text("of another kind\n")
    file_at(path).append(lambda _path, state: None if state is State.OTHER else b"ours\n")
    assert path.read_text() == "ours\n"
    assert (tmp_path / "x.1").read_text() == "of another kind\n"


# --- others ---------------------------------------------------------------------------------------


def test_two_writers_tear_no_line_and_lose_none_over_rotation(tmp_path: Path) -> None:
    path = tmp_path / "x"

    def life(name: str) -> None:
        log = file_at(path, max_bytes=2000, keep=999)
        for number in range(100):
            log.append(saying(f"{name}{number:03}" * 10))

    threads = [threading.Thread(target=life, args=(name,)) for name in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    lines = [line for each in tmp_path.iterdir() for line in each.read_text().splitlines()]
    assert sorted(lines) == sorted(f"{n}{i:03}" * 10 for n in "ab" for i in range(100))
    assert len(names_in(tmp_path)) > 3


def test_a_lock_that_is_never_given_back_is_a_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logfile, "LOCK_S", 0.02)
    path = tmp_path / "x"
    with path.open("w") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(OSError, match="another process holds its lock"):
            file_at(path).append(saying("one"))
    file_at(path).append(saying("two"))
    assert path.read_text() == "two\n"


def test_a_pipe_that_nobody_empties_does_not_hold_the_writer_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logfile, "PIPE_S", 0.02)
    path = tmp_path / "pipe"
    os.mkfifo(path)
    log = file_at(path)
    with pytest.raises(OSError, match="No such device"):
        log.append(saying("nobody has opened it"))
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        log.append(saying("read"))
        assert os.read(reader, 100) == b"read\n"
        with pytest.raises(OSError, match="nobody reads it"):
            log.append(saying("x" * (1 << 20)))
    finally:
        os.close(reader)


def test_it_has_no_word_of_its_own_when_all_is_well(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    file_at(tmp_path / "x").append(saying("one"))
    assert not caplog.records
