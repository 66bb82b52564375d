"""When a request did what, as values."""

import dataclasses

import pytest

from llmrouterd.spans import Attempted, Exchanged, Traced


@pytest.mark.parametrize("noun", [Attempted, Exchanged, Traced], ids=lambda noun: noun.__name__)
def test_every_noun_is_a_value(noun: type) -> None:
    assert noun.__dataclass_params__.frozen  # type: ignore[attr-defined]
    assert hasattr(noun, "__slots__")


def test_a_try_asks_when_it_has_its_place() -> None:
    tried = Attempted("b" * 16, 100, "ollama", "llama3.1:8b")
    assert tried.asked_ns == 100
    assert dataclasses.replace(tried, queue=("c" * 16, 100, 700)).asked_ns == 700


def test_a_trace_is_sampled_by_the_lowest_flag() -> None:
    trace = Traced("a" * 32, "d" * 16, 5, 9)
    flags = {flags: dataclasses.replace(trace, flags=flags).sampled for flags in (0, 1, 2, 3)}
    assert flags == {0: False, 1: True, 2: False, 3: True}
