"""llmrouterd/classifiers/pii.py"""

import pytest

from formats.canonical import Message, Request, Response, Text, ToolResult, ToolUse
from llmrouterd.classifiers.pii import Pii, ResponsePii
from llmrouterd.hooks import Context

CTX = Context("pii", {})
ASKED = Request(
    "openai",
    "m",
    (
        Message("system", (Text("ask anna@zeit.de"),)),
        Message("user", (Text("hello"),)),
        Message("tool", (ToolResult("1", (Text("card 4111 1111 1111 1111"),)),)),
    ),
)


async def test_every_message_is_read() -> None:
    assert await Pii({}).classify(ASKED, CTX) == ["pii", "pii-email", "pii-card"]


async def test_roles_say_which_messages_are_read() -> None:
    assert await Pii({"roles": ["tool"]}).classify(ASKED, CTX) == ["pii", "pii-card"]
    assert await Pii({"roles": ["user"]}).classify(ASKED, CTX) == []


async def test_an_answer_is_read_with_its_calls() -> None:
    call = ToolUse("1", "mail", '{"to": "anna@zeit.de"}', {"to": "anna@zeit.de"})
    answer = Response("", "m", (call,))
    assert await ResponsePii({}).classify(ASKED, answer, CTX) == ["pii", "pii-email"]
    assert await ResponsePii({}).classify(ASKED, Response("", "m", (Text("no"),)), CTX) == []


def test_it_says_which_tags_it_may_set() -> None:
    assert set(Pii({}).may_set) == {
        *("pii", "pii-email", "pii-phone", "pii-iban", "pii-card", "pii-national-id")
    }


def test_a_wrong_role_is_named() -> None:
    with pytest.raises(ValueError, match=r"roles\[0\]: expected one of system"):
        Pii({"roles": ["me"]})
