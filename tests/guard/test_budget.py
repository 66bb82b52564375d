"""What clients may spend in a day."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmrouterd.guard.budget import Budget, Reservation


def test_reserved_is_gone_until_it_is_settled():
    budget = Budget()
    first = budget.reserve("ann", 0.6, 1.0, 1)
    assert first == Reservation("ann", 1, 0.6)
    assert budget.reserve("ann", 0.6, 1.0, 1) is None
    budget.settle(first, 0.1)
    assert budget.spent("ann", 1) == pytest.approx(0.1)
    assert budget.reserve("ann", 0.6, 1.0, 1) is not None


def test_each_client_has_its_own():
    budget = Budget()
    budget.reserve("ann", 1.0, 1.0, 1)
    assert budget.reserve("bob", 1.0, 1.0, 1) is not None


def test_a_day_begins_at_nothing_and_yesterday_s_requests_are_yesterday_s():
    budget = Budget()
    late = budget.reserve("ann", 1.0, 1.0, 1)
    assert budget.reserve("ann", 1.0, 1.0, 2) is not None
    budget.settle(late, 0.9)
    assert (budget.spent("ann", 1), budget.spent("ann", 2)) == (0.9, 0.0)


def test_old_days_are_forgotten():
    budget = Budget()
    for day in range(5):
        budget.add("ann", 1.0, day)
    assert [budget.spent("ann", day) for day in range(5)] == [0, 0, 0, 1.0, 1.0]


def test_what_cost_more_than_thought_counts_in_full():
    budget = Budget()
    budget.settle(budget.reserve("ann", 0.5, 1.0, 1), 3.0)
    assert budget.left("ann", 1.0, 1) == pytest.approx(-2.0)
    assert budget.reserve("ann", 0.0001, 1.0, 1) is None


def test_what_costs_nothing_fits_into_what_is_left():
    budget = Budget()
    budget.add("ann", 1.0, 1)
    assert budget.reserve("ann", 0.0, 1.0, 1) is not None


@given(st.lists(st.tuples(st.floats(0, 0.4), st.floats(0, 1), st.booleans()), max_size=40))
def test_together_they_never_reserve_more_than_the_limit(steps):
    """Costs that are at most what was reserved: then no limit is ever passed."""
    budget, open_ = Budget(), []
    for usd, share, ends in steps:
        reservation = budget.reserve("ann", usd, 1.0, 1)
        if reservation is not None:
            open_.append((reservation, share))
        if ends and open_:
            held, part = open_.pop(0)
            budget.settle(held, held.usd * part)
        assert budget.left("ann", 1.0, 1) >= -1e-6
    for held, part in open_:
        budget.settle(held, held.usd * part)
    assert not budget.reserved
    assert budget.spent("ann", 1) <= 1.0 + 1e-6


def test_what_was_reserved_before_it_began_anew_is_taken_as_it_is():
    budget = Budget()
    held = budget.adopt("ann", 3.0, 1)
    assert budget.left("ann", 2.0, 1) == -1.0
    assert budget.reserve("ann", 0.1, 2.0, 1) is None
    budget.settle(held, 1.0)
    assert budget.left("ann", 2.0, 1) == 1.0
