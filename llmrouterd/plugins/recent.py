"""What a plugin found out a moment ago: agents come with the same question at each of their steps.

Owns: a memory that is bounded in number and time.
Refuses to know: what is kept in it.

Law: an entry is as old as its last `keep`; being looked at makes it no younger.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

K = TypeVar("K", bound="Hashable")
V = TypeVar("V")


class Recent(Generic[K, V]):
    """Mutable, owned by one plugin, and gone with its configuration. keep_s of 0: nothing is kept."""

    __slots__ = ("_entries", "_keep_s", "_most", "_now")

    def __init__(self, keep_s: float, most: int, now: Callable[[], float]) -> None:
        self._entries: OrderedDict[K, tuple[float, V]] = OrderedDict()
        self._keep_s = keep_s
        self._most = most
        self._now = now

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: K) -> V | None:
        found = self._entries.get(key)
        return found[1] if found is not None and self._now() < found[0] else None

    def keep(self, key: K, value: V) -> None:
        if self._keep_s <= 0:
            return
        self._entries[key] = (self._now() + self._keep_s, value)
        self._entries.move_to_end(key)
        if len(self._entries) > self._most:
            self._entries.popitem(last=False)
