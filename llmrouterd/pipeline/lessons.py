"""What upstreams were found to refuse, so that it is asked of them once and not with every request.

Owns: reading such refusals out of an upstream's words, and remembering them for each place.
Refuses to know: how a request is written without what was refused (formats/, headers.py).

Laws:
1. Bounded: so many places, so many names each; the oldest place is forgotten first.
2. A lesson is learned once: the same refusal again is a failure like any other.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from formats.errors import Failure
    from llmrouterd.model import Candidate

_PLACES = 256
_NAMES = 32
_BETA = re.compile(
    r"Unexpected value\(s\) ((?:`[^`]{1,100}`(?:, )?){1,20}) for the `anthropic-beta`"
)
_NAME = re.compile(r"`([^`]+)`")
_SYSTEM = re.compile(r"role 'system' is not supported|messages\.\d+\.role: Input should be 'user'")
_REASONING = re.compile(
    r"reasoning_content (?:is missing|in the thinking mode must be passed back)"
)


_SEALED = re.compile(r"[Ii]nvalid `?signature`?")


def seal_refused(failure: Failure) -> bool:
    """Whether a server was handed reasoning that another one had sealed."""
    return failure.status == 400 and _SEALED.search(failure.message) is not None


@dataclass(frozen=True, slots=True)
class Lesson:
    """refused_betas: names of `anthropic-beta`. no_late_system: no system message inside the
    conversation. reasoning_required: no tool call in the history without its reasoning."""

    refused_betas: frozenset[str] = frozenset()
    no_late_system: bool = False
    reasoning_required: bool = False


_NOTHING = Lesson()


class Lessons:
    """Mutable, one per daemon."""

    def __init__(self) -> None:
        self._places: OrderedDict[tuple[str, str], Lesson] = OrderedDict()

    def of(self, place: Candidate) -> Lesson:
        return self._places.get((place.provider, place.model), _NOTHING)

    def learn(self, place: Candidate, failure: Failure, *, own_text: bool = False) -> bool:
        """Whether this refusal taught something, so that asking again may help. own_text: the body
        is the client's and stays so; only header fields can be said differently."""
        if failure.status != 400:
            return False
        known = self.of(place)
        found = _read(known, failure.message)
        if own_text:
            found = replace(known, refused_betas=found.refused_betas)
        if found == known or len(found.refused_betas) > _NAMES:
            return False
        self._places[place.provider, place.model] = found
        if len(self._places) > _PLACES:
            self._places.popitem(last=False)
        return True


def _read(known: Lesson, words: str) -> Lesson:
    betas = _BETA.search(words)
    if betas is not None:
        return replace(known, refused_betas=known.refused_betas | {*_NAME.findall(betas[1])})
    if _SYSTEM.search(words):
        return replace(known, no_late_system=True)
    if _REASONING.search(words):
        return replace(known, reasoning_required=True)
    return known
