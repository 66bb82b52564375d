"""Three workers, and one set of limits, of answers, of pauses over all of them."""

from __future__ import annotations

import json
import os
import signal
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.e2e.test_workers import alive, children, lines, until
from tests.fakes.collector import FakeCollector, metrics, pairs
from tests.fakes.daemon import RunningDaemon
from tests.fakes.upstream import FakeUpstream, Turn
from tests.pipeline.stage import chat_answer

pytestmark = pytest.mark.e2e

KEY = "k" * 40
CONFIG = """
[server]
port = 0
workers = 3
state_dir = "{folder}/state"
{top}
[logging]
enabled = true
path = "{folder}/log.jsonl"
[[providers]]
name = "up"
format = "openai"
base_url = "{url}"
models = ["m"]
max_retries = 0
{more}
"""
CLIENT = """
[[clients]]
name = "ann"
key_env = "ANN"
admin = true
"""
ASK: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}


class Counting:
    """Answers after a moment, and knows how many it served at a time."""

    def __init__(self, takes_s: float = 0.02) -> None:
        self.takes_s = takes_s
        self.now = self.most = self.count = 0
        self._lock = threading.Lock()

    def __call__(self, turn: Turn) -> None:
        if turn.received.method == "GET":
            return turn.whole({"object": "list", "data": [{"id": "m"}]})
        with self._lock:
            self.count += 1
            self.now += 1
            self.most = max(self.most, self.now)
        time.sleep(self.takes_s)
        with self._lock:
            self.now -= 1
        return turn.whole(chat_answer("hello"))


@contextmanager
def routed(
    folder: Path, model: Counting, more: str = "", *, top: str = "", args: Sequence[str] = ()
) -> Iterator[RunningDaemon]:
    """more: after the provider's keys; top: among the server's."""
    env = {"TMPDIR": str(folder), "ANN": KEY}
    with FakeUpstream(model) as up:
        text = CONFIG.format(url=up.url, folder=folder, more=more, top=top)
        with RunningDaemon(text, folder, *args, env=env) as daemon:
            yield daemon


def ask(daemon: RunningDaemon, body: dict[str, Any], path: str = "chat/completions") -> Any:
    """On a connection of its own: any worker may have it."""
    fields = {"authorization": f"Bearer {KEY}"}
    with httpx.Client(timeout=60, headers=fields, verify=False) as client:
        return client.post(f"{daemon.url}/v1/{path}", json=body)


class Crowd:
    """So many clients, each asking again and again until told to stop."""

    def __init__(self, daemon: RunningDaemon, count: int) -> None:
        self.seen: Counter[str] = Counter()
        self._daemon, self._stop = daemon, threading.Event()
        self._threads = [threading.Thread(target=self._ask, daemon=True) for _ in range(count)]
        for thread in self._threads:
            thread.start()

    def _ask(self) -> None:
        while not self._stop.is_set():
            try:
                found = ask(self._daemon, ASK)
                kind = found.headers.get("x-router-error", "")
                self.seen[f"{found.status_code} {kind}".strip()] += 1
            except httpx.HTTPError:
                self.seen["lost"] += 1

    def after(self, count: int) -> None:
        until(lambda: self.seen["200"] >= count)

    def __enter__(self) -> Crowd:
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()

    def stop(self) -> Counter[str]:
        self._stop.set()
        for thread in self._threads:
            thread.join(60)
        return self.seen


def hub_of(daemon: RunningDaemon, workers: set[int]) -> int:
    """The one of its processes that is none of its workers, once there is one."""
    return int(until(lambda: set(children(daemon.pid)) - workers).pop())


def workers_of(daemon: RunningDaemon) -> set[int]:
    """Before anything was killed: the hub is the first."""
    return set(children(daemon.pid)[1:])


def counted(daemon: RunningDaemon) -> int:
    fields = {"authorization": f"Bearer {KEY}"}
    text = httpx.get(f"{daemon.url}/metrics", timeout=20, headers=fields).text
    found = [line for line in text.splitlines() if line.startswith("llmrouter_requests_total{")]
    return sum(int(float(line.rpartition(" ")[2])) for line in found)


def test_a_provider_never_has_more_than_it_may_though_hub_and_workers_are_killed(
    tmp_path: Path,
) -> None:
    model = Counting()
    with routed(tmp_path, model, "max_concurrency = 2") as daemon:
        workers = workers_of(daemon)
        with Crowd(daemon, 10) as crowd:
            crowd.after(40)
            for number in range(2):
                os.kill(hub_of(daemon, workers), signal.SIGKILL)
                crowd.after(80 + 40 * number)
            assert crowd.seen.keys() == {"200"}, "nobody notices that the hub was killed"
            assert model.most == 2
            before = {hub_of(daemon, workers), *workers}
            victim = max(workers)
            os.kill(victim, signal.SIGKILL)
            until(lambda: len(set(children(daemon.pid)) - before) == 1)
            crowd.after(crowd.seen["200"] + 60)
            seen = crowd.stop()
            assert seen.keys() <= {"200", "lost"}
            assert seen["lost"] <= 10
            assert not alive(victim)


def test_log_metrics_and_clients_agree_over_reloads_and_the_drain(tmp_path: Path) -> None:
    with routed(tmp_path, Counting(), "max_concurrency = 3") as daemon:
        with Crowd(daemon, 8) as crowd:
            for number in (2, 3):
                crowd.after(40 * number)
                daemon.process.send_signal(signal.SIGHUP)
                until(lambda number=number: daemon.log.count(f"generation {number} of") == 3)
            crowd.after(160)
            seen = crowd.stop()
            until(lambda: len(lines(tmp_path)) == seen.total())
            assert seen.keys() == {"200"}
            until(lambda: counted(daemon) == seen.total())
            found = lines(tmp_path)
            assert {line["generation"] for line in found} == {1, 2, 3}
            assert {line["worker"] for line in found} == {1, 2, 3}
        with Crowd(daemon, 8) as crowd:
            crowd.after(20)
            daemon.process.send_signal(signal.SIGTERM)
            daemon.process.wait(60)
            late = crowd.stop()
            assert late.keys() <= {"200", "lost"}  # the port is closed
            assert len(lines(tmp_path)) == seen.total() + late["200"]


def test_a_clients_limits_are_one_over_all(tmp_path: Path) -> None:
    more = "input_cost_per_1m = 0.0\noutput_cost_per_1m = 1000.0\n" + CLIENT
    with routed(tmp_path, Counting(0.0), more + "rpm = 20\n") as daemon:
        found = Counter(ask(daemon, ASK).status_code for _ in range(20))
        assert found == {200: 20}
        assert ask(daemon, ASK).headers["x-router-error"] == "client_limit:rpm"
        assert len({line["worker"] for line in lines(tmp_path)} - {0}) >= 1


def test_a_budget_is_one_over_all_and_outlives_the_hub_and_a_restart(tmp_path: Path) -> None:
    price = "input_cost_per_1m = 0.0\noutput_cost_per_1m = 1000.0\n"
    more = price + CLIENT + "budget_usd_per_day = 0.02\n"
    body = {**ASK, "max_tokens": 3}
    with routed(tmp_path, Counting(0.0), more) as daemon:
        first = ask(daemon, body)
        assert first.status_code == 200
        count = 1
        os.kill(hub_of(daemon, workers_of(daemon)), signal.SIGKILL)
        while (last := ask(daemon, body)).status_code == 200:
            count += 1
            assert count < 20
        assert last.headers["x-router-error"] == "over_budget"
    with routed(tmp_path, Counting(0.0), more) as daemon:
        assert ask(daemon, body).headers["x-router-error"] == "over_budget"
    text = (tmp_path / "state/spendings.jsonl").read_text()
    spent = [json.loads(line)["usd"] for line in text.splitlines()]
    assert (count, sum(spent)) == (6, pytest.approx(0.018))


def test_an_answer_is_gone_on_from_at_every_worker(tmp_path: Path) -> None:
    with routed(tmp_path, Counting(0.0)) as daemon:
        served: set[int] = set()
        previous, turns = None, 0
        while len(served) < 2 or turns < 10:
            body = {"model": "m", "input": f"turn {turns}", "previous_response_id": previous}
            found = ask(daemon, body, "responses")
            assert found.status_code == 200, found.text
            previous, turns = found.json()["id"], turns + 1
            until(lambda turns=turns: len(lines(tmp_path)) == turns)
            served = {line["worker"] for line in lines(tmp_path)}
            assert turns < 400
        for _ in range(6):
            assert httpx.get(f"{daemon.url}/v1/responses/{previous}").json()["id"] == previous
        assert httpx.delete(f"{daemon.url}/v1/responses/{previous}").json()["deleted"]
        assert httpx.get(f"{daemon.url}/v1/responses/{previous}").status_code == 404


def test_a_pause_is_everybodys_at_once(tmp_path: Path) -> None:
    with routed(tmp_path, Counting(0.0)) as daemon:
        url = f"{daemon.url}/dashboard/api/provider"
        assert httpx.post(url, json={"name": "up", "paused": True}).json()["stale_s"] > 1
        until(lambda: ask(daemon, ASK).status_code == 503)
        assert {ask(daemon, ASK).status_code for _ in range(20)} == {503}
        assert httpx.get(f"{daemon.url}/ready").status_code == 503
        os.kill(max(children(daemon.pid)), signal.SIGKILL)  # who comes in its place hears of it
        until(lambda: "starts again" in daemon.log)
        time.sleep(1.0)
        assert {ask(daemon, ASK).status_code for _ in range(10)} == {503}
        httpx.post(url, json={"name": "up", "paused": False})
        until(lambda: ask(daemon, ASK).status_code == 200)


def test_a_hub_that_hangs_is_a_503_where_something_is_limited(tmp_path: Path) -> None:
    with routed(tmp_path, Counting(0.0), "max_concurrency = 2") as daemon:
        assert ask(daemon, ASK).status_code == 200
        hub = hub_of(daemon, workers_of(daemon))
        os.kill(hub, signal.SIGSTOP)
        try:
            found = ask(daemon, ASK)
            assert (found.status_code, found.headers["x-router-error"]) == (503, "no_hub")
        finally:
            os.kill(hub, signal.SIGCONT)
        until(lambda: ask(daemon, ASK).status_code == 200)


def test_nothing_is_exported_twice(tmp_path: Path) -> None:
    with FakeCollector() as collector:
        more = f'[telemetry]\nenabled = true\notlp_endpoint = "{collector.url}"\ninterval = 0.2\n'
        with routed(tmp_path, Counting(0.0), more) as daemon:
            count = 0
            while {line["worker"] for line in lines(tmp_path)} != {1, 2, 3} or count < 30:
                assert ask(daemon, ASK).status_code == 200
                count += 1
                assert count < 600
        last: dict[str, int] = {}
        for message in collector.of("metrics"):
            [resource] = message.resource_metrics
            points = metrics(message)["router.requests"].sum.data_points
            name = pairs(resource.resource)["service.instance.id"]
            last[name] = max(last.get(name, 0), sum(int(p.as_double or p.as_int) for p in points))
        assert len(last) == 3
        assert sum(last.values()) == count
        traces = [span.trace_id for span in collector.spans() if not span.parent_span_id]
        assert len(traces) == len(set(traces)) == count


def test_connections_are_counted_over_all_and_those_of_a_dead_worker_are_not(
    tmp_path: Path,
) -> None:
    asks = b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n"
    with routed(
        tmp_path, Counting(0.0), args=["--workers", "2"], top="max_connections = 6"
    ) as daemon:

        def opened(count: int) -> list[socket.socket]:
            """Those that are served; they stay open."""
            found = []
            for _ in range(count):
                sock = socket.create_connection(("127.0.0.1", daemon.port), timeout=30)
                with suppress(OSError):
                    sock.sendall(asks)
                    if sock.recv(15).startswith(b"HTTP/1.1 200"):
                        found.append(sock)
                        continue
                sock.close()
            return found

        workers = sorted(workers_of(daemon))
        held = until(lambda: opened(9))
        assert len(held) == 6
        for pid in workers:
            os.kill(pid, signal.SIGKILL)
        until(lambda: set(children(daemon.pid)).isdisjoint(workers))
        until(lambda: len(children(daemon.pid)) == 3)
        more = until(lambda: opened(9))
        assert len(more) == 6
        for sock in held + more:
            sock.close()
