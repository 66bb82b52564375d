"""Reads the settings of one classifier, and collects what is wrong with them.

Owns: a check for each kind of setting, in words that name the key.
Refuses to know: files and lines: what comes from a file was checked by config/ before; this is for
whoever makes a classifier otherwise.

Law: nothing is raised before `settle`, which raises one ValueError, a line for each problem.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

ROLES = ("system", "developer", "user", "assistant", "tool")


class Settings:
    def __init__(self, given: Mapping[str, Any]) -> None:
        self._given = given
        self._problems: list[str] = []

    def wrong(self, text: str) -> None:
        self._problems.append(text)

    def settle(self) -> None:
        """Raises ValueError with everything that is wrong, if anything is."""
        if self._problems:
            raise ValueError("\n".join(self._problems))

    def text(self, key: str, default: str = "") -> str:
        value = self._given.get(key, default)
        if isinstance(value, str):
            return value
        self.wrong(f"{key}: expected a text")
        return default

    def switch(self, key: str, *, default: bool = False) -> bool:
        value = self._given.get(key, default)
        if isinstance(value, bool):
            return value
        self.wrong(f"{key}: expected true or false")
        return default

    def number(self, key: str, default: float, low: float, high: float = 1e9) -> float:
        value = self._given.get(key, default)
        if isinstance(value, int | float) and not isinstance(value, bool) and low <= value <= high:
            return value
        self.wrong(f"{key}: expected a number from {low:g} to {high:g}")
        return default

    def texts(self, key: str, what: str = "text") -> tuple[str, ...]:
        return self._list(key, self._given.get(key, ()), what)

    def some_of(self, key: str, known: Sequence[str]) -> tuple[str, ...]:
        """Some of the words that are known."""
        chosen = self.texts(key)
        for index, each in enumerate(chosen):
            if each not in known:
                self.wrong(f"{key}[{index}]: expected one of {', '.join(known)}")
        return tuple(each for each in chosen if each in known)

    def lists(
        self, key: str, what: str = "word", example: str = '{ code = ["python"] }'
    ) -> dict[str, tuple[str, ...]]:
        """A table of lists, in alphabetical order."""
        value = self._given.get(key, {})
        if not isinstance(value, Mapping):
            self.wrong(f"{key}: expected a table of lists, such as {example}")
            return {}
        return {name: self._list(f"{key}.{name}", value[name], what) for name in sorted(value)}

    def map(self, key: str) -> dict[str, str]:
        """A table of texts, in its order."""
        value = self._given.get(key, {})
        if not isinstance(value, Mapping) or not all(isinstance(v, str) for v in value.values()):
            self.wrong(f"{key}: expected a table of texts")
            return {}
        return dict(value)

    def _list(self, key: str, value: Any, what: str) -> tuple[str, ...]:
        if not isinstance(value, Sequence) or isinstance(value, str):
            self.wrong(f"{key}: expected a list of {what}s")
            return ()
        for index, each in enumerate(value):
            if not isinstance(each, str) or not each:
                self.wrong(f"{key}[{index}]: expected a {what}")
        return tuple(each for each in value if isinstance(each, str) and each)
