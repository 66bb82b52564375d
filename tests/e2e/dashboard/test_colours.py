"""The dashboard: colours, and whether they can be read."""

import re

import pytest
from playwright.sync_api import expect

from tests.e2e.dashboard.house import (
    VIEWS,
    House,
    row,
    view,
)

pytestmark = pytest.mark.e2e


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
