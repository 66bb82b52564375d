"""Ids and names: the legal stay, the illegal get a stable, legal, reversible stand-in."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from formats import ids
from formats.ids import ANTHROPIC, ANTHROPIC_NAMES, OLLAMA, OPENAI, OPENAI_NAMES, NameMap


@pytest.mark.parametrize(
    ("rule", "given_id"),
    [
        (OPENAI, "call_abc"),
        (OPENAI, "functions.f:0"),
        (OPENAI, "x" * 40),
        (ANTHROPIC, "toolu_01-A"),
        (ANTHROPIC, "x" * 64),
        (OLLAMA, "any thing\nat all ü" * 99),
    ],
)
def test_a_legal_id_stays(rule, given_id):
    assert ids.legal_id(given_id, rule) == given_id


@pytest.mark.parametrize(
    ("rule", "given_id"),
    [
        (OPENAI, ""),
        (OPENAI, "a b"),
        (OPENAI, "a\n"),
        (OPENAI, "ü"),
        (OPENAI, "x" * 41),
        (ANTHROPIC, "functions.f:0"),
        (ANTHROPIC, "a|b"),
        (ANTHROPIC, "a\n"),
        (ANTHROPIC, "x" * 65),
        (ANTHROPIC, "\ud800"),
        (OLLAMA, ""),
    ],
)
def test_an_illegal_id_becomes_one_that_is_legal_everywhere(rule, given_id):
    mapped = ids.legal_id(given_id, rule)
    assert re.fullmatch(r"call_[0-9a-f]{24}", mapped)
    assert mapped == ids.legal_id(given_id, rule)
    assert all(ids.is_legal(mapped, each) for each in (OPENAI, ANTHROPIC, OLLAMA))


def test_the_stand_in_of_an_id_never_changes():
    """A change here breaks the prompt caches of every running conversation."""
    assert ids.legal_id("functions.f:0", ANTHROPIC) == "call_d6bdd4de328a22edd610f954"


@given(st.text(), st.text())
def test_different_ids_stay_different(one, other):
    same = ids.legal_id(one, ANTHROPIC) == ids.legal_id(other, ANTHROPIC)
    assert same == (one == other)


def test_minted_ids_differ_by_answer_and_by_ordinal():
    minted = {ids.minted_id(seed, n) for seed in ("a", "b") for n in range(3)}
    assert len(minted) == 6
    assert all(ids.is_legal(each, ANTHROPIC) for each in minted)


def test_legal_names_stay_and_illegal_ones_have_a_way_back():
    names = NameMap(OPENAI_NAMES, ["get_weather", "mcp.read:file", "größe"])
    assert [names.to_wire(n) for n in ("get_weather", "mcp.read:file", "größe")] == [
        "get_weather",
        "mcp_read_file",
        "gr__e",
    ]
    assert names.from_wire("mcp_read_file") == "mcp.read:file"
    assert names.changed == {"mcp.read:file": "mcp_read_file", "größe": "gr__e"}


def test_a_name_that_would_collide_gets_a_hash_and_the_legal_one_keeps_itself():
    names = NameMap(OPENAI_NAMES, ["a.b", "a_b", "a:b"])
    assert names.to_wire("a_b") == "a_b"
    wires = {name: names.to_wire(name) for name in ("a.b", "a_b", "a:b")}
    assert len(set(wires.values())) == 3
    assert all(names.from_wire(wire) == name for name, wire in wires.items())


def test_a_long_name_is_cut_to_the_limit_with_a_hash():
    wire = NameMap(OPENAI_NAMES, ["x" * 65]).to_wire("x" * 65)
    assert len(wire) == 64
    assert re.fullmatch(r"x{57}_[0-9a-f]{6}", wire)
    assert NameMap(ANTHROPIC_NAMES, ["x" * 65]).to_wire("x" * 65) == "x" * 65


def test_a_name_of_the_history_that_was_not_announced_is_mapped_too():
    names = NameMap(OPENAI_NAMES, ["a_b"])
    wire = names.to_wire("a.b")
    assert wire != "a_b"
    assert names.from_wire(wire) == "a.b"


def test_a_name_nobody_mapped_comes_back_as_it_is():
    assert NameMap(OPENAI_NAMES, ["a"]).from_wire("invented") == "invented"


@given(st.lists(st.text(max_size=80) | st.sampled_from(["a.b", "a_b", "a:b", "a b", ""])))
def test_every_name_is_legal_single_and_reversible(given_names):
    for rule in (OPENAI_NAMES, ANTHROPIC_NAMES):
        names = NameMap(rule, given_names)
        wires = {name: names.to_wire(name) for name in given_names}
        assert len(set(wires.values())) == len(wires)
        assert all(rule.pattern.fullmatch(wire) for wire in wires.values())
        assert all(names.from_wire(wire) == name for name, wire in wires.items())
