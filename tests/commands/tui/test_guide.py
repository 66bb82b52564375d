"""The help."""

from llmrouterd.commands.terminal import line_width
from llmrouterd.commands.tui.guide import lines
from tests.commands.tui.scene import text_of


def test_it_fits_on_an_ordinary_terminal() -> None:
    made = lines()
    assert len(made) <= 24 - 3  # without the top, the bottom and its title
    assert max(line_width(line) for line in made) <= 80


def test_every_key_of_the_original_is_in_it() -> None:
    text = text_of(lines())
    for key in ("q, Ctrl-C", "Tab", "arrows", "j k", "i ", "Enter", "Esc", ":model NAME"):
        assert key in text
