"""Answers that clients go on from, kept in one place for all workers.

Owns: the hub's shelves (`Archive`), and a worker's way to them (`Far`).
Refuses to know: what an answer says, how it got there before it is asked for (hub.py waits for that).

Laws:
1. The hub keeps them: a conversation outlives the worker that it began with, and ends with the hub.
2. A conversation's items are held once, however many of its answers are kept: an answer that goes on
   from one that is not known here is not kept.
3. Without the hub, what is asked for is not to be had: that is a refusal of its own, no 404.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import trio

from llmrouterd.ops.frames import Malformed, Reader, Writer
from llmrouterd.ops.peer import reach
from llmrouterd.pipeline.admit import no_hub
from llmrouterd.pipeline.answers import Kept, Known, Shelves

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from formats.errors import Failure
    from llmrouterd.model import Candidate
    from llmrouterd.pipeline.answers import Resumed

JSON = Any
PATIENCE_S = 5.0  # for the hub's answer
_READ = 64 * 1024


class Archive(Shelves):
    """The hub's."""

    def put(
        self,
        client: str,
        answer: Mapping[str, JSON],
        before: tuple[JSON, ...],
        size: int,
        home: Candidate | None,
        previous: str,
    ) -> None:
        """Law 2."""
        answers = self.of(client)
        if previous:
            known = answers.get(previous)
            if known is None:
                return
            count = len(known.items)
            if before[:count] == known.items:
                before = known.items + before[count:]
        answers.keep(answer, before, size, home)

    def find(self, client: str, names: list[str]) -> tuple[dict[str, Any], dict[str, JSON]]:
        """Answers by id, as plain values, and items by id."""
        answers = self.of(client)
        kept = {name: found for name in names if (found := answers.get(name)) is not None}
        plain = {n: (each.answer, each.items, each.home, each.size) for n, each in kept.items()}
        return plain, answers.items_by_id([name for name in names if name not in kept])

    def lacks(self, client: str, names: list[str]) -> bool:
        """Whether one of them is neither an answer nor an item that is known."""
        kept, items = self.find(client, names)
        return not all(name in kept or name in items for name in names)


class Found:
    """What the hub had of a request's references."""

    def __init__(self, kept: Mapping[str, Kept], items: Mapping[str, JSON]) -> None:
        self._kept = kept
        self._items = items

    def get(self, name: str) -> Kept | None:
        return self._kept.get(name)

    def items_by_id(self, names: list[str]) -> dict[str, JSON]:
        return {name: self._items[name] for name in names if name in self._items}


class Far(Shelves):
    """A worker's. say: puts something behind what it has told the hub, with about how many bytes."""

    def __init__(self, path: str, number: int, say: Callable[..., None]) -> None:
        super().__init__()
        self._path = path
        self._number = number
        self._say = say

    async def known(self, client: str, names: Sequence[str]) -> Known | Failure:
        if not names:
            return Found({}, {})
        said = await self._ask("find", self._number, client, list(names))
        if said is None:
            return no_hub()
        plain, items = said
        kept = {
            name: Kept(answer, had, home, 0.0, size)
            for name, (answer, had, home, size) in plain.items()
        }
        return Found(kept, items)

    def keep(
        self,
        client: str,
        answer: Mapping[str, JSON],
        went_on: Resumed,
        size: int,
        home: Candidate | None,
    ) -> None:
        self._say(size, "shelve", client, answer, went_on.before, size, home, went_on.previous)

    async def drop(self, client: str, name: str) -> bool:
        said = await self._ask("forget", client, name)
        return bool(said and said[0])

    async def _ask(self, *words: Any) -> list[Any] | None:
        """The hub's one frame of answer; None when there is none."""
        with trio.move_on_after(PATIENCE_S):
            try:
                async with await reach(self._path) as stream:
                    await stream.send_all(Writer().frame(*words))
                    reader = Reader()
                    while data := await stream.receive_some(_READ):
                        for _, *said in reader.feed(data):
                            return said
            except (OSError, trio.BrokenResourceError, Malformed):
                pass
        return None
