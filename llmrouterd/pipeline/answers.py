"""Answers of the Responses API that a client may go on from by their id.

Owns: keeping them, for a time and within bounds; putting what a request refers to in its place.
Refuses to know: what the items say (formats/responses/stored.py).

Laws:
1. Bounded in number, bytes and time; the oldest goes first. It lives in memory: a restart forgets.
2. An answer that an upstream of the same format gave under its own id is that upstream's: a request
   that goes on from it is sent there, as it is, and to nobody else.
3. A reference that nobody here knows is refused by name, unless an upstream may know it.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

from formats import jsontext
from formats.errors import Failure
from formats.responses import stored

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from formats.canonical import Request
    from llmrouterd.model import Candidate, Facts

JSON = Any
KEPT_S = 3600.0
MOST = 1000
MOST_BYTES = 64 * 1024 * 1024
PREVIOUS = "previous_response_id"


@dataclass(frozen=True, slots=True)
class Kept:
    """One answer. items: the conversation up to and with it. home: where the upstream is that has
    it under this id; None: the id is the router's own. size: bytes of what it added."""

    answer: Mapping[str, JSON]
    items: tuple[JSON, ...]
    home: Candidate | None
    expires: float
    size: int


class Known(Protocol):
    """What there is to go on from."""

    def get(self, name: str) -> Kept | None: ...

    def items_by_id(self, names: list[str]) -> dict[str, JSON]: ...


class Answers:
    """Of one client. clock: seconds, monotonic."""

    def __init__(
        self,
        *,
        most: int = MOST,
        most_bytes: int = MOST_BYTES,
        kept_s: float = KEPT_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._kept: OrderedDict[str, Kept] = OrderedDict()
        self._bytes = 0
        self._most = most
        self._most_bytes = most_bytes
        self._kept_s = kept_s
        self._clock = clock

    def __len__(self) -> int:
        return len(self._kept)

    def get(self, name: str) -> Kept | None:
        self._forget_old()
        return self._kept.get(name)

    def drop(self, name: str) -> bool:
        """Whether there was one."""
        kept = self._kept.pop(name, None)
        if kept is not None:
            self._bytes -= kept.size
        return kept is not None

    def keep(
        self,
        answer: Mapping[str, JSON],
        before: tuple[JSON, ...],
        size: int,
        home: Candidate | None,
    ) -> None:
        """Keep an answer by its own id. before: the items of the conversation up to it."""
        name = answer.get("id")
        if type(name) is not str or not name or size > self._most_bytes:
            return
        self.drop(name)
        items = (*before, *stored.output_items(answer))
        self._kept[name] = Kept(answer, items, home, self._clock() + self._kept_s, size)
        self._bytes += size
        while len(self._kept) > self._most or self._bytes > self._most_bytes:
            self.drop(next(iter(self._kept)))

    def items_by_id(self, names: list[str]) -> dict[str, JSON]:
        """The items of these ids, as far as they are known."""
        wanted, found = set(names), dict[str, JSON]()
        if not wanted:
            return found
        for kept in reversed(self._kept.values()):
            for item in kept.items:
                name = item.get("id") if type(item) is dict else None
                if name in wanted and name not in found:
                    found[name] = item
        return found

    def _forget_old(self) -> None:
        now = self._clock()
        while self._kept and next(iter(self._kept.values())).expires <= now:
            self.drop(next(iter(self._kept)))


class Shelves:
    """The answers of all clients, by the name of a client's key: nobody gets at another's. These are
    of one process; ops/archive.py has the same face for several."""

    def __init__(self) -> None:
        self._of: dict[str, Answers] = {}

    def of(self, client: str) -> Answers:
        found = self._of.get(client)
        if found is None:
            found = self._of[client] = Answers()
        return found

    async def known(self, client: str, names: Sequence[str]) -> Known | Failure:
        """The answers of these ids, and items that have one of them. A Failure: they are not to be
        had right now."""
        return self.of(client)

    def keep(
        self,
        client: str,
        answer: Mapping[str, JSON],
        went_on: Resumed,
        size: int,
        home: Candidate | None,
    ) -> None:
        """Keep an answer to such a request."""
        self.of(client).keep(answer, went_on.before, size, home)

    async def drop(self, client: str, name: str) -> bool:
        """Whether there was one."""
        return self.of(client).drop(name)


@dataclass(frozen=True, slots=True)
class Resumed:
    """A request with what it referred to in place. before: the items of its conversation, its own
    input included. home: the only place that can serve it; None: anybody. wants: keep the answer.
    previous: the answer that it goes on from, where one is known."""

    request: Request
    before: tuple[JSON, ...]
    home: Candidate | None = None
    wants: bool = True
    previous: str = ""


def names_in(request: Request) -> list[str]:
    """The ids that a request of this API refers to. Raises Invalid as `resumed` does."""
    previous = stored.previous_id(request)
    return [*([previous] if previous else ()), *stored.referred_ids(request)]


def resumed(request: Request, answers: Known, *, upstream_may_know: bool) -> Resumed | Failure:
    """What a request of this API comes to. Raises Invalid for a history that cannot be read.

    upstream_may_know: there is an upstream of this format, so an unknown id may be one of its.
    """
    wants = stored.wants_keeping(request)
    own = tuple(stored.input_items(request))
    previous = stored.previous_id(request)
    kept = answers.get(previous) if previous else None
    if kept is not None and kept.home is not None:
        return Resumed(request, (*kept.items, *own), kept.home, wants, previous or "")
    if previous and kept is None:
        if upstream_may_know:
            return Resumed(request, own, None, wants=False)
        words = f"Previous response with id '{previous[:100]}' not found"
        why = "it was never kept here, or no longer is: send the whole conversation"
        code = "previous_response_not_found"
        return Failure("bad_request", f"{words} ({why}).", code=code, param=PREVIOUS)
    before = kept.items if kept is not None else ()
    references = stored.referred_ids(request)
    if kept is not None or references:
        known = answers.items_by_id(references)
        gone = [name for name in references if name not in known]
        if gone and not upstream_may_know:
            words = f"Item with id '{gone[0][:100]}' not found"
            why = "it was never kept here, or no longer is: send the item itself"
            return Failure("bad_request", f"{words} ({why}).", param="input")
        request = stored.expanded(request, before, known)
        own = tuple(stored.input_items(request))
        before = ()
    gone_on = previous if kept is not None and previous else ""
    return Resumed(stored.declared(request, kept=wants), (*before, *own), None, wants, gone_on)


def at_home(known: Facts, home: Candidate) -> Facts:
    """The facts of a request that only one place can serve."""
    return replace(known, forced=home.provider, model=home.model, asked=known.model)


def object_of(answer: Mapping[str, JSON] | bytes | None) -> Mapping[str, JSON] | None:
    """An answer object, parsed if it is still text."""
    if isinstance(answer, bytes):
        try:
            value = jsontext.loads(answer.decode())
        except ValueError:
            return None
        return value if type(value) is dict else None
    return answer or None
