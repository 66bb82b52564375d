"""Figures in few characters."""

import pytest

from llmrouterd.commands import words
from llmrouterd.commands.board import Asked, Board


@pytest.mark.parametrize(
    ("ms", "text"),
    [
        (None, "-"),
        (0, "0ms"),
        (999, "999ms"),
        (1000, "1.0s"),
        (59_900, "59.9s"),
        (59_990, "1m00s"),
        (3_599_000, "59m59s"),
        (7_260_000, "2h01m"),
        (-5, "0ms"),
    ],
)
def test_durations(ms: float | None, text: str) -> None:
    assert words.duration(ms) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "-"), (0, "0"), (9999, "9999"), (12_345, "12.3k"), (123_456, "123k"), (5e6, "5.0M")],
)
def test_counts(value: float | None, text: str) -> None:
    assert words.count(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "-"), (0.0, "$0"), (0.00001, "<$0.0001"), (0.0123, "$0.0123"), (12.5, "$12.50")],
)
def test_costs(value: float | None, text: str) -> None:
    assert words.cost(value) == text


def test_rates() -> None:
    assert [words.rate(each) for each in (None, 5.25, 250.0)] == ["-", "5.2/s", "250/s"]


def test_a_clock_that_cannot_be_is_no_crash() -> None:
    assert words.clock(10**20) == "--:--:--"
    assert len(words.clock(1_781_573_328_452)) == 8


def ended(**members: object) -> Asked:
    asked = Board().apply({"type": "complete", "id": 1, **members})
    assert asked is not None
    return asked


def test_tokens_say_when_they_are_estimated() -> None:
    assert words.tokens(Asked(1, 0)) == "-"
    assert words.tokens(ended(input_tokens=5)) == "5\u2192-"
    assert (
        words.tokens(ended(input_tokens=5, output_tokens=7, usage_estimated=True))
        == "\u22485\u21927"
    )


def test_how_and_why_a_request_ended() -> None:
    failed = ended(
        end="upstream_error", error="boom\x1b[2J", error_kind="upstream", fault="upstream"
    )
    assert (words.how(failed), words.style(failed)) == ("failed", "bad")
    assert words.reason(failed) == "upstream: boom\ufffd[2J (fault of the provider)"
    gone = ended(end="client_gone")
    assert (words.how(gone), words.style(gone), words.reason(gone)) == ("client left", "warn", "")
    assert words.how(ended(end="some\x07thing new")) == "some\ufffdthing new"
    assert words.style(Asked(1, 0, phase="queued")) == "warn"


def test_a_place_is_provider_and_model() -> None:
    assert words.place("a", "m") == "a/m"
    assert words.place("", "m") == "m"
    assert words.place("", "") == "-"
