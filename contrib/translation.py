#!/usr/bin/env python3
"""Writes docs/translation.md from what the translation really does.

Owns: one request for each concept and client, and the page. Each cell of the page's matrix is tried:
the request is written for the upstream, and what comes of it is the cell. The words beside it are
those of `formats/losses.py`, by which the writers themselves go.
Refuses to know: what should come of it; that stands in the tests.

Usage: translation.py [--check]
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from formats import FORMATS  # noqa: E402 - the repository is put on the path above
from formats.canonical import Target  # noqa: E402
from formats.errors import Invalid, Unsupported  # noqa: E402
from formats.fields import field  # noqa: E402
from formats.ledger import Ledger, Loss  # noqa: E402
from formats.losses import ANSWERS, CASES  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

PAGE = ROOT / "docs" / "translation.md"
LETTERS = {"openai": "C", "responses": "R", "anthropic": "A", "ollama": "O"}
NAMES = {
    "openai": "OpenAI Chat Completions",
    "responses": "OpenAI Responses",
    "anthropic": "Anthropic Messages",
    "ollama": "Ollama /api/chat",
}
PAIRS = [(client, to) for client in LETTERS for to in LETTERS if client != to]
TARGETS = {
    "openai": Target("m"),
    "responses": Target("m"),
    "anthropic": Target("claude-opus-4-8"),
    "ollama": Target("m"),
}
Body = dict[str, Any]

PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
PDF = "JVBERi0xLjQK"
WAV = "UklGRiQAAABXQVZF"
SCHEMA = {
    "type": "object",
    "properties": {"a": {"type": "string"}},
    "required": ["a"],
    "additionalProperties": False,
}
HI = {"role": "user", "content": "hi"}


# --- what each client sends -----------------------------------------------------------------------


def plain(client: str) -> Body:
    """A request with nothing special in it."""
    if client == "responses":
        return {"model": "m", "input": [HI]}
    body: Body = {"model": "m", "messages": [HI]}
    return {**body, "max_tokens": 999} if client == "anthropic" else body


def tools(client: str, **more: Any) -> list[Body]:
    if client == "anthropic":
        return [{"name": "f", "description": "d", "input_schema": SCHEMA, **more}]
    if client == "responses":
        return [{"type": "function", "name": "f", "description": "d", "parameters": SCHEMA, **more}]
    inner = {"name": "f", "description": "d", "parameters": SCHEMA, **more}
    return [{"type": "function", "function": inner}]


def said(*messages: Body) -> dict[str, Body]:
    """The same messages for clients whose messages look alike."""
    return {"openai": {"messages": list(messages)}, "ollama": {"messages": list(messages)}}


def part(
    openai: Body | None = None, responses: Body | None = None, anthropic: Body | None = None
) -> dict[str, Body]:
    """A user's message with a text and one part beside it."""
    out: dict[str, Body] = {}
    if openai is not None:
        out["openai"] = {
            "messages": [{"role": "user", "content": [{"type": "text", "text": "look"}, openai]}]
        }
    if responses is not None:
        out["responses"] = {
            "input": [
                {"role": "user", "content": [{"type": "input_text", "text": "look"}, responses]}
            ]
        }
    if anthropic is not None:
        out["anthropic"] = {
            "messages": [{"role": "user", "content": [{"type": "text", "text": "look"}, anthropic]}]
        }
    return out


def everywhere(**members: Any) -> dict[str, Body]:
    return {client: dict(members) for client in ("openai", "responses", "anthropic")}


def option(name: str, value: Any) -> dict[str, Body]:
    return {"ollama": {"options": {name: value}}}


CHAT_CALL = {
    "id": "call_1",
    "type": "function",
    "function": {"name": "f", "arguments": '{"a":"b"}'},
}
RESPONSES_CALL = {
    "type": "function_call",
    "call_id": "call_1",
    "name": "f",
    "arguments": '{"a":"b"}',
}
ANTHROPIC_CALL = {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {"a": "b"}}
OLLAMA_CALL = {"function": {"name": "f", "arguments": {"a": "b"}}}


def turn(
    result: Any = "done", *, anthropic_result: Any = None, thought: bool = False, **flags: Any
) -> dict[str, Body]:
    """A call and its result, with reasoning before it where asked for."""
    think = [{"type": "thinking", "thinking": "hm", "signature": "c2ln"}] if thought else []
    item = [
        {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "hm"}]}
    ]
    block = {
        "type": "tool_result",
        "tool_use_id": "toolu_1",
        "content": anthropic_result or "done",
        **flags,
    }
    output = {"type": "function_call_output", "call_id": "call_1", "output": result}
    chat = {"role": "assistant", "content": None, "tool_calls": [CHAT_CALL]}
    ollama = {"role": "assistant", "content": "", "tool_calls": [OLLAMA_CALL]}
    if thought:
        chat["reasoning_content"] = ollama["thinking"] = "hm"
    return {
        "openai": {
            "messages": [HI, chat, {"role": "tool", "tool_call_id": "call_1", "content": "done"}]
        },
        "responses": {"input": [HI, *(item if thought else []), RESPONSES_CALL, output]},
        "anthropic": {
            "messages": [
                HI,
                {"role": "assistant", "content": [*think, ANTHROPIC_CALL]},
                {"role": "user", "content": [block]},
            ]
        },
        "ollama": {"messages": [HI, ollama, {"role": "tool", "tool_name": "f", "content": "done"}]},
    }


def only(bodies: Mapping[str, Body], *clients: str) -> dict[str, Body]:
    return {client: bodies[client] for client in clients}


def with_tools(bodies: Mapping[str, Body], **more: Any) -> dict[str, Body]:
    return {client: {"tools": tools(client, **more), **body} for client, body in bodies.items()}


def rows() -> dict[str, dict[str, Body]]:
    """Concept -> client -> the members that bring it into a request."""
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}}
    web = {"type": "image", "source": {"type": "url", "url": "https://example.com/a.png"}}
    pdf = {
        "type": "document",
        "source": {"type": "base64", "media_type": "application/pdf", "data": PDF},
    }
    stored = {"type": "document", "source": {"type": "file", "file_id": "file_1"}}
    text = {
        "type": "document",
        "source": {"type": "text", "media_type": "text/plain", "data": "abc"},
    }
    shot = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}}
    data = f"data:image/png;base64,{PNG}"
    plain_file = "data:text/plain;base64,YWJj"
    grammar = {"type": "grammar", "grammar": {"syntax": "lark", "definition": "start: X"}}
    flat = {"type": "grammar", "syntax": "lark", "definition": "start: X"}
    space = {"type": "namespace", "name": "n", "description": "d", "tools": tools("responses")}
    mark, point = {"type": "ephemeral"}, {"mode": "explicit"}
    forced = {"type": "function", "function": {"name": "f"}}
    allowed = {"mode": "auto", "tools": [forced]}
    late = [
        HI,
        {"role": "assistant", "content": "yes?"},
        {"role": "system", "content": "be brief"},
        HI,
    ]
    begun = [HI, {"role": "assistant", "content": "So"}]
    return {
        "leading system prompt": {
            **said({"role": "system", "content": "S"}, HI),
            "responses": {"instructions": "S"},
            "anthropic": {"system": "S"},
        },
        "developer message": {
            "openai": {"messages": [{"role": "developer", "content": "S"}, HI]},
            "responses": {"input": [{"role": "developer", "content": "S"}, HI]},
        },
        "system message inside the conversation": {
            **said(*late),
            "responses": {"input": late},
            "anthropic": {"messages": late},
        },
        "message name": {"openai": {"messages": [{**HI, "name": "ann"}]}},
        "image, base64": {
            **part(shot, {"type": "input_image", "image_url": data}, image),
            "ollama": {"messages": [{**HI, "images": [PNG]}]},
        },
        "image, URL": part(
            {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}},
            {"type": "input_image", "image_url": "https://example.com/a.png"},
            web,
        ),
        "image detail": part(
            {"type": "image_url", "image_url": {"url": data, "detail": "low"}},
            {"type": "input_image", "image_url": data, "detail": "low"},
        ),
        "file in a vendor's store": part(
            {"type": "file", "file": {"file_id": "file_1"}},
            {"type": "input_file", "file_id": "file_1"},
            stored,
        ),
        "PDF, base64": part(
            {
                "type": "file",
                "file": {"file_data": f"data:application/pdf;base64,{PDF}", "filename": "a.pdf"},
            },
            {
                "type": "input_file",
                "file_data": f"data:application/pdf;base64,{PDF}",
                "filename": "a.pdf",
            },
            pdf,
        ),
        "PDF, URL": part(
            None,
            {"type": "input_file", "file_url": "https://example.com/a.pdf"},
            {"type": "document", "source": {"type": "url", "url": "https://example.com/a.pdf"}},
        ),
        "text document": part(
            {"type": "file", "file": {"file_data": plain_file, "filename": "a.txt"}},
            {"type": "input_file", "file_data": plain_file, "filename": "a.txt"},
            text,
        ),
        "audio": part(
            {"type": "input_audio", "input_audio": {"data": WAV, "format": "wav"}},
            {"type": "input_audio", "input_audio": {"data": WAV, "format": "wav"}},
        ),
        "spoken answer": {
            "openai": {"modalities": ["text", "audio"], "audio": {"voice": "a", "format": "wav"}}
        },
        "function tools": with_tools({key: {} for key in LETTERS}),
        "strict tools": with_tools(
            {c: {} for c in ("openai", "responses", "anthropic")}, strict=True
        ),
        "custom tools": {
            "openai": {"tools": [{"type": "custom", "custom": {"name": "g", "format": grammar}}]},
            "responses": {"tools": [{"type": "custom", "name": "g", "format": flat}]},
        },
        "namespace tools": {"responses": {"tools": [space]}},
        "tools a vendor runs": {
            "openai": {"tools": tools("openai"), "web_search_options": {}},
            "responses": {"tools": [*tools("responses"), {"type": "web_search"}]},
            "anthropic": {
                "tools": [
                    *tools("anthropic"),
                    {"type": "web_search_20250305", "name": "web_search"},
                ]
            },
        },
        "tool choice: none": with_tools(
            {
                "openai": {"tool_choice": "none"},
                "responses": {"tool_choice": "none"},
                "anthropic": {"tool_choice": {"type": "none"}},
            }
        ),
        "tool choice: required": with_tools(
            {
                "openai": {"tool_choice": "required"},
                "responses": {"tool_choice": "required"},
                "anthropic": {"tool_choice": {"type": "any"}},
            }
        ),
        "tool choice: one tool": with_tools(
            {
                "openai": {"tool_choice": forced},
                "responses": {"tool_choice": {"type": "function", "name": "f"}},
                "anthropic": {"tool_choice": {"type": "tool", "name": "f"}},
            }
        ),
        "tool choice: allowed tools": with_tools(
            {
                "openai": {"tool_choice": {"type": "allowed_tools", "allowed_tools": allowed}},
                "responses": {
                    "tool_choice": {
                        "type": "allowed_tools",
                        "mode": "auto",
                        "tools": [{"type": "function", "name": "f"}],
                    }
                },
            }
        ),
        "one call at a time": with_tools(
            {
                "openai": {"parallel_tool_calls": False},
                "responses": {"parallel_tool_calls": False},
                "anthropic": {"tool_choice": {"type": "auto", "disable_parallel_tool_use": True}},
            }
        ),
        "calls and results in the history": turn(),
        "result that is an error": only(turn(is_error=True), "anthropic"),
        "image in a result": only(
            turn([{"type": "input_image", "image_url": data}], anthropic_result=[image]),
            "responses",
            "anthropic",
        ),
        "reasoning in the history": turn(thought=True),
        "effort": {
            "openai": {"reasoning_effort": "high"},
            "responses": {"reasoning": {"effort": "high"}},
            "anthropic": {"thinking": {"type": "adaptive"}, "output_config": {"effort": "high"}},
            "ollama": {"think": "high"},
        },
        "budget of thinking tokens": {
            "anthropic": {
                "max_tokens": 9999,
                "thinking": {"type": "enabled", "budget_tokens": 4000},
            }
        },
        "thinking off": {
            "openai": {"reasoning_effort": "none"},
            "responses": {"reasoning": {"effort": "none"}},
            "anthropic": {"thinking": {"type": "disabled"}},
            "ollama": {"think": False},
        },
        "thinking on": {"anthropic": {"thinking": {"type": "adaptive"}}, "ollama": {"think": True}},
        "answer is JSON": {
            "openai": {"response_format": {"type": "json_object"}},
            "responses": {"text": {"format": {"type": "json_object"}}},
            "ollama": {"format": "json"},
        },
        "answer bound by a schema": {
            "openai": {
                "response_format": {
                    "type": "json_schema",
                    "json_schema": {"name": "n", "schema": SCHEMA},
                }
            },
            "responses": {
                "text": {"format": {"type": "json_schema", "name": "n", "schema": SCHEMA}}
            },
            "anthropic": {"output_config": {"format": {"type": "json_schema", "schema": SCHEMA}}},
            "ollama": {"format": SCHEMA},
        },
        "temperature, top_p": {**everywhere(temperature=0.5), **option("temperature", 0.5)},
        "top_k": {"openai": {"top_k": 5}, "anthropic": {"top_k": 5}, **option("top_k", 5)},
        "min_p": {"openai": {"min_p": 0.1}, **option("min_p", 0.1)},
        "frequency and presence penalty": {
            "openai": {"frequency_penalty": 0.5},
            **option("frequency_penalty", 0.5),
        },
        "logit_bias": {"openai": {"logit_bias": {"1": 5}}},
        "seed": {"openai": {"seed": 7}, **option("seed", 7)},
        "stop sequences": {
            "openai": {"stop": ["END"]},
            "anthropic": {"stop_sequences": ["END"]},
            **option("stop", ["END"]),
        },
        "max tokens": {
            "openai": {"max_tokens": 50},
            "responses": {"max_output_tokens": 50},
            "anthropic": {"max_tokens": 50},
            **option("num_predict", 50),
        },
        "several answers": {"openai": {"n": 2}},
        "logprobs": {
            "openai": {"logprobs": True, "top_logprobs": 2},
            "responses": {"top_logprobs": 2},
            "ollama": {"logprobs": True},
        },
        "end user": {
            "openai": {"user": "u"},
            "responses": {"user": "u"},
            "anthropic": {"metadata": {"user_id": "u"}},
        },
        "metadata": {"openai": {"metadata": {"k": "v"}}, "responses": {"metadata": {"k": "v"}}},
        "cache marks": {
            "openai": {
                "messages": [
                    {
                        "role": "user",
                        "content": [
                            {"type": "text", "text": "hi", "prompt_cache_breakpoint": point}
                        ],
                    }
                ]
            },
            "responses": {
                "input": [
                    {
                        "role": "user",
                        "content": [
                            {"type": "input_text", "text": "hi", "prompt_cache_breakpoint": point}
                        ],
                    }
                ]
            },
            "anthropic": {
                "messages": [
                    {
                        "role": "user",
                        "content": [{"type": "text", "text": "hi", "cache_control": mark}],
                    }
                ]
            },
        },
        "prompt_cache_key": {
            "openai": {"prompt_cache_key": "k"},
            "responses": {"prompt_cache_key": "k"},
        },
        "service tier": {
            "openai": {"service_tier": "flex"},
            "responses": {"service_tier": "flex"},
            "anthropic": {"service_tier": "standard_only"},
        },
        "verbosity": {"openai": {"verbosity": "low"}, "responses": {"text": {"verbosity": "low"}}},
        "previous_response_id unknown here": {"responses": {"previous_response_id": "resp_1"}},
        "an answer begun by the client": {
            **said(*begun),
            "responses": {"input": begun},
            "anthropic": {"messages": begun},
        },
        "context_management": {"anthropic": {"context_management": {"edits": []}}},
        "thread": {"anthropic": {"thread": {"type": "create"}}},
        "MCP servers": {
            "anthropic": {
                "mcp_servers": [{"type": "url", "name": "a", "url": "https://example.com"}]
            }
        },
        "keep_alive, load options": {"ollama": {"keep_alive": "5m", "options": {"num_gpu": 1}}},
        "a field nobody knows": {client: {"x_unknown": 1} for client in LETTERS},
    }


# --- what comes of it -----------------------------------------------------------------------------


def written(client: str, to: str, body: Body) -> tuple[Any, list[Loss]]:
    """(the upstream's body, or what refused it; the ledger)"""
    ledger = Ledger()
    try:
        request = FORMATS[client].parse_request(json.dumps(body).encode())
        return json.loads(FORMATS[to].write_request(request, ledger, TARGETS[to])), ledger.entries
    except Unsupported as error:
        return error, ledger.entries
    except Invalid as error:
        raise SystemExit(f"{client}: {error}: {body}") from None


def cell(client: str, to: str, members: Body) -> str:
    """= as it is, ~ another way, d dropped without effect, D dropped, X refused."""
    bare = plain(client)
    if "tools" in members and len(members) > 1 and "messages" not in members:
        bare["tools"] = members["tools"]
    out, entries = written(client, to, {**bare, **members})
    if isinstance(out, Unsupported):
        return "X"
    before, known = written(client, to, bare)
    new = [entry for entry in entries if entry not in known]
    for code, whats in (("D", ("dropped",)), ("d", ("dropped",))):
        if any(entry.what in whats and entry.harmless == (code == "d") for entry in new):
            return code
    if new:
        return "E" if all(entry.what == "emulated" for entry in new) else "~"
    if out == before:
        raise SystemExit(f"{client} > {to}: lost without a word: {members}")
    return "="


def matrix() -> dict[str, dict[str, str]]:
    """Concept -> "C>R" -> code. A pair in which the client cannot say it is left out."""
    found: dict[str, dict[str, str]] = {}
    for concept, bodies in rows().items():
        found[concept] = {
            f"{LETTERS[client]}>{LETTERS[to]}": cell(client, to, bodies[client])
            for client, to in PAIRS
            if client in bodies
        }
    return found


# --- the page -------------------------------------------------------------------------------------

HEAD = """# What is lost in translation

Made by `contrib/translation.py` from the translation itself; the tests fail when it is not up to date.

Where client and upstream speak the same format nothing is translated and nothing is lost. Between
two formats each cell was tried: a request with the concept in it was written for the upstream. C is OpenAI
Chat Completions, R OpenAI Responses, A Anthropic Messages, O Ollama; the client stands first.

| | |
|---|---|
| `=` | carried over as it is |
| `~` | carried over another way, as the tables below say; named in `X-Router-Dropped` |
| `E` | the router does it itself; named |
| `d` | left out, and the answer is practically the same; named |
| `D` | left out, and the answer may differ; named, and a 400 with `X-Router-Strict: 1` |
| `X` | refused by this upstream: the next candidate is tried, and with none left the client gets a 400 that names it |

The upstreams here are a Chat Completions or Responses server that is not OpenAI's own, `claude-opus-4-8`, and any model of
Ollama. What OpenAI's own servers, its reasoning models and other Claude models take differently stands in
the tables.
"""


def page() -> str:
    return "\n".join([HEAD, *_matrix_lines(), "", *_case_lines(), *_name_lines()]) + "\n"


def _matrix_lines() -> Iterator[str]:
    columns = [f"{LETTERS[client]}>{LETTERS[to]}" for client, to in PAIRS]
    yield "## The matrix\n"
    yield "| | " + " | ".join(columns) + " |"
    yield "|---" * (len(columns) + 1) + "|"
    for concept, cells in matrix().items():
        yield f"| {concept} | " + " | ".join(cells.get(each, "") for each in columns) + " |"


def _case_lines() -> Iterator[str]:
    shared = {name for name, case in CASES["openai"].items() if CASES[""].get(name) is case}
    yield from _cases("To every format", {n: c for n, c in CASES[""].items() if n in shared})
    for to in LETTERS:
        own = {n: c for n, c in CASES[to].items() if CASES[""].get(n) is not c}
        yield from _cases(f"To {NAMES[to]}", own)
    for client, cases in ANSWERS.items():
        name = NAMES.get(
            client, {"completions": "/v1/completions", "generate": "/api/generate"}.get(client)
        )
        yield from _cases(f"Of answers, for clients of {name}", cases)


def _cases(title: str, cases: Mapping[str, Any]) -> Iterator[str]:
    yield f"## {title}\n"
    yield "| case | what is done | why | the answer may differ |"
    yield "|---|---|---|---|"
    for name, case in cases.items():
        differs = "" if case.what == "refused" else "no" if case.harmless else "yes"
        yield f"| {name} | {case.what} | {case.why} | {differs} |"
    yield ""


def _name_lines() -> Iterator[str]:
    yield "## What a client's header calls it\n"
    yield "| | " + " | ".join(NAMES.values()) + " |"
    yield "|---" * (len(NAMES) + 1) + "|"
    concepts = {case.place.partition(".")[0] for cases in CASES.values() for case in cases.values()}
    for concept in sorted(c for c in concepts if c and "{" not in c and "[" not in c):
        named = [f"`{field(client, concept)}`" for client in LETTERS]
        if len(set(named)) > 1:
            yield f"| {concept} | " + " | ".join(named) + " |"


def main() -> int:
    made = page()
    if sys.argv[1:] == ["--check"]:
        if PAGE.read_text("utf-8") == made:
            return 0
        print(f"{PAGE.name} is not what the translation does: run contrib/translation.py")
        return 1
    PAGE.write_text(made, "utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
