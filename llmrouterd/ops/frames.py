"""What workers and hub say to each other: values in frames.

Owns: a frame (four bytes of length, then one pickled tuple), its bound, and what may be in one.
Refuses to know: sockets, who says what.

Laws:
1. A frame is bounded. What does not fit is the sender's error, and the receiver ends the connection.
2. No secret crosses: a `Secret` arrives empty. An answer that nobody has read yet is read first.
3. A receiver makes only this program's values and plain ones. Both ends are forks of one process,
   so their classes are the same and nothing needs a version but `HELLO`.
4. Unpickled is only what our own processes wrote: the socket lies in a folder that nobody else may
   enter (0700), and both ends look who is at the other one before they read (peer.py).
"""

from __future__ import annotations

import io
import pickle
import re
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from llmrouterd.model import EMPTY, Routing, Secret, Unread

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

HELLO = 2  # the version of what is said
LIMIT = 256 * 1024 * 1024  # a record with its bodies: those of a request and of its answer
_HEAD = 4
_KEPT = 8  # routings that the other end is taken to remember
_ROOMS = (
    *("formats.", "llmrouterd.model.", "llmrouterd.spans.", "llmrouterd.route."),
    "llmrouterd.ops.frames.",
)
_PLAIN = frozenset(
    {"builtins.frozenset", "builtins.set", "builtins.complex", "collections.OrderedDict"}
    | {"re._compile", "datetime.datetime", "datetime.date", "datetime.time", "datetime.timedelta"}
)


@dataclass(frozen=True, slots=True)
class Others:
    """What a worker learns once a second. in_flight: requests of the other workers, in all, and `at`
    each provider. queues: provider -> what a Snapshot holds, of all. news: what others met at
    providers."""

    in_flight: int = 0
    at: dict[str, int] = field(default_factory=dict)
    queues: dict[str, tuple[Any, ...]] = field(default_factory=dict)
    news: tuple[Any, ...] = ()


class TooLarge(ValueError):
    """More than a frame may hold."""


class Malformed(ValueError):
    """No frame of ours."""


class Writer:
    """Of one connection. A routing that was sent is named from then on, not sent again."""

    def __init__(self) -> None:
        self._kept: list[Routing] = []
        self._count = 0

    def frame(self, *words: Any) -> bytes:
        out = io.BytesIO()
        for routing in _routings(words):
            if not any(routing is each for each in self._kept):
                self._count += 1
                self._kept = [*self._kept, routing][-_KEPT:]
                _put(out, _Pickler, ("keep", self._count, routing), None)
        _put(out, _Pickler, words, self._named)
        return out.getvalue()

    def _named(self, routing: Routing) -> int | None:
        first = self._count - len(self._kept) + 1
        return next((first + at for at, each in enumerate(self._kept) if each is routing), None)


def _routings(words: tuple[Any, ...]) -> Iterator[Routing]:
    for word in words:
        for each in word if isinstance(word, list | tuple) else (word,):
            routing = getattr(getattr(each, "decision", None), "routing", None)
            if isinstance(routing, Routing):
                yield routing


def _put(out: io.BytesIO, kind: Any, words: tuple[Any, ...], named: Any) -> None:
    body = io.BytesIO()
    kind(body, named).dump(words)
    size = body.tell()
    if size > LIMIT:
        raise TooLarge(f"{size} bytes")
    out.write(size.to_bytes(_HEAD, "big"))
    out.write(body.getbuffer())


# What reading one that is none of ours may raise.
_NO_PICKLE = (
    *(pickle.UnpicklingError, EOFError, ImportError, MemoryError, RecursionError, re.error),
    *(ArithmeticError, AttributeError, LookupError, TypeError, ValueError),
)


class _Pickler(pickle.Pickler):
    def __init__(self, out: io.BytesIO, named: Any) -> None:
        super().__init__(out, pickle.HIGHEST_PROTOCOL)
        self._named = named

    def persistent_id(self, obj: Any) -> int | None:
        if self._named is None or type(obj) is not Routing:
            return None
        found: int | None = self._named(obj)
        return found

    def reducer_override(self, obj: Any) -> Any:
        kind = type(obj)
        if kind is MappingProxyType:
            return frozen, (dict(obj),)
        if kind is Secret:
            return Secret, ("",)
        if kind is Unread:
            return answer, (obj.response(),)
        return NotImplemented


def frozen(items: dict[Any, Any]) -> Mapping[Any, Any]:
    return MappingProxyType(items) if items else EMPTY


def answer(response: Any) -> Any:
    return response


class Reader:
    """Bytes in, tuples out."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._kept: dict[int, Routing] = {}

    def feed(self, data: bytes) -> list[tuple[Any, ...]]:
        """Raises Malformed."""
        self._buffer += data
        found, at = [], 0
        while len(self._buffer) - at >= _HEAD:
            size = int.from_bytes(self._buffer[at : at + _HEAD], "big")
            if size > LIMIT:
                raise Malformed(f"a frame of {size} bytes")
            if len(self._buffer) - at - _HEAD < size:
                break
            words = self._words(bytes(self._buffer[at + _HEAD : at + _HEAD + size]))
            at += _HEAD + size
            if words[0] != "keep":
                found.append(words)
        del self._buffer[:at]
        return found

    def _words(self, body: bytes) -> tuple[Any, ...]:
        try:
            words = _Unpickler(io.BytesIO(body), self._kept).load()
        except _NO_PICKLE as error:
            raise Malformed(f"{type(error).__name__}: {error}") from error
        if not isinstance(words, tuple) or not words:
            raise Malformed("no words")
        if words[0] == "keep":
            self._kept[words[1]] = words[2]
            self._kept.pop(words[1] - _KEPT, None)
        return words


class _Unpickler(pickle.Unpickler):
    def __init__(self, body: io.BytesIO, kept: Mapping[int, Routing]) -> None:
        super().__init__(body)
        self._kept = kept

    def persistent_load(self, pid: Any) -> Routing:
        return self._kept[pid]

    def find_class(self, module: str, name: str) -> Any:
        whole = f"{module}.{name}"
        if "." not in name and (whole in _PLAIN or whole.startswith(_ROOMS)):
            return super().find_class(module, name)
        raise pickle.UnpicklingError(f"{whole} is not said here")
