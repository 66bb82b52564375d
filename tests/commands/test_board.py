"""Events in, state out."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from llmrouterd.commands import board as module
from llmrouterd.commands.board import ENDED_KEPT, RUNNING_KEPT, WORDY_KEPT, Asked, Board, Try

JSON = Any


def told(board: Board, kind: str, id_: int = 1, /, **members: JSON) -> Asked:
    asked = board.apply({**members, "type": kind, "id": id_, "ts_ms": 1000})
    assert asked is not None
    return asked


def test_a_request_goes_through_its_phases() -> None:
    board = Board()
    asked = told(board, "start", model="gpt-4o", in_flight=1)
    assert (asked.phase, asked.model, asked.provider) == ("started", "gpt-4o", "")
    told(board, "classified", tags=["code", "de"])
    assert (asked.phase, asked.tags) == ("classified", ("code", "de"))
    told(board, "routed", provider="a", model="m")
    assert (asked.phase, asked.provider, asked.sent) == ("routed", "a", "m")
    told(board, "queued", provider="a", model="m", position=2, estimate_ms=4000)
    assert (asked.phase, asked.position, asked.estimate_ms) == ("queued", 2, 4000)
    told(board, "attempt_failed", provider="a", model="m", kind="k", error="e", duration_ms=3)
    assert asked.tries == [Try(1000, "a", "m", "k", "e", 3)]
    told(board, "routed", provider="b", model="n")
    assert (asked.phase, asked.position) == ("routed", None)
    told(board, "first_token", ttft_ms=70)
    assert (asked.phase, asked.ttft_ms) == ("streaming", 70)
    told(board, "progress", pieces=10, bytes=100, writing_ms=500)
    assert (asked.pieces, asked.rate) == (10, 20.0)
    assert list(board.running.values()) == [asked]
    end = {"provider": "b", "sent_model": "n", "requested_model": "gpt-4o", "end": "complete"}
    end |= {"duration_ms": 1070, "ttft_ms": 70, "input_tokens": 8, "output_tokens": 30}
    assert told(board, "complete", **end, stream=True, cost_usd=0.5) is asked
    assert not board.running
    assert list(board.ended) == [asked]
    assert (asked.ended, asked.failed, asked.went_wrong) == (True, False, True)
    assert (asked.input_tokens, asked.output_tokens, asked.cost_usd) == (8, 30, 0.5)
    assert asked.tokens_per_s == 30.0


def test_the_four_events_of_the_original_are_enough() -> None:
    board = Board()
    told(board, "start", model="m", in_flight=1)
    told(board, "classified", tags=[])
    told(board, "routed", provider="ollama", model="m")
    usage = {"input_tokens": 3, "output_tokens": 4}
    response = {"id": "x", "content": "hi", "usage": usage}
    asked = told(
        board,
        "complete",
        provider="ollama",
        duration_ms=5,
        response=response,
        messages=[{}],
        error=None,
    )
    assert (asked.how, asked.failed) == ("complete", False)
    assert (asked.input_tokens, asked.output_tokens) == (3, 4)
    assert asked.words == {"system": None, "messages": [{}], "response": response}
    failed = told(board, "complete", 2, error="no provider")
    assert failed.failed


def test_a_reader_that_comes_in_the_middle_knows_what_runs() -> None:
    board = Board()
    told(board, "start", 7, model="gone")
    start = {"type": "start", "id": 1, "ts_ms": 5, "model": "m"}
    routed = {"type": "routed", "id": 1, "ts_ms": 6, "provider": "a", "model": "m"}
    assert board.apply({"type": "snapshot", "requests": [[start, routed], "x", [3]]}) is None
    assert [each.id for each in board.running.values()] == [1]
    failed = {"type": "attempt_failed", "id": 1, "ts_ms": 7, "provider": "a"}
    board.apply(failed)
    board.apply(failed)  # as a replay tells it once more
    assert len(board.running[1].tries) == 1
    board.apply(start)  # a replay from the very beginning
    assert board.running[1].tries == []


def test_another_feed_is_another_process_with_other_requests() -> None:
    board = Board()
    board.apply({"type": "hello", "feed": 1, "now_ms": 400}, now_ms=1000)
    assert board.skew_ms == 600
    told(board, "start", model="m")
    board.apply({"type": "hello", "feed": 1})
    assert board.running
    board.apply({"type": "hello", "feed": 2})
    assert not board.running
    board.apply({"type": "lost", "count": 3})
    assert board.lost == 3


def test_all_that_is_kept_is_bounded() -> None:
    board = Board()
    for n in range(RUNNING_KEPT + 100):
        told(board, "start", n, model="m")
    assert len(board.running) <= RUNNING_KEPT
    for n in range(ENDED_KEPT + 100):
        told(board, "complete", n, messages=[{"role": "user"}], error="e" * 10_000)
    assert len(board.ended) == ENDED_KEPT
    assert sum(1 for each in board.ended if each.words is not None) == WORDY_KEPT
    assert len(board.ended[-1].end["error"]) == module._TEXT_KEPT
    asked = told(board, "start", 1, model="m" * 10_000)
    assert len(asked.model) == module._TEXT_KEPT
    for n in range(100):
        told(board, "attempt_failed", 1, error=f"{n}")
    assert len(asked.tries) == module._TRIES_KEPT
    assert asked.tries[-1].error == "99"


def test_an_event_of_an_unknown_type_is_passed_over() -> None:
    board = Board()
    assert board.apply({"type": "provider", "id": 1}) is None
    assert board.apply({"type": "start"}) is None
    assert board.apply({}) is None
    assert not board.running


JSONS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda each: (
        st.lists(each, max_size=3) | st.dictionaries(st.text(max_size=5), each, max_size=3)
    ),
    max_leaves=5,
)
TYPES = ["start", "classified", "routed", "queued", "first_token", "progress", "attempt_failed"]
TYPES += ["complete", "hello", "lost", "snapshot"]
NAMES = [
    "ts_ms",
    "model",
    "tags",
    "provider",
    "position",
    "pieces",
    "writing_ms",
    "requests",
    "end",
]
NAMES += [
    "response",
    "messages",
    "duration_ms",
    "ttft_ms",
    "attempts",
    "usage",
    "cost_usd",
    "count",
]


@given(st.lists(st.tuples(st.sampled_from(TYPES), st.dictionaries(st.sampled_from(NAMES), JSONS))))
def test_no_event_is_too_strange(events: list[tuple[str, dict[str, JSON]]]) -> None:
    board = Board()
    for kind, members in events:
        asked = board.apply({"id": 1, **members, "type": kind})
        if asked is not None:
            assert isinstance(asked.model, str)
            assert all(isinstance(each, str) for each in asked.named("tag"))
            assert asked.tokens_per_s is None or asked.tokens_per_s > 0
