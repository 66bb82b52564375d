"""DETECT: what in a text is about a person, or opens a door. Pure: texts in, spans out.

Owns: `DETECTORS`, the table of all kinds, and `find` over several of them.
Refuses to know: requests, tags, what becomes of a find. Classifiers tag with it, plugins may cover
with it.

Laws:
1. Conservative: a find is worth acting on. What could as well be an order number needs check digits
   or a word that names it.
2. Linear: twice the text takes twice the time, whatever the text; and a find needs no more memory
   than its own length.
3. No find is longer than LONGEST says, or depends on more than NEAR characters before it: a stream
   can be searched in windows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmrouterd.detect.contact import emails, phones
from llmrouterd.detect.money import cards, ibans
from llmrouterd.detect.national import national_ids
from llmrouterd.detect.secrets import api_keys, passwords, private_keys, tokens
from llmrouterd.detect.span import Span, merged

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

__all__ = ["DETECTORS", "LONGEST", "NEAR", "PII", "SECRETS", "Span", "find"]

# Of two finds that overlap, the kind that stands here first has both.
DETECTORS: Mapping[str, Callable[[str], Iterator[Span]]] = {
    "private-key": private_keys,
    "api-key": api_keys,
    "token": tokens,
    "password": passwords,
    "iban": ibans,
    "card": cards,
    "national-id": national_ids,
    "email": emails,
    "phone": phones,
}
PII = ("email", "phone", "iban", "card", "national-id")
SECRETS = ("api-key", "private-key", "token", "password")
# Characters, between which and the next ones a find of a kind may still grow.
LONGEST: Mapping[str, int] = {
    "private-key": 17_000,
    "api-key": 640,
    "token": 14_400,
    "password": 256,
    "iban": 70,
    "card": 32,
    "national-id": 32,
    "email": 480,
    "phone": 32,
}
NEAR = 128
_RANK = {kind: at for at, kind in enumerate(DETECTORS)}


def find(text: str, kinds: Iterable[str] = tuple(DETECTORS)) -> list[Span]:
    """Everything of these kinds, in order and without overlaps."""
    return merged(text, (span for kind in kinds for span in DETECTORS[kind](text)), _RANK)
