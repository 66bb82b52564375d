"""What a service manager hears."""

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio
import trio.testing

from llmrouterd.ops.systemd import Notifier


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(str(tmp_path / "notify"))
        sock.setblocking(False)
        yield sock


def heard(manager: socket.socket) -> list[str]:
    out = []
    while True:
        try:
            out.append(manager.recv(4096).decode())
        except BlockingIOError:
            return out


def test_the_life_of_a_service(manager: socket.socket) -> None:
    it = Notifier({"NOTIFY_SOCKET": manager.getsockname()})
    it.ready("generation 1")
    it.reloading()
    it.status("two\nlines")
    it.stopping("draining")
    ready, reloading, status, stopping = heard(manager)
    assert ready == "READY=1\nSTATUS=generation 1"
    assert reloading.startswith("RELOADING=1\nMONOTONIC_USEC=")
    assert reloading.partition("USEC=")[2].isdigit()
    assert status == "STATUS=two lines"
    assert stopping == "STOPPING=1\nSTATUS=draining"


def test_an_abstract_address() -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        name = f"llmrouter-test-{os.getpid()}"
        sock.bind(f"\0{name}")
        sock.setblocking(False)
        Notifier({"NOTIFY_SOCKET": f"@{name}"}).ready("x")
        assert heard(sock) == ["READY=1\nSTATUS=x"]


def test_nobody_listens() -> None:
    Notifier({}).ready("x")
    Notifier({"NOTIFY_SOCKET": "/not/there"}).stopping("x")


def test_a_manager_that_does_not_read_holds_nothing_up(manager: socket.socket) -> None:
    it = Notifier({"NOTIFY_SOCKET": manager.getsockname()})
    for _ in range(5000):
        it.status("x" * 100)
    assert heard(manager)


async def test_signs_of_life(
    manager: socket.socket, autojump_clock: trio.testing.MockClock
) -> None:
    environ = {"NOTIFY_SOCKET": manager.getsockname(), "WATCHDOG_USEC": "30000000"}
    it = Notifier(environ)
    with trio.move_on_after(35):
        await it.beat(lambda: "fine")
    assert heard(manager) == ["WATCHDOG=1\nSTATUS=fine"] * 4


@pytest.mark.parametrize(
    "environ",
    [{}, {"WATCHDOG_USEC": "x"}, {"WATCHDOG_USEC": "1000", "WATCHDOG_PID": "1"}],
)
async def test_no_watchdog_no_beat(manager: socket.socket, environ: dict[str, str]) -> None:
    it = Notifier({"NOTIFY_SOCKET": manager.getsockname(), **environ})
    await it.beat(lambda: "fine")
    assert heard(manager) == []
