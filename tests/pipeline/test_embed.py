"""Embeddings on the walk."""

import base64
import json
import struct
from dataclasses import replace

import pytest
import trio.testing

from formats.canonical import Message, Text
from formats.embeddings import parse_request
from llmrouterd.hooks import Plugin
from llmrouterd.model import Facts, ModelInfo, Provider
from llmrouterd.pipeline import embed
from llmrouterd.pipeline.daemon import Installed
from tests.pipeline.stage import ollama, openai, replies, stage

VECTORS = [[0.5, -1.0], [0.25, 2.0]]
OPENAI = {
    "object": "list",
    "model": "up",
    "data": [{"object": "embedding", "index": i, "embedding": v} for i, v in enumerate(VECTORS)],
    "usage": {"prompt_tokens": 4, "total_tokens": 4},
}
OLLAMA = {"model": "up", "embeddings": VECTORS, "prompt_eval_count": 4}


def provider(name: str, fmt: str, **more) -> Provider:
    return Provider(name, fmt, f"http://{name}/v1", max_retries=0, **more)


def body(**more) -> dict:
    return {"model": "m", "input": ["one", "two"], **more}


def test_the_log_sees_the_texts() -> None:
    asked = parse_request("openai", json.dumps(body(user="u")).encode())
    request = embed.as_request(asked)
    assert [m.parts[0].text for m in request.messages] == ["one", "two"]
    assert (request.model, request.user) == ("m", "u")


def test_the_longest_text_has_to_fit() -> None:
    asked = parse_request("openai", json.dumps(body(input=["a" * 380, "b"])).encode())
    known = embed.facts_of(Facts("m", size_tokens=999), asked)
    assert known.size_tokens == 100
    assert known.needs == {"embedding"}


@pytest.mark.parametrize("fmt", ["openai", "ollama"])
async def test_an_openai_client_gets_floats_or_base64_from_either(fmt: str) -> None:
    up = {"a": replies(200, OPENAI if fmt == "openai" else OLLAMA)}
    async with stage(provider("a", fmt), up=up) as st:
        out = await st.ask("/v1/embeddings", body())
        assert [entry["embedding"] for entry in out.json["data"]] == VECTORS
        assert out.json["usage"]["prompt_tokens"] == 4
        coded = await st.ask("/v1/embeddings", body(encoding_format="base64"))
        (first, _) = (entry["embedding"] for entry in coded.json["data"])
        assert struct.unpack("<2f", base64.b64decode(first)) == (0.5, -1.0)
        asked = st.asked["a"][0]
    path = "/v1/embeddings" if fmt == "openai" else "/v1/api/embed"
    assert (asked.target, asked.json["model"], asked.json["input"]) == (
        path,
        "a-model",
        ["one", "two"],
    )


@pytest.mark.parametrize("fmt", ["openai", "ollama"])
async def test_an_ollama_client_gets_its_own_shape_from_either(fmt: str) -> None:
    up = {"a": replies(200, OPENAI if fmt == "openai" else OLLAMA)}
    async with stage(provider("a", fmt), up=up) as st:
        out = await st.ask("/api/embed", body())
    assert (out.json["embeddings"], out.json["model"]) == (VECTORS, "m")
    assert (st.record.end, st.record.usage.input, st.record.endpoint) == (
        "complete",
        4,
        "/api/embed",
    )


async def test_ollama_s_older_call() -> None:
    one = {"object": "list", "data": [{"index": 0, "embedding": [1.0]}], "model": "up"}
    async with stage(provider("a", "openai"), up={"a": replies(200, one)}) as st:
        out = await st.ask("/api/embeddings", {"model": "m", "prompt": "hi"})
    assert out.json == {"embedding": [1.0]}


async def test_who_makes_none_is_passed_over() -> None:
    up = {"a": replies(200, {}), "b": replies(200, OPENAI)}
    async with stage(provider("a", "anthropic"), provider("b", "openai"), up=up) as st:
        out = await st.ask("/v1/embeddings", body())
        assert st.asked["a"] == []
    assert out.headers.get("x-router-provider") == "b"


async def test_a_failing_one_is_walked_past() -> None:
    up = {"a": replies(500, {"error": "no"}), "b": replies(200, OLLAMA)}
    async with stage(provider("a", "openai"), provider("b", "ollama"), up=up) as st:
        out = await st.ask("/v1/embeddings", body())
    assert (out.status, out.headers.get("x-router-attempts")) == (200, "2")


async def test_an_embedding_model_is_not_refused_as_it_is_for_chats() -> None:
    models = {"a": {"a-model": ModelInfo("a-model", frozenset({"embedding"}))}}
    async with stage(provider("a", "ollama"), up={"a": replies(200, OLLAMA)}, models=models) as st:
        assert (await st.ask("/api/embed", body())).status == 200


async def test_a_chat_model_is() -> None:
    models = {"a": {"a-model": ModelInfo("a-model", frozenset({"completion"}))}}
    async with stage(provider("a", "ollama"), up={"a": replies(200, OLLAMA)}, models=models) as st:
        out = await st.ask("/api/embed", body())
    assert out.status == 400
    assert "embedding" in out.json["error"]


@pytest.mark.parametrize(
    "answer",
    [{}, {"data": []}, {"data": [{"embedding": "x"}, {"embedding": []}]}, {"error": "no"}],
)
async def test_a_wrong_answer_is_the_upstream_s_fault(answer: dict) -> None:
    async with stage(provider("a", "openai"), up={"a": replies(200, answer)}) as st:
        out = await st.ask("/v1/embeddings", body())
    assert out.status == 502
    assert st.record.fault == "upstream"


@pytest.mark.parametrize("wrong", [{"model": "m"}, {"input": "x"}, {"model": "m", "input": [{}]}])
async def test_a_wrong_request_is_the_client_s(wrong: dict) -> None:
    async with stage(provider("a", "openai"), up={"a": replies(200, OPENAI)}) as st:
        out = await st.ask("/v1/embeddings", wrong)
        assert st.asked["a"] == []
    assert (out.status, "error" in out.json) == (400, True)


async def test_loading_a_model_asks_nobody_who_cannot() -> None:
    async with stage(provider("a", "openai"), up={"a": replies(200, OPENAI)}) as st:
        out = await st.ask("/api/embed", {"model": "m"})
        assert st.asked["a"] == []
    assert (out.status, out.json["embeddings"]) == (200, [])


async def test_a_slow_one_runs_out_of_its_clock(autojump_clock: trio.testing.MockClock) -> None:
    async def silent(up) -> None:
        await up.request()
        await trio.sleep(1000)

    async with stage(provider("a", "openai"), up={"a": silent}) as st:
        out = await st.ask("/v1/embeddings", body())
    assert out.headers.get("x-router-error") == "timeout:first_token"


async def test_classifiers_see_the_texts_and_plugins_do_not() -> None:
    seen = []

    class Looks:
        async def classify(self, request, ctx):
            seen.extend(part.text for m in request.messages for part in m.parts)
            return {"private"}

    up = {"a": replies(200, OPENAI)}
    looks = [Installed("looks", Looks())]
    async with stage(provider("a", "openai"), up=up, classifiers=looks) as st:
        out = await st.ask("/v1/embeddings", body())
    assert seen == ["one", "two"]
    assert out.headers.get("x-router-request-tags") == "private"


async def test_strict_names_what_would_be_lost() -> None:
    async with stage(provider("a", "ollama"), up={"a": replies(200, OLLAMA)}) as st:
        strict = [("x-router-strict", "1")]
        out = await st.ask("/v1/embeddings", body(unheard_of=1), strict)
    assert (out.status, "unheard_of" in out.json["error"]["message"]) == (400, True)


class Upper(Plugin):
    """Changes what is said, of vectors too."""

    id = "upper"
    vectors = True

    async def pre_request(self, request, ctx):
        said = [Message("user", (Text(m.parts[0].text.upper()),)) for m in request.messages]
        return replace(request, messages=tuple(said), user="U", extra={"extra": {"more": "X"}})


@pytest.mark.parametrize("given", ["one", ["one", "two"]])
async def test_a_plugin_that_says_so_changes_the_texts(given) -> None:
    answer = {"data": [{"embedding": [1.0]} for _ in ([given] if type(given) is str else given)]}
    async with stage(openai("a"), up={"a": replies(200, answer)}, plugins=[Upper()]) as st:
        body = {"model": "m", "input": given, "user": "u", "more": "x", "plugins": [{"id": "y"}]}
        assert (await st.ask("/v1/embeddings", body)).status == 200
        (asked,) = st.asked["a"]
    said = given.upper() if type(given) is str else [text.upper() for text in given]
    assert asked.json == {"model": "a-model", "input": said, "user": "U", "more": "X"}


@pytest.mark.parametrize(("path", "name"), [("/api/embed", "input"), ("/api/embeddings", "prompt")])
async def test_of_ollama_s_calls_too(path: str, name: str) -> None:
    answer = {"embeddings": [[1.0]], "embedding": [1.0]}
    async with stage(ollama("a"), up={"a": replies(200, answer)}, plugins=[Upper()]) as st:
        body = {"model": "m", name: "one", "options": {"num_ctx": 9}, "keep_alive": 5}
        assert (await st.ask(path, body)).status == 200
        (asked,) = st.asked["a"]
    assert asked.json[name] == "ONE"
    assert asked.json["keep_alive"] == 5
