"""A request body around one probed field, such as a client would really send it.

Owns: what the SDKs' types cannot say: a result follows its call, a conversation ends with the user,
a forced tool is among the tools, a document's bytes are of its type.
"""

from __future__ import annotations

import copy
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterator
from typing import Any

Body = dict[str, Any]
HI = {"role": "user", "content": "hi"}
_PLAIN = {"type": "object", "properties": {}}


_OF_TOOLS = frozenset({"tools", "tool_choice", "parallel_tool_calls", "max_tool_calls"})


def whole(origin: str, given: Any, beside: Any = None) -> Body:
    """beside: the other body, where it has members that say something only next to others."""
    body = copy.deepcopy(given)
    if not _OF_TOOLS.isdisjoint(beside or given):
        body.setdefault("tools", [])
    if not {"functions", "function_call"}.isdisjoint(beside or given):
        body.setdefault("functions", [])
    _dressed(body)
    body["model"] = "m"
    return _WHOLE[origin](body)


def _dressed(value: Any) -> None:
    """Bytes that are what their declared type says, and one source for each thing."""
    if isinstance(value, list):
        for each in value:
            _dressed(each)
    elif isinstance(value, dict):
        if value.get("media_type") == "application/pdf" and isinstance(value.get("data"), str):
            which = b64decode(value["data"])[-3:]
            value["data"] = b64encode(b"%PDF-1.4 " + which).decode()
        if value.get("file_id") or value.get("file_url"):  # one of them, or bytes: never both
            value.pop("file_data", None)
            value.pop("image_url", None)
        for each in value.values():
            _dressed(each)


def _openai(body: Body) -> Body:
    out: list[Body] = []
    for message in body.get("messages") or ():
        role = message["role"]
        if role == "tool":
            out += [HI, _openai_call(message["tool_call_id"])]
        elif role == "function":
            call = {"name": message["name"], "arguments": "{}"}
            out += [HI, {"role": "assistant", "content": None, "function_call": call}]
        elif role == "assistant" and not out:
            out.append(HI)
        out.append(message)
        for call in message.get("tool_calls") or () if role == "assistant" else ():
            out.append({"role": "tool", "tool_call_id": call["id"], "content": "done"})
        if role == "assistant" and message.get("function_call"):
            name = message["function_call"]["name"]
            out.append({"role": "function", "name": name, "content": "done"})
    body["messages"] = [*out, HI]
    if "tools" in body:
        tools = body.setdefault("tools", [])
        names = [*_named(body.get("tool_choice")), "plain"]
        tools += [
            {"type": "function", "function": {"name": n, "parameters": _PLAIN}} for n in names
        ]
    if "functions" in body:
        names = [*_named(body.get("function_call")), "plain"]
        body["functions"] += [{"name": name} for name in names]
    return body


def _openai_call(call_id: str) -> Body:
    call = {"id": call_id, "type": "function", "function": {"name": "f", "arguments": "{}"}}
    return {"role": "assistant", "content": None, "tool_calls": [call]}


def _named(choice: Any) -> Iterator[str]:
    """The names of tools that a choice speaks of."""
    if isinstance(choice, list):
        for each in choice:
            yield from _named(each)
    elif isinstance(choice, dict):
        if isinstance(choice.get("name"), str) and "server_label" not in choice:
            yield choice["name"]
        for each in choice.values():
            yield from _named(each)


def _completions(body: Body) -> Body:
    body.setdefault("prompt", "hi")
    return body


_ASSISTANTS = frozenset({"tool_use", "thinking", "redacted_thinking", "server_tool_use"})


def _anthropic(body: Body) -> Body:
    body.setdefault("max_tokens", 20_000)
    out: list[Body] = []
    for message in body.get("messages") or ():
        if not message.get("output_config"):
            message.setdefault("content", "hi")
        content = message.get("content")
        blocks = content if isinstance(content, list) else []
        results = [b["tool_use_id"] for b in blocks if b["type"] == "tool_result"]
        calls = [b["id"] for b in blocks if b["type"] == "tool_use"]
        if not _ASSISTANTS.isdisjoint(b["type"] for b in blocks):
            message["role"] = "assistant"
        if results:
            message["role"] = "user"
            uses = [{"type": "tool_use", "id": each, "name": "f", "input": {}} for each in results]
            out += [HI, {"role": "assistant", "content": uses}]
        elif message["role"] == "assistant" and not out:
            out.append(HI)
        out.append(message)
        if calls:
            done = [{"type": "tool_result", "tool_use_id": each, "content": "ok"} for each in calls]
            out.append({"role": "user", "content": done})
    if not out or out[-1]["role"] != "user":
        out.append(HI)
    body["messages"] = out
    if "tools" in body:
        names = [*_named(body.get("tool_choice")), "plain"]
        body["tools"] += [{"name": n, "input_schema": _PLAIN} for n in names]
    return body


_CALLS = {
    "function_call_output": {"type": "function_call", "name": "f", "arguments": "{}"},
    "custom_tool_call_output": {"type": "custom_tool_call", "name": "f", "input": "x"},
}
_OUTPUTS = {
    "function_call": "function_call_output",
    "custom_tool_call": "custom_tool_call_output",
}


def _responses(body: Body) -> Body:
    items = body.get("input")
    if isinstance(items, list):
        out: list[Body] = []
        for item in items:
            kind = item.get("type")
            if kind in _CALLS:
                named = {n: item[n] for n in ("name", "namespace", "call_id") if item.get(n)}
                out.append({**_CALLS[kind], **named})
            out.append(item)
            if kind in _OUTPUTS:
                call_id = item["call_id"]
                out.append({"type": _OUTPUTS[kind], "call_id": call_id, "output": "done"})
        body["input"] = [HI, *out, HI]
    elif items is None and "prompt" not in body:
        body["input"] = "hi"
    if "tools" in body:
        names = [*_named(body.get("tool_choice")), "plain"]
        tools = [{"type": "function", "name": n, "parameters": _PLAIN} for n in names]
        body["tools"] += tools
        choice = body.get("tool_choice")
        if isinstance(choice, dict) and choice["type"] not in (
            "function",
            "custom",
            "allowed_tools",
        ):
            body["tools"].append({**choice})
    return body


def _ollama(body: Body) -> Body:
    out: list[Body] = []
    for message in body.get("messages") or ():
        if "thinking" in message or "tool_calls" in message:
            message["role"] = "assistant"
        if message.setdefault("role", "user") == "tool":
            name = message.get("tool_name") or "f"
            call = {"function": {"name": name, "arguments": {}}}
            out += [HI, {"role": "assistant", "content": "", "tool_calls": [call]}]
        out.append(message)
        for call in message.get("tool_calls") or ():
            name = call["function"]["name"]
            out.append({"role": "tool", "tool_name": name, "content": "done"})
    body["messages"] = [*out, HI]
    if "tools" in body:
        plain = {"type": "function", "function": {"name": "plain", "parameters": _PLAIN}}
        body["tools"] = [*(body["tools"] or ()), plain]
    return body


def _generate(body: Body) -> Body:
    body.setdefault("prompt", "hi")
    return body


_WHOLE: dict[str, Callable[[Body], Body]] = {
    "openai": _openai,
    "completions": _completions,
    "anthropic": _anthropic,
    "responses": _responses,
    "ollama": _ollama,
    "generate": _generate,
}
