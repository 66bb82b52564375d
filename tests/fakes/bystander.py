"""What tests of bad behaviour look at: an answer byte for byte, the log, the process from outside."""

from __future__ import annotations

import http.client
import json
import socket
import struct
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.fakes.daemon import RunningDaemon
from tests.fakes.models import CHAT_PATH
from tests.fakes.upstream import FakeUpstream
from tests.formats.sdk_readers import READERS

PATIENCE_S = 30.0
FORMATS = ("openai", "anthropic", "ollama")


@dataclass
class Answered:
    """An answer as it came. whole: its framing came to a proper end."""

    status: int
    headers: dict[str, str]
    body: bytes
    whole: bool = True

    @property
    def tag(self) -> str:
        return self.headers.get("x-router-error", "")

    @property
    def id(self) -> str:
        return self.headers["x-router-request-id"]


def ask(
    daemon: RunningDaemon,
    path: str,
    body: Any = None,
    headers: Mapping[str, str] | None = None,
    method: str = "",
) -> Answered:
    """One request on a connection of its own. body: JSON, or bytes as they are."""
    if body is not None and not isinstance(body, bytes):
        body = json.dumps(body).encode()
    connection = http.client.HTTPConnection("127.0.0.1", daemon.port, timeout=PATIENCE_S)
    try:
        given = {"Content-Type": "application/json", **(headers or {})}
        connection.request(method or ("GET" if body is None else "POST"), path, body, given)
        return heard(connection.getresponse())
    finally:
        connection.close()


class Listener:
    """A request whose answer is read by hand. `with` it; `until` reads up to some bytes, `rest` all
    of it, `leave` hangs up."""

    def __init__(self, daemon: RunningDaemon, data: bytes, *, buffer: int = 0) -> None:
        self.sock = socket.socket()
        if buffer:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        self.sock.settimeout(PATIENCE_S)
        self.sock.connect(("127.0.0.1", daemon.port))
        self.sock.sendall(data)
        self.response = http.client.HTTPResponse(self.sock)
        self.body = b""

    def __enter__(self) -> Listener:
        return self

    def __exit__(self, *_: object) -> None:
        self.leave()

    def until(self, words: bytes) -> None:
        """Read until these words have come."""
        if self.response.status == http.client._UNKNOWN:  # type: ignore[attr-defined]
            self.response.begin()
        while words not in self.body:
            data = self.response.read1(65536)
            assert data, f"the answer ended without {words!r}: {self.body!r}"
            self.body += data

    def rest(self) -> Answered:
        """What comes until the end."""
        if self.response.status == http.client._UNKNOWN:  # type: ignore[attr-defined]
            self.response.begin()
        answer = heard(self.response)
        answer.body = self.body + answer.body
        return answer

    def leave(self) -> None:
        self.response.close()
        self.sock.close()

    def reset(self) -> None:
        """Leave as a process that died."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.leave()


def heard(response: http.client.HTTPResponse) -> Answered:
    """The rest of an answer, cut or whole."""
    fields = {name.lower(): value for name, value in response.getheaders()}
    try:
        return Answered(response.status, fields, response.read())
    except http.client.IncompleteRead as error:
        return Answered(response.status, fields, error.partial, whole=False)


def spoken(daemon: RunningDaemon, data: bytes) -> Answered:
    """What is answered to these very bytes."""
    with socket.create_connection(("127.0.0.1", daemon.port), timeout=PATIENCE_S) as sock:
        sock.sendall(data)
        response = http.client.HTTPResponse(sock)
        try:
            response.begin()
            return heard(response)
        finally:
            response.close()


def chat(fmt: str, model: Any = "m", *, stream: Any = False, **more: Any) -> dict[str, Any]:
    """A plain request in a client's format."""
    body = {
        "model": model,
        "stream": stream,
        "messages": [{"role": "user", "content": "hello"}],
        **({"max_tokens": 64} if fmt == "anthropic" else {}),
    }
    return {**body, **more}


def raw_post(path: str, body: bytes, *fields: str) -> bytes:
    """A POST as bytes, ready for a socket."""
    lines = [f"POST {path} HTTP/1.1", "Host: localhost", f"Content-Length: {len(body)}", *fields]
    return ("\r\n".join(lines) + "\r\n\r\n").encode() + body


def raw_chat(fmt: str, **more: Any) -> bytes:
    return raw_post(CHAT_PATH[fmt], json.dumps(chat(fmt, **more)).encode())


def error_before(fmt: str, answer: Answered) -> str:
    """The message of an error answer; asserts the format's shape, and that its SDK raises it."""
    value = json.loads(answer.body)
    assert answer.headers["content-type"].startswith("application/json")
    if fmt == "ollama":
        message = value["error"]
    elif fmt == "anthropic":
        assert value["type"] == "error"
        assert value["error"]["type"]
        message = value["error"]["message"]
    else:
        assert {"message", "type", "param", "code"} <= value["error"].keys()
        message = value["error"]["message"]
    assert isinstance(message, str)
    assert message
    error = READERS[fmt](answer.body, False, status=answer.status, step=4096)["error"]
    assert error["phase"] == "before"
    assert fmt == "ollama" or error["status"] == answer.status
    return message


def error_within(fmt: str, answer: Answered) -> dict[str, Any]:
    """What the format's SDK makes of a stream that broke: it must raise, after what came before."""
    got = READERS[fmt](answer.body, True, step=4096)
    assert got["error"] is not None, answer.body[-500:]
    assert got["error"]["phase"] == "mid"
    return got


class Journal:
    """The daemon's request log, as its readers see it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._read = 0
        self._lines: list[dict[str, Any]] = []

    def lines(self) -> list[dict[str, Any]]:
        """Every whole line so far; each is one JSON object."""
        if self.path.exists():
            with self.path.open("rb") as file:
                file.seek(self._read)
                whole, newline, _ = file.read().rpartition(b"\n")
            self._read += len(whole) + len(newline)
            if whole:
                self._lines += [json.loads(line) for line in whole.decode().split("\n")]
        assert all(line["type"] == "complete" for line in self._lines)
        return self._lines

    def line(self, request_id: str) -> dict[str, Any]:
        """The one line of this request, as soon as it is written."""
        end = time.monotonic() + PATIENCE_S
        while True:
            found = [line for line in self.lines() if line["request_id"] == request_id]
            if found:
                assert len(found) == 1
                return found[0]
            assert time.monotonic() < end, f"no line of {request_id} in the log"
            time.sleep(0.01)

    def count(self) -> int:
        return len(self.lines())

    def after(self, before: int, count: int = 1) -> list[dict[str, Any]]:
        """The lines after the first `before`, as soon as there are `count` of them."""
        end = time.monotonic() + PATIENCE_S
        while len(lines := self.lines()[before:]) < count:
            assert time.monotonic() < end, f"{len(lines)} new lines in the log, not {count}"
            time.sleep(0.01)
        assert len(lines) == count
        return lines


def rss_bytes(pid: int, name: str = "VmRSS") -> int:
    """Resident memory now, or with VmHWM the most there was."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    raise AssertionError(name)


def in_flight(daemon: RunningDaemon) -> int:
    return int(json.loads(ask(daemon, "/ready").body)["in_flight"])


class Rest:
    """What a daemon holds when nothing happens; `holds` asserts that it has come back to it."""

    def __init__(self, daemon: RunningDaemon, *upstreams: FakeUpstream) -> None:
        self.daemon = daemon
        self.upstreams = upstreams
        self.files = daemon.open_files()

    def holds(self) -> None:
        daemon = self.daemon
        for upstream in self.upstreams:
            assert upstream.settled(0), "an upstream connection was left open"
        assert daemon.settles(self.files), f"{daemon.open_files()} descriptors, {self.files} before"
        end = time.monotonic() + PATIENCE_S
        while in_flight(daemon):
            assert time.monotonic() < end, "a request is still counted as running"
            time.sleep(0.01)
        assert "Traceback" not in daemon.log
        assert " ERROR " not in daemon.log, daemon.log
