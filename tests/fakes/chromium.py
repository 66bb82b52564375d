"""A real browser: Debian's chromium, driven by Playwright."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, sync_playwright

PATIENCE_MS = 60_000.0
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
FLAGS = ("--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu", "--no-proxy-server")


def chromium() -> str:
    """Where the browser is. Without one the test is skipped, except in CI, which must have it."""
    for name in (os.environ.get("CHROMIUM"), *NAMES):
        found = name and shutil.which(name)
        if found:
            return found
    why = "no chromium in PATH (on Debian: apt-get install --no-install-recommends chromium)"
    if os.environ.get("CI") == "true":
        pytest.fail(why)
    pytest.skip(why)


@contextmanager
def launched() -> Iterator[Browser]:
    path = chromium()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=list(FLAGS))
        try:
            yield browser
        finally:
            browser.close()


class Watch:
    """What a page asked for, and what its console complained of."""

    def __init__(self, page: Page) -> None:
        self.requests: list[str] = []
        self.errors: list[str] = []
        page.on("request", lambda request: self.requests.append(request.url))
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("console", self._said)

    def _said(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.errors.append(f"{message.text} ({message.location.get('url')})")


@contextmanager
def looking(
    browser: Browser, url: str, *, tolerate: re.Pattern[str] | None = None, **look: Any
) -> Iterator[Page]:
    """`url` in a page with cookies of its own. Leaving sees that nothing went wrong that a test would
    not look at: no complaint, and nothing asked for from elsewhere."""
    look = {"viewport": {"width": 1280, "height": 900}, "color_scheme": "light", **look}
    context = browser.new_context(**look)
    context.set_default_timeout(PATIENCE_MS)
    page = context.new_page()
    watch = Watch(page)
    try:
        page.goto(f"{url}/dashboard")
        yield page
        page.wait_for_timeout(0)  # what the browser has told by now
    finally:
        context.close()
    bad = [error for error in watch.errors if not (tolerate and tolerate.match(error))]
    assert not bad, bad
    assert watch.requests
    own = (f"{url}/dashboard", "data:")
    assert not [asked for asked in watch.requests if not asked.startswith(own)]
