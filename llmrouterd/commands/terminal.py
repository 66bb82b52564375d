"""Text for a terminal: harmless, measured in columns, cut to fit.

Owns: what of a foreign text may reach a terminal, how many columns it takes, styled lines.
Refuses to know: what the text says, curses.

Laws:
1. What came over a wire passes `clean` before it is printed: no control character, no escape
   sequence, nothing that turns the direction of writing, nothing invisible.
2. A column count is a terminal's: East Asian wide characters take two, combining marks none.
"""

from __future__ import annotations

import unicodedata
from functools import cache
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_MARKS = 3  # combining marks that may stand on one character
_REPLACED = "\ufffd"
_NAME_LENGTH = 300
# Cc: control, Cf: format (direction, joiners), Cs, Co, Cn: nothing a terminal could show
_HARMFUL = frozenset({"Cc", "Cf", "Cs", "Co", "Cn"})
_LINE_ENDS = "\n\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029"
_BLANK_LETTERS = "\u115f\u1160\u3164\uffa0\u2800"  # Hangul fillers and an empty Braille cell
_ASCII = str.maketrans(
    {
        "\u2500": "-",
        "\u2502": "|",
        "\u252c": "+",
        "\u2190": "<",
        "\u2192": ">",
        "\u2026": "~",
        "\u2191": "^",
        "\u2193": "v",
        "\u25cf": "*",
        "\u25cb": "o",
        "\u00b7": ".",
        "\u2713": "+",
        "\u2717": "x",
        "\u25b8": ">",
        "\u2588": "#",
        "\u2591": ".",
        "\u2248": "~",
    }
)
_ANSI = {
    "dim": "2",
    "bold": "1",
    "good": "32",
    "bad": "31",
    "warn": "33",
    "accent": "36",
    "tag": "35",
}


class Span(NamedTuple):
    """A piece of a line in one style: "", dim, bold, good, bad, warn, accent, tag, bar, head, chosen."""

    text: str
    style: str = ""


Line = tuple[Span, ...]


def clean(text: object, *, limit: int = _NAME_LENGTH) -> str:
    """A foreign text as one harmless line of at most `limit` characters."""
    return " ".join(clean_lines(text, limit=limit))


def clean_lines(text: object, *, limit: int) -> list[str]:
    """The same as the lines it has."""
    words = text if isinstance(text, str) else "" if text is None else str(text)
    if len(words) > limit:
        words = words[: limit - 1] + "\u2026"
    words = words.replace("\r\n", "\n").replace("\r", "\n").replace("\t", "    ")
    for end in _LINE_ENDS[1:]:
        words = words.replace(end, "\n")
    return [_harmless(line) for line in words.split("\n")]


def _harmless(line: str) -> str:
    if line.isascii() and line.isprintable():
        return line
    out: list[str] = []
    marks = 0
    for char in line:
        kind = unicodedata.category(char)
        marks = marks + 1 if kind in ("Mn", "Me") else 0
        if kind in _HARMFUL or char in _BLANK_LETTERS:
            out.append(_REPLACED)
        elif not marks or (marks <= _MARKS and out and not _is_selector(char)):
            out.append(char)
    return "".join(out)


def _is_selector(char: str) -> bool:
    """A variation selector: terminals do not agree on how wide it makes what it stands behind."""
    return "\ufe00" <= char <= "\ufe0f" or "\U000e0100" <= char <= "\U000e01ef"


@cache
def _columns(char: str) -> int:
    if unicodedata.category(char) in ("Mn", "Me") or "\u1160" <= char <= "\u11ff":
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1


def width(text: str) -> int:
    """The columns that a clean text takes."""
    return len(text) if text.isascii() else sum(map(_columns, text))


def cut(text: str, columns: int) -> str:
    """As much of a clean text as fits, with an ellipsis where something is missing."""
    if width(text) <= columns:
        return text
    return _head(text, columns - 1) + "\u2026" if columns > 0 else ""


def _head(text: str, columns: int) -> str:
    return text[: _reach(text, 0, columns)]


def _reach(text: str, start: int, columns: int) -> int:
    """Where the columns are full, from `start` on."""
    at, used = start, 0
    while at < len(text):
        used += _columns(text[at])
        if used > columns:
            break
        at += 1
    return at


def fit(text: str, columns: int) -> str:
    """A clean text in exactly so many columns."""
    text = cut(text, columns)
    return text + " " * (columns - width(text))


def fit_right(text: str, columns: int) -> str:
    """The same, at the right."""
    text = cut(text, columns)
    return " " * (columns - width(text)) + text


def wrap(text: str, columns: int) -> Iterator[str]:
    """A clean line in lines of at most so many columns, at spaces where there are some."""
    columns = max(columns, 2)
    at = 0
    while (end := _reach(text, at, columns)) < len(text):
        space = text.rfind(" ", at, end + 1)
        if space > at:
            yield text[at:space].rstrip()
            at = space + 1
        else:
            yield text[at:end]
            at = end
    yield text[at:]


def line_width(line: Iterable[Span]) -> int:
    return sum(width(span.text) for span in line)


def cut_line(line: Iterable[Span], columns: int) -> Line:
    """As much of a line as fits."""
    out: list[Span] = []
    for text, style in line:
        if columns <= 0:
            break
        text = cut(text, columns)
        columns -= width(text)
        out.append(Span(text, style))
    return tuple(out)


def fit_line(line: Iterable[Span], columns: int, style: str = "") -> Line:
    """A line in exactly so many columns. style: of all of it, over its own."""
    shown = cut_line(line, columns)
    if style:
        shown = tuple(Span(text, style) for text, _ in shown)
    left = columns - line_width(shown)
    return (*shown, Span(" " * left, style)) if left > 0 else shown


def as_ascii(text: str) -> str:
    """For a terminal that shows nothing else; in as many columns."""
    text = text.translate(_ASCII)
    return text if text.isascii() else "".join(c if c < "\x7f" else "?" * _columns(c) for c in text)


def painted(line: Iterable[Span], *, colours: bool) -> str:
    """A line as text for a terminal that scrolls."""
    out: list[str] = []
    for text, style in line:
        code = _ANSI.get(style) if colours and text.strip() else None
        out.append(f"\x1b[{code}m{text}\x1b[0m" if code else text)
    return "".join(out).rstrip()
