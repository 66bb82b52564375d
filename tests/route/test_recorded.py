"""Facts and fleet in the log: what is read decides as what was written did, and lines are small."""

import contextlib
import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from formats.errors import Failure
from llmrouterd.model import (
    ANY_TAG,
    EMPTY,
    Candidate,
    Decision,
    Facts,
    Fleet,
    ModelInfo,
    Outcome,
    Policy,
    Provider,
    ProviderState,
    Routing,
    RuleSpec,
    When,
)
from llmrouterd.observe.shapes import as_text
from llmrouterd.route.decide import decide, explain_lines, no_candidate
from llmrouterd.route.facts import listed_by_owner
from llmrouterd.route.policies import REMOTE, passed_on
from llmrouterd.route.recorded import (
    ListMissing,
    Lists,
    Unreadable,
    read,
    read_lists,
    write,
)
from tests.observe.test_shapes import RECORD

ANY = Routing()


def through_json(decision, tried=(), lists=None):
    """As the log has it: one line of text."""
    told = write(decision, tried, lists or Lists())
    return json.loads(as_text(RECORD, bodies=False, more={"decision": told}))["decision"]


def decision(facts, fleet, routing=ANY, **more):
    return Decision(facts, fleet, routing, decide(facts, fleet, routing), **more)


def providers(fleet):
    return [state.provider for state in fleet.states.values()]


def fleet_of(*states, **more):
    return Fleet({state.provider.name: state for state in states}, **more)


# --- as far as decide can tell --------------------------------------------------------------------

NAMES = ("a", "b", "c", "d")
MODELS = ("m", "M", "m:latest", "big", "bert-x", "a/m", "gpt-4", "коса")
TAGS = ("code", "pii")
some_names = st.lists(st.sampled_from((*NAMES, "gone")), max_size=3, unique=True).map(tuple)
figures = st.none() | st.floats(0.001, 1e6)
abilities = st.none() | st.frozensets(
    st.sampled_from(("completion", "vision", "tools", "embedding"))
)
whens = st.none() | st.builds(
    When,
    tags=st.sampled_from(((), ("code",))),
    clients=st.sampled_from(((), ("ann",))),
    stream=st.sampled_from((None, True, False)),
    capabilities=st.sampled_from(((), ("tools",))),
)


@st.composite
def infos(draw, name):
    loaded = draw(st.booleans())
    return ModelInfo(
        name,
        draw(abilities),
        draw(st.sampled_from((0, 50, 8192))),
        draw(st.sampled_from(("", "bert", "llama"))),
        draw(st.sampled_from((0, 5, 10**12))),
        loaded,
        native=draw(st.sampled_from(({}, {"remote_host": "https://elsewhere"}))),
        loaded_context=draw(st.sampled_from((0, 50, 4096))),
    )


@st.composite
def states(draw, name):
    provider = Provider(
        name,
        draw(st.sampled_from(("openai", "anthropic", "ollama", "echo"))),
        local=draw(st.booleans()),
        cost_per_1m_tokens=draw(figures),
        quality=draw(st.sampled_from((0.0, 1.0, 75.0))),
        latency_ms=draw(figures),
        throughput_tokens_per_sec=draw(figures),
        models=draw(st.sampled_from(((), (), ("m", "x")))),
        context_length=draw(st.sampled_from((0, 0, 60))),
        grow_context=draw(st.booleans()),
        options=draw(st.sampled_from(({}, {"num_ctx": 55}))),
        on_demand=draw(st.booleans()),
    )
    listed = listed_by_owner(provider)
    names = draw(st.none() | st.lists(st.sampled_from(MODELS), max_size=4, unique=True))
    if listed is None and names is not None:
        listed = {each: draw(infos(each)) for each in names}
    ill = draw(st.booleans())
    return ProviderState(
        provider,
        listed,
        healthy=not ill,
        why=draw(st.sampled_from(("", "3 failures in a row"))),
        reached=draw(st.sampled_from((None, True, False))),
        in_flight=draw(st.integers(0, 3)),
        first_token_ms=draw(figures),
        tokens_per_s=draw(figures),
        failing=draw(st.floats(0, 1)),
        back_s=draw(figures) if ill else None,
        resting=ill and draw(st.booleans()),
        models_out=draw(st.sampled_from(({}, {"m": "model_not_found"}, {"gone": "x", "big": "y"}))),
    )


@st.composite
def rules(draw, number):
    kind = draw(
        st.sampled_from(
            (
                *("prefix", "model", "tag", "price", "latency", "throughput", "discover"),
                *("random", "round_robin", "least_busy", "warm", "context", "fallback"),
            )
        )
    )
    targets = draw(
        st.sampled_from(((), (("a", "m"), ("b", ""), ("c", "big"))))
        if kind in ("model", "random", "round_robin", "least_busy")
        else st.just(())
    )
    weighted = targets and kind in ("model", "random") and draw(st.booleans())
    return RuleSpec(
        kind,
        f"routers[{number}] {kind}",
        draw(some_names),
        model_prefix=draw(st.sampled_from(("m", "gpt-", "a/"))),
        match=draw(st.sampled_from((("*",), ("m*",), ("a/*",)))),
        tag=draw(st.sampled_from(TAGS)),
        targets=targets,
        rewrite_model=draw(st.sampled_from((None, None, "big"))),
        max_cost_per_1m_tokens=draw(st.none() | st.floats(0, 1e6)),
        max_latency_ms=draw(st.none() | st.floats(0, 1e6)),
        min_tokens_per_sec=draw(st.none() | st.floats(0, 1e6)),
        weights=(3.0, 1.0, 0.0) if weighted else (),
        when=draw(whens),
        measured=draw(st.booleans()),
        sticky=draw(st.booleans()),
        min_tokens=draw(st.sampled_from((None, 40))),
        max_tokens=draw(st.sampled_from((None, 70))),
    )


policies = st.builds(
    Policy,
    where=st.just("policies[0]"),
    tags=st.sampled_from(((), ("code",))),
    clients=st.sampled_from(((), ("ann",))),
    models=st.sampled_from(((), ("m*",))),
    allow=st.sampled_from(((), ("a", "b"))),
    deny=st.sampled_from(((), ("c",))),
    local=st.booleans(),
    block=st.booleans(),
    message=st.sampled_from(("", "no")),
)


@st.composite
def decisions(draw):
    chosen = draw(st.lists(st.sampled_from(NAMES), min_size=1, max_size=4, unique=True))
    drawn = [draw(states(name)) for name in chosen]
    specs = [draw(rules(n)) for n in range(draw(st.integers(0, 3)))]
    routing = Routing(
        tuple(specs),
        draw(st.sampled_from(({}, {"m": ("a/big", "b/m"), "fast": ("c/x",)}))),
        draw(st.booleans()),
        implicit=not specs,
        policies=draw(st.lists(policies, max_size=2).map(tuple)),
    )
    facts = Facts(
        draw(st.sampled_from((*MODELS, "fast", "b/big", "nobody has it"))),
        draw(st.frozensets(st.sampled_from(("tools", "vision", "embedding")))),
        draw(st.sampled_from(((), ("code",), ("pii", "code")))),
        draw(st.integers(0, 80)),
        draw(st.booleans()),
        draw(st.sampled_from(("", "ann"))),
        draw(st.sampled_from((None, None, None, "a", ""))),
        draw(st.sampled_from((None, "b", "gone"))),
        draw(st.sampled_from(("", "s" * 24))),
        draw(st.sampled_from((frozenset(), frozenset({"pii"}), frozenset({ANY_TAG})))),
        asked="finance",
    )
    turns = {spec.where: draw(st.integers(0, 5)) for spec in specs if draw(st.booleans())}
    seat = draw(st.sampled_from((None, ("b", "m"), ("c", "big"))))
    fleet = fleet_of(*drawn, seed=draw(st.integers(0, 2**96 - 1)), turns=turns, seat=seat)
    return decision(facts, fleet, routing)


@given(decisions(), st.booleans())
def test_what_was_read_decides_as_what_was_written_did(made, known) -> None:
    lists = {}
    if known:  # the lists stand in an earlier line
        memory = Lists()
        read_lists(through_json(made, lists=memory), lists)
        told = through_json(made, lists=memory)
        assert "lists" not in told
    else:
        told = through_json(made)
    found = read(told, providers(made.fleet), lists)
    assert found.facts == made.facts
    verdict = decide(found.facts, found.fleet, made.routing)
    assert verdict == made.verdict
    assert found.candidates == tuple(replace(c, written_out=False) for c in made.verdict.candidates)
    assert explain_lines(verdict) == explain_lines(made.verdict)
    if not verdict.candidates:
        refusal = no_candidate(found.facts, verdict, found.fleet)
        assert refusal == no_candidate(made.facts, made.verdict, made.fleet)


def as_read(state):
    """A state without what no decision looks into."""
    if state.models is None or listed_by_owner(state.provider):
        return state
    bare = {
        name: replace(info, native=REMOTE if passed_on(info) else EMPTY)
        for name, info in state.models.items()
    }
    return replace(state, models=bare)


@given(decisions())
def test_every_member_of_the_fleet_comes_back(made) -> None:
    """Decisions look at little of it each; rules of tomorrow may look at any of it."""
    found = read(through_json(made), providers(made.fleet), {}).fleet
    assert found.states == {name: as_read(state) for name, state in made.fleet.states.items()}
    assert (found.seed, found.seat) == (made.fleet.seed, made.fleet.seat)
    takers = [rule.where for rule in made.routing.rules if rule.type == "round_robin"]
    assert found.turns == {where: made.fleet.turns.get(where, 0) for where in takers}


@given(decisions())
def test_what_no_rule_read_is_there_for_rules_of_another_file(made) -> None:
    """The fleet of rules that ask for no figures has none; the line has those that there were."""
    told = {
        name: {"in_flight": state.in_flight, "first_token_ms": state.first_token_ms}
        | {"tokens_per_s": state.tokens_per_s, "failing": state.failing}
        for name, state in made.fleet.states.items()
    }
    bare = {
        name: replace(s, in_flight=0, first_token_ms=None, tokens_per_s=None, failing=0.0)
        for name, s in made.fleet.states.items()
    }
    line = through_json(replace(made, fleet=replace(made.fleet, states=bare), figures=told))
    found = read(line, providers(made.fleet), {})
    assert decide(found.facts, found.fleet, made.routing) == made.verdict


def test_one_state_with_everything() -> None:
    able = frozenset({"tools"})
    models = {
        "all": ModelInfo("all", able, 10, "f", 11, True, REMOTE, loaded_context=12),
        "asleep": ModelInfo("asleep", frozenset(), 0, "", 13, loaded_context=14),
        "plain": ModelInfo("plain"),
    }
    state = ProviderState(
        Provider("p", "ollama"),
        models,
        *(False, "ill", True, 3, 4.5, 5.5, 0.25, 6.5, True),
        {"all": "gone"},
    )
    found = read(through_json(decision(Facts("x"), fleet_of(state))), [state.provider], {})
    assert found.fleet.states["p"] == state


# --- how lines look -------------------------------------------------------------------------------


def many(count=300):
    able = frozenset({"completion", "tools"})
    return {f"org/model-{n}": ModelInfo(f"org/model-{n}", able, 8192) for n in range(count)}


def test_a_line_of_a_large_fleet_is_small() -> None:
    """Five providers with 300 models each: their lists stand in the first line only."""
    fleet = fleet_of(
        *(ProviderState(Provider(f"p{n}", "openai"), many()) for n in range(5)), seed=9
    )
    made = decision(Facts("org/model-7", size_tokens=99), fleet, Routing(implicit=True))
    lists = Lists()
    first, second = through_json(made, lists=lists), through_json(made, lists=lists)
    assert len(first["lists"]) == 1  # all five have the same
    assert len(json.dumps(second)) < 1000
    assert len({state["models"] for state in second["fleet"].values()}) == 1


def test_a_list_is_written_again_when_it_changed_or_a_new_file_began() -> None:
    lists = Lists()

    def line(models):
        state = ProviderState(Provider("p", "openai"), models)
        return write(decision(Facts("x"), fleet_of(state)), (), lists)

    models = many(3)
    assert "lists" in line(models)
    assert "lists" not in line(dict(models))
    assert "lists" in line(many(4))
    assert "lists" not in line(models)
    lists.forget()
    assert "lists" in line(models)


def test_what_lies_in_memory_does_not_change_a_list() -> None:
    lists, models = Lists(), many(3)
    loaded = models | {"org/model-1": replace(models["org/model-1"], loaded=True, loaded_context=9)}
    lines = [
        write(decision(Facts("x"), fleet_of(ProviderState(Provider("p", "ollama"), m))), (), lists)
        for m in (models, loaded)
    ]
    assert "lists" in lines[0]
    assert "lists" not in lines[1]
    assert lines[1]["fleet"]["p"]["loaded"] == {"org/model-1": 9}


def test_a_healthy_provider_without_a_list_takes_hardly_any_room() -> None:
    told = write(
        decision(Facts("x"), fleet_of(ProviderState(Provider("p", "openai")))), (), Lists()
    )
    assert told["fleet"] == {"p": {}}
    assert told == {
        "facts": {"model": "x", "size_tokens": 0},
        "seed": "0",
        "fleet": {"p": {}},
        "candidates": [],
    }


def test_names_that_clients_made_up_are_bounded_but_not_the_one_that_mattered() -> None:
    out = {f"made-up-{n}": "model_not_found" for n in range(1000)}
    state = ProviderState(Provider("p", "openai"), models_out=out)
    by = Routing((RuleSpec("fallback", "routers[0] fallback"),))
    told = write(decision(Facts("made-up-999"), fleet_of(state), by), (), Lists())
    kept = told["fleet"]["p"]["models_out"]
    assert len(kept) < 30
    assert "made-up-999" in kept


def test_what_failed_stands_beside_what_was_decided() -> None:
    failure = Failure("timeout", "too slow", clock="connect")
    tried = [Outcome(Candidate("p", "m", "r"), failure, 1.5)]
    state = ProviderState(Provider("p", "openai"))
    told = through_json(decision(Facts("x"), fleet_of(state)), tried)
    assert told["failed"] == [
        {"provider": "p", "model": "m", "kind": "timeout:connect", "ms": 1500}
    ]
    assert read(told, [state.provider], {}).failed == (("p", "m", "timeout:connect"),)


# --- other providers than those of then -----------------------------------------------------------


def test_a_new_provider_is_taken_to_be_well_and_unknown_and_a_missing_one_is_gone() -> None:
    fleet = fleet_of(ProviderState(Provider("old", "openai"), many(2), healthy=False, why="ill"))
    told = through_json(decision(Facts("x"), fleet))
    listed = Provider("listed", "openai", models=("one",))
    found = read(told, [Provider("new", "openai"), listed], {})
    assert set(found.fleet.states) == {"new", "listed"}
    assert found.fleet.states["new"] == ProviderState(Provider("new", "openai"))
    assert set(found.fleet.states["listed"].models or ()) == {"one"}
    assert found.known == {"old"}


def test_what_the_owner_lists_now_counts_more_than_what_was_found_then() -> None:
    told = through_json(
        decision(Facts("x"), fleet_of(ProviderState(Provider("p", "openai"), many(2))))
    )
    now = Provider("p", "openai", models=("only",))
    assert set(read(told, [now], {}).fleet.states["p"].models or ()) == {"only"}


def test_a_list_of_a_line_that_was_not_read_is_missed() -> None:
    lists, state = Lists(), ProviderState(Provider("p", "openai"), many(2))
    made = decision(Facts("x"), fleet_of(state))
    write(made, (), lists)
    with pytest.raises(ListMissing, match="stands in an earlier line"):
        read(write(made, (), lists), [state.provider], {})


@pytest.mark.parametrize(
    "damage",
    [
        5,
        {},
        {"facts": {}, "seed": "0", "fleet": {}},
        {"facts": {"model": "x", "size_tokens": 1}, "seed": "z", "fleet": {}},
        {"facts": {"model": "x", "size_tokens": 1}, "seed": "0", "fleet": []},
        {"facts": {"model": "x", "size_tokens": 1}, "seed": "0", "fleet": {}, "lists": {"x": [[]]}},
        {"facts": {"model": "x", "size_tokens": 1}, "seed": "0", "fleet": {}, "lists": 5},
        {"facts": {"model": "x", "size_tokens": 1}, "seed": "0", "fleet": {}, "candidates": [[1]]},
        {"facts": {"model": "x", "size_tokens": 1}, "seed": "0", "fleet": {}, "failed": [{}]},
        {"facts": {"model": "x", "size_tokens": 1}, "seed": "0", "fleet": {"p": 5}},
    ],
)
def test_what_is_no_decision_is_said_to_be_none(damage) -> None:
    with pytest.raises(Unreadable):
        read(damage, [Provider("p", "openai")], {})


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda each: (
            st.lists(each)
            | st.dictionaries(
                st.sampled_from(
                    (
                        "facts",
                        "seed",
                        "fleet",
                        "p",
                        "models",
                        "lists",
                        "turns",
                        "seat",
                        "candidates",
                        "model",
                        "size_tokens",
                    )
                ),
                each,
            )
        ),
    )
)
def test_any_json_is_read_or_refused(value) -> None:
    with contextlib.suppress(Unreadable):
        found = read(value, [Provider("p", "openai")], {})
        decide(found.facts, found.fleet, Routing(implicit=True))
