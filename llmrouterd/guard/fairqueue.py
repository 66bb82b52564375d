"""Who gets the next place at a provider that serves only so many requests at a time.

Owns: the places, the bounded queue before them, its order, and the estimate of when somebody's turn
comes.
Refuses to know: tasks, sockets, the clock (`now` is an argument, monotonic seconds), what a request
says.

The order: interactive before batch; among those the client that has had the least; of one client
first come, first served. Where a server holds only some models at a time, requests for those in its
memory may go before, for a bounded time.

Laws:
1. Never more at work than the limits allow, and a free place is not kept from somebody who may have
   it, but for the residency of a model (residents.py).
2. What a client has had is measured: the seconds it held places, charged by an estimate when it gets
   one, put right when it leaves. Whoever comes back starts level with the least served: credit is
   not saved up, and when nobody is left all is forgotten.
3. Batch requests count as interactive after `batch_wait_s`. A request that is next in order and not
   taken, for the sake of the models in memory, is taken after `swap_wait_s`, or when the residency of
   the model that must go is over, whichever is later.
4. A full queue gives up the newest batch request of the client that has most in it, else the newest
   of that client: nobody is kept out by another one's flood.
5. Every waiter ends in `leave`, whatever state it is in, and that is what passes its place on.
"""

from __future__ import annotations

import heapq
import math
from collections import Counter
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Literal

from llmrouterd.guard.measured import Faded
from llmrouterd.guard.residents import Residents

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from llmrouterd.model import Slots

ANSWER_TOKENS = 300.0  # of an answer where nobody ever told how many it had
UNKNOWN_S = 5.0  # what a request is charged while nothing has been measured
_SOONEST_S = 1.0  # the least that a client is told to stay away


@dataclass(frozen=True, slots=True)
class Refusal:
    """No place, and none in the queue. away: whoever knows who is at work is not there. estimate_s: until
    its turn would have come, if anybody knows. retry_after_s: when there may be room."""

    why: Literal["full", "late", "timeout", "away"]
    waiting: int
    estimate_s: float | None
    retry_after_s: float


@dataclass(slots=True, eq=False)
class Waiter:
    """One request that wants a place. tokens: its prompt, in tokens of an answer that would take as
    long; answer: tokens of its answer at most, inf where it does not say. Set before it leaves, where
    they are known: tokens as they were, and answered. The rest is the queue's."""

    client: str
    model: str
    tokens: float
    batch: bool = False
    answer: float = 0.0
    until: float = math.inf  # its client waits no longer
    answered: float | None = None
    state: Literal["new", "waiting", "running", "gone"] = "new"
    refusal: Refusal | None = None
    order: int = 0
    arrived: float = 0.0
    deadline: float = math.inf
    started: float = 0.0
    charged_s: float = 0.0
    cold: bool = False  # its model had to be loaded
    put_behind: float | None = None  # since when others go before it for their model's sake


@dataclass(frozen=True, slots=True)
class Place:
    """position: 1 is next. estimate_s: until it starts; None while nothing has been measured."""

    position: int
    estimate_s: float | None


@dataclass(frozen=True, slots=True)
class Snapshot:
    """For people to look at. clients: name -> (at work, waiting)."""

    running: int
    waiting: int
    clients: dict[str, tuple[int, int]]
    models: dict[str, int]
    loaded: tuple[str, ...]


class _Pace:
    """How long requests take: a mean of seconds and one of tokens, so that a size gives a time; and how
    long answers usually are."""

    __slots__ = ("_answers", "_seconds", "_tokens")

    def __init__(self) -> None:
        self._seconds, self._tokens, self._answers = Faded(), Faded(), Faded()

    def add(self, seconds: float, waiter: Waiter, now: float) -> None:
        if waiter.answered is not None:
            self._answers.add(waiter.answered, now)
        self._seconds.add(seconds, now)
        self._tokens.add(self._size(waiter), now)

    def of(self, waiter: Waiter) -> float | None:
        if self._seconds.value is None or not self._tokens.value:
            return None
        return self._seconds.value * self._size(waiter) / self._tokens.value

    def _size(self, waiter: Waiter) -> float:
        answer = waiter.answered
        if answer is None:
            usual = self._answers.value
            answer = min(waiter.answer, ANSWER_TOKENS if usual is None else usual)
        return max(waiter.tokens + answer, 1.0)


class FairQueue:
    """Of one provider. What an operation lets in or turns away it returns, to be told."""

    def __init__(self, limits: Slots) -> None:
        self.limits = limits
        self.residents = Residents(limits.max_loaded, limits.residency_s)
        self.wake_at = math.inf  # when `poll` may have somebody to let in
        self._waiting: dict[Waiter, None] = {}
        self._running: dict[Waiter, None] = {}
        self._had: dict[str, float] = {}  # seconds, by client, on a scale of their own
        self._floor = 0.0  # of whoever has had the least
        self._active: Counter[str] = Counter()
        self._at: Counter[str] = Counter()  # at work, by model
        self._orders = 0
        self._paces: dict[str, _Pace] = {}
        self._pace = _Pace()

    # --- coming and going -------------------------------------------------------------------------

    def offer(self, waiter: Waiter, now: float) -> list[Waiter]:
        """It wants a place. Afterwards it is running, waiting, or gone with its refusal."""
        assert waiter.state == "new"
        self._orders += 1
        waiter.order, waiter.arrived = self._orders, now
        waiter.deadline = min(waiter.until, now + (self.limits.timeout_s or math.inf))
        self._enter(waiter)
        changed = self._let_in(now)
        if waiter in self._waiting:
            changed += self._bounded(waiter, now)
        return changed

    def leave(self, waiter: Waiter, now: float, *, served: bool = False) -> list[Waiter]:
        """It is over, or no longer wanted. served: an answer came, so its time is typical."""
        state, waiter.state = waiter.state, "gone"
        if state == "waiting":
            del self._waiting[waiter]
        elif state == "running":
            del self._running[waiter]
            self._settle(waiter, now, served=served)
        else:
            return []
        self._exit(waiter)
        return self._let_in(now)

    def adopt(self, waiter: Waiter, now: float, held_s: float) -> None:
        """It is at work, and has been for so long: a queue that begins anew is told so."""
        self._orders += 1
        waiter.order, waiter.arrived = self._orders, now - held_s
        self._enter(waiter)
        self._begin(waiter, now)
        waiter.started = now - held_s

    def expire(self, waiter: Waiter, now: float) -> list[Waiter]:
        """Its time in the queue is over."""
        if waiter.state != "waiting":
            return []
        place = self.places(now)[waiter]
        after = max(place.estimate_s or 0.0, _SOONEST_S)
        late = Refusal("timeout", len(self._waiting), place.estimate_s, after)
        return self._refuse(waiter, late, now)

    def poll(self, now: float) -> list[Waiter]:
        """Time has passed, and nothing else happened."""
        return self._let_in(now)

    def _enter(self, waiter: Waiter) -> None:
        if not self._active[waiter.client]:  # nobody saves up what he did not use
            had = self._had.get(waiter.client, self._floor)
            self._had[waiter.client] = max(had, self._floor)
        self._active[waiter.client] += 1
        waiter.state = "waiting"
        self._waiting[waiter] = None

    def _exit(self, waiter: Waiter) -> None:
        self._active[waiter.client] -= 1
        if not self._active[waiter.client]:
            del self._active[waiter.client]
        if not self._active:
            self._had.clear()
            self._floor = 0.0
            return
        self._floor = max(self._floor, min(self._had[client] for client in self._active))
        if not self._active[waiter.client] and self._had[waiter.client] <= self._floor:
            del self._had[waiter.client]  # it would start there anyway

    def _settle(self, waiter: Waiter, now: float, *, served: bool) -> None:
        """Charge what it really took; the loading of a model is nobody's."""
        self._at[waiter.model] -= 1
        self.residents.leave(waiter.model, now)
        held_s = now - waiter.started
        if waiter.cold and served:
            expected = self._expected(waiter)
            if expected is not None:
                self.residents.loaded(held_s - expected, now)
            own_s = max(expected or 0.0, held_s - (self.residents.load_s.value or 0.0))
        else:
            own_s = held_s
            if served:
                self._paces.setdefault(waiter.model, _Pace()).add(held_s, waiter, now)
                self._pace.add(held_s, waiter, now)
        self._had[waiter.client] += own_s - waiter.charged_s

    # --- whose turn it is -------------------------------------------------------------------------

    def _let_in(self, now: float) -> list[Waiter]:
        let_in = []
        self.wake_at = math.inf
        while self._waiting and (waiter := self._next(now)) is not None:
            self._begin(waiter, now)
            let_in.append(waiter)
        return let_in

    def _begin(self, waiter: Waiter, now: float) -> None:
        del self._waiting[waiter]
        self._running[waiter] = None
        waiter.state, waiter.started = "running", now
        waiter.charged_s = self._expected(waiter) or UNKNOWN_S
        self._had[waiter.client] += waiter.charged_s
        self._at[waiter.model] += 1
        waiter.cold = self.residents.enter(waiter.model, waiter.client, now, batch=waiter.batch)

    def _next(self, now: float) -> Waiter | None:
        if self.limits.at_once and len(self._running) >= self.limits.at_once:
            return None
        may = [each for each in self._waiting if self._has_room(each.model)]
        first = min(may, key=self._key(now, self._had), default=None)
        if first is None or not self.residents.must_swap(first.model):
            return first
        return self._for_memory(first, may, now)

    def _for_memory(self, first: Waiter, may: Iterable[Waiter], now: float) -> Waiter | None:
        """The next one where `first` wants a model for which another has to go."""
        if first.put_behind is None:
            first.put_behind = now
        late = self._is_late_class(first, now)
        victim = self.residents.victim()
        kept_until = -math.inf
        if victim is not None:
            kept_until = self.residents.kept_until(victim, first.client, batch=late)
        if now < max(first.put_behind + self.limits.swap_wait_s, kept_until):
            near = [w for w in may if self.residents.holds(w.model)]
            near = [w for w in near if late or not self._is_late_class(w, now)]
            if near:
                return min(near, key=self._key(now, self._had))
        if victim is None:
            return None  # those at work end first
        if now < kept_until:
            self.wake_at = kept_until
            return None
        return first

    def _key(
        self, now: float, had: dict[str, float]
    ) -> Callable[[Waiter], tuple[bool, float, int]]:
        return lambda w: (self._is_late_class(w, now), had[w.client], w.order)

    def _is_late_class(self, waiter: Waiter, now: float) -> bool:
        return waiter.batch and now - waiter.arrived < self.limits.batch_wait_s

    def _has_room(self, model: str) -> bool:
        most = self._most(model)
        return not most or self._at[model] < most

    def _most(self, model: str) -> int:
        """How many requests for this model may be at work; 0: no limit of its own."""
        return next((n for glob, n in self.limits.per_model if fnmatchcase(model, glob)), 0)

    # --- the bounds -------------------------------------------------------------------------------

    def _bounded(self, waiter: Waiter, now: float) -> list[Waiter]:
        """Turn away whoever must be: the newcomer that would come too late, or one too many."""
        estimate_s = self.places(now)[waiter].estimate_s
        left_s = waiter.deadline - now
        if estimate_s is not None and estimate_s > left_s:
            after = max(estimate_s - left_s, _SOONEST_S)
            return self._refuse(waiter, Refusal("late", len(self._waiting), estimate_s, after), now)
        if len(self._waiting) <= self.limits.max_queue:
            return []
        counts = Counter(each.client for each in self._waiting)
        loser = max(
            self._waiting,
            key=lambda w: (self._is_late_class(w, now), counts[w.client], w.order),
        )
        estimate_s = self.places(now)[loser].estimate_s
        after = max(self._room_in_s(now) or 0.0, _SOONEST_S)
        full = Refusal("full", len(self._waiting) - 1, estimate_s, after)
        return self._refuse(loser, full, now)

    def _refuse(self, waiter: Waiter, refusal: Refusal, now: float) -> list[Waiter]:
        waiter.refusal = refusal
        return [waiter, *self.leave(waiter, now)]

    def _room_in_s(self, now: float) -> float | None:
        """Seconds until the next one leaves the queue for a place."""
        return min(
            (p.estimate_s for p in self.places(now).values() if p.estimate_s is not None),
            default=None,
        )

    # --- estimates --------------------------------------------------------------------------------

    def _expected(self, waiter: Waiter) -> float | None:
        """Seconds it will hold a place, loading not counted."""
        pace = self._paces.get(waiter.model)
        known = None if pace is None else pace.of(waiter)
        return self._pace.of(waiter) if known is None else known

    def places(self, now: float) -> dict[Waiter, Place]:
        """Everybody who waits, in the order in which they will be let in as things stand. The models
        in memory change that order a little; each one that is not there costs one load."""
        lanes = _Lanes(self.limits.at_once, self._most)
        busy_s = 0.0  # until the last of those at work is done
        for each in self._running:
            left_s = max(0.0, (self._expected(each) or 0.0) - (now - each.started))
            lanes.take(each.model, left_s)
            busy_s = max(busy_s, left_s)
        loaded = set(self.residents.names)
        out: dict[Waiter, Place] = {}
        for position, waiter in enumerate(self._in_order(now), 1):
            expected = self._expected(waiter)
            if expected is None:
                out[waiter] = Place(position, None)
                continue
            swaps = bool(self.residents.most) and waiter.model not in loaded
            loaded.add(waiter.model)
            load_s = (self.residents.load_s.value or 0.0) if swaps else 0.0
            begins = lanes.take(waiter.model, expected + load_s)
            if swaps and self.residents.must_swap(waiter.model):
                begins = max(begins, busy_s)
            out[waiter] = Place(position, begins)
        return out

    def _in_order(self, now: float) -> list[Waiter]:
        had = dict(self._had)
        lines: dict[tuple[bool, str], list[Waiter]] = {}
        for each in sorted(self._waiting, key=lambda w: w.order, reverse=True):
            lines.setdefault((self._is_late_class(each, now), each.client), []).append(each)
        out = []
        while lines:
            line = min(lines, key=lambda k: (k[0], had[k[1]], lines[k][-1].order))
            waiter = lines[line].pop()
            had[waiter.client] += self._expected(waiter) or UNKNOWN_S
            out.append(waiter)
            if not lines[line]:
                del lines[line]
        return out

    def snapshot(self) -> Snapshot:
        running = Counter(each.client for each in self._running)
        waiting = Counter(each.client for each in self._waiting)
        names = dict.fromkeys([*running, *waiting])
        return Snapshot(
            running=len(self._running),
            waiting=len(self._waiting),
            clients={name: (running[name], waiting[name]) for name in names},
            models={model: count for model, count in self._at.items() if count},
            loaded=self.residents.names,
        )

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    @property
    def running(self) -> int:
        return len(self._running)

    @property
    def idle(self) -> bool:
        return not self._waiting and not self._running


class _Lanes:
    """When the next place comes free, were everybody to take as long as expected."""

    def __init__(self, at_once: int, most: Callable[[str], int]) -> None:
        self._most = most
        self._all = [0.0] * at_once
        self._of: dict[str, list[float]] = {}

    def take(self, model: str, seconds: float) -> float:
        """Seconds until it starts."""
        lane = self._of.setdefault(model, [0.0] * self._most(model))
        begins = max(self._all[0] if self._all else 0.0, lane[0] if lane else 0.0)
        for heap in (self._all, lane):
            if heap:
                heapq.heapreplace(heap, begins + seconds)
        return begins
