"""Checks one table of the file against its keys, and collects what is wrong.

Owns: `Problems`, `read`, and the wording of what a single value may get wrong.
Refuses to know: what any key is for.

Laws:
1. Nothing is raised on the way: a wrong value is noted and its default goes on, so that one run
   shows everything that is wrong with a file.
2. A message shows no text that may be a secret: of a wrong text it shows the type, except where
   the key takes one word of a few.
"""

from __future__ import annotations

import difflib
import math
import re
from pathlib import Path as FilePath
from typing import TYPE_CHECKING, Any

from llmrouterd.config.keys import MEANT, Key, Keys
from llmrouterd.model import ConfigError
from llmrouterd.tomlpos import Path, find

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

_HUGE = 1e20  # more than any key can mean; Python refuses to print a number of 5000 digits
_BARE = re.compile(r"[A-Za-z0-9_-]+\Z")
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")


class Problems:
    """What is wrong with one file, and what is odd about it, each with its line."""

    def __init__(self, file: str, found: Mapping[Path, int]) -> None:
        self._file = file
        self._found = found
        self._problems: list[tuple[int, str]] = []
        self._warnings: list[tuple[int, str]] = []

    @property
    def folder(self) -> FilePath:
        """Where the file lies: what it names by a bare name is looked for there."""
        return FilePath(self._file).parent

    def add(self, path: Path, text: str) -> None:
        self._problems.append(self._line(path, text))

    def warn(self, path: Path, text: str) -> None:
        self._warnings.append(self._line(path, text))

    def warnings(self) -> tuple[str, ...]:
        return tuple(text for _, text in sorted(self._warnings, key=lambda entry: entry[0]))

    def settle(self) -> None:
        """Raise ConfigError with all problems in the order of the file, if there are any."""
        if self._problems:
            in_order = sorted(self._problems, key=lambda entry: entry[0])
            raise ConfigError(list(dict.fromkeys(text for _, text in in_order)))

    def _line(self, path: Path, text: str) -> tuple[int, str]:
        line = find(self._found, path)
        place = self._file if line is None else f"{self._file}:{line}"
        return line or 0, f"{place}: {dotted(path)}: {text}" if path else f"{place}: {text}"


def dotted(path: Path) -> str:
    """`routers[2].provider`; what is no bare key is quoted."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            text += ("." if text else "") + (part if _BARE.match(part) else quoted(part))
    return text


def quoted(text: str) -> str:
    """A text of the file inside a message: on one line, and not longer than one."""
    shown = text if len(text) <= 60 else text[:57] + "..."
    return '"' + shown.encode("unicode_escape").decode("ascii").replace('"', '\\"') + '"'


def nearest(word: str, known: Sequence[str]) -> str:
    """`; did you mean "provider"?`, or nothing where nothing is near."""
    meant = MEANT.get(word)
    near = [meant] if meant in known else difflib.get_close_matches(word, known, n=1)
    return f'; did you mean "{near[0]}"?' if near else ""


def read(problems: Problems, path: Path, table: Mapping[str, Any], keys: Keys) -> dict[str, Any]:
    """The values of all `keys`: what the file says where it is right, else the default."""
    for name in table.keys() - keys.keys():
        problems.add((*path, name), "unknown key" + nearest(name, list(keys)))
    values: dict[str, Any] = {}
    for name, key in keys.items():
        values[name] = key.default
        if name not in table:
            if key.required:
                problems.add(path, f'the key "{name}" is missing')
            continue
        wrong = fault(key, table[name])
        if wrong is not None:
            problems.add((*path, name), wrong)
        else:
            values[name] = float(table[name]) if key.kind == "number" else table[name]
    return values


def fault(key: Key, value: Any) -> str | None:
    """What is wrong with this value, or None."""
    return CHECKS[key.kind](key, value)


def got(value: Any) -> str:
    """The value as a message may show it (law 2)."""
    match value:
        case bool():
            return "got true" if value else "got false"
        case int() | float():
            return f"got {value}" if not abs(value) >= _HUGE else "got a number beyond measure"
        case str():
            return "got a text"
        case list():
            return "got a list"
        case dict():
            return "got a table"
        case _:
            return "got a date or time"


# ---- one check for each kind ---------------------------------------------------------------------


def _text(key: Key, value: Any) -> str | None:
    if not isinstance(value, str):
        words = " or ".join(f'"{word}"' for word in key.one_of)
        return f"expected {words or 'a text in quotes'}, {got(value)}"
    if key.one_of and value not in key.one_of:
        words = ", ".join(f'"{word}"' for word in key.one_of)
        return f"expected one of {words}, got {quoted(value)}{nearest(value, key.one_of)}"
    if key.filled and not value.strip():
        return "must not be empty"
    return "holds a control character" if _CONTROL.search(value) else None


def _prose(key: Key, value: Any) -> str | None:
    return _text(key, value.replace("\n", " ") if isinstance(value, str) else value)


def _texts(key: Key, value: Any) -> str | None:
    if not isinstance(value, list):
        return f'expected a list of texts like ["a", "b"], {got(value)}'
    for index, each in enumerate(value):
        if not isinstance(each, str):
            return f"expected a list of texts, {got(each)} in place {index}"
        if key.filled and not each.strip():
            return f"must not hold an empty text, as in place {index}"
        if key.one_of and each not in key.one_of:
            words = ", ".join(f'"{word}"' for word in key.one_of)
            hint = nearest(each, key.one_of)
            return f"expected some of {words}, got {quoted(each)} in place {index}{hint}"
    return None


def _text_or_texts(key: Key, value: Any) -> str | None:
    if isinstance(value, str):
        return _text(key, value)
    if not isinstance(value, list):
        return f"expected a text or a list of texts, {got(value)}"
    return _texts(key, value) if value else "must not be an empty list"


def _map(_: Key, value: Any) -> str | None:
    if not isinstance(value, dict):
        return f'expected a table like {{"name" = "value"}}, {got(value)}'
    wrong = [name for name, each in value.items() if not isinstance(each, str)]
    return f"{quoted(wrong[0])} must be a text, {got(value[wrong[0]])}" if wrong else None


def _counts(_: Key, value: Any) -> str | None:
    if not isinstance(value, dict):
        return f'expected a table like {{"name" = 2}}, {got(value)}'
    for name, each in value.items():
        if isinstance(each, bool) or not isinstance(each, int) or not 1 <= each < _HUGE:
            return f"{quoted(name)} must be a whole number of at least 1, {got(each)}"
    return None


def _lists(_: Key, value: Any) -> str | None:
    if not isinstance(value, dict):
        return f'expected a table like {{name = ["a", "b"]}}, {got(value)}'
    for name, each in value.items():
        wrong = _texts(Key("texts", filled=True), each)
        if wrong is not None:
            return f"{quoted(name)}: {wrong}"
    return None


def _whole(key: Key, value: Any) -> str | None:
    if isinstance(value, bool) or not isinstance(value, int) or not key.low <= value <= key.high:
        return f"expected a whole number{_range(key)}, {got(value)}"
    return None


def _number(key: Key, value: Any) -> str | None:
    right = isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < _HUGE
    if not right or not key.low <= value <= key.high:
        return f"expected a number{_range(key)}, {got(value)}"
    return None


def _range(key: Key) -> str:
    if math.isfinite(key.high):
        return f" from {key.low:g} to {key.high:g}"
    if math.isfinite(key.low):
        return f" of at least {key.low:g}"
    return ""


def _switch(_: Key, value: Any) -> str | None:
    return None if isinstance(value, bool) else f"expected true or false, {got(value)}"


def _table(_: Key, value: Any) -> str | None:
    return None if isinstance(value, dict) else f"expected a table, {got(value)}"


def _tables(_: Key, value: Any) -> str | None:
    if isinstance(value, dict):
        return "expected [[double brackets]], since there may be several; got a single table"
    if not isinstance(value, list) or not all(isinstance(each, dict) for each in value):
        return f"expected a list of tables, {got(value)}"
    return None


CHECKS: Mapping[str, Callable[[Key, Any], str | None]] = {
    "text": _text,
    "prose": _prose,
    "texts": _texts,
    "text or texts": _text_or_texts,
    "map": _map,
    "counts": _counts,
    "lists": _lists,
    "whole": _whole,
    "number": _number,
    "switch": _switch,
    "table": _table,
    "tables": _tables,
}
