"""`llmrouter audit verify` on real files."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

import llmrouter
from llmrouterd.observe.audit import Audit, head_of
from llmrouterd.observe.logfile import LogFile

KEY = "sixteen bytes of key"


def log_at(path: Path, lines: int, key: str = "", **more: Any) -> Path:
    audit = Audit(key.encode())
    file = LogFile(str(path), **{"max_bytes": 0, "keep": 99, **more})
    for number in range(lines):
        text = json.dumps({"type": "complete", "ts_ms": 1_700_000_000_000 + number * 1000})
        file.append(lambda p, s, text=text: audit.seal([text], p, s, 0), audit.written)
    return path


def verify(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str, str]:
    code = llmrouter.main(["audit", "verify", *map(str, words)])
    out, err = capsys.readouterr()
    return code, out, err


def test_a_whole_log_holds(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = log_at(tmp_path / "x", 3)
    code, out, err = verify(capsys, path)
    assert (code, err) == (0, "")
    assert "ok: 3 lines hold, lines 1 to 3, 2023-11-14T22:13:20Z to 2023-11-14T22:13:22Z" in out


def test_one_log_stands_for_what_was_rotated_out_of_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = log_at(tmp_path / "x", 9, max_bytes=700, compress=True)
    code, out, _ = verify(capsys, path, "--json")
    told = json.loads(out)
    assert code == 0
    assert told["lines"] == 9
    assert len(told["files"]) > 2
    code, out, _ = verify(capsys, *sorted(tmp_path.glob("x*")))  # as a shell lists them
    assert code == 0
    assert "ok: 9 lines" in out


def test_a_break_is_told_with_file_and_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = log_at(tmp_path / "x", 5)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*lines[:2], lines[2].replace(b"complete", b"Complete"), *lines[3:]]))
    code, out, _ = verify(capsys, path)
    assert code == 1
    assert "BROKEN in 1 place" in out
    assert f"{path}:3: changed: line 3 of the chain was changed" in out
    path.write_bytes(b"".join(lines[:3]))
    code, out, _ = verify(capsys, path, "--json")
    told = json.loads(out)
    assert (code, told["ok"]) == (1, False)
    assert [each["what"] for each in told["faults"]] == ["truncated"]


def test_without_a_head_it_says_what_it_cannot_tell(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = log_at(tmp_path / "x", 3)
    head_of(path).unlink()
    code, out, _ = verify(capsys, path)
    assert code == 0
    assert "there is no head file" in out


def test_a_log_with_a_key_wants_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    key, wrong = tmp_path / "key", tmp_path / "wrong"
    key.write_text(KEY + "\n")
    wrong.write_text("another key of bytes")
    path = log_at(tmp_path / "x", 3, KEY)
    assert verify(capsys, path, "--key-file", key)[0] == 0
    code, out, err = verify(capsys, path)
    assert (code, out) == (2, "")
    assert "give it with --key-file" in err
    assert verify(capsys, path, "--key-file", wrong)[0] == 1
    code, _, err = verify(capsys, log_at(tmp_path / "y", 3), "--key-file", key)
    assert code == 1
    assert "was sealed without a key" in err


def test_files_that_cannot_be_read_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, err = verify(capsys, tmp_path / "none")
    assert (code, err) == (1, f"llmrouter audit: {tmp_path / 'none'}: no such file or directory\n")
    (tmp_path / "empty").write_text("")
    code, _, err = verify(capsys, tmp_path / "empty")
    assert (code, err) == (1, "llmrouter audit: there are no lines in these files\n")


def test_a_log_without_a_chain_does_not_hold(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "x").write_text('{"type":"complete"}\n')
    code, out, _ = verify(capsys, tmp_path / "x")
    assert code == 1
    assert "this is no line of a chain" in out


def test_a_damaged_archive_is_a_break(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = log_at(tmp_path / "x", 5)
    packed = gzip.compress(path.read_bytes())
    (tmp_path / "x.1.gz").write_bytes(packed[: len(packed) // 2])
    path.unlink()
    code, out, _ = verify(capsys, tmp_path / "x.1.gz")
    assert code == 1
    assert "the compressed file is damaged" in out
