"""The labelled lines of tests/data/detect: what stands in them, and where.

A line marks what is to be found as ⟦kind:value⟧. ⏎ is the end of a line in the text, and ¦ is nothing:
it keeps keys, which are drawn by lot, from being taken for real ones by those who search repositories.
"""

import re
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).parent.parent / "data" / "detect"
_MARK = re.compile(r"⟦([a-z-]+):(.*?)⟧")


@dataclass(frozen=True, slots=True)
class Labelled:
    """One line. spans: (kind, from, to) of all that is to be found in it."""

    place: str
    text: str
    spans: frozenset[tuple[str, int, int]]


def read(line: str, place: str = "") -> Labelled:
    line = line.replace("¦", "").replace("⏎", "\n")
    text, spans, past = "", set(), 0
    for mark in _MARK.finditer(line.replace("\n", "⏎")):
        text += line[past : mark.start()]
        value = mark[2].replace("⏎", "\n")
        spans.add((mark[1], len(text), len(text) + len(value)))
        text += value
        past = mark.end()
    return Labelled(place, text + line[past:], frozenset(spans))


def all_lines() -> list[Labelled]:
    return [
        read(line, f"{path.name}:{number}")
        for path in sorted(FOLDER.glob("*.txt"))
        for number, line in enumerate(path.read_text("utf-8").split("\n"), 1)
        if line and not line.startswith("# ")
    ]
