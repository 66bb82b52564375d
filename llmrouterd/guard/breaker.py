"""Circuits: who is left alone for a while because it failed again and again.

Owns: one circuit a key (a provider, or a model of one), when it opens, for how long, and the one
request that may try whether it can be closed again.
Refuses to know: what a failure is (health.py), the clock, who asks.

Laws:
1. Pure state: `now` is an argument, monotonic seconds. Chance comes in as `jitter`, 0 to 1.
2. A circuit that is half open lets exactly one request through at a time; its end closes the
   circuit, opens it for longer, or (when the client left) gives the place to the next one.
3. An open circuit is always tried again: no rest is longer than the ceiling.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping

State = Literal["closed", "open", "half_open"]
THRESHOLD = 3  # failures in a row that open a circuit
BASE_S = 2.0  # the first rest
CEILING_S = 120.0
_KEPT = 4096  # circuits remembered: names of models come from clients


@dataclass(frozen=True, slots=True)
class Circuit:
    """What is known of one key. until: when an open one is tried again. trying: a request is out to
    see whether it can be closed."""

    failures: int = 0
    rests: int = 0  # how often in a row it was opened
    until: float | None = None
    why: str = ""
    trying: bool = False

    def state(self, now: float) -> State:
        if self.until is None:
            return "closed"
        return "open" if now < self.until else "half_open"


_CLOSED = Circuit()


class Breaker:
    def __init__(
        self, *, threshold: int = THRESHOLD, base_s: float = BASE_S, ceiling_s: float = CEILING_S
    ) -> None:
        self._threshold = threshold
        self._base_s = base_s
        self._ceiling_s = ceiling_s
        self._circuits: dict[Hashable, Circuit] = {}

    def circuit(self, key: Hashable) -> Circuit:
        return self._circuits.get(key, _CLOSED)

    def admits(self, key: Hashable, now: float) -> bool:
        """Whether a request may go there now."""
        circuit = self._circuits.get(key)
        if circuit is None or circuit.until is None:
            return True
        return now >= circuit.until and not circuit.trying

    def entered(self, key: Hashable, now: float) -> bool:
        """A request goes there. True: it is the one that tries a half-open circuit, and must end in
        `succeeded`, `failed` or `abandoned`."""
        circuit = self._circuits.get(key)
        if circuit is None or circuit.state(now) != "half_open" or circuit.trying:
            return False
        self._set(key, Circuit(circuit.failures, circuit.rests, circuit.until, circuit.why, True))
        return True

    def succeeded(self, key: Hashable) -> None:
        """Whatever was wrong is over."""
        if key in self._circuits:
            del self._circuits[key]

    def mended(self, key: Hashable) -> None:
        """There is more than hope that it works again, but no request has shown it: the circuit is
        closed, and the next failure opens it again, for longer than the last time."""
        circuit = self._circuits.get(key)
        if circuit is not None and circuit.until is not None:
            self._set(key, Circuit(circuit.failures, circuit.rests, None, circuit.why))

    def abandoned(self, key: Hashable) -> None:
        """The request that tried came to no end: the next one may."""
        circuit = self._circuits.get(key)
        if circuit is not None and circuit.trying:
            self._set(key, Circuit(circuit.failures, circuit.rests, circuit.until, circuit.why))

    def failed(
        self,
        key: Hashable,
        now: float,
        why: str,
        *,
        jitter: float,
        at_once: bool = False,
        rest_s: float | None = None,
        threshold: int | None = None,
    ) -> None:
        """One more failure. at_once: no second one is waited for. rest_s: how long it wants to be
        left alone; else longer each time."""
        circuit = self._circuits.get(key, _CLOSED)
        failures = circuit.failures + 1
        tried = circuit.until is not None  # it was open: the request was the one that tried it
        many = failures >= (threshold or self._threshold)
        if not (at_once or tried or many or circuit.rests):  # rests: it was only mended
            self._set(key, Circuit(failures, circuit.rests, None, why))
            return
        if tried and now < (circuit.until or 0.0) and rest_s is None:
            return  # one that had begun before the circuit opened says nothing new
        rests = circuit.rests + 1
        if rest_s is None:
            rest_s = self._base_s * 2.0 ** min(rests - 1, 16) * (0.75 + 0.5 * jitter)
        until = now + min(rest_s, self._ceiling_s)
        self._set(key, Circuit(failures, rests, until, why))

    def look_again(self, key: Hashable, now: float) -> None:
        """There is reason to believe that it works again: the next request may try."""
        circuit = self._circuits.get(key)
        if circuit is not None and circuit.until is not None and now < circuit.until:
            self._set(key, Circuit(circuit.failures, circuit.rests, now, circuit.why))

    def circuits(self) -> Mapping[Hashable, Circuit]:
        """All that are not in good order."""
        return self._circuits

    def _set(self, key: Hashable, circuit: Circuit) -> None:
        self._circuits.pop(key, None)
        self._circuits[key] = circuit
        if len(self._circuits) > _KEPT:
            del self._circuits[next(iter(self._circuits))]
