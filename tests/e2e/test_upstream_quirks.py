"""What real servers were seen to do, done by a fake, and what the router's clients make of it.

Each server's habits were noted from the real one: llama.cpp, Ollama (its own API, its /v1 and its
/v1/messages), LiteLLM, vLLM. One daemon stands in front of one fake under three names, one for each
format it is spoken to in; a second fake is the one to fail over to.
"""

import json
import select
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.fakes.daemon import RunningDaemon
from tests.fakes.upstream import FakeUpstream, Received, Turn

pytestmark = pytest.mark.e2e

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


@pytest.fixture(scope="module")
def whole_world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("quirks")
    with FakeUpstream(spare_script) as up, FakeUpstream(spare_script) as spare:
        config = CONFIG
        for fmt in FORMATS:
            given = {"name": fmt, "format": fmt, "url": up.url}
            config += (PROVIDER + MODELS).format(**given)
            given["name"] = f"{fmt}-soon"
            config += (PROVIDER + MODELS).format(**given) + "idle_timeout = 1\n"
        for name, url in (("spare", spare.url), ("refused", "http://127.0.0.1:1")):
            config += (PROVIDER + MODELS).format(name=name, format="openai", url=url)
        config += PROVIDER.format(name="retries", format="openai", url=up.url)
        config = config.removesuffix("max_retries = 0\n") + MODELS.format(name="retries")
        with RunningDaemon(config, folder) as daemon:
            world = World(daemon, up, spare, folder / "requests.jsonl")
            yield world
            world.http.close()


@pytest.fixture
def world(whole_world: World) -> Iterator[World]:
    yield whole_world
    errors = [*whole_world.up.errors, *whole_world.spare.errors]
    whole_world.up.errors.clear()
    whole_world.spare.errors.clear()
    assert not errors
    assert whole_world.daemon.in_flight() == 0


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


# --- connections ----------------------------------------------------------------------------------


def test_a_connection_closed_after_each_stream_despite_keep_alive_harms_nobody(world):
    def script(turn: Turn) -> None:
        turn.stream([*HELLO["openai"], *GOODBYE["openai"]], KEEP_ALIVE, "Server: llama.cpp")
        turn.cut()

    world.does(script)
    for _ in range(10):
        heard = world.ask("openai", "openai/m", stream=True)
        assert (heard.text, heard.complete, heard.error) == ("Hello model.", True, None)
    assert len(world.up.received) == 10


def test_a_kept_connection_that_dies_on_its_second_request_is_replaced_unseen(world):
    """Closed while the request was on its way: not a byte came back, so once more is safe."""
    used: dict[Any, int] = {}

    def script(turn: Turn) -> None:
        peer = turn.sock.getpeername()
        used[peer] = used.get(peer, 0) + 1
        if used[peer] > 1:
            turn.cut()
            return
        turn.whole(openai_whole({"content": "Hello model."}), 200, KEEP_ALIVE)

    world.does(lambda turn: (turn.whole(openai_whole({"content": "x"})), turn.cut()))
    world.ask("openai", "openai/m")  # no older connection is left after this one
    assert world.up.settled(0)
    world.does(script)
    for _ in range(4):
        heard = world.ask("openai", "openai/m")
        assert (heard.status, heard.text) == (200, "Hello model.")
        assert heard.headers["x-router-attempts"] == "1"
    assert len(world.up.received) == 7


@every_upstream
def test_a_connection_kept_after_a_stream_is_used_again(world, upstream):
    peers = []

    def script(turn: Turn) -> None:
        peers.append(turn.sock.getpeername())
        turn.stream([*HELLO[upstream], *GOODBYE[upstream]], kind=KIND[upstream])

    world.does(script)
    for _ in range(4):
        assert world.ask("openai", f"{upstream}/m", stream=True).complete
    assert len(set(peers)) == 1


def test_the_router_never_closes_its_sending_side_before_the_answer(world):
    """llama.cpp takes a half-closed client for one that is gone."""
    early = []

    def script(turn: Turn) -> None:
        early.extend(select.select([turn.sock], [], [], 0.3)[0])
        turn.whole(openai_whole({"content": "Hello model."}))

    world.does(script)
    assert world.ask("openai", "openai/m").text == "Hello model."
    assert early == []


@every_upstream
@both_ways
def test_a_client_that_goes_away_closes_the_upstream_connection(world, upstream, stream):
    began, closed = threading.Event(), []

    def script(turn: Turn) -> None:
        if stream:
            turn.begin(kind=KIND[upstream])
            for piece in HELLO[upstream]:
                turn.chunk(piece)
        began.set()
        closed.append(turn.wait_closed())

    world.does(script)
    body = {"model": f"{upstream}/{upstream}-m", "messages": HI, "stream": stream}
    head = "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\n"
    data = json.dumps(body).encode()
    with socket.create_connection(("127.0.0.1", world.daemon.port), PATIENCE_S) as sock:
        sock.sendall(f"{head}Content-Length: {len(data)}\r\n\r\n".encode() + data)
        assert began.wait(PATIENCE_S)
        if stream:
            assert sock.recv(1)
    assert world.up.settled(0)
    assert closed == [True]


def test_a_server_that_is_not_there_is_passed_over(world):
    assert failed_over(world.ask("openai", "refused+"))
    assert failed_over(world.ask("openai", "refused+", stream=True))
    assert world.ask("openai", "refused/m").status == 502


# --- waiting --------------------------------------------------------------------------------------


@pytest.mark.parametrize("client", ["openai", "anthropic"])
@every_upstream
def test_a_cold_model_that_sends_no_byte_for_long_is_waited_for_with_life_signs(
    world, client, upstream
):
    patient = threading.Event()

    def script(turn: Turn) -> None:
        assert patient.wait(PATIENCE_S)
        turn.stream([*HELLO[upstream], *GOODBYE[upstream]], kind=KIND[upstream])

    def seen(body: bytes) -> None:
        if sum(row.startswith(b":") for row in body.split(b"\n")) >= 2:
            patient.set()

    world.does(script)
    heard = world.ask(client, f"{upstream}/m", stream=True, seen=seen)
    assert (heard.text, heard.complete, heard.error) == ("Hello model.", True, None)
    assert heard.comments >= 2


@pytest.mark.parametrize("client", ["openai", "anthropic"])
@pytest.mark.parametrize("end", ["closed", "busy"])
def test_after_life_signs_another_server_can_still_answer(world, client, end):
    patient = threading.Event()

    def script(turn: Turn) -> None:
        assert patient.wait(PATIENCE_S)
        if end == "busy":
            turn.whole({"error": "server busy, please try again."}, 503)
        turn.cut()

    world.does(script)
    heard = world.ask(
        client, "ollama+", stream=True, seen=lambda body: patient.set() if b":" in body else None
    )
    assert (heard.text, heard.complete, heard.error) == ("from the spare", True, None)
    assert heard.comments
    said = world.line(heard)
    assert (said["end"], said["provider"], len(said["attempts"])) == ("complete", "spare", 1)


@pytest.mark.parametrize("client", ["openai", "anthropic"])
def test_after_life_signs_an_error_is_an_event_of_the_stream(world, client):
    patient = threading.Event()

    def script(turn: Turn) -> None:
        assert patient.wait(PATIENCE_S)
        turn.whole({"error": {"message": "Invalid tool_choice: whatever", "code": 400}}, 400)

    world.does(script)
    heard = world.ask(
        client,
        "openai/m",
        stream=True,
        seen=lambda body: patient.set() if b":" in body else None,
    )
    assert heard.status == 200
    assert "Invalid tool_choice" in heard.error["message"]
    assert not heard.complete
    assert world.line(heard)["end"] == "refused"


@every_client
@every_upstream
def test_a_role_a_comment_or_an_open_block_is_no_content_so_another_server_can_answer(
    world, client, upstream
):
    def script(turn: Turn) -> None:
        turn.begin(kind=KIND[upstream])
        for piece in BEGINNING[upstream]:
            turn.chunk(piece)
        turn.cut()

    world.does(script)
    heard = world.ask(client, f"{upstream}+", stream=True)
    assert failed_over(heard)
    assert heard.error is None


@every_client
def test_progress_reports_and_comments_before_the_first_token_are_not_text(world, client):
    progress = [
        chunk({"role": "assistant", "content": None}, prompt_progress={"total": 9, "processed": n})
        for n in range(3)
    ]
    world.does(saying("openai", ROLE, b":\n\n", *progress, *HELLO["openai"], *GOODBYE["openai"]))
    heard = world.ask(client, "openai/m", stream=True)
    assert (heard.text, heard.complete) == ("Hello model.", True)
    if client == "anthropic":
        assert [e["type"] for e in heard.events].count("message_start") == 1


# --- ends -----------------------------------------------------------------------------------------


@ALL_PAIRS
def test_a_stream_that_ends_cleanly_without_its_end_mark_is_an_error(world, client, upstream):
    """Ollama's /v1 and /v1/messages do so when the model's process dies."""
    silent = {"openai": [chunk({"content": ""}, model="")], "anthropic": [], "ollama": []}
    world.does(breaks(world, upstream, ends(*silent[upstream])))
    heard = world.ask(client, f"{upstream}+", stream=True)
    assert heard.text == "Hello model."
    assert heard.error
    assert not heard.complete
    said = world.line(heard)
    assert (said["end"], said["fault"]) == ("truncated", "upstream")


@ALL_PAIRS
def test_a_server_killed_in_a_stream_is_an_error(world, client, upstream):
    world.does(breaks(world, upstream, Turn.cut))
    heard = world.ask(client, f"{upstream}+", stream=True)
    assert heard.text == "Hello model."
    assert heard.error
    assert not heard.complete
    said = world.line(heard)
    assert (said["end"], said["fault"]) == ("truncated", "upstream")


@ALL_PAIRS
def test_a_stream_that_stalls_is_ended_by_the_idle_clock(world, client, upstream):
    """llama.cpp does so after SIGTERM: the connection stays open and nothing comes."""
    closed = []

    world.does(breaks(world, upstream, lambda turn: closed.append(turn.wait_closed())))
    heard = world.ask(client, f"{upstream}-soon/m", stream=True)
    assert heard.text == "Hello model."
    assert heard.error
    assert not heard.complete
    said = world.line(heard)
    assert (said["end"], said["fault"], said["error_kind"]) == (
        "stalled",
        "upstream",
        "timeout:idle",
    )
    assert world.up.settled(0)
    assert closed == [True]


@every_client
@both_ways
def test_a_server_killed_before_its_first_byte_is_passed_over(world, client, stream):
    world.does(Turn.cut)
    assert failed_over(world.ask(client, "openai+", stream=stream))
    heard = world.ask(client, "openai/m", stream=stream)
    assert heard.status == {"openai": 502, "anthropic": 500, "ollama": 502}[client]
    said = world.line(heard)
    assert (said["end"], said["fault"]) == ("upstream_error", "upstream")


VLLM_DEAD = {
    "message": "EngineCore encountered an issue. See stack trace (above) for the root cause.",
    "type": "InternalServerError",
    "param": None,
    "code": 500,
}


@every_client
def test_an_error_event_followed_by_done_is_an_error(world, client):
    world.does(breaks(world, "openai", ends(sse({"error": VLLM_DEAD}), DONE)))
    heard = world.ask(client, "openai+", stream=True)
    assert heard.text == "Hello model."
    assert "EngineCore" in json.dumps(heard.error)
    if client != "openai":
        assert not heard.complete
    said = world.line(heard)
    assert (said["end"], said["fault"]) == ("upstream_error", "upstream")


@every_client
def test_an_error_event_before_any_content_is_cured_by_another_server(world, client):
    world.does(saying("openai", ROLE, sse({"error": VLLM_DEAD}), DONE))
    assert failed_over(world.ask(client, "openai+", stream=True))


RUNNER = {"error": "an error was encountered while running the model: unexpected EOF"}


@every_client
def test_an_error_line_in_an_ollama_stream_is_an_error(world, client):
    broken = json.dumps(RUNNER).encode() + b"\n"
    world.does(breaks(world, "ollama", ends(broken)))
    heard = world.ask(client, "ollama+", stream=True)
    assert heard.text == "Hello model."
    assert "unexpected EOF" in json.dumps(heard.error)
    assert not heard.complete
    said = world.line(heard)
    assert (said["end"], said["fault"]) == ("upstream_error", "upstream")
    world.does(saying("ollama", broken))
    assert failed_over(world.ask(client, "ollama+", stream=True))


@every_client
def test_the_same_failure_of_a_whole_answer_is_cured_by_another_server(world, client):
    world.does(refusing(500, RUNNER))
    assert failed_over(world.ask(client, "ollama+"))


def test_the_end_mark_may_share_a_piece_with_the_event_before_it(world):
    world.does(saying("openai", b"".join([*HELLO["openai"], *GOODBYE["openai"]])))
    for client in FORMATS:
        heard = world.ask(client, "openai/m", stream=True)
        assert (heard.text, heard.complete) == ("Hello model.", True)


# --- errors ---------------------------------------------------------------------------------------

TOO_LONG = {
    "code": 400,
    "message": "request (60019 tokens) exceeds the available context size (4096 tokens), "
    "try increasing it",
    "type": "exceed_context_size_error",
    "n_prompt_tokens": 60019,
    "n_ctx": 4096,
}
INSIDE = json.dumps({"error": TOO_LONG})


@dataclass(frozen=True)
class Case:
    """An error as a server was seen to answer it, and what clients are to make of it.

    client: its status for OpenAI and Ollama clients (for Anthropic's where it differs); tag: the
    X-Router-Error; over: another server is asked.
    """

    name: str
    status: int
    body: Any
    client: int
    tag: str
    over: bool
    says: str
    upstream: str = "openai"
    to_anthropic: int = 0
    kind: str = "application/json"


LLAMA = [
    Case(
        "llama_error_on_v1_messages_has_openais_shape",
        500,
        {"error": {"code": 500, "message": "'messages' is required", "type": "server_error"}},
        400,
        "refused_by_upstream",
        False,
        "'messages' is required",
        "anthropic",
    ),
    Case(
        "llama_context_error_has_a_number_for_code",
        400,
        {"error": TOO_LONG},
        400,
        "context_too_long",
        True,
        "60019",
    ),
    Case(
        "llama_bad_tool_is_500_but_the_clients_mistake",
        500,
        {
            "error": {
                "code": 500,
                "message": "[json.exception.out_of_range.403] key 'function' not found",
                "type": "server_error",
            }
        },
        400,
        "refused_by_upstream",
        False,
        "key 'function' not found",
    ),
    Case(
        "llama_image_to_a_text_model_is_500_and_another_model_may_see",
        500,
        {
            "error": {
                "code": 500,
                "message": "image input is not supported - hint: if this is unexpected, you may "
                "need to provide the mmproj",
                "type": "server_error",
            }
        },
        400,
        "unsupported",
        True,
        "image input is not supported",
    ),
    Case(
        "llama_unknown_tool_choice",
        400,
        {
            "error": {
                "code": 400,
                "message": "Invalid tool_choice: whatever",
                "type": "invalid_request_error",
            }
        },
        400,
        "refused_by_upstream",
        False,
        "Invalid tool_choice: whatever",
    ),
    Case(
        "llama_bad_schema",
        400,
        {
            "error": {
                "code": 400,
                "message": "Unable to generate parser for this template. ...",
                "type": "invalid_request_error",
            }
        },
        400,
        "refused_by_upstream",
        False,
        "Unable to generate parser",
    ),
    Case(
        "llama_loading_its_model",
        503,
        {"error": {"message": "Loading model", "type": "unavailable_error", "code": 503}},
        503,
        "overloaded",
        True,
        "Loading model",
        to_anthropic=529,
    ),
    Case(
        "llama_refuses_the_routers_key",
        401,
        {"error": {"message": "Invalid API Key", "type": "authentication_error", "code": 401}},
        502,
        "credential",
        True,
        "",
        to_anthropic=500,
    ),
    Case(
        "llama_refuses_the_routers_key_on_v1_messages",
        401,
        {"error": {"message": "Invalid API Key", "type": "authentication_error", "code": 401}},
        502,
        "credential",
        True,
        "",
        "anthropic",
        to_anthropic=500,
    ),
]
OLLAMA = [
    Case(
        "ollama_json_inside_a_string",
        400,
        {"error": INSIDE},
        400,
        "context_too_long",
        True,
        "60019",
        "ollama",
    ),
    Case(
        "ollama_v1_json_inside_the_message",
        400,
        {
            "error": {
                "message": INSIDE,
                "type": "invalid_request_error",
                "param": None,
                "code": None,
            }
        },
        400,
        "context_too_long",
        True,
        "60019",
    ),
    Case(
        "ollama_unknown_model",
        404,
        {"error": "model 'nope' not found"},
        404,
        "model_not_found",
        True,
        "model 'nope' not found",
        "ollama",
    ),
    Case(
        "ollama_v1_unknown_model",
        404,
        {
            "error": {
                "message": "model 'nope' not found",
                "type": "not_found_error",
                "param": None,
                "code": None,
            }
        },
        404,
        "model_not_found",
        True,
        "model 'nope' not found",
    ),
    Case(
        "ollama_messages_unknown_model",
        404,
        {
            "type": "error",
            "error": {"type": "not_found_error", "message": "model 'nope' not found"},
            "request_id": "req_1",
        },
        404,
        "model_not_found",
        True,
        "model 'nope' not found",
        "anthropic",
    ),
    Case(
        "ollama_queue_full",
        503,
        {"error": "server busy, please try again.  maximum pending requests exceeded"},
        503,
        "overloaded",
        True,
        "server busy",
        "ollama",
        to_anthropic=529,
    ),
    Case(
        "ollama_v1_queue_full",
        503,
        {
            "error": {
                "message": "server busy, please try again.  maximum pending requests exceeded",
                "type": "api_error",
                "param": None,
                "code": None,
            }
        },
        503,
        "overloaded",
        True,
        "server busy",
        to_anthropic=529,
    ),
    Case(
        "ollama_messages_queue_full",
        503,
        {
            "type": "error",
            "error": {"type": "overloaded_error", "message": "server busy, please try again."},
            "request_id": "req_1",
        },
        503,
        "overloaded",
        True,
        "server busy",
        "anthropic",
        to_anthropic=529,
    ),
    Case("ollama_403_without_a_body", 403, b"", 502, "credential", True, "", "ollama", 500),
    Case(
        "ollama_unknown_path_is_plain_text",
        404,
        b"404 page not found",
        502,
        "upstream",
        True,
        "404 page not found",
        "ollama",
        500,
        "text/plain",
    ),
    Case(
        "ollama_messages_unknown_path_is_plain_text",
        404,
        b"404 page not found",
        502,
        "upstream",
        True,
        "404 page not found",
        "anthropic",
        500,
        "text/plain",
    ),
    Case(
        "ollama_wrong_type_of_an_option_is_500",
        500,
        {"error": 'option "num_predict" must be of type integer'},
        400,
        "refused_by_upstream",
        False,
        "must be of type integer",
        "ollama",
    ),
    Case(
        "ollama_invalid_format_is_500",
        500,
        {"error": "invalid format: expected an object"},
        400,
        "refused_by_upstream",
        False,
        "invalid format",
        "ollama",
    ),
    Case(
        "ollama_model_without_chat",
        400,
        {"error": '"tiny-embed" does not support chat'},
        400,
        "unsupported",
        False,
        "does not support chat",
        "ollama",
    ),
    Case(
        "ollama_history_with_a_string_for_arguments",
        400,
        {"error": "Value looks like object, but can't find closing '}' symbol"},
        400,
        "refused_by_upstream",
        False,
        "Value looks like object",
        "ollama",
    ),
]
OTHERS = [
    Case(
        "litellm_code_is_text_and_the_message_wrapped",
        429,
        {
            "error": {
                "message": "litellm.RateLimitError: OpenAIException - slow down",
                "type": "throttling_error",
                "param": None,
                "code": "429",
            }
        },
        429,
        "rate_limit",
        True,
        "slow down",
    ),
    Case(
        "litellm_whose_upstream_is_gone",
        500,
        {
            "error": {
                "message": "litellm.InternalServerError: OpenAIException - Connection error.",
                "type": "internal_server_error",
                "param": None,
                "code": "500",
            }
        },
        502,
        "upstream",
        True,
        "Connection error",
        to_anthropic=500,
    ),
    Case(
        "litellm_wrong_key_without_a_database",
        400,
        {"error": {"message": "No connected db.", "type": "no_db_connection", "code": "400"}},
        502,
        "credential",
        True,
        "",
        to_anthropic=500,
    ),
    Case(
        "litellm_500_in_plain_text",
        500,
        b"Internal Server Error",
        502,
        "upstream",
        True,
        "Internal Server Error",
        to_anthropic=500,
        kind="text/plain",
    ),
    Case(
        "litellm_unknown_model_is_400",
        400,
        {
            "error": {
                "message": "/chat/completions: Invalid model name passed in model=nope. "
                "Call `/v1/models` to view available models for your key.",
                "type": "invalid_request_error",
                "param": "model",
                "code": "400",
            }
        },
        400,
        "model_not_found",
        True,
        "Invalid model name",
    ),
    Case(
        "litellm_and_vllm_unknown_path",
        404,
        {"detail": "Not Found"},
        502,
        "upstream",
        True,
        "Not Found",
        to_anthropic=500,
    ),
    Case(
        "vllm_unknown_model",
        404,
        {
            "error": {
                "message": "The model `nope` does not exist.",
                "type": "NotFoundError",
                "param": "model",
                "code": 404,
            }
        },
        404,
        "model_not_found",
        True,
        "does not exist",
    ),
    Case(
        "vllm_validation_error",
        400,
        {
            "error": {
                "message": "1 validation error:\n  {'type': 'missing', 'loc': ('body', 'messages')}",
                "type": "Bad Request",
                "param": "body.messages",
                "code": 400,
            }
        },
        400,
        "refused_by_upstream",
        False,
        "1 validation error",
    ),
    Case(
        "vllm_validation_error_on_v1_messages",
        400,
        {
            "error": {
                "message": "1 validation error:\n  {'type': 'missing', 'loc': ('body', 'messages')}",
                "type": "Bad Request",
                "param": "body.messages",
                "code": 400,
            }
        },
        400,
        "refused_by_upstream",
        False,
        "1 validation error",
        "anthropic",
    ),
    Case(
        "vllm_cannot_parse_the_body",
        400,
        {"detail": "There was an error parsing the body"},
        400,
        "refused_by_upstream",
        False,
        "error parsing the body",
    ),
    Case("vllm_that_is_dying", 503, b"", 503, "overloaded", True, "", to_anthropic=529),
]


@every_client
@pytest.mark.parametrize("case", [*LLAMA, *OLLAMA, *OTHERS], ids=lambda case: case.name)
def test_an_error_reaches_the_client_in_its_own_shape(world, client, case):
    """Whole or streamed: the server answers with a plain status either way."""
    world.does(refusing(case.status, case.body, kind=case.kind))
    status = case.to_anthropic if client == "anthropic" and case.to_anthropic else case.client
    for stream in (False, True):
        heard = world.ask(client, f"{case.upstream}/m", stream=stream)
        tag = heard.headers["x-router-error"]
        assert (heard.status, tag) == (status, case.tag) or (status, tag) == (400, "bad_request")
        assert heard.headers["content-type"] == "application/json"
        (body,) = heard.events
        if client == "ollama":
            assert isinstance(body["error"], str)
            message = body["error"]
        else:
            message = body["error"]["message"]
            assert isinstance(body["error"]["type"], str)
            assert isinstance(message, str)
        if client == "anthropic":
            assert body["type"] == "error"
        if client == "openai":
            assert body["error"].get("code") is None or isinstance(body["error"]["code"], str | int)
        assert case.says in message
        assert "{" not in message or "validation" in message
        said = world.line(heard)
        assert said["error_kind"] == tag
        assert said["end"] == ("upstream_error" if said["fault"] != "client" else "refused")


@pytest.mark.parametrize("case", [*LLAMA, *OLLAMA, *OTHERS], ids=lambda case: case.name)
@both_ways
def test_only_an_error_that_another_server_could_cure_fails_over(world, case, stream):
    world.does(refusing(case.status, case.body, kind=case.kind))
    heard = world.ask("openai", f"{case.upstream}+", stream=stream)
    assert failed_over(heard) == case.over
    assert len(world.spare.received) == case.over


@pytest.mark.parametrize("case", [c for c in LLAMA if c.status == 500], ids=lambda case: case.name)
def test_a_500_that_is_the_clients_mistake_is_not_tried_again(world, case):
    world.does(refusing(500, case.body))
    assert world.ask("openai", "retries/m").status == 400
    assert len(world.up.received) == 1


@pytest.mark.parametrize("upstream", ["openai", "ollama"])
@every_client
def test_a_plain_400_to_a_stream_may_come_in_chunks(world, client, upstream):
    def script(turn: Turn) -> None:
        turn.head(400, "Transfer-Encoding: chunked")
        body = json.dumps({"error": INSIDE if upstream == "ollama" else TOO_LONG}).encode()
        turn.chunk(body[:20])
        turn.chunk(body[20:])
        turn.end()

    world.does(script)
    heard = world.ask(client, f"{upstream}/m", stream=True)
    assert (heard.status, heard.headers["x-router-error"]) == (400, "context_too_long")
    assert "60019" in json.dumps(heard.events)
    assert failed_over(world.ask(client, f"{upstream}+", stream=True))


# --- tools ----------------------------------------------------------------------------------------


def opened(call_id: str, name: str, arguments: str | None, index: int = 0) -> Any:
    function = {"name": name} if arguments is None else {"name": name, "arguments": arguments}
    return {"index": index, "id": call_id, "type": "function", "function": function}


def arguments(text: str, **more: Any) -> bytes:
    return chunk({"tool_calls": [{"index": 0, "function": {"arguments": text}, **more}]})


def as_object(given: Any) -> Any:
    return json.loads(given) if isinstance(given, str) else given


TOOLS = {"openai": [TOOL], "anthropic": [A_TOOL], "ollama": [TOOL]}
CALLED = {"openai": "tool_calls", "anthropic": "tool_use", "ollama": "stop"}
OVERLAP = [
    message_start(),
    block(0, TEXT_BLOCK),
    delta(0, type="text_delta", text="Let me"),
    block(1, {"type": "tool_use", "id": "YUtWabc", "name": "add", "input": {}}),
    delta(1, type="input_json_delta", partial_json='{"a":'),
    delta(0, type="text_delta", text=" see."),
    delta(1, type="input_json_delta", partial_json=" 1}"),
    event("content_block_stop", index=0),
    event("content_block_stop", index=1),
    *message_end("tool_use"),
]


@every_client
def test_overlapping_blocks_are_told_apart_by_their_index(world, client):
    world.does(saying("anthropic", *OVERLAP))
    heard = world.ask(client, "anthropic/m", stream=True, tools=TOOLS[client])
    assert heard.text == "Let me see."
    ((_, name, given),) = heard.calls
    assert (name, as_object(given)) == ("add", {"a": 1})
    assert (heard.stop, heard.complete) == (CALLED[client], True)


@every_client
def test_a_tool_call_streamed_token_by_token_with_the_index_only_is_whole(world, client):
    pieces = [arguments(c) for c in '"a": 1}']
    begin = chunk({"tool_calls": [opened("YUtWabc", "add", "{")]})
    world.does(saying("openai", ROLE, begin, *pieces, chunk({}, "tool_calls"), DONE))
    heard = world.ask(client, "openai/m", stream=True, tools=TOOLS[client])
    ((_, name, given),) = heard.calls
    assert (name, as_object(given)) == ("add", {"a": 1})
    assert (heard.stop, heard.complete) == (CALLED[client], True)


@every_client
def test_a_tool_call_opened_without_arguments_or_repeating_its_type_is_whole(world, client):
    """vLLM leaves `arguments` out of the first piece, LiteLLM repeats `type` in all of them."""
    call = {**opened("chatcmpl-tool-1", "add", None), "provider_specific_fields": None}
    begin = chunk({"content": None, "tool_calls": [call]})
    pieces = [arguments('{"a"', type="function"), arguments(": 1}", type="function")]
    world.does(saying("openai", ROLE, begin, *pieces, chunk({}, "tool_calls"), DONE))
    heard = world.ask(client, "openai/m", stream=True, tools=TOOLS[client])
    ((_, name, given),) = heard.calls
    assert (name, as_object(given)) == ("add", {"a": 1})
    assert (heard.stop, heard.complete) == (CALLED[client], True)


@every_client
def test_a_tool_call_all_of_whose_events_come_in_one_piece_is_whole(world, client):
    call = {**opened("JNQkabc", "add", '{"a":6,"b":8}')}
    begin = chunk({"role": "assistant", "content": "", "tool_calls": [call]})
    world.does(saying("openai", begin + chunk({}, "tool_calls") + DONE))
    heard = world.ask(client, "openai/m", stream=True, tools=TOOLS[client])
    ((_, name, given),) = heard.calls
    assert (name, as_object(given)) == ("add", {"a": 6, "b": 8})
    assert (heard.stop, heard.complete) == (CALLED[client], True)


@every_client
@both_ways
@pytest.mark.parametrize("bad", ['"{{ Hello model...', ":", "", "{}", "[1]"])
def test_arguments_that_are_no_object_or_no_json_do_no_harm(world, client, stream, bad):
    call = opened("chatcmpl-tool-1", "add", bad)
    if stream:
        begin = chunk({"tool_calls": [call]})
        world.does(saying("openai", ROLE, begin, chunk({}, "tool_calls"), DONE))
    else:
        world.does(
            refusing(200, openai_whole({"content": None, "tool_calls": [call]}, "tool_calls"))
        )
    heard = world.ask(client, "openai/m", stream=stream, tools=TOOLS[client])
    if client == "ollama" and bad not in (
        "",
        "{}",
    ):  # its calls hold objects, so this one cannot be
        assert "arguments" in heard.error
        said = world.line(heard)
        assert (said["end"], said["fault"]) == ("upstream_error", "upstream")
        return
    assert [name for _, name, _ in heard.calls] == ["add"]
    assert (heard.stop, heard.complete, heard.error) == (CALLED[client], True, None)


@every_client
@both_ways
@pytest.mark.parametrize("known", [True, False], ids=["with_id", "without_id"])
def test_ollamas_done_reason_stop_and_a_call_in_the_last_line_is_a_tool_call(
    world, client, stream, known
):
    call = {"function": {"index": 0, "name": "add", "arguments": {"a": 1}}}
    if known:
        call["id"] = "AhScabc"
    only = line({"tool_calls": [call]}, done=True, done_reason="stop", eval_count=4)
    world.does(saying("ollama", only) if stream else refusing(200, only))
    heard = world.ask(client, "ollama/m", stream=stream, tools=TOOLS[client])
    ((call_id, name, given),) = heard.calls
    assert (name, as_object(given)) == ("add", {"a": 1})
    assert (heard.stop, heard.complete) == (CALLED[client], True)
    assert call_id or client == "ollama"


@every_upstream
def test_foreign_ids_of_calls_come_back_to_the_server_as_they_were(world, upstream):
    """llama.cpp's ids have no prefix; whatever an Anthropic client is told, the server must know."""
    call = opened("YUtWoAbCdEfGhIjKlMnOpQrStUvWxYz0", "add", '{"a": 1}')
    whole = {
        "openai": openai_whole({"content": "", "tool_calls": [call]}, "tool_calls"),
        "anthropic": {
            "id": "chatcmpl-1",
            "type": "message",
            "role": "assistant",
            "model": "m",
            "content": [{"type": "tool_use", "id": call["id"], "name": "add", "input": {"a": 1}}],
            "stop_reason": "tool_use",
            "usage": {"input_tokens": 1, "output_tokens": 2},
        },
        "ollama": json.loads(
            line(
                {
                    "tool_calls": [
                        {"id": call["id"], "function": {"name": "add", "arguments": {"a": 1}}}
                    ]
                },
                done=True,
                done_reason="stop",
            )
        ),
    }
    world.does(refusing(200, whole[upstream]))
    for client in ("openai", "anthropic"):
        heard = world.ask(client, f"{upstream}/m", tools=TOOLS[client])
        call_id = heard.calls[0][0]
        if client == "openai":
            said = {"role": "assistant", "tool_calls": [opened(call_id, "add", '{"a": 1}')]}
            del said["tool_calls"][0]["index"]
            result = {"role": "tool", "tool_call_id": call_id, "content": "7"}
        else:
            use = {"type": "tool_use", "id": call_id, "name": "add", "input": {"a": 1}}
            said = {"role": "assistant", "content": [use]}
            told = {"type": "tool_result", "tool_use_id": call_id, "content": "7"}
            result = {"role": "user", "content": [told]}
        messages = [*HI, said, result]
        again = world.ask(client, f"{upstream}/m", tools=TOOLS[client], messages=messages)
        assert again.status == 200
        assert world.up.received[-1].body.decode().count(call["id"]) >= (upstream != "ollama")


def test_a_server_that_ignores_a_named_tool_choice_is_not_made_to_have_called(world):
    world.does(saying("openai", *HELLO["openai"], *GOODBYE["openai"]))
    choice = {"type": "tool", "name": "add"}
    heard = world.ask("anthropic", "openai/m", stream=True, tools=[A_TOOL], tool_choice=choice)
    assert (heard.text, heard.calls, heard.stop) == ("Hello model.", [], "end_turn")


# --- what reaches the server ----------------------------------------------------------------------


def sent(world: World) -> Received:
    (received,) = world.up.received
    return received


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


@ALL_PAIRS
def test_a_request_says_json_asks_for_no_compression_and_names_the_server_not_the_router(
    world, client, upstream
):
    """vLLM refuses text/plain, Ollama a foreign Host or Origin, llama.cpp a body in bad UTF-8."""
    world.does(any_answer)
    headers = {"Origin": world.daemon.url, "Content-Type": "text/plain", "Cookie": "a=b"}
    assert world.ask(client, f"{upstream}/m", headers=headers).status == 200
    received = sent(world)
    assert received.headers["content-type"] == "application/json"
    assert received.headers["accept-encoding"] == "identity"
    assert received.headers["host"] == f"127.0.0.1:{world.up.port}"
    assert "origin" not in received.headers
    assert "cookie" not in received.headers
    assert int(received.headers["content-length"]) == len(received.body)
    assert "expect" not in received.headers


@pytest.mark.parametrize("client", ["anthropic", "ollama"])
def test_a_server_of_openais_format_is_sent_max_tokens(world, client):
    """Ollama's /v1 takes no notice of max_completion_tokens."""
    world.does(any_answer)
    more = {"options": {"num_predict": 7}} if client == "ollama" else {"max_tokens": 7}
    assert world.ask(client, "openai/m", **more).status == 200
    body = sent(world).json
    assert body["max_tokens"] == 7
    assert "max_completion_tokens" not in body


@pytest.mark.parametrize("client", ["openai", "ollama"])
def test_a_server_of_anthropics_format_is_always_sent_max_tokens(world, client):
    """Ollama's /v1/messages refuses a request without."""
    world.does(any_answer)
    assert world.ask(client, "anthropic/m").status == 200
    assert sent(world).json["max_tokens"] > 0


def test_ollama_is_sent_objects_for_arguments_text_for_content_and_base64_for_images(world):
    world.does(any_answer)
    png = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
    picture = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{png}"}}
    call = {
        "id": "call_1",
        "type": "function",
        "function": {"name": "add", "arguments": '{"a": 1}'},
    }
    messages = [
        {"role": "user", "content": [{"type": "text", "text": "what is"}, picture]},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "call_1", "content": [{"type": "text", "text": "7"}]},
    ]
    heard = world.ask("openai", "ollama/m", messages=messages, tools=[TOOL])
    assert heard.status == 200
    user, assistant, tool = sent(world).json["messages"]
    assert (user["content"], user["images"]) == ("what is", [png])
    assert assistant["tool_calls"][0]["function"]["arguments"] == {"a": 1}
    assert isinstance(assistant.get("content") or "", str)
    assert tool["content"] == "7"


@pytest.mark.parametrize("choice", ["required", {"type": "function", "function": {"name": "add"}}])
def test_a_tool_choice_that_ollama_does_not_know_is_said_to_be_lost(world, choice):
    world.does(any_answer)
    heard = world.ask("openai", "ollama/m", tools=[TOOL], tool_choice=choice)
    assert "tool_choice" in heard.headers["x-router-dropped"]
    assert "tool_choice" not in sent(world).json


def test_no_tool_is_sent_to_ollama_when_none_may_be_called(world):
    """It would call them: `tool_choice` "none" has no meaning to it."""
    world.does(any_answer)
    assert world.ask("openai", "ollama/m", tools=[TOOL], tool_choice="none").status == 200
    assert not sent(world).json.get("tools")


@pytest.mark.parametrize("keep_alive", ["10m", -1, 0, 300])
def test_keep_alive_passes_to_ollama_as_a_text_or_a_number(world, keep_alive):
    world.does(any_answer)
    assert world.ask("ollama", "ollama/m", keep_alive=keep_alive).status == 200
    assert sent(world).json["keep_alive"] == keep_alive


def test_two_choices_and_their_probabilities_pass_between_openai_clients_and_servers(world):
    token = {"id": 259, "token": " Hello", "logprob": -0.1, "bytes": [32], "top_logprobs": []}
    body = openai_whole({"content": "one"})
    second = {**body["choices"][0], "index": 1, "logprobs": {"content": [token]}}
    body["choices"].append(second)
    body["usage"] = {"prompt_tokens": 21, "completion_tokens": 4, "total_tokens": 25}
    world.does(refusing(200, body))
    heard = world.ask("openai", "openai/m", n=2, logprobs=True)
    assert heard.events == [body]
    assert sent(world).json["n"] == 2


# --- figures and names ----------------------------------------------------------------------------


@every_client
@both_ways
def test_cached_tokens_of_llamas_v1_messages_are_part_of_the_prompt(world, client, stream):
    used = {"cache_read_input_tokens": 20, "input_tokens": 1}
    if stream:
        start = message_start(**used, output_tokens=0)
        world.does(saying("anthropic", start, *HELLO["anthropic"][1:], *GOODBYE["anthropic"]))
    else:
        message = {"id": "c", "type": "message", "role": "assistant", "model": "m"}
        content = [{"type": "text", "text": "Hello model."}]
        usage = {**used, "output_tokens": 4}
        more = {"content": content, "stop_reason": "end_turn", "usage": usage}
        world.does(refusing(200, {**message, **more}))
    options = {"stream_options": {"include_usage": True}} if client == "openai" and stream else {}
    heard = world.ask(client, "anthropic/m", stream=stream, **options)
    assert (heard.input, heard.output) == (21, 4)
    said = world.line(heard)
    assert (said["input_tokens"], said["output_tokens"]) == (21, 4)


@every_client
def test_the_real_prompt_size_in_message_delta_wins_over_the_estimate_in_message_start(
    world, client
):
    start = message_start(input_tokens=1, output_tokens=0)
    end = message_end(input_tokens=21, output_tokens=4)
    stop = event("content_block_stop", index=0)
    world.does(saying("anthropic", start, *HELLO["anthropic"][1:], stop, *end))
    options = {"stream_options": {"include_usage": True}} if client == "openai" else {}
    heard = world.ask(client, "anthropic/m", stream=True, **options)
    assert (heard.input, heard.output) == (21, 4)
    assert world.line(heard)["input_tokens"] == 21


@every_client
@pytest.mark.parametrize("choices", [[], [{"index": 0, "delta": {}}]], ids=["llama", "litellm"])
def test_the_usage_of_a_stream_may_come_with_no_choice_or_an_empty_one(world, client, choices):
    usage = {"prompt_tokens": 21, "completion_tokens": 4, "total_tokens": 25}
    last = sse({"choices": choices, "usage": usage, "timings": {"cache_n": 0}})
    world.does(saying("openai", *HELLO["openai"], chunk({}, "stop"), last, DONE))
    options = {"stream_options": {"include_usage": True}} if client == "openai" else {}
    heard = world.ask(client, "openai/m", stream=True, **options)
    assert (heard.text, heard.input, heard.output) == ("Hello model.", 21, 4)
    assert world.line(heard)["output_tokens"] == 4


@every_client
def test_a_stop_sequence_called_end_turn_is_an_ordinary_end(world, client):
    """llama.cpp and Ollama say end_turn where Anthropic says stop_sequence."""
    ended = {"stop_reason": "end_turn", "stop_sequence": " old"}
    end = event("message_delta", delta=ended, usage={"output_tokens": 4})
    world.does(saying("anthropic", *HELLO["anthropic"], end, event("message_stop")))
    heard = world.ask(client, "anthropic/m", stream=True)
    assert heard.stop == {"openai": "stop", "anthropic": "end_turn", "ollama": "stop"}[client]
    assert heard.complete


@every_client
def test_an_answer_under_another_models_name_is_taken(world, client):
    """llama.cpp answers whatever model is asked for, under its own name; ids may repeat."""
    world.does(refusing(200, {**openai_whole({"content": "Hello"}), "model": "tiny-chat"}))
    for _ in range(2):
        heard = world.ask(client, "openai/m")
        assert (heard.status, heard.text) == (200, "Hello")
        assert heard.headers["x-router-model"] == "openai-m"


@every_client
def test_an_id_of_any_length_and_alphabet_is_taken(world, client):
    """LiteLLM's /v1/messages names its answers `resp_` and a long base64 text."""
    start = message_start().replace(b"chatcmpl-1", b"resp_" + b"aBc+/=" * 100)
    loose = start.replace(b"data: ", b"data:")
    world.does(saying("anthropic", loose, *HELLO["anthropic"][1:], *GOODBYE["anthropic"]))
    heard = world.ask(client, "anthropic/m", stream=True)
    assert (heard.text, heard.complete) == ("Hello model.", True)


# --- text and thought -----------------------------------------------------------------------------

ASKS_TO_THINK: dict[str, dict[str, Any]] = {
    "openai": {"reasoning_effort": "medium"},
    "anthropic": {"thinking": {"type": "enabled", "budget_tokens": 1024}, "max_tokens": 2000},
    "ollama": {"think": True},
}


@every_client
@both_ways
@pytest.mark.parametrize("name", ["reasoning_content", "reasoning"])
def test_reasoning_is_found_under_either_name(world, client, stream, name):
    if stream:
        thinks = chunk({"role": "assistant", "content": "", name: " we count"})
        world.does(saying("openai", thinks, *HELLO["openai"], *GOODBYE["openai"]))
    else:
        world.does(refusing(200, openai_whole({"content": "Hello model.", name: " we count"})))
    heard = world.ask(client, "openai/m", stream=stream, **ASKS_TO_THINK[client])
    assert (heard.thought, heard.text) == (" we count", "Hello model.")


@every_client
@both_ways
def test_ollamas_thinking_is_the_thought(world, client, stream):
    thinks = {"thinking": " we count"}
    whole = line({**thinks, "content": "Hello model."}, done=True, done_reason="stop")
    streamed = [line(thinks), *HELLO["ollama"], LAST_LINE]
    world.does(saying("ollama", *streamed) if stream else refusing(200, whole))
    heard = world.ask(client, "ollama/m", stream=stream, **ASKS_TO_THINK[client])
    assert (heard.thought, heard.text) == (" we count", "Hello model.")


@every_client
def test_a_thinking_block_without_a_signature_is_a_thought(world, client):
    thinks = [
        block(0, {"type": "thinking", "thinking": ""}),
        delta(0, type="thinking_delta", thinking=" we count"),
        event("content_block_stop", index=0),
        block(1, TEXT_BLOCK),
        delta(1, type="text_delta", text="Hello model."),
        event("content_block_stop", index=1),
    ]
    world.does(saying("anthropic", message_start(), *thinks, *message_end()))
    heard = world.ask(client, "anthropic/m", stream=True, **ASKS_TO_THINK[client])
    assert (heard.thought, heard.text, heard.complete) == (" we count", "Hello model.", True)


@every_client
@both_ways
def test_thought_only_because_the_tokens_ran_out_is_no_error(world, client, stream):
    if stream:
        thinks = chunk({"role": "assistant", "reasoning_content": " we count"})
        world.does(saying("openai", thinks, chunk({}, "length"), DONE))
    else:
        message = {"content": "", "reasoning_content": " we count"}
        world.does(refusing(200, openai_whole(message, "length")))
    heard = world.ask(client, "openai/m", stream=stream, **ASKS_TO_THINK[client])
    assert (heard.thought, heard.text, heard.error) == (" we count", "", None)
    assert heard.stop == {"openai": "length", "anthropic": "max_tokens", "ollama": "length"}[client]


@every_client
def test_text_in_the_first_chunk_beside_the_role_is_not_lost(world, client):
    first = chunk({"role": "assistant", "content": "Hello"}, system_fingerprint="fp_ollama")
    world.does(saying("openai", first, chunk({"content": " model."}), *GOODBYE["openai"]))
    assert world.ask(client, "openai/m", stream=True).text == "Hello model."


@every_client
def test_text_in_the_last_chunk_beside_the_finish_reason_is_not_lost(world, client):
    world.does(
        saying("openai", ROLE, chunk({"content": "Hello"}), chunk({"content": "."}, "stop"), DONE)
    )
    heard = world.ask(client, "openai/m", stream=True)
    assert (heard.text, heard.complete) == ("Hello.", True)


@every_client
def test_chunks_without_the_keys_that_say_null_elsewhere_are_understood(world, client):
    """LiteLLM leaves keys out: no finish_reason until the last chunk, no content beside the role."""
    said = [{"role": "assistant"}, {"content": "Hello"}, {"content": " model."}]
    pieces = [sse({"id": "c", "choices": [{"index": 0, "delta": d}]}) for d in said]
    world.does(saying("openai", *pieces, chunk({}, "stop"), DONE))
    heard = world.ask(client, "openai/m", stream=True)
    assert (heard.text, heard.complete) == ("Hello model.", True)


@every_client
@both_ways
def test_keys_that_are_null_are_no_content(world, client, stream):
    """vLLM sends every key it knows."""
    nulls = dict.fromkeys(("refusal", "annotations", "audio", "function_call", "reasoning"))
    if stream:
        first = chunk({"role": "assistant", "content": "", **nulls})
        world.does(saying("openai", first, *HELLO["openai"][1:], *GOODBYE["openai"]))
    else:
        body = openai_whole({"content": "Hello model.", **nulls, "tool_calls": []})
        body["choices"][0] |= {"logprobs": None, "stop_reason": None, "token_ids": None}
        more = dict.fromkeys(("service_tier", "prompt_logprobs", "kv_transfer_params"))
        world.does(refusing(200, {**body, **more}))
    heard = world.ask(client, "openai/m", stream=stream)
    assert (heard.text, heard.thought, heard.calls) == ("Hello model.", "", [])
    assert heard.complete


@every_client
@every_upstream
def test_a_leading_space_and_several_characters_in_a_piece_stay_as_they_are(
    world, client, upstream
):
    first = {
        "openai": [ROLE, chunk({"content": " 日本😀"})],
        "anthropic": [*BEGINNING["anthropic"], delta(0, type="text_delta", text=" 日本😀")],
        "ollama": [line({"content": " 日本😀"})],
    }
    world.does(saying(upstream, *first[upstream], *GOODBYE[upstream]))
    assert world.ask(client, f"{upstream}/m", stream=True).text == " 日本😀"


@every_client
@both_ways
def test_characters_that_ollama_escapes_are_the_same_characters(world, client, stream):
    said = line({"content": "<tool_call> a & b"}, done=True, done_reason="stop")
    said = said.replace(b"<", b"\\u003c").replace(b">", b"\\u003e").replace(b"&", b"\\u0026")
    world.does(saying("ollama", said) if stream else refusing(200, said))
    assert world.ask(client, "ollama/m", stream=stream).text == "<tool_call> a & b"


@every_client
def test_an_answer_of_nothing_with_null_for_content_is_an_empty_answer(world, client):
    message = {"id": "msg_1", "type": "message", "role": "assistant", "model": "m"}
    usage = {"input_tokens": 21, "output_tokens": 1}
    body = {**message, "content": None, "stop_reason": "end_turn", "usage": usage}
    world.does(refusing(200, body))
    heard = world.ask(client, "anthropic/m")
    assert (heard.status, heard.text, heard.error) == (200, "", None)


@every_client
@every_upstream
def test_keys_in_another_order_and_a_line_end_after_the_body_do_not_matter(world, client, upstream):
    def script(turn: Turn) -> None:
        answer: dict[str, Any] = {}
        any_answer(_Catching(turn, answer))
        turned = dict(reversed(answer.items()))
        turn.whole(json.dumps(turned).encode() + b"\n")

    world.does(script)
    heard = world.ask(client, f"{upstream}/m")
    assert (heard.status, heard.complete) == (200, True)


class _Catching(Turn):
    """A turn that keeps the answer it is given instead of sending it."""

    def __init__(self, turn: Turn, answer: dict[str, Any]) -> None:
        super().__init__(turn.sock, turn.received)
        self._answer = answer

    def whole(self, body: Any, status: int = 200, *fields: str, kind: str = "") -> None:
        self._answer.update(json.loads(body) if isinstance(body, bytes) else body)


# --- lists of models ------------------------------------------------------------------------------

LLAMA_LIST = {
    "models": [{"name": "tiny-chat", "model": "tiny-chat", "modified_at": "", "size": ""}],
    "object": "list",
    "data": [{"id": "tiny-chat", "object": "model", "meta": {"n_ctx_train": 32768}}],
}
VLLM_LIST = {"object": "list", "data": [{"id": "big", "object": "model", "max_model_len": 4096}]}
TAGS = {
    "models": [
        {
            "name": "Small:latest",
            "model": "Small:latest",
            "modified_at": "2026-11-23T20:31:39.283403423Z",
            "size": 815764,
            "digest": "2a7b",
            "details": {"parent_model": "", "families": ["llama"]},
            "capabilities": ["completion"],
        }
    ]
}


def listing(turn: Turn) -> None:
    """A llama.cpp at /llama, a vLLM at /vllm, an Ollama at the top."""
    path = turn.received.target.partition("?")[0]
    if path == "/llama/models":
        turn.whole(LLAMA_LIST, 200, "Access-Control-Allow-Origin:", "Server: llama.cpp")
    elif path == "/vllm/models":
        turn.whole(VLLM_LIST)
    elif path == "/api/tags":
        turn.whole(TAGS)
    elif path == "/api/ps":
        turn.whole({"models": []})
    elif path == "/api/show":  # Ollama sends this one in chunks
        turn.head(200, "Transfer-Encoding: chunked")
        info = {"general.architecture": "llama", "llama.context_length": 32768}
        body = json.dumps({"model_info": info, "capabilities": ["completion"]}).encode()
        turn.chunk(body[:30])
        turn.chunk(body[30:])
        turn.end()
    elif turn.received.method == "POST":
        any_answer(turn)
    else:
        turn.whole(b"404 page not found", 404, kind="text/plain")


def test_lists_of_models_in_every_dialect_are_understood(tmp_path):
    """An unknown name is found nowhere; Ollama's is found without its tag and in any case."""
    with FakeUpstream(listing) as up:
        config = "[server]\nport = 0\n"
        for name, fmt, path in (
            ("llama", "openai", "/llama"),
            ("llama-messages", "anthropic", "/llama"),
            ("vllm", "openai", "/vllm"),
            ("ollama", "ollama", ""),
        ):
            config += PROVIDER.format(name=name, format=fmt, url=up.url + path)
        config += '[[routers]]\ntype = "discover"\nproviders = ["vllm", "ollama", "llama"]\n'
        with (
            RunningDaemon(config, tmp_path) as daemon,
            httpx.Client(base_url=daemon.url, timeout=PATIENCE_S) as http,
        ):
            end = time.monotonic() + PATIENCE_S
            states = http.get("/ready").json()["providers"]
            while any(s["models"] is None for s in states.values()):
                assert time.monotonic() < end, states
                time.sleep(0.05)
                states = http.get("/ready").json()["providers"]
            names = {m["id"] for m in http.get("/v1/models").json()["data"]}
            assert {"tiny-chat", "big", "Small:latest"} <= names
            assert {s["models"] for s in states.values()} == {1}
            for asked, provider in (
                ("tiny-chat", "llama"),
                ("big", "vllm"),
                ("Small:latest", "ollama"),
                ("Small", "ollama"),
                ("small:latest", "ollama"),
            ):
                body = {"model": asked, "messages": HI}
                answer = http.post("/v1/chat/completions", json=body)
                assert answer.status_code == 200, (asked, answer.text)
                assert answer.headers["x-router-provider"] == provider
            long = {"model": "big", "messages": [{"role": "user", "content": "word " * 9000}]}
            assert http.post("/v1/chat/completions", json=long).status_code == 400
        assert not up.errors
