"""Circuits: when they open, for how long, and the one request that tries."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmrouterd.guard.breaker import Breaker


def failing(breaker, times, now=0.0, key="p", **more):
    for _ in range(times):
        breaker.failed(key, now, "broke", jitter=0.5, **more)


def test_a_few_failures_in_a_row_open_a_circuit():
    breaker = Breaker(threshold=3, base_s=2)
    failing(breaker, 2)
    assert breaker.admits("p", 0)
    failing(breaker, 1)
    assert not breaker.admits("p", 0)
    assert not breaker.admits("p", 1.9)
    assert breaker.admits("p", 2.0)
    assert breaker.circuit("p").why == "broke"
    assert breaker.admits("q", 0)


def test_a_success_between_failures_begins_the_count_anew():
    breaker = Breaker(threshold=3)
    failing(breaker, 2)
    breaker.succeeded("p")
    failing(breaker, 2)
    assert breaker.admits("p", 0)


def test_half_open_lets_one_request_through_and_its_success_closes():
    breaker = Breaker(threshold=1, base_s=2)
    failing(breaker, 1)
    assert breaker.circuit("p").state(3.0) == "half_open"
    assert breaker.entered("p", 3.0)
    assert not breaker.admits("p", 3.0)
    assert not breaker.entered("p", 3.0)
    breaker.succeeded("p")
    assert breaker.admits("p", 3.0)
    assert breaker.circuits() == {}


def test_its_failure_opens_the_circuit_for_twice_as_long():
    breaker = Breaker(threshold=1, base_s=2, ceiling_s=100)
    failing(breaker, 1)
    until = []
    for _ in range(3):
        at = breaker.circuit("p").until
        assert breaker.entered("p", at)
        failing(breaker, 1, now=at)
        until.append(breaker.circuit("p").until - at)
    assert until == [4.0, 8.0, 16.0]


def test_a_request_that_came_to_no_end_gives_its_place_back():
    breaker = Breaker(threshold=1, base_s=2)
    failing(breaker, 1)
    assert breaker.entered("p", 5.0)
    breaker.abandoned("p")
    assert breaker.entered("p", 5.0)


def test_failures_of_requests_that_had_begun_before_change_nothing():
    breaker = Breaker(threshold=2, base_s=10)
    failing(breaker, 2)
    until = breaker.circuit("p").until
    failing(breaker, 5, now=1.0)
    assert breaker.circuit("p").until == until


def test_a_rest_that_is_asked_for_and_one_failure_that_is_enough():
    breaker = Breaker(threshold=3, ceiling_s=120)
    failing(breaker, 1, at_once=True, rest_s=60)
    assert breaker.circuit("p").until == 60
    failing(breaker, 1, key="q", at_once=True, rest_s=6000)
    assert breaker.circuit("q").until == 120


def test_who_was_reached_may_be_tried_at_once():
    breaker = Breaker(threshold=1, base_s=50)
    failing(breaker, 1)
    breaker.look_again("p", 1.0)
    assert breaker.admits("p", 1.0)
    breaker.look_again("unknown", 1.0)


def test_circuits_of_names_without_end_are_forgotten():
    breaker = Breaker(threshold=1)
    for number in range(5000):
        failing(breaker, 1, key=("p", f"m{number}"))
    assert len(breaker.circuits()) == 4096
    assert breaker.admits(("p", "m0"), 0)


MOVES = st.lists(
    st.tuples(st.sampled_from(["fail", "succeed", "enter", "abandon", "look"]), st.floats(0, 40)),
    max_size=60,
)


@given(MOVES, st.floats(0, 1))
def test_never_two_tries_at_a_time_and_never_shut_for_ever(moves, jitter):
    breaker = Breaker(threshold=2, base_s=1, ceiling_s=30)
    now, trying = 0.0, 0
    for move, pause in moves:
        now += pause
        if move == "enter":
            if breaker.entered("p", now):
                assert trying == 0
                trying = 1
            continue
        if move == "look":
            breaker.look_again("p", now)
            continue
        if move == "fail":
            breaker.failed("p", now, "x", jitter=jitter)
        elif move == "succeed":
            breaker.succeeded("p")
        else:
            breaker.abandoned("p")
        trying = int(breaker.circuit("p").trying)
        until = breaker.circuit("p").until
        assert until is None or until <= now + 30
    breaker.abandoned("p")
    assert breaker.admits("p", now + 31)


@pytest.mark.parametrize("jitter", [0.0, 1.0])
def test_chance_moves_the_rest_by_a_quarter(jitter):
    breaker = Breaker(threshold=1, base_s=4)
    breaker.failed("p", 0.0, "x", jitter=jitter)
    assert breaker.circuit("p").until == 4 * (0.75 + 0.5 * jitter)


def test_what_is_mended_is_closed_and_opens_again_at_the_next_failure_for_longer():
    breaker = Breaker(threshold=3, base_s=2.0)
    for _ in range(3):
        breaker.failed("p", 0.0, "broke", jitter=0.5)
    breaker.mended("p")
    assert breaker.circuit("p").state(0.0) == "closed"
    assert breaker.admits("p", 0.0)
    breaker.failed("p", 10.0, "broke", jitter=0.5)
    assert breaker.circuit("p").until == 14.0
    breaker.succeeded("p")
    breaker.failed("p", 20.0, "broke", jitter=0.5)
    assert breaker.circuit("p").state(20.0) == "closed"


def test_what_was_never_open_is_not_mended():
    breaker = Breaker()
    breaker.failed("p", 0.0, "broke", jitter=0.5)
    before = breaker.circuit("p")
    breaker.mended("p")
    breaker.mended("q")
    assert breaker.circuit("p") == before
    assert "q" not in breaker.circuits()
