"""Figures over requests that have ended."""

from llmrouterd.commands.board import Board
from llmrouterd.commands.figures import NAMES, REST, SAMPLES, mean, percentile


def ended(board: Board, number: int, **members: object) -> None:
    usual = {"type": "complete", "id": number, "ts_ms": 5000, "provider": "a", "end": "complete"}
    usual |= {"duration_ms": 100, "ttft_ms": 50, "input_tokens": 10, "output_tokens": 5}
    board.apply(usual | {"stream": True} | members)


def test_requests_are_counted_by_how_they_ended() -> None:
    board = Board()
    ended(board, 1, cost_usd=0.25, tags=["x", "y"])
    ended(board, 2, end="upstream_error", provider="b", duration_ms=9000)
    ended(board, 3, end="client_gone", output_tokens=None)
    total = board.figures.total
    assert (total.requests, total.answered, total.failed) == (3, 1, 1)
    assert (total.input_tokens, total.output_tokens) == (30, 10)
    assert total.cost_usd == 0.25
    assert list(total.took_ms) == [100]  # how fast failures are says nothing
    assert list(total.rates) == [100.0]
    assert total.last_ok_ms == 5000
    assert set(board.figures.by_provider) == {"a", "b"}
    assert set(board.figures.by_tag) == {"x", "y"}


def test_a_cost_that_nobody_told_is_unknown() -> None:
    board = Board()
    ended(board, 1)
    assert board.figures.total.cost_usd is None


def test_failed_tries_count_against_who_failed() -> None:
    board = Board()
    board.apply({"type": "start", "id": 1, "ts_ms": 1, "model": "m"})
    board.apply(
        {"type": "attempt_failed", "id": 1, "ts_ms": 2, "provider": "b", "kind": "upstream"}
    )
    ended(board, 1)
    assert board.figures.by_provider["b"].failed_tries == 1
    assert board.figures.total.failed_tries == 1
    assert board.figures.total.failed == 0


def test_names_and_samples_are_bounded() -> None:
    board = Board()
    for n in range(NAMES + 50):
        ended(board, n, provider=f"p{n}")
    assert len(board.figures.by_provider) == NAMES + 1
    assert board.figures.by_provider[REST].requests == 50
    for n in range(SAMPLES):
        ended(board, n, duration_ms=n)
    assert len(board.figures.total.took_ms) == SAMPLES


def test_mean_and_percentiles() -> None:
    assert mean([]) is percentile([], 0.5) is None
    assert mean([1, 2, 6]) == 3
    values = list(range(1, 101))
    assert [percentile(values, share) for share in (0.5, 0.95, 0.99, 1.0)] == [51, 96, 100, 100]
    assert percentile([7], 0.99) == 7
