"""Stop sequences that an upstream is not told, and the end of an answer at one of them.

Owns: which sequences a server of a format takes, and the text that may not be shown yet because a
sequence may have begun in it.
Refuses to know: how a format writes them, and sockets: whoever reads the upstream stops reading.

Laws:
1. What is shown of an answer is the same for every way of cutting its text into pieces: all before
   the first sequence, nothing of it, nothing after it.
2. No more is held back than the longest beginning of a sequence.
3. Text ends with its part: a sequence never spans two parts, nor reasoning or a call's arguments.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from formats import openai_models
from formats.canonical import Event, Finished, PartEnded, Response, TextDelta
from formats.fold import fold, unfold

if TYPE_CHECKING:
    from formats import Decoder
    from formats.canonical import Request, Target

_MOST_OF_OPENAI = 4


def untold(request: Request, to: str, target: Target) -> tuple[str, ...]:
    """The sequences that an upstream of format `to` is not told, so that the router must end the
    answer itself. In its own format a client's request goes out as it is."""
    stop = request.sampling.stop
    if not stop or request.origin == to:
        return ()
    if to == "responses":
        return stop
    if to != "openai" or not target.vendor:
        return ()
    return stop if openai_models.is_reasoning(target.model) else stop[_MOST_OF_OPENAI:]


class Cutter:
    """Ends a stream at the first of some sequences. found: which one it was, once it has come."""

    __slots__ = ("_held", "_open", "_part", "_stops", "found")

    def __init__(self, stops: tuple[str, ...]) -> None:
        self._stops = stops
        self._held = ""  # the end of the text so far: a sequence may have begun in it
        self._part = -1  # the part it belongs to
        self._open: list[int] = []  # parts that have begun and not ended, in order
        self.found: str | None = None

    def feed(self, event: Event) -> list[Event]:
        """What may be shown now. After `found` nothing more may."""
        if self.found is not None:
            return []
        if isinstance(event, TextDelta):
            return self._text(event)
        part = getattr(event, "part", None)
        if isinstance(event, PartEnded):
            if event.part in self._open:
                self._open.remove(event.part)
        elif isinstance(part, int) and part not in self._open:
            self._open.append(part)
        if part is None or part == self._part:
            return [*self._shown(), event]
        return [event]

    def _text(self, event: TextDelta) -> list[Event]:
        out: list[Event] = []
        if event.part != self._part:
            out, self._part = self._shown(), event.part
        if event.part not in self._open:
            self._open.append(event.part)
        text = self._held + event.text
        cut = min(
            ((at, stop) for stop in self._stops if (at := text.find(stop)) >= 0),
            default=None,
        )
        if cut is not None:
            return [*out, *self._ended(text, *cut)]
        keep = max(_begun(text, stop) for stop in self._stops)
        self._held = text[len(text) - keep :]
        shown = text[: len(text) - keep]
        return [*out, TextDelta(event.part, shown)] if shown else out

    def _ended(self, text: str, at: int, stop: str) -> list[Event]:
        self.found, self._held = stop, ""
        out: list[Event] = [TextDelta(self._part, text[:at])] if at else []
        out += [PartEnded(part) for part in self._open]
        return [*out, Finished("stop_sequence", sequence=stop)]

    def _shown(self) -> list[Event]:
        """What was held back, when no more text of its part can follow."""
        held, self._held = self._held, ""
        return [TextDelta(self._part, held)] if held else []


class CuttingDecoder:
    """An upstream's stream that ends at a sequence. cut: it did, and what follows is of no use."""

    __slots__ = ("_cutter", "_decoder")

    def __init__(self, decoder: Decoder, stops: tuple[str, ...]) -> None:
        self._decoder = decoder
        self._cutter = Cutter(stops)

    @property
    def cut(self) -> bool:
        return self._cutter.found is not None

    def feed(self, data: bytes, /) -> list[Event]:
        return self._cut(self._decoder.feed(data))

    def eof(self) -> list[Event]:
        return self._cut(self._decoder.eof())

    def _cut(self, events: list[Event]) -> list[Event]:
        return [out for event in events for out in self._cutter.feed(event)]


def cut_response(response: Response, stops: tuple[str, ...]) -> Response:
    """A whole answer, ended at the first of the sequences."""
    cutter = Cutter(stops)
    events = [out for event in unfold(response) for out in cutter.feed(event)]
    if cutter.found is None:
        return response
    cut = fold(events)
    assert isinstance(cut, Response)  # a stream that ended in Finished
    return replace(
        cut, usage=response.usage, created=response.created, stop_native=response.stop_native
    )


def _begun(text: str, stop: str) -> int:
    """How many characters at the text's end are the beginning of a sequence."""
    most = min(len(stop) - 1, len(text))
    return next((n for n in range(most, 0, -1) if text.endswith(stop[:n])), 0)
