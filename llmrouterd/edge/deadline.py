"""One cancel scope per attempt, its deadline moved from phase to phase.

Owns: the four clocks of an attempt and the name of the one that ran out.
Refuses to know: what is done in a phase, what is told to the client when one expires.

Laws:
1. The total clock, when set, always bounds; a phase only ever shortens.
2. `expired` is set only when this scope's own deadline passed. A cancellation from above (client
   gone, drain) flies through and leaves it None.
3. A clock of 0 does not run.
4. `until` is the client's own time for an answer to begin: it bounds every phase, up to `begun`.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal

import trio

if TYPE_CHECKING:
    from types import TracebackType

    from llmrouterd.model import Clocks

Phase = Literal["connect", "send", "first_token", "idle"]


class Deadline:
    """`with Deadline(clocks) as d:` round an attempt; `d.enter(phase)` as it goes on.

    After the block, `expired` names the clock that ran out (a phase, or "total") and `expired_s`
    is what it was set to; None when none did. The block then ended early, without an exception.
    `connect_s`: how long making a connection took, once there is one; None where none was made.
    """

    __slots__ = (
        "_at",
        "_connecting_at",
        "_limits",
        "_total_at",
        "_total_s",
        "_until",
        "_until_s",
        "connect_s",
        "expired",
        "expired_s",
        "phase",
        "scope",
    )

    def __init__(self, clocks: Clocks, until: float = math.inf, until_s: float = math.inf) -> None:
        """until: a point in time on trio's clock. until_s: how long that was for the client."""
        # Sending has no clock of its own: a peer that takes no more bytes is as silent as one
        # that sends none. The pool starts this clock anew with each piece the peer has taken.
        self._limits: dict[Phase, float] = {
            "connect": clocks.connect_s or math.inf,
            "send": clocks.idle_s or math.inf,
            "first_token": clocks.first_token_s or math.inf,
            "idle": clocks.idle_s or math.inf,
        }
        self._total_s = clocks.total_s
        self._total_at = math.inf
        self._at = math.inf
        self._connecting_at = 0.0
        self.connect_s: float | None = None
        self._until = until
        self._until_s = until_s
        self.phase: Phase | Literal["total"] = "total"
        self.expired: Phase | Literal["total", "request"] | None = None
        self.expired_s = 0.0
        self.scope = trio.CancelScope()

    def __enter__(self) -> Deadline:
        if self._total_s:
            self._total_at = trio.current_time() + self._total_s
        self.off()
        self.scope.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        trace: TracebackType | None,
    ) -> bool | None:
        swallowed = self.scope.__exit__(kind, exc, trace)
        if self.scope.cancelled_caught:
            self._name_the_clock()
        return swallowed

    def enter(self, phase: Phase) -> None:
        """Start this phase's clock (anew, if it was running)."""
        now = trio.current_time()
        if phase == "connect":
            self._connecting_at = now
        elif self.phase == "connect":
            self.connect_s = now - self._connecting_at
        self.phase = phase
        self._move(min(now + self._limits[phase], self._total_at, self._until))

    def off(self) -> None:
        """Only the total clock runs: what follows is our time, or the client's."""
        self.phase = "total"
        self._move(min(self._total_at, self._until))

    def begun(self) -> None:
        """The answer is here, or its first content: the client waits no more. As `off`."""
        self._until = math.inf
        self.off()

    def _move(self, at: float) -> None:
        if at != self._at:
            self._at = self.scope.deadline = at

    def _name_the_clock(self) -> None:
        if self._at >= self._until:
            self.expired, self.expired_s = "request", self._until_s
        elif self.phase == "total" or self._at >= self._total_at:
            self.expired, self.expired_s = "total", self._total_s
        else:
            self.expired, self.expired_s = self.phase, self._limits[self.phase]
