"""Fifty readers of the event feed on real sockets, one of them stuck: nobody waits for it, nothing grows."""

import contextlib
import selectors
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from tests.fakes.daemon import RunningDaemon

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

READERS = 50
CONFIG = """
    [server]
    port = 0
    [[providers]]
    name = "echo"
    format = "echo"
"""
END = b'"type":"complete"'
GROWTH_MIB = 8  # whoever kept what the stuck one does not read would hold several times as much
WORDS = "word " * 2000


def follow(port: int, room: int = 0) -> socket.socket:
    sock = socket.socket()
    if room:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, room)
    sock.connect(("127.0.0.1", port))
    sock.sendall(b"GET /dashboard/events?v=2 HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n\r\n" % port)
    assert sock.recv(12) == b"HTTP/1.1 200"
    return sock


class Readers:
    """49 that read, in one thread. heard: the ends of requests that each has seen."""

    def __init__(self, port: int) -> None:
        self.heard: dict[socket.socket, int] = {}
        self._kept: dict[socket.socket, bytes] = {}
        self._picker = selectors.DefaultSelector()
        for _ in range(READERS - 1):
            sock = follow(port)
            self.heard[sock], self._kept[sock] = 0, b""
            self._picker.register(sock, selectors.EVENT_READ)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._read)
        self._thread.start()

    def _read(self) -> None:
        while not self._over.is_set():
            for key, _ in self._picker.select(0.2):
                sock = key.fileobj
                assert isinstance(sock, socket.socket)
                seen = self._kept[sock] + sock.recv(1 << 18)
                self.heard[sock] += seen.count(END)
                self._kept[sock] = seen[1 - len(END) :]

    def wait(self, ends: int) -> bool:
        for _ in range(600):
            if min(self.heard.values()) >= ends:
                return True
            self._over.wait(0.1)
        return False

    def end(self) -> None:
        self._over.set()
        self._thread.join(60)
        for sock in self.heard:
            sock.close()


@contextlib.contextmanager
def watched(port: int) -> Iterator[Readers]:
    stuck, readers = follow(port, 4096), Readers(port)
    try:
        yield readers
    finally:
        readers.end()
        stuck.close()


def rss_mib(pid: int) -> float:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    (line,) = [line for line in lines if line.startswith("VmRSS")]
    return int(line.split()[1]) / 1024


def test_every_request_completes_and_no_memory_grows(tmp_path: Path) -> None:
    with RunningDaemon(CONFIG, tmp_path) as daemon, watched(daemon.port) as readers:
        body = {"model": "echo", "messages": [{"role": "user", "content": WORDS}]}
        with httpx.Client(base_url=daemon.url, timeout=60) as http, ThreadPoolExecutor(4) as pool:

            def run(count: int) -> None:
                def one(_: int) -> int:
                    return http.post("/v1/chat/completions", json=body).status_code

                assert set(pool.map(one, range(count))) == {200}

            run(800)  # the ring is full by then
            assert readers.wait(800)
            before = rss_mib(daemon.process.pid)
            run(800)
            assert readers.wait(1600)
            assert rss_mib(daemon.process.pid) - before < GROWTH_MIB
            told = http.get("/metrics").text
            assert "llmrouter_requests_in_flight 0" in told
            assert f"llmrouter_feed_readers {READERS}" in told
