"""A reader that knows only the original's four events, and takes them as strictly as its parsers do."""

from __future__ import annotations

import json
from typing import Any


def strict(event: Any) -> str:
    """Reads an event as the original's own parsers do; what they do not take is an error here."""
    kind = event["type"]
    assert type(event["id"]) is int
    assert type(event["ts_ms"]) is int
    if kind == "start":
        assert type(event["model"]) is str
        assert type(event["in_flight"]) is int
    elif kind == "classified":
        _texts(event["tags"])
    elif kind == "routed":
        assert type(event["provider"]) is str
        assert type(event["model"]) is str
    elif kind == "complete":
        _strict_complete(event)
    else:
        raise AssertionError(f"an event that the original does not know: {kind}")
    return str(kind)


def _texts(value: Any) -> None:
    assert type(value) is list
    assert all(type(item) is str for item in value)


def _strict_complete(event: Any) -> None:
    for name in ("provider", "requested_model", "sent_model"):
        assert type(event[name]) is str
    assert type(event["duration_ms"]) is int
    _texts(event["tags"])
    _texts(event["plugins"])
    for name in ("trace_id", "system", "error"):
        assert event[name] is None or type(event[name]) is str
    assert type(event["messages"]) is list
    for message in event["messages"]:
        assert message["role"] in ("user", "assistant")
        assert type(message["content"]) is list
        for part in message["content"]:
            _strict_part(part)
    if event["response"] is not None:
        _strict_response(event["response"])


def _strict_part(part: Any) -> None:
    names = {
        "text": ("text",),
        "image": ("media_type", "data"),
        "tool_use": ("id", "name"),
        "tool_result": ("tool_use_id", "content"),
    }[part["type"]]
    assert all(type(part[name]) is str for name in names)
    assert part["type"] != "tool_use" or type(part["input"]) is dict


def _strict_response(response: Any) -> None:
    assert all(type(response[name]) is str for name in ("id", "model", "content"))
    assert response["stop_reason"] in ("end_turn", "max_tokens", "tool_use", "other")
    assert type(response["usage"]["input_tokens"]) is int
    assert type(response["usage"]["output_tokens"]) is int
    _texts(response["tags"])
    if "tool_calls" in response:
        assert response["tool_calls"]
        for call in response["tool_calls"]:
            assert type(call["id"]) is str
            assert type(call["name"]) is str
            assert type(call["input"]) is dict


def events_of(body: bytes) -> list[tuple[int, Any]]:
    """(id, object) of every event; anything but events and comments is an error."""
    found = []
    for block in body.decode().split("\n\n")[:-1]:
        if block.startswith(":"):
            continue
        first, second = block.split("\n")
        assert first.startswith("id: ")
        assert second.startswith("data: ")
        found.append((int(first[4:]), json.loads(second[6:])))
    return found
