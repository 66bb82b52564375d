"""The nouns that every room shares: values, and a secret that stays one."""

import copy
import dataclasses
import inspect
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmrouterd import model
from llmrouterd.model import ANY_TAG, ConfigError, Facts, Headers, Provider, Secret, Unread

# --- Secret ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "shown",
    [
        str,
        repr,
        "{}".format,
        "{:>9}".format,
        "{!r}".format,
        lambda secret: repr([secret]),
        lambda secret: repr({"k": secret}),
        lambda secret: str(ValueError(secret)),
    ],
)
def test_a_secret_does_not_show_itself(shown) -> None:
    text = shown(Secret("sk-hidden"))
    assert "hidden" not in text
    assert "***" in text


def test_a_secret_is_not_in_what_holds_it() -> None:
    provider = Provider(
        "a",
        "openai",
        key=Secret("sk-hidden"),
        headers=(("x-key", "sk-hidden"),),
        http_proxy="http://u:sk-hidden@p",
    )
    assert "hidden" not in repr(provider)
    assert "hidden" not in str(dataclasses.replace(provider, name="b"))


def test_a_secret_is_not_pickled() -> None:
    with pytest.raises(TypeError):
        pickle.dumps(Secret("x"))
    with pytest.raises(TypeError):
        copy.copy(Secret("x"))


def test_a_secret_gives_itself_up_only_when_asked() -> None:
    assert Secret("sk").reveal() == "sk"
    assert not hasattr(Secret("sk"), "__dict__")


@given(st.text(), st.text())
def test_secrets_compare_by_their_text(one: str, other: str) -> None:
    try:
        one.encode()
    except UnicodeEncodeError:
        return
    assert Secret(one).matches(one)
    assert Secret(one).matches(other) == (one == other)
    assert (Secret(one) == Secret(one)) is True
    assert Secret(one) != one
    assert hash(Secret(one)) == hash(Secret(one))


# --- Headers --------------------------------------------------------------------------------------


def test_headers_keep_order_and_repeats() -> None:
    raw = [(b"a", b"1"), (b"b", b"\xe9"), (b"a", b"2")]
    headers = Headers(raw)
    assert headers.get("a") == "1"
    assert headers.all("a") == ["1", "2"]
    assert headers.get("b") == "\xe9"
    assert headers.get("c") is None
    assert headers.all("c") == []
    assert list(headers) == [("a", "1"), ("b", "\xe9"), ("a", "2")]
    assert headers.raw == raw


def test_headers_show_names_and_no_values() -> None:
    assert repr(Headers([(b"authorization", b"Bearer x")])) == "Headers(['authorization'])"


# --- the rest -------------------------------------------------------------------------------------


def test_a_configuration_error_has_all_its_problems() -> None:
    error = ConfigError(["one", "two"])
    assert error.problems == ("one", "two")
    assert str(error) == "one\ntwo"


def test_an_answer_is_read_once_and_only_when_asked() -> None:
    calls = []
    unread = Unread(lambda: calls.append(1))
    assert calls == []
    assert unread.response() is None
    assert unread.response() is None
    assert calls == [1]


NOUNS = [
    noun
    for _, noun in inspect.getmembers(model, dataclasses.is_dataclass)
    if isinstance(noun, type) and noun.__module__ == model.__name__
]


def test_there_are_nouns() -> None:
    assert {"Provider", "Candidate", "Verdict", "Record"} <= {noun.__name__ for noun in NOUNS}


@pytest.mark.parametrize("noun", NOUNS, ids=lambda noun: noun.__name__)
def test_every_noun_is_a_value(noun: type) -> None:
    """Frozen and slotted: safe to hand to any task, and no attribute by a slip of the pen."""
    assert noun.__dataclass_params__.frozen  # type: ignore[attr-defined]
    assert hasattr(noun, "__slots__")


def test_what_is_empty_cannot_be_filled() -> None:
    with pytest.raises(TypeError):
        model.EMPTY["x"] = 1  # type: ignore[index]


def test_a_tag_that_nobody_could_judge_may_be_set() -> None:
    facts = Facts("m", tags=("a",), unknown_tags=frozenset({"b"}))
    assert [facts.may_be(tag) for tag in "abc"] == [True, True, False]
    assert Facts("m", unknown_tags=frozenset({ANY_TAG})).may_be("c")
