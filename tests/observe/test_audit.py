"""Where a chain goes on: after a restart, a crash, a rotation, a full disk, somebody's hands."""

import gzip
import json
import threading
from pathlib import Path
from typing import Any

import pytest

from llmrouterd.observe import logfile as logfile_module
from llmrouterd.observe.audit import Audit, head_of
from llmrouterd.observe.chain import Check, read_head
from llmrouterd.observe.logfile import LogFile, rotated

KEY = b"sixteen bytes of key"


class Log:
    """An audit log as the journal writes it; another one is a daemon that was started again."""

    def __init__(self, path: Path, key: bytes = b"", **more: Any) -> None:
        self.file = LogFile(str(path), **{"max_bytes": 0, "keep": 99, **more})
        self.audit = Audit(key)
        self.lost = 0

    def write(self, *numbers: int) -> None:
        texts = [json.dumps({"type": "complete", "ts_ms": number}) for number in numbers]
        seal = self.audit.seal
        self.file.append(lambda p, s: seal(texts, p, s, self.lost), self.audit.written)


def check(path: Path, key: bytes = b"") -> Check:
    head = head_of(path)
    out = Check(key, read_head(head.read_bytes(), key) if head.exists() else None)
    for file in [*(each for _, each in rotated(path)), path]:
        out.begin(file.name)
        opened = gzip.open if file.suffix == ".gz" else open
        with opened(file, "rb") as lines:
            for line in lines:
                out.take(line)
    out.end()
    return out


def whats(found: Check) -> list[str]:
    return [fault.what for fault in found.faults]


@pytest.mark.parametrize("key", [b"", KEY])
@pytest.mark.parametrize("compress", [False, True])
def test_a_chain_goes_on_over_restarts_and_rotations(
    tmp_path: Path, key: bytes, compress: bool
) -> None:
    path = tmp_path / "x"
    for number in range(12):
        Log(path, key, max_bytes=700, compress=compress).write(number)
    found = check(path, key)
    assert len(rotated(path)) > 2
    assert (found.count, found.lines, found.last_seq) == (0, 12, 12)
    assert not found.breaks


def test_a_log_that_was_moved_away_is_gone_on_with(tmp_path: Path) -> None:
    """By a running daemon and by one that was started again: the head file knows."""
    path = tmp_path / "x"
    log = Log(path)
    log.write(1, 2)
    path.rename(tmp_path / "x.2")
    log.write(3)
    path.rename(tmp_path / "x.1")
    Log(path).write(4)
    found = check(path)
    assert (found.count, found.last_seq) == (0, 4)


def test_half_a_line_after_a_crash_is_cut_off_and_told(tmp_path: Path) -> None:
    path = tmp_path / "x"
    Log(path).write(1, 2)
    with path.open("a") as file:
        file.write('{"type":"complete","ts')
    Log(path).write(3)
    found = check(path)
    assert (found.count, found.last_seq) == (0, 3)
    assert found.breaks == ["22 bytes of a line without an end were cut off"]


def test_nothing_but_half_a_line_is_as_good_as_nothing(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b'{"type"')
    Log(path).write(1)
    assert (check(path).count, len(check(path).breaks)) == (0, 1)


def test_lines_that_somebody_cut_off_are_missed_for_ever(tmp_path: Path) -> None:
    """Also when the daemon went on after that."""
    path = tmp_path / "x"
    for again in (False, True):
        path.unlink(missing_ok=True)
        head_of(path).unlink(missing_ok=True)
        log = Log(path)
        log.write(1, 2, 3, 4)
        path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:2]))
        assert whats(check(path)) == ["truncated"]
        (Log(path) if again else log).write(5)
        assert whats(check(path)) == ["missing"]


def test_a_head_that_a_crash_left_behind_is_made_good_by_the_last_line(tmp_path: Path) -> None:
    path = tmp_path / "x"
    Log(path).write(1)
    head = head_of(path).read_bytes()
    Log(path).write(2)
    head_of(path).write_bytes(head)
    Log(path, max_bytes=1).write(3)  # rotated before the first line of this life
    found = check(path)
    assert (found.count, found.last_seq) == (0, 3)


def test_without_its_head_a_chain_goes_on_from_the_last_line(tmp_path: Path) -> None:
    path = tmp_path / "x"
    Log(path).write(1)
    head_of(path).unlink()
    Log(path).write(2)
    assert (check(path).count, check(path).last_seq) == (0, 2)


def test_a_log_that_was_none_of_a_chain_is_set_aside(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_text('{"type":"complete"}\n')
    Log(path).write(1)
    assert json.loads(path.read_text())["seq"] == 1
    assert (tmp_path / "x.1").read_text() == '{"type":"complete"}\n'


def test_another_key_begins_another_chain_and_says_so(tmp_path: Path) -> None:
    path = tmp_path / "x"
    Log(path, KEY).write(1)
    Log(path, b"another key of bytes").write(2)
    line = json.loads(path.read_text())
    assert line["seq"] == 1
    assert "was not written with this key" in line["break"]
    assert check(path, KEY).count


def test_what_was_lost_is_told_once_in_the_next_line(tmp_path: Path) -> None:
    path = tmp_path / "x"
    log = Log(path)
    log.write(1)
    log.lost = 3
    log.write(2, 3)
    log.write(4)
    told = [json.loads(line).get("lost") for line in path.read_text().splitlines()]
    assert told == [None, 3, None, None]


def test_what_could_not_be_written_leaves_no_gap(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "x"
    log = Log(path)
    log.write(1)
    real = logfile_module.write_whole

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(logfile_module, "write_whole", full)
    with pytest.raises(OSError, match="No space"):
        log.write(2)
    monkeypatch.setattr(logfile_module, "write_whole", real)
    log.lost = 1
    log.write(3)
    assert (check(path).count, check(path).last_seq, check(path).lost) == (0, 2, 1)


def test_a_head_that_cannot_be_written_is_told_once_and_costs_no_line(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "x"
    log = Log(path)
    log.write(1)
    head_of(path).unlink()
    head_of(path).mkdir()
    (head_of(path) / "full").write_text("")
    log.write(2)
    log.write(3)
    assert caplog.text.count("cannot be written") == 1
    assert len(path.read_text().splitlines()) == 3


def test_two_daemons_write_one_chain(tmp_path: Path) -> None:
    path = tmp_path / "x"
    one, two = Log(path, KEY, max_bytes=1000), Log(path, KEY, max_bytes=1000)
    for number in range(10):
        one.write(number)
        two.write(number)
    found = check(path, KEY)
    assert (found.count, found.last_seq) == (0, 20)


def test_a_pipe_is_no_audit_log() -> None:
    with pytest.raises(OSError, match="must be a file"):
        Log(Path("/dev/null")).write(1)


def test_the_head_is_read_by_those_who_read_the_log(tmp_path: Path) -> None:
    path = tmp_path / "x"
    Log(path).write(1)
    assert head_of(path).stat().st_mode & 0o777 == path.stat().st_mode & 0o777 == 0o600


def test_daemons_that_write_at_once_write_one_chain_and_one_head(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "x"

    def life(log: Log) -> None:
        for number in range(30):
            log.write(number)

    threads = [threading.Thread(target=life, args=(Log(path, max_bytes=3000),)) for _ in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = check(path)
    assert (found.count, found.last_seq) == (0, 60)
    assert "cannot be written" not in caplog.text
