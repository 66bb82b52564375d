"""The pause between two tries: doubling, jittered, bounded, whatever is put in."""

from math import inf, nan

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmrouterd.guard.backoff import asked_for, delay

SECONDS = st.floats(0, 1e6)


@pytest.mark.parametrize(
    ("retried", "jitter", "seconds"),
    [
        (0, 1.0, 0.5),
        (1, 1.0, 1.0),
        (2, 1.0, 2.0),
        (2, 0.25, 0.5),
        (2, 0.0, 0.0),
        (4, 1.0, 8.0),
        (5, 1.0, 10.0),
        (5, 0.5, 5.0),
        (100_000, 1.0, 10.0),
        (-1, 1.0, 0.5),
    ],
)
def test_the_pause_doubles_up_to_its_ceiling(retried: int, jitter: float, seconds: float) -> None:
    assert delay(retried, base=0.5, ceiling=10.0, jitter=jitter) == seconds


@given(st.integers(0, 10**9), SECONDS, SECONDS, st.floats(0, 1))
def test_a_pause_lies_between_nothing_and_the_ceiling(
    retried: int, base: float, ceiling: float, jitter: float
) -> None:
    assert 0 <= delay(retried, base=base, ceiling=ceiling, jitter=jitter) <= ceiling


@given(st.integers(0, 100), SECONDS, SECONDS, st.floats(0, 1))
def test_with_the_same_jitter_no_later_pause_is_shorter(
    retried: int, base: float, ceiling: float, jitter: float
) -> None:
    first, second = (
        delay(n, base=base, ceiling=ceiling, jitter=jitter) for n in (retried, retried + 1)
    )
    assert first <= second


@pytest.mark.parametrize(
    ("said", "seconds"),
    [
        (None, 0.0),
        (0.0, 0.0),
        (-5.0, 0.0),
        (nan, 0.0),
        (0.25, 0.25),
        (59.5, 59.5),
        (60.5, 60.0),
        (inf, 60.0),
    ],
)
def test_what_a_server_asks_for_is_granted_within_bounds(
    said: float | None, seconds: float
) -> None:
    assert asked_for(said, ceiling=60.0) == seconds
