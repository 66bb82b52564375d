"""Content-Encoding: gzip and deflate undone, with a bound on what comes out. Sans-IO.

Owns: inflating bodies piece by piece, several gzip members, both readings of `deflate`.
Refuses to know: sockets, heads, who sent it.

Laws:
1. No call gives more than `step` bytes, so a bomb costs one step of memory, not its own size.
2. Only gzip and deflate: what else a peer may use is refused by name before a byte is read.
"""

from __future__ import annotations

import zlib

from formats.errors import Garbled, Truncated

STEP_BYTES = 262144  # what one piece may inflate to: four socket reads
_GZIP = 16 + zlib.MAX_WBITS
_RAW = -zlib.MAX_WBITS


class UnknownCoding(Exception):
    """A Content-Encoding that is not undone here. The message names it."""


def inflater(content_encoding: str | None) -> Inflater | None:
    """What undoes this Content-Encoding; None when there is nothing to undo.

    Raises:
        UnknownCoding: br, zstd, several at once, anything else.
    """
    coding = (content_encoding or "").strip().lower()
    if coding in ("", "identity"):
        return None
    if coding in ("gzip", "x-gzip"):
        return Inflater(gzip=True)
    if coding == "deflate":
        return Inflater(gzip=False)
    raise UnknownCoding(f"Content-Encoding {coding[:40]!r}")


class Inflater:
    """One body on its way out of its coding.

    Usage: `feed` the bytes of the body as they come, `take` until it gives b"", then feed again;
    `eof` at the body's end.
    """

    __slots__ = ("_gzip", "_pending", "_started", "_zlib")

    def __init__(self, *, gzip: bool) -> None:
        self._gzip = gzip
        self._zlib = zlib.decompressobj(_GZIP if gzip else zlib.MAX_WBITS)
        self._pending = b""
        self._started = False

    def feed(self, data: bytes) -> None:
        """Only when `take` gave b"": what is pending is then never more than one read."""
        self._pending += data

    def take(self) -> bytes:
        """The next piece, at most a step; b"": feed more.

        Raises:
            Garbled: these bytes are not in the coding they claim.
        """
        while self._pending:
            if not self._started and not self._begin():
                return b""
            if self._zlib.eof:
                self._next_member()
                continue
            data = self._inflate(self._pending)
            self._pending = self._zlib.unused_data or self._zlib.unconsumed_tail
            if data:
                return data
        return self._flush()

    def eof(self) -> None:
        """The body has ended: so must the coding."""
        if self._pending or (self._started and not self._zlib.eof):
            raise Truncated("the compressed body ended before its end mark")

    def _inflate(self, data: bytes) -> bytes:
        try:
            out = self._zlib.decompress(data, STEP_BYTES)
        except zlib.error as exc:
            raise Garbled(f"the compressed body is damaged: {exc}") from exc
        return out

    def _begin(self) -> bool:
        """`deflate` means zlib's format, but some senders use the raw stream: two bytes tell."""
        if not self._gzip:
            if len(self._pending) < 2:
                return False
            first, second = self._pending[:2]
            if first & 15 != 8 or (first * 256 + second) % 31:
                self._zlib = zlib.decompressobj(_RAW)
        self._started = True
        return True

    def _flush(self) -> bytes:
        """What zlib still holds after a step that was full to the brim."""
        if not self._started or self._zlib.eof:
            return b""
        return self._zlib.decompress(b"", STEP_BYTES)

    def _next_member(self) -> None:
        """gzip files may be strung together; behind a deflate stream nothing may come."""
        if not self._gzip:
            raise Garbled("bytes behind the end of the compressed body")
        self._zlib = zlib.decompressobj(_GZIP)
