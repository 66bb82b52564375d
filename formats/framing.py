"""Cutting a stream into its raw events or lines, byte for byte, without reading them.

Owns: where one server-sent event, or one line, ends and the next begins: for streams that pass
through unchanged, of which nothing but whole events may reach a client.
Refuses to know: fields, JSON, comments: a comment is an event like any other here.

Laws:
1. All pieces given out, and `rest()`, joined, are the bytes that were fed.
2. No more than `limit` bytes of one piece, its line ends included, are kept or given out: TooLong.
   The error is raised after the pieces before it were given out, and again at every later call.
3. Every byte is searched a bounded number of times, however small the reads.
"""

from __future__ import annotations

import re
from itertools import pairwise

from formats.errors import TooLong

# Two line ends in a row. A CR that has its LF is one line end, never two.
_BLANK_LINE = re.compile(rb"(?:\r\n|\n|\r(?!\n))(?:\r\n|\n|\r)")


class _Framer:
    """What both have in common: the piece that waits for its end, and its bound."""

    __slots__ = ("_buffer", "_error", "_limit", "_searched")

    def __init__(self, *, limit: int) -> None:
        self._limit = limit
        self._buffer = bytearray()
        self._searched = 0
        self._error: TooLong | None = None

    def rest(self) -> bytes:
        """What has come of a piece that has not ended."""
        return bytes(self._buffer)

    def _bounded(self, pieces: list[bytes], whole: int) -> list[bytes]:
        """whole: at least the size of the largest of `pieces`, where that is known cheaply."""
        if whole > self._limit:
            for index, piece in enumerate(pieces):
                if len(piece) > self._limit:
                    self._fail()
                    pieces = pieces[:index]
                    break
        if len(self._buffer) > self._limit:
            self._fail()
        if self._error is not None and not pieces:
            raise self._error
        return pieces

    def _fail(self) -> None:
        self._error = TooLong(f"one piece of the stream is longer than {self._limit} bytes")


class SSEFramer(_Framer):
    """Raw events, each with the blank line that ends it."""

    __slots__ = ("_cr_seen",)

    def __init__(self, *, limit: int) -> None:
        super().__init__(limit=limit)
        self._cr_seen = False

    def feed(self, data: bytes) -> list[bytes]:
        """The raw events that `data` completes. Raises TooLong."""
        if self._error is not None:
            raise self._error
        if self._cr_seen or b"\r" in data:
            return self._feed_any(data)
        buffer = self._buffer
        if buffer:
            buffer += data
            if buffer.find(b"\n\n", self._searched) < 0:
                self._searched = len(buffer) - 1
                return self._bounded([], 0)
            data = bytes(buffer)
            buffer.clear()
        pieces = data.split(b"\n\n")
        buffer += pieces.pop()
        self._searched = max(0, len(buffer) - 1)
        return self._bounded([piece + b"\n\n" for piece in pieces], len(data))

    def _feed_any(self, data: bytes) -> list[bytes]:
        """Any line ends. Once a CR was seen the stream stays here: one may end a read."""
        self._cr_seen = True
        buffer = self._buffer
        buffer += data
        found = _BLANK_LINE.finditer(buffer, max(0, self._searched - 3))
        ends = [match.end() for match in found]
        if ends and ends[-1] == len(buffer) and buffer.endswith(b"\r\n\r"):
            ends.pop()  # its LF is on the way
        pieces = [bytes(buffer[start:end]) for start, end in pairwise([0, *ends])]
        del found, buffer[: ends[-1] if ends else 0]
        self._searched = len(buffer)
        return self._bounded(pieces, self._limit + 1)


class LineFramer(_Framer):
    """Raw lines, each with its LF."""

    __slots__ = ()

    def feed(self, data: bytes) -> list[bytes]:
        """The raw lines that `data` completes. Raises TooLong."""
        if self._error is not None:
            raise self._error
        buffer = self._buffer
        if buffer:
            buffer += data
            if buffer.find(b"\n", self._searched) < 0:
                self._searched = len(buffer)
                return self._bounded([], 0)
            data = bytes(buffer)
            buffer.clear()
        pieces = data.split(b"\n")
        buffer += pieces.pop()
        self._searched = len(buffer)
        return self._bounded([piece + b"\n" for piece in pieces], len(data))
