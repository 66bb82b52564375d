"""Which requests a filter lets through."""

import pytest

from llmrouterd.commands.board import Asked, Board
from llmrouterd.commands.filters import Filter, parse


def asked(**members: object) -> Asked:
    """One that has ended."""
    end = {"type": "complete", "id": 1, "requested_model": "gpt-4o", "sent_model": "llama3.1:8b"}
    end |= {"provider": "ollama", "client": "editor", "end": "complete", "tags": ["code"]}
    found = Board().apply(end | {"endpoint": "/v1/messages"} | members)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("text", "shows"),
    [
        ("", True),
        ("provider=ollama", True),
        ("provider=OLL*", True),
        ("provider=cloud", False),
        ("model=llama*", True),
        ("model=gpt-4o", True),
        ("model=llama", False),
        ("client=editor tag=code", True),
        ("client=editor tag=other", False),
        ("!provider=ollama", False),
        ("!client=other", True),
        ("endpoint=*messages", True),
        ("end=complete", True),
        ("llama3", True),
        ("edit", True),
        ("nothing-like-it", False),
        ("errors", False),
        ("!errors", True),
        ("'model=gpt-4o'", True),
    ],
)
def test_all_words_must_hold(text: str, shows: bool) -> None:
    assert parse(text).shows(asked()) is shows


def test_errors_are_failures_and_failed_tries() -> None:
    assert parse("errors").shows(asked(end="upstream_error"))
    assert parse("error").shows(asked(attempts=["a/b: upstream: no"]))
    assert not parse("errors").shows(asked(end="client_gone"))


@pytest.mark.parametrize("text", ["colour=red", "provider='x", "=x"])
def test_a_filter_that_is_wrong_says_so(text: str) -> None:
    with pytest.raises(ValueError, match=r"\w{5}"):
        parse(text)


def test_what_is_not_known_yet_does_not_speak_against_a_request() -> None:
    running = Asked(1, 0, "gpt-4o", provider="ollama")
    assert parse("client=editor").shows(running)
    assert parse("client=editor").may_change(running)
    assert not parse("provider=ollama").may_change(running)
    assert parse("provider=ollama").may_change(Asked(1, 0))
    assert not Filter().may_change(Asked(1, 0))
    assert not parse("client=editor").may_change(asked())
