"""Which requests somebody wants to see.

Owns: the small language of `--filter` and of the filter line: `provider=ollama model=llama* errors`.
Refuses to know: events, terminals.

All words must hold. `NAME=GLOB` looks at one thing (provider, model, client, tag, end, endpoint),
`errors` wants requests that failed or met a failed try, a `!` in front turns a word round, and any
other word is looked for in everything.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from llmrouterd.commands.board import Asked

NAMES = ("provider", "model", "client", "tag", "end", "endpoint")
_LATE = ("client", "end", "endpoint")  # what only the end of a request tells


@dataclass(frozen=True, slots=True)
class Word:
    name: str  # one of NAMES, "errors", or "" for anywhere
    glob: str
    wanted: bool = True

    def holds(self, asked: Asked) -> bool:
        return self._found(asked) is self.wanted

    def _found(self, asked: Asked) -> bool:
        if self.name == "errors":
            return asked.went_wrong
        if self.name:
            return any(fnmatchcase(each.lower(), self.glob) for each in asked.named(self.name))
        return any(self.glob in each.lower() for name in NAMES for each in asked.named(name))


@dataclass(frozen=True, slots=True)
class Filter:
    """Nothing in it lets everything through."""

    words: tuple[Word, ...] = ()

    def shows(self, asked: Asked) -> bool:
        """Whether the request is wanted, as far as is known of it."""
        return all(word.holds(asked) for word in self.words if self._is_known(word, asked))

    def may_change(self, asked: Asked) -> bool:
        """Whether what is still to come can turn `shows` round."""
        if asked.ended or not self.words:
            return False
        return not asked.provider or any(word.name in _LATE for word in self.words)

    @staticmethod
    def _is_known(word: Word, asked: Asked) -> bool:
        """What a request has not told yet does not speak against it, an error that has not been does."""
        return asked.ended or word.name not in _LATE


def parse(text: str) -> Filter:
    """Raises: ValueError, with words for whoever wrote it."""
    try:
        pieces = shlex.split(text)
    except ValueError:
        raise ValueError("a quotation mark is missing its other half") from None
    return Filter(tuple(_word(piece) for piece in pieces))


def _word(piece: str) -> Word:
    wanted = not piece.startswith("!")
    piece = piece.removeprefix("!").lower()
    name, is_glob, glob = piece.partition("=")
    if not is_glob:
        is_errors = piece in ("error", "errors")
        return Word("errors" if is_errors else "", "" if is_errors else piece, wanted)
    if name not in NAMES:
        raise ValueError(f"there is no {name!r} to filter by; there are {', '.join(NAMES)}, errors")
    return Word(name, glob, wanted)
