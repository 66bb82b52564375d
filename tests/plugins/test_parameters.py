"""llmrouterd/plugins/parameters.py"""

import json
from dataclasses import replace

import pytest

from formats import FORMATS
from formats.canonical import Target, Thinking
from formats.ledger import Ledger
from llmrouterd.plugins.parameters import NAMES, other_spellings, value_of, with_values

VALUES = {
    "max_tokens": 100,
    "temperature": 0.5,
    "top_p": 0.9,
    "top_k": 40,
    "min_p": 0.1,
    "typical_p": 0.9,
    "repeat_penalty": 1.1,
    "frequency_penalty": 0.1,
    "presence_penalty": 0.2,
    "seed": 7,
    "stop": ("END",),
    "n": 2,
    "top_logprobs": 3,
    "logprobs": True,
    "logit_bias": {"5": 1},
    "effort": "low",
    "thinking": "off",
    "thinking_budget": 2000,
    "verbosity": "low",
    "service_tier": "auto",
    "parallel_tool_calls": False,
    "user": "u",
}
PROMPT = {
    "openai": {"messages": [{"role": "user", "content": "hi"}]},
    "anthropic": {"messages": [{"role": "user", "content": "hi"}], "max_tokens": 9},
    "ollama": {"messages": [{"role": "user", "content": "hi"}]},
    "responses": {"input": "hi"},
    "completions": {"prompt": "hi"},
    "generate": {"prompt": "hi"},
}

KNOWN_TO_COMPLETIONS = set(VALUES) - {
    *("logprobs", "top_logprobs", "thinking", "thinking_budget", "parallel_tool_calls"),
}


def parsed(fmt, **more):
    return FORMATS[fmt].parse_request(json.dumps({"model": "m", **PROMPT[fmt], **more}).encode())


def test_every_parameter_has_a_value_here():
    assert set(VALUES) == set(NAMES)


@pytest.mark.parametrize("fmt", PROMPT)
@pytest.mark.parametrize("name", NAMES)
def test_what_is_set_is_there_and_what_is_removed_is_not(name, fmt):
    if fmt == "completions" and name not in KNOWN_TO_COMPLETIONS:
        assert with_values(parsed(fmt), {name: VALUES[name]}) == parsed(fmt)
        return
    asked = parsed(fmt)
    there = with_values(asked, {name: VALUES[name]})
    assert value_of(there, name) == VALUES[name]
    gone = with_values(there, {name: None})
    assert value_of(gone, name) is None


@pytest.mark.parametrize("fmt", PROMPT)
@pytest.mark.parametrize("name", NAMES)
def test_the_clients_text_says_the_same_as_the_request(name, fmt):
    """Where the text is kept, it is what the format's own reader would have read."""
    for asked in (parsed(fmt), with_values(parsed(fmt), {name: VALUES[name]})):
        for value in (VALUES[name], None):
            out = with_values(asked, {name: value})
            if out.raw is not None:
                text = out.raw.spliced({})
                assert FORMATS[fmt].parse_request(text) == out
                assert json.loads(text)["model"] == "m"


@pytest.mark.parametrize(
    ("fmt", "member", "sent"),
    [
        ("openai", "temperature", "temperature"),
        ("completions", "temperature", "temperature"),
        ("anthropic", "temperature", "temperature"),
        ("responses", "temperature", "temperature"),
    ],
)
def test_what_is_one_member_is_edited_in_the_clients_own_text(fmt, member, sent):
    body = json.dumps(
        {**PROMPT[fmt], "odd": [1.0, 1e2], "temperature": 1.50, "model": "m"}, indent=1
    )
    out = with_values(FORMATS[fmt].parse_request(body.encode()), {member: 0.25})
    assert out.raw.text == body.replace('"temperature": 1.5', '"temperature": 0.25')


def test_the_options_of_ollama_keep_what_else_is_in_them():
    asked = parsed("ollama", options={"num_ctx": 4096, "temperature": 1.5, "num_predict": -1})
    out = with_values(asked, {"temperature": None, "max_tokens": 50})
    assert out.raw.value["options"] == {"num_ctx": 4096, "num_predict": 50}
    assert out.extra == {"options.num_ctx": 4096}


@pytest.mark.parametrize(
    ("sent", "comes_to"),
    [
        ({"max_tokens": 9}, {"max_tokens": 5}),
        ({"max_completion_tokens": 9}, {"max_completion_tokens": 5}),
        ({"max_completion_tokens": 9, "max_tokens": 8}, {"max_completion_tokens": 5}),
        ({"n_predict": 9}, {"max_tokens": 5}),
        ({"max_tokens": 9, "n_predict": 9}, {"max_tokens": 5}),
    ],
)
def test_no_other_spelling_of_a_limit_is_left(sent, comes_to):
    out = with_values(parsed("openai", **sent), {"max_tokens": 5})
    names = ("max_tokens", "max_completion_tokens", "n_predict")
    assert {name: out.raw.value[name] for name in names if name in out.raw.value} == comes_to
    again = json.loads(FORMATS["openai"].write_request(out, Ledger(), Target("m")))
    assert [again[name] for name in names if name in again] == [5]


def test_a_servers_own_spelling_of_a_limit_is_read():
    assert value_of(parsed("openai", n_predict=9), "max_tokens") == 9
    assert value_of(parsed("openai", n_predict=-1), "max_tokens") is None


def test_an_effort_of_none_is_thinking_switched_off():
    off = with_values(parsed("openai"), {"effort": "none"})
    assert off.thinking == Thinking("off", "none")
    assert with_values(off, {"effort": "low"}).thinking == Thinking(None, "low")


def test_choices_that_a_completion_makes_in_secret_go_with_their_number():
    asked = parsed("completions", best_of=20)
    assert other_spellings(asked, "n") == ("best_of",)
    assert "best_of" not in with_values(asked, {"n": None}).raw.members


def test_a_completion_that_somebody_changed_has_its_parameters_all_the_same():
    asked = replace(parsed("completions", max_tokens=9), raw=None)
    assert with_values(asked, {"max_tokens": 5}).max_tokens == 5
