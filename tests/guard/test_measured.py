"""Figures that fade."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmrouterd.guard.measured import Faded, Seen


def test_nothing_seen_is_no_figure():
    faded = Faded()
    assert faded.value is None
    assert faded.weight(100.0) == 0
    assert faded.beside(None, 0) is None
    assert faded.beside(7.0, 0) == 7.0


def test_the_first_figure_is_itself_and_later_ones_move_it():
    faded = Faded()
    faded.add(10, 0)
    assert faded.value == 10
    faded.add(20, 0)
    assert faded.value == 15


def test_old_figures_count_half_after_every_half_life():
    faded = Faded()
    faded.add(10, 0, 100)
    assert faded.weight(100, 100) == 0.5
    faded.add(40, 100, 100)
    assert faded.value == pytest.approx(30)  # 10 with half a weight, 40 with a whole one


def test_a_declared_figure_gives_way_and_comes_back():
    faded = Faded()
    assert faded.beside(100.0, 0) == 100
    for _ in range(30):
        faded.add(10, 0)
    assert faded.beside(100.0, 0) == pytest.approx(11, abs=0.5)
    assert faded.beside(100.0, 300 * 20) == pytest.approx(100, abs=0.5)
    assert faded.beside(None, 300 * 20) == pytest.approx(10)


@given(st.lists(st.tuples(st.floats(0, 1e6), st.floats(0, 1e4)), min_size=1, max_size=40))
def test_a_figure_lies_among_what_was_seen(pairs):
    faded, now = Faded(), 0.0
    for figure, pause in pairs:
        now += pause
        faded.add(figure, now)
    figures = [figure for figure, _ in pairs]
    assert min(figures) - 1e-6 <= faded.value <= max(figures) + 1e-6


def test_a_failure_is_no_quick_answer():
    seen = Seen()
    seen.answered(0, first_token_ms=500, tokens=11, writing_s=2)
    seen.failed(0)
    assert seen.first_token_ms.value == 500
    assert seen.tokens_per_s.value == 5
    assert seen.failing.value == 0.5


def test_an_answer_of_one_token_has_no_pace():
    seen = Seen()
    seen.answered(0, first_token_ms=None, tokens=1, writing_s=0)
    assert (seen.tokens_per_s.value, seen.first_token_ms.value) == (None, None)
    assert seen.failing.value == 0
