"""What the open feed costs: CPU time of a request with fifty readers, one of them stuck, and without.

    python contrib/bench/readers.py                        # about three minutes
    python contrib/bench/readers.py --readers 10 --rounds 3

Owns: the readers (one process beside the load), the rounds with and without them, what all of them
got. Refuses to know: what a request costs beside the least its stack can do; run.py measures that.

Laws:
1. Rounds alternate, so that what else runs on the machine hits both alike.
2. CPU time of the router by request is the figure; rates of a shared machine say little. More is what
   a round took beside the one without readers right before: the median of those.
3. Every request must complete, and every reader that reads must hear the end of every request.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import selectors
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import bodies
from processes import ROOT, Process, built_router, compiled, free_port

if TYPE_CHECKING:
    from collections.abc import Iterator

_CONFIG = """\
[server]
port = {port}

[[providers]]
name = "gpt"
format = "openai"
base_url = "http://127.0.0.1:{upstream}/v1"
models = ["gpt-mock"]
"""
_LOAD_CORE, _TARGET_CORE = 0, 1
_END = b'"type":"complete"'
_FEEDS = {"page": "?v=2&bodies=none", "all": "?v=2", "plain": ""}
_PATIENCE_S = 30.0
_STUCK_BYTES = 4096  # the receive buffer of the one that does not read


@dataclass(frozen=True)
class Load:
    """One kind of requests. mock: what the fake provider is told about its answers."""

    title: str
    body: str
    connections: int
    stream: bool = False
    mock: str = "resp=400&ttfb_us=0"


LOADS = {
    "whole": Load("small whole answers, 32 at a time", "chat", 32),
    "streams": Load(
        "streams of 200 chunks, 16 at a time",
        "chat_stream",
        16,
        True,
        "chunks=200&bytes=24&gap_us=0",
    ),
}


# --- the readers: a process of their own ----------------------------------------------------------


def read(port: int, count: int, query: str) -> None:
    """Follow the feed `count` times, one of them without reading. A line on stdin asks how many ends
    of requests the one that heard the fewest has heard; the end of stdin ends it."""
    picker = selectors.DefaultSelector()
    picker.register(sys.stdin.buffer, selectors.EVENT_READ)
    stuck = _follow(port, query, _STUCK_BYTES)
    heard: dict[socket.socket, int] = {}
    for _ in range(count - 1):
        reader = _follow(port, query)
        heard[reader] = 0
        picker.register(reader, selectors.EVENT_READ)
    print("ready", flush=True)
    space = bytearray(1 << 18)
    kept = dict.fromkeys(heard, b"")
    while True:
        for key, _ in picker.select():
            if key.fd == 0:
                if not sys.stdin.buffer.readline():
                    stuck.close()
                    return
                print(min(heard.values(), default=0), flush=True)
                continue
            reader = key.fileobj
            assert isinstance(reader, socket.socket)
            size = reader.recv_into(space)
            if not size:
                sys.exit("the router closed the feed")
            seen = kept[reader] + space[:size]
            heard[reader] += seen.count(_END)
            kept[reader] = seen[1 - len(_END) :]  # a mark may come in two pieces


def _follow(port: int, query: str, room: int = 0) -> socket.socket:
    sock = socket.socket()
    if room:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, room)
    sock.connect(("127.0.0.1", port))
    ask = f"GET /dashboard/events{query} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n"
    sock.sendall(ask.encode())
    if not sock.recv(12).endswith(b" 200"):
        sys.exit("the router does not give the feed")
    return sock


class Readers:
    """The process with the readers, seen from the bench."""

    def __init__(self, port: int, count: int, query: str, pinned: list[str]) -> None:
        command = [*pinned, sys.executable, __file__, "--read", str(port), str(count), query]
        self._popen = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        if self._said() != "ready":
            sys.exit("the readers did not come up")

    def _said(self) -> str:
        assert self._popen.stdout
        return self._popen.stdout.readline().strip()

    def heard(self, least: int) -> int:
        """How many ends each of them has heard, once they have heard so many, or nothing more comes."""
        until, heard = time.monotonic() + _PATIENCE_S, -1
        while heard < least and time.monotonic() < until:
            assert self._popen.stdin
            self._popen.stdin.write("\n")
            self._popen.stdin.flush()
            heard = int(self._said() or 0)
            time.sleep(0.05)
        return heard

    def end(self) -> None:
        assert self._popen.stdin
        self._popen.stdin.close()
        self._popen.wait(_PATIENCE_S)


# --- the rounds -----------------------------------------------------------------------------------


class Bench:
    def __init__(self, options: argparse.Namespace, work: Path) -> None:
        self._options = options
        self._work = work
        self._loadgen = compiled("loadgen", work)
        self._port, self._upstream = free_port(), free_port()
        bodies.write_all(work / "bodies")

    @contextlib.contextmanager
    def running(self) -> Iterator[Process]:
        work, python = self._work, self._options.python
        router = self._options.router or built_router(work, python)
        config = work / "llmrouter.toml"
        config.write_text(_CONFIG.format(port=self._port, upstream=self._upstream))
        mock = [compiled("mock_upstream", work), "--port", str(self._upstream)]
        serve = [python, router, "serve", str(config)]
        with (
            Process("mock", mock, self._core(_LOAD_CORE), work / "mock.log") as fake,
            Process("llmrouter", serve, self._core(_TARGET_CORE), work / "log") as process,
        ):
            fake.wait_ready(self._upstream, "/v1/models")
            process.wait_ready(self._port, "/health")
            yield process

    def _core(self, core: int) -> int | None:
        return None if self._options.unpin else core

    def _pinned(self) -> list[str]:
        return [] if self._options.unpin else ["taskset", "-c", str(_LOAD_CORE)]

    def measure(self, process: Process, load: Load, feed: str | None) -> dict[str, float]:
        """One round. feed: what the readers ask for; None: there are none."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self._upstream}/_ctl?{load.mock}") as told:
            told.read()
        count = self._options.readers
        readers = None if feed is None else Readers(self._port, count, feed, self._pinned())
        time.sleep(0.2)
        began, before = self._ended(), process.cpu_s()
        said = self._asked(load)
        ended = self._ended() - began
        if readers is not None and (heard := readers.heard(ended)) < ended:
            sys.exit(f"{ended} requests ended, and one reader heard of {heard} only")
        spent = process.cpu_s() - before
        if readers is not None:
            readers.end()
        if said.get("err") or said.get("bad") or not ended:
            sys.exit(f"requests failed: {said}")
        memory = process.memory_mib("VmRSS")
        return {"cpu_us": 1e6 * spent / ended, "rate": ended / self._options.secs, "rss": memory}

    def _asked(self, load: Load) -> dict[str, Any]:
        body = self._work / "bodies" / f"{load.body}.json"
        command = [*self._pinned(), self._loadgen, "--port", str(self._port)]
        command += ["--path", "/v1/chat/completions", "--body", str(body)]
        command += ["-c", str(load.connections), "-H", "content-type: application/json"]
        command += ["--stream"] if load.stream else []
        command += ["--warm", "0", "-t", str(self._options.secs)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120)
        if not done.stdout.strip():
            sys.exit(f"the load came to nothing: {done.stderr}")
        told: dict[str, Any] = json.loads(done.stdout)
        return told

    def _ended(self) -> int:
        """Requests that have ended, as the router counts; asked when none is in flight."""
        until = time.monotonic() + _PATIENCE_S
        while time.monotonic() < until:
            with urllib.request.urlopen(f"http://127.0.0.1:{self._port}/metrics") as answer:
                lines = answer.read().decode().splitlines()
            if "llmrouter_requests_in_flight 0" in lines:
                named = [line for line in lines if line.startswith("llmrouter_requests_total{")]
                return sum(int(float(line.rpartition(" ")[2])) for line in named)
            time.sleep(0.05)
        sys.exit("requests are in flight although nobody asks")


def report(name: str, cells: dict[str, list[dict[str, float]]]) -> None:
    print(f"\n{LOADS[name].title}\n\n| feed | CPU us a request | more | requests/s | RSS, MiB |")
    print("| --- | --- | --- | --- | --- |")
    alone = [cell["cpu_us"] for cell in cells["none"]]
    for feed, rounds in cells.items():
        cost, rate, rss = ([cell[key] for cell in rounds] for key in ("cpu_us", "rate", "rss"))
        middle = statistics.median(cost)
        beside = statistics.median(one / other for one, other in zip(cost, alone, strict=True))
        more = "" if feed == "none" else f"{100 * (beside - 1):+.1f} %"
        spread = f"{middle:.0f} ({min(cost):.0f} to {max(cost):.0f})"
        print(f"| {feed} | {spread} | {more} | {statistics.median(rate):.0f} | {max(rss):.1f} |")


def main() -> None:
    if sys.argv[1:2] == ["--read"]:
        return read(int(sys.argv[2]), int(sys.argv[3]), sys.argv[4])
    venv = ROOT / ".venv" / "bin" / "python"
    a = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    a.add_argument("--readers", type=int, default=50)
    a.add_argument("--rounds", type=int, default=7)
    a.add_argument("--secs", type=float, default=3.0, help="length of one measurement")
    a.add_argument("--only", default=",".join(LOADS), help=f"of {', '.join(LOADS)}")
    a.add_argument(
        "--feeds",
        default=",".join(_FEEDS),
        help="page: as the dashboard asks, all: with"
        " the words, plain: the original's four events, with the words",
    )
    a.add_argument("--router", help="a built llmrouter.pyz (default: built from this tree)")
    a.add_argument("--python", default=str(venv) if venv.exists() else sys.executable)
    a.add_argument("--unpin", action="store_true", help="leave the cores to the kernel")
    options = a.parse_args()
    feeds: dict[str, str | None] = {"none": None}
    feeds |= {name: _FEEDS[name] for name in options.feeds.split(",")}
    with tempfile.TemporaryDirectory(prefix="llmrouter-bench-") as folder:
        bench = Bench(options, Path(folder))
        with bench.running() as process:
            for name in options.only.split(","):
                cells: dict[str, list[dict[str, float]]] = {feed: [] for feed in feeds}
                bench.measure(process, LOADS[name], None)  # once unmeasured: imports, connections
                for _ in range(options.rounds):
                    for feed, query in feeds.items():
                        cells[feed].append(bench.measure(process, LOADS[name], query))
                report(name, cells)
    return None


if __name__ == "__main__":
    main()
