"""One GPU, simulated, shared by several clients: what the queue makes of it, against first come first
served. The clock jumps, so an hour takes a moment; the figures are printed (`pytest -rP`), and
docs/queues.md shows them."""

import sys
from collections import Counter
from dataclasses import dataclass, field
from functools import partial
from random import Random

import pytest
import trio

from llmrouterd.guard.fairqueue import Waiter
from llmrouterd.model import Slots
from llmrouterd.pipeline.gate import Gate, Ticket, Timer

pytestmark = pytest.mark.slow
LOAD_S = 8.0
TOKENS_PER_S = 50.0
HOUR_S = 3600.0
FIFO = Slots(at_once=1, max_queue=1000, timeout_s=0.0)
FAIR = Slots(at_once=1, max_queue=1000, timeout_s=0.0, max_loaded=1)


@dataclass
class Gpu:
    """Holds one model at a time, and answers one request at a time. fifo: as without clients."""

    slots: Slots
    fifo: bool = False
    swaps: int = 0
    loaded: str = ""
    busy: bool = False
    served: Counter = field(default_factory=Counter)  # tokens, by client
    work_s: Counter = field(default_factory=Counter)  # the same as seconds, loading not counted
    requests: Counter = field(default_factory=Counter)
    waits: dict[str, list[float]] = field(default_factory=dict)
    longest_s: float = 0.0

    def __post_init__(self) -> None:
        self.timer = Timer()
        self.gate = Gate(self.slots, self.timer)

    async def ask(self, client: str, model: str, tokens: float, *, batch: bool = False) -> None:
        guess = 300.0  # nobody knows how long an answer will be
        who = "all" if self.fifo else client
        ticket = Ticket(Waiter(who, model, guess, batch and not self.fifo))
        begun = trio.current_time()
        try:
            assert await self.gate.enter(ticket) is None
            self.waits.setdefault(client, []).append(trio.current_time() - begun)
            await self.work(client, model, tokens)
        finally:
            self.gate.leave(ticket, served=True)

    async def work(self, client: str, model: str, tokens: float) -> None:
        assert not self.busy
        self.busy = True
        if model != self.loaded:
            self.loaded, self.swaps = model, self.swaps + 1
            await trio.sleep(LOAD_S)
        took_s = 0.3 + tokens / TOKENS_PER_S
        self.longest_s = max(self.longest_s, took_s)
        await trio.sleep(took_s)
        self.busy = False
        self.served[client] += tokens
        self.work_s[client] += took_s
        self.requests[client] += 1


@dataclass(frozen=True)
class Person:
    """at_once: how many of its requests are under way; pause_s: between an answer and the next."""

    name: str
    models: str
    at_once: int = 1
    pause_s: float = 0.0
    tokens: tuple[int, int] = (100, 500)
    batch: bool = False

    async def live(self, gpu: Gpu, seed: int) -> None:
        chance = Random(f"{self.name}{seed}")
        while True:
            model, tokens = chance.choice(self.models), chance.uniform(*self.tokens)
            await gpu.ask(self.name, model, tokens, batch=self.batch)
            await trio.sleep(self.pause_s * chance.uniform(0.5, 1.5))


async def hour(gpu: Gpu, people: list[Person]) -> Gpu:
    with trio.move_on_after(HOUR_S):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(gpu.timer.run)
            for person in people:
                for number in range(person.at_once):
                    nursery.start_soon(person.live, gpu, number)
    assert gpu.gate.queue.idle
    return gpu


def at(waits: list[float], share: float) -> float:
    return sorted(waits)[int(share * (len(waits) - 1))]


def line(title: str, gpu: Gpu, *names: str) -> str:
    count = sum(gpu.requests.values())
    cells = [f"{title:<28}", f"{count:>6}", f"{gpu.swaps:>6}"]
    cells.append(f"{sum(gpu.served.values()) / HOUR_S:>9.1f}")
    for name in names:
        waits = gpu.waits[name]
        share = gpu.work_s[name] / sum(gpu.work_s.values())
        cells.append(f"{name} {share:.0%} p50 {at(waits, 0.5):.0f} max {max(waits):.0f} s")
    return " | ".join(cells)


def bound_s(gpu: Gpu, clients: int, *, ahead: int = 0, batch: bool = False) -> float:
    """What docs/queues.md promises. ahead: of one's own requests."""
    slots, one_s = gpu.slots, gpu.longest_s + LOAD_S
    extra_s = max(slots.swap_wait_s, slots.residency_s) + 2 * one_s
    turn_s = 2 * (clients - 1) * gpu.longest_s + extra_s
    return (slots.batch_wait_s if batch else 0.0) + (1 + ahead) * turn_s


def loads_each(gpu: Gpu) -> float:
    return gpu.swaps / sum(gpu.requests.values())


def show(text: str) -> None:
    sys.stdout.write(f"{text}\n")


HEAD = f"{'':<28} | {'served':>6} | {'loads':>6} | tokens/s | share and wait by client"


async def test_two_models_do_not_thrash_and_everybody_has_the_same_share(autojump_clock) -> None:
    """Three who always want more: ann one model, bob the other, cyd both, in requests of three sizes."""
    people = [
        Person("ann", "a", at_once=2, tokens=(50, 150)),
        Person("bob", "b", at_once=2, tokens=(200, 600)),
        Person("cyd", "ab", at_once=2, tokens=(100, 300)),
    ]
    names = [each.name for each in people]
    fifo = await hour(Gpu(FIFO, fifo=True), people)
    fair = await hour(Gpu(FAIR), people)
    show(f"\nsaturated, two models, three clients, one hour\n{HEAD}")
    show(line("first come, first served", fifo, *names))
    show(line("fair queue", fair, *names))
    assert loads_each(fair) < loads_each(fifo) / 3
    assert sum(fair.served.values()) > 1.25 * sum(fifo.served.values())
    mean = sum(fair.work_s.values()) / 3
    assert all(abs(fair.work_s[name] - mean) < 0.1 * mean for name in names), fair.work_s
    worst_s = max(max(waits) for waits in fair.waits.values())
    assert worst_s < bound_s(fair, 3, ahead=1)


async def test_people_at_their_screens_go_before_a_batch_that_never_starves(autojump_clock) -> None:
    people = [
        Person("ann", "a", pause_s=20.0, tokens=(100, 300)),
        Person("bob", "b", pause_s=20.0, tokens=(100, 300)),
        Person("night", "ab", at_once=10, tokens=(200, 800), batch=True),
    ]
    names = [each.name for each in people]
    fifo = await hour(Gpu(FIFO, fifo=True), people)
    fair = await hour(Gpu(FAIR), people)
    show(f"\ntwo people, a model each, and a batch of ten at once on both\n{HEAD}")
    show(line("first come, first served", fifo, *names))
    show(line("fair queue", fair, *names))
    for name in ("ann", "bob"):
        assert at(fair.waits[name], 0.5) < at(fifo.waits[name], 0.5) / 3
        assert max(fair.waits[name]) < bound_s(fair, 3)
    assert fair.swaps < fifo.swaps
    assert max(fair.waits["night"]) < bound_s(fair, 3, ahead=9, batch=True)
    assert fair.requests["night"] > 60


async def test_two_agents_with_a_model_each_do_not_thrash(autojump_clock) -> None:
    """Each asks again two seconds after its answer, so that nobody ever waits for the model that is
    loaded: it is kept for them all the same."""
    people = [Person("ann", "a", pause_s=2.0), Person("bob", "b", pause_s=2.0)]
    fifo = await hour(Gpu(FIFO, fifo=True), people)
    fair = await hour(Gpu(FAIR), people)
    show(f"\ntwo agents, a model each, two seconds between an answer and the next request\n{HEAD}")
    show(line("first come, first served", fifo, "ann", "bob"))
    show(line("fair queue", fair, "ann", "bob"))
    assert loads_each(fair) < loads_each(fifo) / 2
    assert sum(fair.served.values()) > 1.1 * sum(fifo.served.values())
    mean = sum(fair.work_s.values()) / 2
    assert all(abs(each - mean) < 0.1 * mean for each in fair.work_s.values()), fair.work_s
    assert max(max(waits) for waits in fair.waits.values()) < bound_s(fair, 2)


@pytest.mark.parametrize("models", ["a", "ab"])
async def test_whoever_is_alone_loses_nothing(autojump_clock, models: str) -> None:
    """One request after the other: no wait at all. Four at a time: as much in the hour, or more."""
    one = await hour(Gpu(FAIR), [Person("ann", models, pause_s=3.0)])
    assert max(one.waits["ann"]) == 0.0
    people = [Person("ann", models, at_once=4)]
    fifo, fair = await hour(Gpu(FIFO, fifo=True), people), await hour(Gpu(FAIR), people)
    show(f"\nalone, {len(models)} model(s)\n{HEAD}")
    show(line("one at a time", one, "ann"))
    show(line("four, first come first served", fifo, "ann"))
    show(line("four, fair queue", fair, "ann"))
    assert fair.served["ann"] > 0.98 * fifo.served["ann"]  # trio shuffles who asks first


async def test_everybody_who_goes_away_gives_his_place_on(autojump_clock) -> None:
    """Four hundred who lose patience at some moment: in the queue, or at work."""
    gpu, chance = Gpu(Slots(at_once=3, max_queue=500, max_loaded=1, timeout_s=30.0)), Random(3)

    async def impatient(number: int) -> None:
        await trio.sleep(chance.uniform(0.0, 20.0))
        ticket = Ticket(Waiter(f"c{number % 7}", chance.choice("ab"), 100.0, number % 3 == 0))
        with trio.move_on_after(chance.expovariate(1 / 5.0)):
            try:
                if await gpu.gate.enter(ticket) is None:
                    await trio.sleep(chance.uniform(0.0, 2.0))
            finally:
                gpu.gate.leave(ticket, served=False)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(gpu.timer.run)
        async with trio.open_nursery() as people:
            for number in range(400):
                people.start_soon(partial(impatient, number))
        nursery.cancel_scope.cancel()
    assert gpu.gate.queue.idle
    assert gpu.gate.queue.snapshot().models == {}
