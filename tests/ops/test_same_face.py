"""Requests see no difference: the tests of admission in one process, once more with the hub between."""

import inspect
from contextlib import asynccontextmanager

import pytest
import trio
import trio.testing

from llmrouterd.ops.permits import Permits
from tests.ops.desks import desks
from tests.pipeline import test_admit
from tests.pipeline.stage import stage

# These look into an Admission of this process, or at what is known only a second later.
_INSIDE = (
    "admission.spent",
    "admission.gates",
    "admission.limits(",
    "admission.budget",
    "admission.renewed",
    "busy",
)
TESTS = [
    test
    for name, test in vars(test_admit).items()
    if name.startswith("test_")
    and list(inspect.signature(test).parameters) == ["autojump_clock"]
    and not any(word in inspect.getsource(test) for word in _INSIDE)
]


class Learning(Permits):
    """Its limits are those that the tests' clients come with."""

    def learn(self, slots) -> None:
        self.slots, self.known, self.number = slots, {}, 1

    async def enter(self, client, allowance, tokens):
        if self.known.get(client) != allowance:
            self.known[client] = allowance
            self.number += 1
            self.put_in_force(self.number, self.slots, self.known)
        return await super().enter(client, allowance, tokens)


@asynccontextmanager
async def over_the_hub(*providers, **more):
    slots = {each.name: each.slots for each in providers if each.slots is not None}
    async with desks(kind=Learning, slots=slots) as all_, stage(*providers, **more) as st:
        permits = await all_.worker(1)
        permits.learn(slots)
        st.daemon.admission = permits
        yield st
        await trio.testing.wait_all_tasks_blocked()
        assert all_.desk.admission.idle


def test_there_are_enough_of_them() -> None:
    assert len(TESTS) > 15


@pytest.mark.slow
@pytest.mark.parametrize("test", TESTS, ids=lambda test: test.__name__.removeprefix("test_"))
async def test_with_a_hub(test, autojump_clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(test_admit, "stage", over_the_hub)
    await test(autojump_clock)
