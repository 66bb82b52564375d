"""Requests of a log, sent once more: what is made of a line, and what comes back."""

import json
from dataclasses import replace
from typing import Any

import pytest
import trio

from formats import FORMATS
from formats.canonical import Image, Text, ToolResult, ToolUse
from llmrouterd.config import parse
from llmrouterd.edge.pool import Pool
from llmrouterd.model import ConfigError, Record, Secret
from llmrouterd.observe.shapes import as_text, asked
from llmrouterd.ops.resend import (
    NotToSend,
    Sending,
    Sent,
    place_at,
    send,
    send_all,
    sending,
    with_own_router,
)

ECHO = """
[server]
port = 1
[[providers]]
name = "one"
format = "echo"
cost_per_1m_tokens = 2.0
[[routers]]
type = "fallback"
"""
CONFIG = parse(ECHO, "c.toml", {})
TOOL = {"name": "f", "description": "does", "input_schema": {"type": "object"}}
TALK = {
    "model": "m",
    "max_tokens": 77,
    "temperature": 0.5,
    "stop_sequences": ["END"],
    "system": "be kind",
    "stream": True,
    "tools": [TOOL],
    "tool_choice": {"type": "any"},
    "messages": [
        {"role": "user", "content": [{"type": "text", "text": "look"}, {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="}}]},
        {"role": "assistant", "content": [{"type": "thinking", "thinking": "hm", "signature": "s"}, {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {"a": 1}}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "toolu_1", "content": "done"}, {"type": "text", "text": "and?"}]},
    ],
}  # fmt: skip


def line_of(fmt: str, body: dict[str, Any], **more: Any) -> dict[str, Any]:
    """What the log says of a request that was served."""
    request = FORMATS[fmt].parse_request(json.dumps(body).encode())
    record = Record(1, "r", 5, "complete", 200, fmt, "/x", request.model, request=request)
    record = replace(record, stream=request.stream, client=more.pop("client", ""))
    facts = {"facts": {"model": request.model, "wish": more.pop("wish", "")}}
    told: dict[str, Any] = json.loads(
        as_text(record, more={"decision": facts, "asked": asked(request)})
    )
    return told | more


# --- what is sent ---------------------------------------------------------------------------------


@pytest.mark.parametrize("fmt", ["openai", "anthropic", "ollama", "responses"])
def test_what_the_log_has_of_a_request_is_sent_in_its_own_format(fmt: str) -> None:
    line = line_of("anthropic", TALK) | {"client_format": fmt}
    made = sending(line)
    request = FORMATS[fmt].parse_request(made.body)
    assert (request.model, request.stream, made.stream) == ("m", True, True)
    assert (request.max_tokens, request.sampling.temperature) == (77, 0.5)
    assert [tool.name for tool in request.tools] == ["f"]
    parts = [part for message in request.messages for part in message.parts]
    texts = [part.text for part in parts if isinstance(part, Text)]
    assert [text for text in texts if text in ("be kind", "look", "and?")] == [
        *("be kind", "look", "and?")
    ]
    assert not any("hm" in text for text in texts)
    assert [p.data for p in parts if isinstance(p, Image)] == ["iVBORw0KGgo="]
    assert [dict(p.input or {}) for p in parts if isinstance(p, ToolUse)] == [{"a": 1}]
    results = [p for p in parts if isinstance(p, ToolResult)]
    assert [part.parts[0].text for part in results if isinstance(part.parts[0], Text)] == ["done"]


def test_what_else_was_asked_comes_back_as_it_was() -> None:
    body = json.loads(sending(line_of("anthropic", TALK)).body)
    wanted = ("max_tokens", "temperature", "stop_sequences", "stream", "tools", "tool_choice")
    assert {name: body[name] for name in wanted} == {name: TALK[name] for name in wanted}
    schema = {"type": "object", "properties": {"x": {"type": "string"}}}
    form = {"type": "json_schema", "json_schema": {"name": "n", "schema": schema, "strict": True}}
    asked_ = {"model": "m", "messages": [{"role": "user", "content": "x"}]}
    more = {"response_format": form, "reasoning_effort": "low", "seed": 4, "top_p": 0.5}
    again = json.loads(sending(line_of("openai", asked_ | more)).body)
    assert {name: again[name] for name in more} == more


def test_tools_that_are_only_in_the_history_are_declared() -> None:
    """A line of a log without `asked`: a server would refuse calls of tools that nobody declares."""
    line = line_of("anthropic", TALK)
    del line["asked"]
    body = json.loads(sending(line).body)
    assert [tool["name"] for tool in body["tools"]] == ["f"]


def test_a_wish_and_the_clients_name_go_along() -> None:
    made = sending(line_of("openai", {"model": "m", "messages": [{"role": "user", "content": "x"}]}, client="ann", wish="one"))  # fmt: skip
    assert (made.client, made.wish, made.path) == ("ann", "one", "/v1/chat/completions")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"messages": [], "system": None}, 'bodies = "none"'),
        ({"endpoint": "/v1/embeddings"}, "embeddings"),
        ({"messages": [{"role": "user"}]}, "the line is damaged"),
        ({"messages": 5}, "the line is damaged"),
        ({"decision": None, "status": 400}, "before it was routed"),
    ],
)
def test_what_cannot_be_sent_says_why(change: dict[str, Any], said: str) -> None:
    with pytest.raises(NotToSend, match=said):
        sending(line_of("anthropic", TALK) | change)


# --- what comes back ------------------------------------------------------------------------------


async def answers(config, requests: list[Sending], *, at_once: int = 1) -> dict[int, Sent]:
    told: dict[int, Sent] = {}

    async def use(place) -> None:
        await send_all(place, requests, at_once=at_once, tell=told.__setitem__)

    with trio.fail_after(60):
        await with_own_router(config, "t", use)
    return told


@pytest.mark.slow
async def test_a_router_of_its_own_answers_and_ends(tmp_path, monkeypatch) -> None:
    """All four formats, streams and whole answers, with tokens and costs."""
    monkeypatch.chdir(tmp_path)
    lines = [
        line_of("anthropic", TALK | {"stream": stream}) | {"client_format": fmt}
        for fmt in ("openai", "anthropic", "ollama", "responses")
        for stream in (False, True)
    ]
    logged = ECHO + '[logging]\nenabled = true\npath = "log"\n'
    told = await answers(parse(logged, "c.toml", {}), [sending(line) for line in lines], at_once=3)
    assert set(told) == set(range(8))
    for sent in told.values():
        assert (sent.status, sent.provider, sent.model, sent.error) == (200, "one", "m", "")
        assert sent.usage is not None
        assert sent.cost_usd is not None
        assert sent.cost_usd == pytest.approx(sum((sent.usage.input, sent.usage.output)) * 2e-6)  # type: ignore[arg-type]
    assert not (tmp_path / "log").exists()


@pytest.mark.slow
async def test_each_client_comes_with_its_own_key() -> None:
    clients = '[[clients]]\nname = "ann"\nkey_env = "ANN"\nmodels = ["x"]\n'
    config = parse(ECHO + clients, "c.toml", {"ANN": "secret-ann"})
    lines = [line_of("anthropic", TALK, client=name) for name in ("ann", "bob")]
    told = await answers(config, [sending(line) for line in lines])
    assert (told[0].status, told[1].status) == (403, 200)
    assert "may not ask for the model 'm'" in told[0].error


@pytest.mark.slow
async def test_a_router_that_cannot_start_says_so() -> None:
    broken = replace(CONFIG, plugins={"pareto-router": {"enabled": True, "tiers": 5}})
    with pytest.raises(ConfigError):
        await answers(broken, [])


async def test_nobody_there_is_an_answer_too() -> None:
    place = place_at("http://127.0.0.1:9/v1", "", None)
    sent = await send(Pool(), place, sending(line_of("anthropic", TALK)))
    assert sent.status == 0
    assert "refused the connection" in sent.error


def test_an_address_with_or_without_a_path_and_a_key() -> None:
    place = place_at("https://router.example/v1/", "k", CONFIG)
    assert (place.origin.scheme, place.origin.port, place.prefix) == ("https", 443, "")
    assert place.keys == {"": Secret("k")}
    assert set(place.prices) == {"one"}
    assert place_at("http://h:5/x", "", None).prefix == "/x"
    socket = place_at("unix:/run/r.sock:/v1", "", None)
    assert (socket.origin.unix, socket.prefix) == ("/run/r.sock", "")
    with pytest.raises(ValueError, match="--url takes an address"):
        place_at("router.example", "", None)
