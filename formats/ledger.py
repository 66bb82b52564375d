"""The loss ledger: what a translation could not carry over unchanged.

Owns: one list of entries per translation, and how they are named to the client.
Refuses to know: which fields exist; the codecs say what they did to each.

Law: nothing is lost silently. Every field a codec drops, clamps, renames, approximates or emulates
is noted here under the client's own name for it (`tool_choice`, `messages[].image_url.detail`).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

What = Literal["dropped", "clamped", "renamed", "approximated", "emulated"]

# Indices are folded so that one long history gives one entry per kind of loss, not thousands.
_INDEX = re.compile(r"\[\d+\]")


@dataclass(frozen=True, slots=True)
class Loss:
    """path: the client's own name of the field. harmless: the answer is practically unaffected."""

    path: str
    what: What
    why: str
    harmless: bool = False


class Ledger:
    """Mutable on purpose: one per translation, written by codecs, read when the answer begins."""

    __slots__ = ("_seen", "entries")

    def __init__(self) -> None:
        self.entries: list[Loss] = []
        self._seen: set[tuple[str, What]] = set()

    def note(self, path: str, what: What, why: str, *, harmless: bool = False) -> None:
        """Record one loss. The same path and kind is recorded once, indices folded to `[]`."""
        folded = _INDEX.sub("[]", path)
        if (folded, what) not in self._seen:
            self._seen.add((folded, what))
            self.entries.append(Loss(folded, what, why, harmless))

    def names(self) -> tuple[str, ...]:
        """The fields' names, in order, without repeats: what `X-Router-Dropped` says."""
        return tuple(dict.fromkeys(loss.path for loss in self.entries))
