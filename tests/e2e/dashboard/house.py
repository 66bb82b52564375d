"""The dashboard in a real browser, in front of a real daemon: what its tests share."""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import httpx
from playwright.sync_api import Browser, Locator, Page, expect

from tests.fakes.chromium import looking
from tests.fakes.upstream import PATIENCE_S, Turn

NETWORK = re.compile("Failed to load resource: ")  # what a browser notes of a router that is away
VIEWS = ("requests", "charts", "providers", "models", "playground")
PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}
expect.set_options(timeout=60_000)


class Upstream:
    """Answers in a stream that waits: for `begin` before its first words, for `end` before its end.
    Between them a model named `wordy` says one word after the other."""

    def __init__(self) -> None:
        self.begin, self.end = threading.Event(), threading.Event()

    def free(self) -> None:
        self.begin.set()
        self.end.set()

    def __call__(self, turn: Turn) -> None:
        if turn.received.method == "GET":
            data = [{"id": "small"}, {"id": "large"}]
            return turn.whole({"object": "list", "data": data})
        if not turn.received.json.get("stream"):
            return turn.whole(WHOLE)
        turn.begin()
        assert self.begin.wait(PATIENCE_S)
        turn.chunk(chunk("One word."))
        while turn.received.json["model"].startswith("wordy") and not self.end.wait(0.05):
            turn.chunk(chunk(" And another."))
        assert self.end.wait(PATIENCE_S)
        usage = b'{"prompt_tokens":1234,"completion_tokens":56}'
        turn.chunk(b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n')
        turn.chunk(b'data: {"choices":[],"usage":%b}\n\ndata: [DONE]\n\n' % usage)
        return turn.end()


def chunk(text: str) -> bytes:
    piece = {"choices": [{"index": 0, "delta": {"content": text}}]}
    return f"data: {json.dumps(piece)}\n\n".encode()


WHOLE = {
    "id": "c",
    "object": "chat.completion",
    "created": 1,
    "model": "small",
    "choices": [
        {
            "index": 0,
            "message": {
                "role": "assistant",
                "content": "The answer is <b>42</b>.",
                "tool_calls": [
                    {
                        "id": "call_1",
                        "type": "function",
                        "function": {"name": "look_up", "arguments": '{"what": "<i>it</i>"}'},
                    }
                ],
            },
            "finish_reason": "tool_calls",
        }
    ],
    "usage": {"prompt_tokens": 17, "completion_tokens": 6, "total_tokens": 23},
}


def breaks(turn: Turn) -> None:
    if turn.received.method == "GET":
        return turn.whole({"object": "list", "data": [{"id": "ill"}]})
    return turn.whole({"error": {"message": "out of <i>memory</i>", "type": "server_error"}}, 500)


def tells(turn: Turn) -> None:
    """An Ollama server: it says what it took to load the model and to read the prompt."""
    if turn.received.method == "GET":
        return turn.whole({"models": []})
    if not turn.received.json.get("stream"):
        time.sleep(0.65)
        return turn.whole({**TOLD, "message": {"role": "assistant", "content": "Warm."}})
    turn.begin(kind="application/x-ndjson")
    time.sleep(0.6)
    said = {"model": "warm", "message": {"role": "assistant", "content": "Warm."}, "done": False}
    turn.chunk(json.dumps(said).encode() + b"\n")
    time.sleep(0.2)
    turn.chunk(
        json.dumps({**TOLD, "message": {"role": "assistant", "content": ""}}).encode() + b"\n"
    )
    return turn.end()


TOLD = {"model": "warm", "created_at": "2026-01-01T00:00:00Z", "done": True, "done_reason": "stop"}
TOLD |= {"load_duration": 300_000_000, "prompt_eval_count": 9, "prompt_eval_duration": 150_000_000}
TOLD |= {"eval_count": 2, "eval_duration": 200_000_000, "total_duration": 650_000_000}


def config(
    works: str, fails: str, *, port: int = 0, key: bool = False, warm: str = "http://127.0.0.1:1"
) -> str:
    return f"""
        [server]
        port = {port}
        {'api_key_env = "KEY"' if key else ""}
        [[providers]]
        name = "works"
        format = "openai"
        base_url = "{works}"
        input_cost_per_1m = 3
        output_cost_per_1m = 15
        [[providers]]
        name = "fails"
        format = "openai"
        base_url = "{fails}"
        max_retries = 0
        circuit_failures = 0
        [[providers]]
        name = "away"
        format = "ollama"
        base_url = "http://127.0.0.1:1"
        max_retries = 0
        [[providers]]
        name = "narrow"
        format = "openai"
        base_url = "{works}"
        max_concurrency = 1
        [[providers]]
        name = "warm"
        format = "ollama"
        base_url = "{warm}"
        [[routers]]
        type = "prefix"
        model_prefix = "ill"
        provider = "fails"
        [[routers]]
        type = "prefix"
        model_prefix = "far"
        provider = "away"
        [[routers]]
        type = "prefix"
        model_prefix = "queue"
        provider = "narrow"
        [[routers]]
        type = "prefix"
        model_prefix = "warm"
        provider = "warm"
        [[routers]]
        type = "prefix"
        model_prefix = ""
        provider = "works"
        [classifiers.keyword]
        enabled = true
        tags.code = ["python"]
    """


class House:
    """The daemon, its upstreams and a browser."""

    def __init__(self, url: str, upstream: Upstream, browser: Browser) -> None:
        self.url = url
        self.upstream = upstream
        self._browser = browser

    def ask(self, model: str, text: str = "hi", **more: Any) -> str:
        """One chat; the id it got."""
        messages = [{"role": "user", "content": text}]
        body = {"model": model, "messages": messages, **more}
        said = httpx.post(f"{self.url}/v1/chat/completions", json=body, timeout=PATIENCE_S)
        return said.headers["x-router-request-id"]

    @contextmanager
    def asking(self, *models: str) -> Iterator[list[Future[str]]]:
        """Streaming chats that run until the upstream ends them."""
        self.upstream.begin.clear()
        self.upstream.end.clear()
        with ThreadPoolExecutor(len(models)) as pool:
            try:
                yield [pool.submit(self.ask, model, stream=True) for model in models]
            finally:
                self.upstream.free()

    def page(
        self, *, tolerate: re.Pattern[str] | None = None, **look: Any
    ) -> AbstractContextManager[Page]:
        return looking(self._browser, self.url, tolerate=tolerate, **look)


def row(page: Page, model: str) -> Locator:
    """The newest row of that model."""
    return page.locator("#feed .line", has_text=model).first


def card(page: Page, model: str) -> Locator:
    return page.locator("#running .card", has_text=model).first


def live(page: Page) -> None:
    expect(page.locator("#state")).to_have_text("live")


def view(page: Page, name: str) -> None:
    page.locator(f'#tabs a[href="#{name}"]').click()
    expect(page.locator(f"#view-{name}")).to_be_visible()
