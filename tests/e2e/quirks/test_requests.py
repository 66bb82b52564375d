"""What real servers insist on in a request, and the lists of models they give."""

import json
import time

import httpx
import pytest

from tests.e2e.quirks.world import (
    ALL_PAIRS,
    HI,
    PATIENCE_S,
    PROVIDER,
    TOOL,
    World,
    any_answer,
    openai_whole,
    refusing,
)
from tests.fakes.daemon import RunningDaemon
from tests.fakes.upstream import FakeUpstream, Received, Turn

pytestmark = pytest.mark.e2e


# --- what reaches the server ----------------------------------------------------------------------


def sent(world: World) -> Received:
    (received,) = world.up.received
    return received


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
