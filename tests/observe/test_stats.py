"""Lines of logs, ours and the original's, and their totals."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmrouterd.observe.shapes import as_text
from llmrouterd.observe.stats import BY, GROUPS, OTHER, Summary, Totals, read_line
from tests.observe.test_metrics import DONE, FAILED

ORIGINAL = {  # the original's own example, with an answer
    "type": "complete",
    "id": 1,
    "ts_ms": 1781573328452,
    "provider": "ollama",
    "requested_model": "llama3",
    "sent_model": "llama3.1:8b",
    "duration_ms": 5978,
    "tags": ["code"],
    "trace_id": None,
    "plugins": [],
    "system": None,
    "messages": [{"role": "user", "content": [{"type": "text", "text": "hi"}]}],
    "response": {
        "id": "r",
        "model": "llama3.1:8b",
        "content": "ho",
        "stop_reason": "end_turn",
        "usage": {"input_tokens": 12, "output_tokens": 3},
        "tags": [],
    },
    "error": None,
}


def line(**members) -> str:
    return json.dumps(json.loads(as_text(DONE, bodies=False)) | members)


def summary(*lines: str | bytes, by: tuple[str, ...] = (), **span: float) -> Summary:
    made = Summary(by, **span)
    for each in lines:
        made.add(each)
    return made


def test_our_own_line_says_all_of_it() -> None:
    one = read_line(as_text(DONE, bodies=True))
    assert one is not None
    assert (one.provider, one.model, one.end, one.stream) == ("p", "m-1", "complete", True)
    assert (one.input, one.output, one.cached, one.cache_write, one.reasoning) == (30, 11, 20, 5, 4)
    assert (one.duration_ms, one.ttft_ms, one.cost_usd) == (1100, 100, 0.5)


def test_the_originals_line_says_what_it_has() -> None:
    one = read_line(json.dumps(ORIGINAL))
    assert one is not None
    assert (one.provider, one.model, one.tags, one.end) == (
        *("ollama", "llama3.1:8b", ("code",)),
        "complete",
    )
    assert (one.input, one.output, one.cost_usd, one.stream) == (12, 3, None, False)


def test_the_originals_error_is_one() -> None:
    one = read_line(json.dumps(ORIGINAL | {"response": None, "error": "no", "sent_model": ""}))
    assert one is not None
    assert (one.end, one.input, one.model) == ("failed", None, "llama3")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "null",
        "3",
        '"complete"',
        "{}",
        '{"ts_ms": "now"}',
        '{"ts_ms": true}',
        '{"ts_ms": 1, "duration_ms": -1}',
        '{"ts_ms": 1, "tags": 3}',
        '{"type": "start", "ts_ms": 1}',
        "[" * 100_000,
        b"\xff\xfe",
    ],
)
def test_what_is_no_record_is_none(text: str | bytes) -> None:
    assert read_line(text) is None


@given(st.binary() | st.text())
def test_no_line_is_an_exception(text: bytes | str) -> None:
    assert read_line(text) is None


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)


@given(st.dictionaries(st.sampled_from(sorted(json.loads(line()))), JSON))
def test_no_member_of_another_kind_is_an_exception(members: dict) -> None:
    summary(line(**members), by=tuple(BY)).total.figures()


def test_totals_of_a_few() -> None:
    total = summary(as_text(DONE), as_text(DONE), as_text(FAILED)).total
    assert (total.requests, total.errors, total.gone) == (3, 1, 0)
    assert (total.input, total.output, total.cached, total.reasoning) == (60, 22, 40, 8)
    assert (total.cost_usd, total.priced, total.unpriced) == (1.0, 2, 0)
    figures = total.figures()
    assert figures["duration_ms_p50"] == 1100
    assert figures["ttft_ms_p99"] == 100
    assert figures["tokens_per_s_p50"] == pytest.approx(10)


def test_a_client_that_went_away_is_no_error_and_has_no_duration() -> None:
    total = summary(line(end="client_gone", error="gone")).total
    assert (total.errors, total.gone, total.duration_ms.count) == (0, 1, 0)


def test_unknown_cost_is_told_as_unknown() -> None:
    total = summary(line(cost_usd=None)).total
    assert (total.figures()["cost_usd"], total.unpriced) == (None, 1)
    assert summary(line(cost_usd=0.0)).total.figures()["cost_usd"] == 0.0
    assert Totals().figures()["cost_usd"] is None


def test_estimated_tokens_have_no_speed() -> None:
    total = summary(line(usage_estimated=True)).total
    assert (total.estimated, total.tokens_per_s.count) == (1, 0)


def test_broken_lines_are_counted_and_empty_ones_are_not() -> None:
    made = summary(line(), "{", "\n", "", "[]", line())
    assert (made.total.requests, made.broken) == (2, 2)


def test_a_span_has_its_beginning_and_not_its_end() -> None:
    made = summary(*(line(ts_ms=ms) for ms in (1, 2, 3, 4)), since_ms=2, until_ms=4)
    assert (made.total.requests, made.outside) == (2, 2)
    assert (made.first_ms, made.last_ms) == (2, 3)


# --- groups ---------------------------------------------------------------------------------------


def names(made: Summary, kind: str) -> list[tuple[str, int]]:
    return [(name, totals.requests) for name, totals in made.sorted(kind)]


def test_the_largest_group_comes_first() -> None:
    lines = [line(provider=name) for name in ("a", "b", "b", "c")]
    assert names(summary(*lines, by=("provider",)), "provider") == [("b", 2), ("a", 1), ("c", 1)]


def test_a_request_with_two_tags_is_in_both_groups_and_once_in_all() -> None:
    made = summary(line(tags=["x", "y", "x"]), line(tags=[]), by=("tag",))
    assert names(made, "tag") == [("", 1), ("x", 1), ("y", 1)]
    assert made.total.requests == 2


def test_days_are_in_their_order_and_begin_at_midnight_utc() -> None:
    day = 86_400_000
    made = summary(*(line(ts_ms=ms) for ms in (day, day - 1, day + 1)), by=("day",))
    assert names(made, "day") == [("1970-01-01", 1), ("1970-01-02", 2)]


def test_a_day_beyond_the_calendar_is_no_day() -> None:
    assert names(summary(line(ts_ms=10**18), by=("day",)), "day") == [("", 1)]


def test_groups_are_bounded() -> None:
    made = summary(*(line(client=f"c{n}") for n in range(GROUPS + 5)), by=("client",))
    groups = dict(names(made, "client"))
    assert len(groups) == GROUPS + 1
    assert groups[OTHER] == 5
