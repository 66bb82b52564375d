"""The misbehaving upstream: a server that does what the asked model's name says.

Owns: its listening socket and its connections; carrying acts out.
Refuses to know: what the acts are for (faults.py), the router.

Laws:
1. It always ends: every wait is bounded, and when `run` is cancelled every connection is closed.
2. What it reads is bounded; whoever sends more is hung up on.
3. It holds nothing of a request that has ended.
"""

from __future__ import annotations

import re
import time
from contextlib import suppress
from typing import TYPE_CHECKING, assert_never

import trio

from formats import FORMATS
from formats.canonical import Text
from formats.errors import Invalid
from llmrouterd.edge.wire import Broken, PlainWire
from llmrouterd.selftest.faults import (
    Act,
    Asked,
    Close,
    Drip,
    Heard,
    Reset,
    Send,
    Silence,
    named,
    whole,
)
from llmrouterd.selftest.voices import VOICES

if TYPE_CHECKING:
    import socket

    from formats.canonical import Request
    from llmrouterd.edge.listen import Listener

PATIENCE_S = 20.0  # for whatever the other side owes
DRIP_S = 0.05
_REQUEST_BYTES = 1024 * 1024
_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*(\d{1,7})[ \t]*\r\n", re.IGNORECASE)
_CASE = re.compile(r"case ([\w./-]+)")
_FORMATS = {voice.path.encode(): name for name, voice in VOICES.items()}


def prompt(case: str) -> str:
    """What is asked, so that the upstream knows which case it is."""
    return f"This is case {case}"


class Upstream:
    """`nursery.start(upstream.run)` serves what comes in through `listener`. waits: for clients to
    have their first words, where a fault comes after those."""

    def __init__(self, listener: Listener) -> None:
        self.waits = True
        self._listener = listener
        self._waiting: dict[str, trio.Event] = {}
        self.url = f"http://{listener.address}"

    def heard(self, case: str) -> None:
        """The client of this case has its first words."""
        event = self._waiting.get(case)
        if event is not None:
            event.set()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve until cancelled."""
        listening = self._listener.sock
        try:
            async with trio.open_nursery() as nursery:
                task_status.started()
                while True:
                    await trio.lowlevel.wait_readable(listening)
                    with suppress(OSError):  # who came has gone again
                        sock, _ = listening.accept()
                        nursery.start_soon(self._serve, sock)
        finally:
            trio.lowlevel.notify_closing(listening)
            listening.close()

    async def _serve(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        wire = PlainWire(sock)
        try:
            while (request := await self._next(wire)) is not None:
                if not await self._answer(wire, *request):
                    return
        except Broken:
            pass  # the router hung up: that is its right
        finally:
            wire.close()

    async def _next(self, wire: PlainWire) -> tuple[bytes, bytes] | None:
        """The next request's path and body; None when there is none."""
        data = b""
        while len(data) <= _REQUEST_BYTES:
            first, mark, rest = data.partition(b"\r\n\r\n")
            if mark:
                found = _LENGTH.search(first + b"\r\n")
                if len(rest) >= (int(found[1]) if found else 0):
                    return first.split(b" ", 2)[1], rest
            piece = await wire.receive()
            if not piece:
                return None
            data += piece
        return None

    async def _answer(self, wire: PlainWire, path: bytes, body: bytes) -> bool:
        """Whether the connection can be used again."""
        fmt = _FORMATS.get(path)
        if fmt is None:
            acts: tuple[Act, ...] = whole({"error": "nothing here"}, 404)
            return await self._perform(wire, acts, "")
        try:
            request = FORMATS[fmt].parse_request(body)
        except Invalid as error:
            return await self._perform(wire, whole({"error": str(error)}, 400), "")
        fault = named(request.model)
        if fault is None:
            return await self._perform(wire, whole({"error": "no such fault"}, 404), "")
        acts = fault.acts(Asked(fmt, request.stream, time.time()))
        return await self._perform(wire, acts, _case(request))

    async def _perform(self, wire: PlainWire, acts: tuple[Act, ...], case: str) -> bool:
        event = trio.Event()
        self._waiting[case] = event
        try:
            for act in acts:
                if not await self._act(wire, act, event):
                    return False
            return True
        finally:
            if self._waiting.get(case) is event:
                del self._waiting[case]

    async def _act(self, wire: PlainWire, act: Act, heard: trio.Event) -> bool:
        """Whether there is anything to be said after this."""
        match act:
            case Send(data):
                if data:
                    await wire.send(data, PATIENCE_S)
                return True
            case Heard():
                with trio.move_on_after(PATIENCE_S if self.waits else 0):
                    await heard.wait()
                return True
            case Silence():
                await _left(wire, PATIENCE_S)
            case Drip(data):
                until = trio.current_time() + PATIENCE_S
                while trio.current_time() < until and not await _left(wire, DRIP_S):
                    await wire.send(data, PATIENCE_S)
            case Close():
                pass
            case Reset():
                wire.reset()
            case _:
                assert_never(act)
        return False


async def _left(wire: PlainWire, timeout_s: float) -> bool:
    """Wait until the other side hangs up. False: it did not in time."""
    with trio.move_on_after(timeout_s):
        while await wire.receive():
            pass
        return True
    return False


def _case(request: Request) -> str:
    texts = (part.text for m in request.messages for part in m.parts if isinstance(part, Text))
    found = _CASE.search(" ".join(texts))
    return found[1] if found else ""
