"""Clients that vanish at random moments, thousands of them: what is left afterwards?

    python contrib/bench/vanish.py                  # 10,000 clients: some minutes
    python contrib/bench/vanish.py --clients 400

Owns: clients that leave (by FIN or RST) while they connect, send, queue, wait for a retry, for a first
token, or read a stream; an upstream that notes when it was left; the gauges of the daemon beside a
baseline.
Refuses to know: how the router notices.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import re
import statistics
import struct
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import trio
from processes import ROOT, Process, built_router, free_port

_CONFIG = """\
[server]
port = {port}
max_connections = 4096

[[providers]]
name = "open"
format = "openai"
base_url = "{upstream}"
models = ["prefill", "stream", "answer"]
circuit_failures = 0

[[providers]]
name = "narrow"
format = "anthropic"
base_url = "{upstream}"
models = ["queued"]
max_concurrency = 2
max_queue = 4096
queue_timeout = 600
circuit_failures = 0

[[providers]]
name = "limited"
format = "openai"
base_url = "{upstream}"
models = ["retry"]
max_retries = 5
circuit_failures = 0
"""
# Where a client is when it leaves. Paths and bodies are of formats of their own, so that both lanes
# (bytes that pass, events that are translated) are left in the middle.
_KINDS = ("connecting", "head", "body", "queued", "retry", "prefill", "stream", "answer")
_AT_ONCE = 64
_LONGEST_S = 0.25  # until a client leaves
_SETTLED_S = 60.0
_RESET = struct.pack("ii", 1, 0)
_RESETS = 0.2  # share of the clients that end with RST
_GAUGES = re.compile(
    r"^(llmrouter_(?:requests_in_flight|upstream_requests_in_flight|requests_queued"
    r"|connections_open|event_loop_tasks|feed_readers))(\{[^}]*\})? (\S+)$",
    re.MULTILINE,
)
_CHUNK = b'data: {"id":"c","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":{"content":"word "}}]}\n\n'
_WHOLE = {
    "id": "c",
    "object": "chat.completion",
    "created": 1,
    "model": "m",
    "choices": [
        {"index": 0, "message": {"role": "assistant", "content": "x"}, "finish_reason": "stop"}
    ],
    "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
}


@dataclass
class Seen:
    """What both ends saw, by the number that a client puts into its words. Times on one clock."""

    left: dict[int, float] = field(default_factory=dict)  # the client went
    asked: dict[int, str] = field(default_factory=dict)  # it had reached the upstream; its kind
    ended: dict[int, float] = field(default_factory=dict)  # the upstream's connection ended
    done: set[int] = field(default_factory=set)  # the upstream had answered before that
    kinds: Counter[str] = field(default_factory=Counter)

    def late_ms(self) -> dict[str, list[float]]:
        """By kind: from the client's end to the upstream's."""
        out: dict[str, list[float]] = {}
        for number, kind in self.asked.items():
            if number not in self.done and number in self.left and number in self.ended:
                took = 1000 * (self.ended[number] - self.left[number])
                out.setdefault(kind, []).append(max(0.0, took))
        return out

    def unseen(self) -> list[int]:
        """Calls whose end the upstream never saw."""
        return [n for n in self.asked if n not in self.done and n not in self.ended]


# --- the upstream ---------------------------------------------------------------------------------


class Upstream:
    """Says nothing, streams for ever, refuses or answers, as the model's name says."""

    def __init__(self, seen: Seen) -> None:
        self.seen = seen

    async def serve(self, stream: trio.SocketStream) -> None:
        buffer = b""
        async with stream:
            while True:
                try:
                    buffer = await self._one(stream, buffer)
                except (trio.BrokenResourceError, trio.ClosedResourceError, EOFError):
                    return

    async def _one(self, stream: trio.SocketStream, buffer: bytes) -> bytes:
        body, buffer = await _request(stream, buffer)
        number, kind = int(re.findall(rb"number (\d+)", body)[0]), str(json.loads(body)["model"])
        self.seen.asked[number] = kind
        if kind == "retry":
            self.seen.done.add(number)
            await _reply(stream, 429, {"error": {"message": "later"}}, "Retry-After: 1\r\n")
        elif kind == "answer":
            self.seen.done.add(number)
            await _reply(stream, 200, _WHOLE)
        else:
            await self._until_left(stream, number, streams=kind == "stream")
        return buffer

    async def _until_left(self, stream: trio.SocketStream, number: int, *, streams: bool) -> None:
        try:
            async with trio.open_nursery() as nursery:
                if streams:
                    nursery.start_soon(_endless, stream)
                while await stream.receive_some():
                    pass
                nursery.cancel_scope.cancel()
        except* (trio.BrokenResourceError, trio.ClosedResourceError):
            pass
        self.seen.ended[number] = time.perf_counter()
        raise EOFError


async def _endless(stream: trio.SocketStream) -> None:
    head = (
        b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
    )
    chunk = b"%x\r\n%b\r\n" % (len(_CHUNK), _CHUNK)
    await stream.send_all(head)
    while True:
        await stream.send_all(chunk)
        await trio.sleep(0.02)


async def _request(stream: trio.SocketStream, buffer: bytes) -> tuple[bytes, bytes]:
    """One request's body, and what came behind it."""
    while b"\r\n\r\n" not in buffer:
        buffer += await _some(stream)
    head, _, rest = buffer.partition(b"\r\n\r\n")
    found = re.search(rb"(?i)content-length: (\d+)", head)
    length = int(found[1]) if found else 0
    while len(rest) < length:
        rest += await _some(stream)
    return rest[:length], rest[length:]


async def _some(stream: trio.SocketStream) -> bytes:
    data = await stream.receive_some()
    if not data:
        raise EOFError
    return bytes(data)


async def _reply(stream: trio.SocketStream, status: int, body: Any, more: str = "") -> None:
    data = json.dumps(body).encode()
    head = f"HTTP/1.1 {status} X\r\nContent-Type: application/json\r\n{more}"
    await stream.send_all(f"{head}Content-Length: {len(data)}\r\n\r\n".encode() + data)


# --- clients --------------------------------------------------------------------------------------


def _bytes(kind: str, number: int) -> bytes:
    """A whole request, or the beginning of one."""
    model = {"connecting": "prefill", "head": "prefill", "body": "prefill"}.get(kind, kind)
    path = ("/v1/chat/completions", "/v1/messages", "/api/chat")[number % 3]
    asked = {
        "model": model,
        "max_tokens": 9,
        "stream": kind != "answer",
        "messages": [{"role": "user", "content": f"number {number} ."}],
    }
    body = json.dumps(asked).encode()
    head = (
        f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    )
    cut = {"connecting": 0, "head": len(head) // 2, "body": len(head) + len(body) // 2}
    return (head + body)[: cut.get(kind, math.inf)] if kind in cut else head + body


async def _client(port: int, number: int, chance: random.Random, seen: Seen) -> None:
    kind = chance.choice(_KINDS)
    seen.kinds[kind] += 1
    stream = await trio.open_tcp_stream("127.0.0.1", port)
    async with stream:
        sent = _bytes(kind, number)
        if sent:
            await stream.send_all(sent)
        with trio.move_on_after(chance.random() * _LONGEST_S):
            while await stream.receive_some():
                pass
        if chance.random() < _RESETS:
            stream.setsockopt(trio.socket.SOL_SOCKET, trio.socket.SO_LINGER, _RESET)
        seen.left[number] = time.perf_counter()


async def _clients(port: int, many: int, chance: random.Random, seen: Seen) -> None:
    places = trio.CapacityLimiter(_AT_ONCE)

    async def one(number: int) -> None:
        async with places:
            try:
                await _client(port, number, chance, seen)
            except (OSError, trio.BrokenResourceError):
                seen.left.setdefault(number, time.perf_counter())

    async with trio.open_nursery() as nursery:
        for number in range(many):
            while places.statistics().tasks_waiting > _AT_ONCE:  # noqa: ASYNC110
                await trio.sleep(0.001)
            nursery.start_soon(one, number)


# --- what is left ---------------------------------------------------------------------------------


async def gauges(port: int) -> dict[str, float]:
    """The daemon's own gauges, asked for on a connection that ends with it."""
    async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
        ask = "GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        await stream.send_all(ask.encode())
        page = b""
        while data := await stream.receive_some():
            page += data
    return {
        f"{name}{labels}": float(value) for name, labels, value in _GAUGES.findall(page.decode())
    }


def sockets(pid: int) -> int:
    """Open descriptors of a process that are sockets."""
    found = 0
    for path in Path(f"/proc/{pid}/fd").iterdir():
        try:
            found += str(path.readlink()).startswith("socket:")
        except OSError:
            continue
    return found


@dataclass
class Result:
    """before, after: gauges, and the sockets that are open."""

    seen: Seen
    before: dict[str, float]
    after: dict[str, float]

    @property
    def left_over(self) -> dict[str, float]:
        """What is higher than before."""
        return {k: v for k, v in self.after.items() if v > self.before.get(k, 0.0)}


async def measure(port: int, pid: int, many: int, seed: int, seen: Seen) -> Result:
    """Idle connections of the router's pool to the upstream are allowed for: their number is taken
    off the sockets, and they expire by themselves."""
    chance = random.Random(seed)
    await _clients(port, 64, chance, Seen())  # whatever is made once is made now
    before = await _settled(port, pid, None, Seen())
    await _clients(port, many, chance, seen)
    after = await _settled(port, pid, before, seen)
    return Result(seen, before, after)


async def _settled(
    port: int, pid: int, wanted: dict[str, float] | None, seen: Seen
) -> dict[str, float]:
    """The figures when they have come down to `wanted`, or no longer change."""
    until, last = time.monotonic() + _SETTLED_S, {}
    while True:
        await trio.sleep(0.5)
        now = await gauges(port)
        now["sockets"] = sockets(pid)
        down = wanted is None or all(v <= wanted.get(k, 0.0) for k, v in now.items())
        calm = now == last if wanted is None else down and not seen.unseen()
        if calm or time.monotonic() > until:
            return now
        last = now


async def run(many: int, seed: int, python: str, router: str, work: Path) -> Result:
    seen, port = Seen(), free_port()
    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(
            trio.serve_tcp,
            Upstream(seen).serve,
            0,
        )
        upstream = f"http://127.0.0.1:{listeners[0].socket.getsockname()[1]}"
        config = work / "llmrouter.toml"
        config.write_text(_CONFIG.format(port=port, upstream=upstream))
        with Process("llmrouter", [python, router, "serve", str(config)], None, work / "log") as it:
            await trio.to_thread.run_sync(it.wait_ready, port, "/health")
            result = await measure(port, it.pid, many, seed, seen)
        nursery.cancel_scope.cancel()
    return result


def _lines(result: Result) -> list[str]:
    out = ["| the client leaves | upstream calls ended | p50, ms | p99, ms | most, ms |"]
    out.append("| --- | --- | --- | --- | --- |")
    late = result.seen.late_ms()
    for kind, taken in [
        *sorted(late.items()),
        ("all", [t for each in late.values() for t in each]),
    ]:
        if len(taken) > 1:
            cuts = statistics.quantiles(taken, n=100, method="inclusive")
            figures = f"{cuts[49]:.2f} | {cuts[98]:.2f} | {max(taken):.2f}"
            out.append(f"| {kind} | {len(taken)} | {figures} |")
    out += ["", f"clients: {dict(result.seen.kinds)}"]
    out.append(f"upstream calls whose end was not seen: {len(result.seen.unseen())}")
    out.append(f"left over: {result.left_over or 'nothing'}")
    return out


def main() -> int:
    venv = ROOT / ".venv" / "bin" / "python"
    options = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    options.add_argument("--clients", type=int, default=10_000)
    options.add_argument("--seed", type=int, default=1)
    options.add_argument("--router", help="a built llmrouter.pyz (default: built from this tree)")
    options.add_argument("--python", default=str(venv) if venv.exists() else sys.executable)
    asked = options.parse_args()
    with tempfile.TemporaryDirectory(prefix="llmrouter-bench-") as folder:
        work = Path(folder)
        router = asked.router or built_router(work, asked.python)
        result = trio.run(run, asked.clients, asked.seed, asked.python, router, work)
    print("\n".join(_lines(result)))
    return 1 if result.left_over or result.seen.unseen() else 0


if __name__ == "__main__":
    raise SystemExit(main())
