"""A router to look at: one provider that echoes, one that streams as a test lets it, one that fails."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from tests.fakes.daemon import ROOT, RunningDaemon
from tests.fakes.upstream import PATIENCE_S, FakeUpstream, Turn

LLMROUTER = [sys.executable, str(ROOT / "llmrouter.py")]


class Upstream:
    """`go` lets a stream begin, `end` lets it end."""

    def __init__(self) -> None:
        self.go, self.end = threading.Event(), threading.Event()

    def free(self) -> None:
        self.go.set()
        self.end.set()

    def hold(self) -> None:
        self.go.clear()
        self.end.clear()

    def __call__(self, turn: Turn) -> None:
        if turn.received.method == "GET":
            return turn.whole({"object": "list", "data": [{"id": "small"}, {"id": "ill"}]})
        if turn.received.json["model"] == "ill":
            error = {"message": "out of \x1b[2Jmemory \u202e", "type": "server_error"}
            return turn.whole({"error": error}, 500)
        turn.begin()
        assert self.go.wait(PATIENCE_S)
        for word in ("Words ", "like ", "世界 ", "come."):
            turn.chunk(_delta({"content": word}))
        assert self.end.wait(PATIENCE_S)
        turn.chunk(_delta({}, "stop"))
        usage = b'{"prompt_tokens":1234,"completion_tokens":56}'
        turn.chunk(b'data: {"choices":[],"usage":%b}\n\ndata: [DONE]\n\n' % usage)
        return turn.end()


def _delta(delta: dict[str, str], stop: str | None = None) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": stop}
    return b"data: %b\n\n" % json.dumps({"choices": [choice]}).encode()


def config(url: str, *, port: int = 0, key: bool = False) -> str:
    return f"""
[server]
port = {port}
drain_timeout = 2
{'api_key_env = "THE_ROUTERS_API_KEY"' if key else ""}

[[providers]]
name = "streams"
format = "openai"
base_url = "{url}"
max_retries = 0
input_cost_per_1m = 1.0
output_cost_per_1m = 10.0
quality = 10

[[providers]]
name = "echo"
format = "echo"

[classifiers.keyword]
enabled = true
tags = {{ code = ["python"] }}

[[routers]]
type = "prefix"
model_prefix = "ill"
provider = "streams"

[[routers]]
type = "discover"

[[routers]]
type = "fallback"
providers = ["echo"]
"""


class House:
    def __init__(self, daemon: RunningDaemon, upstream: Upstream) -> None:
        self.daemon = daemon
        self.url = daemon.url
        self.upstream = upstream

    def ask(self, model: str, text: str = "hi", *, stream: bool = False) -> None:
        body = {"model": model, "stream": stream, "messages": [{"role": "user", "content": text}]}
        httpx.post(f"{self.url}/v1/chat/completions", json=body, timeout=PATIENCE_S)

    @contextmanager
    def asking(self, model: str, text: str = "hi") -> Iterator[None]:
        """A stream that goes on meanwhile."""
        self.upstream.hold()
        asking = threading.Thread(target=self.ask, args=(model, text), kwargs={"stream": True})
        asking.start()
        try:
            yield
        finally:
            self.upstream.free()
            asking.join(PATIENCE_S)


@contextmanager
def house(folder: Path) -> Iterator[House]:
    upstream = Upstream()
    upstream.free()
    with FakeUpstream(upstream) as up, RunningDaemon(config(up.url), folder) as daemon:
        yield House(daemon, upstream)
        upstream.free()
