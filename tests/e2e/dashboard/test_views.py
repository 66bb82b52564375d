"""The dashboard: providers, models, the playground and charts."""

import re

import httpx
import pytest
from playwright.sync_api import expect

from tests.e2e.dashboard.house import (
    NETWORK,
    House,
    live,
    row,
    view,
)
from tests.fakes.upstream import PATIENCE_S

pytestmark = pytest.mark.e2e


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


def test_a_provider_that_changes_is_seen_at_once(house: House) -> None:
    """Before the page asks for the state of all of them again."""
    with house.page() as page:
        live(page)
        view(page, "providers")
        works = page.locator(".provider").first
        expect(works.locator("b")).to_have_text(re.compile("up|not asked yet"))
        page.route("**/api/state", lambda route: route.abort())
        pause = f"{house.url}/dashboard/api/provider"
        try:
            httpx.post(pause, json={"name": "works", "paused": True}, timeout=PATIENCE_S)
            expect(works.locator("b")).to_have_text("paused")
            expect(page.locator("#said")).to_have_text("works: paused")
        finally:
            httpx.post(pause, json={"name": "works", "paused": False}, timeout=PATIENCE_S)
        expect(works.locator("b")).to_have_text(re.compile("up|not asked yet"))


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
        hours = page.locator("#plot-requests svg text", has_text=re.compile(r"^\d\d:\d\d$"))
        expect(hours.first).to_be_attached()  # drawn anew: nothing replaces it under the focus
        picture = page.locator("#plot-requests svg")
        picture.focus()
        page.keyboard.press("ArrowLeft")
        expect(picture.locator(".cursor")).to_have_count(1)
        expect(picture).to_have_attribute("aria-label", re.compile("Requests, .*: done"))
        wrong = httpx.get(f"{house.url}/dashboard/api/history?span=7", timeout=PATIENCE_S)
        assert wrong.status_code == 400
