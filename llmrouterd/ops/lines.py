"""What workers and hub say to each other of limits: JSON, a line each.

Owns: a line, its bound, and what waits to be written to one connection.
Refuses to know: what is said (permits.py, desk.py); values that are no plain ones (frames.py).

Laws:
1. Whoever says something does not wait. What waits is bounded: an end that does not read is cut off.
2. Nothing but JSON is read here, so that no line can be more than it says.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import trio

from llmrouterd.ops.frames import Malformed

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

MARK = b"["  # how a line begins, and no frame does
LIMIT = 16 * 1024 * 1024  # of a line
WAITING = 64 * 1024 * 1024  # bytes that wait for an end that reads slowly

Words = list[Any]


def line(*words: Any) -> bytes:
    return json.dumps(words, separators=(",", ":")).encode() + b"\n"


class Lines:
    """Bytes in, words out."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes | bytearray) -> list[Words]:
        """Raises Malformed."""
        begun, self._buffer = self._buffer, bytearray()
        begun += data
        if b"\n" in data:  # else nobody looks through the same bytes again
            *whole, begun = begun.split(b"\n")
        else:
            whole = []
        if len(begun) > LIMIT:
            raise Malformed("a line without an end")
        self._buffer = begun
        return [_words(each) for each in whole]


def _words(text: bytearray) -> Words:
    try:
        words = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise Malformed(str(error)) from error
    if not isinstance(words, list) or not words or not isinstance(words[0], str):
        raise Malformed("no words")
    return words


def heard(table: Mapping[str, Callable[..., None]], words: Words) -> None:
    """Call what `table` has for these words. Raises Malformed for what is not in it."""
    kind, *more = words
    do = table.get(kind)
    if do is None:
        raise Malformed(f"{kind[:40]!r} is not said here")
    do(*more)


class Outbox:
    """What waits to be written to one connection. `run` is its task."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._bytes = 0
        self._more = trio.Event()
        self._scope = trio.CancelScope()

    def say(self, *words: Any) -> None:
        text = line(*words)
        self._bytes += len(text)
        if self._bytes > WAITING:
            return self.end()
        self._parts.append(text)
        return self._more.set()

    def end(self) -> None:
        """Nothing more is written: `run` returns, also from an end that does not read."""
        self._scope.cancel()

    async def run(self, stream: trio.abc.SendStream) -> None:
        """Write what comes, until cancelled, or the other end does not read. Raises
        trio.BrokenResourceError."""
        with self._scope:
            while True:
                await self._more.wait()
                self._more = trio.Event()
                parts, self._parts = self._parts, []
                await stream.send_all(b"".join(parts))
                self._bytes -= sum(map(len, parts))
