"""llmrouterd/plugins/whom.py"""

import pytest

from formats.canonical import Request
from llmrouterd.hooks import Context
from llmrouterd.plugins.whom import choice, switch, tables, texts, whom


def has(table, model="m", client="", tags=()):
    ctx = Context("p", {}, tags=tags, client=client)
    return whom(table, "").has(Request("openai", model), ctx)


def test_nothing_given_means_everybody():
    assert has({})


@pytest.mark.parametrize(
    ("glob", "model", "meant"),
    [
        ("llama*", "llama3.2:3b", True),
        ("llama*", "Llama3.2", True),
        ("LLAMA*", "llama3.2", True),
        ("llama3", "llama3:latest", True),
        ("llama*", "ollama/llama3", True),
        ("ollama/*", "ollama/llama3", True),
        ("llama*", "qwen", False),
        ("ollama/*", "llama3", False),
    ],
)
def test_a_model_is_meant_by_every_name_it_has(glob, model, meant):
    assert has({"models": [glob]}, model=model) is meant


def test_clients_and_tags():
    assert has({"clients": ["gue*"]}, client="guest")
    assert not has({"clients": ["gue*"]}, client="anna")
    assert has({"tags": ["Code"]}, tags=("a", "code"))
    assert not has({"tags": ["code"]})


def test_all_that_is_given_must_be_so():
    table = {"models": ["m"], "clients": ["a", "b"], "tags": ["t"]}
    assert has(table, client="b", tags=("t",))
    assert not has(table, client="c", tags=("t",))
    assert not has(table, client="b")


@pytest.mark.parametrize(
    ("read", "words"),
    [
        (lambda: texts({"k": "x"}, "k", "a."), "a.k: expected a list of texts"),
        (lambda: texts({"k": [""]}, "k", ""), "k: expected a list of texts"),
        (lambda: choice({"k": "x"}, "k", ("a", "b"), ""), "k: expected one of a, b"),
        (lambda: switch({"k": 1}, "k", ""), "k: expected true or false"),
        (lambda: list(tables({"k": [1]}, "k", ())), r"k\[0\]: expected a table"),
        (lambda: list(tables({"k": [{"x": 1}]}, "k", ("a",))), r"k\[0\].x: unknown key"),
    ],
)
def test_a_wrong_setting_is_named(read, words):
    with pytest.raises(ValueError, match=words):
        read()
