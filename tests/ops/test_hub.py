"""The hub: figures of several, and what is left of a worker that went."""

import socket

import trio
import trio.testing

from llmrouterd.model import Opened
from llmrouterd.ops.desk import Desk
from llmrouterd.ops.frames import HELLO, Writer
from llmrouterd.ops.hub import CIRCUIT, IN_FLIGHT, LOST, Hub, lost, summed, worst
from llmrouterd.ops.worker import Link
from llmrouterd.pipeline.admit import Admission


def test_figures_are_added_and_states_are_not() -> None:
    one = {"llmrouter_requests_in_flight": {(): 2.0}, "llmrouter_draining": {(): 1.0}}
    other = {"llmrouter_requests_in_flight": {(): 3.0}, "llmrouter_draining": {(): 0.0}}
    up = {"llmrouter_provider_up": {("p",): 1.0, ("q",): 1.0}}
    down = {"llmrouter_provider_up": {("p",): 0.0}}
    found = summed([one | up, other | down])
    assert found["llmrouter_requests_in_flight"] == {(): 5.0}
    assert found["llmrouter_draining"] == {(): 1.0}
    assert found["llmrouter_provider_up"] == {("p",): 0.0, ("q",): 1.0}


def test_a_request_of_a_dead_worker_ends_as_the_routers_fault() -> None:
    record = lost(Opened(7, 1000, "m", 1), 2)
    assert (record.id, record.end, record.fault, record.worker) == (
        7,
        "internal_error",
        "router",
        2,
    )
    assert record.error == LOST
    assert record.duration_ms > 0


def test_a_circuit_is_in_one_state_the_worst_that_a_worker_sees() -> None:
    states = ("closed", "open", "half_open")
    one = {("p", each): float(each == "closed") for each in states}
    other = {("p", each): float(each == "open") for each in states}
    both = summed([{CIRCUIT: one}, {CIRCUIT: other}])[CIRCUIT]
    assert worst(both) == {("p", "closed"): 0, ("p", "open"): 1.0, ("p", "half_open"): 0.0}
    assert worst(one) == one


async def test_nothing_that_is_said_to_the_hub_ends_it() -> None:
    link, parent = socket.socketpair()
    made = Hub(None, Link(link), 1.0, Desk(Admission()))
    hello = Writer().frame("hello", HELLO, 1)
    for said in (
        b"\0\0\0\1x",
        hello + Writer().frame("tell", 5),
        hello + Writer().frame("figures", {IN_FLIGHT: {(): "much"}}) * 2,
        hello + Writer().frame("figures", 5),
        Writer().frame("page"),
        Writer().frame("find", 1, "ann", 5),
    ):
        one, other = socket.socketpair()
        other.sendall(said)
        other.shutdown(socket.SHUT_WR)
        with trio.fail_after(20):
            await made._serve(trio.SocketStream(trio.socket.from_stdlib_socket(one)))
        other.close()
    assert not made.workers
    link.close()
    parent.close()


async def test_a_request_whose_record_was_lost_is_not_under_way_for_ever() -> None:
    link, parent = socket.socketpair()
    made = Hub(None, Link(link), 1.0, Desk(Admission()))
    one, other = socket.socketpair()
    said, opened = Writer(), Opened(7, 1000, "m", 1)
    other.sendall(said.frame("hello", HELLO, 1) + said.frame("tell", opened))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(made._serve, trio.SocketStream(trio.socket.from_stdlib_socket(one)))
        await trio.testing.wait_all_tasks_blocked(0.05)
        assert set(made.workers[1].flying) == {7}
        other.sendall(said.frame("over", 7) + said.frame("over", 8))
        await trio.testing.wait_all_tasks_blocked(0.05)
        assert not made.workers[1].flying
        other.close()
    link.close()
    parent.close()
