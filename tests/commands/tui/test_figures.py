"""The pane of statistics."""

from llmrouterd.commands.terminal import line_width
from llmrouterd.commands.tui.figures import lines
from tests.commands.tui.scene import busy, scene, text_of


def test_figures_in_all_by_provider_and_by_tag() -> None:
    text = text_of(lines(busy(), 64))
    for words in ("2 1 done 1 failed", "mean 5.0s", "p95 5.0s", "240 in 86 out", "$0.0012"):
        assert words in text
    assert "1 failed tries" in text
    provider = next(line for line in text.splitlines() if line.startswith("ollama"))
    assert provider.split()[1:4] == ["2", "1", "5.0s"]
    assert next(line for line in text.splitlines() if line.startswith("code")).split()[1] == "1"


def test_the_last_success_is_there_in_the_width_of_an_ordinary_terminal() -> None:
    for columns in (36, 38, 64):
        made = lines(busy(), columns)
        assert "last ok" in text_of(made)
        assert max(line_width(line) for line in made) <= columns


def test_nothing_yet() -> None:
    text = text_of(lines(scene(), 40))
    assert "nothing yet" in text
    assert "mean -" in text
