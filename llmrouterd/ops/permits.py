"""A worker's Admission: it asks the hub, where the limits of all workers are counted (desk.py).

Owns: the line to the hub and its coming back, what this worker holds, the last that it heard of what
is left.
Refuses to know: whose turn it is, what is left in a bucket: the desk does.

Laws:
1. The same face as Admission, and nothing of a request but names and numbers passes here.
2. Without the hub nothing new is let in where something is limited: whoever asks waits until it is
   back, at most `AWAY_S`, and then is told so. What holds a place already goes on.
3. When the hub is back it is told first what is held here, then what was asked for meanwhile.
4. What was spent is said until the hub has heard it.
"""

from __future__ import annotations

import itertools
import logging
import math
import time
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import trio

from llmrouterd.guard.budget import Reservation
from llmrouterd.guard.fairqueue import Place, Refusal, Snapshot
from llmrouterd.guard.limits import ClientLimits, Exceeded, Left
from llmrouterd.ops.desk import merge, table_of
from llmrouterd.ops.frames import HELLO, Malformed
from llmrouterd.ops.lines import Lines, Outbox, heard
from llmrouterd.pipeline.admit import Admission, Entry, no_hub

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from formats.errors import Failure
    from llmrouterd.guard.fairqueue import Waiter
    from llmrouterd.model import Allowance, Provider, Slots
    from llmrouterd.ops.desk import Pauses
    from llmrouterd.ops.lines import Words
    from llmrouterd.pipeline.gate import Places, Ticket

LOG = logging.getLogger("llmrouter.hub")
AWAY_S = 5.0
AGAIN_S = (0.05, 0.5)  # between two tries to reach the hub: the first, the longest
LAST_S = 3.0
_READ = 64 * 1024
_NOTHING = Left(None, None)


@dataclass(eq=False)
class Ask:
    """A question until its answer has come. words: as it is said again."""

    words: tuple[Any, ...]
    answer: Words | None = None
    changed: trio.Event = field(default_factory=trio.Event)


@dataclass(frozen=True, slots=True)
class Admitted(Entry):
    """An Entry of the hub's."""

    number: int = 0


@dataclass(frozen=True, slots=True)
class Reserved(Reservation):
    """A Reservation of the hub's."""

    number: int = 0


@dataclass(eq=False)
class Offer:
    """A place that is waited for, or held. until: something must have been heard of it."""

    number: int
    provider: str
    ticket: Ticket
    until: float
    began: float
    place: Place | None = None


class Permits(Admission):
    """`run` is its task. connect: a new connection to the hub; raises OSError. generation, slots,
    clients: the limits of the configuration in force."""

    def __init__(
        self,
        connect: Callable[[], Awaitable[trio.abc.Stream]],
        number: int,
        generation: int,
        slots: Mapping[str, Slots],
        clients: Mapping[str, Allowance],
    ) -> None:
        super().__init__()
        self._connect = connect
        self._number = number
        self._table = table_of(generation, slots, clients)
        self._limited = bool(slots or clients)
        self.told_paused: Callable[[frozenset[str]], None] = _ignored
        self.told_news: Callable[..., None] = _ignored
        self.synced: Callable[[int], None] = _ignored
        self._pauses: Pauses = {}
        self._seen: Mapping[str, Any] = {}
        self._outbox: Outbox | None = None
        self._closing, self._bye = trio.Event(), trio.Event()
        self._numbers = itertools.count(1)
        self._asks: dict[int, Ask] = {}
        self._entered: dict[int, Admitted] = {}
        self._reserved: dict[int, Reserved] = {}
        self._offers: dict[int, Offer] = {}
        self._by_waiter: dict[Waiter, Offer] = {}
        self._unsettled: dict[int, tuple[str, int, float]] = {}
        self._levels: dict[str, tuple[float, float, float]] = {}
        self._spent: dict[str, tuple[int, float]] = {}
        self._away_since = trio.current_time()

    @property
    def away(self) -> bool:
        """So long that requests are refused for it; without limits none is."""
        return self._limited and self._patience_s() <= 0

    def _patience_s(self) -> float:
        """How long whoever asks now may wait to be heard."""
        if self._outbox is not None:
            return AWAY_S
        return self._away_since + AWAY_S - trio.current_time()

    # --- the face of Admission --------------------------------------------------------------------

    async def enter(self, client: str, allowance: Allowance, tokens: float) -> Entry | Failure:
        at = next(self._numbers)
        answer = await self._ask("enter", at, client, tokens)
        if answer is None:
            return no_hub()
        exceeded, left, usd_left, levels = answer
        now = trio.current_time()
        self._levels[client] = (levels[0], levels[1], now)
        limits = ClientLimits(allowance, now)  # of no use here: the hub has the one that counts
        found = None if exceeded is None else Exceeded(*exceeded)
        entry = Admitted(client, tokens, now, limits, found, Left(*left), usd_left, at)
        if found is None:
            self._entered[at] = entry
        return entry

    def leave(self, entry: Entry, used: float | None) -> None:
        assert isinstance(entry, Admitted)
        del self._entered[entry.number]
        self._say("exit", entry.number, used)

    async def reserve(
        self, client: str, usd: float, limit_usd: float, day: int
    ) -> Reservation | Failure | None:
        at = next(self._numbers)
        answer = await self._ask("reserve", at, client, usd, limit_usd, day)
        if answer is None:
            return no_hub()
        fits, *spent = answer
        self._note_spent(*spent)
        if not fits:
            return None
        reserved = self._reserved[at] = Reserved(client, day, usd, at)
        return reserved

    def settle(self, reservation: Reservation, usd: float) -> None:
        assert isinstance(reservation, Reserved)
        at, client, day = reservation.number, reservation.client, reservation.day
        del self._reserved[at]
        self._unsettled[at] = (client, day, usd)
        self._say("settle", at, client, day, usd)

    def spent_usd(self, client: str, day: int) -> float:
        known, usd = self._spent.get(client, (day, 0.0))
        return usd if known == day else 0.0

    def gate(self, provider: Provider) -> Places:
        assert provider.slots is not None
        return Far(self, provider.name, provider.slots)

    def renewed(self, providers: Mapping[str, Provider]) -> None:
        """`put_in_force` says it, with the clients' limits."""

    def put_in_force(
        self, generation: int, slots: Mapping[str, Slots], clients: Mapping[str, Allowance]
    ) -> None:
        self._limited = bool(slots or clients)
        self._table = table_of(generation, slots, clients)
        self._say("table", self._table)

    def queued(self) -> dict[str, int]:
        """The hub's page has them."""
        return {}

    def seen(self, queues: Mapping[str, Any]) -> None:
        """How the queues stand, told about once a second."""
        self._seen = queues

    def waiting(self, provider: str) -> int:
        seen = self._seen.get(provider)
        return 0 if seen is None else seen[1]

    def snapshot(self, provider: str) -> Snapshot | None:
        seen = self._seen.get(provider)
        return None if seen is None else Snapshot(*seen)

    @property
    def idle(self) -> bool:
        return not (self._entered or self._reserved or self._offers or self._unsettled)

    # --- what else is told at once ----------------------------------------------------------------

    def pause(self, provider: str, paused: bool) -> None:
        """Take it as said, and tell the others; without a hub, as soon as it is back."""
        merge(self._pauses, {provider: (time.monotonic_ns(), paused)})
        self._say("paused", self._pauses)

    def _told_pauses(self, pauses: Pauses) -> None:
        if merge(self._pauses, pauses):
            self.told_paused(frozenset(name for name, (_, on) in self._pauses.items() if on))

    def tell(self, *news: Any) -> None:
        """The other workers, those that are there."""
        self._say("news", *news)

    # --- asking -----------------------------------------------------------------------------------

    def _say(self, *words: Any) -> None:
        if self._outbox is not None:
            self._outbox.say(*words)

    async def _ask(self, kind: str, at: int, *words: Any) -> Words | None:
        """The answer; None when there is none in time."""
        ask = self._asks[at] = Ask((kind, at, *words))
        self._say(*ask.words)
        taken = False
        try:
            with trio.move_on_after(max(0.0, self._patience_s())):
                await ask.changed.wait()
            taken = ask.answer is not None
        finally:
            del self._asks[at]
            if not taken:  # what comes of it is nobody's
                self._say("drop", at)
        return ask.answer

    def _answered(self, at: int, *answer: Any) -> None:
        ask = self._asks.get(at)
        if ask is not None:  # else it was dropped, and that is on its way
            ask.answer = list(answer)
            ask.changed.set()

    def _note_spent(self, client: str, day: int, usd: float) -> None:
        known, had = self._spent.get(client, (day, 0.0))
        if day >= known:
            self._spent[client] = (day, max(had, usd) if day == known else usd)

    def _settled(self, at: int, client: str, day: int, usd: float) -> None:
        self._unsettled.pop(at, None)
        self._note_spent(client, day, usd)

    # --- places -----------------------------------------------------------------------------------

    def offer(self, provider: str, slots: Slots, ticket: Ticket) -> None:
        now, waiter = trio.current_time(), ticket.waiter
        waiter.state, waiter.arrived = "waiting", now
        waiter.deadline = min(waiter.until, now + (slots.timeout_s or math.inf))
        offer = Offer(
            next(self._numbers), provider, ticket, now + max(0.0, self._patience_s()), now
        )
        self._offers[offer.number] = self._by_waiter[waiter] = offer
        self._say(*self._offered(offer, now))

    def _offered(self, offer: Offer, now: float) -> tuple[Any, ...]:
        waiter = offer.ticket.waiter
        who = [waiter.client, waiter.model, waiter.tokens, waiter.batch, waiter.answer]
        left_s, ago_s = waiter.deadline - now, now - waiter.arrived
        return ("offer", offer.number, offer.provider, who, left_s, ago_s)

    def until(self, ticket: Ticket) -> float:
        """How long its task may wait for something to change."""
        return min(ticket.waiter.deadline, self._by_waiter[ticket.waiter].until)

    def look(self, ticket: Ticket) -> None:
        """Whether its time is over."""
        waiter, now = ticket.waiter, trio.current_time()
        if waiter.state != "waiting" or now < self.until(ticket):
            return
        offer = self._by_waiter[waiter]
        if now < waiter.deadline:
            waiter.refusal = Refusal("away", 0, None, 1.0)
        else:
            estimate_s = None if offer.place is None else offer.place.estimate_s
            after_s = max(estimate_s or 0.0, 1.0)
            waiter.refusal = Refusal("timeout", self.waiting(offer.provider), estimate_s, after_s)
        self._given_up(offer)

    def _given_up(self, offer: Offer) -> None:
        offer.ticket.waiter.state = "gone"
        self._say("drop", offer.number)
        self._forget(offer)

    def depart(self, ticket: Ticket, *, served: bool) -> None:
        offer, waiter = self._by_waiter.get(ticket.waiter), ticket.waiter
        waiter.state = "gone"
        if offer is not None:
            self._say("depart", offer.number, served, waiter.tokens, waiter.answered)
            self._forget(offer)

    def _forget(self, offer: Offer) -> None:
        self._offers.pop(offer.number, None)
        self._by_waiter.pop(offer.ticket.waiter, None)

    def _granted(self, at: int) -> None:
        offer = self._offers.get(at)
        if offer is not None:
            offer.began, offer.ticket.waiter.state = trio.current_time(), "running"
            offer.ticket.changed.set()

    def _refused(self, at: int, refusal: list[Any]) -> None:
        offer = self._offers.get(at)
        if offer is not None:
            offer.ticket.waiter.refusal, offer.ticket.waiter.state = Refusal(*refusal), "gone"
            offer.ticket.changed.set()
            self._forget(offer)

    def _placed(self, at: int, position: int, estimate_s: float | None) -> None:
        offer = self._offers.get(at)
        if offer is not None:
            offer.until, offer.place = math.inf, Place(position, estimate_s)
            _wake(offer.ticket)
            if offer.ticket.tell is not None:
                offer.ticket.tell(offer.place)

    # --- the line ---------------------------------------------------------------------------------

    def close(self) -> None:
        """No more: `run` says what there is to say and returns."""
        self._closing.set()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Until closed."""
        wait_s = AGAIN_S[0]
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._last, nursery.cancel_scope)
            task_status.started()
            while True:
                began = trio.current_time()
                await self._connected()
                lasted = trio.current_time() > began + AGAIN_S[1]
                wait_s = AGAIN_S[0] if lasted else min(2 * wait_s, AGAIN_S[1])
                await trio.sleep(wait_s)

    async def _last(self, scope: trio.CancelScope) -> None:
        """What was said last is heard, or it takes too long."""
        await self._closing.wait()
        self._say("bye")
        with trio.move_on_after(LAST_S if self._outbox or self._unsettled else 0):
            await self._bye.wait()
        scope.cancel()

    async def _connected(self) -> None:
        """One connection to its end, where there is one."""
        try:
            stream = await self._connect()
        except OSError:
            return
        outbox = Outbox()
        try:
            async with stream, trio.open_nursery() as nursery:
                self._begin(outbox)
                nursery.start_soon(_write, outbox, stream, nursery.cancel_scope)
                await self._read(stream)
                nursery.cancel_scope.cancel()
        finally:
            self._ended()

    def _begin(self, outbox: Outbox) -> None:
        """Law 3."""
        now, self._outbox = trio.current_time(), outbox
        outbox.say("hello", HELLO, self._number, self._state(now))
        for at, (client, day, usd) in self._unsettled.items():
            outbox.say("settle", at, client, day, usd)
        for ask in self._asks.values():
            outbox.say(*ask.words)
        for offer in self._offers.values():
            if offer.ticket.waiter.state == "waiting":
                outbox.say(*self._offered(offer, now))
        if self._closing.is_set():
            outbox.say("bye")

    def _state(self, now: float) -> dict[str, Any]:
        """What this worker has, and knows of what was there before."""
        placed = []
        for offer in self._offers.values():
            waiter = offer.ticket.waiter
            if waiter.state == "running":
                who = (waiter.client, waiter.model, waiter.tokens, waiter.batch, waiter.answer)
                placed.append((offer.number, offer.provider, *who, now - offer.began))
        return {
            "table": self._table,
            "paused": self._pauses,
            "spent": [(client, day, usd) for client, (day, usd) in self._spent.items()],
            "levels": [(c, r, t, now - at) for c, (r, t, at) in self._levels.items()],
            "entered": [(at, e.client, e.tokens, now - e.begun) for at, e in self._entered.items()],
            "reserved": [(at, r.client, r.day, r.usd) for at, r in self._reserved.items()],
            "placed": placed,
        }

    async def _read(self, stream: trio.abc.ReceiveStream) -> None:
        lines = Lines()
        table: dict[str, Callable[..., None]] = {
            "entered": self._answered,
            "reserved": self._answered,
            "settled": self._settled,
            "granted": self._granted,
            "refused": self._refused,
            "place": self._placed,
            "paused": self._told_pauses,
            "news": lambda *words: self.told_news(*words),
            "sync": lambda at: self.synced(at),
            "bye": self._bye.set,
        }
        try:
            while data := await stream.receive_some(_READ):
                for words in lines.feed(data):
                    heard(table, words)
        except trio.BrokenResourceError:
            pass
        except Malformed as error:
            LOG.warning("the hub says what is not understood: %s", error)

    def _ended(self) -> None:
        """The hub is gone. Who waits in a queue waits for it, too."""
        self._outbox, self._away_since = None, trio.current_time()
        for offer in self._offers.values():
            offer.until = self._away_since + AWAY_S
            if offer.ticket.waiter.state == "waiting":
                _wake(offer.ticket)


@dataclass(frozen=True, slots=True)
class Far:
    """The places of a provider, as the hub gives them."""

    permits: Permits
    provider: str
    slots: Slots

    async def enter(self, ticket: Ticket) -> Refusal | None:
        """As Places has it."""
        waiter = ticket.waiter
        if waiter.state == "new":
            self.permits.offer(self.provider, self.slots, ticket)
        while waiter.state == "waiting":
            changed = ticket.changed
            with trio.move_on_at(self.permits.until(ticket)):
                await changed.wait()
            self.permits.look(ticket)
        return waiter.refusal

    def leave(self, ticket: Ticket, *, served: bool) -> None:
        self.permits.depart(ticket, served=served)


def _wake(ticket: Ticket) -> None:
    """Its task looks anew how long it may wait."""
    ticket.changed.set()
    ticket.changed = trio.Event()


def _ignored(*words: Any) -> None:
    pass


async def _write(outbox: Outbox, stream: trio.abc.SendStream, scope: trio.CancelScope) -> None:
    with suppress(trio.BrokenResourceError):  # the reader sees it, too
        await outbox.run(stream)
    scope.cancel()
