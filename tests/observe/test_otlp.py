"""Export: batches, bounds, tries and pauses; collectors that are slow, refuse, hang or talk nonsense."""

import json
import logging
import threading
from collections.abc import Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from itertools import pairwise

import pytest
import trio
import trio.testing

from llmrouterd.model import Opened, Record
from llmrouterd.observe import otlp
from llmrouterd.observe.otlp import (
    BATCH,
    GROUPS,
    LAST_S,
    LINES,
    QUEUE,
    TRIES,
    Export,
    Reply,
    partial_success,
    pause_s,
)
from tests.fakes.collector import log_records, metrics, pairs, read, spans
from tests.observe.test_otlp_payload import RECORD, SOURCE

FINE = Reply(200, b"{}")
LOCAL, NEAR = (), ("10.0.0.0/8",)


class Collector:
    """Answers as the test says. says: for each signal, an answer or a way to one."""

    def __init__(self, **says: Reply | Callable[[], Reply]) -> None:
        self.says = says
        self.got: list[tuple[str, bytes, object]] = []
        self.at: dict[str, list[float]] = {}
        self.hangs = False

    async def __call__(self, path: str, body: bytes, confined: object) -> Reply:
        await trio.lowlevel.checkpoint()
        signal = path.removeprefix("/v1/")
        self.at.setdefault(signal, []).append(trio.current_time())
        if self.hangs:
            await trio.sleep_forever()
        self.got.append((signal, body, confined))
        says = self.says.get(signal, FINE)
        return says() if callable(says) else says

    def of(self, signal: str, confined: object = ...) -> list:
        return [
            read(name, body)
            for name, body, bounds in self.got
            if name == signal and confined in (..., bounds)
        ]

    def requests(self) -> list[int]:
        """How many requests each message of spans has."""
        return [sum(s.kind == 2 for s in spans(message)) for message in self.of("traces")]


async def here(call: Callable[..., bytes], *args: object) -> bytes:
    """Not in a thread: the test's clock would run on meanwhile."""
    await trio.lowlevel.checkpoint()
    return call(*args)


@asynccontextmanager
async def running(collector: Collector, **more):
    export = Export(SOURCE, collector, interval_s=10.0, in_thread=here, **more)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(export.run)
        await trio.testing.wait_all_tasks_blocked()
        yield export
        export.close()


def lost(export: Export) -> dict[tuple[str, ...], float]:
    return dict(export.figures["llmrouter_telemetry_dropped_total"])


def sent(export: Export) -> dict[tuple[str, ...], float]:
    return dict(export.figures["llmrouter_telemetry_sent_total"])


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [r.getMessage() for r in caplog.records if r.name == "llmrouter.otlp"]


def bound(confined: tuple[str, ...] | None) -> Record:
    return replace(RECORD, confined=confined)


# --- sending --------------------------------------------------------------------------------------


async def test_what_was_told_is_sent_after_the_interval(autojump_clock) -> None:
    collector = Collector()
    async with running(collector) as export:
        export.tell(Opened(1, 5, "m", 2))
        export.tell(RECORD)
        export.tell(RECORD)
        await trio.sleep(9)
        assert not collector.got
        await trio.sleep(2)
        assert sorted(name for name, *_ in collector.got) == ["logs", "metrics", "traces"]
        assert collector.requests() == [2]
        assert len(log_records(collector.of("logs")[0])) == 2
        await trio.sleep(30)
        assert collector.requests() == [2]
        assert len(collector.of("metrics")) == 4  # as they stand, each time
    assert sent(export)["traces",] == 2
    assert not lost(export)


async def test_a_messages_worth_does_not_wait_for_the_interval(autojump_clock) -> None:
    collector = Collector()
    async with running(collector) as export:
        for _ in range(BATCH):
            export.tell(RECORD)
        await trio.sleep(0.1)
        assert collector.requests() == [BATCH]
        for _ in range(BATCH + 1):
            export.tell(RECORD)
        await trio.sleep(0.1)
        assert collector.requests() == [BATCH, BATCH, 1]


async def test_the_end_sends_what_is_left_at_once(autojump_clock) -> None:
    collector = Collector()
    async with running(collector) as export:
        export.tell(RECORD)
    assert trio.current_time() < 1
    assert collector.requests() == [1]
    [message] = collector.of("metrics")
    assert metrics(message)["router.requests"].sum.data_points[0].as_int == 1
    export.tell(RECORD)  # too late, and no harm
    assert sent(export)["logs",] == 1


# --- collectors in trouble ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "trouble", [Reply(503), Reply(429), Reply(502), Reply(504), Reply(why="refused")]
)
async def test_what_may_pass_is_tried_again_with_longer_pauses(
    autojump_clock, caplog: pytest.LogCaptureFixture, trouble: Reply
) -> None:
    caplog.set_level(logging.INFO)
    answers = iter([trouble] * 4)
    collector = Collector(traces=lambda: next(answers, FINE))
    async with running(collector) as export:
        export.tell(RECORD)
        await trio.sleep(100)
        at = collector.at["traces"]
        gaps = [later - earlier for earlier, later in pairwise(at)]
        assert len(gaps) == 4
        for tried, gap in enumerate(gaps):
            assert 0.5 * 2**tried <= gap <= 2**tried
        assert sent(export)["traces",] == 1
        assert not lost(export)
    first, again = warnings(caplog)
    assert "traces are sent again later" in first
    assert "arrive at the collector again" in again


async def test_the_pause_that_is_asked_for_is_kept(autojump_clock) -> None:
    answers = iter([Reply(429, retry_after_s=77.0), Reply(503, retry_after_s=1e9)])
    collector = Collector(traces=lambda: next(answers, FINE))
    async with running(collector) as export:
        export.tell(RECORD)
        await trio.sleep(1000)
        first, second, third = collector.at["traces"]
        assert second - first == pytest.approx(77)
        assert third - second == pytest.approx(300)  # and no longer than that
        assert sent(export)["traces",] == 1


async def test_metrics_keep_the_pause_too_and_lose_nothing(autojump_clock) -> None:
    answers = iter([Reply(429, retry_after_s=50.0)])
    collector = Collector(metrics=lambda: next(answers, FINE))
    async with running(collector) as export:
        export.tell(RECORD)
        await trio.sleep(71)
        first, second = collector.at["metrics"]
        assert second - first >= 50
    assert not lost(export)


async def test_there_is_an_end_to_trying(autojump_clock, caplog) -> None:
    collector = Collector(traces=Reply(503))
    async with running(collector) as export:
        export.tell(RECORD)
        await trio.sleep(1000)
        assert len(collector.at["traces"]) == TRIES
        assert lost(export) == {("traces", "unreachable"): 1}
    assert len([w for w in warnings(caplog) if "traces" in w]) == 2  # tried again, then lost


@pytest.mark.parametrize("status", [400, 401, 404, 413, 500, 302])
async def test_what_is_refused_is_dropped_and_told_once(autojump_clock, caplog, status) -> None:
    collector = Collector(traces=Reply(status, b'{"message":"no"}'))
    async with running(collector) as export:
        for _ in range(3):
            export.tell(RECORD)
            await trio.sleep(11)
        assert len(collector.at["traces"]) == 3
        assert lost(export) == {("traces", "refused"): 3}
    [words] = warnings(caplog)
    assert str(status) in words
    assert "no" in words


@pytest.mark.parametrize(
    ("body", "rejected"),
    [
        (b'{"partialSuccess":{"rejectedSpans":"2","errorMessage":"too old"}}', 2),
        (b'{"partialSuccess":{"rejectedSpans":1}}', 1),
        (b'{"partialSuccess":{"rejectedSpans":"900"}}', 3),  # it cannot be more than were sent
        (b'{"partialSuccess":{"errorMessage":"a warning"}}', 0),
        (b'{"partialSuccess":{}}', 0),
        (b'{"partialSuccess":null}', 0),
        (b'{"partialSuccess":{"rejectedSpans":"many"}}', 0),
        (b'{"partialSuccess":{"rejectedSpans":-1}}', 0),
        (b"{}", 0),
        (b"", 0),
        (b"[]", 0),
        (b"<html>hello</html>", 0),
        (b"\xff\xfe", 0),
        (b"[" * 100_000, 0),
    ],
)
async def test_a_part_that_is_refused_is_counted(
    autojump_clock, body: bytes, rejected: int
) -> None:
    collector = Collector(traces=Reply(200, body))
    async with running(collector) as export:
        for _ in range(3):
            export.tell(RECORD)
        await trio.sleep(11)
        assert sent(export)["traces",] == 3 - rejected
        assert lost(export) == ({("traces", "refused"): rejected} if rejected else {})
        assert len(collector.at["traces"]) == 1


def test_the_three_signals_have_names_of_their_own_for_it() -> None:
    for name in ("rejectedSpans", "rejectedDataPoints", "rejectedLogRecords"):
        body = json.dumps({"partialSuccess": {name: "4", "errorMessage": "x"}})
        assert partial_success(body.encode()) == (4, "x")


async def test_a_collector_that_hangs_makes_nobody_wait_and_no_memory_grow(
    autojump_clock, caplog
) -> None:
    collector = Collector()
    collector.hangs = True
    async with running(collector) as export:
        for _ in range(10):
            for _ in range(1000):
                export.tell(RECORD)  # synchronous: there is nothing it could wait for
            await trio.sleep(20)
        held = export._traces.waiting, export._logs.waiting
        assert held == (QUEUE, QUEUE)
        overflow = lost(export)["traces", "overflow"]
        assert overflow == 10_000 - QUEUE - BATCH
        began = trio.current_time()
        export.close()
    assert trio.current_time() - began <= LAST_S
    assert lost(export)["traces", "unreachable"] == QUEUE + BATCH
    assert len(warnings(caplog)) <= 4
    assert sent(export) == {("traces",): 0, ("metrics",): 0, ("logs",): 0}


async def test_the_end_tries_once_more_and_does_not_wait_for_a_pause(autojump_clock) -> None:
    collector = Collector(traces=Reply(503, retry_after_s=200))
    async with running(collector) as export:
        export.tell(RECORD)
        await trio.sleep(50)
        before = len(collector.at["traces"])
    assert trio.current_time() < 60
    assert len(collector.at["traces"]) == before + 1
    assert lost(export)["traces", "unreachable"] == 1


def test_pauses_grow_to_a_bound() -> None:
    assert all(0.5 <= pause_s(0) <= 1 for _ in range(50))
    assert all(15 <= pause_s(tried) <= 30 for tried in range(5, 2000))


async def test_messages_are_written_in_a_thread() -> None:
    seen: list[int] = []

    async def in_thread(call: Callable[..., bytes], *args: object) -> bytes:
        def noted() -> bytes:
            seen.append(threading.get_ident())
            return call(*args)

        return await trio.to_thread.run_sync(noted)

    collector = Collector()
    export = Export(SOURCE, collector, interval_s=10.0, in_thread=in_thread)
    export.tell(RECORD)
    export.close()
    with trio.fail_after(30):
        await export.run()
    assert len(seen) == 3
    assert threading.get_ident() not in seen
    assert collector.requests() == [1]


# --- what must stay here --------------------------------------------------------------------------


async def test_what_must_stay_here_is_in_messages_of_its_own(autojump_clock) -> None:
    collector = Collector()
    async with running(collector) as export:
        for confined in (None, LOCAL, NEAR, None):
            export.tell(bound(confined))
        await trio.sleep(11)
    for signal in ("traces", "logs"):
        sizes = {confined: len(collector.of(signal, confined)) for confined in (None, LOCAL, NEAR)}
        assert sizes == {None: 1, LOCAL: 1, NEAR: 1}
    assert sum(s.kind == 2 for s in spans(collector.of("traces", None)[0])) == 2
    told = {}
    for confined in (None, LOCAL, NEAR):
        point = metrics(collector.of("metrics", confined)[-1])["router.requests"].sum.data_points[0]
        told[confined] = (point.as_int, pairs(point).get("llmrouter.confined"))
    assert told == {None: (2, None), LOCAL: (1, ["local"]), NEAR: (1, ["10.0.0.0/8"])}


async def test_what_may_not_go_there_is_dropped_and_counted(autojump_clock, caplog) -> None:
    class Elsewhere(Collector):
        async def __call__(self, path: str, body: bytes, confined: object) -> Reply:
            if confined is not None:
                return Reply(why="192.0.2.1 is not on this network", denied=True)
            return await super().__call__(path, body, confined)

    collector = Elsewhere()
    async with running(collector) as export:
        export.tell(bound(LOCAL))
        export.tell(RECORD)
        export.tell(bound(NEAR))
        await trio.sleep(11)
        assert collector.requests() == [1]
        assert lost(export)["traces", "denied"] == 2
        assert lost(export)["logs", "denied"] == 2
        assert lost(export)["metrics", "denied"] > 0
        assert sent(export)["traces",] == 1
    assert any("must stay here" in words for words in warnings(caplog))


async def test_different_bounds_are_few(autojump_clock) -> None:
    collector = Collector()
    async with running(collector) as export:
        for number in range(GROUPS + 5):
            export.tell(bound((f"10.{number}.0.0/16",)))
        await trio.sleep(11)
        assert lost(export)["traces", "overflow"] == 5
        assert lost(export)["metrics", "overflow"] == 5


# --- the daemon's own log -------------------------------------------------------------------------


async def test_the_daemons_own_lines_go_along_under_the_strictest_bounds(autojump_clock) -> None:
    collector = Collector()
    log = logging.getLogger("llmrouter.edge")
    log.setLevel(logging.INFO)
    async with running(collector, strictest=lambda: LOCAL) as export:
        log.info("one %s", "line")
        log.debug("not this one")
        logging.getLogger("llmrouter.otlp").warning("nor what is said of sending")
        export.tell(RECORD)
        await trio.sleep(11)
    log.info("nor what comes after the end")
    [message] = collector.of("logs", LOCAL)
    assert [x.body.string_value for x in log_records(message)] == ["one line"]
    assert len(collector.of("logs", None)) == 1
    assert export.lines not in logging.getLogger("llmrouter").handlers


async def test_lines_are_bounded_from_whatever_thread_they_come(autojump_clock) -> None:
    collector = Collector()
    log = logging.getLogger("llmrouter.edge")
    async with running(collector) as export:
        thread = threading.Thread(target=lambda: [log.warning("line") for _ in range(LINES + 10)])
        thread.start()
        thread.join(30)
        await trio.sleep(11)
        assert sent(export)["logs",] == LINES
        assert lost(export) == {("logs", "overflow"): 10}


def test_what_it_says_of_itself_is_not_exported() -> None:
    assert otlp.LOG.name == "llmrouter.otlp"
