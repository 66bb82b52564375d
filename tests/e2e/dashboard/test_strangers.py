"""The dashboard: what comes from elsewhere is text, and there may be much of it."""

import json
import re
import time
from typing import Any

import pytest
from playwright.sync_api import Route, expect

from tests.e2e.dashboard.house import (
    NETWORK,
    PHONE,
    House,
    live,
    row,
)

pytestmark = pytest.mark.e2e

HOSTILE = (
    "<img src=x onerror=alert(1)>",
    "</script><script>window.caught=1</script>",
    "\u202egpj.exe\u0000\n\tname\x1b[31m",
    "${alert(1)}{{7*7}}' onclick='x",
    "w" * 5000,
)


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
    nothing = dict.fromkeys(("requests", "errors", "left", "input_tokens", "output_tokens"), 0)
    so_far = {"number": 0, "totals": {**nothing, "cost_usd": 0.0}}
    hello = {"type": "hello", "feed": 1, "now_ms": now_ms, **so_far}
    out = [f"data: {json.dumps(hello)}\n\n"]
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
    so_far = {"number": 4 * requests, "totals": {**nothing, "requests": 2503, "cost_usd": 0.0}}
    out.append(f"data: {json.dumps({'type': 'lost', 'count': 12, **so_far})}\n\n")
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
        expect(page.locator("#figures")).to_contain_text("2,503")  # with what was missed
        page.locator("#more").click()
        expect(page.locator("#feed .line")).to_have_count(300)
        page.locator("#filter").fill("m1777")
        expect(page.locator("#feed .line")).to_have_count(1)
        page.locator("#feed .line").click()
        expect(page.locator("#detail")).to_contain_text("r1777")
        page.keyboard.press("Escape")
        page.locator("#clear").click()
        expect(page.locator("#feed .line")).to_have_count(150)
