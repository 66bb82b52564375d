"""After an attempt: walk on, wait and retry, or give up, and with which words."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from formats.errors import STATUS, Failure
from llmrouterd.model import Candidate, GiveUp, Outcome, Step, Try, Verdict, Wait
from llmrouterd.route.plan import next_beside, next_step, walks_on

A, B, C = (Candidate(name, "m", "routers[0] fallback") for name in "abc")
RETRIES = {"a": 1, "b": 1, "c": 0}


def verdict(*candidates: Candidate) -> Verdict:
    return Verdict(candidates)


def failed(candidate: Candidate, failure: Failure, at: float = 100.0, **more) -> Outcome:
    return Outcome(candidate, failure, 0.1, at, **more)


def step(on: Verdict, *tried: Outcome, now=100.0, deadline=None, retries=RETRIES, jitter=0.5):
    return next_step(on, tried, now=now, deadline=deadline, retries=retries, jitter=jitter)


BUSY = Failure("overloaded", "busy", 503)
LIMITED = Failure("rate_limit", "slow down", 429)
BROKEN = Failure("upstream", "boom", 500)
RESET = Failure("upstream", "connection reset")
LATE = Failure("timeout", "no first token in 300 s", clock="first_token")
WRONG = Failure("bad_request", "messages[0].role: no", 400, type="invalid_request_error")


def test_the_first_candidate_is_tried_at_once() -> None:
    assert step(verdict(A, B)) == Try(A)


def test_without_candidates_there_is_nothing_to_try() -> None:
    answer = step(verdict())
    assert isinstance(answer, GiveUp)
    assert answer.failure.kind == "no_provider"


@pytest.mark.parametrize(
    "failure",
    [
        BUSY,
        LIMITED,
        BROKEN,
        RESET,
        LATE,
        Failure("upstream", "connection refused"),
        Failure("timeout", "too slow", 408),
        Failure("upstream", "too early", 425),
        Failure("bad_request", "called a client's fault", 502),
        Failure("overloaded", "overloaded", 529),
        Failure("quota", "no credit", 402),
        Failure("quota", "no credit", 429),
        Failure("model_not_found", "no such model", 404),
        Failure("context_too_long", "prompt is too long", 400),
        Failure("credential", "bad key", 401),
        Failure("credential", "not allowed", 403),
        Failure("truncated", "cut before the first token"),
        Failure("unsupported", "tools[0]: this format cannot carry it"),
        Failure("queue_full", "100 wait"),
        Failure("queue_timeout", "too late"),
        Failure("over_budget", "spent"),
    ],
)
def test_what_another_provider_could_cure_walks_on_at_once(failure: Failure) -> None:
    assert walks_on(failure)
    assert step(verdict(A, B), failed(A, failure)) == Try(B)


@pytest.mark.parametrize(
    "failure",
    [
        WRONG,
        Failure("bad_request", "no", None),
        Failure("unsupported", "no", 400),
        Failure("too_large", "no", 413),
        Failure("not_found", "no", 404),
        Failure("refused_by_upstream", "no", 400),
        Failure("unsupported_media", "no", 415),
        Failure("plugin", "plugin failed"),
        Failure("internal", "a bug"),
        Failure("draining", "going down"),
        Failure("forbidden", "not with this key", status=403),
    ],
)
def test_what_nobody_would_answer_differently_ends_the_walk_word_for_word(
    failure: Failure,
) -> None:
    assert not walks_on(failure)
    assert step(verdict(A, B), failed(A, failure)) == GiveUp(failure)
    assert step(verdict(A, B, C), failed(A, BUSY), failed(B, failure)) == GiveUp(failure)


@pytest.mark.parametrize("kind", ["bad_request", "refused_by_upstream"])
def test_a_clients_mistake_answered_with_500_ends_the_walk(kind: str) -> None:
    """llama.cpp answers so; a 500 of any other kind walks on, and so does such a word with a 502."""
    mistake = Failure(kind, "key 'function' not found", 500)  # type: ignore[arg-type]
    assert not walks_on(mistake)
    assert step(verdict(A, B), failed(A, mistake)) == GiveUp(mistake)
    assert step(verdict(A), failed(A, mistake)) == GiveUp(mistake)
    assert walks_on(Failure(kind, "bad gateway", 502))  # type: ignore[arg-type]
    assert walks_on(BROKEN)


def test_every_untried_candidate_comes_before_any_retry() -> None:
    assert step(verdict(A, B, C), failed(A, BUSY), failed(B, BUSY)) == Try(C)


@pytest.mark.parametrize(
    ("failure", "again"),
    [
        (BUSY, True),
        (LIMITED, True),
        (BROKEN, True),
        (RESET, True),
        (Failure("upstream", "bad gateway", 502), True),
        (Failure("overloaded", "overloaded", 529), True),
        (Failure("overloaded", "said so in its stream"), True),
        (Failure("truncated", "cut"), True),
        (Failure("upstream", "gateway timeout", 504), False),
        (Failure("timeout", "request timeout", 408), False),
        (LATE, False),
        (Failure("quota", "no credit", 429), False),
        (Failure("credential", "bad key", 401), False),
        (Failure("model_not_found", "no", 404), False),
        (Failure("context_too_long", "no", 400), False),
        (Failure("unsupported", "no"), False),
        (Failure("rate_limit", "tomorrow", 429, retry_after_s=3600), False),
        (Failure("rate_limit", "soon", 429, retry_after_s=10), True),
    ],
)
def test_what_is_worth_a_retry_when_nobody_else_is_left(failure: Failure, again: bool) -> None:
    answer = step(verdict(A), failed(A, failure))
    assert isinstance(answer, Wait if again else GiveUp)
    if isinstance(answer, Wait):
        assert answer.candidate == A


def test_a_connection_that_never_came_about_is_not_retried() -> None:
    refused = Failure("upstream", "connection refused")
    assert step(verdict(A), failed(A, refused, connected=False)) == GiveUp(refused)


@pytest.mark.parametrize("retries", [{}, {"a": 0}, {"b": 5}])
def test_no_retry_without_a_right_to_one(retries: dict[str, int]) -> None:
    assert step(verdict(A), failed(A, BUSY), retries=retries) == GiveUp(BUSY)


@pytest.mark.parametrize(
    ("jitter", "pauses"), [(0.0, [0.375, 0.75, 1.5]), (0.5, [0.5, 1, 2]), (1.0, [0.625, 1.25, 2.5])]
)
def test_pauses_double_and_jitter_spreads_them(jitter: float, pauses: list[float]) -> None:
    tried: list[Outcome] = []
    seen = []
    for _ in pauses:
        tried.append(failed(A, BUSY))
        answer = step(verdict(A), *tried, retries={"a": 9}, jitter=jitter)
        assert isinstance(answer, Wait)
        seen.append(answer.seconds)
    assert seen == pytest.approx(pauses)


def test_a_pause_is_never_shorter_than_the_upstream_asked() -> None:
    limited = Failure("rate_limit", "slow down", 429, retry_after_s=7)
    assert step(verdict(A), failed(A, limited)) == Wait(7, A)
    short = Failure("rate_limit", "slow down", 429, retry_after_s=0.1)
    assert step(verdict(A), failed(A, short)) == Wait(0.5, A)


def test_the_pause_counts_from_when_the_attempt_ended() -> None:
    assert step(verdict(A), failed(A, BUSY, at=99.8)) == Wait(pytest.approx(0.3), A)
    assert step(verdict(A), failed(A, BUSY, at=99.0)) == Try(A)
    assert step(verdict(A), Outcome(A, BUSY)) == Wait(0.5, A)


def test_the_place_that_is_due_first_is_retried_first() -> None:
    soon = Failure("rate_limit", "x", 429, retry_after_s=1)
    later = Failure("rate_limit", "x", 429, retry_after_s=5)
    assert step(verdict(A, B), failed(A, later), failed(B, soon)) == Wait(1, B)
    assert step(verdict(A, B), failed(A, soon), failed(B, soon)) == Wait(1, A)


def test_each_place_has_its_own_retries() -> None:
    tried = [failed(A, BUSY), failed(B, BUSY), failed(A, BUSY)]
    assert step(verdict(A, B), *tried) == Wait(0.5, B)
    answer = step(verdict(A, B), *tried, failed(B, BUSY))
    assert isinstance(answer, GiveUp)


def test_a_retry_that_would_come_after_the_deadline_is_not_waited_for() -> None:
    assert step(verdict(A), failed(A, BUSY), deadline=100.4) == GiveUp(BUSY)
    assert step(verdict(A), failed(A, BUSY), deadline=101.0) == Wait(0.5, A)


def test_after_the_deadline_nothing_is_tried() -> None:
    left = GiveUp(replace(BUSY, message="busy (not asked: b/m: no time was left)"))
    assert step(verdict(A, B), failed(A, BUSY), deadline=100.0) == left
    assert step(verdict(A), failed(A, BUSY), deadline=100.0) == GiveUp(BUSY)
    answer = step(verdict(A), deadline=99.0)
    assert isinstance(answer, GiveUp)
    assert (answer.failure.kind, answer.failure.clock) == ("timeout", "request")


# --- what the client is told ----------------------------------------------------------------------


def told(*tried: Outcome) -> Failure:
    places = dict.fromkeys(o.candidate for o in tried)
    answer = step(verdict(*places), *tried, retries={})
    assert isinstance(answer, GiveUp)
    return answer.failure


def test_a_single_failure_is_passed_on_as_it_is() -> None:
    native = {"error": {"message": "boom", "odd": 1}}
    failure = Failure("upstream", "boom", 500, type="server_error", code="x", native=native)
    assert told(failed(A, failure)) == failure


def test_the_status_of_an_upstreams_own_refusal_is_kept() -> None:
    assert told(failed(A, WRONG)).status == 400
    assert told(failed(A, LIMITED)).status == 429


def test_an_upstreams_word_on_our_credential_is_not_one_on_the_clients() -> None:
    bad = Failure(
        "credential", "bad key", 401, "authentication_error", "invalid_api_key", native={}
    )
    assert told(failed(A, bad)) == Failure("credential", "bad key")


def test_with_several_failures_each_place_and_reason_is_listed() -> None:
    failure = told(failed(A, Failure("upstream", "connection refused")), failed(B, LIMITED))
    assert failure.kind == "rate_limit"
    assert failure.status == 429
    assert failure.native is None
    assert failure.message == (
        "slow down (all 2 candidates failed: a/m: connection refused; b/m: slow down)"
    )


def test_long_reasons_are_shortened_in_the_list_but_not_the_most_telling_one() -> None:
    long = Failure("upstream", "x" * 5000, 500)
    failure = told(failed(A, long), failed(B, LATE))
    assert failure.message.startswith(LATE.message)
    assert len(failure.message) < 600


@pytest.mark.parametrize(
    ("failures", "kind"),
    [
        ([BROKEN, LIMITED], "rate_limit"),
        ([Failure("context_too_long", "x", 400), LIMITED], "rate_limit"),
        ([Failure("quota", "x", 429), LIMITED], "rate_limit"),
        ([Failure("context_too_long", "x", 400), BUSY], "context_too_long"),
        ([LATE, BUSY], "overloaded"),
        ([RESET, LATE], "timeout"),
        ([Failure("credential", "x", 401), RESET], "upstream"),
        ([Failure("model_not_found", "x", 404), Failure("credential", "x", 401)], "credential"),
        ([Failure("unsupported", "x"), Failure("model_not_found", "x", 404)], "model_not_found"),
        ([Failure("unsupported", "x"), Failure("unsupported", "y")], "unsupported"),
    ],
)
def test_the_most_telling_failure_is_told(failures: list[Failure], kind: str) -> None:
    for order in (failures, failures[::-1]):
        assert told(failed(A, order[0]), failed(B, order[1])).kind == kind


def test_of_several_limits_the_shortest_wait_is_told() -> None:
    waits = [Failure("rate_limit", "x", 429, retry_after_s=s) for s in (60, 20, None)]
    tried = [failed(c, f) for c, f in zip((A, B, C), waits, strict=True)]
    assert told(*tried).retry_after_s == 20


def test_after_retries_at_one_place_its_last_failure_is_told_alone() -> None:
    answer = step(verdict(A), failed(A, BUSY), failed(A, BROKEN))
    assert answer == GiveUp(BROKEN)


FAILURES = st.builds(
    Failure,
    kind=st.sampled_from(sorted(STATUS)),
    message=st.just("why"),
    status=st.none() | st.sampled_from([400, 401, 408, 425, 429, 500, 503, 504, 529]),
    retry_after_s=st.none() | st.floats(0, 100),
)


@given(
    st.lists(st.sampled_from([A, B, C]), unique=True),
    st.lists(st.tuples(FAILURES, st.booleans()), min_size=1, max_size=20),
    st.dictionaries(st.sampled_from("abc"), st.integers(0, 3)),
    st.floats(0, 1),
    st.none() | st.floats(0, 60),
)
def test_every_walk_ends_within_its_bound(candidates, script, retries, jitter, total) -> None:
    on, now, tried = verdict(*candidates), 50.0, []
    deadline = None if total is None else now + total
    bound = sum(1 + retries.get(c.provider, 0) for c in candidates)
    asked = 0
    while True:
        asked += 1
        assert asked <= 2 * bound + 1
        answer = next_step(on, tried, now=now, deadline=deadline, retries=retries, jitter=jitter)
        if isinstance(answer, GiveUp):
            assert answer.failure.message
            return
        assert answer.candidate in candidates
        if isinstance(answer, Wait):
            assert 0 < answer.seconds <= 12.5
            now += answer.seconds
            continue
        failure, connected = script[len(tried) % len(script)]
        now += 0.01
        tried.append(Outcome(answer.candidate, failure, 0.01, now, connected))
        assert len(tried) <= bound


# --- who was passed over --------------------------------------------------------------------------


def skip(name: str, reason: str, code: str = "health") -> Step:
    return Step("routers[0] fallback", "skipped", reason, name, "m", code)


def in_sum(*tried: Outcome, trace: tuple[Step, ...] = (), candidates=(A,)) -> str:
    answer = step(Verdict(candidates, trace), *tried, retries={})
    assert isinstance(answer, GiveUp)
    return answer.failure.message


def test_who_was_not_asked_is_named_with_its_reason() -> None:
    trace = (skip("b", "unhealthy: it broke"), skip("c", "the model lacks 'tools'"))
    said = "busy (not asked: b/m: unhealthy: it broke; c/m: the model lacks 'tools')"
    assert in_sum(failed(A, BUSY), trace=trace) == said


def test_who_was_asked_after_all_or_listed_twice_is_not_among_them() -> None:
    trace = (skip("a", "already listed before", "repeated"), skip("b", "x"), skip("b", "y"))
    trace += (skip("d", "serves only models asked for by name", "on_demand"),)
    assert in_sum(failed(A, BUSY), trace=trace) == "busy (not asked: b/m: y)"


def test_one_that_was_passed_over_on_the_way_is_not_the_most_telling() -> None:
    out = Failure("overloaded", "unhealthy: 3 failures in a row", retry_after_s=9)
    tried = (failed(A, BROKEN), failed(B, out, asked=False))
    answer = step(verdict(A, B), *tried, retries={})
    assert isinstance(answer, GiveUp)
    assert (answer.failure.kind, answer.failure.status) == ("upstream", 500)
    assert answer.failure.message == "boom (not asked: b/m: unhealthy: 3 failures in a row)"
    only = step(verdict(B), tried[1], retries={})
    assert isinstance(only, GiveUp)
    assert (only.failure.kind, only.failure.retry_after_s) == ("overloaded", 9)


def test_the_list_of_those_is_bounded() -> None:
    trace = tuple(skip(f"p{n}", "x" * 999) for n in range(50))
    said = in_sum(failed(A, BUSY), trace=trace)
    assert said.endswith("and 44 more)")
    assert len(said) < 2000


# --- beside one that is silent --------------------------------------------------------------------


def test_beside_a_silent_one_the_next_in_order_is_asked_that_nobody_has_tried() -> None:
    on = verdict(A, B, C)
    assert next_beside(on, [], [A]) == B
    assert next_beside(on, [failed(B, BUSY)], [A]) == C
    assert next_beside(on, [failed(A, BUSY)], [B]) == C
    assert next_beside(on, [failed(A, BUSY), failed(C, BUSY)], [B]) is None
    assert next_beside(verdict(A), [], [A]) is None


def test_an_answer_that_is_not_the_last_word_walks_on_and_is_not_asked_for_again() -> None:
    tagged = Failure("tagged", "its answer was tagged refusal")
    assert step(verdict(A, B), failed(A, tagged)) == Try(B)
    assert isinstance(step(verdict(A), failed(A, tagged), retries={"a": 5}), GiveUp)
