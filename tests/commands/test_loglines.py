"""The request log as commands read it."""

import gzip
import io
import json
import sys
from pathlib import Path

import pytest

from llmrouterd.commands import loglines
from llmrouterd.commands.loglines import STDIN, BadLog, ordered, read_lines


def text(*numbers):
    return "".join(
        json.dumps({"type": "complete", "id": n, "ts_ms": 1000 * n}) + "\n" for n in numbers
    ).encode()


def written(tmp_path, name, data):
    path = tmp_path / name
    path.write_bytes(data)
    return path


def ids(*paths):
    return [line.value.get("id") for line in read_lines(paths)]


def test_plain_and_compressed_files_line_by_line(tmp_path) -> None:
    plain = written(tmp_path, "x.jsonl", text(3, 4))
    packed = written(tmp_path, "packed-by-any-name", gzip.compress(text(1, 2)))
    assert ids(packed, plain) == [1, 2, 3, 4]


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_stdin_is_a_log_too(monkeypatch, pack) -> None:
    class Stdin:
        buffer = io.BytesIO(pack(text(1, 2)))

    monkeypatch.setattr(sys, "stdin", Stdin)
    assert ids(STDIN) == [1, 2]


def test_rotated_files_are_read_oldest_first(tmp_path) -> None:
    newest = written(tmp_path, "x.jsonl", text(5))
    older = written(tmp_path, "x.jsonl.1", text(3, 4))
    oldest = written(tmp_path, "x.jsonl.2.gz", gzip.compress(text(1, 2)))
    empty = written(tmp_path, "x.jsonl.3", b"")
    assert ordered([newest, older, oldest, empty, newest]) == [oldest, older, newest, empty]


def test_what_is_no_line_is_said_to_be_none_with_its_place(tmp_path) -> None:
    lines = [
        b"\n",
        b"garbage\n",
        b"[1]\n",
        b'{"type": "start"}\n',
        b"\xff\xfe\n",
        b"[" * 100_000 + b"\n",
        text(7).rstrip(),
    ]
    found = list(read_lines([written(tmp_path, "x.jsonl", b"".join(lines))]))
    assert [line.place for line in found] == [f"x.jsonl:{n}" for n in range(2, 8)]
    said = [line.why for line in found]
    assert said[0].startswith("not JSON: Expecting value")
    assert said[1:3] == ["not a JSON object", "not a line of the request log (type 'start')"]
    assert all(said[3:5])
    assert (said[5], found[5].value["id"]) == ("", 7)


def test_a_damaged_archive_gives_what_it_has(tmp_path) -> None:
    whole = gzip.compress(b"".join(text(n) for n in range(5000)))
    found = list(read_lines([written(tmp_path, "x.gz", whole[: len(whole) // 2])]))
    assert found[0].value["id"] == 0
    assert "the compressed file is damaged" in found[-1].why


def test_a_line_without_end_is_cut(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(loglines, "MAX_LINE_BYTES", 100)
    path = written(tmp_path, "x.jsonl", b"x" * 150 + b"\n" + text(1))
    assert [bool(line.why) for line in read_lines([path])] == [True, True, False]


def test_a_file_that_is_not_there_ends_it(tmp_path) -> None:
    with pytest.raises(BadLog, match=r"gone\.jsonl: no such file"):
        ordered([tmp_path / "gone.jsonl"])
    with pytest.raises(BadLog, match="is a directory"):
        list(read_lines([tmp_path]))
    with pytest.raises(BadLog, match="stdin"):
        ordered([STDIN, Path("x")])
