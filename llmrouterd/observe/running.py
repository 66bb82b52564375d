"""The requests in flight, as the tellings told of them.

Owns: for each request that has begun and not ended where it stands, for readers of the feed who come
in the middle, and the newest progress of each stream.
Refuses to know: who reads, how often; how it looks as JSON beyond its own snapshot.

Law: what is kept is bounded by the number of requests in flight, and of one request by `_TRIES`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from llmrouterd.model import (
    AttemptFailed,
    Classified,
    FirstToken,
    Opened,
    Progress,
    Queued,
    Record,
    Routed,
    Telling,
)
from llmrouterd.observe.shapes import shape

if TYPE_CHECKING:
    from collections.abc import Iterator

JSON = Any
_TRIES = 8  # failed tries that are told of one request: the last ones


class Now:
    """One request in flight, as told so far."""

    __slots__ = ("opened", "progress", "steps", "tries", "turn")

    def __init__(self, opened: Opened) -> None:
        self.opened = opened
        self.steps: dict[type[Telling], Telling] = {}
        self.tries: list[AttemptFailed] = []
        self.progress: Progress | None = None
        self.turn = 0  # of the progress

    def events(self) -> Iterator[Telling]:
        """The tellings that lead to where it stands, in their order."""
        yield self.opened
        yield from sorted((*self.steps.values(), *self.tries), key=lambda each: each.ts_ms)
        if self.progress is not None:
            yield self.progress


class Running:
    """A Sink. `streaming` says whether any stream's progress was told and has not ended."""

    def __init__(self) -> None:
        self._now: dict[int, Now] = {}
        self._streams: dict[int, Now] = {}
        self.turn = 0  # counts the progress of all streams

    def tell(self, telling: Telling) -> None:
        if isinstance(telling, Opened):
            self._now[telling.id] = Now(telling)
            return
        if isinstance(telling, Record):
            self._now.pop(telling.id, None)
            self._streams.pop(telling.id, None)
            return
        now = self._now.get(telling.id)
        if now is not None:
            self._note(now, telling)

    def _note(self, now: Now, telling: Telling) -> None:
        match telling:
            case Progress():
                self.turn += 1
                now.progress, now.turn = telling, self.turn
            case AttemptFailed():
                now.tries = [*now.tries[1 - _TRIES :], telling]
            case Classified() | Routed() | Queued() | FirstToken():
                now.steps[type(telling)] = telling
                if isinstance(telling, FirstToken):
                    self._streams[telling.id] = now
            case _:
                pass

    @property
    def streaming(self) -> bool:
        return bool(self._streams)

    def progress(self, after: int) -> list[Progress]:
        """What came since turn `after`, the newest of each stream."""
        return [now.progress for now in self._streams.values() if now.turn > after and now.progress]

    def opened(self) -> list[Opened]:
        """How each of the requests in flight began."""
        return [now.opened for now in self._now.values()]

    def snapshot(self) -> list[JSON]:
        """Each request in flight as the list of events that lead to where it stands."""
        return [[shape(each) for each in now.events()] for now in self._now.values()]
