"""The vocabulary itself."""

import copy
import dataclasses
import pickle
from typing import get_args

import pytest

from formats import canonical
from formats.canonical import CUT_SHORT, EMPTY, Request, Response, Text, ToolUse, Usage

KINDS = [each for each in vars(canonical).values() if dataclasses.is_dataclass(each)]


@pytest.mark.parametrize("kind", KINDS, ids=lambda each: each.__name__)
def test_every_value_is_frozen_and_slotted(kind):
    assert kind.__dataclass_params__.frozen
    assert "__slots__" in vars(kind)


def test_what_the_client_did_not_say_is_none_or_nothing():
    request = Request("openai", "m")
    said = {f.name: getattr(request, f.name) for f in dataclasses.fields(request)}
    said.pop("origin")
    said.pop("model")
    assert request.sampling == canonical.Sampling()
    assert not any(value for name, value in said.items() if name != "sampling")
    assert not any(getattr(request.sampling, f.name) for f in dataclasses.fields(request.sampling))


def test_the_raw_body_is_no_part_of_what_a_request_means():
    assert Request("openai", "m", raw=object()) == Request("openai", "m")


def test_the_empty_mapping_is_empty_for_good_and_equal_to_any_empty_one():
    assert EMPTY == {}
    assert not EMPTY
    assert {**EMPTY} == {}
    assert EMPTY.get("a") is None
    assert repr(EMPTY) == "{}"
    assert "a" not in EMPTY
    with pytest.raises(TypeError):
        EMPTY["a"] = 1
    with pytest.raises(KeyError):
        EMPTY["a"]
    assert hash(EMPTY) == hash(EMPTY)
    assert copy.deepcopy(Text("a")) == pickle.loads(pickle.dumps(Text("a"))) == Text("a")


def test_later_figures_replace_earlier_ones_where_they_say_anything():
    assert Usage(1, 2, 3, 4, 5).merged(Usage()) == Usage(1, 2, 3, 4, 5)
    assert Usage(1, 2).merged(Usage(output=0, reasoning=9)) == Usage(1, 0, reasoning=9)


def test_the_text_of_an_answer_is_what_is_meant_to_be_read():
    parts = (Text("a"), Text("no", refusal=True), ToolUse("c", "f"), Text("b"))
    assert Response("", "", parts).text == "ab"


def test_only_real_reasons_cut_an_answer_short():
    assert set(get_args(canonical.StopReason)) > CUT_SHORT
    assert "end_turn" not in CUT_SHORT
    assert "tool_use" not in CUT_SHORT


def test_a_figure_that_cannot_be_is_none():
    for odd in (-1, 10**13, 10**400):
        assert Usage(odd, 2, odd, odd, odd) == Usage(None, 2)
    assert Usage(0, 10**12) == Usage(input=0, output=10**12)
