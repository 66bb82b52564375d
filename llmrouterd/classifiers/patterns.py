"""Regular expressions that an owner writes, over texts that strangers write.

Owns: which patterns are taken, and where in a text they are looked for.
Refuses to know: what a find means.

Laws:
1. A repeated group that holds another repetition, or alternatives, is refused: on some texts such a
   pattern tries every way of cutting them up, and does not end.
2. A pattern sees one line at a time, and no more than WINDOW characters of it: what is left of
   backtracking stays small.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

WINDOW = 1024
_OVERLAP = 128
_TOKEN = re.compile(
    r"""(?sx)
    (?P<escape> \\ . )
  | (?P<set> \[ \^? \]? (?: \\ . | [^\]\\] )* \] )
  | (?P<open> \( )
  | (?P<close> \) )
  | (?P<bar> \| )
  | (?P<repeat> [*+] | \{ [0-9]* ,? [0-9]* \} ) [+?]?
  | (?P<maybe> \? )
  | (?P<other> . )
    """
)


def compiled(pattern: str) -> re.Pattern[str]:
    """The pattern, ready for `occurs`. Raises ValueError, in words."""
    try:
        made = re.compile(pattern, re.MULTILINE)
    except (re.error, OverflowError, RecursionError) as error:
        raise ValueError(f"not a regular expression: {error}") from None
    if made.match(""):
        raise ValueError("it is found in every text, even in an empty one")
    if _repeats_a_repetition(pattern):
        words = "a group with a repetition or alternatives in it is repeated itself"
        raise ValueError(f"{words}: on some texts that does not end; finding it once is enough")
    return made


def occurs(pattern: re.Pattern[str], text: str) -> bool:
    return any(pattern.search(window) for window in windows(text))


def windows(text: str) -> Iterator[str]:
    """Lines, and long ones cut with an overlap."""
    for line in text.split("\n"):
        if line:
            for start in range(0, max(1, len(line) - _OVERLAP), WINDOW - _OVERLAP):
                yield line[start : start + WINDOW]


def _repeats_a_repetition(pattern: str) -> bool:
    """Law 1. Of each open group is noted whether it holds such a thing; of the one that has just been
    closed, too."""
    groups = [False]
    closed = False  # whether the last item was a group that holds one
    for token in _TOKEN.finditer(pattern):
        kind, text = token.lastgroup, token.group()
        if kind == "open":
            groups.append(False)
        elif kind == "close" and len(groups) > 1:
            closed = groups.pop()
            groups[-1] = groups[-1] or closed
            continue
        elif kind == "bar":
            groups[-1] = True
        elif kind == "repeat" and _is_open(text):
            if closed:
                return True
            groups[-1] = True
        closed = False
    return False


def _is_open(repeat: str) -> bool:
    """Whether it may come any number of times, or many: `{3}` and `{1,3}` are small."""
    if repeat[0] in "*+":
        return True
    low, comma, high = repeat[1:].rstrip("+?").rstrip("}").partition(",")
    return bool(comma and not high) or int(high or low or 0) > 20
