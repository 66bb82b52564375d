"""What keys do. Those of the original go on working."""

import pytest

from llmrouterd.commands.tui.keys import Act, press
from llmrouterd.commands.tui.state import View
from tests.commands.tui.scene import busy, first, scene


def keys(view: View, *names: str) -> list[Act]:
    return [act for name in names if (act := press(view, name)) is not None]


@pytest.mark.parametrize("key", ["q", "CTRL-C"])
def test_quitting(key: str) -> None:
    assert keys(busy(), key) == [Act("quit")]


def test_while_one_writes_q_is_a_letter_and_ctrl_c_still_quits() -> None:
    view = busy()
    assert keys(view, "i", "q") == []
    assert view.line.text == "q"
    assert keys(view, "CTRL-C") == [Act("quit")]


def test_tab_goes_round_the_panes() -> None:
    view = busy()
    seen = []
    for _ in range(4):
        keys(view, "TAB")
        seen.append(view.pane)
    assert seen == ["figures", "providers", "chat", "feed"]
    keys(view, "BACK-TAB")
    assert view.pane == "chat"
    keys(view, "2")
    assert (view.pane, view.left) == ("figures", "figures")


@pytest.mark.parametrize(("down", "up"), [("j", "k"), ("DOWN", "UP")])
def test_rows_are_walked_through(down: str, up: str) -> None:
    view = busy()
    keys(view, down, down)
    assert view.place(view.rows()) == 2
    keys(view, up)
    assert view.place(view.rows()) == 1
    keys(view, "G")
    assert view.place(view.rows()) == 2
    keys(view, "g")
    assert view.selected is None


def test_other_panes_scroll() -> None:
    view = busy()
    keys(view, "TAB", "j", "j", "k")
    assert view.scroll["figures"] == 1
    keys(view, "4", "k", "k")
    assert view.scroll["chat"] == 2  # from its end


def test_a_chat() -> None:
    view = busy()
    keys(view, "i")
    assert (view.mode, view.pane) == ("chatting", "chat")
    assert keys(view, *"hi", "ENTER") == [Act("send", "hi")]
    assert view.line.text == ""
    assert keys(view, "ENTER") == []
    keys(view, "ESC")
    assert view.mode == "browsing"
    keys(view, "ENTER")
    assert view.mode == "chatting"


def test_the_model_of_the_chat() -> None:
    view = busy()
    assert keys(view, "i", *":model qwen3", "ENTER") == []
    assert view.chat.model == "qwen3"
    keys(view, "ESC", "1", ":", *"model x", "ENTER")
    assert view.chat.model == "x"


def test_while_an_answer_comes_in_nothing_is_sent_and_esc_stops_it() -> None:
    view = busy()
    view.chat.ask("one")
    assert keys(view, "i", *"two", "ENTER") == []
    assert view.line.text == "two"
    assert keys(view, "ESC") == []
    assert keys(view, "ESC") == [Act("stop")]


def test_one_request_whole_and_back() -> None:
    view = busy()
    assert keys(view, "ENTER") == [Act("open")]
    assert view.shown is first(view)
    keys(view, "j")
    assert view.scroll["detail"] == 1
    keys(view, "ESC")
    assert view.over == ""
    assert keys(scene(), "ENTER") == []


def test_filtering_works_while_it_is_typed() -> None:
    view = busy()
    keys(view, "/", *"provider=cloud")
    assert [each.id for each in view.rows()] == [3, 2]  # one is there, one was tried there
    keys(view, "ENTER")
    assert view.mode == "browsing"
    keys(view, "ESC")
    assert len(view.rows()) == 3
    keys(view, "/", "x", "ESC")
    assert (view.filter_line.text, view.mode) == ("", "browsing")
    keys(view, "e")
    assert [each.id for each in view.rows()] == [2]
    keys(view, "e")
    assert len(view.rows()) == 3


def test_help_pause_and_zoom() -> None:
    view = busy()
    keys(view, "?")
    assert view.over == "guide"
    keys(view, "?", "p", "z")
    assert view.over == ""
    assert view.frozen is not None
    assert view.zoomed
    keys(view, "ESC", "p")
    assert not view.zoomed
    assert view.frozen is None
    assert keys(view, "CTRL-L") == [Act("redraw")]


def test_a_key_that_means_nothing_does_nothing() -> None:
    view = busy()
    before = (view.pane, view.mode, view.over, view.selected)
    assert keys(view, "x", "F1", "F1", "CTRL-Q", "世", "DELETE") == []
    assert (view.pane, view.mode, view.over, view.selected) == before
