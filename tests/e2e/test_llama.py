"""The router in front of a server that nobody here wrote: llama.cpp, with tiny models.

What the models say is word salad, the same one at temperature 0; formats, grammar, ends, figures
and cancellation are real. llama.cpp speaks OpenAI's format and Anthropic's, so each test goes through
the router twice: to /v1/chat/completions and to /v1/messages.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import anthropic
import httpx
import ollama
import openai
import pytest

from tests.fakes.daemon import ROOT, RunningDaemon

pytestmark = [pytest.mark.real, pytest.mark.e2e, pytest.mark.slow]

MODES = ("chat", "think", "tools", "slow", "embed")
INSTALL_S = 600.0
PATIENCE_S = 60.0
PROMPT = "Say something about the weather."
WEATHER: dict[str, Any] = {
    "type": "object",
    "properties": {
        "city": {"type": "string", "enum": ["Oslo", "Rome"]},
        "days": {"enum": [1, 2, 3]},
    },
    "required": ["city", "days"],
    "additionalProperties": False,
}


# --- the servers ----------------------------------------------------------------------------------


class LlamaServer:
    """One llama.cpp server with one tiny model, as a process."""

    def __init__(self, mode: str, port: int = 0) -> None:
        self.process = subprocess.Popen(
            ["bash", str(ROOT / "tests/upstreams/start_llama_server.sh"), str(port), mode],
            env={**os.environ, "PYTHON": sys.executable},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.lines: list[str] = []
        self.ready = threading.Event()
        self.url = ""
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self) -> None:
        assert self.process.stdout
        for line in self.process.stdout:
            self.lines.append(line)
            if line.startswith("READY "):
                self.url = line.split()[1]
                self.ready.set()
        self.ready.set()

    def wait(self) -> None:
        assert self.ready.wait(INSTALL_S), f"llama.cpp did not start:\n{''.join(self.lines)}"
        assert self.url, f"llama.cpp did not start:\n{''.join(self.lines)}"

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.reader.join(PATIENCE_S)
        assert self.process.stdout
        self.process.stdout.close()

    def busy_slots(self) -> int:
        slots = httpx.get(f"{self.url}/slots", timeout=PATIENCE_S).json()
        return sum(slot["is_processing"] for slot in slots)

    def becomes(self, busy: int) -> bool:
        """Wait until that many slots work.

        The pauses are long because any other work, this question included, puts off the moment
        when llama.cpp looks whether the client of a whole answer is still there.
        """
        end = time.monotonic() + PATIENCE_S
        while self.busy_slots() != busy:
            if time.monotonic() > end:
                return False
            time.sleep(2.5 if busy == 0 else 0.1)
        return True


@pytest.fixture(scope="module")
def llama() -> Iterator[dict[str, LlamaServer]]:
    servers: dict[str, LlamaServer] = {}
    try:
        for mode in MODES:
            servers[mode] = LlamaServer(mode)
        for server in servers.values():
            server.wait()
        yield servers
    finally:
        for server in servers.values():
            server.stop()


@pytest.fixture(scope="module")
def daemon(
    llama: dict[str, LlamaServer], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningDaemon]:
    folder = tmp_path_factory.mktemp("llama")
    lines = ["[server]", "port = 0"]
    for mode, server in llama.items():
        for fmt in ("openai", "anthropic", "responses"):
            lines += ["[[providers]]", f'name = "{mode}-{fmt}"', f'format = "{fmt}"']
            lines.append(f'base_url = "{server.url}"')
    with RunningDaemon("\n".join(lines), folder) as running:
        yield running


@pytest.fixture(params=["openai", "anthropic", "responses"])
def via(request: pytest.FixtureRequest) -> str:
    """The format in which the router talks to llama.cpp."""
    return str(request.param)


# --- the clients ----------------------------------------------------------------------------------


@dataclass
class Said:
    """What an SDK understood, in words that all three share."""

    text: str = ""
    thought: str = ""
    calls: list[tuple[str, Any]] = field(default_factory=list)
    stop: str = ""
    input: int | None = None
    output: int | None = None
    pieces: int = 0
    message: Any = None


_STOPS = {"end_turn": "stop", "max_tokens": "length", "tool_use": "tool_calls"}
TOOL_TEXT = "What the weather will be like."


class OpenAI:
    name = "openai"

    def __init__(self, url: str) -> None:
        self.sdk = openai.OpenAI(
            base_url=f"{url}/v1", api_key="x", max_retries=0, timeout=PATIENCE_S
        )

    def close(self) -> None:
        self.sdk.close()

    def models(self) -> set[str]:
        return {m.id for m in self.sdk.models.list()}

    @staticmethod
    def _args(
        model: str,
        *,
        tools=False,
        schema=None,
        messages=None,
        max_tokens=1500,
        temperature=0,
        think=False,
    ) -> dict[str, Any]:
        args: dict[str, Any] = {"model": model, "max_tokens": max_tokens}
        args["temperature"] = temperature
        args["messages"] = messages or [{"role": "user", "content": PROMPT}]
        if tools:
            function = {"name": "weather", "description": TOOL_TEXT, "parameters": WEATHER}
            args["tools"] = [{"type": "function", "function": function}]
            args["tool_choice"] = "auto" if messages else "required"
        if think:
            args["reasoning_effort"] = "medium"
        if schema:
            named = {"name": "weather", "schema": schema, "strict": True}
            args["response_format"] = {"type": "json_schema", "json_schema": named}
        return args

    def ask(self, model: str, **how: Any) -> Said:
        args = self._args(model, **how)
        answer = self.sdk.chat.completions.create(**args)
        choice = answer.choices[0]
        said = Said(text=choice.message.content or "", stop=choice.finish_reason)
        said.thought = getattr(choice.message, "reasoning_content", None) or ""
        for call in choice.message.tool_calls or ():
            said.calls.append((call.function.name, json.loads(call.function.arguments)))
        said.input, said.output = answer.usage.prompt_tokens, answer.usage.completion_tokens
        said.message = choice.message
        return said

    def stream(self, model: str, **how: Any) -> Said:
        args = self._args(model, **how)
        said = Said()
        names: list[str] = []
        arguments: list[str] = []
        options = {"include_usage": True}
        with self.sdk.chat.completions.create(
            **args, stream=True, stream_options=options
        ) as chunks:
            for chunk in chunks:
                if chunk.usage:
                    said.input = chunk.usage.prompt_tokens
                    said.output = chunk.usage.completion_tokens
                for choice in chunk.choices:
                    said.pieces += bool(choice.delta.content)
                    said.text += choice.delta.content or ""
                    said.thought += getattr(choice.delta, "reasoning_content", None) or ""
                    for call in choice.delta.tool_calls or ():
                        if call.index == len(names):
                            names.append(call.function.name)
                            arguments.append("")
                        arguments[call.index] += call.function.arguments or ""
                    said.stop = choice.finish_reason or said.stop
        said.calls = [(n, json.loads(a)) for n, a in zip(names, arguments, strict=True)]
        return said

    def after(self, said: Said, result: str) -> list[Any]:
        """The conversation with the call of `said` and its result."""
        call_id = said.message.tool_calls[0].id
        return [
            {"role": "user", "content": PROMPT},
            said.message.model_dump(exclude_none=True),
            {"role": "tool", "tool_call_id": call_id, "content": result},
        ]


class Anthropic:
    name = "anthropic"

    def __init__(self, url: str) -> None:
        self.sdk = anthropic.Anthropic(base_url=url, api_key="x", max_retries=0, timeout=PATIENCE_S)

    def close(self) -> None:
        self.sdk.close()

    def models(self) -> set[str]:
        return {m.id for m in self.sdk.models.list()}

    @staticmethod
    def _args(
        model: str,
        *,
        tools=False,
        schema=None,
        messages=None,
        max_tokens=1500,
        temperature=0,
        think=False,
    ) -> dict[str, Any]:
        args: dict[str, Any] = {"model": model, "max_tokens": max_tokens}
        args["extra_body"] = {"temperature": temperature}
        args["messages"] = messages or [{"role": "user", "content": PROMPT}]
        if tools:
            tool = {"name": "weather", "description": TOOL_TEXT, "input_schema": WEATHER}
            args["tools"] = [tool]
            args["tool_choice"] = {"type": "auto" if messages else "any"}
        if think:
            args["thinking"] = {"type": "enabled", "budget_tokens": 1024}
        if schema:
            args["output_config"] = {"format": {"type": "json_schema", "schema": schema}}
        return args

    @staticmethod
    def _said(message: anthropic.types.Message) -> Said:
        said = Said(stop=_STOPS[message.stop_reason or ""], message=message)
        for block in message.content:
            if block.type == "text":
                said.text += block.text
            elif block.type == "thinking":
                said.thought += block.thinking
            elif block.type == "tool_use":
                said.calls.append((block.name, block.input))
        usage = message.usage
        said.input = usage.input_tokens + (usage.cache_read_input_tokens or 0)
        said.output = usage.output_tokens
        return said

    def ask(self, model: str, **how: Any) -> Said:
        args = self._args(model, **how)
        return self._said(self.sdk.messages.create(**args))

    def stream(self, model: str, **how: Any) -> Said:
        args = self._args(model, **how)
        with self.sdk.messages.stream(**args) as events:
            pieces = sum(event.type == "text" for event in events)
            said = self._said(events.get_final_message())
        said.pieces = pieces
        return said

    def after(self, said: Said, result: str) -> list[Any]:
        use = next(b for b in said.message.content if b.type == "tool_use")
        content = [{"type": "tool_result", "tool_use_id": use.id, "content": result}]
        return [
            {"role": "user", "content": PROMPT},
            {"role": "assistant", "content": said.message.content},
            {"role": "user", "content": content},
        ]


class Ollama:
    name = "ollama"

    def __init__(self, url: str) -> None:
        self.sdk = ollama.Client(host=url, timeout=PATIENCE_S)

    def close(self) -> None:
        self.sdk.close()

    def models(self) -> set[str]:
        return {str(m.model) for m in self.sdk.list().models}

    @staticmethod
    def _args(
        model: str,
        *,
        tools=False,
        schema=None,
        messages=None,
        max_tokens=1500,
        temperature=0,
        think=False,
    ) -> dict[str, Any]:
        options = {"temperature": temperature, "num_predict": max_tokens}
        args: dict[str, Any] = {
            "model": model,
            "options": options,
            "format": schema,
            "think": think or None,
        }
        args["messages"] = messages or [{"role": "user", "content": PROMPT}]
        if tools:
            function = {"name": "weather", "description": TOOL_TEXT, "parameters": WEATHER}
            args["tools"] = [{"type": "function", "function": function}]
        return args

    @staticmethod
    def _add(said: Said, answer: ollama.ChatResponse) -> None:
        said.pieces += bool(answer.message.content)
        said.text += answer.message.content or ""
        said.thought += answer.message.thinking or ""
        for call in answer.message.tool_calls or ():
            said.calls.append((call.function.name, dict(call.function.arguments)))
        if answer.done:
            said.stop = answer.done_reason or ""
            said.input, said.output = answer.prompt_eval_count, answer.eval_count
        said.message = answer.message

    def ask(self, model: str, **how: Any) -> Said:
        said = Said()
        self._add(said, self.sdk.chat(**self._args(model, **how)))
        return said

    def stream(self, model: str, **how: Any) -> Said:
        said = Said()
        args = self._args(model, **how)
        for answer in self.sdk.chat(**args, stream=True):
            self._add(said, answer)
        return said

    def after(self, said: Said, result: str) -> list[Any]:
        return [
            {"role": "user", "content": PROMPT},
            said.message,
            {"role": "tool", "tool_name": "weather", "content": result},
        ]


class Responses:
    name = "responses"

    def __init__(self, url: str) -> None:
        self.sdk = openai.OpenAI(
            base_url=f"{url}/v1", api_key="x", max_retries=0, timeout=PATIENCE_S
        )

    def close(self) -> None:
        self.sdk.close()

    def models(self) -> set[str]:
        return {m.id for m in self.sdk.models.list()}

    @staticmethod
    def _args(
        model: str,
        *,
        tools=False,
        schema=None,
        messages=None,
        max_tokens=1500,
        temperature=0,
        think=False,
    ) -> dict[str, Any]:
        args: dict[str, Any] = {"model": model, "max_output_tokens": max_tokens}
        args["temperature"] = temperature
        args["input"] = messages or PROMPT
        if tools:
            tool = {"type": "function", "name": "weather", "description": TOOL_TEXT}
            args["tools"] = [{**tool, "parameters": WEATHER, "strict": False}]
            args["tool_choice"] = "auto" if messages else "required"
        if think:
            args["reasoning"] = {"effort": "medium", "summary": "auto"}
        if schema:
            named = {"type": "json_schema", "name": "weather", "schema": schema, "strict": True}
            args["text"] = {"format": named}
        return args

    @staticmethod
    def _said(answer: Any) -> Said:
        said = Said(text=answer.output_text, message=answer)
        for item in answer.output:
            if item.type == "function_call":
                said.calls.append((item.name, json.loads(item.arguments)))
            elif item.type == "reasoning":
                told = [*(item.summary or ()), *(item.content or ())]
                said.thought += "".join(part.text for part in told)
        cut = answer.status == "incomplete"
        said.stop = "length" if cut else "tool_calls" if said.calls else "stop"
        said.input, said.output = answer.usage.input_tokens, answer.usage.output_tokens
        return said

    def ask(self, model: str, **how: Any) -> Said:
        return self._said(self.sdk.responses.create(**self._args(model, **how)))

    def stream(self, model: str, **how: Any) -> Said:
        pieces, last = 0, None
        with self.sdk.responses.create(**self._args(model, **how), stream=True) as events:
            for event in events:
                pieces += event.type == "response.output_text.delta"
                last = event
        assert last is not None
        said = self._said(last.response)
        said.pieces = pieces
        return said

    def after(self, said: Said, result: str) -> list[Any]:
        call = next(item for item in said.message.output if item.type == "function_call")
        output = {"type": "function_call_output", "call_id": call.call_id, "output": result}
        return [
            {"role": "user", "content": PROMPT},
            *(item.model_dump(exclude_none=True) for item in said.message.output),
            output,
        ]


@pytest.fixture(params=[OpenAI, Anthropic, Ollama, Responses], ids=lambda c: c.__name__)
def client(request: pytest.FixtureRequest, daemon: RunningDaemon) -> Iterator[Any]:
    made = request.param(daemon.url)
    yield made
    made.close()


# --- answers --------------------------------------------------------------------------------------


def test_a_plain_answer_is_what_llama_says_when_asked_directly(client, via, llama):
    said = client.ask(f"chat-{via}/tiny-chat")
    body = {"messages": [{"role": "user", "content": PROMPT}], "temperature": 0}
    url = f"{llama['chat'].url}/v1/chat/completions"
    direct = httpx.post(url, json=body, timeout=PATIENCE_S).json()
    assert said.text == direct["choices"][0]["message"]["content"] != ""
    assert said.stop == "stop"
    assert said.input == direct["usage"]["prompt_tokens"]
    assert said.output == direct["usage"]["completion_tokens"]


def test_a_stream_comes_in_pieces_and_says_the_same_as_the_plain_answer(client, via):
    plain = client.ask(f"slow-{via}/tiny-slow", max_tokens=12)
    said = client.stream(f"slow-{via}/tiny-slow", max_tokens=12)
    assert said.pieces > 3
    assert said.text == plain.text
    assert (said.input, said.output, said.stop) == (plain.input, plain.output, plain.stop)


def test_max_tokens_cuts_a_model_that_never_ends(client, via):
    said = client.ask(f"slow-{via}/tiny-slow", max_tokens=5)
    assert (said.output, said.stop) == (5, cut_off(via))


def cut_off(via: str) -> str:
    """llama.cpp's /v1/responses calls an answer completed that ran into its limit."""
    return "stop" if via == "responses" else "length"


# --- tools ----------------------------------------------------------------------------------------


def check_call(said: Said, client: Any) -> None:
    name, arguments = said.calls[0]
    assert name == "weather"
    assert set(arguments) == {"city", "days"}
    assert arguments["city"] in ("Oslo", "Rome")
    assert arguments["days"] in (1, 2, 3)
    assert said.stop == ("stop" if client.name == "ollama" else "tool_calls")


def test_a_tool_is_called_and_its_result_is_taken(client, via):
    said = client.ask(f"tools-{via}/tiny-tools", tools=True)
    check_call(said, client)
    messages = client.after(said, "rain all day")
    then = client.ask(f"chat-{via}/tiny-chat", tools=True, messages=messages)
    assert then.text or then.calls
    assert (then.input or 0) > (said.input or 0)


def test_a_streamed_tool_call_is_whole(client, via):
    said = client.stream(f"tools-{via}/tiny-tools", tools=True)
    check_call(said, client)
    assert said.calls == client.ask(f"tools-{via}/tiny-tools", tools=True).calls


@pytest.mark.parametrize("made", [OpenAI, Anthropic])
def test_a_required_tool_call_is_asked_of_llama(made, via, daemon):
    """The model would end by itself after a few words; a required call takes that freedom away.
    Ollama's format cannot say so."""
    client = made(daemon.url)
    try:
        free = client.ask(f"chat-{via}/tiny-chat", max_tokens=60)
        bound = client.ask(f"chat-{via}/tiny-chat", tools=True, max_tokens=60)
    finally:
        client.close()
    assert free.stop == "stop"
    assert bound.output > free.output
    assert bound.stop == cut_off(via)


# --- schemas --------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["ask", "stream"])
def test_an_answer_bound_by_a_schema_is_json_that_keeps_to_it(client, way):
    """Not through /v1/messages: llama.cpp takes no notice of output_config there."""
    said = getattr(client, way)("chat-openai/tiny-chat", schema=WEATHER)
    value = json.loads(said.text)
    assert set(value) == {"city", "days"}
    assert value["city"] in ("Oslo", "Rome")
    assert value["days"] in (1, 2, 3)


# --- reasoning ------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["ask", "stream"])
def test_reasoning_comes_apart_from_the_answer(client, via, way):
    """Chance decides whether the model says something after it has thought, one time in twenty; so
    ask until it does."""
    for _ in range(1000):
        said = getattr(client, way)(f"think-{via}/tiny-think", temperature=1, think=True)
        assert said.thought.strip()
        assert not said.text.lstrip().startswith("<think>" + said.thought)
        if said.text.strip():
            return
    pytest.fail("thought only, a thousand times")


@pytest.mark.parametrize("off", [False, True], ids=["as it is", "off"])
def test_a_client_of_messages_turns_thinking_off(daemon, off):
    """The model always thinks when its template lets it; told not to, it is past its thoughts."""
    body = {
        "model": "think-openai/tiny-think",
        "max_tokens": 64,
        "messages": [{"role": "user", "content": PROMPT}],
        "thinking": {"type": "disabled"} if off else {"type": "enabled", "budget_tokens": 1024},
    }
    said = httpx.post(f"{daemon.url}/v1/messages", json=body, timeout=PATIENCE_S)
    assert said.status_code == 200
    kinds = {block["type"] for block in said.json()["content"]}
    assert ("thinking" in kinds) is not off


# --- models ---------------------------------------------------------------------------------------


def test_the_models_of_llama_are_discovered(client):
    assert {"tiny-chat", "tiny-think", "tiny-tools", "tiny-slow"} <= client.models()


def test_without_a_configuration_llama_is_found_at_its_usual_port(tmp_path):
    """And a model name that nobody has goes to a model of the machine's own."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", 8080))
        except OSError:
            pytest.skip("port 8080 is taken")
    server = LlamaServer("chat", 8080)
    try:
        server.wait()
        with RunningDaemon(None, tmp_path, "--port", "0") as daemon:
            client = Anthropic(daemon.url)
            said = client.sdk.messages.with_raw_response.create(**client._args("claude-opus-4-6"))
            client.close()
    finally:
        server.stop()
    assert said.headers["x-router-model"] == "tiny-chat"
    assert said.parse().content[0].text


# --- the client goes away -------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages", "/api/chat"])
def test_a_client_that_goes_away_in_a_stream_frees_the_slot(path, via, daemon, llama):
    server = llama["slow"]
    assert server.becomes(0)
    body = {"model": f"slow-{via}/tiny-slow", "max_tokens": 4000, "stream": True}
    body["messages"] = [{"role": "user", "content": PROMPT}]
    with httpx.stream("POST", daemon.url + path, json=body, timeout=PATIENCE_S) as answer:
        assert answer.status_code == 200
        pieces = answer.iter_bytes()
        next(pieces)
        assert server.becomes(1)
    assert server.becomes(0), "llama.cpp still works for a client that is gone"
    assert daemon.in_flight() == 0


def test_beside_a_stream_too_a_client_of_a_whole_answer_that_goes_away_frees_its_slot(
    via, daemon, llama
):
    """llama.cpp by itself writes such an answer to its end: it looks for the client only when idle."""
    server = llama["slow"]
    assert server.becomes(0)
    body = {"model": f"slow-{via}/tiny-slow", "max_tokens": 4000}
    body["messages"] = [{"role": "user", "content": PROMPT}]
    url = f"{daemon.url}/v1/chat/completions"
    with httpx.stream("POST", url, json=body | {"stream": True}, timeout=PATIENCE_S) as other:
        pieces = other.iter_bytes()  # held: when it goes, so does the connection
        next(pieces)
        data = json.dumps(body).encode()
        head = "POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\n"
        head += f"Content-Type: application/json\r\nContent-Length: {len(data)}\r\n\r\n"
        with socket.create_connection(("127.0.0.1", daemon.port), PATIENCE_S) as sock:
            sock.sendall(head.encode() + data)
            assert server.becomes(2)
        assert server.becomes(1), "llama.cpp still works for a client that is gone"
    assert server.becomes(0)


def test_a_client_that_goes_away_while_it_waits_for_a_whole_answer_frees_the_slot(
    via, daemon, llama
):
    server = llama["slow"]
    assert server.becomes(0)
    body = {"model": f"slow-{via}/tiny-slow", "max_tokens": 4000}
    body["messages"] = [{"role": "user", "content": PROMPT}]
    path = "/v1/chat/completions" if via == "openai" else "/v1/messages"
    head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
    data = json.dumps(body).encode()
    with socket.create_connection(("127.0.0.1", daemon.port), PATIENCE_S) as sock:
        sock.sendall(f"{head}Content-Length: {len(data)}\r\n\r\n".encode() + data)
        assert server.becomes(1)
    assert server.becomes(0), "llama.cpp still works for a client that is gone"
    assert daemon.in_flight() == 0


# --- smaller calls --------------------------------------------------------------------------------


@pytest.fixture
def sdk(daemon: RunningDaemon) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{daemon.url}/v1", api_key="x", max_retries=0) as made:
        yield made


def test_embeddings_for_clients_of_both_kinds(sdk, daemon):
    """The OpenAI SDK asks for base64 by itself."""
    model = "embed-openai/tiny-embed"
    first, second = sdk.embeddings.create(model=model, input=["one", "two words"]).data
    assert first.embedding != second.embedding
    plain = sdk.embeddings.create(model=model, input="one", encoding_format="float")
    assert plain.data[0].embedding == pytest.approx(first.embedding, abs=1e-6)
    with OllamaClient(daemon) as client:
        got = client.embed(model=model, input=["one", "two words"])
    assert list(got.embeddings[0]) == pytest.approx(first.embedding, abs=1e-6)


class OllamaClient:
    def __init__(self, daemon: RunningDaemon) -> None:
        self.client = ollama.Client(host=daemon.url, timeout=PATIENCE_S)

    def __enter__(self) -> ollama.Client:
        return self.client

    def __exit__(self, *_: object) -> None:
        self.client._client.close()


@pytest.mark.parametrize("stream", [False, True])
def test_a_legacy_completion_passes_through(sdk, stream):
    made = sdk.completions.create(
        model="chat-openai/tiny-chat", prompt="Hello", max_tokens=8, temperature=0, stream=stream
    )
    text = "".join(c.choices[0].text for c in made) if stream else made.choices[0].text
    assert text


@pytest.mark.parametrize("stream", [False, True])
def test_generate_over_a_server_that_has_no_such_call(daemon, stream):
    with OllamaClient(daemon) as client:
        ask = {"model": "chat-openai/tiny-chat", "options": {"temperature": 0, "num_predict": 8}}
        first = client.generate(prompt="Hello", stream=stream, **ask)
        parts = list(first) if stream else [first]
        assert "".join(part.response for part in parts)
        assert parts[-1].done_reason in ("stop", "length")
        context = parts[-1].context
        again = client.generate(prompt="And now?", context=context, **ask)
    assert again.prompt_eval_count > parts[-1].prompt_eval_count


@pytest.mark.parametrize("fmt", ["openai", "anthropic"])
def test_tokens_are_counted_by_llama_itself(daemon, fmt):
    with anthropic.Anthropic(base_url=daemon.url, api_key="x", max_retries=0) as client:
        messages = [{"role": "user", "content": PROMPT}]
        counted = client.messages.with_raw_response.count_tokens(
            model=f"chat-{fmt}/tiny-chat", messages=messages
        )
        assert counted.headers["x-router-token-count"] == "upstream"
        said = client.messages.create(
            model=f"chat-{fmt}/tiny-chat", messages=messages, max_tokens=4
        )
    usage = said.usage
    real = usage.input_tokens + (usage.cache_read_input_tokens or 0)
    assert counted.parse().input_tokens == real


def test_a_conversation_goes_on_from_an_answer_s_id(sdk):
    model = "chat-openai/tiny-chat"
    first = sdk.responses.create(model=model, input="Hello", max_output_tokens=16)
    again = sdk.responses.create(
        model=model, input="More", previous_response_id=first.id, max_output_tokens=16
    )
    assert again.usage.input_tokens > first.usage.input_tokens
    assert sdk.responses.retrieve(first.id).output_text == first.output_text
    sdk.responses.delete(first.id)
    with pytest.raises(openai.BadRequestError, match="previous_response_id"):
        sdk.responses.create(model=model, input="More", previous_response_id=first.id)
