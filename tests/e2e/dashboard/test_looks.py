"""The dashboard as people see it: nothing sticks out, and pictures to look at.

    SCREENSHOTS=docs/screenshots pytest -m "e2e and slow" tests/e2e/dashboard/test_looks.py

writes the pictures of the documentation, and so does CI (CI=true); else they go into a folder of the test's own.
"""

import json
import os
import random
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import Browser, Page, expect

from formats.canonical import Usage
from llmrouterd.model import Record
from llmrouterd.observe.history import History
from tests.e2e.dashboard.house import PHONE, TOLD, VIEWS, House, Upstream, card, config, row, view
from tests.fakes.daemon import RunningDaemon
from tests.fakes.upstream import PATIENCE_S, FakeUpstream, Turn

pytestmark = pytest.mark.e2e

KEPT = Path(__file__).parents[3] / "docs" / "screenshots"
ON_CI = os.environ.get("CI") == "true"


def a_day(span_s: int) -> dict[str, Any]:
    """Charts of made-up traffic: three providers, a bad quarter of the time."""
    chance, history, now_ms = random.Random(7), History(), time.time_ns() // 1_000_000
    for n, share in enumerate(sorted(chance.random() ** 0.8 for _ in range(1500))):
        bad = 0.55 < share < 0.7 and chance.random() < 0.25
        slow = 1 + 1.5 * (0.5 < share < 0.75)
        provider = chance.choice(["workstation", "workstation", "openrouter", "anthropic"])
        ttft = int(chance.lognormvariate(5.2, 0.6) * slow)
        output = chance.randint(40, 700)
        record = Record(
            id=n,
            request_id=f"r{n}",
            ts_ms=now_ms - int(span_s * 1000 * (1 - share)),
            end="upstream_error" if bad else "complete",
            status=200,
            client_format="openai",
            endpoint="/v1/chat/completions",
            requested_model="m",
            provider=provider,
            stream=True,
            ttft_ms=ttft,
            duration_ms=ttft + int(output * 1000 / chance.gauss(62, 7)),
            usage=Usage(chance.randint(200, 4000), output),
            cost_usd=None if provider == "workstation" else output * chance.uniform(4e-6, 2e-5),
        )
        history.tell(record)
    told: dict[str, Any] = history.shape(span_s, now_ms)
    return told


class Demo(Upstream):
    """An Ollama server that answers as people expect it."""

    WORDS = "The sky is blue because air scatters short waves of light more than long ones."
    MODELS = ("llama3.1:8b", "qwen3-coder:30b", "gemma3:27b")

    def __call__(self, turn: Turn) -> None:
        match turn.received.target:
            case "/api/tags":
                turn.whole({"models": [{"name": name, "model": name} for name in self.MODELS]})
            case "/api/ps":
                turn.whole({"models": [{"name": self.MODELS[0]}, {"name": self.MODELS[2]}]})
            case "/api/show":
                turn.whole({"capabilities": ["completion", "tools"], "model_info": FACTS})
            case _:
                self._chat(turn)

    def _chat(self, turn: Turn) -> None:
        asked = turn.received.json["model"]
        turn.begin(kind="application/x-ndjson")
        time.sleep(0.15)
        for word in self.WORDS.split(" "):
            turn.chunk(self._line(word + " "))
            time.sleep(0.02)
        while asked == "gemma3:27b" and not self.end.wait(0.03):
            turn.chunk(self._line("more "))
        turn.chunk(self._line("", **{**TOLD, "load_duration": 61_000_000, **USED}))
        turn.end()

    def _line(self, text: str, **more: Any) -> bytes:
        said = {"model": "m", "message": {"role": "assistant", "content": text}, "done": False}
        return json.dumps({**said, **more}).encode() + b"\n"


FACTS = {"general.architecture": "x", "x.context_length": 131_072}
USED = {"prompt_eval_count": 412, "prompt_eval_duration": 78_000_000, "eval_count": 87}

LONG = "hf.co/unsloth/DeepSeek-R1-Distill-Qwen-32B-GGUF:UD-Q4_K_XL-with-a-very-long-name"


def overloaded(turn: Turn) -> None:
    if turn.received.method == "GET":
        return turn.whole({"object": "list", "data": [{"id": "gpt-4o"}]})
    error = {"message": "the engine is overloaded, try again later", "type": "server_error"}
    return turn.whole({"error": error}, 503)


@contextmanager
def demo(browser: Browser, folder: Path) -> Iterator[House]:
    upstream = Demo()
    with FakeUpstream(upstream) as works, FakeUpstream(overloaded) as fails:
        text = config(works.url, fails.url)
        for old, new in (("works", "workstation"), ("fails", "openrouter"), ("away", "attic")):
            text = text.replace(f'"{old}"', f'"{new}"')
        text = text.replace('"ill"', '"gpt"').replace('"narrow"', '"studio"')
        at = f'format = "openai"\n        base_url = "{works.url}"'
        text = text.replace(at, at.replace("openai", "ollama")).replace('"queue"', '"qwen"')
        text = text.replace('name = "warm"', 'name = "laptop"').replace(
            'provider = "warm"', 'provider = "laptop"'
        )
        with RunningDaemon(text, folder) as daemon:
            house = House(daemon.url, upstream, browser)
            for model in ("llama3.1:8b", "gpt-4o", "qwen3-coder:30b", LONG, "llama3.1:8b"):
                text = "Why is the sky blue?" if "llama" in model else "Some python, please."
                house.ask(model, text, stream=True)
            httpx.post(f"{house.url}/v1/messages", json={"model": "x"}, timeout=PATIENCE_S)
            house.ask("gpt-4o-mini", "Why is the sky blue?", stream=True)
            with ThreadPoolExecutor(1) as pool:
                try:
                    pool.submit(house.ask, "gemma3:27b", "Say more.", stream=True)
                    yield house
                finally:
                    upstream.free()


@pytest.mark.slow
def test_it_looks_right_to_people(browser: Browser, tmp_path: Path) -> None:
    """Nothing sticks out at any width; the pictures are for people to look at."""
    folder = Path(os.environ.get("SCREENSHOTS") or (KEPT if ON_CI else tmp_path / "screenshots"))
    folder.mkdir(parents=True, exist_ok=True)
    looks: dict[str, dict[str, Any]] = {
        "light": {"color_scheme": "light"},
        "dark": {"color_scheme": "dark"},
        "phone": {"color_scheme": "light", **PHONE},
    }
    with demo(browser, tmp_path) as house:
        for name, look in looks.items():
            with house.page(**look) as page:
                page.route("**/api/history*", lambda route: route.fulfill(json=a_day(300)))
                expect(card(page, "gemma3").locator(".now")).to_contain_text("tok/s")
                expect(page.locator("#feed .line").nth(6)).to_be_visible()
                if name == "phone":
                    page.screenshot(path=folder / f"requests-{name}.png")
                row(page, "gpt-4o").click()
                expect(page.locator("#detail")).to_contain_text("Fields of the answer")
                expect(page.locator("#detail .legend")).to_contain_text("prefill 78 ms")
                expect(page.locator("#detail .legend")).to_contain_text("decode")
                shot = "request" if name == "phone" else "requests"
                page.screenshot(path=folder / f"{shot}-{name}.png")
                fits(page)
                page.keyboard.press("Escape")
                for each in VIEWS[1:]:
                    view(page, each)
                    if each == "charts":
                        expect(page.locator("#plot-latency path").first).to_be_attached()
                    if each == "playground":
                        played(page)
                    fits(page)
                    if each in ("charts", "providers") or name == "light":
                        page.screenshot(path=folder / f"{each}-{name}.png")
    taken = list(folder.glob("*.png"))
    assert len(taken) >= 10
    assert all(10_000 < picture.stat().st_size < 300_000 for picture in taken)


def played(page: Page) -> None:
    page.locator("#play-model").fill("llama3.1:8b")
    page.locator("#play-text").fill("Why is the sky blue?")
    page.locator("#send").click()
    expect(page.locator("#play-state")).to_contain_text("Done after")


def fits(page: Page) -> None:
    assert page.viewport_size
    wide = page.evaluate("document.documentElement.scrollWidth")
    assert wide <= page.viewport_size["width"]
