"""Chunked request bodies, held to the letter before h11 reads them. Sans-IO.

Owns: the refusal of chunk framing that h11 0.16 lets through and another server might read
otherwise: a space behind the size, more than 16 digits, control characters in an extension,
extensions without bound, bare LF and folded lines in the trailers; and of bodies in crumbs.
Refuses to know: the data itself (h11 takes it out), sockets, limits on the body.

Laws:
1. The same bytes in any split are judged the same.
2. It holds at most one unfinished line, or an unfinished trailer section, both bounded.
"""

from __future__ import annotations

import re

from formats.errors import Garbled
from llmrouterd.edge.rawhead import BadHead, check_fields

MAX_CHUNK_LINE_BYTES = 300  # 16 digits and a modest extension; no known client sends any
MAX_EXTENSION_BYTES = 16384  # of all extensions of a body: they are work without data
MAX_TRAILER_BYTES = 8192
# Each chunk costs as much work as a kilobyte of data: a body may have so many of them, and one more
# for each CHUNK_BYTES that came.
MAX_CHUNKS = 16384
CHUNK_BYTES = 256
_SIZE_LINE = re.compile(rb"([0-9A-Fa-f]{1,16})(;[\x21-\x7e][\x20-\x7e\t]*)?")
_BEGUN_LINE = re.compile(rb"[0-9A-Fa-f]{1,16}(?:;[\x20-\x7e\t]*)?\r?")
_CRLF = b"\r\n"


class FramingError(Garbled):
    """The body's framing is not what HTTP allows."""


class ChunkGuard:
    """Follows a chunked body's framing. `feed` raises FramingError at the first fault."""

    __slots__ = ("_chunks", "_due", "_extensions", "_held", "_in_trailers", "_left", "_sum", "done")

    def __init__(self) -> None:
        self.done = False
        self._held = b""
        self._left = 0  # bytes still to come of this chunk's data
        self._due = 0  # bytes still to come of the CRLF behind it
        self._in_trailers = False
        self._extensions = 0
        self._chunks = 0
        self._sum = 0  # bytes of all chunks so far

    def feed(self, data: bytes) -> None:
        """Judge the next bytes. What follows the body is not looked at."""
        data = self._held + data
        self._held = b""
        at = 0
        while at < len(data) and not self.done:
            if self._left:
                step = min(self._left, len(data) - at)
                self._left -= step
                at += step
            elif self._due:
                at += self._crlf(data[at : at + self._due])
            elif self._in_trailers:
                self._trailers(data[at:])
                return
            else:
                mark = data.find(_CRLF, at, at + MAX_CHUNK_LINE_BYTES)
                if mark < 0:
                    self._hold_line(data[at:])
                    return
                self._size(data[at:mark])
                at = mark + 2

    def _crlf(self, got: bytes) -> int:
        if not _CRLF[-self._due :].startswith(got):
            raise FramingError("a chunk that does not end with CRLF")
        self._due -= len(got)
        return len(got)

    def _size(self, line: bytes) -> None:
        match = _SIZE_LINE.fullmatch(line)
        if match is None:
            raise FramingError(f"a malformed chunk size: {line[:40]!r}")
        self._extensions += len(match[2] or b"")
        if self._extensions > MAX_EXTENSION_BYTES:
            raise FramingError(f"chunk extensions over {MAX_EXTENSION_BYTES} bytes")
        self._left = int(match[1], 16)
        self._chunks += 1
        self._sum += self._left
        if self._chunks > MAX_CHUNKS + self._sum // CHUNK_BYTES:
            raise FramingError(f"a body in {self._chunks} chunks: send larger ones")
        if self._left:
            self._due = 2
        else:
            self._in_trailers = True

    def _hold_line(self, line: bytes) -> None:
        """Keep an unfinished size line, unless it cannot become one any more."""
        if len(line) >= MAX_CHUNK_LINE_BYTES:
            raise FramingError(f"a chunk size line over {MAX_CHUNK_LINE_BYTES} bytes")
        if _BEGUN_LINE.fullmatch(line) is None:
            raise FramingError(f"a malformed chunk size: {line[:40]!r}")
        self._held = line

    def _trailers(self, data: bytes) -> None:
        """The trailer section: held to what a head's fields are held to."""
        if data.startswith(_CRLF):
            self.done = True
            return
        end = data.find(b"\r\n\r\n", 0, MAX_TRAILER_BYTES)
        if end < 0 and len(data) >= MAX_TRAILER_BYTES:
            raise FramingError(f"trailers over {MAX_TRAILER_BYTES} bytes")
        last = end if end >= 0 else data.rfind(_CRLF)
        lines = data[: last + 2] if last >= 0 else b""
        if end < 0 and b"\n" in data[len(lines) :]:
            raise FramingError("in the trailers: a line that ends in a bare LF")
        try:
            check_fields(lines)
        except BadHead as exc:
            raise FramingError(f"in the trailers: {exc.why}") from exc
        self.done = end >= 0
        self._held = b"" if self.done else data
