"""Restarts and reloads as operators do them: nobody is refused, and no stream is broken."""

import hashlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
import trio

from tests.fakes.daemon import ROOT, RunningDaemon
from tests.fakes.upstream import FakeUpstream, Turn

pytestmark = pytest.mark.e2e

PATIENCE_S = 60.0
RESTARTS = 20
ECHO = '[[providers]]\nname = "e"\nformat = "echo"\n'
# What a service manager does: hands down descriptor 3, and says whose it is.
LAUNCH = (
    "import os, sys; fd = int(sys.argv[1]); os.dup2(fd, 3); fd == 3 or os.close(fd); "
    "os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS='1'); "
    "os.execv(sys.executable, [sys.executable, *sys.argv[2:]])"
)


class Manager:
    """systemd, as far as a service sees it: holds the socket, hears its notifications."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.held = socket.create_server(("127.0.0.1", 0), backlog=4096)
        self.port = self.held.getsockname()[1]
        self.notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.notify.bind(str(folder / "notify"))
        self.notify.settimeout(PATIENCE_S)
        (folder / "llmrouter.toml").write_text(ECHO)

    def start(self) -> "subprocess.Popen[bytes]":
        env = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.folder),
            "NOTIFY_SOCKET": str(self.folder / "notify"),
        }
        command = [sys.executable, "-c", LAUNCH, str(self.held.fileno())]
        command += [str(ROOT / "llmrouter.py"), "serve", str(self.folder / "llmrouter.toml")]
        process = subprocess.Popen(
            command,
            env=env,
            cwd=self.folder,
            pass_fds=[self.held.fileno()],
            stdin=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self.until("READY=1")
        return process

    def stop(self, process: "subprocess.Popen[bytes]") -> None:
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE_S) == 0
        self.until("STOPPING=1")

    def until(self, word: str) -> str:
        while True:
            told = self.notify.recv(4096).decode()
            if word in told.splitlines():
                return told

    def close(self) -> None:
        self.held.close()
        self.notify.close()


class Knocker:
    """A connection with one request each millisecond, as far as this machine can. seen: how they
    went. At most as many are under way as the held socket has places for: more would be turned away
    by the kernel, whoever serves."""

    PLACES = 3000

    def __init__(self, port: int) -> None:
        self.port = port
        self.begun = self.ended = 0
        self.seen: dict[str, int] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=trio.run, args=(self._run,), daemon=True)
        self._thread.start()

    async def _run(self) -> None:
        async with trio.open_nursery() as nursery:
            while not self._stop.is_set():  # noqa: ASYNC110 - it is set in another thread
                if self.begun - self.ended < self.PLACES:
                    self.begun += 1
                    nursery.start_soon(self._knock)
                await trio.sleep(0.001)

    async def _knock(self) -> None:
        try:
            with trio.fail_after(PATIENCE_S):
                stream = await trio.open_tcp_stream("127.0.0.1", self.port)
                async with stream:
                    await stream.send_all(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
                    said = b""
                    while not said.endswith(b"ok") and (data := await stream.receive_some()):
                        said += data
            how = "answered" if said.startswith(b"HTTP/1.1 200") else "closed unanswered"
        except (OSError, trio.BrokenResourceError, trio.TooSlowError) as error:
            how = type(error).__name__
        self.seen[how] = self.seen.get(how, 0) + 1
        self.ended += 1

    def catch_up(self) -> None:
        """Until those who knocked at a closed door have been let in."""
        mark, until = self.begun, time.monotonic() + PATIENCE_S
        while self.ended < mark:
            assert time.monotonic() < until, self.seen
            time.sleep(0.01)

    def stop(self) -> None:
        self._stop.set()
        self._thread.join(PATIENCE_S)


def test_restarts_under_a_held_socket_refuse_nobody(tmp_path: Path) -> None:
    manager = Manager(tmp_path)
    process, knocker = manager.start(), Knocker(manager.port)
    try:
        for _ in range(RESTARTS):
            manager.stop(process)
            process = manager.start()
            knocker.catch_up()
        knocker.stop()
        manager.stop(process)
    finally:
        knocker.stop()
        process.kill()
        process.wait()
        manager.close()
    assert list(knocker.seen) == ["answered"], knocker.seen
    assert knocker.seen["answered"] > RESTARTS


# --- reload ---------------------------------------------------------------------------------------

STREAMS, CHUNKS = 20, 60


def pieces(number: int) -> list[bytes]:
    out = [
        json.dumps(
            {
                "id": f"c{number}",
                "object": "chat.completion.chunk",
                "created": 1,
                "model": "m",
                "choices": [
                    {
                        "index": 0,
                        "delta": {"content": f"{number}/{each} "},
                        "finish_reason": "stop" if each == CHUNKS - 1 else None,
                    }
                ],
            }
        ).encode()
        for each in range(CHUNKS)
    ]
    return [b"data: " + line + b"\n\n" for line in out] + [b"data: [DONE]\n\n"]


class Slow:
    """A stream that stands still in the middle until it is let go on."""

    def __init__(self) -> None:
        self.halfway = threading.Semaphore(0)
        self.go = threading.Event()

    def __call__(self, turn: Turn) -> None:
        if turn.received.method == "GET":
            return turn.whole({"data": [{"id": "m"}]})
        number = int(turn.received.json["messages"][0]["content"])
        turn.begin()
        for place, piece in enumerate(pieces(number)):
            turn.chunk(piece)
            if place == CHUNKS // 2:
                self.halfway.release()
                assert self.go.wait(PATIENCE_S)
        return turn.end()


def config(up: FakeUpstream, *more: str) -> str:
    provider = f'[[providers]]\nname = "up"\nformat = "openai"\nbase_url = "{up.url}/v1"\n'
    return "[server]\nport = 0\n" + "".join(more) + provider


def waits_for(daemon: RunningDaemon, words: str) -> None:
    until = time.monotonic() + PATIENCE_S
    while words not in daemon.log:
        assert time.monotonic() < until, daemon.log
        time.sleep(0.02)


@contextmanager
def streaming(daemon: RunningDaemon) -> Iterator[list[bytes]]:
    """Many streams at once; what each client got, when all have ended."""
    got = [b""] * STREAMS

    def one(number: int) -> None:
        body = {
            "model": "m",
            "stream": True,
            "messages": [{"role": "user", "content": str(number)}],
        }
        with httpx.stream(
            "POST", f"{daemon.url}/v1/chat/completions", json=body, timeout=PATIENCE_S
        ) as answer:
            got[number] = b"".join(answer.iter_raw())

    threads = [threading.Thread(target=one, args=(n,), daemon=True) for n in range(STREAMS)]
    for thread in threads:
        thread.start()
    yield got
    for thread in threads:
        thread.join(PATIENCE_S)


def test_streams_across_a_reload_are_byte_identical(tmp_path: Path) -> None:
    slow = Slow()
    with FakeUpstream(slow) as up, RunningDaemon(config(up), tmp_path) as daemon:
        with streaming(daemon) as got:
            for _ in range(STREAMS):
                assert slow.halfway.acquire(timeout=PATIENCE_S)
            (tmp_path / "llmrouter.toml").write_text(config(up, "life_sign = 7\n") + ECHO)
            daemon.process.send_signal(signal.SIGHUP)
            waits_for(daemon, "generation 2")
            assert "e" in httpx.get(f"{daemon.url}/ready").json()["providers"]
            slow.go.set()
        for number in range(STREAMS):
            expected = b"".join(pieces(number))
            assert hashlib.sha256(got[number]).digest() == hashlib.sha256(expected).digest()


def test_a_wrong_edit_changes_nothing_and_is_said(tmp_path: Path) -> None:
    with (
        FakeUpstream(Slow()) as up,
        RunningDaemon(config(up), tmp_path, "--watch-config") as daemon,
    ):
        (tmp_path / "llmrouter.toml").write_text(config(up, "prot = 1\n"))
        waits_for(daemon, "not reloaded")
        assert "server.prot: unknown key" in daemon.log
        assert httpx.get(f"{daemon.url}/health").text == "ok"
        (tmp_path / "llmrouter.toml").write_text(config(up) + ECHO)
        waits_for(daemon, "generation 2")
        assert "llmrouter.reload[" in daemon.log
        daemon.process.send_signal(signal.SIGUSR1)
        waits_for(daemon, "opening the request log anew")


# --- sockets --------------------------------------------------------------------------------------


def test_a_unix_socket_and_tls_with_a_certificate_that_is_renewed(tmp_path: Path) -> None:
    import ssl

    import trustme

    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")

    def issue(name: str) -> None:
        cert = authority.issue_cert("localhost", "127.0.0.1", common_name=name)
        cert.private_key_pem.write_to_path(tmp_path / "key.pem")
        cert.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")

    issue("first")
    path = tmp_path / "x.sock"
    text = (
        f'[server]\nport = 0\nhost = ["127.0.0.1", "unix:{path}"]\nunix_mode = "0600"\n'
        f'tls_cert = "{tmp_path / "cert.pem"}"\ntls_key = "{tmp_path / "key.pem"}"\n'
    )
    context = ssl.create_default_context(cafile=str(tmp_path / "ca.pem"))

    def common_name(port: int) -> str:
        with socket.create_connection(("127.0.0.1", port), PATIENCE_S) as plain:
            with context.wrap_socket(plain, server_hostname="127.0.0.1") as secure:
                subject = dict(pair[0] for pair in secure.getpeercert()["subject"])
                return subject["commonName"]

    with RunningDaemon(text + ECHO, tmp_path) as daemon:
        assert daemon.url.startswith("https://")
        assert common_name(daemon.port) == "first"
        assert httpx.get(f"{daemon.url}/health", verify=context).text == "ok"
        local = httpx.Client(transport=httpx.HTTPTransport(uds=str(path)))
        assert local.get("http://anything.example/health").text == "ok"
        local.close()
        issue("second")
        daemon.process.send_signal(signal.SIGHUP)
        waits_for(daemon, "generation 2")
        assert common_name(daemon.port) == "second"
    assert not path.exists()
