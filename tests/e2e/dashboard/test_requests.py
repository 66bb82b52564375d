"""The dashboard: requests as they run, as they ended, and one of them opened."""

import re
import time

import httpx
import pytest
from playwright.sync_api import expect

from tests.e2e.dashboard.house import (
    House,
    card,
    live,
    row,
    view,
)
from tests.fakes.upstream import PATIENCE_S

pytestmark = pytest.mark.e2e


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
        expect(page.locator("#detail .fields")).to_contain_text("x-router-queue-ms")


def test_loading_and_reading_the_prompt_are_told_apart_where_the_provider_does(
    house: House,
) -> None:
    house.ask("warm-1", stream=True)
    house.ask("warm-2")
    with house.asking("wordy-in-one-piece"):
        time.sleep(0.1)  # a piece of time that can be seen
        house.upstream.begin.set()
        house.upstream.end.set()
    with house.page() as page:
        legend = page.locator("#detail .legend")
        for model in ("warm-1", "warm-2"):
            row(page, model).click()
            expect(legend).to_contain_text("load 300 ms", use_inner_text=True)
            expect(legend).to_contain_text("prefill 150 ms")
            expect(legend).to_contain_text("decode")
            expect(legend).not_to_contain_text("apart")
            expect(page.locator("#detail .lanes svg rect.load")).to_have_count(1)
            page.keyboard.press("Escape")
        row(page, "warm-1").click()
        expect(legend).to_contain_text("waiting there")  # it began 450 ms before its first token
        row(page, "wordy-in-one-piece").click()
        expect(legend).to_contain_text("does not tell loading and prefill apart")


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
            "routers[4] prefix",  # because of
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
