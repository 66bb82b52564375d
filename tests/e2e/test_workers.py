"""Two workers and a hub under a supervisor, as processes."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.fakes.daemon import RunningDaemon
from tests.fakes.upstream import PATIENCE_S, FakeUpstream, Turn

pytestmark = pytest.mark.e2e

CONFIG = """
[server]
port = 0
workers = 2
[logging]
enabled = true
path = "{folder}/log.jsonl"
[[providers]]
name = "up"
format = "openai"
base_url = "{url}"
models = ["m"]
"""
ASK: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
PIECES = [
    b'data: {"id":"c","object":"chat.completion.chunk","created":1,"model":"m","choices":'
    b'[{"index":0,"delta":{"content":"%d"},"finish_reason":null}]}\n\n' % n
    for n in range(6)
]
LAST = [
    b'data: {"id":"c","object":"chat.completion.chunk","created":1,"model":"m","choices":'
    b'[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n',
    b"data: [DONE]\n\n",
]


class Model:
    """Streams; where it is told to hold, it waits in the middle of each."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.go.set()
        self.at_work = threading.Semaphore(0)

    def __call__(self, turn: Turn) -> None:
        if turn.received.method == "GET":
            return turn.whole({"object": "list", "data": [{"id": "m"}]})
        turn.begin()
        for piece in PIECES:
            turn.chunk(piece)
        self.at_work.release()
        assert self.go.wait(PATIENCE_S)
        for piece in LAST:
            turn.chunk(piece)
        return turn.end()


def until(true: Callable[[], Any], timeout_s: float = 40.0) -> Any:
    end = time.monotonic() + timeout_s
    while not (found := true()):
        assert time.monotonic() < end, "it did not come about"
        time.sleep(0.05)
    return found


def children(pid: int) -> list[int]:
    text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return [int(each) for each in text.split()]


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (OSError, IndexError):
        return False


def asked(daemon: RunningDaemon) -> httpx.Response:
    with httpx.Client(timeout=40) as client:
        return client.post(f"{daemon.url}/v1/chat/completions", json={**ASK, "stream": True})


def lines(folder: Path) -> list[dict[str, Any]]:
    path = folder / "log.jsonl"
    text = path.read_text() if path.exists() else ""
    return [json.loads(line) for line in text.splitlines()]


def sockets(folder: Path) -> list[Path]:
    return list(folder.glob("llmrouter-*"))


class Streams:
    """Several requests at once, in threads; `answers` has the text of each, or its error."""

    def __init__(self, daemon: RunningDaemon, count: int) -> None:
        self.answers: list[str | Exception] = []
        self._url = daemon.url
        self._threads = [threading.Thread(target=self._ask) for _ in range(count)]
        for thread in self._threads:
            thread.start()

    def _ask(self) -> None:
        try:
            with httpx.Client(timeout=40) as client:
                body = {**ASK, "stream": True}
                found = client.post(f"{self._url}/v1/chat/completions", json=body)
                self.answers.append(found.text)
        except httpx.HTTPError as error:
            self.answers.append(error)

    def wait(self) -> list[str | Exception]:
        for thread in self._threads:
            thread.join(60)
        return self.answers


def held(model: Model, daemon: RunningDaemon, count: int) -> Streams:
    """So many streams, all of them begun; they end when `model.go` is set."""
    model.go.clear()
    model.at_work = threading.Semaphore(0)
    streams = Streams(daemon, count)
    for _ in range(count):
        assert model.at_work.acquire(timeout=40)
    return streams


def test_one_log_one_feed_one_page_of_metrics_and_nothing_left_behind(tmp_path: Path) -> None:
    model = Model()
    with FakeUpstream(model) as up:
        config = CONFIG.format(url=up.url, folder=tmp_path)
        with RunningDaemon(config, tmp_path, env={"TMPDIR": str(tmp_path)}) as daemon:
            family = [daemon.pid, *children(daemon.pid)]
            assert len(family) == 4
            count = 0
            while {line.get("worker") for line in lines(tmp_path)} != {1, 2}:
                assert count < 400
                assert asked(daemon).status_code == 200
                count += 1
            until(lambda: len(lines(tmp_path)) == count)
            found = httpx.get(f"{daemon.url}/metrics", timeout=20).text
            counted = [x for x in found.splitlines() if x.startswith("llmrouter_requests_total")]
            assert sum(int(float(line.rpartition(" ")[2])) for line in counted) == count
            assert "llmrouter_workers 2" in found
            assert 'llmrouter_worker_cpu_seconds_total{worker="2"}' in found
            ids = [line["id"] for line in lines(tmp_path)]
            assert len(set(ids)) == count
            with httpx.stream("GET", f"{daemon.url}/dashboard/events?after=0") as feed:
                seen: set[int] = set()
                for line in feed.iter_lines():
                    if line.startswith("data: "):
                        event = json.loads(line.removeprefix("data: "))
                        seen |= {event["id"]} if event["type"] == "complete" else set()
                    if len(seen) == count:
                        break
            assert seen == set(ids)
            assert sockets(tmp_path)
        assert not [pid for pid in family if alive(pid)]
        assert not sockets(tmp_path)


def test_a_killed_worker_loses_its_own_requests_only(tmp_path: Path) -> None:
    model = Model()
    with FakeUpstream(model) as up:
        config = CONFIG.format(url=up.url, folder=tmp_path)
        with RunningDaemon(config, tmp_path, env={"TMPDIR": str(tmp_path)}) as daemon:
            whole = asked(daemon).text
            streams = held(model, daemon, 12)
            before = children(daemon.pid)
            os.kill(before[1], signal.SIGKILL)
            until(lambda: len(set(children(daemon.pid)) - set(before)) == 1)
            model.go.set()
            answers = streams.wait()
            right = [each for each in answers if each == whole]
            assert asked(daemon).text == whole
            until(lambda: len(lines(tmp_path)) == 14)
            ends = [line["end"] for line in lines(tmp_path)]
            assert ends.count("complete") == len(right) + 2
            assert ends.count("internal_error") == 12 - len(right)
            until(lambda: "was killed by signal 9; it starts again" in daemon.log)


def test_a_killed_hub_comes_back_and_no_request_notices(tmp_path: Path) -> None:
    with FakeUpstream(Model()) as up:
        config = CONFIG.format(url=up.url, folder=tmp_path)
        with RunningDaemon(config, tmp_path, env={"TMPDIR": str(tmp_path)}) as daemon:
            hub = children(daemon.pid)[0]
            os.kill(hub, signal.SIGKILL)
            assert asked(daemon).status_code == 200
            until(lambda: len(lines(tmp_path)) == 1)
            until(lambda: "llmrouter_workers 2" in httpx.get(f"{daemon.url}/metrics").text)


def test_streams_outlive_reloads_and_the_drain(tmp_path: Path) -> None:
    model = Model()
    with FakeUpstream(model) as up:
        config = CONFIG.format(url=up.url, folder=tmp_path)
        with RunningDaemon(config, tmp_path, env={"TMPDIR": str(tmp_path)}) as daemon:
            whole = asked(daemon).text
            streams = held(model, daemon, 6)
            daemon.process.send_signal(signal.SIGHUP)
            until(lambda: daemon.log.count("generation 2 of") == 2)
            (tmp_path / "llmrouter.toml").write_text("[server]\nprot = 1\n")
            daemon.process.send_signal(signal.SIGHUP)
            until(lambda: "not reloaded" in daemon.log)
            daemon.process.send_signal(signal.SIGTERM)
            until(lambda: "draining" in daemon.log)
            model.go.set()
            assert streams.wait() == [whole] * 6
            daemon.process.wait(40)
        assert len(lines(tmp_path)) == 7


def test_children_end_when_their_parent_was_killed(tmp_path: Path) -> None:
    with FakeUpstream(Model()) as up:
        config = CONFIG.format(url=up.url, folder=tmp_path)
        daemon = RunningDaemon(config, tmp_path, env={"TMPDIR": str(tmp_path)})
        daemon.__enter__()
        family = children(daemon.pid)
        daemon.process.kill()
        until(lambda: not any(alive(pid) for pid in family))
        assert not sockets(tmp_path)
        with pytest.raises(httpx.ConnectError):
            httpx.get(f"{daemon.url}/health")
        with pytest.raises(AssertionError, match="exit code -9"):
            daemon.__exit__(None)
