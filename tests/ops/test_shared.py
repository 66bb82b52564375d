"""Workers learn of each other."""

from typing import Any

from formats.errors import Failure
from llmrouterd.model import Candidate
from llmrouterd.ops.shared import Told

THERE = Candidate("p", "m", "r")
BROKEN = Failure("upstream", "no", status=500)


def test_what_one_meets_opens_the_circuit_of_the_other() -> None:
    news: list[Any] = []
    one = Told(lambda kind, *words: news.append(words))
    other = Told(lambda *words: None)
    for now in range(5):
        one.failed(THERE, BROKEN, float(now), jitter=0.5)
    other.heard(news, 1000.0)
    assert other.breaker.circuit("p").state(1000.0) == "open"
    news.clear()
    one.answered(THERE, 10.0)
    other.heard(news, 1001.0)
    assert other.spotless


def test_a_fleet_in_order_says_nothing_and_news_are_not_told_on() -> None:
    told: list[Any] = []
    it = Told(lambda *words: told.append(words))
    it.answered(THERE, 1.0)
    it.heard([("failed", THERE, BROKEN, {"jitter": 0.5})], 2.0)
    assert not told
    assert not it.spotless
