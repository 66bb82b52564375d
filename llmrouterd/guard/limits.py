"""What a client may use: requests and tokens in a minute, and requests at a time.

Owns: token buckets, what is taken from them before a request and put right after it.
Refuses to know: tasks, keys, prices (budget.py), the clock: `now` is an argument, monotonic seconds.

Laws:
1. A bucket holds one minute's worth and fills evenly: so many in a minute in the long run, all of
   them at once after a quiet minute.
2. Tokens are taken by estimate and put right by what the request really used: a bucket may go below
   nothing, and whoever emptied it waits for it to fill.
3. What never fits is not refused for ever: a request larger than the bucket passes when that is full.
4. What is entered is left, exactly once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from llmrouterd.model import Allowance

LimitName = Literal["rpm", "tpm", "max_concurrency"]
_MINUTE_S = 60.0
_SLACK = 1e-9  # of floats


class Bucket:
    """So many in a minute."""

    __slots__ = ("_at", "_level", "size")

    def __init__(self, size: int, now: float) -> None:
        self.size = size
        self._level = float(size)
        self._at = now

    def level(self, now: float) -> float:
        filled = self._level + max(0.0, now - self._at) * self.size / _MINUTE_S
        return min(float(self.size), filled)

    def wait_s(self, count: float, now: float) -> float:
        """Seconds until so many may be taken; 0: now."""
        lacking = min(count, self.size) - self.level(now)
        return lacking * _MINUTE_S / self.size if lacking > _SLACK else 0.0

    def take(self, count: float, now: float) -> None:
        """A count below nothing gives back."""
        self._level = min(float(self.size), self.level(now) - count)
        self._at = max(now, self._at)

    def lower(self, level: float, now: float) -> None:
        """It has no more than so much."""
        self._level, self._at = min(self.level(now), level), max(now, self._at)


@dataclass(frozen=True, slots=True)
class Exceeded:
    """Which limit it was, and when to come again."""

    limit: LimitName
    most: int
    retry_after_s: float


@dataclass(frozen=True, slots=True)
class Left:
    """What a client may still use right now; None: no limit."""

    requests: int | None
    tokens: int | None


class ClientLimits:
    """Of one client."""

    def __init__(self, allowance: Allowance, now: float) -> None:
        self.allowance = allowance
        self.at_once = 0
        self._requests = Bucket(allowance.rpm, now) if allowance.rpm else None
        self._tokens = Bucket(allowance.tpm, now) if allowance.tpm else None
        self._mean_s = 1.0  # how long its requests take

    def renew(self, allowance: Allowance, now: float) -> None:
        """It may use another amount from now on. Who is at work stays so, and what was taken is taken."""
        old = (self._requests, self._tokens)
        self.allowance = allowance
        self._requests = Bucket(allowance.rpm, now) if allowance.rpm else None
        self._tokens = Bucket(allowance.tpm, now) if allowance.tpm else None
        for before, bucket in zip(old, (self._requests, self._tokens), strict=True):
            if before is not None and bucket is not None:
                bucket.take(before.size - before.level(now), now)

    def enter(self, tokens: float, now: float) -> Exceeded | None:
        """A request of about so many tokens comes in. Refused, it has taken nothing."""
        allowance = self.allowance
        if allowance.at_once and self.at_once >= allowance.at_once:
            return Exceeded("max_concurrency", allowance.at_once, self._mean_s / allowance.at_once)
        if self._requests and (wait_s := self._requests.wait_s(1, now)):
            return Exceeded("rpm", allowance.rpm, wait_s)
        if self._tokens and (wait_s := self._tokens.wait_s(tokens, now)):
            return Exceeded("tpm", allowance.tpm, wait_s)
        self.at_once += 1
        if self._requests:
            self._requests.take(1, now)
        if self._tokens:
            self._tokens.take(tokens, now)
        return None

    def leave(self, tokens: float, used: float | None, now: float, took_s: float) -> None:
        """The same request is over. tokens: as they were estimated; used: what it really used, None
        where nobody knows, and the estimate stands."""
        self.at_once -= 1
        self._mean_s += (took_s - self._mean_s) / 8
        if self._tokens and used is not None:
            self._tokens.take(used - tokens, now)

    def adopt(self) -> None:
        """A request is in flight: limits that begin anew are told so, and of `levels` beside."""
        self.at_once += 1

    def levels(self, now: float) -> tuple[float, float]:
        """What is in the buckets of requests and of tokens; 0 where there is none."""
        buckets = (self._requests, self._tokens)
        requests, tokens = (bucket.level(now) if bucket else 0.0 for bucket in buckets)
        return requests, tokens

    def lower(self, levels: tuple[float, float], now: float) -> None:
        """The buckets had these levels, before they began anew."""
        for bucket, level in zip((self._requests, self._tokens), levels, strict=True):
            if bucket is not None:
                bucket.lower(level, now)

    def left(self, now: float) -> Left:
        return Left(
            None if self._requests is None else int(self._requests.level(now) + _SLACK),
            None if self._tokens is None else int(self._tokens.level(now) + _SLACK),
        )
