"""llmrouterd/plugins/system_prompt.py"""

import json

import pytest
import trio.testing

from formats import FORMATS
from formats.canonical import Message, Request, Text
from llmrouterd.hooks import Context
from llmrouterd.pipeline.daemon import Installed
from llmrouterd.plugins.system_prompt import SystemPrompt
from tests.pipeline.stage import (
    anthropic,
    chat_answer,
    ollama,
    openai,
    replies,
    request,
    responses,
    stage,
)

PROVIDERS = {"openai": openai, "anthropic": anthropic, "ollama": ollama, "responses": responses}
OURS = "Answer in German."
MARK = {"type": "ephemeral"}


def body(fmt: str, system: str | None, *turns: str) -> dict:
    """A client's request with a system prompt of its own, or none."""
    said = [
        {"role": "user" if at % 2 == 0 else "assistant", "content": text}
        for at, text in enumerate(turns or ("hi",))
    ]
    out = request(fmt)
    if fmt == "generate":
        return out | ({"system": system} if system else {})
    out["input" if fmt == "responses" else "messages"] = said
    if system is None:
        return out
    if fmt == "anthropic":
        return out | {"system": system}
    if fmt == "responses":
        return out | {"instructions": system}
    return out | {"messages": [{"role": "system", "content": system}, *said]}


def system_of(fmt: str, sent: dict) -> str:
    """All system text of a request as an upstream got it."""
    parsed = FORMATS[fmt].parse_request(json.dumps(sent).encode())
    said = [message for message in parsed.messages if message.role in ("system", "developer")]
    return "|".join("+".join(part.text for part in message.parts) for message in said)


async def sent(fmt: str, asked: dict, up: str, **settings: object) -> tuple[dict, object]:
    answers = {"a": replies(500, b"")}
    async with stage(PROVIDERS[up](), up=answers, plugins=[prompting(**settings)]) as st:
        await st.ask(fmt, asked)
    return st.asked["a"][0].json, st.record


def prompting(**settings: object) -> Installed:
    return Installed("system-prompt", SystemPrompt(settings), settings)


@pytest.mark.parametrize("up", PROVIDERS)
@pytest.mark.parametrize("fmt", PROVIDERS)
@pytest.mark.parametrize(
    ("mode", "own", "comes_to"),
    [
        ("prepend", "Mine.", f"{OURS}\n\nMine."),
        ("append", "Mine.", f"Mine.\n\n{OURS}"),
        ("replace", "Mine.", OURS),
        ("prepend", None, OURS),
        ("append", None, OURS),
        ("replace", None, OURS),
    ],
)
async def test_every_upstream_gets_the_owners_words_from_every_client(
    mode: str,
    own: str | None,
    comes_to: str,
    fmt: str,
    up: str,
    autojump_clock: trio.testing.MockClock,
) -> None:
    got, record = await sent(fmt, body(fmt, own), up, text=OURS, mode=mode)
    assert system_of(up, got) == comes_to
    assert "hi" in json.dumps(got)
    assert record.plugins == ("system-prompt",)


async def test_it_is_put_before_unless_said_otherwise(
    autojump_clock: trio.testing.MockClock,
) -> None:
    got, _ = await sent("openai", body("openai", "Mine."), "openai", text=OURS)
    assert got["messages"][0]["content"] == f"{OURS}\n\nMine."


@pytest.mark.parametrize("fmt", [*PROVIDERS, "generate"])
async def test_when_absent_leaves_a_clients_own_prompt_alone(
    fmt: str, autojump_clock: trio.testing.MockClock
) -> None:
    up = {"generate": "ollama"}.get(fmt, fmt)
    asked = body(fmt, "Mine.")
    got, record = await sent(fmt, asked, up, text=OURS, when_absent=True)
    assert OURS not in json.dumps(got)
    assert record.plugins == ()
    got, record = await sent(fmt, body(fmt, None), up, text=OURS, when_absent=True)
    assert OURS in json.dumps(got)
    assert record.plugins == ("system-prompt",)


async def test_generate_stays_generate(autojump_clock: trio.testing.MockClock) -> None:
    """What only that call can say is not lost by the owner's words."""
    asked = body("generate", "Mine.") | {"suffix": "end"}
    answers = {"a": replies(500, b"")}
    async with stage(ollama(), up=answers, plugins=[prompting(text=OURS)]) as st:
        await st.ask("generate", asked)
    assert st.asked["a"][0].target.endswith("/api/generate")
    assert st.asked["a"][0].json["system"] == f"{OURS}\n\nMine."
    assert st.asked["a"][0].json["suffix"] == "end"


async def test_a_text_completion_has_no_place_for_it(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with stage(openai(), up={"a": replies(500, b"")}, plugins=[prompting(text=OURS)]) as st:
        await st.ask("completions", request("completions"))
    assert st.asked["a"][0].target.endswith("/v1/completions")
    assert OURS.encode() not in st.asked["a"][0].body


@pytest.mark.parametrize("mode", ["prepend", "append"])
async def test_cache_marks_and_marked_text_stay_as_they_are(
    mode: str, autojump_clock: trio.testing.MockClock
) -> None:
    marked = {"type": "text", "text": "Mine.", "cache_control": MARK}
    asked = body("anthropic", None) | {"system": [{"type": "text", "text": "First."}, marked]}
    got, _ = await sent("anthropic", asked, "anthropic", text=OURS, mode=mode)
    ours = {"type": "text", "text": OURS}
    first = {"type": "text", "text": "First."}
    assert got["system"] == ([ours, first, marked] if mode == "prepend" else [first, marked, ours])


@pytest.mark.parametrize("mode", ["prepend", "append", "replace"])
@pytest.mark.parametrize("fmt", PROVIDERS)
async def test_each_turn_begins_with_all_of_the_turn_before(
    fmt: str, mode: str, autojump_clock: trio.testing.MockClock
) -> None:
    """Prompt caches hold: nothing moves when the conversation grows."""
    turns = ["one", "two", "three", "four", "five"]
    before: list = []
    for count in (1, 3, 5):
        got, _ = await sent(fmt, body(fmt, "Mine.", *turns[:count]), fmt, text=OURS, mode=mode)
        parsed = FORMATS[fmt].parse_request(json.dumps(got).encode())
        now = list(parsed.messages)
        assert now[: len(before)] == before
        before = now


async def test_prompts_for_models_clients_and_tags_come_in_their_order():
    plugin = SystemPrompt(
        {
            "text": "all",
            "prompts": [
                {"models": ["llama*"], "text": "llama", "mode": "append"},
                {"clients": ["guest"], "text": "guest", "mode": "append"},
                {"tags": ["code"], "text": "code", "mode": "append"},
            ],
        }
    )
    asked = Request("openai", "llama3", (Message("user", (Text("hi"),)),))
    out = await plugin.pre_request(asked, Context("p", {}, tags=("code",), client="anna"))
    assert out.messages[0].parts[0].text == "all\n\nllama\n\ncode"
    other = Request("openai", "qwen", asked.messages)
    out = await plugin.pre_request(other, Context("p", {}, client="guest"))
    assert out.messages[0].parts[0].text == "all\n\nguest"


async def test_whether_there_is_one_already_is_asked_of_the_client_alone():
    settings = {"text": "a", "prompts": [{"text": "b", "when_absent": True, "mode": "append"}]}
    asked = Request("openai", "m", (Message("user", (Text("hi"),)),))
    out = await SystemPrompt(settings).pre_request(asked, Context("p", {}))
    assert out.messages[0].parts[0].text == "a\n\nb"


async def test_a_request_that_loads_a_model_says_nothing():
    asked = Request("ollama", "m")
    assert await SystemPrompt({"text": OURS}).pre_request(asked, Context("p", {})) is asked


@pytest.mark.parametrize("name", ["text", "mode", "when_absent", "prompts", "models"])
async def test_a_request_may_not_change_the_owners_prompt(
    name: str, autojump_clock: trio.testing.MockClock
) -> None:
    asked = request("openai", plugins=[{"id": "system-prompt", name: "x"}])
    answers = {"a": replies(200, chat_answer("x"))}
    async with stage(openai(), up=answers, plugins=[prompting(text=OURS)]) as st:
        out = await st.ask("openai", asked)
    assert out.status == 400
    assert f"'{name}'" in out.json["error"]["message"]
    assert st.dialled == []


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"mode": "append"}, "text"),
        ({"text": " "}, "text"),
        ({"text": "x", "mode": "before"}, "mode"),
        ({"text": "x", "when_absent": 1}, "when_absent"),
        ({"prompts": [{"text": "x", "model": "m"}]}, r"prompts\[0\].model"),
        ({"prompts": [{}]}, r"prompts\[0\].text"),
    ],
)
def test_a_wrong_setting_is_named(settings, named):
    with pytest.raises(ValueError, match=named):
        SystemPrompt(settings)
