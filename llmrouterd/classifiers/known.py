"""What was found out about texts before: the messages of a conversation come again with each turn.

Owns: a bounded memory from a text to a small answer about it.
Refuses to know: what the answer means.

Laws:
1. No text is kept: an entry is found by the digest of its text.
2. Bounded by number: the one that was not asked for the longest goes first.
"""

from __future__ import annotations

from collections import OrderedDict
from hashlib import blake2b
from typing import Generic, TypeVar

T = TypeVar("T")
MOST = 8192


class Known(Generic[T]):
    """Mutable, owned by one classifier, and gone with its configuration."""

    __slots__ = ("_entries", "_most")

    def __init__(self, most: int = MOST) -> None:
        self._entries: OrderedDict[bytes, T] = OrderedDict()
        self._most = most

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: bytes) -> T | None:
        found = self._entries.get(key)
        if found is not None:
            self._entries.move_to_end(key)
        return found

    def put(self, key: bytes, value: T) -> None:
        if self._most <= 0:
            return
        self._entries[key] = value
        self._entries.move_to_end(key)
        if len(self._entries) > self._most:
            self._entries.popitem(last=False)


def digest(text: str) -> bytes:
    """128 bits of it. Lone surrogates, which JSON can hold, count as themselves."""
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()
