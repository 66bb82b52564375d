"""The cache over real sockets: SDKs that ask the same, at once and one after the other, and leave."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import anthropic
import httpx
import openai
import pytest

from tests.fakes.daemon import RunningDaemon
from tests.fakes.upstream import PATIENCE_S, FakeUpstream, Turn
from tests.pipeline.stage import chat_answer, chat_stream

pytestmark = pytest.mark.e2e

CONFIG = """
[server]
port = 0
[[providers]]
name = "up"
format = "openai"
base_url = "{url}"
models = ["small"]
[plugins.cache]
enabled = true
[plugins.redact]
enabled = true
[plugins.system-prompt]
enabled = true
text = "Answer in German."
[plugins.model-params]
enabled = true
max = {{ max_tokens = 50 }}
"""
SAID: Any = [{"role": "user", "content": "write to jan.kowalski@firma.pl"}]
ASKED = {"model": "small", "temperature": 0, "stream": True, "messages": SAID}


class Voice:
    """Answers when it is let; notes what it was asked."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.asked: list[dict[str, Any]] = []
        self.came = threading.Semaphore(0)

    def __call__(self, turn: Turn) -> None:
        self.asked.append(turn.received.json)
        self.came.release()
        while not self.go.wait(0.02):
            if turn.wait_closed(0.02):
                return
        turn.keep = True
        if turn.received.json.get("stream"):
            turn.stream([chat_stream("I wrote to [EMA", "IL_1].")])
        else:
            turn.whole(chat_answer("I wrote to [EMAIL_1]."))


@contextmanager
def running(folder: Path, *, at_once: bool = True) -> Iterator[tuple[RunningDaemon, Voice]]:
    voice = Voice()
    if at_once:
        voice.go.set()
    with FakeUpstream(voice) as up, RunningDaemon(CONFIG.format(url=up.url), folder) as daemon:
        yield daemon, voice
        voice.go.set()


def figure(daemon: RunningDaemon, name: str) -> float:
    page = httpx.get(f"{daemon.url}/metrics").text
    return sum(float(line.split()[-1]) for line in page.splitlines() if line.startswith(name))


def until(daemon: RunningDaemon, name: str, value: float) -> None:
    end = time.monotonic() + PATIENCE_S
    while figure(daemon, name) != value:
        assert time.monotonic() < end, f"{name} is {figure(daemon, name)}"
        time.sleep(0.02)


def by_openai(daemon: RunningDaemon, *, stream: bool) -> tuple[str, str]:
    with openai.OpenAI(base_url=f"{daemon.url}/v1", api_key="x", max_retries=0) as client:
        raw = client.chat.completions.with_raw_response
        asked: dict[str, Any] = {"model": "small", "temperature": 0, "messages": SAID}
        answer = raw.create(**asked, stream=stream)
        cache, parsed = answer.headers["x-router-cache"], answer.parse()
        if stream:
            words = [each.choices[0].delta.content or "" for each in parsed if each.choices]
            return cache, "".join(words)
        return cache, parsed.choices[0].message.content


def by_anthropic(daemon: RunningDaemon) -> tuple[str, str]:
    with anthropic.Anthropic(base_url=daemon.url, api_key="x", max_retries=0) as client:
        asked: dict[str, Any] = {"model": "small", "max_tokens": 90, "messages": SAID}
        with client.messages.stream(**asked, extra_body={"temperature": 0}) as stream:
            return stream.response.headers["x-router-cache"], stream.get_final_text()


def test_sdks_get_the_same_answer_again_with_their_own_values_in_it(tmp_path: Path) -> None:
    words = "I wrote to jan.kowalski@firma.pl."
    with running(tmp_path) as (daemon, voice):
        for ask in (
            lambda: by_openai(daemon, stream=False),
            lambda: by_openai(daemon, stream=True),
            lambda: by_anthropic(daemon),
        ):
            assert [ask(), ask()] == [("miss", words), ("hit", words)]
        assert len(voice.asked) == 3
        assert "kowalski" not in str(voice.asked)
        systems = {str(asked["messages"][0]["content"]) for asked in voice.asked}
        assert systems == {"Answer in German."}
        assert {asked["max_tokens"] for asked in voice.asked} == {50}
        assert figure(daemon, "llmrouter_cache_entries") == 3
        assert figure(daemon, 'llmrouter_cache_total{result="hit"}') == 3


def test_four_sdks_at_once_are_one_request(tmp_path: Path) -> None:
    with running(tmp_path, at_once=False) as (daemon, voice), ThreadPoolExecutor() as threads:
        asked = [threads.submit(by_openai, daemon, stream=True) for _ in range(4)]
        until(daemon, "llmrouter_requests_in_flight", 4)
        voice.go.set()
        told = [each.result(PATIENCE_S) for each in asked]
        assert {words for _, words in told} == {"I wrote to jan.kowalski@firma.pl."}
        assert [cache for cache, _ in told].count("miss") == 1
        assert len(voice.asked) == 1


def test_the_first_client_hangs_up_and_the_others_get_their_answer(tmp_path: Path) -> None:
    with ExitStack() as stack:
        daemon, voice = stack.enter_context(running(tmp_path, at_once=False))
        threads = stack.enter_context(ThreadPoolExecutor())
        body = httpx.Request("POST", daemon.url, json=ASKED).content
        first = stack.enter_context(socket.create_connection(("127.0.0.1", daemon.port)))
        head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n"
        first.sendall(head.encode() + body)
        assert voice.came.acquire(timeout=PATIENCE_S)
        url = f"{daemon.url}/v1/chat/completions"
        others = [
            threads.submit(httpx.post, url, content=body, timeout=PATIENCE_S) for _ in range(3)
        ]
        until(daemon, "llmrouter_requests_in_flight", 4)
        first.close()
        assert voice.came.acquire(timeout=PATIENCE_S), "one of the others asks anew"
        voice.go.set()
        told = [each.result(PATIENCE_S) for each in others]
        assert all(b"jan.kowalski@firma.pl" in answer.content for answer in told)
        assert [answer.headers["x-router-cache"] for answer in told].count("miss") == 1
        assert len(voice.asked) == 2
        until(daemon, "llmrouter_requests_in_flight", 0)
        assert figure(daemon, "llmrouter_cache_entries") == 1
