"""The dashboard in a real browser, in front of a real daemon.

    SCREENSHOTS=docs/screenshots pytest -m e2e tests/e2e/test_dashboard.py -k looks

writes the pictures of the documentation; without it they go into a folder of the test's own.
"""

import json
import os
import random
import re
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from playwright.sync_api import Browser, Locator, Page, Route, expect

from formats.canonical import Usage
from llmrouterd.model import Record
from llmrouterd.observe.history import History
from tests.fakes.chromium import launched, looking
from tests.fakes.daemon import RunningDaemon
from tests.fakes.upstream import PATIENCE_S, FakeUpstream, Turn

pytestmark = pytest.mark.e2e

KEY = "a key/with+odd %signs;"
NETWORK = re.compile("Failed to load resource: ")  # what a browser notes of a router that is away
HOSTILE = (
    "<img src=x onerror=alert(1)>",
    "</script><script>window.caught=1</script>",
    "\u202egpj.exe\u0000\n\tname\x1b[31m",
    "${alert(1)}{{7*7}}' onclick='x",
    "w" * 5000,
)
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


def config(works: str, fails: str, *, port: int = 0, key: bool = False) -> str:
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


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with launched() as browser:
        yield browser


@pytest.fixture(scope="module")
def house(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    upstream = Upstream()
    upstream.free()
    with FakeUpstream(upstream) as works, FakeUpstream(breaks) as fails:
        text = config(works.url, fails.url)
        with RunningDaemon(text, tmp_path_factory.mktemp("daemon")) as daemon:
            yield House(daemon.url, upstream, browser)
    assert not works.errors


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


# --- what is shown --------------------------------------------------------------------------------


def test_a_request_is_seen_from_its_beginning_to_its_end(house: House) -> None:
    with house.page() as page:
        live(page)
        with house.asking("wordy-live") as running:
            now = card(page, "wordy-live").locator(".now")
            expect(now).to_have_text("waiting for the first token")
            assert page.title().startswith("(1)")
            house.upstream.begin.set()
            expect(now).to_have_text(re.compile(r"streaming, \d+(\.\d)? tok/s"))
            past = card(page, "wordy-live").locator(".past:not([hidden])").all_inner_texts()
            assert past == ["received", "classified", "routed", "waiting"]
            house.upstream.end.set()
            running[0].result(PATIENCE_S)
        expect(row(page, "wordy-live")).to_contain_text(re.compile(r"done.*wordy-live → works"))
        expect(row(page, "wordy-live")).to_contain_text("1,234 / 56")
        expect(row(page, "wordy-live")).to_contain_text("$0.0045")
        expect(page.locator("#running .card")).to_have_count(0)
        expect(page).to_have_title("llmrouter")


def test_a_request_that_waits_for_its_turn_says_where_in_the_queue_it_is(house: House) -> None:
    with house.page() as page:
        live(page)
        with house.asking("queue-1", "queue-2") as running:
            waiting = page.locator("#running .now", has_text="queued, place 1")
            expect(waiting).to_be_visible()
            view(page, "providers")
            expect(page.locator(".provider", has_text="narrow")).to_contain_text("1 waiting")
            house.upstream.free()
            for each in running:
                each.result(PATIENCE_S)
        view(page, "requests")
        expect(page.locator("#feed .line", has_text="queue-")).to_have_count(2)
        slow = page.locator("#feed .line", has_text="queue-").first
        slow.click()
        expect(page.locator("#detail .legend")).to_contain_text("queue ")


def test_a_page_opened_in_the_middle_shows_what_was_and_what_is(house: House) -> None:
    house.ask("earlier", "about python")
    with house.asking("wordy-meanwhile") as running:
        house.upstream.begin.set()
        with house.page() as page:
            expect(row(page, "earlier")).to_contain_text("code")
            expect(card(page, "wordy-meanwhile").locator(".now")).to_contain_text("streaming")
            house.upstream.end.set()
            running[0].result(PATIENCE_S)
            expect(row(page, "wordy-meanwhile")).to_be_visible()


def test_a_failure_says_what_and_whose_fault_it_was(house: House) -> None:
    httpx.post(f"{house.url}/v1/messages", json={"model": "m"}, timeout=PATIENCE_S)
    house.ask("ill-advised")
    with house.page() as page:
        told = row(page, "ill-advised")
        expect(told).to_contain_text("tried before: fails: out of <i>memory</i>")
        refused = row(page, "/v1/messages")
        expect(refused).to_contain_text("refused")
        expect(refused).to_contain_text("the client\u2019s fault")


def test_an_opened_request_tells_where_why_and_what_was_said(house: House) -> None:
    id_ = house.ask("ill-told", "tell me <u>all</u>")
    with house.page(permissions=["clipboard-read", "clipboard-write"]) as page:
        row(page, "ill-told").click()
        detail = page.locator("#detail")
        for told in (
            "openai · /v1/chat/completions · whole",
            "works · ill-told",
            "routers[3] prefix",  # because of
            "fails/ill-told: upstream: out of <i>memory</i>",
            "tell me <u>all</u>",
            "The answer is <b>42</b>.",
            'look_up({\n "what": "<i>it</i>"\n})',
            "x-router-provider",
            id_,
        ):
            expect(detail).to_contain_text(told, use_inner_text=True)
        assert detail.locator(".walk .candidate").count() >= 2
        expect(detail.locator(".lanes svg")).to_have_count(2)  # the failed try, and the answer
        expect(detail.locator(".legend")).to_contain_text("a failed try")
        detail.get_by_role("button", name="Copy id").click()
        expect(page.locator("#said")).to_have_text("id copied")
        assert page.evaluate("navigator.clipboard.readText()") == id_
        detail.get_by_role("button", name="Copy as curl").click()
        expect(page.locator("#said")).to_have_text("curl command copied")
        curl = page.evaluate("navigator.clipboard.readText()")
        assert curl.startswith(f"curl -N {house.url}/v1/chat/completions ")
        assert "tell me <u>all</u>" in curl
        assert "uthorization" not in curl
        link = detail.locator("a").get_attribute("href")
        said = httpx.get(f"{house.url}{link}", timeout=PATIENCE_S).json()
        assert said["request_id"] == id_
        page.keyboard.press("Escape")
        expect(detail).to_be_hidden()


def test_what_was_skipped_and_what_was_left_out_are_told(house: House) -> None:
    body = {
        "model": "far-away",
        "max_tokens": 9,
        "service_tier": "auto",
        "messages": [{"role": "user", "content": "hi"}],
    }
    httpx.post(f"{house.url}/dashboard/api/provider", json={"name": "away", "paused": True})
    try:
        httpx.post(f"{house.url}/v1/messages", json=body, timeout=PATIENCE_S)
    finally:
        httpx.post(f"{house.url}/dashboard/api/provider", json={"name": "away", "paused": False})
    with house.page() as page:
        row(page, "far-away").click()
        skipped = page.locator("#detail .walk .skipped")
        expect(skipped.first).to_contain_text("away/far-away")
        expect(skipped.first).to_contain_text("paused")
        expect(page.locator("#detail")).to_contain_text("service_tier")


def test_a_running_request_that_is_open_stays_open_when_it_ends(house: House) -> None:
    with house.page() as page:
        live(page)
        with house.asking("watched") as running:
            card(page, "watched").focus()
            page.keyboard.press("Enter")
            expect(page.locator("#detail")).to_contain_text("It is running.")
            house.upstream.free()
            running[0].result(PATIENCE_S)
        expect(page.locator("#detail")).to_contain_text("One word.")
        page.keyboard.press("Escape")
        expect(row(page, "watched")).to_be_focused()


# --- the other views ------------------------------------------------------------------------------


def test_each_provider_says_how_it_is_and_can_be_paused(house: House) -> None:
    house.ask("ill")
    house.ask("fine")
    with house.page() as page:
        expect(row(page, "fine")).to_be_visible()
        view(page, "providers")
        works, fails, away = (page.locator(".provider").nth(n) for n in range(3))
        expect(works).to_contain_text("up")
        expect(works).to_contain_text(re.compile(r"models\s*2"))
        expect(fails).to_contain_text(re.compile(r"last (one|\d+) failed"))
        expect(fails).to_contain_text("out of <i>memory</i>")
        expect(away).to_contain_text("no answer")
        expect(away).to_contain_text("refused the connection")
        works.get_by_role("button").click()
        expect(works.locator("b")).to_have_text("paused")
        state = httpx.get(f"{house.url}/dashboard/api/state", timeout=PATIENCE_S).json()
        assert state["providers"][0]["paused"]
        works.get_by_role("button", name="Ask again works").click()
        expect(works.locator("b")).to_have_text("up")


def test_models_are_listed_and_tried(house: House) -> None:
    with house.page() as page:
        view(page, "models")
        expect(page.locator("#models tbody tr")).to_have_count(5)
        page.locator("#find-model").fill("LARGE works")
        expect(page.locator("#models tbody tr")).to_have_count(1)
        page.get_by_role("button", name="Try large").click()
        expect(page.locator("#play-model")).to_have_value("large")


@pytest.mark.parametrize("form", ["openai", "responses", "anthropic", "ollama"])
def test_the_playground_streams_in_every_format(house: House, form: str) -> None:
    with house.page() as page:
        view(page, "playground")
        page.locator("#play-format").select_option(form)
        page.locator("#play-model").fill(f"played-{form}")
        page.locator("#play-text").fill("say <something>")
        page.keyboard.press("Control+Enter")
        expect(page.locator("#play-state")).to_contain_text("Done after")
        expect(page.locator("#play-answer")).to_have_text("One word.")
        raw = page.locator("#play-raw")
        expect(raw).to_contain_text("x-router-provider: works")
        marks = {"openai": "[DONE]", "ollama": '"done":true', "anthropic": "message_stop"}
        expect(raw).to_contain_text(marks.get(form, "response.completed"))
        view(page, "requests")
        expect(row(page, f"played-{form}")).to_contain_text("done")


def test_the_playground_stops_and_says_what_fails(house: House) -> None:
    with house.page(tolerate=NETWORK) as page, house.asking("other"):
        view(page, "playground")
        page.locator("#play-model").fill("wordy-stopped")
        page.locator("#play-text").fill("go on")
        page.locator("#send").click()
        house.upstream.begin.set()
        expect(page.locator("#play-answer")).to_contain_text("And another.")
        page.locator("#stop").click()
        expect(page.locator("#play-state")).to_contain_text("Stopped")
        view(page, "requests")
        expect(row(page, "wordy-stopped")).to_contain_text("client left")
        view(page, "playground")
        page.locator("#play-stream").uncheck()
        page.locator("#play-model").fill("far-gone")
        httpx.post(f"{house.url}/dashboard/api/provider", json={"name": "works", "paused": True})
        httpx.post(f"{house.url}/dashboard/api/provider", json={"name": "fails", "paused": True})
        try:
            page.locator("#send").click()
            expect(page.locator("#play-state")).to_contain_text("Failed after")
            expect(page.locator("#play-answer")).not_to_have_text("")
        finally:
            for name in ("works", "fails"):
                asked = {"name": name, "paused": False}
                httpx.post(f"{house.url}/dashboard/api/provider", json=asked)


def test_charts_are_drawn_from_what_the_router_keeps(house: House) -> None:
    house.ask("charted", stream=True)
    house.ask("ill-charted")
    with house.page() as page:
        view(page, "charts")
        expect(page.locator(".plot")).to_have_count(7)
        expect(page.locator("#plot-requests rect.bar").first).to_be_attached()
        expect(page.locator("#plot-latency :is(path, circle)").first).to_be_attached()
        expect(page.locator("#plot-cost .legend")).to_contain_text("works $")
        told = httpx.get(f"{house.url}/dashboard/api/history?span=300", timeout=PATIENCE_S).json()
        count = sum(each["requests"] for each in told["bins"])
        expect(page.locator("#plot-requests .headline")).to_have_text(f"{count} in all")
        page.locator("#span button", has_text="24 h").click()
        pressed = page.locator('#span [aria-pressed="true"]')
        expect(pressed).to_have_text("24 h")
        picture = page.locator("#plot-requests svg")
        picture.focus()
        page.keyboard.press("ArrowLeft")
        expect(picture.locator(".cursor")).to_have_count(1)
        expect(picture).to_have_attribute("aria-label", re.compile("Requests, .*: done"))
        wrong = httpx.get(f"{house.url}/dashboard/api/history?span=7", timeout=PATIENCE_S)
        assert wrong.status_code == 400


# --- what must not happen -------------------------------------------------------------------------


def test_hostile_names_are_text(house: House) -> None:
    for name in HOSTILE:
        house.ask(name, text=name)
    with house.page(**PHONE) as page:
        expect(row(page, "www")).to_be_visible()
        assert page.evaluate("document.documentElement.scrollWidth") == 390
        for index in range(len(HOSTILE)):
            page.locator("#feed .line").nth(index).click()
            expect(page.locator("#detail")).to_contain_text("What was said")
            assert page.evaluate("document.documentElement.scrollWidth") == 390
            page.keyboard.press("Escape")
        ours = "img, script[src], iframe, [onclick]"
        assert page.locator(ours).count() == 0
        assert page.evaluate("document.scripts.length") == 1
        assert page.evaluate("window.caught") is None
        text = page.locator("#feed").inner_text()
        assert HOSTILE[0] in text
        assert HOSTILE[1] in text
        assert r"\u202egpj.exe\u0000\u000a\u0009name\u001b[31m → works" in text


def test_the_policy_refuses_what_is_not_the_pages_own(house: House) -> None:
    """If a name did become markup one day, it would still not run."""
    with house.page(tolerate=re.compile("(?s).*(TrustedHTML|Content Security Policy)")) as page:
        live(page)
        assert page.evaluate(
            "(() => { try { document.body.innerHTML = '<p>'; } catch { return 'no'; } })()"
        )
        page.evaluate("""(() => { const s = document.createElement('style');
            s.textContent = 'body { color: red }'; document.body.append(s); })()""")
        assert page.evaluate("getComputedStyle(document.body).color") != "rgb(255, 0, 0)"


def made_up(requests: int) -> str:
    """The feed of that many requests, four events each."""
    now_ms = time.time_ns() // 1_000_000
    out = [f'data: {{"type":"hello","feed":1,"now_ms":{now_ms}}}\n\n']
    blank = {"requested_model": "", "sent_model": "", "provider": "works", "error": None}
    blank |= {"duration_ms": 900, "ttft_ms": 100, "end": "complete", "fault": "", "status": 200}
    blank |= {name: [] for name in ("tags", "response_tags", "attempts", "trace", "notes")}
    blank |= {name: [] for name in ("dropped", "policies", "plugins")}
    blank |= {"input_tokens": 10, "output_tokens": 20, "cost_usd": None, "stream": True}
    blank |= {"endpoint": "/v1/chat/completions", "client": "", "client_format": "openai"}
    for n in range(requests):
        at = {"id": n, "ts_ms": now_ms}
        events: list[dict[str, Any]] = [
            {"type": "start", **at, "model": f"m{n}", "in_flight": 1},
            {"type": "routed", **at, "provider": "works", "model": f"m{n}"},
            {"type": "first_token", **at, "ttft_ms": 100},
            {**blank, "type": "complete", **at, "requested_model": f"m{n}", "request_id": f"r{n}"},
        ]
        for index, event in enumerate(events):
            out.append(f"id: {4 * n + index + 1}\ndata: {json.dumps(event)}\n\n")
    out.append('data: {"type":"lost","count":12}\n\n')
    return "".join(out)


@pytest.mark.slow
def test_ten_thousand_events_leave_the_page_small_and_usable(house: House) -> None:
    feed = {"body": made_up(2500), "content_type": "text/event-stream"}

    def answer(route: Route) -> None:
        if "after=0" in route.request.url:
            route.fulfill(**feed)
        else:
            route.fulfill(status=200, content_type="text/event-stream", body=": quiet\n\n")

    with house.page(tolerate=NETWORK) as page:  # of made-up requests it holds no words
        page.route("**/dashboard/events*", answer)
        page.reload()
        expect(row(page, "m2499")).to_be_visible()
        assert page.locator("#feed .line").count() == 150
        assert page.evaluate("document.querySelectorAll('*').length") < 3000
        expect(page.locator("#n-feed")).to_have_text("1000")
        expect(page.locator("#missed")).to_contain_text("12 events were missed")
        page.locator("#more").click()
        expect(page.locator("#feed .line")).to_have_count(300)
        page.locator("#filter").fill("m1777")
        expect(page.locator("#feed .line")).to_have_count(1)
        page.locator("#feed .line").click()
        expect(page.locator("#detail")).to_contain_text("r1777")
        page.keyboard.press("Escape")
        page.locator("#clear").click()
        expect(page.locator("#feed .line")).to_have_count(150)


# --- what a person does ---------------------------------------------------------------------------


def test_the_filters_leave_what_fits(house: House) -> None:
    for model in ("apple-1", "apple-2", "ill-pear"):
        house.ask(model)
    house.ask("apple-3", "some python")
    httpx.post(f"{house.url}/v1/messages", json={"model": "plum"}, timeout=PATIENCE_S)
    with house.page() as page:
        feed = page.locator("#feed")
        expect(row(page, "ill-pear")).to_be_visible()
        page.keyboard.press("/")
        expect(page.locator("#filter")).to_be_focused()
        page.keyboard.type("apple WORKS")
        expect(feed).not_to_contain_text("pear")
        expect(feed).to_contain_text("apple-1")
        house.ask("ill-cherry")  # what comes now is filtered, too
        house.ask("apple-4")
        expect(feed).to_contain_text("apple-4")
        expect(feed).not_to_contain_text("cherry")
        page.keyboard.type(" nothing like this")
        expect(page.locator("#none")).to_have_text("No request fits the filter.")
        page.locator("#clear").click()
        for only, has, lacks in (
            ("bad", "refused", "apple"),
            ("again", "pear", "apple-1"),
            ("good", "apple-1", "refused"),
        ):
            page.locator("#only").select_option(only)
            expect(feed).to_contain_text(has)
            expect(feed).not_to_contain_text(lacks)
        page.locator("#only").select_option("")
        page.locator("#by-tag").select_option("code")
        expect(feed).to_contain_text("apple-3")
        expect(feed).not_to_contain_text("apple-4")
        page.locator("#by-tag").select_option("")
        page.locator("#by-model").select_option("apple-2")
        expect(page.locator("#feed .line")).to_have_count(1)
        page.locator("#by-model").select_option("")
        page.locator("#by-provider").select_option("works")
        expect(feed).not_to_contain_text("refused")


def test_a_paused_list_stands_still_and_catches_up(house: House) -> None:
    with house.page() as page:
        live(page)
        page.locator("#pause").focus()
        page.keyboard.press(" ")
        expect(page.locator("#pause")).to_have_attribute("aria-pressed", "true")
        house.ask("in-the-pause")
        expect(page.locator("#pause")).to_contain_text("new")
        expect(page.locator("#feed")).not_to_contain_text("in-the-pause")
        page.keyboard.press(" ")
        expect(page.locator("#feed")).to_contain_text("in-the-pause")


def test_everything_can_be_reached_by_keyboard(house: House) -> None:
    house.ask("by-hand")
    with house.page() as page:
        row(page, "by-hand").wait_for()
        focused = "document.activeElement.id || document.activeElement.innerText.split('\\n')[0]"
        seen = []
        for _ in range(14):
            page.keyboard.press("Tab")
            seen.append(page.evaluate(focused))
        assert seen[:7] == [
            "Requests",
            "Charts",
            "Providers",
            "Models",
            "Playground",
            "theme",
            "help",
        ]
        assert seen[7:9] == ["filter", "only"]
        assert "pause" in seen
        page.locator("body").press("Escape")
        page.evaluate("document.activeElement.blur()")
        page.keyboard.press("j")
        outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
        assert outline != "none"
        expect(page.locator("#feed .line").first).to_be_focused()
        page.keyboard.press("j")
        expect(page.locator("#feed .line").nth(1)).to_be_focused()
        page.keyboard.press("k")
        page.keyboard.press("Enter")
        expect(page.locator("#detail")).to_be_focused()
        page.keyboard.press("Escape")
        expect(page.locator("#feed .line").first).to_be_focused()
        page.keyboard.press("?")
        expect(page.locator("#keys")).to_be_visible()
        page.keyboard.press("Escape")
        expect(page.locator("#keys")).to_be_hidden()
        for number, name in enumerate(VIEWS, 1):
            page.keyboard.press(str(number))
            expect(page.locator(f"#view-{name}")).to_be_visible()
            names = page.evaluate(NAMES)
            assert all(names), names


NAMES = """[...document.querySelectorAll('input, select, textarea, button, a, svg')]
    .filter((e) => e.checkVisibility())
    .map((e) => e.labels?.[0]?.innerText || e.ariaLabel || e.innerText)"""


def test_the_chosen_colours_are_kept(house: House) -> None:
    with house.page(color_scheme="light") as page:
        ground = "getComputedStyle(document.body).backgroundColor"
        assert luminance(page.evaluate(ground)) > 0.8
        page.locator("#theme").click()
        page.locator("#theme").click()
        expect(page.locator("#theme")).to_have_text("Dark")
        page.reload()
        expect(page.locator("#theme")).to_have_text("Dark")
        assert luminance(page.evaluate(ground)) < 0.1


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_what_is_written_can_be_read(house: House, scheme: str) -> None:
    """WCAG AA asks for a contrast of 4.5 between text and what is behind it."""
    house.ask("ill-lit", "python")
    with house.page(color_scheme=scheme) as page:
        row(page, "ill-lit").click()
        expect(page.locator("#detail")).to_contain_text("What was said")
        for name in VIEWS:
            view(page, name)
            pairs = page.evaluate(PAIRS)
            assert len(pairs) > 10
            poor = [p for p in pairs if contrast(p[0], p[1]) < 4.5]
            assert not poor
        ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (luminance(ground) < 0.1) is (scheme == "dark")


# Of each element with text of its own: its colour, what is painted behind it, and the text.
PAIRS = """[...document.body.querySelectorAll('*')].filter((e) => e.checkVisibility() && !e.closest('svg') &&
    !e.disabled && e.tagName !== 'OPTION' && [...e.childNodes].some((n) => n.nodeType === 3 && n.data.trim())).map((e) => {
  let behind = e;
  while (behind && getComputedStyle(behind).backgroundColor === 'rgba(0, 0, 0, 0)') behind = behind.parentElement;
  return [getComputedStyle(e).color, getComputedStyle(behind).backgroundColor, e.innerText.slice(0, 40)];
})"""


def luminance(colour: str) -> float:
    parts = [int(n) / 255 for n in re.findall(r"\d+", colour)[:3]]
    linear = [p / 12.92 if p <= 0.03928 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


# --- coming and going -----------------------------------------------------------------------------


@pytest.mark.slow
def test_a_page_outlives_a_restart_of_the_router(browser: Browser, tmp_path: Path) -> None:
    upstream = Upstream()
    with FakeUpstream(upstream) as works, FakeUpstream(breaks) as fails:
        text = config(works.url, fails.url)
        first = RunningDaemon(text, tmp_path)
        first.__enter__()
        house = House(first.url, upstream, browser)
        with house.page(tolerate=NETWORK) as page, ThreadPoolExecutor(1) as pool:
            house.ask("before")
            expect(row(page, "before")).to_be_visible()
            cut = pool.submit(house.ask, "in the middle", stream=True)
            expect(card(page, "in the middle")).to_be_visible()
            first.process.kill()  # nobody says goodbye
            first.process.wait(PATIENCE_S)
            first._reader.join(PATIENCE_S)
            assert first.process.stderr
            first.process.stderr.close()
            assert cut.exception(PATIENCE_S)
            expect(page.locator("#state")).to_contain_text("not connected")
            upstream.free()
            with RunningDaemon(config(works.url, fails.url, port=first.port), tmp_path):
                house.ask("after")
                house.ask("after that")
                house.ask("and one more")
                expect(row(page, "and one more")).to_be_visible()
                live(page)
                shows = page.locator("#feed").inner_text()
                assert re.search(r"lost\s+in the middle", shows)
                assert shows.count("before → works") == 1
                assert shows.count("after → works") == 1
                expect(page.locator("#running .card")).to_have_count(0)
                page.goto("about:blank")


def test_a_locked_dashboard_asks_for_the_key(browser: Browser, tmp_path: Path) -> None:
    upstream = Upstream()
    upstream.free()
    with FakeUpstream(upstream) as works, FakeUpstream(breaks) as fails:
        text = config(works.url, fails.url, key=True)
        with RunningDaemon(text, tmp_path, env={"KEY": KEY}) as daemon:
            house = House(daemon.url, upstream, browser)
            with house.page(tolerate=NETWORK) as page:
                expect(page.locator("#key")).to_be_focused()
                expect(page.locator("#main")).to_be_hidden()
                page.keyboard.type("not it")
                page.keyboard.press("Enter")
                expect(page.locator("#wrong")).to_have_text("That is not the key.")
                page.keyboard.type(KEY)  # what was there is selected, and goes
                page.keyboard.press("Enter")
                live(page)
                expect(page.locator("#door")).to_be_hidden()
                assert page.locator("#key").input_value() == ""
                assert page.evaluate("document.cookie") == ""  # no script can read it
                page.reload()
                live(page)
                view(page, "providers")  # the cookie is good for what the page itself sends
                page.get_by_role("button", name="Pause works").click()
                expect(page.locator(".provider b").first).to_have_text("paused")
                page.get_by_role("button", name="Ask again works").click()
                view(page, "playground")
                page.locator("#play-model").fill("small")
                page.locator("#play-text").fill("hi")
                page.locator("#send").click()
                expect(page.locator("#play-state")).to_contain_text("Done after")
            with house.page(tolerate=NETWORK) as page:  # nobody else has got in
                expect(page.locator("#door")).to_be_visible()
                page.goto(f"{daemon.url}/dashboard?api_key={quote(KEY, safe='')}")
                live(page)
                assert page.url == f"{daemon.url}/dashboard"
        assert KEY not in daemon.log


# --- for people -----------------------------------------------------------------------------------


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
    """An upstream that answers as people expect it."""

    WORDS = "The sky is blue because air scatters short waves of light more than long ones."

    def __call__(self, turn: Turn) -> None:
        if turn.received.method == "GET":
            names = ("llama3.1:8b", "qwen3-coder:30b", "gemma3:27b")
            return turn.whole({"object": "list", "data": [{"id": name} for name in names]})
        turn.begin()
        time.sleep(0.15)
        for word in self.WORDS.split(" "):
            turn.chunk(chunk(word + " "))
            time.sleep(0.02)
        while turn.received.json["model"] == "gemma3:27b" and not self.end.wait(0.03):
            turn.chunk(chunk("more "))
        usage = b'{"prompt_tokens":412,"completion_tokens":87}'
        turn.chunk(b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n')
        turn.chunk(b'data: {"choices":[],"usage":%b}\n\ndata: [DONE]\n\n' % usage)
        return turn.end()


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
        with RunningDaemon(text, folder) as daemon:
            house = House(daemon.url, upstream, browser)
            for model in ("llama3.1:8b", "gpt-4o", "queue-free", "qwen3-coder:30b", "llama3.1:8b"):
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
    folder = Path(os.environ.get("SCREENSHOTS") or tmp_path / "screenshots")
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
                expect(page.locator("#feed .line")).to_have_count(7)
                if name == "phone":
                    page.screenshot(path=folder / f"requests-{name}.png")
                row(page, "gpt-4o").click()
                expect(page.locator("#detail")).to_contain_text("Fields of the answer")
                expect(page.locator("#detail .legend")).to_contain_text("load and prefill")
                expect(page.locator("#detail .legend")).to_contain_text("decode")
                shot = "request" if name == "phone" else "requests"
                page.screenshot(path=folder / f"{shot}-{name}.png")
                fits(page)
                page.keyboard.press("Escape")
                for each in VIEWS[1:]:
                    view(page, each)
                    if each == "charts":
                        expect(page.locator("#plot-latency path").first).to_be_attached()
                    fits(page)
                    if each in ("charts", "providers") or name == "light":
                        page.screenshot(path=folder / f"{each}-{name}.png")
    taken = list(folder.glob("*.png"))
    assert len(taken) >= 10
    assert all(10_000 < picture.stat().st_size < 300_000 for picture in taken)


def fits(page: Page) -> None:
    assert page.viewport_size
    wide = page.evaluate("document.documentElement.scrollWidth")
    assert wide <= page.viewport_size["width"]
