"""What clients may spend in a day.

Owns: what each has spent and reserved, by day.
Refuses to know: prices, files (ops/spendings.py keeps them), the calendar: a day is a number, counted
in UTC from 1970.

Laws:
1. Reserved before it is spent: requests that run together cannot overspend together.
2. What is reserved is settled exactly once. A cost is never below nothing.
3. A day's spending begins at nothing; what was reserved the day before is settled on the day on which
   it was reserved.
"""

from __future__ import annotations

from dataclasses import dataclass

_SLACK_USD = 1e-9  # of floats


@dataclass(frozen=True, slots=True)
class Reservation:
    client: str
    day: int
    usd: float


class Budget:
    """Of all clients. Keeps the days that it was told of, today and yesterday at most."""

    def __init__(self) -> None:
        self._spent: dict[tuple[int, str], float] = {}
        self._reserved: dict[tuple[int, str], list[float]] = {}  # each of them

    def reserve(self, client: str, usd: float, limit_usd: float, day: int) -> Reservation | None:
        """None: it does not fit into what is left of the day's limit."""
        if usd > self.left(client, limit_usd, day) + _SLACK_USD:
            return None
        return self.adopt(client, usd, day)

    def adopt(self, client: str, usd: float, day: int) -> Reservation:
        """What was reserved before this began anew, without asking whether it fits."""
        self._reserved.setdefault((day, client), []).append(usd)
        return Reservation(client, day, usd)

    def settle(self, reservation: Reservation, usd: float) -> None:
        """What it came to in truth."""
        key = (reservation.day, reservation.client)
        self._reserved[key].remove(reservation.usd)
        if not self._reserved[key]:
            del self._reserved[key]
        self.add(reservation.client, usd, reservation.day)

    def add(self, client: str, usd: float, day: int) -> None:
        """Spent without a reservation: what a file remembers."""
        if usd > 0:
            for key in [key for key in self._spent if key[0] < day - 1]:
                del self._spent[key]
            self._spent[day, client] = self.spent(client, day) + usd

    def spent(self, client: str, day: int) -> float:
        return self._spent.get((day, client), 0.0)

    def left(self, client: str, limit_usd: float, day: int) -> float:
        """What may still be reserved; below nothing where more was spent than thought."""
        return limit_usd - self.spent(client, day) - sum(self._reserved.get((day, client), ()))

    @property
    def reserved(self) -> bool:
        """Whether anything is reserved now."""
        return bool(self._reserved)
