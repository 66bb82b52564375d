"""Which of a provider's keys a request gets, and which ones rest.

Owns: the rotation over keys, how long a key rests after a rate limit, a spent quota or a refusal,
and what is told when all of them rest.
Refuses to know: the clock, which header a key goes into, whether the provider itself is well
(breaker.py).

Laws:
1. A resting key is never given while another one is free. A longer rest is never cut short by a
   shorter one.
2. A key is shown by its place ("key 2 of 3"), never by its value, nor by a part or a hash of it.
3. Whatever a server asks for, a key rests no longer than `longest_s`.
4. A provider without keys has one place to give, with no key in it: it has rate limits, too.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING, Literal

from llmrouterd.guard.backoff import asked_for, delay

if TYPE_CHECKING:
    from collections.abc import Sequence

    from llmrouterd.model import Outcome, Secret

Why = Literal["", "rate_limit", "quota", "credential"]
_WORDS: dict[Why, str] = {
    "": "",
    "rate_limit": "over its rate limit",
    "quota": "its quota is spent",
    "credential": "refused by the provider",
}


@dataclass(frozen=True, slots=True)
class Rests:
    """In seconds. base_s, ceiling_s: the growing rest after a rate limit that names no time.
    spent_s: after a spent quota that names none; refused_s: after a refusal. longest_s: of all."""

    base_s: float = 1.0
    ceiling_s: float = 60.0
    spent_s: float = 600.0
    refused_s: float = 3600.0
    longest_s: float = 3600.0


@dataclass(frozen=True, slots=True)
class Taken:
    """The key for one request. index: to report with. name: what people may see of it."""

    index: int
    name: str
    key: Secret | None


@dataclass(frozen=True, slots=True)
class Resting:
    """No key is free. until: when the first of them is. kind: why that one rests."""

    until: float
    kind: Why
    reason: str


@dataclass(frozen=True, slots=True)
class KeySeen:
    """One key for people to look at. until: None when it is free."""

    name: str
    kind: Why = ""
    until: float | None = None


class _Place:
    __slots__ = ("key", "limited", "until", "why")

    def __init__(self, key: Secret | None) -> None:
        self.key = key
        self.until = float("-inf")
        self.why: Why = ""
        self.limited = 0  # rate limits in a row


class Keyring:
    """The keys of one provider. seed: of the jitter, so that a run can be repeated."""

    def __init__(
        self, keys: Sequence[Secret], rests: Rests | None = None, *, seed: int = 0
    ) -> None:
        self._places = [_Place(key) for key in keys or (None,)]
        self._rests = rests or Rests()
        self._chance = Random(seed)
        self._next = 0

    def holds(self, keys: Sequence[Secret]) -> bool:
        """Whether these are its keys: after a reload it can go on if they are."""
        return [each.key for each in self._places] == list(keys or (None,))

    # --- taking -----------------------------------------------------------------------------------

    def resting(self, now: float) -> Resting | None:
        """Until when there is no key, or None when there is one. Takes nothing."""
        if any(each.until <= now for each in self._places):
            return None
        first = min(self._places, key=lambda each: each.until)
        if len(self._places) == 1:
            reason = f"{self._name(0)} rests: {_WORDS[first.why]}"
        else:
            listed = (f"{i + 1} {_WORDS[each.why]}" for i, each in enumerate(self._places))
            reason = f"all {len(self._places)} keys rest: {', '.join(listed)}"
        return Resting(first.until, first.why, reason)

    def take(self, now: float, *, last_resort: bool = False) -> Taken | Resting:
        """The next key that does not rest.

        last_resort: a retry that has waited already, with nowhere else to go, also gets the
        rate-limited key that rests the shortest.
        """
        order = self._order()
        free = next((i for i in order if self._places[i].until <= now), None)
        if free is None and last_resort:
            limited = [i for i in order if self._places[i].why == "rate_limit"]
            free = min(limited, key=lambda i: self._places[i].until, default=None)
        if free is not None:
            self._next = (free + 1) % len(self._places)
            return Taken(free, self._name(free), self._places[free].key)
        resting = self.resting(now)
        assert resting is not None
        return resting

    def _order(self) -> list[int]:
        count = len(self._places)
        return [(self._next + step) % count for step in range(count)]

    # --- reporting --------------------------------------------------------------------------------

    def answered(self, taken: Taken) -> None:
        """The provider served it. A rest that began meanwhile goes on."""
        self._places[taken.index].limited = 0

    def failed(self, taken: Taken, outcome: Outcome, now: float) -> bool:
        """An attempt with it came to nothing. Returns whether that was about the key, so that
        another key may do better; it rests then."""
        place, failure, rests = self._places[taken.index], outcome.failure, self._rests
        asked = asked_for(failure.retry_after_s, ceiling=rests.longest_s)
        if failure.kind == "rate_limit":
            self._limited(place, asked, now)
        elif failure.kind == "quota":
            self._rest(place, now + min(asked or rests.spent_s, rests.longest_s), "quota")
        elif failure.kind == "credential" and failure.status is not None:
            self._rest(place, now + min(rests.refused_s, rests.longest_s), "credential")
        else:  # without a status nobody was asked: a client's own key was kept back
            return False
        return True

    def forgive(self) -> None:
        """A reload: refused keys and spent ones may have been put right."""
        for place in self._places:
            if place.why in ("credential", "quota"):
                place.until, place.why = float("-inf"), ""

    def snapshot(self, now: float) -> tuple[KeySeen, ...]:
        return tuple(
            KeySeen(self._name(i), each.why, each.until)
            if each.until > now
            else KeySeen(self._name(i))
            for i, each in enumerate(self._places)
        )

    def _rest(self, place: _Place, until: float, why: Why) -> None:
        if until > place.until:
            place.until, place.why = until, why

    def _limited(self, place: _Place, asked_s: float, now: float) -> None:
        """Many requests that run into one limit together are one limit, not many in a row."""
        free = place.until <= now
        if asked_s or free:
            self._rest(place, now + (asked_s or self._pause(place.limited)), "rate_limit")
        if free:
            place.limited += 1

    def _pause(self, limited: int) -> float:
        rests = self._rests
        ceiling = min(rests.ceiling_s, rests.longest_s)
        jitter = 0.5 + 0.5 * self._chance.random()
        return delay(limited, base=rests.base_s, ceiling=ceiling, jitter=jitter)

    def _name(self, index: int) -> str:
        if self._places[index].key is None:
            return "no key"
        return f"key {index + 1} of {len(self._places)}"
