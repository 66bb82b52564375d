"""One daemon in front of one fake under three names, one for each format it is spoken to in; a second
fake is the one to fail over to. What clients hear of them, and what real servers were seen to say."""

import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.fakes.daemon import RunningDaemon
from tests.fakes.upstream import FakeUpstream, Turn

PATIENCE_S = 30.0
FORMATS = ("openai", "anthropic", "ollama")
PATH = {"openai": "/v1/chat/completions", "anthropic": "/v1/messages", "ollama": "/api/chat"}
NDJSON = "application/x-ndjson"
HI = [{"role": "user", "content": "hi"}]
TOOL = {
    "type": "function",
    "function": {"name": "add", "parameters": {"type": "object", "properties": {}}},
}
A_TOOL = {"name": "add", "input_schema": {"type": "object", "properties": {}}}
Script = Callable[[Turn], None]


# --- what clients hear ----------------------------------------------------------------------------


@dataclass
class Heard:
    """One answer as a client got it. complete: the format's own end mark came; broken: HTTP itself
    ended badly; comments: life signs; error: what the format's error says."""

    status: int = 0
    headers: Any = None
    body: bytes = b""
    text: str = ""
    thought: str = ""
    calls: list[tuple[str, str, Any]] = field(default_factory=list)
    stop: str = ""
    input: int | None = None
    output: int | None = None
    error: Any = None
    complete: bool = False
    broken: bool = False
    comments: int = 0
    events: list[Any] = field(default_factory=list)

    @property
    def provider(self) -> str:
        return str(self.headers.get("x-router-provider"))


def understand(fmt: str, heard: Heard, streamed: bool) -> None:
    if not streamed:
        value = json.loads(heard.body)
        heard.events = [value]
        heard.error = value.get("error")
        if heard.error is None:
            _WHOLE[fmt](heard, value)
            heard.complete = True
        return
    if fmt == "ollama":
        heard.events = [json.loads(line) for line in heard.body.splitlines() if line]
    else:
        lines = heard.body.decode().splitlines()
        heard.comments = sum(line.startswith(":") for line in lines)
        data = [line[5:].strip() for line in lines if line.startswith("data:")]
        heard.complete = fmt == "openai" and "[DONE]" in data
        heard.events = [json.loads(text) for text in data if text != "[DONE]"]
    for event in heard.events:
        if event.get("error"):
            heard.error = event["error"]
        else:
            _PIECE[fmt](heard, event)


def _openai_usage(heard: Heard, value: Any) -> None:
    if value.get("usage"):
        heard.input = value["usage"]["prompt_tokens"]
        heard.output = value["usage"]["completion_tokens"]


def _openai_whole(heard: Heard, value: Any) -> None:
    choice = value["choices"][0]
    message = choice["message"]
    heard.text = message.get("content") or ""
    heard.thought = message.get("reasoning_content") or message.get("reasoning") or ""
    for call in message.get("tool_calls") or ():
        function = call["function"]
        heard.calls.append((call["id"], function["name"], function["arguments"]))
    heard.stop = choice["finish_reason"]
    _openai_usage(heard, value)


def _openai_piece(heard: Heard, event: Any) -> None:
    _openai_usage(heard, event)
    for choice in event["choices"]:
        delta = choice["delta"]
        heard.text += delta.get("content") or ""
        heard.thought += delta.get("reasoning_content") or delta.get("reasoning") or ""
        for piece in delta.get("tool_calls") or ():
            function = piece["function"]
            if piece["index"] == len(heard.calls):
                heard.calls.append((piece["id"], function["name"], ""))
            call_id, name, arguments = heard.calls[piece["index"]]
            arguments += function.get("arguments") or ""
            heard.calls[piece["index"]] = (call_id, name, arguments)
        heard.stop = choice.get("finish_reason") or heard.stop


def _anthropic_usage(heard: Heard, usage: Any) -> None:
    if "input_tokens" in usage:
        heard.input = usage["input_tokens"] + (usage.get("cache_read_input_tokens") or 0)
    heard.output = usage.get("output_tokens", heard.output)


def _anthropic_whole(heard: Heard, value: Any) -> None:
    for block in value["content"] or ():
        if block["type"] == "text":
            heard.text += block["text"]
        elif block["type"] == "thinking":
            heard.thought += block["thinking"]
        else:
            heard.calls.append((block["id"], block["name"], block["input"]))
    heard.stop = value["stop_reason"]
    _anthropic_usage(heard, value["usage"])


def _anthropic_piece(heard: Heard, event: Any) -> None:
    match event["type"]:
        case "message_start":
            _anthropic_usage(heard, event["message"]["usage"])
        case "content_block_start" if event["content_block"]["type"] == "tool_use":
            block = event["content_block"]
            heard.calls.append((block["id"], block["name"], ""))
        case "content_block_delta":
            delta = event["delta"]
            heard.text += delta.get("text", "")
            heard.thought += delta.get("thinking", "")
            if delta["type"] == "input_json_delta":
                call_id, name, arguments = heard.calls[-1]
                heard.calls[-1] = (call_id, name, arguments + delta["partial_json"])
        case "message_delta":
            heard.stop = event["delta"]["stop_reason"]
            _anthropic_usage(heard, event["usage"])
        case "message_stop":
            heard.complete = True


def _ollama_piece(heard: Heard, event: Any) -> None:
    message = event["message"]
    heard.text += message.get("content") or ""
    heard.thought += message.get("thinking") or ""
    for call in message.get("tool_calls") or ():
        function = call["function"]
        heard.calls.append((call.get("id", ""), function["name"], function["arguments"]))
    if event["done"]:
        heard.stop, heard.complete = event.get("done_reason", ""), True
        heard.input, heard.output = event.get("prompt_eval_count"), event.get("eval_count")


_WHOLE = {"openai": _openai_whole, "anthropic": _anthropic_whole, "ollama": _ollama_piece}
_PIECE = {"openai": _openai_piece, "anthropic": _anthropic_piece, "ollama": _ollama_piece}


# --- the world ------------------------------------------------------------------------------------

PROVIDER = """
[[providers]]
name = "{name}"
format = "{format}"
base_url = "{url}"
circuit_failures = 0
max_retries = 0
"""
# No two servers have a model in common: what is asked of one is not served by another unasked.
MODELS = 'models = ["{name}-m"]\n'
CONFIG = """
[server]
port = 0
life_sign = 0.2
[logging]
enabled = true
path = "requests.jsonl"
[models]
"openai+" = ["openai/openai-m", "spare/spare-m"]
"anthropic+" = ["anthropic/anthropic-m", "spare/spare-m"]
"ollama+" = ["ollama/ollama-m", "spare/spare-m"]
"refused+" = ["refused/refused-m", "spare/spare-m"]
"""


def spare_script(turn: Turn) -> None:
    """The second server: a plain one of OpenAI's format."""
    if turn.received.json.get("stream"):
        turn.stream([chunk({"content": "from the spare"}), chunk({}, "stop"), b"data: [DONE]\n\n"])
    else:
        turn.whole(openai_whole({"content": "from the spare"}))


class World:
    """The daemon, its two servers, and its log."""

    def __init__(self, daemon: RunningDaemon, up: FakeUpstream, spare: FakeUpstream, log: Path):
        self.daemon, self.up, self.spare, self.log = daemon, up, spare, log
        self.heard_content = threading.Event()
        self.http = httpx.Client(base_url=daemon.url, timeout=PATIENCE_S)

    def does(self, script: Script) -> None:
        """What the first server does from now on."""
        self.heard_content.clear()
        self.up.script = script
        self.up.received.clear()
        self.spare.received.clear()

    def ask(
        self,
        client: str,
        model: str,
        *,
        stream: bool = False,
        headers: dict[str, str] | None = None,
        seen: Callable[[bytes], None] = lambda data: None,
        **more: Any,
    ) -> Heard:
        """Ask as a client of that format. seen: is told all that came so far, piece by piece."""
        if model.endswith("/m"):
            model = model.replace("/m", f"/{model[:-2]}-m")
        body = {"model": model, "messages": HI, "stream": stream, **more}
        if client == "anthropic":
            body.setdefault("max_tokens", 100)
            headers = {"anthropic-version": "2023-06-01", **(headers or {})}
        heard = Heard()
        with self.http.stream("POST", PATH[client], json=body, headers=headers) as response:
            heard.status, heard.headers = response.status_code, response.headers
            try:
                for data in response.iter_raw():
                    heard.body += data
                    seen(heard.body)
                    if b" model." in heard.body:
                        self.heard_content.set()
            except httpx.RemoteProtocolError:
                heard.broken = True
        streamed = (
            "json" not in heard.headers["content-type"] or "ndjson" in heard.headers["content-type"]
        )
        understand(client, heard, streamed)
        return heard

    def line(self, heard: Heard) -> Any:
        """The log's line about that answer; it may come a moment after the answer."""
        wanted = heard.headers["x-router-request-id"]
        end = time.monotonic() + PATIENCE_S
        while time.monotonic() < end:
            text = self.log.read_text() if self.log.exists() else ""
            for line in text.splitlines(keepends=True):
                if wanted in line and line.endswith("\n"):
                    return json.loads(line)
            time.sleep(0.01)
        raise AssertionError(f"no line for {wanted} in the log")


def breaks(world: World, fmt: str, then: Script) -> Script:
    """A stream that says hello and, once the client has heard it, breaks off in some way."""

    def script(turn: Turn) -> None:
        turn.begin(kind=KIND[fmt])
        for piece in HELLO[fmt]:
            turn.chunk(piece)
        assert world.heard_content.wait(PATIENCE_S)
        then(turn)

    return script


def ends(*pieces: bytes) -> Script:
    """More pieces, and the end that HTTP wants."""

    def script(turn: Turn) -> None:
        for piece in pieces:
            turn.chunk(piece)
        turn.end()

    return script


def failed_over(heard: Heard) -> bool:
    return (heard.text, heard.provider) == ("from the spare", "spare") and heard.complete


# --- what servers say -----------------------------------------------------------------------------


def sse(value: Any) -> bytes:
    return b"data: " + json.dumps(value).encode() + b"\n\n"


def chunk(delta: Any, finish: str | None = None, **more: Any) -> bytes:
    choice = {"finish_reason": finish, "index": 0, "delta": delta}
    return sse({"choices": [choice], "object": "chat.completion.chunk", "id": "c", **more})


def openai_whole(message: Any, finish: str = "stop", **more: Any) -> Any:
    choice = {"finish_reason": finish, "index": 0, "message": {"role": "assistant", **message}}
    return {"choices": [choice], "object": "chat.completion", "id": "c", "model": "m", **more}


def event(name: str, /, **members: Any) -> bytes:
    return f"event: {name}\n".encode() + sse({"type": name, **members})


def message_start(**usage: int) -> bytes:
    message = {"id": "chatcmpl-1", "type": "message", "role": "assistant", "content": []}
    more = {"model": "m", "stop_reason": None, "stop_sequence": None}
    used = usage or {"input_tokens": 3, "output_tokens": 0}
    return event("message_start", message={**message, **more, "usage": used})


def block(index: int, content_block: Any) -> bytes:
    return event("content_block_start", index=index, content_block=content_block)


def delta(index: int, **members: Any) -> bytes:
    return event("content_block_delta", index=index, delta=members)


def message_end(stop: str = "end_turn", **usage: int) -> list[bytes]:
    used = usage or {"output_tokens": 4}
    stopped = {"stop_reason": stop, "stop_sequence": None}
    return [event("message_delta", delta=stopped, usage=used), event("message_stop")]


def line(message: Any, **more: Any) -> bytes:
    said = {"role": "assistant", "content": "", **message}
    value = {"model": "m", "created_at": "2026-11-23T20:31:55.617284584Z", "message": said}
    return json.dumps({**value, "done": False, **more}).encode() + b"\n"


DONE = b"data: [DONE]\n\n"
ROLE = chunk({"role": "assistant", "content": None})
LAST_LINE = line({}, done=True, done_reason="stop", prompt_eval_count=21, eval_count=4)
TEXT_BLOCK = {"type": "text", "text": ""}
HELLO = {
    "openai": [ROLE, chunk({"content": "Hello"}), chunk({"content": " model."})],
    "anthropic": [
        message_start(),
        block(0, TEXT_BLOCK),
        delta(0, type="text_delta", text="Hello"),
        delta(0, type="text_delta", text=" model."),
    ],
    "ollama": [line({"content": "Hello"}), line({"content": " model."})],
}
GOODBYE = {
    "openai": [chunk({}, "stop"), DONE],
    "anthropic": [event("content_block_stop", index=0), *message_end()],
    "ollama": [LAST_LINE],
}
BEGINNING = {  # what comes before any content
    "openai": [ROLE, b":\n\n"],
    "anthropic": [message_start(), block(0, TEXT_BLOCK)],
    "ollama": [],
}
KIND = {"openai": "text/event-stream", "anthropic": "text/event-stream", "ollama": NDJSON}
KEEP_ALIVE = "Keep-Alive: timeout=5, max=100"


def saying(fmt: str, *pieces: bytes) -> Script:
    """A stream that ends as it should, as far as HTTP goes."""
    return lambda turn: turn.stream(pieces, kind=KIND[fmt])


def refusing(status: int, body: Any, *, kind: str = "application/json") -> Script:
    return lambda turn: turn.whole(body, status, kind=kind)


def each(*pairs: tuple[str, str]) -> Any:
    return pytest.mark.parametrize(("client", "upstream"), pairs, ids=lambda x: x)


ALL_PAIRS = each(*((client, upstream) for client in FORMATS for upstream in FORMATS))
every_client = pytest.mark.parametrize("client", FORMATS)
every_upstream = pytest.mark.parametrize("upstream", FORMATS)
both_ways = pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])


def any_answer(turn: Turn) -> None:
    path = turn.received.target
    if path == PATH["ollama"]:
        turn.whole(LAST_LINE)
    elif path.startswith(PATH["anthropic"]):
        content = [{"type": "text", "text": "ok"}]
        more = {"stop_reason": "end_turn", "usage": {"input_tokens": 1, "output_tokens": 1}}
        message = {"id": "msg_1", "type": "message", "role": "assistant", "model": "m"}
        turn.whole({**message, "content": content, **more})
    else:
        turn.whole(openai_whole({"content": "ok"}))
