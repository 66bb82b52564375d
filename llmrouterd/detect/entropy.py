"""How much chance is in a text: what tells a key from a word.

Owns: the measure, and the judgement whether a value looks drawn by lot or made up by people.
Refuses to know: where the value stands.
"""

from __future__ import annotations

import math
import re
from collections import Counter

_MOST = 256  # characters looked at: enough to tell, whatever follows
_WORDS = re.compile(
    r"(?i)example|placeholder|changeme|change_me|replace|insert|dummy|sample|redacted|your[-_]?|"
    r"xxxx|\*\*\*|\.\.\.|0000000|1234567|abcdef|todo|fixme|<|>|\$\{|\{\{|%\("
)


def bits(text: str) -> float:
    """Shannon's entropy in bits a character, of the characters' frequencies in this very text."""
    text = text[:_MOST]
    size = len(text)
    return -sum(n / size * math.log2(n / size) for n in Counter(text).values()) if size else 0.0


def is_placeholder(text: str) -> bool:
    """Stands for a value, and says so."""
    return _WORDS.search(text[:_MOST]) is not None or len(set(text[:_MOST])) < 5


def is_drawn(text: str, least: float = 3.0) -> bool:
    """Looks like the work of chance: enough of it, with letters and digits, and no words in it."""
    text = text[:_MOST]
    mixed = any(c.isdigit() for c in text) and any(c.isalpha() for c in text)
    return mixed and not is_placeholder(text) and bits(text) >= least
