"""What real usage teaches the estimate of a prompt's tokens.

Owns: one factor a model, and which providers cannot count.
Refuses to know: how an estimate is made (route/estimate.py), who wants it.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from formats.canonical import Usage
    from llmrouterd.model import Candidate

_LEARNED = 256  # models remembered
_WEIGHT = 0.2  # of the newest observation
_LEAST, _MOST = 0.5, 2.0  # a factor beyond these is not the tokenizer's doing
_SMALL = 50  # tokens: below this the server's own template is most of the count


class Calibration:
    """What real usage says about the estimate: model -> real tokens for each estimated one.

    An exponential average; the models that were seen last are remembered.
    """

    def __init__(self) -> None:
        self._factors: OrderedDict[tuple[str, str], float] = OrderedDict()
        self.cannot: set[str] = set()  # providers that said they have no counter

    def learn(self, place: Candidate, estimate: int, usage: Usage | None) -> None:
        """One answer's real figure beside what had been estimated."""
        real = usage.input if usage is not None else None
        if real is None or estimate < _SMALL or real < _SMALL:
            return
        key = (place.provider, place.model)
        seen = min(_MOST, max(_LEAST, real / estimate))
        known = self._factors.pop(key, None)
        self._factors[key] = seen if known is None else known + _WEIGHT * (seen - known)
        if len(self._factors) > _LEARNED:
            self._factors.popitem(last=False)

    def factor(self, place: Candidate | None) -> float:
        """1.0 for a model of which nothing is known."""
        if place is None:
            return 1.0
        return self._factors.get((place.provider, place.model), 1.0)
