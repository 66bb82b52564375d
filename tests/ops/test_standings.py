"""How the providers stand is told when it changes, and only then."""

from dataclasses import replace

import trio
import trio.testing

from llmrouterd.model import Provider, ProviderState, Standing, Telling
from llmrouterd.ops.standings import LOOK_S, Latest, Standings


class Fleet:
    def __init__(self) -> None:
        self.states = {
            name: ProviderState(Provider(name, "openai"), reached=True) for name in ("a", "b")
        }
        self.paused: set[str] = set()
        self.told: list[Telling] = []
        self.standings = Standings(lambda: self.states, lambda: self.paused, self.told.append)

    def change(self, name: str, **now: object) -> None:
        self.states[name] = replace(self.states[name], **now)  # type: ignore[arg-type]

    def look(self) -> list[tuple[str, bool, str, bool, bool | None]]:
        del self.told[:]
        self.standings.look()
        assert all(isinstance(each, Standing) for each in self.told)
        return [(t.provider, t.healthy, t.circuit, t.paused, t.reached) for t in self.told]  # type: ignore[union-attr]


def test_a_change_is_told_once() -> None:
    fleet = Fleet()
    assert fleet.look() == []  # what they are at first
    assert fleet.look() == []
    fleet.change("a", healthy=False, why="3 failures in a row", back_s=9.0)
    assert fleet.look() == [("a", False, "open", False, True)]
    assert fleet.told[0].why == "3 failures in a row"  # type: ignore[union-attr]
    fleet.change("a", why="3 failures in a row (tried again in 8 s)", back_s=8.0)
    assert fleet.look() == []
    fleet.change("a", healthy=True, why="", back_s=None)
    fleet.change("b", healthy=False, resting=True)
    assert fleet.look() == [
        ("a", True, "closed", False, True),
        ("b", False, "resting", False, True),
    ]


def test_a_pause_and_an_answer_that_does_not_come_are_changes() -> None:
    fleet = Fleet()
    fleet.look()
    fleet.paused.add("b")
    fleet.change("a", reached=False)
    assert fleet.look() == [("a", True, "closed", False, False), ("b", True, "closed", True, True)]
    fleet.paused.clear()
    assert fleet.look() == [("b", True, "closed", False, True)]


def test_of_a_provider_that_comes_or_goes_nothing_is_told() -> None:
    fleet = Fleet()
    fleet.look()
    gone = fleet.states.pop("a")
    assert fleet.look() == []
    fleet.states["a"] = replace(gone, healthy=False)
    assert fleet.look() == []


async def test_it_looks_again_and_again(autojump_clock: trio.testing.MockClock) -> None:
    fleet = Fleet()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(fleet.standings.run)
        await trio.sleep(3 * LOOK_S)
        fleet.change("a", healthy=False)
        await trio.sleep(3 * LOOK_S)
        fleet.change("a", healthy=True)
        await trio.sleep(3 * LOOK_S)
        nursery.cancel_scope.cancel()
    assert [told.healthy for told in fleet.told] == [False, True]  # type: ignore[union-attr]


def test_of_several_who_tell_the_same_the_first_is_news() -> None:
    latest = Latest()
    stands = Standing(1, "a", healthy=False, circuit="open", paused=False, reached=True, why="no")
    again = replace(stands, ts_ms=2, why="no (tried again in 3 s)")
    back = replace(stands, healthy=True, circuit="closed")
    told = [latest.is_news(each) for each in (stands, again, replace(stands, provider="b"), back)]
    assert told == [True, False, True, True]
    assert latest.is_news(stands)
