"""Where in a TOML file a key stands: tomllib gives the values, this gives the line numbers.

Owns: the way from a key's path, `("routers", 2, "provider")`, to the line that holds it.
Refuses to know: what a key means, and whether the file is right.

Laws:
1. It reads only text that tomllib has accepted, so it checks nothing.
2. It never raises: a line number decorates an error, it must not become one. What it could not
   follow has no line, and `find` then answers with that of the table round it.
"""

from __future__ import annotations

import bisect
import contextlib
import re
import tomllib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

Path = tuple[str | int, ...]

_GAP = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_PART = re.compile(r"""[A-Za-z0-9_-]+|"(?:\\.|[^"\\\n])*"|'[^'\n]*'""")
_DOT = re.compile(r"[ \t]*\.[ \t]*")
_EQUALS = re.compile(r"[ \t]*=[ \t]*")
# The long forms first: "" is an empty string, \"\"\" opens one that may hold lines and quotes.
_STRING = re.compile(
    r'''"""(?:\\.|[^\\])*?"""(?:"{0,2})|\'\'\'.*?\'\'\'(?:'{0,2})|"(?:\\.|[^"\\\n])*"|'[^'\n]*\'''',
    re.DOTALL,
)
_SCALAR = re.compile(r"[^,\]}#\n]+")  # a date may hold a space


def lines(text: str) -> Mapping[Path, int]:
    """Line numbers, from 1, of every key, table and array element of a valid TOML text."""
    scanner = _Scanner(text)
    # law 2: keep what was found so far, also when tomllib would not have accepted a quoted key
    with contextlib.suppress(_LostError, tomllib.TOMLDecodeError, RecursionError):
        scanner.document()
    return scanner.found


def find(found: Mapping[Path, int], path: Path) -> int | None:
    """The line of `path`, or of the nearest thing round it that has one."""
    for end in range(len(path), 0, -1):
        if (line := found.get(path[:end])) is not None:
            return line
    return None


class _LostError(Exception):
    """The scanner does not recognise what it sees."""


class _Scanner:
    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.found: dict[Path, int] = {}
        self.ends = [match.start() for match in re.finditer("\n", text)]
        self.counts: dict[Path, int] = {}  # how many [[tables]] a name has so far

    def document(self) -> None:
        table: Path = ()
        while True:
            self.skip(_GAP)
            if self.at >= len(self.text):
                return
            if self.text.startswith("[", self.at):
                table = self.header()
            else:
                self.pair(table)

    def header(self) -> Path:
        """`[a.b]` or `[[a.b]]`: the path of the table that it opens."""
        start, many = self.at, self.text.startswith("[[", self.at)
        self.at += 2 if many else 1
        self.skip(_GAP)
        keys = self.key()
        self.skip(_GAP)
        self.at += 2 if many else 1
        path: Path = ()
        for index, name in enumerate(keys):
            path = (*path, name)
            self.note(path, start)
            if many and index == len(keys) - 1:
                self.counts[path] = self.counts.get(path, 0) + 1
            if path in self.counts:  # the newest element of an array of tables is meant
                path = (*path, self.counts[path] - 1)
                self.note(path, start)
        return path

    def pair(self, table: Path) -> None:
        """`key = value`, where the key may be dotted."""
        start, path = self.at, table
        for name in self.key():
            path = (*path, name)
            self.note(path, start)
        self.expect(_EQUALS)
        self.value(path)

    def value(self, path: Path) -> None:
        if self.text.startswith("[", self.at):
            self.array(path)
        elif self.text.startswith("{", self.at):
            self.inline_table(path)
        elif self.text.startswith(('"', "'"), self.at):
            self.expect(_STRING)
        else:
            self.expect(_SCALAR)

    def array(self, path: Path) -> None:
        self.at += 1
        index = 0
        while not self.closes("]"):
            self.note((*path, index), self.at)
            self.value((*path, index))
            index += 1

    def inline_table(self, path: Path) -> None:
        self.at += 1
        while not self.closes("}"):
            self.pair(path)

    def closes(self, bracket: str) -> bool:
        """Step over blanks and a comma; whether the closing bracket came, and step over it too."""
        self.skip(_GAP)
        if self.text.startswith(",", self.at):
            self.at += 1
            self.skip(_GAP)
        if self.text.startswith(bracket, self.at):
            self.at += 1
            return True
        return False

    def key(self) -> list[str]:
        names = [_unquote(self.expect(_PART))]
        while self.skip(_DOT):
            names.append(_unquote(self.expect(_PART)))
        return names

    def note(self, path: Path, at: int) -> None:
        self.found.setdefault(path, bisect.bisect_left(self.ends, at) + 1)

    def skip(self, pattern: re.Pattern[str]) -> bool:
        match = pattern.match(self.text, self.at)
        if match is None:
            return False
        self.at = match.end()
        return True

    def expect(self, pattern: re.Pattern[str]) -> str:
        start = self.at
        if not self.skip(pattern) or self.at == start:
            raise _LostError
        return self.text[start : self.at]


def _unquote(key: str) -> str:
    if key[0] not in "\"'":
        return key
    return str(tomllib.loads(f"k = {key}")["k"])
