"""How soon an upstream call ends when its client has gone.

    python contrib/bench/gone.py                # 300 times each way
    python contrib/bench/gone.py --trials 50

Owns: the time from a client's FIN (or RST) to the end of the upstream's connection, seen from one
process with one clock. Refuses to know: how the router does it.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import queue
import select
import socket
import statistics
import struct
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from processes import ROOT, Process, built_router, free_port

_CONFIG = """\
[server]
port = {port}
dashboard = false

[[providers]]
name = "mock"
format = "openai"
base_url = "http://127.0.0.1:{upstream}/v1"
models = ["m"]
"""
_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
_EVENT = b'data: {"id":"c","choices":[{"index":0,"delta":{"content":"word "}}]}\n\n'
_CHUNK = b"%x\r\n%b\r\n" % (len(_EVENT), _EVENT)
_GAP_S = 0.01
_PATIENCE_S = 20.0
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER: close sends RST


@dataclass(frozen=True)
class Case:
    """Where the client leaves. wants: what it asks for; gives: what the upstream has sent by then."""

    name: str
    stream: bool
    gives: bool
    reset: bool = False


CASES = [
    Case("waiting for a stream to begin", stream=True, gives=False),
    Case("in the middle of a stream", stream=True, gives=True),
    Case("waiting for a whole answer", stream=False, gives=False),
    Case("in the middle of a stream, by RST", stream=True, gives=True, reset=True),
]


class Upstream:
    """A server that answers nothing, or goes on for ever, and notes when it is left."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self.gives = False
        self.asked: queue.Queue[None] = queue.Queue()
        self.left: queue.Queue[float] = queue.Queue()
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            sock = self._listener.accept()[0]
            with sock:
                self._one(sock)

    def _one(self, sock: socket.socket) -> None:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.recv(65536)
        if self.gives:
            sock.sendall(_HEAD)
        self.asked.put(None)
        with contextlib.suppress(ConnectionError):  # an end by reset, met while sending
            while not select.select([sock], [], [], _GAP_S)[0]:
                if self.gives:
                    sock.sendall(_CHUNK)
        self.left.put(time.perf_counter())


def trial(case: Case, port: int, upstream: Upstream) -> float:
    """Milliseconds from the client's end to the upstream's."""
    upstream.gives = case.gives
    asked = {"model": "m", "stream": case.stream, "messages": [{"role": "user", "content": "?"}]}
    body = json.dumps(asked).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n"
    head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    with socket.create_connection(("127.0.0.1", port), _PATIENCE_S) as client:
        client.sendall(head.encode() + body)
        upstream.asked.get(timeout=_PATIENCE_S)
        if case.gives:
            while b"word" not in client.recv(65536):
                pass
        else:
            time.sleep(0.005)
        if case.reset:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        begun = time.perf_counter()
    return 1000 * (upstream.left.get(timeout=_PATIENCE_S) - begun)


def _line(case: Case, taken: list[float]) -> str:
    cuts = statistics.quantiles(taken, n=100, method="inclusive")
    figures = [cuts[49], cuts[89], cuts[98], max(taken)]
    return f"| {case.name} | {len(taken)} | {' | '.join(f'{f:.2f}' for f in figures)} |"


def main() -> None:
    venv = ROOT / ".venv" / "bin" / "python"
    options = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    options.add_argument("--trials", type=int, default=300)
    options.add_argument("--router", help="a built llmrouter.pyz (default: built from this tree)")
    options.add_argument("--python", default=str(venv) if venv.exists() else sys.executable)
    asked = options.parse_args()
    with tempfile.TemporaryDirectory(prefix="llmrouter-bench-") as folder:
        work, upstream, port = Path(folder), Upstream(), free_port()
        router = asked.router or built_router(work, asked.python)
        config = work / "llmrouter.toml"
        config.write_text(_CONFIG.format(port=port, upstream=upstream.port))
        command = [asked.python, router, "serve", str(config)]
        with Process("llmrouter", command, None, work / "log") as process:
            process.wait_ready(port, "/health")
            print("| the client leaves | times | p50, ms | p90, ms | p99, ms | most, ms |")
            print("| --- | --- | --- | --- | --- | --- |")
            for case in CASES:
                print(_line(case, [trial(case, port, upstream) for _ in range(asked.trials)]))


if __name__ == "__main__":
    main()
