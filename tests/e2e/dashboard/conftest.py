"""One browser for all tests of the dashboard, one router for each file of them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser

from tests.e2e.dashboard.house import House, Upstream, breaks, config, tells
from tests.fakes.chromium import launched
from tests.fakes.daemon import RunningDaemon
from tests.fakes.upstream import FakeUpstream


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    with launched() as browser:
        yield browser


@pytest.fixture(scope="module")
def house(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    upstream = Upstream()
    upstream.free()
    with (
        FakeUpstream(upstream) as works,
        FakeUpstream(breaks) as fails,
        FakeUpstream(tells) as warm,
    ):
        text = config(works.url, fails.url, warm=warm.url)
        with RunningDaemon(text, tmp_path_factory.mktemp("daemon")) as daemon:
            yield House(daemon.url, upstream, browser)
    assert not [*works.errors, *warm.errors]
