"""One place, three clients of three vendors' SDKs, and the queue between them."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import anthropic
import httpx
import ollama
import openai
import pytest

from tests.fakes.daemon import RunningDaemon
from tests.fakes.upstream import PATIENCE_S, FakeUpstream, Turn

pytestmark = pytest.mark.e2e

CONFIG = """
[server]
port = 0
state_dir = "{folder}/state"
[logging]
enabled = true
path = "{folder}/log.jsonl"
[[providers]]
name = "gpu"
format = "openai"
base_url = "{url}"
models = ["small"]
max_concurrency = 1
max_queue = 2
max_loaded_models = 1
"""
CLIENTS = """
[[clients]]
name = "ann"
key_env = "ANN"
rpm = 2
[[clients]]
name = "bob"
key_env = "BOB"
admin = true
priority = "batch"
budget_usd_per_day = 0.02
"""
PRICES = "input_cost_per_1m = 100\noutput_cost_per_1m = 1000\n"
SAID = [{"role": "user", "content": "hi"}]


class Gpu:
    """Answers one request at a time, each when it is let."""

    def __init__(self) -> None:
        self.go = threading.Semaphore(0)
        self.came = threading.Semaphore(0)
        self.at_work, self.most = 0, 0

    def __call__(self, turn: Turn) -> None:
        if turn.received.method == "GET":
            return turn.whole({"object": "list", "data": [{"id": "small"}]})
        self.at_work += 1
        self.most = max(self.most, self.at_work)
        self.came.release()
        assert self.go.acquire(timeout=PATIENCE_S)
        self.at_work -= 1
        message = {"role": "assistant", "content": "hello"}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        usage = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}
        answer = {"id": "c", "object": "chat.completion", "created": 1, "model": "small"}
        return turn.whole({**answer, "choices": [choice], "usage": usage})


class Watching:
    """Follows the feed in a thread; `seen` waits for an event."""

    def __init__(self, url: str) -> None:
        self.events: list[dict[str, Any]] = []
        self._more = threading.Condition()
        self._url = url
        self._thread = threading.Thread(target=self._follow, daemon=True)
        self._thread.start()

    def _follow(self) -> None:
        try:
            with httpx.stream("GET", self._url, timeout=PATIENCE_S) as answer:
                for line in answer.iter_lines():
                    if line.startswith("data: "):
                        with self._more:
                            self.events.append(json.loads(line[6:]))
                            self._more.notify_all()
        except httpx.HTTPError:
            pass  # the daemon ends before its readers do

    def seen(self, **members: Any) -> dict[str, Any]:
        def found() -> dict[str, Any] | None:
            fit = (e for e in self.events if members.items() <= e.items())
            return next(fit, None)

        with self._more:
            event = self._more.wait_for(found, PATIENCE_S)
        assert event, f"no event {members}"
        return event


@contextmanager
def running(folder: Path, more: str = "", **env: str) -> Iterator[tuple[RunningDaemon, Gpu]]:
    gpu = Gpu()
    with FakeUpstream(gpu) as up:
        config = CONFIG.format(folder=folder, url=up.url) + more
        with RunningDaemon(config, folder, env=env) as daemon:
            yield daemon, gpu
            gpu.go.release(100)


def by_openai(daemon: RunningDaemon, key: str = "x") -> str:
    with openai.OpenAI(base_url=f"{daemon.url}/v1", api_key=key, max_retries=0) as client:
        answer = client.chat.completions.create(model="small", messages=SAID, max_tokens=9)  # type: ignore[arg-type]
        return answer.choices[0].message.content or ""


def by_anthropic(daemon: RunningDaemon) -> str:
    with anthropic.Anthropic(base_url=daemon.url, api_key="x", max_retries=0) as client:
        answer = client.messages.create(model="small", messages=SAID, max_tokens=9)  # type: ignore[arg-type]
        return answer.content[0].text  # type: ignore[union-attr]


def by_ollama(daemon: RunningDaemon) -> str:
    with ollama.Client(daemon.url) as client:
        return client.chat("small", messages=SAID).message.content or ""


def test_three_sdks_share_one_place(tmp_path: Path) -> None:
    with running(tmp_path) as (daemon, gpu), ThreadPoolExecutor() as threads:
        ours = Watching(f"{daemon.url}/dashboard/events?v=2")
        theirs = Watching(f"{daemon.url}/dashboard/events")
        ours.seen(type="hello")
        asked: list[Future[str]] = [threads.submit(by_openai, daemon)]
        assert gpu.came.acquire(timeout=PATIENCE_S)
        asked.append(threads.submit(by_anthropic, daemon))
        ours.seen(type="queued", id=2, position=1)
        asked.append(threads.submit(by_ollama, daemon))
        ours.seen(type="queued", id=3, position=2, provider="gpu", model="small")

        with pytest.raises(openai.InternalServerError) as full:
            by_openai(daemon)
        assert full.value.status_code == 503
        assert int(full.value.response.headers["retry-after"]) >= 1
        assert full.value.response.headers["x-router-error"] == "queue_full"
        with pytest.raises(anthropic.APIStatusError) as overloaded:
            by_anthropic(daemon)
        assert overloaded.value.status_code == 529
        with pytest.raises(ollama.ResponseError, match="the queue for gpu is full"):
            by_ollama(daemon)

        [state] = httpx.get(f"{daemon.url}/dashboard/api/state").json()["providers"]
        assert state["queue"] == {
            "running": 1,
            "waiting": 2,
            "clients": {"": {"running": 1, "waiting": 2}},
            "models": {"small": 1},
            "loaded": ["small"],
        }
        metrics = httpx.get(f"{daemon.url}/metrics").text
        assert 'llmrouter_requests_queued{provider="gpu"} 2\n' in metrics
        gpu.go.release(1)
        ours.seen(type="queued", id=3, position=1)
        gpu.go.release(2)
        wait(asked, PATIENCE_S)
        assert [each.result() for each in asked] == ["hello"] * 3
        assert gpu.most == 1
        done = ours.seen(type="complete", id=3)
        assert done["queue_ms"] > 0
        theirs.seen(type="complete", id=3)
        assert {e["type"] for e in theirs.events} <= {"start", "classified", "routed", "complete"}
        [state] = httpx.get(f"{daemon.url}/dashboard/api/state").json()["providers"]
        assert (state["queue"]["running"], state["queue"]["waiting"]) == (0, 0)


def test_what_clients_may_use_and_spend_over_a_restart(tmp_path: Path) -> None:
    env = {"ANN": "key-ann", "BOB": "key-bob"}
    with running(tmp_path, PRICES + CLIENTS, **env) as (daemon, gpu):
        gpu.go.release(10)
        assert [by_openai(daemon, "key-ann") for _ in range(2)] == ["hello"] * 2
        with pytest.raises(openai.RateLimitError) as limited:
            by_openai(daemon, "key-ann")
        assert limited.value.response.headers["x-router-error"] == "client_limit:rpm"
        assert 1 <= int(limited.value.response.headers["retry-after"]) <= 30
        assert [by_openai(daemon, "key-bob") for _ in range(2)] == ["hello"] * 2  # 0.006 each
    with running(tmp_path, PRICES + CLIENTS, **env) as (daemon, gpu):
        gpu.go.release(10)
        with pytest.raises(openai.RateLimitError) as spent:  # up to 0.01 more do not fit
            by_openai(daemon, "key-bob")
        assert spent.value.response.headers["x-router-error"] == "over_budget"
        assert "0.0120 of it are spent" in str(spent.value)
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [line["end"] for line in lines if line["client"] == "bob"][-1] == "over_budget"
