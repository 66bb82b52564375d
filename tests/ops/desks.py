"""A desk and its workers over memory streams, no socket: each of them may die."""

from __future__ import annotations

from contextlib import asynccontextmanager

import trio
import trio.testing

from llmrouterd.guard.fairqueue import Waiter
from llmrouterd.model import Allowance, Price, Provider, Slots
from llmrouterd.ops.desk import Desk
from llmrouterd.ops.permits import Permits
from llmrouterd.pipeline.admit import Admission
from llmrouterd.pipeline.gate import Ticket


def provider(name="p", slots=None) -> Provider:
    return Provider(name, "openai", f"http://{name}", slots=slots or Slots(at_once=2))


class Desks:
    """slots and clients: the limits that workers tell."""

    def __init__(self, nursery, slots=None, clients=None, kind=Permits) -> None:
        self.nursery = nursery
        self.kind = kind
        self.slots = slots or {}
        self.clients = clients or {}
        self.workers: dict[int, Permits] = {}
        self._scopes: dict[int, trio.CancelScope] = {}
        self._served: list[tuple[int, trio.CancelScope]] = []
        self.desk: Desk | None = None
        self._life: trio.CancelScope | None = None

    def begin(self) -> None:
        """A hub, that waits for whoever lives."""
        self.desk, self._life = Desk(Admission(), frozenset(self.workers)), trio.CancelScope()
        self.nursery.start_soon(self._live, self.desk, self._life)

    async def _live(self, desk, scope) -> None:
        with scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(desk.admission.timer.run)
                nursery.start_soon(desk.run)

    def die(self) -> None:
        """The hub, with everything that it knows."""
        self.desk = None
        self._life.cancel()
        served, self._served = self._served, []
        for _, scope in served:
            scope.cancel()

    async def worker(self, number: int, *, generation=1) -> Permits:
        async def connect():
            if self.desk is None:
                raise OSError("nobody listens")
            ours, theirs = trio.testing.memory_stream_pair()
            self.nursery.start_soon(self._serve, number, self.desk, theirs)
            return ours

        permits = self.kind(connect, number, generation, self.slots, self.clients)
        scope = self._scopes[number] = trio.CancelScope()
        self.workers[number] = permits
        self.nursery.start_soon(self._run, permits, scope)
        await trio.testing.wait_all_tasks_blocked()
        return permits

    async def _serve(self, number, desk, stream) -> None:
        with trio.CancelScope() as scope:
            self._served.append((number, scope))
            await desk.serve(stream, await stream.receive_some(65536))
        stream.send_stream.close()
        stream.receive_stream.close()

    async def _run(self, permits, scope) -> None:
        with scope:
            await permits.run()

    def kill(self, number: int) -> None:
        """A worker, without a word."""
        del self.workers[number]
        self._scopes.pop(number).cancel()


@asynccontextmanager
async def desks(*, begun=True, **limits):
    with trio.fail_after(10_000):
        async with trio.open_nursery() as nursery:
            found = Desks(nursery, **limits)
            if begun:
                found.begin()
            yield found
            nursery.cancel_scope.cancel()


def ticket(client="", model="m", tell=None, **more) -> Ticket:
    return Ticket(Waiter(client, model, 10.0, **more), tell)


__all__ = ["Allowance", "Desks", "Price", "Slots", "desks", "provider", "ticket"]
