"""What was seen of a case, beside what must be.

Owns: the comparison.
Refuses to know: who looked: the client of the self-test, or an official library in a test.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from llmrouterd.selftest.faults import WORDS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from llmrouterd.selftest.faults import Expected

_AGED = 0.05  # this share of a pause may have gone by when the client reads of it


@dataclass(frozen=True, slots=True)
class Seen:
    """One answer, from both sides.

    status: what the client got; failed: the error it was told of, in its own format; None for a
    good answer. stopped: it was told that the answer is whole. provider, attempts, tag, retry_after:
    of the answer's fields. end and what follows: of the record.
    """

    status: int = 0
    text: str = ""
    calls: tuple[str, ...] = ()
    failed: str | None = None
    stopped: bool = False
    provider: str = ""
    attempts: str = ""
    tag: str = ""
    retry_after: str = ""
    end: str = ""
    fault: str = ""
    error_kind: str | None = None
    tried: tuple[str, ...] = ()
    estimated: bool = False
    output_tokens: int | None = None
    trouble: str = field(default="")  # what kept the client from making anything of the answer


@dataclass(frozen=True, slots=True)
class Place:
    """Who was asked. second: who is left, "" for nobody. model: the first one's."""

    client: str
    first: str
    model: str
    second: str = ""


def differences(expected: Expected, place: Place, seen: Seen) -> list[str]:
    """Everything in which the case went otherwise than it must; nothing if all is well."""
    if seen.trouble:
        return [seen.trouble]
    match expected.outcome:
        case "passes":
            checks = _passed(expected, place, seen)
        case "breaks":
            checks = _broke(expected, seen)
        case "walks" if place.second:
            checks = _walked(expected, place, seen)
        case _:
            checks = _refused(expected, place, seen)
    return list(checks)


def _passed(expected: Expected, place: Place, seen: Seen) -> Iterator[str]:
    yield from _good(seen, expected.text, expected.calls)
    yield from _is("provider", seen.provider, place.first)
    yield from _is("attempts", seen.attempts, "1")
    yield from _is("usage_estimated", seen.estimated, expected.estimated)
    if not seen.output_tokens:
        yield "the log has no output tokens"


def _good(seen: Seen, text: str, calls: tuple[str, ...] = ()) -> Iterator[str]:
    yield from _is("status", seen.status, 200)
    yield from _is("error", seen.failed, None)
    yield from _is("text", seen.text, text)
    yield from _is("calls", seen.calls, calls)
    yield from _is("whole", seen.stopped, True)
    yield from _is("end", seen.end, "complete")
    yield from _is("fault", seen.fault, "")
    yield from _is("error_kind", seen.error_kind, None)


def _walked(expected: Expected, place: Place, seen: Seen) -> Iterator[str]:
    yield from _good(seen, WORDS)
    yield from _is("provider", seen.provider, place.second)
    yield from _is("attempts", seen.attempts, "2")
    yield from _tried(expected, place, seen)


def _tried(expected: Expected, place: Place, seen: Seen) -> Iterator[str]:
    starts = tuple(f"{place.first}/{place.model}: {kind}: " for kind in expected.kinds)
    if len(seen.tried) != 1 or not seen.tried[0].startswith(starts):
        yield f"the log's attempts are {list(seen.tried)}, not one of {expected.kind}"


def _broke(expected: Expected, seen: Seen) -> Iterator[str]:
    yield from _is("status", seen.status, 200)
    yield from _is("attempts", seen.attempts, "1")
    if seen.failed is None:
        yield "the client was told of no error"
    if seen.stopped:
        yield "the client was told that the answer is whole"
    yield from _ended(expected, seen)


def _refused(expected: Expected, place: Place, seen: Seen) -> Iterator[str]:
    yield from _is("status", seen.status, expected.status[place.client == "anthropic"])
    if not seen.failed:
        yield "the client was told of no error"
    yield from _is("text", seen.text, "")
    yield from _is("attempts", seen.attempts, "1")
    yield from _in("X-Router-Error", seen.tag, expected.kinds)
    if expected.retry_s:
        told = float(seen.retry_after) if seen.retry_after.isdigit() else -math.inf
        if not expected.retry_s * (1 - _AGED) <= told <= expected.retry_s + 1:
            yield f"Retry-After is {seen.retry_after!r}, not {expected.retry_s}"
    yield from _ended(expected, seen)
    yield from _tried(expected, place, seen)


def _ended(expected: Expected, seen: Seen) -> Iterator[str]:
    yield from _is("end", seen.end, expected.end)
    yield from _is("fault", seen.fault, expected.fault)
    yield from _in("error_kind", seen.error_kind, expected.kinds)


def _in(name: str, got: object, wanted: tuple[str, ...]) -> Iterator[str]:
    if got not in wanted:
        yield f"{name} is {got!r}, not {' or '.join(wanted)}"


def _is(name: str, got: object, wanted: object) -> Iterator[str]:
    if got != wanted:
        yield f"{name} is {got!r}, not {wanted!r}"
