"""How much of a conversation an Ollama server keeps in mind: one size for each model, kept.

Owns: which `num_ctx` a request is sent with, and whether a prompt seems to have been cut.
Refuses to know: how the size is written, how a prompt is estimated, the servers themselves.

Ollama loads a model anew when a request asks for another size than it is loaded with, and cuts
what does not fit without a word. So:

Laws:
1. A size that is configured is the model's size, unless somebody has loaded it with a larger one. Else
   it is the one that it is loaded with, else the first that somebody asked for.
2. It never shrinks, and it grows only where the owner said so, in steps: nothing is loaded anew
   because of one request.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

STEPS: Final = (4096, 8192, 16384, 32768, 65536, 131072, 262144, 524288, 1048576)
_KEPT = 512  # models remembered
_CUT_SHARE = 0.6  # of the estimate: a count below this is not the estimate's fault
_SMALL = 1000  # tokens: of shorter prompts nothing is said
Place = tuple[str, str]  # (provider, model)


class Contexts:
    """Mutable, one per daemon."""

    def __init__(self) -> None:
        self._sizes: OrderedDict[Place, int] = OrderedDict()

    def size(
        self,
        place: Place,
        *,
        configured: int,
        loaded: int,
        asked: int,
        needed: int,
        most: int,
        grow: bool,
    ) -> int | None:
        """The num_ctx to send; None: the server's own default holds.

        Args (tokens, 0 where nobody said): configured, by the owner; loaded, what the model lies in
        memory with; asked, by this client; needed, by this prompt and its answer; most, what the
        model can do. grow: the owner lets it grow.
        """
        if configured and not grow:
            return max(configured, loaded)
        base = max(configured, loaded, self._sizes.get(place, 0) if not loaded or grow else 0)
        wanted = max(asked, needed) if grow else asked
        if grow and wanted > base:
            base = _step(wanted, most)
        elif not base:
            base = asked
        if base:
            self._keep(place, base)
        return base or None

    def _keep(self, place: Place, size: int) -> None:
        self._sizes.pop(place, None)
        self._sizes[place] = size
        if len(self._sizes) > _KEPT:
            self._sizes.popitem(last=False)


def _step(wanted: int, most: int) -> int:
    size = next((step for step in STEPS if step >= wanted), wanted)
    return min(size, most) if most else size


def seems_cut(estimate: int, counted: int, size: int) -> bool:
    """Whether a server read less of a prompt than there was. estimate: corrected by what the model
    counted before; counted: what it says it read; size: of its context, 0 if unknown."""
    if estimate < _SMALL or counted >= estimate * _CUT_SHARE:
        return False
    return not size or estimate > size * _CUT_SHARE
