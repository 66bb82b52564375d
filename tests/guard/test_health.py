"""Which failure counts against whom, and what routing is shown of it."""

import pytest

from formats.errors import Failure
from llmrouterd.guard.health import Health, against
from llmrouterd.model import Candidate, Provider, ProviderState

HERE = Candidate("p", "m", "r")
STATES = {name: ProviderState(Provider(name, "openai")) for name in ("p", "q")}


def failed(health, *kinds, now=0.0, candidate=HERE, **more):
    for kind in kinds:
        health.failed(candidate, Failure(kind, "words", **more), now, jitter=0.5)


def shown(health, now=0.0):
    return health.shown(STATES, now)["p"]


@pytest.mark.parametrize(
    ("kind", "whom"),
    [
        ("upstream", "provider"),
        ("timeout", "provider"),
        ("truncated", "provider"),
        ("overloaded", "provider"),
        ("credential", "key"),
        ("model_not_found", "model"),
        ("rate_limit", "pace"),
        ("quota", "pace"),
        ("queue_full", "router"),
        ("queue_timeout", "router"),
        ("over_budget", "router"),
        ("bad_request", "nobody"),
        ("refused_by_upstream", "nobody"),
        ("context_too_long", "nobody"),
        ("unsupported", "nobody"),
    ],
)
def test_whom_a_failure_speaks_against(kind, whom):
    assert against(Failure(kind, "x", 418)) == whom


def test_a_credential_that_was_kept_back_speaks_against_nobody():
    """Nobody was asked. When all keys of a provider rest, it says until when."""
    assert against(Failure("credential", "x")) == "nobody"
    assert against(Failure("credential", "x", retry_after_s=9)) == "key"


def test_nothing_wrong_shows_the_states_as_they_are():
    health = Health()
    assert health.spotless
    assert health.shown(STATES, 0) is STATES


def test_three_failures_in_a_row_and_the_provider_is_left_alone():
    health = Health()
    failed(health, "upstream", "timeout")
    assert shown(health).healthy
    failed(health, "truncated")
    state = shown(health)
    assert not state.healthy
    assert state.why == "3 failures in a row, the last truncated: words (tried again in 2 s)"
    assert state.back_s == 2.0
    assert health.shown(STATES, 0)["q"].healthy
    assert shown(health, 2.0).healthy


def test_what_is_the_clients_mistake_shows_that_the_server_is_there():
    """llama.cpp answers some of them with 500."""
    health = Health()
    failed(health, "upstream", "upstream")
    failed(health, "bad_request", status=500)
    failed(health, "upstream", "upstream")
    assert shown(health).healthy


def test_our_own_refusal_to_translate_says_nothing_of_the_server():
    health = Health()
    failed(health, "upstream", "upstream", "unsupported", "upstream")
    assert not shown(health).healthy


def test_a_model_that_is_not_there_is_its_own_affair():
    health = Health()
    failed(health, "model_not_found", status=404)
    state = shown(health)
    assert state.healthy
    assert state.models_out == {"m": "model_not_found: words"}
    assert shown(health, 31.0).models_out == {}


def test_a_refused_key_is_not_tried_again_soon():
    health = Health()
    failed(health, "credential", status=401)
    assert (shown(health).healthy, shown(health).back_s) == (False, 60.0)


def test_a_rate_limit_is_a_rest_for_as_long_as_was_asked():
    health = Health()
    failed(health, "rate_limit", status=429, retry_after_s=30.0)
    state = shown(health, 10.0)
    assert (state.healthy, state.resting, state.back_s) == (False, True, 20.0)
    assert state.why.startswith("it asked to be left alone for 20 s more (rate_limit: words")
    assert shown(health, 30.0).healthy
    assert health.spotless


def test_an_overloaded_server_that_names_a_time_gets_it():
    health = Health()
    failed(health, "overloaded", status=503, retry_after_s=7.0)
    assert (shown(health).resting, shown(health).back_s) == (True, 7.0)


def test_a_whole_answer_ends_rest_and_illness():
    health = Health()
    failed(health, "rate_limit", "upstream", "upstream", "upstream", "model_not_found")
    health.answered(HERE, 5.0)
    assert health.spotless


def test_one_request_at_a_time_tries_and_leaves_its_place():
    health = Health()
    failed(health, "upstream", "upstream", "upstream")
    tried = health.enters(HERE, 3.0)
    assert tried == ("p",)
    assert "being tried again" in shown(health, 3.0).why
    assert health.enters(HERE, 3.0) == ()
    health.left(tried)
    assert shown(health, 3.0).healthy


def test_a_server_that_answers_a_question_is_tried_at_once():
    health = Health()
    failed(health, "upstream", "upstream", "upstream", "upstream")
    health.reached("p", 0.5)
    assert shown(health, 0.5).healthy


def test_who_was_not_even_asked_is_neither_well_nor_ill() -> None:
    """A request that found the queue full must not take another one's trial away."""
    health = Health()
    failed(health, "upstream", "upstream", "upstream")
    later = shown(health).back_s + 1.0
    assert health.enters(HERE, later)
    assert not shown(health, later).healthy
    failed(health, "queue_full", now=later)
    assert not shown(health, later).healthy


def test_who_is_left_alone_at_the_moment_and_with_which_words():
    health = Health()
    assert health.out(HERE, 0) is None
    failed(health, "model_not_found", status=404)
    assert health.out(HERE, 1) == (
        "model_out",
        Failure("model_not_found", "model_not_found: words"),
    )
    assert health.out(Candidate("p", "another", "r"), 1) is None
    failed(health, "rate_limit", status=429, retry_after_s=9)
    code, failure = health.out(HERE, 2)
    assert (code, failure.kind, failure.retry_after_s) == ("rest", "rate_limit", 7)
    failed(health, *["upstream"] * 3)
    code, failure = health.out(HERE, 0.5)
    assert (code, failure.kind) == ("health", "overloaded")
    assert "3 failures in a row" in failure.message


def test_the_clients_own_time_speaks_against_nobody():
    health = Health()
    failed(health, *["timeout"] * 5, clock="request")
    assert health.spotless
    assert health.seen == {}


def test_one_that_is_never_left_alone_has_its_failures_counted_all_the_same():
    health = Health()
    health.failed(HERE, Failure("upstream", "x"), 0.0, jitter=0.5, threshold=0)
    assert health.spotless
    assert health.seen["p"].failing.value == 1.0


def test_a_probe_opens_the_way_for_a_request_then_for_all():
    health = Health()
    failed(health, *["upstream"] * 3)
    assert not health.breaker.admits("p", 0.5)
    health.probe_answered("p", 0.5)
    assert health.breaker.circuit("p").state(0.5) == "half_open"
    health.probe_answered("p", 0.6)
    assert health.breaker.circuit("p").state(0.6) == "closed"
    failed(health, "upstream", now=1.0)
    assert health.breaker.circuit("p").state(1.0) == "open"
