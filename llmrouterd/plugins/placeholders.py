"""Placeholders for values: which stands for what, and the values put back into a stream.

Owns: `Table` (one request's values and their placeholders) and `Restorer` (one text that arrives in
pieces).
Refuses to know: what is a value (redact.py), requests, events.

Laws:
1. The same texts in the same order give the same placeholders, so that a conversation that grows at
   its end keeps those it has. Nothing is remembered between requests.
2. A text that holds what looks like a placeholder already keeps it: that number is given to no value.
3. However a text is cut, what a Restorer gives is the same; it never holds back more than a
   placeholder is long.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Literal
from urllib.parse import quote

from formats import jsontext

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

Form = Literal["text", "name"]
# More than this in one request is no conversation, and costs its neighbours time.
MOST = 4000
# No longer than a placeholder of ours can be: a text of beginnings alone would be read again for each.
_NUMBERED = r"[A-Z][A-Z0-9_]{0,40}?_\d{1,9}[EU]?"
_SHAPE = re.compile(rf"\[({_NUMBERED})\]|__({_NUMBERED})(?=__)")
_DEEPEST = 100  # branches within each other
_LABEL = re.compile(r"[^A-Z0-9]+")


class TooMany(ValueError):
    """There are more values than are replaced."""


class Table:
    """The values of one request. A text has `[EMAIL_1]`, a name (of a tool, of a JSON member), which
    may hold few characters, `__EMAIL_1__`."""

    def __init__(self, texts: Iterable[str] = ()) -> None:
        """texts: everything that will be replaced in, for the sake of law 2."""
        self._taken = {a or b for text in texts for a, b in _SHAPE.findall(text)}
        self._labels: dict[str, str] = {}  # value -> label
        self._words: set[str] = set()
        self._last: dict[str, int] = {}
        self._values: dict[str, str] = {}  # placeholder -> value
        self._patterns: dict[bool, re.Pattern[str]] = {}  # by whether words are in it
        self._starts: frozenset[str] | None = None
        self._longest = 0
        self._known: re.Pattern[str] | None = None

    def __len__(self) -> int:
        return len(self._labels)

    def add(self, value: str, kind: str, *, word: bool = False) -> None:
        """word: it counts only where it stands alone. Raises TooMany."""
        if not value or value in self._labels:
            return
        if len(self._labels) >= MOST:
            raise TooMany(f"more than {MOST} values to cover in one request")
        stem = _LABEL.sub("_", kind.upper()).strip("_")
        while True:
            self._last[stem] = self._last.get(stem, 0) + 1
            label = f"{stem}_{self._last[stem]}"
            if self._taken.isdisjoint((label, f"{label}E", f"{label}U")):
                break
        self._enter(value, label, word=word)
        # As it stands in JSON inside of a text, by one writer or another, and in a URL.
        for text in (json.dumps(value)[1:-1], jsontext.dumps(value)[1:-1]):
            self._enter(text, f"{label}E", word=word)
            self._enter(text.replace("/", "\\/"), f"{label}E", word=word)
        self.spelt(value, quote(value, safe=""), word=word)

    def spelt(self, value: str, in_url: str, *, word: bool = False) -> None:
        """Another way to write a value that is in the table: percent-encoded."""
        label = self._labels.get(value)
        if label is not None:
            self._enter(in_url, label.rstrip("EU") + "U", word=word)

    def _enter(self, value: str, label: str, *, word: bool) -> None:
        if not value or value in self._labels:
            return
        self._labels[value] = label
        if word:
            self._words.add(value)
        for placeholder in (f"[{label}]", f"__{label}__"):
            self._values.setdefault(placeholder, value)
        self._patterns = {}
        self._starts = self._known = None

    def cover(self, text: str, form: Form = "text", *, words: bool = True) -> str:
        """The text with placeholders for the values in it. words: for words, too."""
        if not self._labels or not text:
            return text
        if words not in self._patterns:
            values = [each for each in self._labels if words or each not in self._words]
            if not values:
                return text
            self._patterns[words] = _alternatives(values, self._words)

        def put(match: re.Match[str]) -> str:
            label = self._labels[match.group()]
            return f"[{label}]" if form == "text" else f"__{label}__"

        return self._patterns[words].sub(put, text)

    def restore(self, text: str, *, in_json: bool = False) -> str:
        """The text with its values again. in_json: it is JSON, or a piece of it."""

        def put(match: re.Match[str]) -> str:
            value = self._values[match.group()]
            return jsontext.dumps(value)[1:-1] if in_json else value

        return self.known.sub(put, text) if self._values else text

    def unfinished(self, text: str) -> int:
        """How many characters at the end may be the beginning of a placeholder."""
        if self._starts is None:
            self._starts = frozenset(
                each[:size] for each in self._values for size in range(1, len(each))
            )
            self._longest = max(map(len, self._starts), default=0)
        for size in range(min(self._longest, len(text)), 0, -1):
            if text[-size:] in self._starts:
                return size
        return 0

    @property
    def known(self) -> re.Pattern[str]:
        """Any of the placeholders. None of them is the beginning of another one, nor inside one."""
        if self._known is None:
            self._known = _alternatives(self._values, set())
        return self._known


def _alternatives(values: Iterable[str], words: set[str]) -> re.Pattern[str]:
    """Any of the values, the longest first; as a tree of how they begin, so that a text which begins
    like many of them is not compared with each."""
    return re.compile(tree(values, words))


def tree(values: Iterable[str], words: Collection[str] = ()) -> str:
    """The same as the text of a regular expression."""
    return _tree(sorted(values, key=len, reverse=True), 0, words)


def _tree(values: list[str], at: int, words: Collection[str], depth: int = 0) -> str:
    """What follows the first `at` characters, in which all of the values are alike."""
    if len(values) == 1 or depth == _DEEPEST:
        return "|".join(re.escape(each[at:]) + _bounds(each, words) for each in values)
    groups: dict[str, list[str]] = {}
    for value in values:
        groups.setdefault(value[at : at + 1], []).append(value)
    ended = groups.pop("", None)
    parts = []
    for group in groups.values():
        end = _alike(group)
        rest = _tree(group, end, words, depth + 1)
        parts.append(f"{re.escape(group[0][at:end])}(?:{rest})")
    if ended is not None:  # the shortest of them
        parts.append(_bounds(ended[0], words))
    return "|".join(parts)


def _alike(values: list[str]) -> int:
    """In how many of their first characters."""
    first, last = min(values), max(values)
    pairs = enumerate(zip(first, last, strict=False))
    return next((at for at, (one, other) in pairs if one != other), len(first))


def _bounds(value: str, words: Collection[str]) -> str:
    return rf"(?<!\w{re.escape(value)})(?!\w)" if value in words else ""


class Restorer:
    """One text of an answer, as it comes. held: what may be the beginning of a placeholder."""

    __slots__ = ("_in_json", "_table", "held")

    def __init__(self, table: Table, *, in_json: bool) -> None:
        self._table = table
        self._in_json = in_json
        self.held = ""

    def feed(self, text: str) -> str:
        text = self.held + text
        # Only what follows the last whole placeholder can be the beginning of another one.
        done = 0
        for match in self._table.known.finditer(text):
            done = match.end()
        held = self._table.unfinished(text[done:])
        cut = len(text) - held
        self.held = text[cut:]
        return self._table.restore(text[:cut], in_json=self._in_json)

    def end(self) -> str:
        held, self.held = self.held, ""
        return held
