"""How the providers stand, told as it changes.

Owns: comparing the fleet with what was told of it last: health, circuit, pause, whether it answers.
Refuses to know: what any of that follows from, who listens.

Laws:
1. Told is a change, not a state: nobody hears of a provider that is as it was.
2. Looking asks nobody and costs as much as a page of metrics does of it: so it is done again and
   again, since a rest ends by the clock and nothing happens then.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import trio

from llmrouterd.model import Standing

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from llmrouterd.model import ProviderState, Telling

LOOK_S = 0.5


class Standings:
    """states: the providers as of now. paused: those that the operator left out."""

    def __init__(
        self,
        states: Callable[[], Mapping[str, ProviderState]],
        paused: Callable[[], Collection[str]],
        tell: Callable[[Telling], None],
    ) -> None:
        self._states = states
        self._paused = paused
        self._tell = tell
        self._known: dict[str, tuple[object, ...]] = {}

    async def run(self) -> None:
        while True:
            self.look()
            await trio.sleep(LOOK_S)

    def look(self) -> None:
        """Tell of those that have changed. What a provider is at first is no change."""
        known, self._known = self._known, {}
        for name, state in self._states().items():
            standing = _standing(name, state, paused=name in self._paused())
            self._known[name] = mark = standing.mark
            if known.get(name, mark) != mark:
                self._tell(standing)


class Latest:
    """Where several tell how the same providers stand: the first word of each change counts."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[object, ...]] = {}

    def is_news(self, standing: Standing) -> bool:
        known, mark = self._known.get(standing.provider), standing.mark
        self._known[standing.provider] = mark
        return known != mark


def _standing(name: str, state: ProviderState, *, paused: bool) -> Standing:
    return Standing(
        ts_ms=time.time_ns() // 1_000_000,
        provider=name,
        healthy=state.healthy,
        circuit="closed" if state.healthy else "resting" if state.resting else "open",
        paused=paused,
        reached=state.reached,
        why=state.why,
        back_s=state.back_s,
    )
