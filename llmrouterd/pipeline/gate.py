"""The places of a provider that serves only so many at a time, as tasks see them.

Owns: one event for each task that waits, telling those tasks of their positions, and the one timer.
Refuses to know: whose turn it is (guard/fairqueue.py), what is done with a place.

Laws:
1. Whoever entered leaves, in `finally`, synchronously; a place that was granted to a task that was
   being cancelled just then is passed on by that.
2. A position is told at once, and after that when it changes, at last as 0; in all at most four times
   a second.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

import trio

from llmrouterd.guard.fairqueue import FairQueue, Place, Waiter

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from llmrouterd.guard.fairqueue import Refusal
    from llmrouterd.model import Slots

TELL_S = 0.34  # three in a second, and the one that says that it begins


@dataclass(slots=True, eq=False)
class Ticket:
    """A task's own side of a Waiter. tell: None where nobody listens. heard: called with `changed`, for
    whoever is no task of this process."""

    waiter: Waiter
    tell: Callable[[Place], None] | None = None
    changed: trio.Event = field(default_factory=trio.Event)
    told: int = 0  # the position
    told_at: float = -math.inf
    heard: Callable[[], None] | None = None


class Places(Protocol):
    """What a request sees of a provider's places, wherever they are counted."""

    async def enter(self, ticket: Ticket) -> Refusal | None:
        """Wait for a place. Cancelled and called again it goes on waiting; `leave` must follow."""

    def leave(self, ticket: Ticket, *, served: bool) -> None: ...


class Timer:
    """When gates have something to do although nobody comes or goes. `run` is its one task."""

    def __init__(self) -> None:
        self._gates: dict[Gate, None] = {}
        self._set = trio.Event()

    def watch(self, gate: Gate) -> None:
        self._gates[gate] = None

    def reset(self) -> None:
        self._set.set()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        task_status.started()
        while True:
            self._set = trio.Event()
            with trio.move_on_at(min((gate.wake_at for gate in self._gates), default=math.inf)):
                await self._set.wait()
            now = trio.current_time()
            for gate in self._gates:
                if gate.wake_at <= now:
                    gate.poll(now)


class Gate:
    """Of one provider."""

    def __init__(self, slots: Slots, timer: Timer) -> None:
        self.queue = FairQueue(slots)
        self.wake_at = math.inf
        self._timer = timer
        self._tickets: dict[Waiter, Ticket] = {}
        self._told_at = -math.inf
        timer.watch(self)

    def renew(self, slots: Slots) -> None:
        """Its limits are others now."""
        self.queue.limits = slots
        self.queue.residents.renew(slots.max_loaded, slots.residency_s)
        self.poll(trio.current_time())

    async def enter(self, ticket: Ticket) -> Refusal | None:
        """As Places has it."""
        waiter = ticket.waiter
        if waiter.state == "new":
            self.offer(ticket)
        while waiter.state == "waiting":
            with trio.move_on_at(waiter.deadline) as patience:
                await ticket.changed.wait()
            if patience.cancelled_caught:
                now = trio.current_time()
                self._heard(self.queue.expire(waiter, now), now)
        return waiter.refusal

    def offer(self, ticket: Ticket) -> None:
        """It wants a place. `changed` is set when it has one, or is refused."""
        self._tickets[ticket.waiter] = ticket
        now = trio.current_time()
        self._heard(self.queue.offer(ticket.waiter, now), now, newcomer=ticket)

    def leave(self, ticket: Ticket, *, served: bool) -> None:
        now = trio.current_time()
        self._tickets.pop(ticket.waiter, None)
        self._heard(self.queue.leave(ticket.waiter, now, served=served), now)

    def poll(self, now: float) -> None:
        self._heard(self.queue.poll(now), now)

    # --- telling ----------------------------------------------------------------------------------

    def _heard(
        self, changed: Iterable[Waiter], now: float, *, newcomer: Ticket | None = None
    ) -> None:
        for waiter in changed:
            ticket = self._tickets.get(waiter)
            if ticket is not None:
                ticket.changed.set()
                if ticket.heard is not None:
                    ticket.heard()
                if ticket.told and waiter.state == "running":
                    self._tell(ticket, Place(0, 0.0), now)
        if newcomer is not None and newcomer.waiter.state == "waiting":
            self._tell(newcomer, self.queue.places(now)[newcomer.waiter], now)
        wake_at = min(self.queue.wake_at, self._tell_others(now))
        if wake_at != self.wake_at:
            self.wake_at = wake_at
            self._timer.reset()

    def _tell_others(self, now: float) -> float:
        """Tell whoever has another position now. Returns when to look again."""
        if not self.queue.waiting or not any(each.tell for each in self._tickets.values()):
            return math.inf
        if now < self._told_at + TELL_S:
            return self._told_at + TELL_S
        self._told_at, again = now, math.inf
        for waiter, place in self.queue.places(now).items():
            ticket = self._tickets[waiter]
            if ticket.tell is None or ticket.told == place.position:
                continue
            if now < ticket.told_at + TELL_S:
                again = min(again, ticket.told_at + TELL_S)
            else:
                self._tell(ticket, place, now)
        return again

    def _tell(self, ticket: Ticket, place: Place, now: float) -> None:
        if ticket.tell is not None:
            ticket.told, ticket.told_at = place.position, now
            ticket.tell(place)
