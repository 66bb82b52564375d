"""Workers learn of each other."""

from typing import Any

import trio

from formats.errors import Failure
from llmrouterd.edge.pool import Pool
from llmrouterd.model import Candidate
from llmrouterd.ops.frames import Others
from llmrouterd.ops.permits import Permits
from llmrouterd.ops.shared import MOST, Told, _take_news, join
from llmrouterd.ops.uplink import Uplink
from llmrouterd.pipeline.daemon import Daemon

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


async def test_calls_that_clients_do_not_hand_back_are_known_to_the_others() -> None:
    said: list[Any] = []

    class Line(Permits):
        def tell(self, *news: Any) -> None:
            said.append(news)

    async def nowhere() -> trio.abc.Stream:
        raise OSError

    one, other = Daemon(Pool()), Daemon(Pool())
    for daemon in (one, other):
        join(Uplink("", 1), Line(nowhere, 1, 1, {}, {}), daemon, dict)
    extra = {"thought_signature": "s"}
    one.recall("ann").remember([("c1", extra)], "hm")
    [words] = said
    said.clear()
    _take_news(other, *words)
    assert len(other.recall("ann")) == len(one.recall("ann"))
    assert len(other.recall("bob")) == 0
    one.recall("ann").remember([("c2", extra)], "x" * 200_000)
    one.recall("ann").remember([("c3", {"thought_signature": "s" * MOST})], "")
    assert len(said) == 1  # the last is too large to be told on
    said.clear()
    for _ in range(2):
        one.sat("s1", ("p", "m"), trio.current_time())
    [words] = said  # the second time it is no news
    _take_news(other, *words)
    assert other.seats.of("s1", trio.current_time()) == ("p", "m")
    assert not other.stale_s < 1


async def test_figures_of_others_stand_beside_its_own() -> None:
    async def nowhere() -> trio.abc.Stream:
        raise OSError

    daemon, uplink, permits = Daemon(Pool()), Uplink("", 1), Permits(nowhere, 1, 1, {}, {})
    join(uplink, permits, daemon, dict)
    daemon.in_flight, daemon.in_flight_at["p"] = 1, 1
    uplink.shared(Others(4, {"p": 3}, {"p": (2, 5, {"ann": (1, 5)}, {"m": 2}, ("m",))}))
    assert (daemon.flying_in_all, daemon.flying("p")) == (5, 4)
    assert daemon.admission.snapshot("p") is None  # this daemon's own
    assert permits.waiting("p") == 5
