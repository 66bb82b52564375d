"""Reasoning that a model wrote into its text, between `<think>` and `</think>`, set apart again.

Owns: splitting text of a stream, or of a whole answer, at those two tags, wherever pieces are cut.
Refuses to know: which servers need it; the owner says so.

Laws:
1. Only the beginning of an answer may be reasoning: after the closing tag, or when the first text
   is no opening tag, everything is text.
2. A text that closes what it never opened (templates open it in the prompt) was reasoning up to
   there: possible for whole answers only; in a stream what is out is out.
3. Nothing is lost: what looked like a tag and was none is text.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from formats.canonical import (
    Event,
    Failed,
    Finished,
    Part,
    PartEnded,
    Response,
    Text,
    TextDelta,
    Thought,
    ThoughtDelta,
)

if TYPE_CHECKING:
    from formats import Decoder

OPEN, CLOSE = "<think>", "</think>"


class ThinkTags:
    """A decoder round a decoder."""

    def __init__(self, decoder: Decoder) -> None:
        self._decoder = decoder
        self._state = (
            "begin"  # -> "opened" (a line end) -> "thinking" -> "after" (likewise) -> "text"
        )
        self._held = ""
        self._source: int | None = None  # the text part that is looked into
        self._numbers: dict[tuple[int, str], int] = {}
        self._open = False  # the part with reasoning has begun and not ended

    def feed(self, data: bytes, /) -> list[Event]:
        return self._turned(self._decoder.feed(data))

    def eof(self) -> list[Event]:
        return self._turned(self._decoder.eof())

    def _turned(self, events: list[Event]) -> list[Event]:
        out: list[Event] = []
        for event in events:
            self._turn(event, out)
        return out

    def _turn(self, event: Event, out: list[Event]) -> None:
        if isinstance(event, TextDelta) and self._source in (None, event.part):
            self._source = event.part
            self._text(event.text, out)
            return
        if isinstance(event, Finished | Failed) or (
            isinstance(event, PartEnded) and event.part == self._source
        ):
            self._flush(out)
        part = getattr(event, "part", None)
        if part is None:
            out.append(event)
        elif (part, "") in self._numbers or part != self._source:
            numbered: Any = event  # each of them has a part
            out.append(replace(numbered, part=self._number(part, "")))

    def _number(self, part: int, kind: str) -> int:
        """Our own index: a part that holds both becomes two."""
        return self._numbers.setdefault((part, kind), len(self._numbers))

    def _text(self, text: str, out: list[Event]) -> None:
        self._held += text
        while self._held and self._step(out):
            pass

    def _step(self, out: list[Event]) -> bool:
        """One thing done with what is held; False when more has to come first."""
        held = self._held
        if self._state == "begin":
            start = held.lstrip()
            if start.startswith(OPEN):
                self._state, self._held = "opened", start[len(OPEN) :]
                return True
            if OPEN.startswith(start):
                return False
            self._state = "text"
            return True
        if self._state == "opened":
            self._state, self._held = "thinking", held.removeprefix("\n")
            return True
        if self._state == "thinking":
            return self._think(out)
        if self._state == "after":
            self._held = held.lstrip("\n")
            self._state = "text" if self._held else "after"
            return bool(self._held)
        self._say(held, out)
        return False

    def _think(self, out: list[Event]) -> bool:
        at = self._held.find(CLOSE)
        if at >= 0:
            self._reason(self._held[:at], out)
            self._end(out)
            self._state, self._held = "after", self._held[at + len(CLOSE) :]
            return True
        keep = _cut_tag(self._held)
        self._reason(self._held[: len(self._held) - keep], out)
        self._held = self._held[len(self._held) - keep :]
        return False

    def _reason(self, text: str, out: list[Event]) -> None:
        if text and self._source is not None:
            self._open = True
            out.append(ThoughtDelta(self._number(self._source, "think"), text))

    def _say(self, text: str, out: list[Event]) -> None:
        self._held = ""
        if text and self._source is not None:
            out.append(TextDelta(self._number(self._source, ""), text))

    def _end(self, out: list[Event]) -> None:
        if self._open and self._source is not None:
            self._open = False
            out.append(PartEnded(self._number(self._source, "think")))

    def _flush(self, out: list[Event]) -> None:
        """The text is over: what is still held is what it looks like."""
        if self._state == "thinking":
            self._reason(self._held, out)
            self._held = ""
        elif self._state == "begin":
            self._say(self._held, out)
        self._end(out)
        self._state = "text"


def _cut_tag(text: str) -> int:
    """How many characters at the end may be the beginning of a closing tag."""
    for length in range(min(len(CLOSE) - 1, len(text)), 0, -1):
        if CLOSE.startswith(text[-length:]):
            return length
    return 0


def split_response(response: Response) -> Response:
    """The same answer with the reasoning at its beginning as a part of its own."""
    parts: list[Part] = []
    looked = False
    for part in response.parts:
        if isinstance(part, Text) and not part.refusal and not looked:
            looked = True
            parts += _split(part)
        else:
            parts.append(part)
    return replace(response, parts=tuple(parts))


def _split(part: Text) -> list[Part]:
    thought, closed, rest = part.text.partition(CLOSE)
    opened = thought.lstrip().startswith(OPEN)
    if not closed and not opened:
        return [part]
    thought = thought.lstrip().removeprefix(OPEN).strip("\n") if opened else thought.strip("\n")
    rest = rest.lstrip("\n")
    found: list[Part] = [Thought(thought)] if thought else []
    return [*found, replace(part, text=rest)] if rest else found
