"""llmrouterd/detect/span.py"""

from llmrouterd.detect.span import Span, merged

TEXT = "0123456789"
RANK = {"key": 0, "mail": 1}


def span(start: int, end: int, kind: str = "mail", form: str = "") -> Span:
    return Span(start, end, kind, TEXT[start:end], form)


def test_a_span_does_not_show_its_value() -> None:
    assert "345" not in repr(span(3, 6))
    assert "mail" in repr(span(3, 6))


def test_spans_that_are_apart_stay_in_the_order_of_the_text() -> None:
    assert merged(TEXT, [span(5, 7), span(0, 2), span(2, 4)], RANK) == [
        span(0, 2),
        span(2, 4),
        span(5, 7),
    ]


def test_of_two_that_overlap_one_is_made_over_both() -> None:
    found = merged(TEXT, [span(1, 5), span(3, 8, "key", "k")], RANK)
    assert found == [Span(1, 8, "key", "1234567", "k")]


def test_three_in_a_chain_become_one() -> None:
    assert merged(TEXT, [span(0, 3), span(2, 5), span(4, 9)], RANK) == [span(0, 9)]


def test_the_kind_that_ranks_lower_wins_wherever_it_stands() -> None:
    assert merged(TEXT, [span(0, 9), span(3, 4, "key")], RANK)[0].kind == "key"
    assert merged(TEXT, [span(0, 9, "key"), span(3, 4)], RANK)[0].kind == "key"
