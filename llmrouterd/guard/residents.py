"""Which models lie in a server's memory, as far as its requests tell, and which one must go for another.

Owns: since when each is there, who used it since, and how long it is kept for them.
Refuses to know: who waits, what a server itself says, the clock: `now` is an argument.

Laws:
1. A model that a request is at work on is never the one that goes.
2. A model is kept for others only: whoever is alone with the server never waits for this.
3. It is kept for interactive requests against all, for batch ones against batch only.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from llmrouterd.guard.measured import Faded

_LONGEST_LOAD_S = 600.0  # more than that was not the loading


@dataclass(slots=True)
class Resident:
    """One model in memory. since: when the first request after its loading was over. users: who had it
    since then, and whether for batch work only."""

    model: str
    since: float
    used: float
    running: int = 0
    loading: bool = True  # or at the first request after that
    users: dict[str, bool] = field(default_factory=dict)


class Residents:
    """Of one provider. most: how many models it holds at a time; 0: nobody knows, so nothing is ever
    known of its memory."""

    def __init__(self, most: int, kept_s: float) -> None:
        self.most = most
        self.kept_s = kept_s
        self.load_s = Faded()  # what loading took, on top of the request itself
        self._in: dict[str, Resident] = {}

    def renew(self, most: int, kept_s: float) -> None:
        """The limits are others now. Without a number all is forgotten."""
        self.most, self.kept_s = most, kept_s
        if not most:
            self._in.clear()

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self._in)

    def must_swap(self, model: str) -> bool:
        """Whether another model has to go for this one."""
        return bool(self.most) and model not in self._in and len(self._in) >= self.most

    def holds(self, model: str) -> bool:
        return model in self._in

    def victim(self) -> Resident | None:
        """The one that would go: unused the longest. None: all of them are at work."""
        idle = [each for each in self._in.values() if not each.running]
        return min(idle, key=lambda each: each.used, default=None)

    def kept_until(self, victim: Resident, client: str, *, batch: bool) -> float:
        """Until when it stays although this client wants its place."""
        for_whom = [user for user, only_batch in victim.users.items() if batch or not only_batch]
        if all(user == client for user in for_whom):
            return victim.since
        return victim.since + self.kept_s

    def enter(self, model: str, client: str, now: float, *, batch: bool) -> bool:
        """A request goes to the model. Returns whether it has to be loaded first."""
        if not self.most:
            return False
        cold = model not in self._in
        if cold:
            self._make_room()
            self._in[model] = Resident(model, now, now)
        here = self._in[model]
        here.used = now
        here.running += 1
        here.users[client] = batch and here.users.get(client, True)
        return cold

    def _make_room(self) -> None:
        victim = self.victim() if len(self._in) >= self.most else None
        if victim is not None:
            del self._in[victim.model]

    def leave(self, model: str, now: float) -> None:
        here = self._in.get(model)
        if here is not None:
            if here.loading:
                here.since, here.loading = now, False
            here.used = now
            here.running = max(0, here.running - 1)  # it may have been forgotten meanwhile

    def loaded(self, took_s: float, now: float) -> None:
        """What a load took, as it was measured."""
        self.load_s.add(min(max(0.0, took_s), _LONGEST_LOAD_S), now)
