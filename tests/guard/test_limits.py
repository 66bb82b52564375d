"""What a client may use in a minute, and at a time."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmrouterd.guard.limits import Bucket, ClientLimits, Exceeded, Left
from llmrouterd.model import Allowance


def limits(**more):
    return ClientLimits(Allowance(**more), 0.0)


def test_a_minute_s_worth_at_once_and_then_evenly():
    ann = limits(rpm=6)
    assert [ann.enter(0, 0.0) for _ in range(6)] == [None] * 6
    assert ann.enter(0, 0.0) == Exceeded("rpm", 6, pytest.approx(10.0))
    assert ann.enter(0, 9.0) == Exceeded("rpm", 6, pytest.approx(1.0))
    assert ann.enter(0, 10.0) is None


def test_the_time_that_is_told_is_the_time_after_which_it_passes():
    ann = limits(tpm=600)
    assert ann.enter(500, 0.0) is None
    refused = ann.enter(400, 0.0)
    assert refused == Exceeded("tpm", 600, pytest.approx(30.0))
    assert ann.enter(400, refused.retry_after_s - 0.1) is not None
    assert ann.enter(400, refused.retry_after_s) is None


def test_tokens_are_put_right():
    ann = limits(tpm=600)
    ann.enter(500, 0.0)
    ann.leave(500, 100, 0.0, 1.0)
    assert ann.left(0.0) == Left(None, 500)
    ann.enter(100, 0.0)
    ann.leave(100, 900, 0.0, 1.0)  # more than there was: a debt
    assert ann.enter(1, 0.0).retry_after_s == pytest.approx(40.1)


def test_an_estimate_stands_where_nobody_knows_better():
    ann = limits(tpm=600)
    ann.enter(500, 0.0)
    ann.leave(500, None, 0.0, 1.0)
    assert ann.left(0.0).tokens == 100


def test_what_is_larger_than_the_bucket_passes_when_that_is_full():
    ann = limits(tpm=600)
    assert ann.enter(5000, 0.0) is None
    ann.leave(5000, 5000, 0.0, 1.0)
    assert ann.enter(1, 60.0) is not None
    assert ann.enter(1, 441.0) is None


def test_so_many_at_a_time():
    ann = limits(at_once=2)
    assert [ann.enter(0, 0.0), ann.enter(0, 0.0)] == [None, None]
    assert ann.enter(0, 0.0).limit == "max_concurrency"
    ann.leave(0, None, 1.0, 1.0)
    assert ann.enter(0, 1.0) is None


def test_when_to_come_again_follows_how_long_requests_take():
    ann = limits(at_once=1)
    for _ in range(50):
        ann.enter(0, 0.0)
        ann.leave(0, None, 0.0, 30.0)
    ann.enter(0, 0.0)
    assert ann.enter(0, 0.0).retry_after_s == pytest.approx(30.0, rel=0.1)


def test_a_refused_request_has_taken_nothing():
    ann = limits(rpm=10, tpm=100, at_once=2)
    ann.enter(90, 0.0)
    assert ann.enter(90, 0.0).limit == "tpm"
    assert ann.left(0.0) == Left(9, 10)
    assert ann.at_once == 1


@given(st.integers(1, 100), st.lists(st.tuples(st.floats(0, 30), st.floats(0, 50)), max_size=40))
def test_never_more_than_the_bucket_and_what_flows_in(size, steps):
    bucket, now, taken = Bucket(size, 0.0), 0.0, 0.0
    for passed, count in steps:
        now += passed
        assert bucket.level(now) <= size
        if not bucket.wait_s(min(count, size), now):
            bucket.take(min(count, size), now)
            taken += min(count, size)
    assert taken <= size + now * size / 60.0 + 1e-6


def test_limits_that_begin_anew_are_told_what_was_left():
    ann = limits(rpm=60, tpm=600, at_once=2)
    ann.adopt()
    ann.lower((3.0, 50.0), 0.0)
    ann.lower((40.0, 500.0), 0.0)  # another's view, of earlier
    assert (ann.left(0.0), ann.at_once) == (Left(3, 50), 1)
    assert ann.levels(1.0) == (pytest.approx(4.0), pytest.approx(60.0))
    assert limits(rpm=60).levels(0.0) == (60.0, 0.0)


def test_other_limits_keep_who_is_at_work_and_what_was_taken():
    ann = limits(at_once=2, rpm=10, tpm=600)
    ann.enter(500, 0.0)
    ann.enter(50, 0.0)
    ann.renew(Allowance(at_once=1, rpm=4, tpm=700), 0.0)
    assert ann.left(0.0) == Left(2, 150)
    assert ann.enter(1, 0.0).limit == "max_concurrency"
    ann.leave(500, None, 0.0, 1.0)
    assert ann.enter(1, 0.0).limit == "max_concurrency"
    ann.leave(50, None, 0.0, 1.0)
    assert ann.enter(1, 0.0) is None


def test_limits_that_come_and_go_hold_from_then_on():
    ann = limits(rpm=1)
    ann.enter(0, 0.0)
    ann.renew(Allowance(tpm=60), 0.0)
    assert ann.left(0.0) == Left(None, 60)
    assert ann.enter(1, 0.0) is None
    ann.renew(Allowance(rpm=1), 0.0)
    assert ann.left(0.0) == Left(1, None)
