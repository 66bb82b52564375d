"""How many client connections all workers have, in memory that they share.

Owns: a number for each worker, which it alone writes, and the supervisor when it is dead.
Refuses to know: what is done at the limit (edge/listen.py).

Law: nobody waits for anybody. Workers that accept in the same moment may be one too many each.
"""

from __future__ import annotations

import mmap

from llmrouterd.edge.connection import Connections

_SIZE = 4


class Tally:
    """Made before the workers are forked."""

    def __init__(self, workers: int) -> None:
        self._counts = memoryview(mmap.mmap(-1, _SIZE * (workers + 1))).cast("I")

    def put(self, number: int, count: int) -> None:
        self._counts[number] = count

    @property
    def total(self) -> int:
        return sum(self._counts)


class Counted(Connections):
    """A worker's connections, counted among those of all."""

    __slots__ = ("_number", "_tally")

    def __init__(self, budget_bytes: int, tally: Tally, number: int) -> None:
        self._tally = tally
        self._number = number
        super().__init__(budget_bytes)

    def came(self) -> None:
        super().came()
        self._tally.put(self._number, self.open)

    def went(self) -> None:
        super().went()
        self._tally.put(self._number, self.open)

    def full(self, most: int) -> bool:
        return self._tally.total >= most
