"""Percentiles within 1 %."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmrouterd.observe.percentiles import Percentiles

SHARES = (0.0, 0.01, 0.5, 0.9, 0.99, 1.0)


def of(*figures: float) -> Percentiles:
    made = Percentiles()
    for figure in figures:
        made.add(figure)
    return made


def test_of_nothing_there_is_none() -> None:
    assert (of().at(0.5), of().mean) == (None, None)


@pytest.mark.parametrize("figure", [0.0, 0.001, 1.0, 17.3, 86_400_000.0, 1e12])
def test_of_one_figure_every_percentile_is_that_figure(figure: float) -> None:
    assert [of(figure).at(share) for share in SHARES] == [figure] * len(SHARES)


@given(st.lists(st.integers(1, 10**8), min_size=1, max_size=300), st.sampled_from(SHARES))
def test_a_percentile_is_within_one_percent(figures: list[int], share: float) -> None:
    true = sorted(figures)[max(1, math.ceil(share * len(figures))) - 1]
    assert of(*figures).at(share) == pytest.approx(true, rel=0.01)


def test_noughts_count() -> None:
    seen = of(0, 0, 0, 100)
    assert (seen.at(0.75), seen.at(1.0)) == (0.0, 100)
    assert seen.mean == 25


def test_memory_does_not_grow_with_the_number_of_figures() -> None:
    seen = of(*(0.001 * 1.001**n for n in range(20_000)))
    assert len(seen._buckets) < 1100
