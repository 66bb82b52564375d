"""An answer's stream with the values put back for their placeholders.

Owns: which events hold texts, and what is held back of each until it is known to be no placeholder.
Refuses to know: how a placeholder looks (placeholders.py), requests.

Laws:
1. What comes of a stream is what comes of the whole answer, however it was cut into events.
2. The answer's text is one text, whatever comes between its parts: one that ends within a placeholder
   goes on in the next. Reasoning does not: some clients read none once there is text.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from formats.canonical import (
    CitationSeen,
    Event,
    Failed,
    Finished,
    OpaquePart,
    PartEnded,
    RefusalDelta,
    TextDelta,
    ThoughtDelta,
    ThoughtSigned,
    ToolDelta,
    ToolStarted,
)
from llmrouterd.plugins.placeholders import Restorer

if TYPE_CHECKING:
    from llmrouterd.plugins.placeholders import Table

Words = TextDelta | RefusalDelta | ThoughtDelta
Kind = type[Words] | type[ToolDelta]
_GO_ON: tuple[Kind, ...] = (TextDelta, RefusalDelta)


@dataclass(slots=True)
class _Open:
    kind: Kind
    restorer: Restorer


class Restoring:
    """One stream. in_json: the answer's text is JSON."""

    __slots__ = ("_custom", "_in_json", "_is", "_open", "_table", "_waiting")

    def __init__(self, table: Table, *, in_json: bool) -> None:
        self._table = table
        self._in_json = in_json
        self._open: dict[int, _Open] = {}
        self._custom: set[int] = set()
        self._waiting: dict[Kind, int] = {}  # the part of a kind that ended within a placeholder
        self._is: dict[int, int] = {}  # a part that goes on with another one -> that one

    def __call__(self, event: Event) -> Iterable[Event]:
        match event:
            case TextDelta() | RefusalDelta() | ThoughtDelta():
                return self._words(event)
            case ToolDelta(part, fragment):
                out = self._fed(part, fragment, ToolDelta, in_json=part not in self._custom)
                return (ToolDelta(part, out),) if out or not fragment else ()
            case ToolStarted(part):
                if event.kind == "custom":
                    self._custom.add(part)
                return (replace(event, name=self._table.restore(event.name)),)
            case CitationSeen(part, citation):  # it may come within a placeholder
                return (CitationSeen(self._is.get(part, part), self._json(citation)),)
            case OpaquePart():
                return (replace(event, value=self._json(event.value)),)
            case ThoughtSigned(part):
                part = self._is.get(part, part)
                return (*self._flushed(part), replace(event, part=part))
            case PartEnded(part):
                return self._ended(self._is.get(part, part))
            case Finished():
                sequence = event.sequence and self._table.restore(event.sequence)
                end = replace(event, sequence=sequence, details=self._json(event.details))
                return (*self._rest(), end)
            case Failed():
                return (*self._rest(), event)
            case _:
                return (event,)

    def _words(self, event: Words) -> Iterable[Event]:
        kind, part = type(event), event.part
        if part not in self._open and part not in self._is and kind in self._waiting:
            self._is[part] = self._waiting.pop(kind)
        part = self._is.get(part, part)
        out = self._fed(part, event.text, kind, in_json=self._in_json and kind is TextDelta)
        return (replace(event, part=part, text=out),) if out or not event.text else ()

    def _fed(self, part: int, text: str, kind: Kind, *, in_json: bool) -> str:
        found = self._open.get(part)
        if found is None:
            found = self._open[part] = _Open(kind, Restorer(self._table, in_json=in_json))
        return found.restorer.feed(text)

    def _ended(self, part: int) -> Iterable[Event]:
        found = self._open.get(part)
        if found is None or not found.restorer.held or found.kind not in _GO_ON:
            return (*self._flushed(part), PartEnded(part))
        before = self._waiting.get(found.kind)
        self._waiting[found.kind] = part
        return () if before is None else (*self._flushed(before), PartEnded(before))

    def _rest(self) -> Iterable[Event]:
        ended = set(self._waiting.values())
        for part in list(self._open):
            yield from self._flushed(part)
            if part in ended:
                yield PartEnded(part)

    def _flushed(self, part: int) -> Iterable[Event]:
        """What was held back of a part, as the kind of event that it came in."""
        found = self._open.pop(part, None)
        held = found.restorer.end() if found else ""
        return (found.kind(part, held),) if found and held else ()

    def _json(self, value: Any) -> Any:
        if isinstance(value, str):
            return self._table.restore(value)
        if isinstance(value, list | tuple):
            return [self._json(each) for each in value]
        if isinstance(value, Mapping):
            return {self._table.restore(n): self._json(each) for n, each in value.items()}
        return value
