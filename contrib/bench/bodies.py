"""The request bodies of the benchmark: neutral text, the same in every run.

Owns: what is asked. Refuses to know: who asks, and how the answers are measured.

A model's name tells which upstream is meant: `gpt-*` the OpenAI one, `claude-*` the Anthropic one.
"""

from __future__ import annotations

import json
import random
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

_WORDS = """
    the a small stone bridge crosses quiet river near old mill and road goes on past fields where
    farmers plant wheat barley in spring while children walk to school over hill file function
    returns value list index number parser reads line writes table module test passes after change
    check length of input
""".split()  # noqa: SIM905
_QUESTION = "Say in one sentence what a bridge is for."
_TOOLS, _ROUNDS, _SYSTEM_CHARS = 25, 10, 16_000


def write_all(folder: Path) -> None:
    """Write every body as FOLDER/NAME.json."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, body in _bodies().items():
        text = json.dumps(body, ensure_ascii=False, separators=(",", ":"))
        (folder / f"{name}.json").write_text(text, "utf-8")


def _bodies() -> dict[str, Any]:
    usage = {"stream": True, "stream_options": {"include_usage": True}}
    openai, anthropic = _agent()
    return {
        "chat": _small("gpt-mock"),
        "chat_stream": _small("gpt-mock", **usage),
        "chat_stream_to_claude": _small("claude-mock", **usage),
        "messages_stream": _small("claude-mock", stream=True),
        "messages_stream_to_gpt": _small("gpt-mock", stream=True),
        "agent": openai,
        "agent_messages": anthropic,
    }


def _small(model: str, **more: Any) -> dict[str, Any]:
    asked = [{"role": "user", "content": _QUESTION}]
    return {"model": model, "messages": asked, "max_tokens": 256, **more}


def _prose(rng: random.Random, size: int) -> str:
    out: list[str] = []
    held = 0
    while held < size:
        word = rng.choice(_WORDS)
        held += len(word) + 1
        if rng.random() < 0.08:
            word += ".\n" if rng.random() < 0.3 else "."
        out.append(word)
    return " ".join(out)[:size]


def _schema(rng: random.Random) -> dict[str, Any]:
    properties: dict[str, Any] = {}
    for at in range(rng.randint(3, 7)):
        kind = rng.choice(["string", "integer", "boolean", "array", "object"])
        member: dict[str, Any] = {"type": kind, "description": _prose(rng, rng.randint(60, 220))}
        if kind == "array":
            member["items"] = {"type": "string"}
        elif kind == "object":
            member["properties"] = {"left": {"type": "string"}, "right": {"type": "number"}}
        properties[f"{rng.choice(_WORDS)}_{rng.choice(_WORDS)}_{at}"] = member
    required = list(properties)[:2]
    return {"type": "object", "properties": properties, "required": required}


def _agent() -> tuple[dict[str, Any], dict[str, Any]]:
    """One long conversation of a coding agent, as Chat Completions and as Messages (113 kB)."""
    rng = random.Random(7)
    names = [f"{rng.choice(_WORDS)}_{rng.choice(_WORDS)}_{at}" for at in range(_TOOLS)]
    tools = [(name, _prose(rng, rng.randint(600, 1500)), _schema(rng)) for name in names]
    system = _prose(rng, _SYSTEM_CHARS)
    chat: list[dict[str, Any]] = [{"role": "system", "content": system}]
    messages: list[dict[str, Any]] = []
    for at in range(_ROUNDS):
        asked, said = _prose(rng, rng.randint(300, 900)), _prose(rng, rng.randint(100, 400))
        call, name = f"call_{at:04d}abcdef", names[at]
        text = 'line one\n\t"quoted" \\ slash\n' + _prose(rng, 300)
        given = {"path": f"/home/user/project/src/file_{at}.py", "text": text}
        result = _prose(rng, rng.randint(1500, 3300)) + "\n\u00e9\u4e2d\u6587 end"
        chat += _chat_round(asked, said, call, name, given, result)
        _add_round(messages, asked, said, call, name, given, result)
    shared = {"model": "gpt-mock", "max_tokens": 4096, "temperature": 0.2}
    marked = {"type": "text", "text": system, "cache_control": {"type": "ephemeral"}}
    return (
        {**shared, "messages": chat, "tools": [_function(*tool) for tool in tools]},
        {**shared, "system": [marked], "messages": messages, "tools": [_tool(*t) for t in tools]},
    )


def _function(name: str, description: str, schema: dict[str, Any]) -> dict[str, Any]:
    inner = {"name": name, "description": description, "parameters": schema}
    return {"type": "function", "function": inner}


def _tool(name: str, description: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"name": name, "description": description, "input_schema": schema}


def _chat_round(
    asked: str, said: str, call: str, name: str, given: dict[str, str], result: str
) -> list[dict[str, Any]]:
    function = {"name": name, "arguments": json.dumps(given)}
    calls = [{"id": call, "type": "function", "function": function}]
    return [
        {"role": "user", "content": asked},
        {"role": "assistant", "content": said, "tool_calls": calls},
        {"role": "tool", "tool_call_id": call, "content": result},
    ]


def _add_round(
    messages: list[dict[str, Any]],
    asked: str,
    said: str,
    call: str,
    name: str,
    given: dict[str, str],
    result: str,
) -> None:
    question = {"type": "text", "text": asked}
    if messages:  # the results of the round before and this question are one turn
        messages[-1]["content"].append(question)
    else:
        messages.append({"role": "user", "content": [question]})
    use = {"type": "tool_use", "id": call, "name": name, "input": given}
    answer = {"type": "tool_result", "tool_use_id": call, "content": result}
    messages.append({"role": "assistant", "content": [{"type": "text", "text": said}, use]})
    messages.append({"role": "user", "content": [answer]})
