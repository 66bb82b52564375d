"""What a request sees of the daemon round it."""

from dataclasses import FrozenInstanceError

import pytest

from llmrouterd.model import Opened, Routing
from llmrouterd.pipeline.daemon import Daemon, Generation, Installed
from tests.pipeline.stage import Sink


def daemon(*sinks: Sink) -> Daemon:
    return Daemon(None, sinks=sinks)  # type: ignore[arg-type]


def test_every_observer_is_told_in_order() -> None:
    one, two = Sink(), Sink()
    it = daemon(one, two)
    tellings = [Opened(1, 2, "m", 1), Opened(2, 3, "n", 2)]
    for telling in tellings:
        it.tell(telling)
    assert one.told == two.told == tellings
    daemon().tell(tellings[0])


def test_steps_on_the_way_are_told_to_those_who_follow_only() -> None:
    follows, counts = Sink(), Sink()
    counts.follows = False
    it = daemon(follows, counts)
    it.tell_step(Opened(1, 2, "m", 1))
    assert (len(follows.told), counts.told) == (1, [])


def test_ids_rise_and_chance_is_not_guessed() -> None:
    it = daemon()
    assert [it.next_id() for _ in range(3)] == [1, 2, 3]
    stems = {it.chance() for _ in range(100)}
    assert len(stems) == 100
    assert all(len(stem) == 24 and int(stem, 16) >= 0 for stem in stems)


def test_the_clock_on_the_wall_is_in_milliseconds() -> None:
    assert 1_700_000_000_000 < daemon().wall_ms() < 10_000_000_000_000


async def test_learning_is_optional() -> None:
    gen = Generation(1, Routing(), {}, {})
    await gen.learn(("a",))
    assert dict(gen.fleet(7).states) == {}


def test_a_generation_does_not_change() -> None:
    gen = Generation(1, Routing(), {}, {})
    with pytest.raises(FrozenInstanceError):
        gen.number = 2  # type: ignore[misc]
    assert (dict(gen.plugins), gen.classifiers, gen.response_classifiers) == ({}, (), ())
    assert gen.life_sign_s == 15.0


def test_what_is_installed_has_settings_of_its_own() -> None:
    first, second = Installed("a", object()), Installed("b", object())
    assert dict(first.settings) == dict(second.settings) == {}
    assert first.enabled


def test_another_configuration_may_have_put_right_why_a_model_was_left_alone() -> None:
    it = daemon()
    for _ in range(3):
        it.inquiries.failed(("a", "m"), 0.0, "away", jitter=0.5)
    assert not it.inquiries.admits(("a", "m"), 0.0)
    it.renewed(Generation(2, Routing(), {}, {}), 0.0)
    assert it.inquiries.admits(("a", "m"), 0.0)
