"""Model servers of the three formats: they say what a test tells them, whole or streamed as asked.

`FakeModel("openai")` answers the chat path of its format and the lists of models around it, and
nothing else: a request at the wrong path gets a 404, as from the real server.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.fakes.upstream import FakeUpstream, Received, Turn

GOLDEN = Path(__file__).parent.parent / "transcripts" / "golden"
CHAT_PATH = {
    "openai": "/v1/chat/completions",
    "anthropic": "/v1/messages",
    "ollama": "/api/chat",
    "responses": "/v1/responses",
}
STREAM_TYPE = {
    "openai": "text/event-stream",
    "anthropic": "text/event-stream",
    "ollama": "application/x-ndjson",
    "responses": "text/event-stream",
}
MODEL = {"openai": "gpt-fake", "anthropic": "claude-sonnet-5-5", "ollama": "fake:8b"}
VECTOR = [0.5, -0.25, 1.0]
SIGNATURE = "RXFrSIGfake0001=="
WHEN = "2026-11-23T10:00:00.123456Z"
Answer = Callable[[Turn], None]


@dataclass(frozen=True)
class Said:
    """What the model says. calls: (id, name, arguments); cut: it ran into the limit of tokens."""

    text: str = ""
    thinking: str = ""
    calls: tuple[tuple[str, str, dict[str, Any]], ...] = ()
    cut: bool = False
    input: int = 11
    output: int = 7


def wants_stream(fmt: str, request: Received) -> bool:
    return bool(request.json.get("stream", fmt == "ollama"))


class FakeModel:
    """`with FakeModel("ollama") as model:`; `model.says(Said("hi"))`, or `model.does(script)` for
    an answer that is not one. `chats` holds the chat requests it got since the last of these."""

    def __init__(self, fmt: str, *names: str) -> None:
        self.format = fmt
        self.names = names or (MODEL.get(fmt, "gpt-fake"),)
        self.small: list[Received] = []
        self.chats: list[Received] = []
        self.prefix = ""  # what stands before the paths of the format
        self.able: dict[str, list[str]] = {}  # what /api/show says of a model, if not all
        self._answer: Answer = self.answer(Said("hello"))
        self.upstream = FakeUpstream(self._serve)

    def __enter__(self) -> FakeModel:
        self.upstream.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self.upstream.__exit__(*error)
        assert not self.upstream.errors, self.upstream.errors

    @property
    def url(self) -> str:
        return self.upstream.url

    @property
    def port(self) -> int:
        return self.upstream.port

    @property
    def asked(self) -> Any:
        """The one chat request that came, parsed."""
        assert len(self.chats) == 1, [chat.body for chat in self.chats]
        return self.chats[0].json

    def says(self, said: Said) -> None:
        self.does(self.answer(said))

    def does(self, *answers: Answer) -> None:
        """Answer the coming chats so, one after the other; the last one holds."""
        left = list(answers)

        def script(turn: Turn) -> None:
            (left.pop(0) if len(left) > 1 else left[0])(turn)

        self.chats.clear()
        self._answer = script

    def plays(self, file: str, before_last: Callable[[], object] = lambda: None) -> None:
        """Answer with the bytes of a golden transcript. before_last: called before a stream's last
        event is sent."""
        entry = next(e for e in golden_entries() if e["file"] == file)
        body = (GOLDEN / file).read_bytes()
        extra = [f"{name}: {value}" for name, value in entry["response_headers"].items()]

        def script(turn: Turn) -> None:
            if entry["stream"]:
                *first, last = events_in(body)
                turn.begin(*extra, kind=entry["content_type"])
                for piece in first:
                    turn.chunk(piece)
                before_last()
                turn.chunk(last)
                turn.end()
            else:
                turn.whole(body, entry["http_status"], *extra, kind=entry["content_type"])

        self.does(script)

    def answer(self, said: Said) -> Answer:
        def script(turn: Turn) -> None:
            if wants_stream(self.format, turn.received):
                turn.stream(pieces(self.format, said, turn.received.json), kind=self.stream_type)
            else:
                turn.whole(whole(self.format, said))

        return script

    @property
    def stream_type(self) -> str:
        return STREAM_TYPE[self.format]

    def _serve(self, turn: Turn) -> None:
        path = turn.received.target.partition("?")[0]
        path = path.removeprefix(self.prefix) if self.prefix else path
        if path == CHAT_PATH[self.format] and turn.received.method == "POST":
            self.chats.append(turn.received)
            self._answer(turn)
            return
        listed = self._small(path, turn.received) or self._lists(path, turn.received)
        if listed is None:
            turn.whole({"error": f"nothing at {path}"}, 404)
        else:
            turn.whole(listed)

    def _small(self, path: str, request: Received) -> Any:
        """The answers of the smaller calls."""
        if request.method != "POST":
            return None
        self.small.append(request)
        if path == "/v1/embeddings":
            given = request.json["input"]
            count = len(given) if isinstance(given, list) else 1
            data = [{"object": "embedding", "index": i, "embedding": VECTOR} for i in range(count)]
            usage = {"prompt_tokens": 3, "total_tokens": 3}
            return {"object": "list", "data": data, "model": "up", "usage": usage}
        if path == "/api/embed":
            given = request.json["input"]
            count = len(given) if isinstance(given, list) else 1
            return {"model": "up", "embeddings": [VECTOR] * count, "prompt_eval_count": 3}
        if path == "/v1/messages/count_tokens":
            return {"input_tokens": 4242}
        if path == "/v1/completions":
            choice = {"index": 0, "text": "hello", "logprobs": None, "finish_reason": "stop"}
            usage = {"prompt_tokens": 3, "completion_tokens": 1, "total_tokens": 4}
            head = {"id": "cmpl-1", "object": "text_completion", "created": 1, "model": "up"}
            return {**head, "choices": [choice], "usage": usage}
        if path == "/api/generate":
            return {**_ollama(Said("hello")), "message": None, "response": "hello"}
        return None

    def _lists(self, path: str, request: Received) -> Any:
        if self.format == "ollama":
            return self._ollama_lists(path, request)
        if path != "/v1/models":
            return None
        kind = {"object": "model", "type": "model", "created_at": WHEN, "owned_by": "fake"}
        listed = [{"id": name, **kind} for name in self.names]
        return {"object": "list", "data": listed, "has_more": False}

    def _ollama_lists(self, path: str, request: Received) -> Any:
        if path == "/api/tags":
            return {"models": [{"name": n, "model": n, "digest": n, "size": 9} for n in self.names]}
        if path == "/api/ps":
            return {"models": []}
        if path == "/api/show":
            able = self.able.get(
                request.json["model"], ["completion", "tools", "vision", "thinking"]
            )
            return {"capabilities": able, "details": {"family": "fake"}, "model_info": {}}
        return None


def golden_entries() -> list[dict[str, Any]]:
    entries: list[dict[str, Any]] = json.loads((GOLDEN / "index.json").read_text())["entries"]
    return entries


def events_in(body: bytes) -> list[bytes]:
    """A stream's bytes in one piece an event (or a line)."""
    mark = b"\n\n" if b"\n\n" in body else b"\n"
    return [piece + mark for piece in body.split(mark) if piece.strip()]


# --- whole answers --------------------------------------------------------------------------------


def whole(fmt: str, said: Said) -> Any:
    writers = {
        "openai": _openai,
        "anthropic": _anthropic,
        "ollama": _ollama,
        "responses": _responses,
    }
    return writers[fmt](said)


def pieces(fmt: str, said: Said, asked: Any) -> Iterator[bytes]:
    if fmt == "openai":
        usage = (asked.get("stream_options") or {}).get("include_usage", False)
        return _openai_pieces(said, usage=usage)
    writers = {
        "anthropic": _anthropic_pieces,
        "ollama": _ollama_pieces,
        "responses": _responses_pieces,
    }
    return writers[fmt](said)


def _compact(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def _openai_usage(said: Said) -> Any:
    made = {"prompt_tokens": said.input, "completion_tokens": said.output}
    return {**made, "total_tokens": said.input + said.output}


def _openai_stop(said: Said) -> str:
    return "length" if said.cut else "tool_calls" if said.calls else "stop"


def _openai(said: Said) -> Any:
    message: dict[str, Any] = {"role": "assistant", "content": said.text or None}
    if said.thinking:
        message["reasoning_content"] = said.thinking
    if said.calls:
        message["tool_calls"] = [
            {"id": i, "type": "function", "function": {"name": n, "arguments": _compact(a)}}
            for i, n, a in said.calls
        ]
    choice = {"index": 0, "message": message, "finish_reason": _openai_stop(said)}
    head = {"id": "chatcmpl-fake1", "object": "chat.completion", "created": 1795464000}
    return {**head, "model": "gpt-fake", "choices": [choice], "usage": _openai_usage(said)}


def _openai_pieces(said: Said, *, usage: bool) -> Iterator[bytes]:
    """Calls come interleaved, as from servers that make them at the same time."""
    head = {"id": "chatcmpl-fake1", "object": "chat.completion.chunk", "created": 1795464000}

    def chunk(delta: Any, finish: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "finish_reason": finish}
        return f"data: {_compact({**head, 'model': 'gpt-fake', 'choices': [choice]})}\n\n".encode()

    yield chunk({"role": "assistant", "content": ""})
    for piece in halves(said.thinking):
        yield chunk({"reasoning_content": piece})
    for piece in halves(said.text):
        yield chunk({"content": piece})
    for index, (call_id, name, _) in enumerate(said.calls):
        function = {"name": name, "arguments": ""}
        call = {"index": index, "id": call_id, "type": "function", "function": function}
        yield chunk({"tool_calls": [call]})
    for side in (0, 1):
        for index, (_, _, arguments) in enumerate(said.calls):
            fragment = halves(_compact(arguments))[side]
            call = {"index": index, "function": {"arguments": fragment}}
            yield chunk({"tool_calls": [call]})
    yield chunk({}, _openai_stop(said))
    if usage:
        last = {**head, "model": "gpt-fake", "choices": [], "usage": _openai_usage(said)}
        yield f"data: {_compact(last)}\n\n".encode()
    yield b"data: [DONE]\n\n"


def halves(text: str) -> list[str]:
    middle = (len(text) + 1) // 2
    return [piece for piece in (text[:middle], text[middle:]) if piece]


def _anthropic_stop(said: Said) -> str:
    return "max_tokens" if said.cut else "tool_use" if said.calls else "end_turn"


def _anthropic(said: Said) -> Any:
    content: list[Any] = []
    if said.thinking:
        content.append({"type": "thinking", "thinking": said.thinking, "signature": SIGNATURE})
    if said.text:
        content.append({"type": "text", "text": said.text})
    content += [{"type": "tool_use", "id": i, "name": n, "input": a} for i, n, a in said.calls]
    head = {"id": "msg_fake1", "type": "message", "role": "assistant", "model": MODEL["anthropic"]}
    stop = {"stop_reason": _anthropic_stop(said), "stop_sequence": None}
    usage = {"input_tokens": said.input, "output_tokens": said.output}
    return {**head, "content": content, **stop, "usage": usage}


def _anthropic_pieces(said: Said) -> Iterator[bytes]:
    def event(kind: str, **more: Any) -> bytes:
        return f"event: {kind}\ndata: {_compact({'type': kind, **more})}\n\n".encode()

    message = {**_anthropic(said), "content": [], "stop_reason": None}
    message["usage"] = {"input_tokens": said.input, "output_tokens": 1}
    yield event("message_start", message=message)
    yield event("ping")
    for index, block in enumerate(_anthropic(said)["content"]):
        start, deltas = _anthropic_block(block)
        yield event("content_block_start", index=index, content_block=start)
        for delta in deltas:
            yield event("content_block_delta", index=index, delta=delta)
        yield event("content_block_stop", index=index)
    stop = {"stop_reason": _anthropic_stop(said), "stop_sequence": None}
    yield event("message_delta", delta=stop, usage={"output_tokens": said.output})
    yield event("message_stop")


def _anthropic_block(block: Any) -> tuple[Any, list[Any]]:
    kind = block["type"]
    if kind == "tool_use":
        texts = halves(_compact(block["input"]))
        made = [{"type": "input_json_delta", "partial_json": text} for text in texts]
        return {**block, "input": {}}, made
    made = [{"type": f"{kind}_delta", kind: text} for text in halves(block[kind])]
    if kind == "thinking":
        made.append({"type": "signature_delta", "signature": block["signature"]})
        return {**block, "thinking": "", "signature": ""}, made
    return {**block, "text": ""}, made


def _ollama(said: Said) -> Any:
    message: dict[str, Any] = {"role": "assistant", "content": said.text}
    if said.thinking:
        message["thinking"] = said.thinking
    if said.calls:
        message["tool_calls"] = _ollama_calls(said)
    return {"model": MODEL["ollama"], "created_at": WHEN, "message": message, **_ollama_end(said)}


def _ollama_calls(said: Said) -> Any:
    return [
        {"id": i, "function": {"index": at, "name": n, "arguments": a}}
        for at, (i, n, a) in enumerate(said.calls)
    ]


def _ollama_end(said: Said) -> Any:
    figures = {"prompt_eval_count": said.input, "eval_count": said.output}
    times = {"total_duration": 9, "load_duration": 1, "eval_duration": 2}
    return {"done": True, "done_reason": "length" if said.cut else "stop", **figures, **times}


def _ollama_pieces(said: Said) -> Iterator[bytes]:
    def line(message: Any, **more: Any) -> bytes:
        told = {"role": "assistant", "content": "", **message}
        more = more or {"done": False}
        value = {"model": MODEL["ollama"], "created_at": WHEN, "message": told, **more}
        return f"{_compact(value)}\n".encode()

    for piece in halves(said.thinking):
        yield line({"thinking": piece})
    for piece in halves(said.text):
        yield line({"content": piece})
    if said.calls:
        yield line({"tool_calls": _ollama_calls(said)})
    yield line({}, **_ollama_end(said))


def _responses(said: Said) -> Any:
    output: list[Any] = []
    if said.thinking:
        summary = [{"type": "summary_text", "text": said.thinking}]
        output.append({"type": "reasoning", "id": "rs_1", "summary": summary})
    if said.text:
        part = {"type": "output_text", "text": said.text, "annotations": [], "logprobs": []}
        message = {"type": "message", "id": "msg_1", "status": "completed", "role": "assistant"}
        output.append({**message, "content": [part]})
    output += [
        {
            "type": "function_call",
            "id": f"fc_{index}",
            "status": "completed",
            "call_id": call_id,
            "name": name,
            "arguments": _compact(arguments),
        }
        for index, (call_id, name, arguments) in enumerate(said.calls)
    ]
    usage = {
        "input_tokens": said.input,
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens": said.output,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": said.input + said.output,
    }
    head = {"id": "resp_fake1", "object": "response", "created_at": 1795464000, "model": "gpt-fake"}
    status = {"status": "incomplete" if said.cut else "completed", "error": None}
    details = {"reason": "max_output_tokens"} if said.cut else None
    return {**head, **status, "incomplete_details": details, "output": output, "usage": usage}


def _responses_pieces(said: Said) -> Iterator[bytes]:
    count = iter(range(10_000))

    def event(kind: str, **more: Any) -> bytes:
        value = {"type": f"response.{kind}", "sequence_number": next(count), **more}
        return f"event: response.{kind}\ndata: {_compact(value)}\n\n".encode()

    whole = _responses(said)
    begun = {**whole, "status": "in_progress", "output": [], "usage": None}
    yield event("created", response=begun)
    for index, item in enumerate(whole["output"]):
        at = {"output_index": index, "item_id": item["id"]}
        yield event("output_item.added", output_index=index, item=_begun(item))
        if item["type"] == "message":
            empty = {**item["content"][0], "text": ""}
            yield event("content_part.added", **at, content_index=0, part=empty)
            for piece in halves(said.text):
                yield event("output_text.delta", **at, content_index=0, delta=piece)
            yield event("output_text.done", **at, content_index=0, text=said.text)
            yield event("content_part.done", **at, content_index=0, part=item["content"][0])
        elif item["type"] == "function_call":
            for piece in halves(item["arguments"]):
                yield event("function_call_arguments.delta", **at, delta=piece)
            yield event("function_call_arguments.done", **at, arguments=item["arguments"])
        else:
            for piece in halves(said.thinking):
                yield event("reasoning_summary_text.delta", **at, summary_index=0, delta=piece)
        yield event("output_item.done", output_index=index, item=item)
    yield event("incomplete" if said.cut else "completed", response=whole)


def _begun(item: Any) -> Any:
    empty = {"message": {"content": []}, "function_call": {"arguments": ""}}
    more = empty.get(item["type"], {"summary": []})
    return {**item, **more, **({"status": "in_progress"} if "status" in item else {})}
