"""The dashboard: filters, pause, keyboard."""

import httpx
import pytest
from playwright.sync_api import expect

from tests.e2e.dashboard.house import VIEWS, House, live, row
from tests.fakes.upstream import PATIENCE_S

pytestmark = pytest.mark.e2e


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
