"""A command asks a running router."""

import pytest

from llmrouterd.commands.asking import NoAnswerError, ask
from tests.fakes.upstream import FakeUpstream


def test_get_and_post_with_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEY", "sk-1")
    with FakeUpstream(lambda turn: turn.whole({"a": 1})) as up:
        assert ask(up.url + "/", "/x", "KEY") == {"a": 1}
        assert ask(up.url, "/x", "NOT_SET", {"b": 2}) == {"a": 1}
        first, second = up.received
        assert (first.method, first.target, first.headers["authorization"]) == (
            "GET",
            "/x",
            "Bearer sk-1",
        )
        assert (second.method, second.json) == ("POST", {"b": 2})
        assert "authorization" not in second.headers


@pytest.mark.parametrize(
    ("status", "body", "said"),
    [
        (401, {}, "answered 401: set KEY to its key"),
        (404, {"error": {"message": "there is no provider 'x'"}}, "404: there is no provider 'x'"),
        (500, b"<html>", "answered 500"),
    ],
)
def test_a_refusal_is_told_in_its_own_words(status: int, body, said: str) -> None:
    with FakeUpstream(lambda turn: turn.whole(body, status)) as up:
        with pytest.raises(NoAnswerError, match=said):
            ask(up.url, "/x", "KEY")


@pytest.mark.parametrize("body", [b"words", b""])
def test_what_is_no_json_is_no_router(body: bytes) -> None:
    with FakeUpstream(lambda turn: turn.whole(body)) as up:
        with pytest.raises(NoAnswerError, match="no router answers"):
            ask(up.url, "/x", "KEY")


def test_nobody_there() -> None:
    with pytest.raises(NoAnswerError, match=r"no router answers at http://127\.0\.0\.1:9"):
        ask("http://127.0.0.1:9", "/x", "KEY")
    with pytest.raises(NoAnswerError, match="takes an address"):
        ask("127.0.0.1:9", "/x", "KEY")
