"""What to do after an attempt: try the next candidate, wait and retry, or give up.

Owns: which failures another provider could cure, which one is worth a retry at the same provider,
how long to wait for it, and which failure tells the client most.
Refuses to know: who the candidates are and why (decide.py), how an attempt is made, the clock.

Laws:
1. Pure. `now`, `deadline` and `jitter` are arguments; keep `jitter` the same for one request.
2. Another untried candidate comes before any retry; a retry comes only when none is left.
3. A failure that is the client's ends the walk at once, word for word.
4. A failure without `status` is not an upstream's reply: `unsupported` without one is our own
   refusal to translate, `forbidden` our own refusal to dial an address that a policy does not allow,
   `upstream` a connection that broke.
5. Bounded: no candidate is tried more often than 1 + max_retries of its provider. After a `Wait`
   retry its candidate, or ask again: with `Outcome.at` set, the answer then is to try it.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from formats.errors import Failure, FailureKind
from llmrouterd.model import Candidate, GiveUp, Outcome, Try, Verdict, Wait

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_BACKOFF_S = 0.5
_LONGEST_WAIT_S = 10.0
_SLACK_S = 0.001
_SHOWN_CHARS = 200
_SHOWN_SKIPS = 6
_NO_SKIP = frozenset({"repeated", "on_demand"})  # it was listed before, or nobody asked for it

# the client's mistakes, which some servers answer with a 500
_CLIENTS: frozenset[FailureKind] = frozenset({"bad_request", "refused_by_upstream"})
# what may be over the next time the same place is asked
_PASSING: frozenset[FailureKind] = frozenset({"rate_limit", "overloaded", "upstream", "truncated"})
_WALK_ON_STATUS = frozenset({408, 425, 429})
_RETRY_STATUS = frozenset({429, 500, 502, 503, 529})
# another provider could cure these; the order is how much each tells when several are at hand
_TELLING: tuple[FailureKind, ...] = (
    "rate_limit",
    "quota",
    "context_too_long",
    "queue_full",
    "queue_timeout",
    "no_hub",
    "overloaded",
    "timeout",
    "upstream",
    "truncated",
    "over_budget",
    "credential",
    "model_not_found",
    "tagged",
)


def next_step(
    verdict: Verdict,
    tried: Sequence[Outcome],
    *,
    now: float,
    deadline: float | None,
    retries: Mapping[str, int],
    jitter: float,
) -> Try | Wait | GiveUp:
    """The next step after `tried`, in order of time. retries: max_retries by provider's name."""
    if tried and not walks_on(tried[-1].failure):
        return GiveUp(_for_client(tried[-1].failure))
    if deadline is not None and now >= deadline:
        return GiveUp(_in_sum(verdict, tried) if tried else _out_of_time())
    last: dict[tuple[str, str], Outcome] = {_place(o.candidate): o for o in tried}
    for candidate in verdict.candidates:
        if _place(candidate) not in last:
            return Try(candidate)
    best: tuple[float, Candidate] | None = None
    for candidate in verdict.candidates:
        place = _place(candidate)
        failed = sum(_place(outcome.candidate) == place for outcome in tried)
        if failed > retries.get(candidate.provider, 0):
            continue
        pause = _pause(last[place], failed - 1, jitter)
        if pause is None:
            continue
        ended = last[place].at
        due = pause + (now if ended is None else ended)
        if best is None or due < best[0]:
            best = (due, candidate)
    if best is None or (deadline is not None and best[0] >= deadline):
        return GiveUp(_in_sum(verdict, tried))
    due, candidate = best
    return Try(candidate) if due <= now + _SLACK_S else Wait(due - now, candidate)


def next_beside(
    verdict: Verdict, tried: Sequence[Outcome], running: Sequence[Candidate]
) -> Candidate | None:
    """Who is asked beside those that are silent: the next one that nobody has tried. To ask the
    same place twice at once would only make it slower."""
    taken = {_place(o.candidate) for o in tried} | {_place(each) for each in running}
    return next((each for each in verdict.candidates if _place(each) not in taken), None)


def walks_on(failure: Failure) -> bool:
    """True when another candidate could serve where this failure came up."""
    if failure.kind in _TELLING:
        return True
    if failure.status is None:
        return failure.kind in ("unsupported", "forbidden")
    if failure.status == 500 and failure.kind in _CLIENTS:
        return False
    return failure.status in _WALK_ON_STATUS or failure.status >= 500


def _pause(outcome: Outcome, retried: int, jitter: float) -> float | None:
    """Seconds before this may be tried again at the same place; None: not worth it."""
    failure = outcome.failure
    if failure.kind not in _PASSING or not outcome.connected:
        return None
    if failure.status is not None and failure.status not in _RETRY_STATUS:
        return None
    asked = failure.retry_after_s or 0.0
    if asked > _LONGEST_WAIT_S:
        return None
    backoff = min(_BACKOFF_S * 2.0 ** min(retried, 10), _LONGEST_WAIT_S)
    return max(asked, backoff * (0.75 + 0.5 * jitter))


# --- what the client is told ----------------------------------------------------------------------


def _in_sum(verdict: Verdict, tried: Sequence[Outcome]) -> Failure:
    """The most telling failure; with several places in question its message names each, and why it
    did not serve."""
    if not tried:
        return Failure("no_provider", "no provider configured")
    last = {_place(o.candidate): o for o in tried}
    asked = {place: o.failure for place, o in last.items() if o.asked}
    failures = asked or {place: o.failure for place, o in last.items()}
    chosen = _for_client(min(failures.values(), key=_telling))
    passed_over = _passed_over(verdict, last)
    if len(failures) == 1 and not passed_over:
        return chosen
    parts = []
    if len(failures) > 1:
        listed = "; ".join(f"{p}/{m}: {_short(f.message)}" for (p, m), f in failures.items())
        parts.append(f"all {len(failures)} candidates failed: {listed}")
    if passed_over:
        parts.append(f"not asked: {'; '.join(passed_over)}")
    return replace(chosen, message=f"{chosen.message} ({'; '.join(parts)})", native=None)


def _passed_over(verdict: Verdict, last: Mapping[tuple[str, str], Outcome]) -> list[str]:
    """Who was not asked, and why; a place that was asked after all is none of them."""
    skips = [s for s in verdict.trace if s.outcome == "skipped" and s.provider]
    skips = [s for s in skips if s.code not in _NO_SKIP]
    reasons = {(s.provider, s.model): s.reason for s in skips}
    reasons |= {_place(c): "no time was left" for c in verdict.candidates if _place(c) not in last}
    reasons |= {place: o.failure.message for place, o in last.items() if not o.asked}
    asked = {place for place, o in last.items() if o.asked}
    left = [(place, why) for place, why in reasons.items() if place not in asked]
    shown = [f"{_short(p)}/{_short(m)}: {_short(why)}" for (p, m), why in left[:_SHOWN_SKIPS]]
    return shown + ([f"and {len(left) - _SHOWN_SKIPS} more"] if len(left) > _SHOWN_SKIPS else [])


def _telling(failure: Failure) -> tuple[int, float]:
    kinds = len(_TELLING)
    rank = _TELLING.index(failure.kind) if failure.kind in _TELLING else kinds
    return rank, float("inf") if failure.retry_after_s is None else failure.retry_after_s


def _for_client(failure: Failure) -> Failure:
    """An upstream's word on the router's credential must not look like one on the client's."""
    if failure.kind != "credential":
        return failure
    return replace(failure, status=None, type=None, code=None, param=None, native=None)


def _out_of_time() -> Failure:
    return Failure(
        "timeout", "the client's time was over before anybody was asked", clock="request"
    )


def _place(candidate: Candidate) -> tuple[str, str]:
    return candidate.provider, candidate.model


def _short(text: str) -> str:
    return text if len(text) <= _SHOWN_CHARS else text[: _SHOWN_CHARS - 1] + "…"
