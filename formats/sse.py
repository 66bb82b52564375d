"""Server-sent events: bytes in any split in, whole events out; and one event written.

Owns: line ends (LF, CRLF, CR), the byte order mark, comments, `event:` and `data:` fields, and the
bound on how much of an unfinished event is kept.
Refuses to know: what an event means. `id:` is handed on for those who can reconnect, which an answer
of a model cannot; `retry:` is read over.

Laws:
1. Any split of the same bytes gives the same events, and bytes are split at 0A and 0D only: other
   characters that Unicode calls line ends stand in the middle of JSON text.
2. No more than `limit` bytes of one event, its line ends included, are kept or given out: TooLong.
   An error is raised after the events before it were given out, and again at every later call.
3. Every byte is searched a bounded number of times, however small the pieces.
"""

from __future__ import annotations

from typing import NamedTuple

from formats import jsontext
from formats.errors import FormatError, Garbled, TooLong

_BOM = b"\xef\xbb\xbf"
_STRAY_KEPT = 2048


class ServerSentEvent(NamedTuple):
    """name is "" when no `event:` line said otherwise, id when no `id:` line did."""

    name: str
    data: str

    @property
    def id(self) -> str:
        return ""


class NumberedEvent(ServerSentEvent):
    """One with an `id:` line. Answers of models have none, so the other kind need not carry it."""

    number = ""

    @property
    def id(self) -> str:
        return self.number


_new = tuple.__new__  # a NamedTuple's own __new__ costs three times as much


class SSEDecoder:
    """Whole events of a byte stream. An event without data, or with empty data, is none.

    stray: the beginning of what stood in the stream without being a field of any event: the words
    of an HTML page or of a bare JSON error where events were due.
    """

    __slots__ = ("_after_cr", "_buffer", "_error", "_limit", "_searched", "_start", "stray")

    def __init__(self, *, limit: int) -> None:
        self._limit = limit
        self._buffer = bytearray()
        self._searched = 0
        self._start = True
        self._after_cr = False
        self._error: FormatError | None = None
        self.stray = b""

    def feed(self, data: bytes) -> list[ServerSentEvent]:
        """The events that `data` completes. Raises TooLong, or Garbled on bytes that are not UTF-8."""
        if self._error is not None:
            raise self._error
        if self._start:
            data = self._without_mark(data)
        if self._after_cr or b"\r" in data:
            data = self._with_lf(data)
        buffer = self._buffer
        if buffer:
            buffer += data
            if buffer.find(b"\n\n", self._searched) < 0:
                return self._waiting()
            data = bytes(buffer)
            buffer.clear()
        blocks = data.split(b"\n\n")
        buffer += blocks.pop()
        events: list[ServerSentEvent] = []
        try:
            if len(data) > self._limit:
                self._read_checked(blocks, events)
            else:
                self._read(blocks, events)
            return self._waiting(events)
        except FormatError as error:
            self._error = error
            if events:
                return events
            raise

    def eof(self) -> list[ServerSentEvent]:
        """The last event, if it lacks nothing but its blank line. What was cut inside a line is
        only taken for an event when its data is whole JSON (or the word of an end mark)."""
        if self._error is not None:
            raise self._error
        block = bytes(self._buffer)
        self._buffer.clear()
        self._searched = 0
        ended = block.endswith(b"\n")
        events: list[ServerSentEvent] = []
        try:
            self._read([block.removesuffix(b"\n")], events)
        except Garbled:
            if ended:
                raise
        return events if ended or (events and _is_whole(events[0].data)) else []

    def _waiting(self, events: list[ServerSentEvent] | None = None) -> list[ServerSentEvent]:
        """Remembers how far the kept piece was searched, and that it may not grow for ever."""
        size = len(self._buffer)
        self._searched = size - 1 if size else 0
        if size > self._limit:
            self._error = self._too_long()
            if not events:
                raise self._error
        return events or []

    def _too_long(self) -> TooLong:
        return TooLong(f"an event is longer than {self._limit} bytes")

    def _read_checked(self, blocks: list[bytes], events: list[ServerSentEvent]) -> None:
        for block in blocks:
            if len(block) + 2 > self._limit:
                raise self._too_long()
            self._read([block], events)

    def _read(self, blocks: list[bytes], events: list[ServerSentEvent]) -> None:
        """The common shapes here, everything else in `_read_fields`."""
        add = events.append
        try:
            for block in blocks:
                if b"\n" not in block:
                    if block[:6] == b"data: " and len(block) > 6:
                        add(_new(ServerSentEvent, ("", block[6:].decode())))
                        continue
                elif block[:7] == b"event: ":
                    name, _, data = block.partition(b"\n")
                    if data[:6] == b"data: " and len(data) > 6 and b"\n" not in data:
                        add(_new(ServerSentEvent, (name[7:].decode(), data[6:].decode())))
                        continue
                self._read_fields(block, events)
        except UnicodeDecodeError:
            raise Garbled("the stream of events is not UTF-8") from None

    def _read_fields(self, block: bytes, events: list[ServerSentEvent]) -> None:
        name, data = b"", []
        number: bytes | None = None
        for line in block.split(b"\n"):
            field, _, value = line.partition(b":")
            if field == b"data":
                data.append(value.removeprefix(b" "))
            elif field == b"event":
                name = value.removeprefix(b" ")
            elif field == b"id":
                number = value.removeprefix(b" ")
            elif field not in (b"", b"retry"):
                self._keep_stray(line)
        text = b"\n".join(data).decode()
        if text:
            if number is None:
                events.append(ServerSentEvent(name.decode(), text))
            else:
                numbered = NumberedEvent(name.decode(), text)
                numbered.number = number.decode()
                events.append(numbered)

    def _keep_stray(self, line: bytes) -> None:
        if len(self.stray) < _STRAY_KEPT:
            self.stray = (self.stray + line + b"\n")[:_STRAY_KEPT]

    def _without_mark(self, data: bytes) -> bytes:
        """Takes a byte order mark off the very beginning, which may come byte by byte."""
        data = bytes(self._buffer) + data
        self._buffer.clear()
        if len(data) < len(_BOM) and _BOM.startswith(data):
            self._buffer += data
            return b""
        self._start = False
        return data.removeprefix(_BOM)

    def _with_lf(self, data: bytes) -> bytes:
        """All line ends as LF. A CR at the end of a read counts at once (waiting for the LF that
        may follow would hold an event back); that LF is then swallowed."""
        if not data:
            return data
        if self._after_cr and data.startswith(b"\n"):
            data = data[1:]
            self._after_cr = False
            if not data:
                return data
        self._after_cr = data.endswith(b"\r")
        return data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")


def _is_whole(data: str) -> bool:
    if data == "[DONE]":
        return True
    try:
        jsontext.loads(data)
    except ValueError:
        return False
    return True


def write_sse(data: bytes, name: str = "") -> bytes:
    """One event. `data` must be one line, as compact JSON is."""
    if name:
        return b"event: %b\ndata: %b\n\n" % (name.encode(), data)
    return b"data: %b\n\n" % data
