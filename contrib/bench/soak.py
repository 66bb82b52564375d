"""What a daemon holds after a hundred thousand requests of all kinds.

    python contrib/bench/soak.py                     # 100,000: about ten minutes
    python contrib/bench/soak.py --requests 5000

Owns: the mix of requests (whole and streamed, in three formats, to servers of three formats, wrong
ones, refused ones, clients that leave) and the memory, files and gauges beside them.
Refuses to know: how fast it goes; run.py measures that.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import itertools
import json
import random
import sys
import tempfile
import threading
import time
import urllib.request
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from processes import ROOT, Process, built_router, compiled, free_port

_CONFIG = """\
[server]
port = {port}

[logging]
enabled = true
path = "{log}"
max_bytes = 10000000
keep = 1

[[providers]]
name = "openai"
format = "openai"
base_url = "http://127.0.0.1:{upstream}/v1"
models = ["gpt-mock"]

[[providers]]
name = "anthropic"
format = "anthropic"
base_url = "http://127.0.0.1:{upstream}"
models = ["claude-mock"]

[[providers]]
name = "ollama"
format = "ollama"
base_url = "http://127.0.0.1:{upstream}"
models = ["llama-mock"]

[[providers]]
name = "gone"
format = "openai"
base_url = "http://127.0.0.1:9/v1"
models = ["gone"]

[models]
walks = ["gone/gone", "openai/gpt-mock"]
"""
_MODELS = ("openai/gpt-mock", "anthropic/claude-mock", "ollama/llama-mock", "walks", "gone/gone")
_PATHS = {"openai": "/v1/chat/completions", "anthropic": "/v1/messages", "ollama": "/api/chat"}
_CLIENTS = 8
_SAMPLES = 10
_PATIENCE_S = 60.0
_WORDS = ("a", "small", "stone", "bridge", "crosses", "the", "quiet", "river", "grün", "橋")


@dataclass(frozen=True)
class Sample:
    """requests: served by then. rss_mib: resident memory. files: open descriptors."""

    requests: int
    rss_mib: float
    files: int


class Load:
    """Clients that ask, one request after the other, until so many were asked."""

    def __init__(self, port: int, seed: int) -> None:
        self._port = port
        self._seed = seed
        self.ends: Counter[str] = Counter()
        self._numbers = itertools.count()

    def run(self, until: int) -> None:
        threads = [threading.Thread(target=self._ask_on, args=(until,)) for _ in range(_CLIENTS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def _ask_on(self, until: int) -> None:
        conn = self._connection()
        while (number := next(self._numbers)) < until:
            chance = random.Random(self._seed * 1_000_003 + number)
            try:
                end = _ask(conn, chance)
            except (OSError, http.client.HTTPException) as error:
                end = f"lost: {type(error).__name__}"
            self.ends[end] += 1
            if end.startswith(("lost", "left")):
                conn.close()
                conn = self._connection()
        conn.close()

    def _connection(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self._port, timeout=_PATIENCE_S)


def _ask(conn: http.client.HTTPConnection, chance: random.Random) -> str:
    """One request of any kind. Returns what came of it, in a word."""
    fmt = chance.choice(list(_PATHS))
    body = _body(fmt, chance)
    text = json.dumps(body).encode()
    if chance.random() < 0.03:
        text = text[: len(text) // 2]  # broken JSON
    conn.request("POST", _PATHS[fmt], text, {"Content-Type": "application/json"})
    if chance.random() < 0.02:
        return "left before the answer"
    answer = conn.getresponse()
    if body["stream"] and answer.status == 200 and chance.random() < 0.05:
        answer.read(100)
        return "left in the middle"
    answer.read()
    return str(answer.status)


def _body(fmt: str, chance: random.Random) -> dict[str, Any]:
    words = " ".join(chance.choices(_WORDS, k=chance.choice((5, 50, 2000))))
    messages: list[dict[str, Any]] = [{"role": "user", "content": words}]
    body: dict[str, Any] = {
        "model": chance.choices((*_MODELS, f"unknown-{chance.random()}"), (6, 6, 6, 2, 1, 1))[0],
        "messages": messages,
        "stream": chance.random() < 0.5,
    }
    if fmt == "anthropic":
        body["max_tokens"] = 100
    if chance.random() < 0.3:
        schema = {"type": "object", "properties": {"a": {"type": "string"}}}
        tool = {"name": f"tool_{chance.randrange(1000)}", "description": "d"}
        if fmt == "anthropic":
            body["tools"] = [{**tool, "input_schema": schema}]
        else:
            body["tools"] = [{"type": "function", "function": {**tool, "parameters": schema}}]
    return body


def soak(process: Process, port: int, requests: int, seed: int) -> tuple[list[Sample], Load]:
    load, samples = Load(port, seed), []
    for part in range(1, _SAMPLES + 1):
        load.run(requests * part // _SAMPLES)
        _settle(port)
        files = len(list(Path(f"/proc/{process.pid}/fd").iterdir()))
        samples.append(Sample(requests * part // _SAMPLES, process.memory_mib("VmRSS"), files))
        print(_row(samples[-1]), flush=True)
    return samples, load


def _settle(port: int) -> None:
    """Wait until nothing is in flight."""
    until = time.monotonic() + _PATIENCE_S
    while time.monotonic() < until:
        with (
            contextlib.suppress(OSError),
            urllib.request.urlopen(f"http://127.0.0.1:{port}/ready") as answer,
        ):
            if json.load(answer)["in_flight"] == 0:
                return
        time.sleep(0.05)
    sys.exit("requests are in flight although nobody asks")


def _row(sample: Sample) -> str:
    return f"| {sample.requests} | {sample.rss_mib:.1f} | {sample.files} |"


def growth(samples: list[Sample]) -> float:
    """Memory at the end beside what it was after the first fifth, as a share."""
    warm = samples[len(samples) // 5 - 1]
    return samples[-1].rss_mib / warm.rss_mib - 1


def main() -> None:
    venv = ROOT / ".venv" / "bin" / "python"
    options = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    options.add_argument("--requests", type=int, default=100_000)
    options.add_argument("--seed", type=int, default=1)
    options.add_argument("--router", help="a built llmrouter.pyz (default: built from this tree)")
    options.add_argument("--python", default=str(venv) if venv.exists() else sys.executable)
    asked = options.parse_args()
    with tempfile.TemporaryDirectory(prefix="llmrouter-bench-") as folder:
        work, port, upstream = Path(folder), free_port(), free_port()
        router = asked.router or built_router(work, asked.python)
        config = work / "llmrouter.toml"
        log = work / "requests.jsonl"
        config.write_text(_CONFIG.format(port=port, upstream=upstream, log=log))
        mock = [compiled("mock_upstream", work), "--port", str(upstream)]
        serve = [asked.python, router, "serve", str(config)]
        with (
            Process("mock", mock, None, work / "mock.log") as fake,
            Process("llmrouter", serve, None, work / "log") as process,
        ):
            fake.wait_ready(upstream, "/v1/models")
            process.wait_ready(port, "/health")
            with urllib.request.urlopen(
                f"http://127.0.0.1:{upstream}/_ctl?chunks=20&bytes=24&resp=400"
            ) as answer:
                answer.read()
            print("| requests | memory, MiB | open files |")
            print("| --- | --- | --- |")
            samples, load = soak(process, port, asked.requests, asked.seed)
            lines = sum(1 for part in work.glob("requests.jsonl*") for _ in part.open("rb"))
    print(f"\ngrowth after the first fifth: {100 * growth(samples):+.1f} %")
    ends = ", ".join(f"{name}: {count}" for name, count in sorted(load.ends.items()))
    print(f"ends: {ends}")
    print(f"lines in the last two logs: {lines}")


if __name__ == "__main__":
    main()
