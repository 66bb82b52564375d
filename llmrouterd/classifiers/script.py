"""In which script a text is written, and of which language that is a sign.

Owns: the ranges of scripts, and the guess.
Refuses to know: words of any language: Latin letters say nothing here.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter

# First character, last character, script: the letters of each, in order.
_RANGES: tuple[tuple[int, int, str], ...] = (
    (0x0041, 0x005A, "latin"),
    (0x0061, 0x007A, "latin"),
    (0x00C0, 0x024F, "latin"),
    (0x0370, 0x03FF, "greek"),
    (0x0400, 0x052F, "cyrillic"),
    (0x0531, 0x058F, "armenian"),
    (0x0590, 0x05FF, "hebrew"),
    (0x0600, 0x06FF, "arabic"),
    (0x0750, 0x077F, "arabic"),
    (0x0900, 0x097F, "devanagari"),
    (0x0980, 0x09FF, "bengali"),
    (0x0A00, 0x0A7F, "gurmukhi"),
    (0x0A80, 0x0AFF, "gujarati"),
    (0x0B80, 0x0BFF, "tamil"),
    (0x0C00, 0x0C7F, "telugu"),
    (0x0E00, 0x0E7F, "thai"),
    (0x10A0, 0x10FF, "georgian"),
    (0x1100, 0x11FF, "hangul"),
    (0x1E00, 0x1EFF, "latin"),
    (0x3040, 0x30FF, "kana"),
    (0x3400, 0x4DBF, "han"),
    (0x4E00, 0x9FFF, "han"),
    (0xAC00, 0xD7AF, "hangul"),
)
_FIRST = [first for first, _, _ in _RANGES]
SCRIPTS = tuple(dict.fromkeys(script for _, _, script in _RANGES))
_LANGUAGE = {
    "greek": "el",
    "cyrillic": "ru",
    "armenian": "hy",
    "hebrew": "he",
    "arabic": "ar",
    "devanagari": "hi",
    "bengali": "bn",
    "gurmukhi": "pa",
    "gujarati": "gu",
    "tamil": "ta",
    "telugu": "te",
    "thai": "th",
    "georgian": "ka",
    "hangul": "ko",
    "kana": "ja",
    "han": "zh",
}
_TELLING = (("cyrillic", "ієїґ", "uk"), ("arabic", "پچژگ", "fa"))
LANGUAGES = tuple(sorted({*_LANGUAGE.values(), *(language for _, _, language in _TELLING)}))
_READ = 4000  # characters: more do not change the guess
_SHARE = 0.3  # of the letters: names and words of programs are Latin in every language
_KANA = 0.05  # Japanese is written with Han, too; Chinese has no kana


def script_of(text: str) -> str | None:
    """The script that is not Latin and has a good share of the letters; else Latin; None where there
    are no letters."""
    counts = _counted(text[:_READ])
    total = sum(counts.values())
    if not total:
        return None
    if counts["kana"] > _KANA * total and counts["kana"] + counts["han"] > _SHARE * total:
        return "kana"
    others = [(n, script) for script, n in counts.items() if script != "latin"]
    most, script = max(others, default=(0, ""))
    if most >= _SHARE * total:
        return script
    return "latin" if counts["latin"] else script


def language_of(text: str) -> str | None:
    """The language that is mostly written so; None for Latin, in which too many are."""
    script = script_of(text)
    for of, letters, language in _TELLING:
        if script == of and any(each in letters for each in text[:_READ].lower()):
            return language
    return None if script is None else _LANGUAGE.get(script)


def _counted(text: str) -> Counter[str]:
    counts: Counter[str] = Counter()
    for each, number in Counter(text).items():
        at = bisect_right(_FIRST, ord(each)) - 1
        if at >= 0 and ord(each) <= _RANGES[at][1]:
            counts[_RANGES[at][2]] += number
    return counts
