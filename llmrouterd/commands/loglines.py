"""The request log as a command reads it: files of it in order, lines of them one by one.

Owns: plain and compressed files, stdin, what is no line of a log.
Refuses to know: what the lines mean.

Laws:
1. A line at a time: a log may be larger than the memory.
2. A file that is not there ends the command; a line that makes no sense does not.
"""

from __future__ import annotations

import gzip
import io
import json
import sys
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    JSON = Any

STDIN = Path("-")
# One line with the words of the largest request and answer that the daemon takes, and some room.
MAX_LINE_BYTES = 512 * 1024 * 1024
_GZIP = b"\x1f\x8b"


class BadLog(Exception):
    """A file that cannot be read; the text says which and why."""


class UnreadLog(BadLog):
    """A file that cannot be read: the words are right, and what they ask for failed."""


@dataclass(frozen=True, slots=True)
class Line:
    """One line. place: `requests.jsonl:17`. why: what is wrong with it; its value is empty then."""

    place: str
    value: Mapping[str, JSON] = field(default_factory=dict)
    why: str = ""


def ordered(paths: Iterable[Path]) -> list[Path]:
    """The files, oldest first: a shell lists `requests.jsonl` before the older `requests.jsonl.1`.
    Raises BadLog."""
    named = list(dict.fromkeys(paths))
    if STDIN in named and len(named) > 1:
        raise BadLog("- (stdin) is a log of its own: name no files beside it")
    return named if STDIN in named else sorted(named, key=_begins_ms)


def _begins_ms(path: Path) -> float:
    """When its first line was written; a file without such a line is as new as can be."""
    for line in read_lines([path]):
        ts_ms = line.value.get("ts_ms")
        return ts_ms if type(ts_ms) is int else float("inf")
    return float("inf")


def read_lines(paths: Iterable[Path]) -> Iterator[Line]:
    """Every line that is not empty, of one file after the other. Raises BadLog."""
    for path in paths:
        try:
            if path == STDIN:
                yield from _lines(_unpacked(sys.stdin.buffer), "stdin")
            else:
                with path.open("rb") as file:
                    yield from _lines(_unpacked(file), path.name)
        except OSError as error:
            raise UnreadLog(f"{path}: {(error.strerror or 'cannot be read').lower()}") from None


def _unpacked(file: IO[bytes]) -> IO[bytes] | gzip.GzipFile:
    """What is compressed is known by how it begins, whatever it is called."""
    buffered = file if isinstance(file, io.BufferedReader) else io.BufferedReader(file)  # type: ignore[type-var]
    if buffered.peek(2)[:2] == _GZIP:
        return gzip.GzipFile(fileobj=buffered)
    return buffered


def _lines(file: IO[bytes] | gzip.GzipFile, name: str) -> Iterator[Line]:
    number = 0
    while True:
        place = f"{name}:{number + 1}"
        try:
            data = file.readline(MAX_LINE_BYTES)
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            yield Line(place, why=f"the compressed file is damaged: {error}")
            return
        if not data:
            return
        number += 1
        if data.strip():
            yield _line(data, place)


def _line(data: bytes, place: str) -> Line:
    try:
        value = json.loads(data)
    except (ValueError, RecursionError) as error:
        return Line(place, why=f"not JSON: {str(error)[:200]}")
    if not isinstance(value, dict):
        return Line(place, why="not a JSON object")
    if value.get("type") != "complete":
        return Line(
            place, why=f"not a line of the request log (type {str(value.get('type'))[:40]!r})"
        )
    return Line(place, value)
