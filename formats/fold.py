"""The bridge between streams and whole answers: events folded into a response, and back.

Owns: what a stream amounts to when it has ended. With it, one pipeline does for both.
Refuses to know: wire formats, and whether anybody streams.

Laws:
1. fold(unfold(response)) is the response (empty texts and what events cannot say apart: members
   known only to one format).
2. A call that was cut is not a call: what had no end when the stream failed is left out.
3. No more than `limit` bytes of text are kept: TooLong.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, assert_never

from formats import jsontext
from formats.canonical import (
    CUT_SHORT,
    EMPTY,
    JSON,
    CitationSeen,
    Event,
    Failed,
    Finished,
    Opaque,
    OpaquePart,
    Part,
    PartEnded,
    RefusalDelta,
    Response,
    Started,
    StopReason,
    Text,
    TextDelta,
    Thought,
    ThoughtDelta,
    ThoughtSigned,
    ToolDelta,
    ToolStarted,
    ToolUse,
    Usage,
    UsageSeen,
)
from formats.errors import Failure, TooLong

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_TRUNCATED = Failure("truncated", "the answer ended before it was complete")


def parsed_arguments(text: str) -> Mapping[str, JSON] | None:
    """The object that a call's arguments are; {} for no text at all, None for anything else."""
    if not text or text.isspace():
        return {}
    try:
        value = jsontext.loads(text)
    except ValueError:
        return None
    return value if type(value) is dict else None


@dataclass(slots=True)
class _Growing:
    """One part while it arrives. `first` is the event that began it, and says what it is."""

    first: Event
    texts: list[str] = field(default_factory=list)
    citations: list[JSON] = field(default_factory=list)
    signed: ThoughtSigned | None = None
    refusal: bool = False
    ended: bool = False

    def part(self) -> Part | None:
        text = "".join(self.texts)
        match self.first:
            case TextDelta() | RefusalDelta() | CitationSeen():
                if not text and not self.citations:
                    return None
                return Text(text, citations=tuple(self.citations), refusal=self.refusal)
            case ThoughtDelta() | ThoughtSigned():
                if self.signed is None:
                    return Thought(text)
                signed = self.signed
                return Thought(text, signed.signature, signed.redacted, signed.origin)
            case ToolStarted(_, id, name, kind, extra):
                given = parsed_arguments(text) if kind == "function" else None
                return ToolUse(id, name, text, given, kind, extra=extra)
            case OpaquePart(_, origin, type, value):
                return Opaque(origin, type, value)
            case _:
                return None


class Folder:
    """Events one by one into a response. `failure` is set by a failed stream; `finished` says that
    the stream has had its last event."""

    __slots__ = ("_end", "_left", "_parts", "_started", "_usage", "failure", "finished")

    def __init__(self, *, limit: int) -> None:
        self._left = limit
        self._started = Started("", "")
        self._parts: dict[int, _Growing] = {}
        self._usage: Usage | None = None
        self._end: Finished | None = None
        self.failure: Failure | None = None
        self.finished = False

    def add(self, event: Event) -> None:
        """Takes the stream's next event. Raises TooLong."""
        match event:
            case TextDelta(part, text) | ThoughtDelta(part, text) | ToolDelta(part, text):
                self._grow(part, event, text)
            case RefusalDelta(part, text):
                self._grow(part, event, text).refusal = True
            case CitationSeen(part, citation):
                self._grow(part, event, "").citations.append(citation)
            case ThoughtSigned(part, signature, redacted):
                self._grow(part, event, "").signed = event
                self._spend(signature or redacted or "")
            case ToolStarted(part) | OpaquePart(part):
                self._grow(part, event, "")
            case PartEnded(part):
                if part in self._parts:
                    self._parts[part].ended = True
            case UsageSeen(usage):
                self._usage = usage if self._usage is None else self._usage.merged(usage)
            case Started():
                self._started = event
            case Finished():
                self._end, self.finished = event, True
            case Failed(failure):
                self.failure, self.finished = failure, True
            case _:
                assert_never(event)

    def _grow(self, part: int, event: Event, text: str) -> _Growing:
        growing = self._parts.get(part)
        if growing is None:
            growing = self._parts[part] = _Growing(event)
        if text:
            self._spend(text)
            growing.texts.append(text)
        return growing

    def _spend(self, text: str) -> None:
        self._left -= len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))
        if self._left < 0:
            raise TooLong("the answer is longer than may be kept")

    def response(self) -> Response:
        """What has come so far."""
        end = self._end
        parts = (growing.part() for growing in self._parts.values() if self._counts(growing))
        return Response(
            self._started.id,
            self._started.model,
            tuple(part for part in parts if part is not None),
            end.reason if end else "end_turn",
            end.native if end else None,
            end.sequence if end else None,
            end.details if end else None,
            self._usage,
            self._started.created,
        )

    def _counts(self, growing: _Growing) -> bool:
        return growing.ended or self._end is not None or not isinstance(growing.first, ToolStarted)


def fold(events: Iterable[Event]) -> Response | Failure:
    """A whole stream as a response, or as the failure that ended it."""
    folder = Folder(limit=sys.maxsize)  # the events are in memory already
    for event in events:
        folder.add(event)
    if folder.finished:
        return folder.failure or folder.response()
    return _TRUNCATED


def unfold(response: Response) -> list[Event]:
    """A response as the stream that it could have been."""
    events: list[Event] = [Started(response.id, response.model, response.created)]
    index = 0
    for part in response.parts:
        if isinstance(part, Text) and not part.text and not part.citations:
            continue
        events += _unfolded(part, index)
        events.append(PartEnded(index))
        index += 1
    if response.usage is not None:
        events.append(UsageSeen(response.usage))
    events.append(
        Finished(response.stop, response.stop_native, response.stop_sequence, response.stop_details)
    )
    return events


def _unfolded(part: Part, index: int) -> list[Event]:
    match part:
        case Text(text):
            delta = RefusalDelta if part.refusal else TextDelta
            return [delta(index, text), *(CitationSeen(index, each) for each in part.citations)]
        case Thought(text, signature, redacted, origin):
            out: list[Event] = [ThoughtDelta(index, text)]
            if signature is not None or redacted is not None:
                out.append(ThoughtSigned(index, signature, redacted, origin))
            return out
        case ToolUse():
            start = ToolStarted(index, part.id, part.name, part.kind, part.extra)
            return [start, ToolDelta(index, part.arguments)] if part.arguments else [start]
        case Opaque(origin, type, value):
            return [OpaquePart(index, origin, type, value)]
        case _:  # no format streams these; an encoder records what it cannot show
            return [OpaquePart(index, "", part.__class__.__name__.lower(), EMPTY)]


def derived_stop(reason: StopReason, *, has_call: bool) -> StopReason:
    """The reason to finish with: a finished call beats what the wire said, unless it was cut."""
    return "tool_use" if has_call and reason not in CUT_SHORT else reason
