"""Each difference is seen alone: a judge who lets something pass would make the matrix worthless."""

from dataclasses import replace

import pytest

from llmrouterd.selftest.faults import (
    BAD,
    WORDS,
    Expected,
    breaks,
    stops,
    walks,
)
from llmrouterd.selftest.judge import Place, Seen, differences

ALONE = Place("openai", "up", "cut")
LEFT = Place("openai", "up", "cut", "second")
GOOD = Seen(
    status=200,
    text=WORDS,
    stopped=True,
    provider="up",
    attempts="1",
    end="complete",
    output_tokens=7,
)
TRIED = ("up/cut: truncated: it was cut",)
WALKED = replace(GOOD, provider="second", attempts="2", tried=TRIED)
BROKEN = Seen(
    status=200,
    text="These",
    failed="it was cut",
    provider="up",
    attempts="1",
    end="truncated",
    fault="upstream",
    error_kind="truncated",
)
REFUSED = Seen(
    status=502,
    failed="it was cut",
    provider="up",
    attempts="1",
    tag="truncated",
    retry_after="17",
    end="upstream_error",
    fault="upstream",
    error_kind="truncated",
    tried=TRIED,
)
CUT = walks("truncated", BAD, retry_s=17)
BREAKS = breaks("truncated", "truncated")
COMMON = [("status", 418), ("end", "stalled"), ("fault", "owner"), ("error_kind", "quota")]
CASES = [
    (Expected("passes"), ALONE, GOOD, [("text", ""), ("stopped", False), ("failed", "no")]),
    (Expected("passes"), ALONE, GOOD, [("provider", "x"), ("attempts", "2"), ("estimated", True)]),
    (Expected("passes"), ALONE, GOOD, [("output_tokens", None), ("calls", ("x",)), *COMMON]),
    (CUT, LEFT, WALKED, [("text", "x"), ("stopped", False), ("failed", "no"), *COMMON]),
    (CUT, LEFT, WALKED, [("provider", "up"), ("attempts", "1"), ("tried", ())]),
    (CUT, LEFT, WALKED, [("tried", ("up/cut: upstream: it broke",)), ("tried", (*TRIED, "x"))]),
    (BREAKS, ALONE, BROKEN, [("failed", None), ("stopped", True), ("attempts", "2"), *COMMON]),
    (BREAKS, LEFT, BROKEN, [("failed", None), ("stopped", True), ("attempts", "2"), *COMMON]),
    (CUT, ALONE, REFUSED, [("failed", None), ("failed", ""), ("text", "x"), *COMMON]),
    (CUT, ALONE, REFUSED, [("tag", ""), ("attempts", "2"), ("tried", ())]),
    (CUT, ALONE, REFUSED, [("retry_after", ""), ("retry_after", "1"), ("retry_after", "60")]),
]


@pytest.mark.parametrize(("expected", "place", "seen", "spoilt"), CASES)
def test_every_difference_is_named_and_nothing_else(expected, place, seen, spoilt):
    assert differences(expected, place, seen) == []
    for name, value in spoilt:
        assert differences(expected, place, replace(seen, **{name: value})), name


def test_what_could_not_be_read_is_all_that_is_said():
    assert differences(CUT, ALONE, Seen(trouble="it cannot be read")) == ["it cannot be read"]


def test_a_clients_mistake_ends_the_walk_though_another_one_is_left():
    seen = replace(REFUSED, status=400, end="refused", fault="client", tag="bad_request")
    seen = replace(seen, error_kind="bad_request", tried=("up/cut: bad_request: no",))
    assert differences(stops("bad_request", 400), LEFT, seen) == []
    assert differences(stops("bad_request", 400), LEFT, WALKED)


def test_anthropics_clients_have_a_status_of_their_own():
    place = replace(ALONE, client="anthropic")
    assert differences(CUT, place, replace(REFUSED, status=500)) == []
    assert differences(CUT, place, REFUSED) == ["status is 502, not 500"]


def test_a_date_that_is_a_little_old_is_right():
    expected = walks("truncated", BAD, retry_s=3600)
    assert differences(expected, ALONE, replace(REFUSED, retry_after="3599")) == []
    assert differences(expected, ALONE, replace(REFUSED, retry_after="300"))
