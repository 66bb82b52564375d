"""The embedded provider: an answer on a machine that has nothing else."""

import json

import pytest
import trio.testing

from formats.canonical import Image, Message, Request, Text, ToolResult, ToolUse
from llmrouterd.model import Provider
from llmrouterd.pipeline import echo
from tests.pipeline.stage import STREAM, request, stage


def text_of(*messages: Message) -> str:
    return echo.answer(Request("openai", "m", messages), "echo", prompt_tokens=5).text


def user(*texts: str) -> Message:
    return Message("user", tuple(map(Text, texts)))


def test_the_last_words_come_back() -> None:
    assert text_of(user("first"), Message("assistant", (Text("no"),)), user("a", "b")) == "a\nb"


def test_a_result_of_a_tool_is_words_too() -> None:
    call = Message("assistant", (ToolUse("1", "f"),))
    result = Message("tool", (ToolResult("1", (Text("42"), Image(url="http://x"))),))
    assert text_of(user("q"), call, result) == "42"


@pytest.mark.parametrize(
    "messages",
    [(), (Message("system", (Text("s"),)),), (user(""),), (Message("user", (Image(data=""),)),)],
    ids=["nothing", "system", "empty", "image"],
)
def test_who_says_nothing_is_greeted(messages: tuple) -> None:
    assert text_of(*messages) == echo.GREETING


def test_older_words_stand_in_for_an_empty_last_message() -> None:
    assert text_of(user("older"), user("")) == "older"


def test_the_usage_is_an_estimate_of_both_sides() -> None:
    usage = echo.answer(Request("openai", "m", (user("x" * 40),)), "e", prompt_tokens=5).usage
    assert usage is not None
    assert (usage.input, usage.output) == (5, 10)


@pytest.mark.parametrize("fmt", ["openai", "anthropic", "ollama"])
@pytest.mark.parametrize("stream", [False, True])
async def test_echo_answers_in_every_format(
    fmt: str, stream: bool, autojump_clock: trio.testing.MockClock
) -> None:
    async with stage(Provider("echo", "echo"), up={}) as st:
        out = await st.ask(fmt, request(fmt, stream=stream))
    assert out.status == 200
    assert b'"hi"' in out.body
    kind = out.headers.get("content-type") or ""
    assert kind.startswith(STREAM[fmt] if stream else "application/json")
    if not stream:
        assert json.loads(out.body)
    assert st.record.end == "complete"
    assert st.record.usage_estimated
    assert st.record.provider == "echo"
    assert st.dialled == []
