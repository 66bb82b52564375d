"""What one request's page tells beyond its event."""

import json
from typing import Any

import pytest

from formats import FORMATS
from formats.canonical import Usage
from llmrouterd.model import Record
from llmrouterd.observe.retell import retell

SAID = [{"role": "user", "content": "why?"}]
TOOL = {"name": "look_up", "description": "d", "input_schema": {"type": "object"}}


def record(fmt: str, endpoint: str, body: dict[str, Any], **told: Any) -> Record:
    request = FORMATS[fmt].parse_request(json.dumps(body).encode())
    whole: dict[str, Any] = {
        "id": 1,
        "request_id": "req_1",
        "ts_ms": 0,
        "end": "complete",
        "status": 200,
        "client_format": fmt,
        "endpoint": endpoint,
        "requested_model": "m",
        "request": request,
    }
    return Record(**(whole | told))


@pytest.mark.parametrize(
    ("fmt", "endpoint", "body"),
    [
        ("openai", "/v1/chat/completions", {"messages": SAID, "temperature": 0.5, "stream": True}),
        ("anthropic", "/v1/messages", {"messages": SAID, "max_tokens": 9, "tools": [TOOL]}),
        ("responses", "/v1/responses", {"input": "why?"}),
        ("ollama", "/api/chat", {"messages": SAID, "stream": False}),
        ("completions", "/v1/completions", {"prompt": "why?"}),
        ("generate", "/api/generate", {"prompt": "why?", "stream": False}),
    ],
)
def test_a_request_can_be_sent_again(fmt: str, endpoint: str, body: dict[str, Any]) -> None:
    told = record(fmt, endpoint, {"model": "m", **body})
    again = json.loads(retell(told)["body"])
    parsed = FORMATS[fmt].parse_request(json.dumps(again).encode())
    assert again["model"] == "m"
    assert "why?" in json.dumps(again)
    assert (parsed.stream, parsed.max_tokens) == (told.request.stream, told.request.max_tokens)  # type: ignore[union-attr]
    assert [tool.name for tool in parsed.tools] == [tool["name"] for tool in body.get("tools", ())]


def test_what_cannot_be_written_again_is_none() -> None:
    body = {"model": "m", "messages": SAID}
    assert retell(record("openai", "/v1/embeddings", body))["body"] is None
    assert retell(record("openai", "/v1/chat/completions", body, request=None))["body"] is None


def test_the_fields_of_the_answer_are_told_as_far_as_they_are_known() -> None:
    body = {"model": "m", "messages": SAID}
    told = record(
        "openai",
        "/v1/chat/completions",
        body,
        provider="p",
        sent_model="n",
        rule="routers[0] prefix",
        attempts=("a/b: upstream: no",),
        tags=("x", "y"),
        dropped=("logprobs",),
        left_host=False,
        queue_ms=7,
        limit_fields=(("x-router-remaining-requests", "9"),),
        upstream_request_id="up_1",
        usage=Usage(3, 4),
        cost_usd=0.25,
    )
    assert dict(retell(told)["headers"]) == {
        "x-router-request-id": "req_1",
        "x-router-provider": "p",
        "x-router-model": "n",
        "x-router-rule": "routers[0] prefix",
        "x-router-attempts": "2",
        "x-router-request-tags": "x,y",
        "x-router-dropped": "logprobs",
        "x-router-left-host": "no",
        "x-router-queue-ms": "7",
        "x-router-remaining-requests": "9",
        "x-router-upstream-request-id": "up_1",
        "x-router-input-tokens": "3",
        "x-router-output-tokens": "4",
        "x-router-cost-usd": "0.250000",
    }
    refused = record("openai", "/v1/chat/completions", body, error="no", error_kind="forbidden")
    assert dict(retell(refused)["headers"]) == {
        "x-router-request-id": "req_1",
        "x-router-error": "forbidden",
    }
