"""Single faults through the whole of it, over real sockets of this machine; all of them where slow
tests run."""

import socket
from pathlib import Path

import pytest
import trio

from llmrouterd.config import parse
from llmrouterd.edge.dial import DialError
from llmrouterd.edge.pool import Origin
from llmrouterd.model import ConfigError, Record
from llmrouterd.pipeline import relay
from llmrouterd.selftest import run as selftest
from llmrouterd.selftest.faults import FAULTS, HEALTHY, named
from llmrouterd.selftest.setting import setting

URL = "http://127.0.0.1:1"
HELD = '[[providers]]\nname = "own"\nformat = "openai"\nbase_url = "http://own.example:1/v1"\n'
HELD += "[plugins.response-healing]\nenabled = true\n"


@pytest.fixture
def only(monkeypatch):
    """Try these faults and no others."""
    return lambda *names: monkeypatch.setattr(selftest, "FAULTS", [named(name) for name in names])


def test_every_fault_is_tried_by_every_client_in_every_way():
    subjects = setting(None, URL, URL).subjects
    cases = list(selftest.cases(subjects))
    ways = {(c.fault.name, c.subject.format, c.client, c.stream, c.alone) for c in cases}
    assert len(ways) == len(cases)
    both = sum(1 if fault.whole is None else 2 for fault in FAULTS if fault.name != HEALTHY)
    assert len(cases) == 3 * 3 * (2 * both + 2)
    assert cases[0].fault.slow
    assert not cases[-1].fault.slow


async def test_a_router_in_order_passes(only):
    only(HEALTHY, "cut-after-content", "429-seconds")
    report = await selftest.run(None, user_agent="test")
    assert report.ok, [(r.case, r.wrong) for r in report.results if r.wrong]
    assert len(report.results) == 3 * 3 * (2 + 4 + 4)
    assert {r.seen.end for r in report.results} == {"complete", "truncated", "upstream_error"}


async def test_a_router_that_ends_a_cut_stream_well_does_not_pass(only, monkeypatch):
    only("cut-after-content")

    async def all_is_well(lane, reply, *rest):
        await reply.send(b"")

    monkeypatch.setattr(relay, "_cut", all_is_well)
    report = await selftest.run(None, user_agent="test")
    wrong = [result for result in report.results if result.wrong]
    assert not report.ok
    assert len(wrong) == 3 * 3 * 2
    assert all(result.case.stream for result in wrong)
    assert all("end is 'complete', not 'truncated'" in result.wrong for result in wrong)


async def test_an_accident_is_looked_at_once_more(only, monkeypatch):
    only(HEALTHY)
    accidents = []

    def once(expected, place, seen):
        if not accidents:
            accidents.append(place)
            return ["the machine was busy"]
        return []

    monkeypatch.setattr(selftest, "differences", once)
    report = await selftest.run(None, user_agent="test")
    assert report.ok
    assert sum(result.again for result in report.results) == 1


async def test_an_answer_that_a_plugin_holds_back_goes_to_the_next_one_however_late_it_breaks(only):
    only("error-after")
    report = await selftest.run(parse(HELD, "own.toml", {}), user_agent="test")
    assert report.ok, [(r.case, r.wrong) for r in report.results if r.wrong]
    assert {r.seen.tried != () for r in report.results} == {True}


def open_files():
    return len(list(Path("/proc/self/fd").iterdir()))


async def test_nothing_is_left_open_and_nothing_but_loopback_was_opened(only, monkeypatch):
    only(HEALTHY, "reset", "refused")
    peers = []
    connect = socket.socket.connect_ex

    def noted(sock, address):
        peers.append(address[0])
        return connect(sock, address)

    monkeypatch.setattr(socket.socket, "connect_ex", noted)
    before = open_files()
    await selftest.run(None, user_agent="test")
    assert set(peers) == {"127.0.0.1"}
    assert open_files() <= before


@pytest.mark.parametrize(
    "origin",
    [
        Origin("http", "192.0.2.1", 80),
        Origin("http", "example.com", 80),
    ],
)
async def test_no_other_machine_can_be_dialled(origin):
    with pytest.raises(DialError, match="stays on this machine"):
        await selftest._near(origin)


async def test_a_setting_that_cannot_be_used_is_a_configuration_error(monkeypatch):
    def refused(*args):
        raise ConfigError(["no"])

    monkeypatch.setattr(selftest, "build", refused)
    with pytest.raises(ConfigError):
        await selftest.run(None, user_agent="test")


async def test_a_record_is_waited_for_and_given_out_once(autojump_clock):
    records = selftest.Records()
    record = Record(1, "req_1", 0, "complete", 200, "openai", "/", "m")
    async with trio.open_nursery() as nursery:
        got = []

        async def ask():
            got.append(await records.of("req_1"))

        nursery.start_soon(ask)
        await trio.sleep(1)
        records.tell(record)
    assert got == [record]
    assert await records.of("req_1") is None


@pytest.mark.slow
async def test_everything_passes():
    report = await selftest.run(None, user_agent="test")
    assert report.ok, [(r.case, r.wrong) for r in report.results if r.wrong]
    assert {r.case.fault.name for r in report.results} == {fault.name for fault in FAULTS}
