"""Numbers in a text, by the shape in which people write them.

Owns: `Form` (how a number is written, what proves it, which words announce it) and finding forms.
Refuses to know: what any number means.

How: a block is a stretch of digits and of what stands between digits. Its shape has a 9 for each
digit, an A for each capital letter and an a for each small one, so that "AB 12 34" becomes
"AA 99 99"; a form says in which shapes it is written, and only where one occurs its digits are looked
at. Blocks of one shape are looked up once.

Laws:
1. A number is whole: no letter, digit or `_` before or after it, nor a separator with a digit.
2. Time is linear in the text: blocks do not overlap, and each is looked at a bounded number of times
   for each of its characters.
3. A shape that proves little counts only near a word that announces it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from llmrouterd.detect.span import Span

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

_BLOCK = re.compile(r"[0-9][0-9 ./()\u00a0\-+]{5,}")
_BEFORE, _AFTER = 3, 6  # letters beside the digits of a block that may belong to a number
_NEAR = 40  # characters before a number in which a word announces it
_PLAIN = str.maketrans(
    {**dict.fromkeys(map(str, range(10)), "9"), "\u00a0": " "}
    | dict.fromkeys("ABCDEFGHIJKLMNOPQRSTUVWXYZ", "A")
    | dict.fromkeys("abcdefghijklmnopqrstuvwxyz", "a")
)
_NO_NUMBER = re.compile(r"[9A]{20,}")  # longer than any: looked at nowhere
_JOINTS = "-./+"


@dataclass(frozen=True, slots=True)
class Form:
    """One kind of number. free: shapes that count anywhere. named: those that need one of `words`
    (lower case) shortly before. check: whether a number of such a shape is right; it gets the digits
    and capital letters without what stands between them. alone: it is no end of a longer row of
    digits with gaps."""

    name: str
    check: Callable[[str], bool]
    free: tuple[str, ...] = ()
    named: tuple[str, ...] = ()
    words: tuple[str, ...] = ()
    alone: bool = False


_INSIDE = ("9", "A")
_Place = tuple[int, int, Form, bool]  # from, to (in a block), the form, whether a word is needed


def numbers(text: str, kind: str, forms: Sequence[Form]) -> Iterator[Span]:
    """Every number in one of these forms, as spans of this kind. Where several forms claim one place,
    the first of the list has it."""
    known: dict[str, list[_Place]] = {}
    for block in _BLOCK.finditer(text):
        begin = max(0, block.start() - _BEFORE)
        shape = _NO_NUMBER.sub(_hidden, text[begin : block.end() + _AFTER].translate(_PLAIN))
        places = known.get(shape)
        if places is None:
            places = known[shape] = _places(shape, forms)
        for start, end, form, needs_word in places:
            span = _proved(text, begin + start, begin + end, form, needs_word=needs_word)
            if span is not None:
                yield Span(*span, kind, text[span[0] : span[1]], form.name)


def _places(shape: str, forms: Sequence[Form]) -> list[_Place]:
    """Where in a shape which form may stand."""
    found: list[_Place] = []
    for form in forms:
        for needs_word, written in ((False, form.free), (True, form.named)):
            for each in written:
                size = len(each)
                found.extend(
                    (at, at + size, form, needs_word)
                    for at in _occurrences(shape, each)
                    if shape[at - 1 : at] not in _INSIDE
                    and shape[at + size : at + size + 1] not in _INSIDE
                )
    return found


def _hidden(run: re.Match[str]) -> str:
    return "x" * len(run.group())


def _occurrences(shape: str, each: str) -> Iterator[int]:
    at = shape.find(each)
    while at >= 0:
        yield at
        at = shape.find(each, at + 1)


def _proved(
    text: str, start: int, end: int, form: Form, *, needs_word: bool
) -> tuple[int, int] | None:
    if not is_whole(text, start, end) or (form.alone and _in_a_row(text, start, end)):
        return None
    bare = "".join(each for each in text[start:end] if each.isalnum())
    if not form.check(bare) or (needs_word and not announced(text, start, form.words)):
        return None
    return start, end


def is_whole(text: str, start: int, end: int) -> bool:
    """Nothing at its edges says that this is a part of something longer."""
    if start and _belongs(text[start - 1], text[start - 2 : start - 1]):
        return False
    return end >= len(text) or not _belongs(text[end], text[end + 1 : end + 2])


def _in_a_row(text: str, start: int, end: int) -> bool:
    before, after = text[max(0, start - 2) : start], text[end : end + 2]
    return (before[:1].isdigit() and before[1:] in " ()/") or (
        after[1:].isdigit() and after[0] in " ()/"
    )


def _belongs(edge: str, beyond: str) -> bool:
    if edge in _JOINTS:
        return beyond.isdigit() or (edge == "-" and beyond.isalpha())
    return edge == "_" or (edge.isascii() and edge.isalnum()) or edge.isdigit()


def announced(text: str, start: int, words: Sequence[str], near: int = _NEAR) -> bool:
    """Whether one of the words stands shortly before this place, as a word of its own."""
    before = text[max(0, start - near) : start].lower()
    return any(_has_word(before, word) for word in words)


def _has_word(text: str, word: str) -> bool:
    at = text.find(word)
    while at >= 0:
        after = text[at + len(word) : at + len(word) + 1]
        if not word.isascii() or not (
            (at and text[at - 1].isalnum()) or (len(word) < 5 and after.isalnum())
        ):
            return True
        at = text.find(word, at + 1)
    return False
