"""What is listed, selected and shown."""

from llmrouterd.commands.tui.state import View
from tests.commands.tui.scene import ended, running, scene


def ids(view: View) -> list[int]:
    return [each.id for each in view.rows()]


def test_what_runs_comes_first_and_the_newest_first_of_each() -> None:
    view = scene(ended(1), ended(2), *running(3), *running(4))
    assert ids(view) == [4, 3, 2, 1]


def test_the_selection_stays_with_its_request() -> None:
    view = scene(ended(1), ended(2))
    view.select(1)
    assert view.chosen() is view.board.ended[0]
    view.board.apply(ended(3))
    assert view.chosen() is view.board.ended[0]
    assert view.place(view.rows()) == 2


def test_at_the_top_the_selection_is_the_newest() -> None:
    view = scene(ended(1))
    view.select(0)
    view.board.apply(ended(2))
    assert view.chosen() is view.board.ended[1]
    view.select(-5)
    view.select(99)
    assert view.place(view.rows()) == 1
    assert scene().chosen() is None


def test_paused_the_rows_stay() -> None:
    view = scene(ended(1))
    view.pause()
    view.board.apply(ended(2))
    assert ids(view) == [1]
    view.pause()
    assert ids(view) == [2, 1]


def test_a_filter_that_is_wrong_leaves_the_last_right_one() -> None:
    view = scene(ended(1), ended(2, provider="cloud"))
    view.set_filter("provider=cloud")
    assert ids(view) == [2]
    view.set_filter("colour=red")
    assert ids(view) == [2]
    assert "colour" in view.filter_wrong
    view.set_filter("")
    assert (ids(view), view.filter_wrong) == ([2, 1], "")


def test_one_request_is_shown_with_the_words_that_are_there() -> None:
    view = scene(ended(1, messages=[{"role": "user"}]))
    view.scroll["detail"] = 5
    view.show(view.board.ended[0])
    assert view.over == "detail"
    assert view.words is not None
    assert view.scroll["detail"] == 0


def test_scrolling_never_goes_above_the_first_line() -> None:
    view = scene()
    view.scroll_by("figures", -3)
    assert view.scroll["figures"] == 0


def test_a_provider_that_changes_is_seen_at_once_and_old_news_are_not() -> None:
    view = scene()
    view.knows([{"name": "a", "healthy": True, "models": 3}, {"name": "b", "healthy": True}], 5000)
    told = {"type": "provider", "provider": "a", "healthy": False, "circuit": "open", "why": "no"}
    view.changed({**told, "ts_ms": 4999})
    assert view.providers[0]["healthy"]
    view.changed({**told, "ts_ms": 5000})
    assert view.providers == [
        {"name": "a", "healthy": False, "circuit": "open", "why": "no", "models": 3},
        {"name": "b", "healthy": True},
    ]
    view.changed({**told, "provider": "nobody", "ts_ms": 6000})
    assert len(view.providers) == 2
