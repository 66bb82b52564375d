"""Limits of all workers, counted in one place.

Owns: the one Admission, who holds what of it, the answers to workers that ask (permits.py).
Refuses to know: whose turn it is (guard/), requests, where the configuration is: workers tell its limits.

Laws:
1. What a worker holds goes with its connection, at once: places are given on, what it had reserved
   counts as spent, since nobody can tell.
2. A desk that begins anew is told first what is held: until all workers that live have said so, at
   most `RECOUNT_S`, nobody gets anything new.
3. Of two configurations the newer one holds, whoever tells it.
4. Times are told as what is left or has passed of them: each process has a clock of its own. (Who is
   paused goes by the system's, which is one.)
"""

from __future__ import annotations

import logging
from collections import deque
from dataclasses import astuple, dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import trio

from llmrouterd.guard.budget import Reservation
from llmrouterd.guard.fairqueue import Waiter
from llmrouterd.model import Allowance, Slots
from llmrouterd.ops.frames import HELLO, Malformed
from llmrouterd.ops.lines import Lines, Outbox, heard
from llmrouterd.pipeline.admit import Admission, Entry
from llmrouterd.pipeline.gate import Gate, Ticket

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from llmrouterd.guard.fairqueue import Place
    from llmrouterd.ops.lines import Words

    Pauses = dict[str, tuple[int, bool]]  # provider -> when it was said, and what

LOG = logging.getLogger("llmrouter.hub")
RECOUNT_S = 3.0
SECOND_S = 0.03  # until who would be one too many is looked at again
SYNC_S = 1.0
_READ = 64 * 1024
_AT_ONCE = frozenset({"hello", "table", "paused", "news"})  # needs no count


@dataclass(slots=True)
class Held:
    """A place, or one that is waited for."""

    gate: Gate
    ticket: Ticket


@dataclass(frozen=True, slots=True)
class Asked:
    """Something for which others would have to end first: they may have ended just now, and their
    worker's word be on the way."""

    again: Callable[[], None]


@dataclass(eq=False)
class Line:
    """A worker's connection, and what it holds by its own numbers."""

    number: int = 0
    outbox: Outbox = field(default_factory=Outbox)
    holds: dict[int, Entry | Reservation | Held | Asked] = field(default_factory=dict)
    table: Mapping[str, Callable[..., None]] = field(default_factory=dict)  # what it may say


class Desk:
    """awaited: numbers of the workers that may hold something already."""

    def __init__(self, admission: Admission, awaited: frozenset[int] = frozenset()) -> None:
        self.admission = admission
        self._pauses: Pauses = {}
        self.lines: dict[int, Line] = {}
        self._awaited = set(awaited)
        self._held_back: list[tuple[Line, Words]] = []
        self._generation = 0
        self._slots: dict[str, Slots] = {}
        self._clients: dict[str, Allowance] = {}
        self._second: deque[tuple[float, Line, int]] = deque()
        self._more = trio.Event()
        self._syncs: dict[int, tuple[set[int], trio.Event]] = {}
        self._last_sync = 0

    async def run(self) -> None:
        """Until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._recounted)
            while True:
                await self._more.wait()
                self._more = trio.Event()
                while self._second:
                    due, line, at = self._second.popleft()
                    await trio.sleep_until(due)
                    asked = line.holds.pop(at, None)
                    if isinstance(asked, Asked):
                        asked.again()

    def _look_again(self, line: Line, at: int, again: Callable[[], None]) -> None:
        line.holds[at] = Asked(again)
        self._second.append((trio.current_time() + SECOND_S, line, at))
        self._more.set()

    async def _recounted(self) -> None:
        """Law 2: when the time for that is over."""
        if self._awaited:
            await trio.sleep(RECOUNT_S)
            for number in sorted(self._awaited):
                LOG.warning("worker %d has not said what it holds: counted without it", number)
            self._awaited.clear()
            self._go_on()

    async def serve(self, stream: trio.abc.Stream, data: bytes | bytearray) -> None:
        """A worker's connection to its end. data: what came of it already."""
        line = Line()
        line.table = self._said(line)
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_write, line.outbox, stream, nursery.cancel_scope)
                await self._read(line, stream, data)
                nursery.cancel_scope.cancel()
        finally:
            self._gone(line)

    async def _read(
        self, line: Line, stream: trio.abc.ReceiveStream, data: bytes | bytearray
    ) -> None:
        lines = Lines()
        try:
            while data:
                for words in lines.feed(data):
                    self._hear(line, words)
                data = await stream.receive_some(_READ)
        except Malformed as error:
            LOG.warning("worker %d says what is not understood: %s", line.number, error)
        except trio.BrokenResourceError:
            pass

    # --- who is there -----------------------------------------------------------------------------

    def _hear(self, line: Line, words: Words) -> None:
        if words[0] != "hello" and self.lines.get(line.number) is not line:
            raise Malformed("no hello" if not line.number else "it has come back on another line")
        if self._awaited and words[0] not in _AT_ONCE:
            self._held_back.append((line, words))
            return
        try:
            heard(line.table, words)
        except (TypeError, ValueError, KeyError, AttributeError) as error:
            raise Malformed(f"{words[0]}: {error!r}") from error

    def _said(self, line: Line) -> Mapping[str, Callable[..., None]]:
        table: dict[str, Callable[..., None]] = {
            "hello": self._hello,
            "table": self._table,
            "enter": self._enter,
            "exit": self._exit,
            "reserve": self._reserve,
            "settle": self._settle,
            "offer": self._offer,
            "depart": self._depart,
            "drop": self._drop,
            "paused": self._pause,
            "news": self._news,
            "bye": self._bye,
        }
        return {kind: partial(do, line) for kind, do in table.items()}

    def _hello(self, line: Line, version: int, number: int, state: Mapping[str, Any]) -> None:
        """It comes, or comes back: then it says what it holds."""
        if version != HELLO:
            raise Malformed(f"version {version}")
        before = self.lines.get(number)
        if before is not None:
            self._gone(before)
        line.number = number
        self.lines[number] = line
        self._table(line, state["table"])
        self._pause(line, state["paused"])
        self._restate(line, state)
        self._awaited.discard(number)
        self._go_on()

    def _restate(self, line: Line, state: Mapping[str, Any]) -> None:
        now, admission = trio.current_time(), self.admission
        for client, day, usd in state["spent"]:
            lacking = usd - admission.budget.spent(client, day)
            if lacking > 0:
                admission.budget.add(client, lacking, day)
                admission.spent(client, day, lacking)
        for client, requests, tokens, ago_s in state["levels"]:
            allowance = self._clients.get(client)
            if allowance is not None:
                filled = ago_s / 60
                levels = requests + filled * allowance.rpm, tokens + filled * allowance.tpm
                admission.limits(client, allowance).lower(levels, now)
        for at, client, tokens, ago_s in state["entered"]:
            limits = admission.limits(client, self._clients.get(client, Allowance()))
            limits.adopt()
            left = limits.left(now)
            line.holds[at] = Entry(client, tokens, now - ago_s, limits, None, left, 0.0)
        for at, client, day, usd in state["reserved"]:
            line.holds[at] = admission.budget.adopt(client, usd, day)
        for at, provider, client, model, tokens, batch, answer, ago_s in state["placed"]:
            waiter = Waiter(client, model, tokens, batch, answer=answer)
            gate = self._gate(provider)
            gate.queue.adopt(waiter, now, ago_s)
            line.holds[at] = Held(gate, Ticket(waiter))

    def _go_on(self) -> None:
        if self._awaited:
            return
        held_back, self._held_back = self._held_back, []
        for line, words in held_back:
            if self.lines.get(line.number) is not line:
                continue
            try:
                self._hear(line, words)
            except Malformed as error:
                LOG.warning("worker %d says what is not understood: %s", line.number, error)
                line.outbox.end()

    def _gone(self, line: Line) -> None:
        """Law 1."""
        if self.lines.get(line.number) is not line:
            return
        del self.lines[line.number]
        for at in list(self._syncs):
            self.synced(at, line.number)
        for at, held in list(line.holds.items()):
            if isinstance(held, Reservation):
                self._settled(line, at, held.usd)
            elif isinstance(held, Entry):
                self._exit(line, at, None)
            else:
                self._drop(line, at)

    # --- limits -----------------------------------------------------------------------------------

    def _table(self, line: Line, table: Mapping[str, Any]) -> None:
        """Law 3."""
        if table["generation"] < self._generation:
            return
        self._generation = table["generation"]
        self._slots = {name: slots_of(values) for name, values in table["slots"].items()}
        self._clients = {name: Allowance(*values) for name, values in table["clients"].items()}
        self.admission.renew(self._slots)

    def _gate(self, provider: str) -> Gate:
        return self.admission.gate_of(provider, self._slots.get(provider, Slots()))

    def _enter(self, line: Line, at: int, client: str, tokens: float) -> None:
        allowance = self._clients.get(client, Allowance())
        limits = self.admission.limits(client, allowance)
        if allowance.at_once and limits.at_once >= allowance.at_once:
            self._look_again(line, at, partial(self._let_in, line, at, client, tokens))
        else:
            self._let_in(line, at, client, tokens)

    def _let_in(self, line: Line, at: int, client: str, tokens: float) -> None:
        allowance = self._clients.get(client, Allowance())
        entry = self.admission.let_in(client, allowance, tokens)
        exceeded = None if entry.exceeded is None else astuple(entry.exceeded)
        levels = entry.limits.levels(trio.current_time())
        if exceeded is None:
            line.holds[at] = entry
        line.outbox.say("entered", at, exceeded, astuple(entry.left), entry.usd_left, levels)

    def _exit(self, line: Line, at: int, used: float | None) -> None:
        entry = line.holds.pop(at, None)
        if isinstance(entry, Entry):
            self.admission.leave(entry, used)

    def _reserve(
        self, line: Line, at: int, client: str, usd: float, limit_usd: float, day: int
    ) -> None:
        left = self.admission.budget.left(client, limit_usd, day)
        unspent = limit_usd - self.admission.budget.spent(client, day)
        if left < usd <= unspent:
            again = partial(self._set_aside, line, at, client, usd, limit_usd, day)
            self._look_again(line, at, again)
        else:
            self._set_aside(line, at, client, usd, limit_usd, day)

    def _set_aside(
        self, line: Line, at: int, client: str, usd: float, limit_usd: float, day: int
    ) -> None:
        budget = self.admission.budget
        reservation = budget.reserve(client, usd, limit_usd, day)
        if reservation is not None:
            line.holds[at] = reservation
        spent_usd = budget.spent(client, day)
        line.outbox.say("reserved", at, reservation is not None, client, day, spent_usd)

    def _settle(self, line: Line, at: int, client: str, day: int, usd: float) -> None:
        """Of a reservation, or of one that the desk before this one knew."""
        if isinstance(line.holds.get(at), Reservation):
            self._settled(line, at, usd)
        else:
            self.admission.budget.add(client, usd, day)
            self.admission.spent(client, day, usd)
        line.outbox.say("settled", at, client, day, self.admission.budget.spent(client, day))

    def _settled(self, line: Line, at: int, usd: float) -> None:
        held = line.holds.pop(at)
        assert isinstance(held, Reservation)
        self.admission.settle(held, usd)

    def _drop(self, line: Line, at: int) -> None:
        """Whoever asked for it is gone, and has used nothing of it."""
        held = line.holds.pop(at, None)
        if isinstance(held, Held):
            held.gate.leave(held.ticket, served=False)
        elif isinstance(held, Entry):
            self.admission.leave(held, 0.0)
        elif isinstance(held, Reservation):
            self.admission.settle(held, 0.0)

    # --- places -----------------------------------------------------------------------------------

    def _offer(
        self, line: Line, at: int, provider: str, who: list[Any], left_s: float, ago_s: float
    ) -> None:
        client, model, tokens, batch, answer = who
        now = trio.current_time()
        waiter = Waiter(client, model, tokens, batch, answer=answer, until=now + left_s)
        ticket = Ticket(waiter, partial(_tell, line, at))
        ticket.heard = partial(self._answered, line, at, ticket)
        gate = self._gate(provider)
        line.holds[at] = Held(gate, ticket)
        gate.offer(ticket)
        waiter.arrived -= ago_s

    def _answered(self, line: Line, at: int, ticket: Ticket) -> None:
        refusal = ticket.waiter.refusal
        if refusal is None:
            line.outbox.say("granted", at)
        else:
            del line.holds[at]  # the worker says nothing of it any more
            line.outbox.say("refused", at, astuple(refusal))

    def _depart(
        self, line: Line, at: int, served: bool, tokens: float, answered: float | None
    ) -> None:
        held = line.holds.pop(at, None)
        if isinstance(held, Held):
            held.ticket.waiter.tokens, held.ticket.waiter.answered = tokens, answered
            held.gate.leave(held.ticket, served=served)

    # --- what all are to know ---------------------------------------------------------------------

    def _pause(self, line: Line, pauses: Pauses) -> None:
        merge(self._pauses, pauses)
        for each in self.lines.values():
            each.outbox.say("paused", self._pauses)

    def _news(self, line: Line, *words: Any) -> None:
        for each in self.lines.values():
            if each is not line:
                each.outbox.say("news", *words)

    def _bye(self, line: Line) -> None:
        """Whatever it said before has been heard."""
        line.outbox.say("bye")

    async def sync(self, but: int) -> None:
        """Wait until all workers but one have told the hub whatever they had to tell by now."""
        left = {number for number in self.lines if number != but}
        if not left:
            return
        self._last_sync += 1
        at, done = self._last_sync, trio.Event()
        self._syncs[at] = (left, done)
        for number in left:
            self.lines[number].outbox.say("sync", at)
        try:
            with trio.move_on_after(SYNC_S):
                await done.wait()
        finally:
            del self._syncs[at]

    def synced(self, at: int, number: int) -> None:
        left, done = self._syncs.get(at, (set(), None))
        left.discard(number)
        if done is not None and not left:
            done.set()

    def queues(self) -> dict[str, tuple[Any, ...]]:
        """Provider -> who is at work there and who waits, as plain values."""
        gates = self.admission.gates.items()
        return {name: tuple(_plain(gate)) for name, gate in gates}


def _plain(gate: Gate) -> list[Any]:
    seen = gate.queue.snapshot()
    return [seen.running, seen.waiting, seen.clients, seen.models, seen.loaded]


def _tell(line: Line, at: int, place: Place) -> None:
    line.outbox.say("place", at, place.position, place.estimate_s)


def merge(into: Pauses, more: Pauses) -> bool:
    """What was said last holds. Whether anything is another now."""
    changed = False
    for name, (at, paused) in more.items():
        if name not in into or into[name][0] < at:
            into[name] = (at, paused)
            changed = True
    return changed


def slots_of(values: list[Any]) -> Slots:
    """As `table_of` writes them."""
    at_once, per_model, *more = values
    return Slots(at_once, tuple((glob, most) for glob, most in per_model), *more)


def table_of(
    generation: int, slots: Mapping[str, Slots], clients: Mapping[str, Allowance]
) -> dict[str, Any]:
    """The limits of a configuration."""
    return {
        "generation": generation,
        "slots": {name: astuple(each) for name, each in slots.items()},
        "clients": {name: astuple(each) for name, each in clients.items()},
    }


async def _write(outbox: Outbox, stream: trio.abc.SendStream, scope: trio.CancelScope) -> None:
    try:
        await outbox.run(stream)
        LOG.warning("a worker does not read what the hub says: its connection is closed")
    except trio.BrokenResourceError:
        pass  # the reader sees it, too
    scope.cancel()
