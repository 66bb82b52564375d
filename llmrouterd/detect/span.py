"""What a detector has found: a place in a text, and of what kind it is.

Owns: `Span`, and how spans that overlap become one.
Refuses to know: what is looked for, and what is done with it.

Law: a span shows its value to nobody who only prints it: it is the very thing to be kept secret.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


@dataclass(frozen=True, slots=True)
class Span:
    """`text[start:end] == value`. kind: the detector's ("email", "card", ...). form: more precisely,
    where there is more to say ("pl-pesel", "github")."""

    start: int
    end: int
    kind: str
    value: str = field(repr=False)
    form: str = ""


def merged(text: str, spans: Iterable[Span], rank: Mapping[str, int]) -> list[Span]:
    """In order, and none over another: of two that overlap one is made, over all that either of them
    covers, of the kind that ranks lower. So nothing that was found is left uncovered."""
    out: list[Span] = []
    for span in sorted(spans, key=lambda each: (each.start, -each.end)):
        if out and span.start < out[-1].end:
            out[-1] = _union(text, out[-1], span, rank)
        else:
            out.append(span)
    return out


def _union(text: str, one: Span, two: Span, rank: Mapping[str, int]) -> Span:
    chief = two if rank.get(two.kind, len(rank)) < rank.get(one.kind, len(rank)) else one
    start, end = min(one.start, two.start), max(one.end, two.end)
    return Span(start, end, chief.kind, text[start:end], chief.form)
