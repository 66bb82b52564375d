"""The official client libraries, each asked in the same words: what a program built on it would do.

`CLIENTS[name](url)` is one of them. `user`, `turn` and `results` make messages as that SDK wants
them; `ask` sends them and says what came (`Heard`). The libraries are as they were installed; only
hooks of their HTTP clients look at what they send and get.
"""

from __future__ import annotations

import base64
import json
import threading
from dataclasses import dataclass, field
from typing import Any

import anthropic
import ollama
import openai

PATIENCE_S = 60.0
OPENAI_STOPS = {"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use"}
OLLAMA_STOPS = {"stop": "end_turn", "length": "max_tokens"}
Call = tuple[str, str, Any]


@dataclass
class Heard:
    """One answer. calls: (id, name, arguments), "" where the SDK shows no id. message: the
    assistant's turn, ready to be sent back. stop: as Anthropic calls it."""

    text: str = ""
    thinking: str = ""
    refusal: str = ""
    calls: list[Call] = field(default_factory=list)
    stop: str | None = None
    native: str | None = None
    usage: tuple[int, int] | None = None
    message: Any = None


class Client:
    """What the three have in common. `sent`, `sent_headers`: the last request; `headers`: the
    answer's fields; `heard`: what had come of an answer when an error was raised; `got_some`: text came."""

    def __init__(self) -> None:
        self.sent = b""
        self.sent_headers: dict[str, str] = {}
        self.headers: dict[str, str] = {}
        self.heard = Heard()
        self.got_some = threading.Event()

    def _hooks(self) -> Any:
        return {"request": [self._note_request], "response": [self._note_response]}

    def _note_request(self, request: Any) -> None:
        self.sent, self.sent_headers = request.read(), dict(request.headers)

    def _note_response(self, response: Any) -> None:
        self.headers = dict(response.headers)

    def _note_text(self, heard: Heard) -> None:
        if heard.text:
            self.got_some.set()

    def ask(self, model: str, messages: Any, *, stream: bool = False, **more: Any) -> Heard:
        self.heard = Heard()
        self.got_some.clear()
        given = messages if isinstance(messages, list) else [self.user(messages)]
        self._ask(self.heard, stream, {"model": model, "messages": given, **self.words(**more)})
        return self.heard

    def _ask(self, heard: Heard, stream: bool, request: Any) -> None:
        raise NotImplementedError

    def user(self, text: str, image: bytes | None = None) -> Any:
        raise NotImplementedError

    def words(self, **more: Any) -> Any:
        """tools, schema, thinking, image: in the SDK's own words; others are its own already."""
        raise NotImplementedError


def _functions(tools: Any) -> Any:
    return [
        {"type": "function", "function": {"name": n, "description": d, "parameters": s}}
        for n, d, s in tools
    ]


# --- OpenAI ---------------------------------------------------------------------------------------


class OpenAIClient(Client):
    errors = openai.OpenAIError

    def __init__(self, url: str, key: str = "client-key", **headers: str) -> None:
        super().__init__()
        self.sdk = openai.OpenAI(
            base_url=f"{url}/v1",
            api_key=key,
            max_retries=0,
            timeout=PATIENCE_S,
            default_headers=headers,
            http_client=openai.DefaultHttpxClient(event_hooks=self._hooks()),
        )

    def close(self) -> None:
        self.sdk.close()

    def user(self, text: str, image: bytes | None = None) -> Any:
        if image is None:
            return {"role": "user", "content": text}
        url = f"data:image/png;base64,{base64.b64encode(image).decode()}"
        shown = {"type": "image_url", "image_url": {"url": url}}
        return {"role": "user", "content": [{"type": "text", "text": text}, shown]}

    def results(self, heard: Heard, texts: list[str]) -> list[Any]:
        return [
            {"role": "tool", "tool_call_id": call_id, "content": text}
            for (call_id, _, _), text in zip(heard.calls, texts, strict=True)
        ]

    def words(
        self, *, tools: Any = None, schema: Any = None, thinking: bool = False, **more: Any
    ) -> Any:
        if tools:
            more["tools"] = _functions(tools)
        if schema:
            named = {"name": "answer", "schema": schema, "strict": True}
            more["response_format"] = {"type": "json_schema", "json_schema": named}
        if thinking:
            more["reasoning_effort"] = "low"
        return more

    def _ask(self, heard: Heard, stream: bool, request: Any) -> None:
        if stream:
            request.setdefault("stream_options", {"include_usage": True})
            self._watch(heard, request)
        else:
            self._read(heard, request)
        heard.stop = "refusal" if heard.refusal else OPENAI_STOPS.get(heard.native or "")

    def _read(self, heard: Heard, request: Any) -> None:
        answer = self.sdk.chat.completions.create(**request)
        (choice,) = answer.choices
        message = choice.message
        heard.text, heard.refusal = message.content or "", message.refusal or ""
        heard.thinking = _reasoning(message)
        heard.calls = [
            (call.id, call.function.name, json.loads(call.function.arguments))
            for call in message.tool_calls or []
        ]
        heard.native, heard.message = choice.finish_reason, message
        heard.usage = _openai_usage(answer.usage)

    def _watch(self, heard: Heard, request: Any) -> None:
        calls: dict[int, list[str]] = {}
        for chunk in self.sdk.chat.completions.create(**request, stream=True):
            heard.usage = _openai_usage(chunk.usage) or heard.usage
            for choice in chunk.choices:
                heard.text += choice.delta.content or ""
                self._note_text(heard)
                heard.refusal += choice.delta.refusal or ""
                heard.thinking += _reasoning(choice.delta)
                for piece in choice.delta.tool_calls or []:
                    call = calls.setdefault(piece.index, ["", "", ""])
                    call[0] += piece.id or ""
                    call[1] += piece.function.name or ""
                    call[2] += piece.function.arguments or ""
                heard.native = choice.finish_reason or heard.native
        heard.calls = [(i, n, json.loads(a)) for _, (i, n, a) in sorted(calls.items())]
        heard.message = {"role": "assistant", "content": heard.text or None}
        if heard.calls:
            heard.message["tool_calls"] = [
                {"id": i, "type": "function", "function": {"name": n, "arguments": a}}
                for i, n, a in calls.values()
            ]


class ResponsesClient(OpenAIClient):
    """The same library's other half. What it yields as an event of failure is raised here, as a
    program that is built on it must."""

    def _ask(self, heard: Heard, stream: bool, request: Any) -> None:
        request["input"] = request.pop("messages")
        if stream:
            self._watch(heard, request)
        else:
            self._note_answer(heard, self.sdk.responses.create(**request))

    def _watch(self, heard: Heard, request: Any) -> None:
        for event in self.sdk.responses.create(**request, stream=True):
            if event.type == "error":
                raise openai.OpenAIError(event.message)
            if event.type == "response.failed":
                raise openai.OpenAIError(event.response.error.message)
            if event.type == "response.output_text.delta":
                heard.text += event.delta
                self._note_text(heard)
            elif event.type == "response.output_item.done" and event.item.type == "function_call":
                heard.calls.append(_called(event.item))
            elif event.type in ("response.completed", "response.incomplete"):
                heard.native = event.response.status

    def _note_answer(self, heard: Heard, answer: Any) -> None:
        heard.text, heard.native = answer.output_text, answer.status
        heard.calls = [_called(item) for item in answer.output if item.type == "function_call"]


def _called(item: Any) -> Call:
    return item.call_id, item.name, json.loads(item.arguments)


def _reasoning(message: Any) -> str:
    extra = message.model_extra or {}
    return extra.get("reasoning_content") or extra.get("reasoning") or ""


def _openai_usage(usage: Any) -> tuple[int, int] | None:
    return None if usage is None else (usage.prompt_tokens, usage.completion_tokens)


# --- Anthropic ------------------------------------------------------------------------------------


class AnthropicClient(Client):
    errors = anthropic.AnthropicError

    def __init__(self, url: str, key: str = "client-key", **headers: str) -> None:
        super().__init__()
        self.sdk = anthropic.Anthropic(
            base_url=url,
            api_key=key,
            max_retries=0,
            timeout=PATIENCE_S,
            default_headers=headers,
            http_client=anthropic.DefaultHttpxClient(event_hooks=self._hooks()),
        )

    def close(self) -> None:
        self.sdk.close()

    def user(self, text: str, image: bytes | None = None) -> Any:
        if image is None:
            return {"role": "user", "content": text}
        data = base64.b64encode(image).decode()
        source = {"type": "base64", "media_type": "image/png", "data": data}
        content = [{"type": "image", "source": source}, {"type": "text", "text": text}]
        return {"role": "user", "content": content}

    def results(self, heard: Heard, texts: list[str]) -> list[Any]:
        blocks = [
            {"type": "tool_result", "tool_use_id": call_id, "content": text}
            for (call_id, _, _), text in zip(heard.calls, texts, strict=True)
        ]
        return [{"role": "user", "content": blocks}]

    def words(
        self, *, tools: Any = None, schema: Any = None, thinking: bool = False, **more: Any
    ) -> Any:
        more.setdefault("max_tokens", 4000)
        if tools:
            more["tools"] = [{"name": n, "description": d, "input_schema": s} for n, d, s in tools]
        if schema:
            more["output_config"] = {"format": {"type": "json_schema", "schema": schema}}
        if thinking:
            more["thinking"] = {"type": "enabled", "budget_tokens": 2000}
        return more

    def _ask(self, heard: Heard, stream: bool, request: Any) -> None:
        message = self._watch(heard, request) if stream else self.sdk.messages.create(**request)
        texts = [block.text for block in message.content if block.type == "text"]
        thoughts = [block.thinking for block in message.content if block.type == "thinking"]
        heard.text, heard.thinking = "".join(texts), "".join(thoughts)
        heard.calls = [(b.id, b.name, b.input) for b in message.content if b.type == "tool_use"]
        heard.stop = heard.native = message.stop_reason
        usage = message.usage
        cached = (usage.cache_read_input_tokens or 0) + (usage.cache_creation_input_tokens or 0)
        heard.usage = (usage.input_tokens + cached, usage.output_tokens)
        content = [block.to_dict() for block in message.content]
        heard.message = {"role": "assistant", "content": content}

    def _watch(self, heard: Heard, request: Any) -> Any:
        with self.sdk.messages.stream(**request) as events:
            for event in events:
                if event.type == "text":
                    heard.text += event.text
                    self._note_text(heard)
            return events.get_final_message()


# --- Ollama ---------------------------------------------------------------------------------------


class OllamaClient(Client):
    errors = (ollama.ResponseError, ConnectionError)

    def __init__(self, url: str, key: str = "client-key", **headers: str) -> None:
        super().__init__()
        fields = {"authorization": f"Bearer {key}", **headers}
        self.sdk = ollama.Client(
            host=url, headers=fields, timeout=PATIENCE_S, event_hooks=self._hooks()
        )

    def close(self) -> None:
        self.sdk.close()

    def user(self, text: str, image: bytes | None = None) -> Any:
        message: dict[str, Any] = {"role": "user", "content": text}
        return message if image is None else {**message, "images": [image]}

    def results(self, heard: Heard, texts: list[str]) -> list[Any]:
        return [
            {"role": "tool", "tool_name": name, "content": text}
            for (_, name, _), text in zip(heard.calls, texts, strict=True)
        ]

    def words(
        self, *, tools: Any = None, schema: Any = None, thinking: bool = False, **more: Any
    ) -> Any:
        if tools:
            more["tools"] = _functions(tools)
        if schema:
            more["format"] = schema
        if thinking:
            more["think"] = True
        return more

    def _ask(self, heard: Heard, stream: bool, request: Any) -> None:
        if stream:
            parts: Any = self.sdk.chat(**request, stream=True)
        else:
            parts = [self.sdk.chat(**request)]
        calls: list[Any] = []
        for part in parts:
            heard.text += part.message.content or ""
            self._note_text(heard)
            heard.thinking += part.message.thinking or ""
            calls += part.message.tool_calls or []
            if part.done:
                heard.native = part.done_reason
                heard.usage = (part.prompt_eval_count, part.eval_count)
        heard.calls = [("", c.function.name, dict(c.function.arguments)) for c in calls]
        heard.stop = OLLAMA_STOPS.get(heard.native or "")
        if calls and heard.stop == "end_turn":
            heard.stop = "tool_use"  # the format has no word of its own for it
        heard.message = ollama.Message(
            role="assistant", content=heard.text, tool_calls=calls or None
        )


CLIENTS: dict[str, Any] = {
    "openai": OpenAIClient,
    "anthropic": AnthropicClient,
    "ollama": OllamaClient,
}
