"""The rotation over a provider's keys, and how long each rests."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from formats.errors import Failure
from llmrouterd.guard.keyring import Keyring, KeySeen, Resting, Rests, Taken
from llmrouterd.model import Candidate, Outcome, Secret

DENIED = Failure("credential", "Invalid API Key", status=401)
SPENT = Failure("quota", "insufficient_quota", status=429)


def limited(asked_s: float | None = None) -> Failure:
    return Failure("rate_limit", "slow down", status=429, retry_after_s=asked_s)


def outcome(failure: Failure) -> Outcome:
    return Outcome(Candidate("p", "m", "test"), failure)


def ring_of(count: int, rests: Rests | None = None, seed: int = 0) -> Keyring:
    return Keyring([Secret(f"planted-{n + 1}") for n in range(count)], rests, seed=seed)


def taken(ring: Keyring, now: float = 0.0, *, last_resort: bool = False) -> Taken:
    found = ring.take(now, last_resort=last_resort)
    assert isinstance(found, Taken), found
    return found


def order(ring: Keyring, count: int, now: float = 0.0) -> list[int]:
    return [taken(ring, now).index for _ in range(count)]


def hurt(ring: Keyring, index: int, failure: Failure, now: float = 0.0) -> bool:
    """An attempt with this very key came to nothing."""
    return ring.failed(Taken(index, "", None), outcome(failure), now)


def rest(ring: Keyring, index: int, now: float = 0.0) -> float:
    until = ring.snapshot(now)[index].until
    assert until is not None
    return until - now


# --- rotation -------------------------------------------------------------------------------------


def test_keys_are_given_in_turn() -> None:
    ring = ring_of(3)
    assert order(ring, 7) == [0, 1, 2, 0, 1, 2, 0]


def test_what_is_taken_holds_the_key_and_its_name() -> None:
    ring = ring_of(3)
    taken(ring)
    second = taken(ring)
    assert second.key == Secret("planted-2")
    assert second.name == "key 2 of 3"


def test_a_resting_key_is_passed_over_and_comes_back() -> None:
    ring = ring_of(3)
    assert hurt(ring, 1, limited(10.0))
    assert order(ring, 4) == [0, 2, 0, 2]
    assert order(ring, 3, now=10.0) == [0, 1, 2]


def test_a_provider_without_keys_has_one_place_that_can_rest() -> None:
    ring = ring_of(0)
    assert taken(ring) == Taken(0, "no key", None)
    hurt(ring, 0, limited(3.0))
    assert ring.take(0.0) == Resting(3.0, "rate_limit", "no key rests: over its rate limit")
    assert ring.snapshot(0.0) == (KeySeen("no key", "rate_limit", 3.0),)


# --- rests ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("failure", "why", "seconds"),
    [
        (limited(7.5), "rate_limit", 7.5),
        (limited(0.02), "rate_limit", 0.02),
        (limited(9e9), "rate_limit", 3600.0),
        (SPENT, "quota", 600.0),
        (Failure("quota", "x", status=429, retry_after_s=30.0), "quota", 30.0),
        (DENIED, "credential", 3600.0),
        (Failure("credential", "x", status=403), "credential", 3600.0),
    ],
)
def test_how_long_a_key_rests(failure: Failure, why: str, seconds: float) -> None:
    ring = ring_of(2)
    assert hurt(ring, 0, failure, now=100.0)
    assert ring.snapshot(100.0) == (
        KeySeen("key 1 of 2", why, 100.0 + seconds),
        KeySeen("key 2 of 2"),
    )
    assert ring.snapshot(100.0 + seconds)[0] == KeySeen("key 1 of 2")


@pytest.mark.parametrize(
    "failure",
    [
        Failure("upstream", "connection refused"),
        Failure("overloaded", "x", status=503, retry_after_s=60.0),
        Failure("timeout", "x", clock="connect"),
        Failure("bad_request", "x", status=400),
        Failure("credential", "a client's own key was kept back"),
    ],
    ids=lambda failure: failure.tag,
)
def test_what_is_not_about_the_key_lets_it_be(failure: Failure) -> None:
    ring = ring_of(1)
    assert not hurt(ring, 0, failure)
    assert ring.resting(0.0) is None


@pytest.mark.parametrize("asked_s", [None, 0.0])
def test_a_limit_that_names_no_time_rests_longer_each_time(asked_s: float | None) -> None:
    ring, now = ring_of(1), 0.0
    for longest in (1, 2, 4, 8, 16, 32, 60, 60):
        hurt(ring, 0, limited(asked_s), now)
        assert longest / 2 <= rest(ring, 0, now) <= longest
        now += rest(ring, 0, now)


def test_an_answer_makes_the_next_rest_short_again() -> None:
    ring, now = ring_of(1), 0.0
    for _ in range(5):
        hurt(ring, 0, limited(), now)
        now += 60.0
    ring.answered(taken(ring, now))
    hurt(ring, 0, limited(), now)
    assert rest(ring, 0, now) <= 1.0


def test_many_that_run_into_one_limit_together_are_one() -> None:
    ring = ring_of(1)
    for _ in range(50):
        hurt(ring, 0, limited())
    assert rest(ring, 0) <= 1.0
    hurt(ring, 0, limited(), now=1.0)
    assert rest(ring, 0, now=1.0) <= 2.0


def test_a_shorter_rest_does_not_cut_a_longer_one() -> None:
    ring = ring_of(1)
    hurt(ring, 0, DENIED)
    hurt(ring, 0, limited(1.0))
    assert ring.snapshot(0.0) == (KeySeen("key 1 of 1", "credential", 3600.0),)


def test_an_answer_does_not_end_a_rest() -> None:
    ring = ring_of(1)
    early = taken(ring)
    hurt(ring, 0, limited(30.0))
    ring.answered(early)
    assert rest(ring, 0) == 30.0


def test_the_same_seed_gives_the_same_rests() -> None:
    def pause(seed: int) -> float:
        ring = ring_of(1, seed=seed)
        hurt(ring, 0, limited())
        return rest(ring, 0)

    assert pause(1) == pause(1)
    assert pause(1) != pause(2)


def test_every_rest_is_within_the_longest() -> None:
    ring = ring_of(4, Rests(base_s=100.0, longest_s=20.0))
    for index, failure in enumerate([limited(), limited(99.0), SPENT, DENIED]):
        hurt(ring, index, failure)
        assert rest(ring, index) <= 20.0


# --- when all rest --------------------------------------------------------------------------------


def test_all_resting_says_until_when_and_why_each() -> None:
    ring = ring_of(3)
    for index, failure in enumerate([DENIED, limited(40.0), SPENT]):
        assert ring.resting(0.0) is None
        hurt(ring, index, failure)
    words = "1 refused by the provider, 2 over its rate limit, 3 its quota is spent"
    assert ring.take(0.0) == Resting(40.0, "rate_limit", f"all 3 keys rest: {words}")
    assert ring.resting(39.9) is not None
    assert order(ring, 1, now=40.0) == [1]


def test_one_key_resting_is_told_in_the_singular() -> None:
    ring = ring_of(1)
    hurt(ring, 0, DENIED)
    found = ring.take(0.0)
    assert isinstance(found, Resting)
    assert found.reason == "key 1 of 1 rests: refused by the provider"


def test_a_last_resort_takes_the_limited_key_that_rests_the_shortest() -> None:
    ring = ring_of(4)
    for index, failure in enumerate([limited(9.0), limited(5.0), DENIED, limited(7.0)]):
        hurt(ring, index, failure)
    assert isinstance(ring.take(0.0), Resting)
    assert taken(ring, last_resort=True).index == 1


def test_a_last_resort_prefers_a_free_key() -> None:
    ring = ring_of(2)
    hurt(ring, 0, limited(5.0))
    assert taken(ring, last_resort=True).index == 1


@pytest.mark.parametrize("failure", [DENIED, SPENT])
def test_a_last_resort_is_no_use_with_refused_or_spent_keys(failure: Failure) -> None:
    ring = ring_of(1)
    hurt(ring, 0, failure)
    assert isinstance(ring.take(0.0, last_resort=True), Resting)


# --- reloads and what people see ------------------------------------------------------------------


def test_a_reload_frees_refused_and_spent_keys_but_no_limited_one() -> None:
    ring = ring_of(3)
    for index, failure in enumerate([DENIED, SPENT, limited(40.0)]):
        hurt(ring, index, failure)
    ring.forgive()
    assert [each.until for each in ring.snapshot(0.0)] == [None, None, 40.0]


def test_a_ring_knows_whether_it_holds_these_keys() -> None:
    ring = ring_of(2)
    assert ring.holds([Secret("planted-1"), Secret("planted-2")])
    assert not ring.holds([Secret("planted-2"), Secret("planted-1")])
    assert not ring.holds([Secret("planted-1")])
    assert not ring.holds([])
    assert ring_of(0).holds([])


def test_no_output_shows_a_key() -> None:
    ring = ring_of(3)
    shown = [repr(taken(ring)), f"{taken(ring)}"]
    for index in range(3):
        hurt(ring, index, DENIED)
        shown += [repr(ring.snapshot(0.0)), repr(ring.take(0.0)), repr(ring.resting(0.0))]
    assert "planted" not in " ".join(shown)


# --- properties -----------------------------------------------------------------------------------

FAILURES = st.one_of(
    st.builds(limited, st.one_of(st.none(), st.floats(0, 1e5))),
    st.sampled_from([DENIED, SPENT, Failure("upstream", "x", status=500)]),
)
STEPS = st.lists(
    st.tuples(st.floats(0, 100), st.one_of(st.none(), FAILURES), st.booleans()), max_size=60
)


@given(st.integers(0, 5), STEPS)
def test_a_resting_key_is_never_given_while_another_is_free(count: int, steps: list) -> None:
    ring, now = ring_of(count), 0.0
    for passed, failure, last_resort in steps:
        now += passed
        resting = [each.until is not None for each in ring.snapshot(now)]
        found = ring.take(now, last_resort=last_resort)
        assert (ring.resting(now) is None) is not all(resting)
        if isinstance(found, Resting):
            assert all(resting)
            assert found.until == min(each.until for each in ring.snapshot(now))
            continue
        assert not resting[found.index] or (last_resort and all(resting))
        if failure is None:
            ring.answered(found)
        else:
            ring.failed(found, outcome(failure), now)


@given(st.integers(1, 5), STEPS)
def test_every_rest_ends(count: int, steps: list) -> None:
    ring, now = ring_of(count), 0.0
    for passed, failure, _ in steps:
        now += passed
        found = ring.take(now)
        if isinstance(found, Taken) and failure is not None:
            ring.failed(found, outcome(failure), now)
    assert [each.until for each in ring.snapshot(now + 3600.0)] == [None] * count


@given(st.integers(1, 6), st.sets(st.integers(0, 5)), st.integers(1, 4))
def test_free_keys_get_equal_shares(count: int, resting: set[int], rounds: int) -> None:
    ring = ring_of(count)
    free = set(range(count)) - resting
    for index in resting & set(range(count)):
        hurt(ring, index, DENIED)
    given_ = order(ring, rounds * len(free))
    assert {index: given_.count(index) for index in set(given_)} == dict.fromkeys(free, rounds)
