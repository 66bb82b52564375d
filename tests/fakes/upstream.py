"""An upstream server that answers as a test's script says, byte for byte.

Threads and plain sockets: it works beside SDK clients that block, and under trio. It always ends:
every wait has a deadline, and leaving the `with` block closes every connection.
"""

from __future__ import annotations

import contextlib
import json
import select
import socket
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

PATIENCE_S = 20.0


@dataclass
class Received:
    """One request as it came over the wire."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Turn:
    """One request on one connection, and the ways of answering it."""

    sock: socket.socket
    received: Received
    keep: bool = True
    sent: int = field(default=0)

    def raw(self, data: bytes) -> None:
        self.sock.sendall(data)
        self.sent += len(data)

    def head(self, status: int = 200, *fields: str, kind: str = "application/json") -> None:
        lines = [f"HTTP/1.1 {status} Said", f"Content-Type: {kind}", *fields]
        self.raw(("\r\n".join(lines) + "\r\n\r\n").encode())

    def whole(
        self, body: Any, status: int = 200, *fields: str, kind: str = "application/json"
    ) -> None:
        """A whole answer with Content-Length; anything but bytes is sent as JSON."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.head(status, f"Content-Length: {len(data)}", *fields, kind=kind)
        self.raw(data)

    def stream(
        self,
        pieces: Iterable[bytes],
        *fields: str,
        kind: str = "text/event-stream",
        gap_s: float = 0,
    ) -> None:
        """A chunked answer: each piece is one chunk and one write; ended properly."""
        self.begin(*fields, kind=kind)
        for piece in pieces:
            self.chunk(piece)
            if gap_s:
                time.sleep(gap_s)
        self.end()

    def begin(self, *fields: str, kind: str = "text/event-stream") -> None:
        self.head(200, "Transfer-Encoding: chunked", *fields, kind=kind)

    def chunk(self, data: bytes) -> None:
        self.raw(b"%x\r\n%b\r\n" % (len(data), data))

    def end(self) -> None:
        self.raw(b"0\r\n\r\n")

    def cut(self) -> None:
        """Close at once, in the middle of whatever was being sent."""
        self.keep = False

    def wait_closed(self, timeout_s: float = PATIENCE_S) -> bool:
        """Wait until the router closes this connection. False: it did not in time."""
        self.keep = False
        end = time.monotonic() + timeout_s
        while (left := end - time.monotonic()) > 0:
            ready, _, _ = select.select([self.sock], [], [], left)
            if not ready:
                return False
            try:
                if not self.sock.recv(65536):
                    return True
            except OSError:
                return True
        return False


Script = Callable[[Turn], None]


class FakeUpstream:
    """`with FakeUpstream(script) as up:` serves on 127.0.0.1. `received` is what came, in order."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.received: list[Received] = []
        self.errors: list[Exception] = []
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._threads: list[threading.Thread] = []

    def __enter__(self) -> FakeUpstream:
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port: int = self._listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._start(self._accept)
        return self

    def __exit__(self, *_: object) -> None:
        _shut(self._listener)
        with self._lock:
            for sock in self._open:
                _shut(sock)
        for thread in self._threads:
            thread.join(PATIENCE_S)

    @property
    def connections(self) -> int:
        """How many connections are open now."""
        with self._lock:
            return len(self._open)

    def settled(self, connections: int = 0, timeout_s: float = PATIENCE_S) -> bool:
        """Wait until at most that many connections are open."""
        end = time.monotonic() + timeout_s
        while self.connections > connections:
            if time.monotonic() > end:
                return False
            time.sleep(0.005)
        return True

    def _start(self, target: Callable[..., None], *args: object) -> None:
        thread = threading.Thread(target=target, args=args, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                self._listener.close()
                return
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self._lock:
                self._open.add(sock)
            self._start(self._serve, sock)

    def _serve(self, sock: socket.socket) -> None:
        try:
            with sock, sock.makefile("rb") as stream:
                while (received := _read(stream)) is not None:
                    self.received.append(received)
                    turn = Turn(sock, received)
                    self.script(turn)
                    if not turn.keep:
                        break
        except OSError:
            pass  # the router hung up: that is its right
        except Exception as error:  # noqa: BLE001 - a script's own mistake: the test looks at `errors`
            self.errors.append(error)
        finally:
            with self._lock:
                self._open.discard(sock)


def _shut(sock: socket.socket) -> None:
    with contextlib.suppress(OSError):
        sock.shutdown(socket.SHUT_RDWR)
    if sock.fileno() >= 0:
        sock.close()


def _read(stream: Any) -> Received | None:
    line = stream.readline()
    if not line:
        return None
    method, target, _ = line.decode("latin-1").split(" ", 2)
    headers: dict[str, str] = {}
    while (line := stream.readline()) not in (b"\r\n", b""):
        name, _, value = line.decode("latin-1").partition(":")
        headers[name.strip().lower()] = value.strip()
    body = stream.read(int(headers.get("content-length", "0")))
    return Received(method, target, headers, body)
