"""Tags for what detectors find in texts: the work that `pii` and `secrets` share.

Owns: settings, the walk over all texts, and the tags: the chief one, and one for each kind found
("pii", "pii-email").
Refuses to know: how anything is found (llmrouterd/detect/), whose texts they are.

Laws:
1. A text that was looked at before is not looked at again.
2. No more than a piece of text is looked at without letting other requests go on.
3. What is found goes nowhere: only its kind is told.
"""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from llmrouterd.classifiers.known import Known, digest
from llmrouterd.classifiers.settings import Settings
from llmrouterd.classifiers.texts import PIECE, pieces
from llmrouterd.detect import find

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from llmrouterd.hooks import Context

_LEAST = 5  # characters: in so few is nothing
_BETWEEN = str.maketrans("", "", " -./()\u00a0")


class Finds:
    """chief: the tag for a find of any kind. kinds: those that may be configured."""

    def __init__(self, chief: str, kinds: Sequence[str], settings: Mapping[str, Any]) -> None:
        read = Settings(settings)
        self.kinds = read.some_of("kinds", kinds) or tuple(kinds)
        allow = read.texts("allow")
        read.settle()
        self._chief = chief
        self._allow = tuple(_bare(each) for each in allow)
        self._known: Known[tuple[str, ...]] = Known()
        self.may_set = (chief, *(f"{chief}-{kind}" for kind in self.kinds))

    async def tags(self, texts: Iterable[str], ctx: Context) -> list[str]:
        found: set[str] = set()
        looked = 0
        for text in texts:
            for piece in pieces(text):
                found.update(self._kinds_in(piece))
                looked += len(piece)
                if looked >= PIECE // 2:
                    looked = 0
                    await ctx.breathe()
        tags = [f"{self._chief}-{kind}" for kind in self.kinds if kind in found]
        return [self._chief, *tags] if tags else []

    def _kinds_in(self, text: str) -> tuple[str, ...]:
        if len(text) <= _LEAST:
            return ()
        key = digest(text)
        kinds = self._known.get(key)
        if kinds is None:
            kinds = self._looked(text)
            self._known.put(key, kinds)
        return kinds

    def _looked(self, text: str) -> tuple[str, ...]:
        spans = find(text, self.kinds)
        return tuple({span.kind for span in spans if not self._is_allowed(span.value)})

    def _is_allowed(self, value: str) -> bool:
        return any(fnmatchcase(_bare(value), pattern) for pattern in self._allow)


def _bare(value: str) -> str:
    """As it is compared: without case, and a number without what stands between its digits."""
    value = value.strip().lower()
    return value if any(each.isalpha() for each in value) else value.translate(_BETWEEN)
