"""A client that vanishes, at whatever moment, leaves no table of values behind, and neither does one
that stays: redact.py and placeholders.py within the pipeline."""

import gc
import weakref
from collections.abc import Callable
from dataclasses import dataclass

import pytest
import trio
import trio.testing

from llmrouterd.plugins import redact
from llmrouterd.plugins.placeholders import Table
from llmrouterd.plugins.redact import Redact
from tests.pipeline.stage import (
    STREAM,
    chat_stream,
    ollama,
    openai,
    replies,
    request,
    stage,
    streams,
)
from tests.pipeline.test_hedge import hedging

pytestmark = pytest.mark.slow
MAIL = "jan.kowalski@firma.pl"


@dataclass(eq=False)
class HangUpAt(trio.abc.Instrument):
    """The client hangs up at the n-th step of whichever task, from when its request is served."""

    step: int
    hang_up: Callable[[], None]
    serving: bool = False
    taken: int = 0

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        if self.serving:
            self.taken += 1
            if self.taken == self.step:
                self.hang_up()


@pytest.fixture
def tables(monkeypatch) -> weakref.WeakSet[Table]:
    """Those that are alive."""
    alive: weakref.WeakSet[Table] = weakref.WeakSet()

    class Counted(Table):
        def __init__(self, *args) -> None:
            super().__init__(*args)
            alive.add(self)

    monkeypatch.setattr(redact, "Table", Counted)
    return alive


def asked(fmt: str, *, stream: bool) -> dict:
    body = request(fmt, stream=stream)
    body["messages"] = [{"role": "user", "content": f"I am {MAIL}"}]
    return body


def slowly() -> object:
    return streams(STREAM["openai"], chat_stream("[EM", "AIL", "_1]", "!"), pause_s=1.0)


CASES = {
    "stream": (slowly, None),
    "failover": (lambda: [replies(503, b"{}"), slowly()], None),
    "beside": (slowly, hedging("a", "b", after_ms=200)),
}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("fmt", ["openai", "anthropic"])
@pytest.mark.parametrize("case", CASES)
async def test_no_table_outlives_its_request(
    case: str, fmt: str, stream: bool, tables, autojump_clock: trio.testing.MockClock
) -> None:
    script, routing = CASES[case]
    more = {} if routing is None else {"routing": routing}
    step = 0
    ends: set[str] = set()
    while True:
        step += 1
        async with stage(
            openai("a"),
            openai("b"),
            up={"a": script(), "b": slowly()},
            plugins=[Redact({})],
            **more,
        ) as st:
            wrapped = st._answer
            instrument = HangUpAt(step, st.hang_up)

            async def answer(incoming, client, st=st, wrapped=wrapped, instrument=instrument):
                st.client = client
                instrument.serving = True
                try:
                    await wrapped(incoming, client)
                finally:
                    instrument.serving = False

            st._answer = answer
            trio.lowlevel.add_instrument(instrument)
            await st.ask(fmt, asked(fmt, stream=stream))
            trio.lowlevel.remove_instrument(instrument)
            await trio.testing.wait_all_tasks_blocked()
            st.client = None
            gc.collect()
            assert not tables, f"left behind at step {step}"
            ends |= {record.end for record in st.sink.records}
            assert all(b"[EMAIL_1]" in each.body for each in st.asked["a"])
            assert not any(MAIL.encode() in each.body for each in st.asked["a"] + st.asked["b"])
        if instrument.taken < step:
            break
    assert step > 12
    assert ends == {"client_gone", "complete"}


async def test_the_count_counts(tables, autojump_clock: trio.testing.MockClock) -> None:
    """While a request runs there is a table, so that its absence says something."""
    seen: list[int] = []

    async def look(piece: bytes) -> None:
        gc.collect()
        seen.append(len(tables))

    async with stage(openai("a"), ollama("b"), up={"a": slowly()}, plugins=[Redact({})]) as st:
        await st.ask("openai", asked("openai", stream=True), each=look)
    assert seen
    assert seen[0] == 1
