"""Newline-delimited JSON: bytes in any split in, whole lines out; and one value written.

Owns: cutting lines at LF, and the bound on how much of an unfinished line is kept.
Refuses to know: what a line says; parsing it is its reader's business.

Laws:
1. Any split of the same bytes gives the same lines; nothing but LF ends one.
2. No more than `limit` bytes of one line, its LF included, are kept or given out: TooLong. The
   error is raised after the lines before it were given out, and again at every later call.
3. What is written is ASCII only: at least one official reader splits its lines at U+2028 and
   U+0085 as well.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from formats import jsontext
from formats.errors import TooLong

if TYPE_CHECKING:
    from formats.jsontext import JSON

_BOM = b"\xef\xbb\xbf"


class NDJSONDecoder:
    """Whole lines of a byte stream, without their ends; blank ones are left out."""

    __slots__ = ("_buffer", "_error", "_first", "_limit", "_searched")

    def __init__(self, *, limit: int) -> None:
        self._limit = limit
        self._buffer = bytearray()
        self._searched = 0
        self._first = True
        self._error: TooLong | None = None

    def feed(self, data: bytes) -> list[bytes]:
        """The lines that `data` completes. Raises TooLong."""
        if self._error is not None:
            raise self._error
        buffer = self._buffer
        if buffer:
            buffer += data
            if buffer.find(b"\n", self._searched) < 0:
                return self._waiting([])
            data = bytes(buffer)
            buffer.clear()
        lines = data.split(b"\n")
        buffer += lines.pop()
        if len(data) > self._limit:
            lines = self._short_enough(lines)
        return self._waiting(self._clean(lines))

    def eof(self) -> list[bytes]:
        """The last line, which may lack its LF. The torn beginning of a JSON object is no line;
        anything else is given out, so that its reader can say what it was."""
        if self._error is not None:
            raise self._error
        lines = self._clean([bytes(self._buffer)])
        self._buffer.clear()
        self._searched = 0
        return [line for line in lines if not _is_torn(line)]

    def _clean(self, lines: list[bytes]) -> list[bytes]:
        if self._first and lines:
            self._first = False
            lines[0] = lines[0].removeprefix(_BOM)
        return [line for line in map(bytes.rstrip, lines) if line]

    def _waiting(self, lines: list[bytes]) -> list[bytes]:
        self._searched = len(self._buffer)
        if self._searched > self._limit:
            self._fail()
        if self._error is not None and not lines:
            raise self._error
        return lines

    def _short_enough(self, lines: list[bytes]) -> list[bytes]:
        for index, line in enumerate(lines):
            if len(line) + 1 > self._limit:
                self._fail()
                return lines[:index]
        return lines

    def _fail(self) -> None:
        self._error = TooLong(f"a line is longer than {self._limit} bytes")


def _is_torn(line: bytes) -> bool:
    if not line.lstrip().startswith(b"{"):
        return False
    try:
        jsontext.loads(line.decode())
    except ValueError:  # of which a UTF-8 error is one
        return True
    return False


def write_ndjson(value: JSON) -> bytes:
    """One line."""
    return jsontext.dump_ascii(value) + b"\n"
