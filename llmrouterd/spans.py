"""When a request did what: its tries and their exchanges, for those who draw it.

Owns: the frozen nouns of that, which stand in a `Record` where somebody wants them.
Refuses to know: who measures (pipeline/tracing.py), what is sent of it (observe/otlp_payload.py).

Law: `_ns` counts from the moment at which the request's head was read, by a monotonic clock;
`begun_unix_ns` says when that was.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Exchanged:
    """One HTTP request to an upstream. `_ns`: after the request's head was read. status: None when no
    answer came. connect_s: None where no connection had to be made. error: what came of it."""

    span_id: str
    begun_ns: int
    ended_ns: int = 0
    target: str = ""
    status: int | None = None
    address: str = ""
    answered_ns: int | None = None
    connect_s: float | None = None
    error: str = ""


@dataclass(frozen=True, slots=True)
class Attempted:
    """One try at one candidate. system: whose API it is, as telemetry names it; base_url: where.
    queue: span id, begin and end of its wait for a place; None where it needed none."""

    span_id: str
    begun_ns: int
    provider: str
    model: str
    ended_ns: int = 0
    system: str = ""
    base_url: str = ""
    error: str = ""
    exchanges: tuple[Exchanged, ...] = ()
    queue: tuple[str, int, int] | None = None

    @property
    def asked_ns(self) -> int:
        """When it had its place."""
        return self.begun_ns if self.queue is None else self.queue[2]


@dataclass(frozen=True, slots=True)
class Traced:
    """When a request did what, for those who draw it. parent_id, state: of the caller's trace.
    classify, route: span id, begin and end; None where it did not come to that."""

    trace_id: str
    span_id: str
    begun_unix_ns: int
    ended_ns: int
    flags: int = 0
    parent_id: str = ""
    state: str = ""
    classify: tuple[str, int, int] | None = None
    route: tuple[str, int, int] | None = None
    first_token_ns: int | None = None
    attempts: tuple[Attempted, ...] = ()

    @property
    def sampled(self) -> bool:
        return bool(self.flags & 1)
