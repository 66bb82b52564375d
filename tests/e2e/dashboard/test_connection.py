"""The dashboard: a router that restarts, and one that wants a key."""

import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import quote

import pytest
from playwright.sync_api import Browser, expect

from tests.e2e.dashboard.house import (
    NETWORK,
    House,
    Upstream,
    breaks,
    card,
    config,
    live,
    row,
    view,
)
from tests.fakes.daemon import RunningDaemon
from tests.fakes.upstream import PATIENCE_S, FakeUpstream

pytestmark = pytest.mark.e2e

KEY = "a key/with+odd %signs;"


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
