"""What a server of each format says: the pieces of a stream, whole answers, errors.

Owns: the bytes, written by hand and not with the codecs that will read them.
Refuses to know: when something is said, and what goes wrong.
"""

from __future__ import annotations

import json
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping

JSON = Any
SSE = "text/event-stream"
CREATED = 1795464000
WHEN = "2026-11-23T10:00:00.123456Z"
# Said with every answer that has figures.
INPUT, OUTPUT = 11, 7


class Voice(Protocol):
    """path: where its chats are asked. opening: what comes before any content."""

    path: str
    stream_type: str

    def opening(self, *, usage: bool = True) -> bytes: ...

    def text(self, words: str, *, first: bool = False) -> bytes:
        """One piece of text; the first one follows `opening`."""
        ...

    def thought(self, words: str, *, first: bool = False) -> bytes: ...

    def calls(self, names: tuple[str, ...]) -> bytes:
        """Tool calls in places that mislead: all have the same, or they overlap."""
        ...

    def closing(self, *, usage: bool = True, calls: bool = False) -> bytes:
        """What ends a stream of text, or of calls."""
        ...

    def garbage(self) -> bytes:
        """An event that is none."""
        ...

    def error_event(self, message: str) -> bytes: ...

    def whole(self, words: str, *, usage: bool = True, calls: tuple[str, ...] = ()) -> JSON: ...

    def error(self, kind: str, message: str) -> JSON: ...


def compact(value: JSON) -> str:
    """Letters as they are: some of the faults cut them into bytes."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def _data(value: JSON, name: str = "") -> bytes:
    return (f"event: {name}\n" if name else "").encode() + f"data: {compact(value)}\n\n".encode()


class OpenAI:
    path = "/v1/chat/completions"
    stream_type = SSE

    def opening(self, *, usage: bool = True) -> bytes:
        return self._chunk({"role": "assistant", "content": ""})

    def text(self, words: str, *, first: bool = False) -> bytes:
        return self._chunk({"content": words})

    def thought(self, words: str, *, first: bool = False) -> bytes:
        return self._chunk({"reasoning_content": words})

    def calls(self, names: tuple[str, ...]) -> bytes:
        return b"".join(self._chunk({"tool_calls": [call]}) for call in _openai_calls(names))

    def closing(self, *, usage: bool = True, calls: bool = False) -> bytes:
        end = self._chunk({}, "tool_calls" if calls else "stop")
        if usage:
            end += _data({**self._head("chat.completion.chunk"), "choices": [], "usage": _USAGE})
        return end + b"data: [DONE]\n\n"

    def garbage(self) -> bytes:
        return b"data: {garbage\n\n"

    def error_event(self, message: str) -> bytes:
        return _data(self.error("server_error", message))

    def whole(self, words: str, *, usage: bool = True, calls: tuple[str, ...] = ()) -> JSON:
        message: dict[str, JSON] = {"role": "assistant", "content": words or None}
        if calls:
            message["tool_calls"] = _openai_calls(calls)
        stop = "tool_calls" if calls else "stop"
        choice = {"index": 0, "message": message, "finish_reason": stop}
        figures = {"usage": _USAGE} if usage else {}
        return {**self._head("chat.completion"), "choices": [choice], **figures}

    def error(self, kind: str, message: str) -> JSON:
        return {"error": {"message": message, "type": kind, "param": None, "code": None}}

    def _head(self, kind: str) -> dict[str, JSON]:
        return {"id": "chatcmpl-1", "object": kind, "created": CREATED, "model": "selftest"}

    def _chunk(self, delta: JSON, finish: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "finish_reason": finish}
        return _data({**self._head("chat.completion.chunk"), "choices": [choice]})


_USAGE = {"prompt_tokens": INPUT, "completion_tokens": OUTPUT, "total_tokens": INPUT + OUTPUT}


def _openai_calls(names: tuple[str, ...]) -> list[JSON]:
    """Every call is the first one, if its index is believed."""
    return [
        {
            "index": 0,
            "id": f"call_{name}",
            "type": "function",
            "function": {"name": name, "arguments": "{}"},
        }
        for name in names
    ]


class Anthropic:
    path = "/v1/messages"
    stream_type = SSE

    def opening(self, *, usage: bool = True) -> bytes:
        message = {**self.whole("", usage=False), "content": [], "stop_reason": None}
        if usage:
            message["usage"] = {"input_tokens": INPUT, "output_tokens": 1}
        return self._event("message_start", message=message) + self._event("ping")

    def text(self, words: str, *, first: bool = False) -> bytes:
        start = self._start(0, {"type": "text", "text": ""}) if first else b""
        return start + self._delta(0, {"type": "text_delta", "text": words})

    def thought(self, words: str, *, first: bool = False) -> bytes:
        empty = {"type": "thinking", "thinking": "", "signature": ""}
        start = self._start(0, empty) if first else b""
        return start + self._delta(0, {"type": "thinking_delta", "thinking": words})

    def calls(self, names: tuple[str, ...]) -> bytes:
        """The blocks overlap, as llama.cpp's do: none ends before all have come."""
        out = b"".join(self._start(at, call) for at, call in enumerate(_anthropic_calls(names)))
        piece = {"type": "input_json_delta", "partial_json": "{}"}
        out += b"".join(self._delta(at, piece) for at in range(len(names)))
        stops = (self._event("content_block_stop", index=at) for at in range(len(names)))
        return out + b"".join(stops)

    def closing(self, *, usage: bool = True, calls: bool = False) -> bytes:
        stop = {"stop_reason": "tool_use" if calls else "end_turn", "stop_sequence": None}
        figures = {"usage": {"output_tokens": OUTPUT}} if usage else {}
        end = b"" if calls else self._event("content_block_stop", index=0)
        end += self._event("message_delta", delta=stop, **figures)
        return end + self._event("message_stop")

    def garbage(self) -> bytes:
        return b"event: content_block_delta\ndata: {garbage\n\n"

    def error_event(self, message: str) -> bytes:
        return _data(self.error("api_error", message), "error")

    def whole(self, words: str, *, usage: bool = True, calls: tuple[str, ...] = ()) -> JSON:
        text = [{"type": "text", "text": words}] if words else []
        stop = {"stop_reason": "tool_use" if calls else "end_turn", "stop_sequence": None}
        head = {"id": "msg_1", "type": "message", "role": "assistant", "model": "selftest"}
        figures = {"usage": {"input_tokens": INPUT, "output_tokens": OUTPUT}} if usage else {}
        return {**head, "content": text + _anthropic_calls(calls), **stop, **figures}

    def error(self, kind: str, message: str) -> JSON:
        return {"type": "error", "error": {"type": kind, "message": message}}

    def _event(self, kind: str, **members: JSON) -> bytes:
        return _data({"type": kind, **members}, kind)

    def _start(self, index: int, block: JSON) -> bytes:
        return self._event("content_block_start", index=index, content_block=block)

    def _delta(self, index: int, delta: JSON) -> bytes:
        return self._event("content_block_delta", index=index, delta=delta)


def _anthropic_calls(names: tuple[str, ...]) -> list[JSON]:
    return [{"type": "tool_use", "id": f"call_{n}", "name": n, "input": {}} for n in names]


class Ollama:
    path = "/api/chat"
    stream_type = "application/x-ndjson"

    def opening(self, *, usage: bool = True) -> bytes:
        return b""  # its first line has content

    def text(self, words: str, *, first: bool = False) -> bytes:
        return self._line({"content": words})

    def thought(self, words: str, *, first: bool = False) -> bytes:
        return self._line({"thinking": words})

    def calls(self, names: tuple[str, ...]) -> bytes:
        return b"".join(self._line({"tool_calls": [call]}) for call in _ollama_calls(names))

    def closing(self, *, usage: bool = True, calls: bool = False) -> bytes:
        return self._line({}, **self._end(usage))

    def garbage(self) -> bytes:
        return b'{"model":garbage\n'

    def error_event(self, message: str) -> bytes:
        return compact({"error": message}).encode() + b"\n"

    def whole(self, words: str, *, usage: bool = True, calls: tuple[str, ...] = ()) -> JSON:
        message: dict[str, JSON] = {"role": "assistant", "content": words}
        if calls:
            message["tool_calls"] = _ollama_calls(calls)
        return {**self._head(), "message": message, **self._end(usage)}

    def error(self, kind: str, message: str) -> JSON:
        return {"error": message}

    def _head(self) -> dict[str, JSON]:
        return {"model": "selftest", "created_at": WHEN}

    def _end(self, usage: bool) -> dict[str, JSON]:
        figures = {"prompt_eval_count": INPUT, "eval_count": OUTPUT} if usage else {}
        return {"done": True, "done_reason": "stop", "total_duration": 9, **figures}

    def _line(self, message: JSON, **end: JSON) -> bytes:
        said = {"role": "assistant", "content": "", **message}
        line = {**self._head(), "message": said, **(end or {"done": False})}
        return compact(line).encode() + b"\n"


def _ollama_calls(names: tuple[str, ...]) -> list[JSON]:
    return [{"function": {"index": 0, "name": name, "arguments": {}}} for name in names]


class Responses:
    path = "/v1/responses"
    stream_type = SSE

    def opening(self, *, usage: bool = True) -> bytes:
        return self._event("response.created", response=self._whole([], "in_progress"))

    def text(self, words: str, *, first: bool = False) -> bytes:
        start = self._added(0, _said("", "in_progress")) if first else b""
        where = {"item_id": "msg_1", "output_index": 0, "content_index": 0}
        return start + self._event("response.output_text.delta", **where, delta=words, logprobs=[])

    def thought(self, words: str, *, first: bool = False) -> bytes:
        item = {"type": "reasoning", "id": "rs_1", "summary": []}
        start = self._added(0, item) if first else b""
        where = {"item_id": "rs_1", "output_index": 0, "summary_index": 0}
        return start + self._event("response.reasoning_summary_text.delta", **where, delta=words)

    def calls(self, names: tuple[str, ...]) -> bytes:
        """The calls overlap: none is done before all have come."""
        items = list(enumerate(_responses_calls(names)))
        out = b"".join(self._added(at, {**call, "arguments": ""}) for at, call in items)
        for at, call in items:
            where = {"item_id": call["id"], "output_index": at}
            out += self._event("response.function_call_arguments.delta", **where, delta="{}")
        done = (
            self._event("response.output_item.done", output_index=at, item=call)
            for at, call in items
        )
        return out + b"".join(done)

    def closing(self, *, usage: bool = True, calls: bool = False) -> bytes:
        return self._event("response.completed", response=self._whole([], "completed", usage))

    def garbage(self) -> bytes:
        return b"event: response.output_text.delta\ndata: {garbage\n\n"

    def error_event(self, message: str) -> bytes:
        return self._event("error", code="server_error", message=message, param=None)

    def whole(self, words: str, *, usage: bool = True, calls: tuple[str, ...] = ()) -> JSON:
        said = [_said(words, "completed")] if words else []
        return self._whole(said + _responses_calls(calls), "completed", usage)

    def error(self, kind: str, message: str) -> JSON:
        return {"error": {"message": message, "type": kind, "param": None, "code": None}}

    def _whole(self, output: list[JSON], status: str, usage: bool = False) -> JSON:
        head = {"id": "resp_1", "object": "response", "created_at": CREATED, "model": "selftest"}
        figures = {"input_tokens": INPUT, "output_tokens": OUTPUT, "total_tokens": INPUT + OUTPUT}
        shown = {"usage": figures} if usage else {}
        return {**head, "status": status, "error": None, "output": output, **shown}

    def _added(self, index: int, item: JSON) -> bytes:
        return self._event("response.output_item.added", output_index=index, item=item)

    def _event(self, kind: str, **members: JSON) -> bytes:
        return _data({"type": kind, **members}, kind)


def _said(words: str, status: str) -> JSON:
    content = [{"type": "output_text", "text": words, "annotations": []}] if words else []
    head = {"type": "message", "id": "msg_1", "status": status, "role": "assistant"}
    return {**head, "content": content}


def _responses_calls(names: tuple[str, ...]) -> list[JSON]:
    return [
        {
            "type": "function_call",
            "id": f"fc_{name}",
            "call_id": f"call_{name}",
            "name": name,
            "arguments": "{}",
            "status": "completed",
        }
        for name in names
    ]


VOICES: Mapping[str, Voice] = MappingProxyType(
    {
        "openai": OpenAI(),
        "anthropic": Anthropic(),
        "ollama": Ollama(),
        "responses": Responses(),
    }
)
