"""What real usage teaches the estimate."""

import pytest

from formats.canonical import Usage
from llmrouterd.model import Candidate
from llmrouterd.pipeline.calibrate import Calibration

PLACE = Candidate("p", "m", "r")


def test_nothing_is_known_at_first() -> None:
    assert Calibration().factor(PLACE) == 1.0
    assert Calibration().factor(None) == 1.0


def test_the_first_figure_counts_whole_and_the_next_ones_a_fifth() -> None:
    learned = Calibration()
    learned.learn(PLACE, 100, Usage(input=150))
    assert learned.factor(PLACE) == 1.5
    learned.learn(PLACE, 100, Usage(input=100))
    assert learned.factor(PLACE) == pytest.approx(1.4)
    assert learned.factor(Candidate("p", "other", "r")) == 1.0


@pytest.mark.parametrize(("real", "factor"), [(10_000, 2.0), (60, 0.5)])
def test_what_no_tokenizer_does_is_bounded(real: int, factor: float) -> None:
    learned = Calibration()
    learned.learn(PLACE, 1000, Usage(input=real))
    assert learned.factor(PLACE) == factor


@pytest.mark.parametrize("usage", [None, Usage(), Usage(output=5), Usage(input=10)])
def test_what_says_nothing_teaches_nothing(usage: Usage | None) -> None:
    learned = Calibration()
    learned.learn(PLACE, 100, usage)
    learned.learn(PLACE, 10, Usage(input=1000))
    assert learned.factor(PLACE) == 1.0


def test_only_so_many_models_are_remembered() -> None:
    learned = Calibration()
    for number in range(300):
        learned.learn(Candidate("p", str(number), "r"), 100, Usage(input=150))
    assert learned.factor(Candidate("p", "0", "r")) == 1.0
    assert learned.factor(Candidate("p", "299", "r")) == 1.5
