"""The pane of requests."""

import pytest

from llmrouterd.commands.terminal import line_width
from llmrouterd.commands.tui.feed import lines
from tests.commands.tui.scene import busy, ended, running, scene, text_of


def test_a_row_says_where_a_request_stands() -> None:
    view = busy()
    rows = text_of(lines(view, 130, 10)).splitlines()
    assert rows[1].startswith("\u25cf ")
    for word in ("cloud/slow", "streaming", "\u224840", "500ms", "20.0/s", "3.0s"):
        assert word in rows[1]
    assert rows[2].startswith("\u2717 ")
    for word in ("ollama/llama3.1:8b \u2190 gpt-4o", "failed", "#2", " 1 "):
        assert word in rows[2]
    assert rows[3].startswith("\u2713 ")
    for word in ("done", "120\u219243", "10.0/s", "$0.0012", "code"):
        assert word in rows[3]


@pytest.mark.parametrize("columns", [20, 40, 60, 80, 100, 120, 200])
def test_in_any_width_place_state_and_time_are_there(columns: int) -> None:
    made = lines(busy(), columns, 10)
    assert {line_width(line) for line in made} == {columns}
    text = text_of(made)
    if columns >= 40:
        assert "ollama" in text
        assert "streaming" in text
        assert "5.0s" in text


def test_the_selected_row_is_among_those_that_are_shown() -> None:
    view = scene(*[ended(n) for n in range(50)])
    view.select(30)
    made = lines(view, 120, 11)
    assert len(made) == 11
    (chosen,) = [line for line in made if line[0].style == "chosen"]
    assert "#19" in "".join(span.text for span in chosen)
    view.select(-30)
    assert lines(view, 120, 11)[1][0].style == "chosen"


def test_a_place_in_a_queue() -> None:
    view = scene(running(1)[0])
    view.board.apply({"type": "queued", "id": 1, "ts_ms": 5, "provider": "a", "position": 3})
    assert "queued 3" in text_of(lines(view, 80, 5))


def test_wide_characters_and_foreign_escapes_keep_the_columns() -> None:
    view = scene(ended(1, sent_model="模型\x1b[31m\u202e", tags=["世界"]))
    made = lines(view, 80, 5)
    assert {line_width(line) for line in made} == {80}
    assert "\x1b" not in text_of(made)


def test_a_request_that_went_nowhere_says_why() -> None:
    told = {"provider": "", "sent_model": "", "requested_model": "", "end": "refused"}
    view = scene(ended(1, **told, error="no model is named", error_kind="bad_request"))
    assert "bad_request: no model is named" in text_of(lines(view, 120, 5))


def test_with_nothing_to_show_it_says_why() -> None:
    view = scene()
    assert "no request yet" in text_of(lines(view, 80, 5))
    view.link, view.why = "away", "refused"
    assert "refused" in text_of(lines(view, 80, 5))
    view = busy()
    view.set_filter("provider=none")
    assert "filter" in text_of(lines(view, 80, 5))
