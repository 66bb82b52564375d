"""Admission: what a client may use, what it may spend, and a place at the provider.

Owns: the two ways in, `client` (its own limits, once for a request) and `slot` (budget and place,
once for each attempt), the estimates they go by, and what a refusal says.
Refuses to know: whose turn it is (guard/fairqueue.py), what is left in a bucket (guard/limits.py), what
an attempt does.

Laws:
1. Both are context managers, and what they took is given back synchronously when they end, however
   that comes about.
2. A refusal here is no upstream's failure: it walks on to the next candidate where there is one, and
   says nothing of anybody's health.
3. An unknown cost is unknown, not nothing: the reservation, made from declared prices, stands for it.
4. Where nothing is limited, nothing of this is entered.
5. Requests see `Admission` alone: it counts in this process, and where there are several,
   ops/permits.py has the same face and asks for all.
"""

from __future__ import annotations

import math
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import trio

from formats.errors import Failure
from llmrouterd.guard.budget import Budget, Reservation
from llmrouterd.guard.fairqueue import Waiter
from llmrouterd.guard.limits import ClientLimits, Exceeded, Left
from llmrouterd.model import Queued, Slots
from llmrouterd.pipeline.cost import cost_usd, estimated_usd
from llmrouterd.pipeline.gate import Gate, Ticket, Timer
from llmrouterd.route import estimate

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping

    from llmrouterd.guard.fairqueue import Place, Refusal, Snapshot
    from llmrouterd.model import Allowance, Caller, Candidate, Headers, Provider
    from llmrouterd.pipeline.daemon import Daemon
    from llmrouterd.pipeline.gate import Places
    from llmrouterd.pipeline.work import Work

DAY_MS = 86_400_000
ANSWER_TOKENS = 300  # of an answer of which nothing is known
RESERVED_TOKENS = 4096  # of an answer's output, reserved at most: agents ask for 32,000 and use 500
PROMPT_SHARE = 0.1  # of the time of a written token: prompts are read at once, often from a cache
_LIMITED = {
    "rpm": "requests a minute (rpm)",
    "tpm": "tokens a minute (tpm)",
    "max_concurrency": "requests at a time (max_concurrency)",
}


@dataclass(frozen=True, slots=True)
class Entry:
    """A request that came in under its client's limits, of so many tokens; or did not: exceeded. left:
    what the client may still use, and usd_left of its budget."""

    client: str
    tokens: float
    begun: float
    limits: ClientLimits
    exceeded: Exceeded | None
    left: Left
    usd_left: float


class Admission:
    """One per daemon. spent: told of each cost of a client with a budget, for whoever keeps it."""

    def __init__(self) -> None:
        self.timer = Timer()
        self.budget = Budget()
        self.spent: Callable[[str, int, float], None] = _forget
        self.gates: dict[str, Gate] = {}
        self._clients: dict[str, ClientLimits] = {}

    def gate(self, provider: Provider) -> Places:
        """The places of a provider with slots."""
        assert provider.slots is not None
        return self.gate_of(provider.name, provider.slots)

    def gate_of(self, name: str, slots: Slots) -> Gate:
        gate = self.gates.get(name)
        if gate is None:
            gate = self.gates[name] = Gate(slots, self.timer)
        return gate

    async def enter(self, client: str, allowance: Allowance, tokens: float) -> Entry | Failure:
        """A request of about so many tokens comes in; `leave` must follow where nothing is exceeded. A
        Failure: nobody is there to count."""
        return self.let_in(client, allowance, tokens)

    def let_in(self, client: str, allowance: Allowance, tokens: float) -> Entry:
        limits, now = self.limits(client, allowance), trio.current_time()
        exceeded = limits.enter(tokens, now)
        most = allowance.budget_usd_per_day
        usd_left = self.budget.left(client, most, today()) if most else 0.0
        return Entry(client, tokens, now, limits, exceeded, limits.left(now), usd_left)

    def leave(self, entry: Entry, used: float | None) -> None:
        """It is over. used: tokens that it really used; None where nobody knows."""
        now = trio.current_time()
        entry.limits.leave(entry.tokens, used, now, now - entry.begun)

    async def reserve(
        self, client: str, usd: float, limit_usd: float, day: int
    ) -> Reservation | Failure | None:
        """None: it does not fit into what is left of the day's limit. A Failure: nobody counts."""
        return self.budget.reserve(client, usd, limit_usd, day)

    def settle(self, reservation: Reservation, usd: float) -> None:
        """What it came to in truth."""
        self.budget.settle(reservation, usd)
        self.spent(reservation.client, reservation.day, usd)

    def spent_usd(self, client: str, day: int) -> float:
        return self.budget.spent(client, day)

    def limits(self, client: str, allowance: Allowance) -> ClientLimits:
        limits = self._clients.get(client)
        if limits is None or limits.allowance != allowance:
            limits = ClientLimits(allowance, trio.current_time())
            self._clients[client] = limits
        return limits

    def renewed(self, providers: Mapping[str, Provider]) -> None:
        """Another configuration is in force. Who is at work, and who waits, goes on under its limits;
        under none where there are none any more."""
        self.renew({name: each.slots for name, each in providers.items() if each.slots})

    def renew(self, slots: Mapping[str, Slots]) -> None:
        for name, gate in self.gates.items():
            gate.renew(slots.get(name) or Slots())

    def queued(self) -> dict[str, int]:
        """How many wait for each provider that ever had a limit."""
        return {name: gate.queue.waiting for name, gate in self.gates.items()}

    def snapshot(self, provider: str) -> Snapshot | None:
        """Who is at work there and who waits; None where nothing is limited, or nobody came yet."""
        gate = self.gates.get(provider)
        return None if gate is None else gate.queue.snapshot()

    def waiting(self, provider: str) -> int:
        gate = self.gates.get(provider)
        return gate.queue.waiting if gate is not None else 0

    @property
    def away(self) -> bool:
        """Something is limited, and whoever counts has not been there for a while."""
        return False

    @property
    def idle(self) -> bool:
        """Nobody is at work, nobody waits, nothing is reserved."""
        gates = all(gate.queue.idle for gate in self.gates.values())
        return (
            gates
            and not self.budget.reserved
            and not any(limits.at_once for limits in self._clients.values())
        )


def _forget(client: str, day: int, usd: float) -> None:
    pass


def no_hub() -> Failure:
    """Nobody is there to count: a limit that may not hold is none."""
    words = "the hub that keeps the limits of all workers is not there right now: nothing was sent"
    return Failure("no_hub", words, retry_after_s=1.0)


def is_batch(caller: Caller, fields: Headers) -> bool:
    """A client may put itself behind others, never before them."""
    return caller.batch or (fields.get("x-router-priority") or "").strip().lower() == "batch"


# --- once for a request ---------------------------------------------------------------------------


@asynccontextmanager
async def client(work: Work) -> AsyncIterator[Failure | None]:
    """What the client may use in a minute and at a time. A Failure: it may not."""
    allowance = work.caller.allowance
    if allowance is None:
        yield None
        return
    story, admission = work.story, work.daemon.admission
    tokens = _size(work) if allowance.tpm else 0.0
    entry = await admission.enter(story.client, allowance, tokens)
    if isinstance(entry, Failure):
        yield entry
        return
    _note_left(work, entry, allowance)
    if entry.exceeded is not None:
        yield _over(story.client, entry.exceeded)
        return
    ended = False
    try:
        yield None
        ended = True
    finally:
        admission.leave(entry, _used(work, ended=ended))


def _size(work: Work) -> float:
    """Tokens of the prompt and of its answer, before anybody knows who will give it."""
    wanted = work.request.max_tokens or ANSWER_TOKENS
    return estimate.tokens(work.request) + (0 if work.embed else min(wanted, ANSWER_TOKENS))


def _used(work: Work, *, ended: bool) -> float | None:
    """Tokens that a request really used; None: nobody knows."""
    usage = work.story.usage
    if work.story.from_cache:
        return 0.0
    if usage is not None and usage.input is not None:
        return usage.input + (usage.output or 0)
    return None if work.reply.content_sent or not ended else 0.0


def _note_left(work: Work, entry: Entry, allowance: Allowance) -> None:
    left, fields = entry.left, work.story.limit_fields
    if left.requests is not None:
        fields.append(("x-router-remaining-requests", str(max(0, left.requests))))
    if left.tokens is not None:
        fields.append(("x-router-remaining-tokens", str(max(0, left.tokens))))
    if allowance.budget_usd_per_day:
        usd = max(0.0, entry.usd_left)
        fields.append(("x-router-remaining-budget-usd", f"{usd:.6f}"))


def _over(client: str, exceeded: Exceeded) -> Failure:
    words = f"client {client!r} may have {exceeded.most} {_LIMITED[exceeded.limit]}"
    return Failure(
        "client_limit",
        f"{words}; come again in {max(1.0, exceeded.retry_after_s):.0f} s",
        limit=exceeded.limit,
        retry_after_s=exceeded.retry_after_s,
    )


# --- once for an attempt --------------------------------------------------------------------------


@asynccontextmanager
async def slot(work: Work, candidate: Candidate) -> AsyncIterator[Failure | None]:
    """The budget for an attempt and a place at its provider, waited for in its queue. A Failure: there
    is none, and nothing may be sent."""
    provider = work.gen.providers[candidate.provider]
    async with _budget(work, candidate, provider) as failure:
        if failure is not None or provider.slots is None:
            yield failure
            return
        gate = work.daemon.admission.gate(provider)
        ticket = _ticket(work, candidate)
        begun, granted = trio.current_time(), None
        try:
            refusal = await work.reply.patiently(partial(gate.enter, ticket))
            granted = trio.current_time()
            work.story.admitted(granted - begun)
            yield None if refusal is None else _no_place(work, provider, refusal)
        finally:
            if granted is None:
                work.story.admitted(trio.current_time() - begun)
            _learn(work, ticket.waiter)
            gate.leave(ticket, served=work.reply.client.finished)


@asynccontextmanager
async def place(
    daemon: Daemon, provider: Provider, waiter: Waiter
) -> AsyncIterator[Refusal | None]:
    """A place for a question of the router's own. A Refusal: there is none in time."""
    if provider.slots is None:
        yield None
        return
    gate, ticket = daemon.admission.gate(provider), Ticket(waiter, None)
    ended = False
    try:
        yield await gate.enter(ticket)
        ended = True
    finally:
        gate.leave(ticket, served=ended)


def _ticket(work: Work, candidate: Candidate) -> Ticket:
    story = work.story
    tokens = _prompt_tokens(work, candidate) * PROMPT_SHARE
    answer = 0.0 if work.embed is not None else float(work.request.max_tokens or math.inf)
    model = candidate.model.lower().removesuffix(":latest")  # as Ollama knows it
    batch = is_batch(work.caller, work.incoming)

    def tell(place: Place) -> None:
        estimate_ms = None if place.estimate_s is None else int(place.estimate_s * 1000)
        now_ms = work.daemon.wall_ms()
        names = (candidate.provider, candidate.model)
        story.queued(Queued(story.id, now_ms, *names, place.position, estimate_ms))

    return Ticket(
        Waiter(story.client, model, tokens, batch, answer=answer, until=work.patience.until),
        tell if work.daemon.followers else None,
    )


def _prompt_tokens(work: Work, candidate: Candidate) -> float:
    return work.story.size_tokens * work.daemon.calibration.factor(candidate)


def _learn(work: Work, waiter: Waiter) -> None:
    """What an answer really had: the pace is made of that."""
    usage = work.story.usage
    if usage is None or work.story.usage_estimated or not work.reply.client.finished:
        return
    if usage.input is not None:
        waiter.tokens = usage.input * PROMPT_SHARE
    if usage.output is not None:
        waiter.answered = usage.output


def _no_place(work: Work, provider: Provider, refusal: Refusal) -> Failure:
    assert provider.slots is not None
    if refusal.why == "away":
        return no_hub()
    name, most = provider.name, f"{provider.slots.timeout_s:g} s (queue_timeout)"
    if work.patience.seconds < (provider.slots.timeout_s or math.inf):
        most = f"the {work.patience.seconds:g} s that the client waits"
    if refusal.why == "full":
        words = f"the queue for {name} is full: {refusal.waiting} requests wait there"
        return Failure("queue_full", words, retry_after_s=refusal.retry_after_s)
    if refusal.why == "late":
        words = f"{name} would begin this in about {refusal.estimate_s:.0f} s, not within {most}"
    else:
        words = f"{name} did not begin this within {most}"
    return Failure("queue_timeout", words, retry_after_s=refusal.retry_after_s)


# --- money ----------------------------------------------------------------------------------------


@asynccontextmanager
async def _budget(
    work: Work, candidate: Candidate, provider: Provider
) -> AsyncIterator[Failure | None]:
    """Reserve what the attempt may cost; afterwards put right what it did."""
    allowance = work.caller.allowance
    limit_usd = allowance.budget_usd_per_day if allowance is not None else 0.0
    prompt, answer = _prompt_tokens(work, candidate), _reserved_tokens(work)
    usd = estimated_usd(provider, candidate.model, prompt, answer) if limit_usd else None
    if not limit_usd or (usd is None and provider.local):
        yield None  # one's own machine sends no bill
        return
    if usd is None:
        yield _unpriced(work, candidate)
        return
    admission = work.daemon.admission
    reservation = await admission.reserve(work.story.client, usd, limit_usd, today())
    if not isinstance(reservation, Reservation):
        yield reservation or _spent(work, provider, limit_usd, usd)
        return
    work.story.usage = None  # what there may be is an earlier attempt's
    before, ended = work.story.ledger, False
    try:
        yield None
        ended = True
    finally:
        asked = work.story.ledger is not before
        _settle(work, candidate, reservation, broken_off=asked and not ended)


def _reserved_tokens(work: Work) -> float:
    if work.embed is not None:
        return 0.0
    return min(work.request.max_tokens or RESERVED_TOKENS, RESERVED_TOKENS)


def _settle(
    work: Work, candidate: Candidate, reservation: Reservation, *, broken_off: bool
) -> None:
    """An attempt that came to an end before it had given anything costs nothing; of one that was
    broken off nobody tells, or only how it began, so its reservation stands at least."""
    provider = work.gen.providers[candidate.provider]
    usd = cost_usd(provider, work.story.usage, candidate.model)
    if usd is not None and broken_off:
        usd = max(usd, reservation.usd)
    if usd is None:
        usd = reservation.usd if work.reply.content_sent or broken_off else 0.0
    work.daemon.admission.settle(reservation, usd)


def _spent(work: Work, provider: Provider, limit_usd: float, usd: float) -> Failure:
    day = today()
    spent = work.daemon.admission.spent_usd(work.story.client, day)
    words = (
        f"the budget of client {work.story.client!r} is {limit_usd:g} USD a day, and {spent:.4f} of it "
        f"are spent: about {usd:.4f} for {provider.name} do not fit; it begins anew at 00:00 UTC"
    )
    until_s = ((day + 1) * DAY_MS - work.daemon.wall_ms()) / 1000
    return Failure("over_budget", words, retry_after_s=until_s)


def _unpriced(work: Work, candidate: Candidate) -> Failure:
    words = (
        f"client {work.story.client!r} has a budget, and for {candidate.model[:200]!r} of "
        f"{candidate.provider} no price is known to count by: its owner can set one in [[prices]]"
    )
    return Failure("over_budget", words)


def today() -> int:
    """In UTC, as budgets count."""
    return time.time_ns() // 1_000_000 // DAY_MS
