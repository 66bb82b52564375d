"""Which weights answered, as far as their server tells."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmrouterd.model import ModelInfo, Provider
from llmrouterd.observe.shapes import complete
from llmrouterd.pipeline.weights import UNKNOWN, Weights, weights_of
from tests.pipeline.stage import STREAM, chat_stream, replies, request, stage, streams

DIGEST = "365c0bd3c000a25d28ddbf732fe1c6add414de7275464c4e4d1c3b5fcb5d8ad1"
OF_OLLAMA = {"name": "llama3.2", "digest": DIGEST, "details": {"quantization_level": "Q4_K_M"}}
OF_LLAMA = {"id": "tiny", "owned_by": "llamacpp", "meta": {"n_ctx": 4096, "ftype": "F16"}}


def provider(name: str) -> Provider:
    return Provider(name, "openai", f"http://{name}/v1", max_retries=0)


@pytest.mark.parametrize(
    ("entry", "known"),
    [
        (OF_OLLAMA, Weights(DIGEST, "Q4_K_M")),
        (OF_LLAMA, Weights("", "F16")),
        ({"id": "m", "quantization": "fp8"}, Weights("", "fp8")),
        ({"id": "m-q4_k_m"}, UNKNOWN),
        ({"digest": 5, "details": ["Q4"], "meta": {"ftype": None}}, UNKNOWN),
        ({"digest": "d" * 129}, UNKNOWN),
    ],
    ids=["Ollama", "llama.cpp", "others", "a name tells nothing", "odd", "too long"],
)
def test_what_each_server_tells_of_its_weights(entry: dict, known: Weights) -> None:
    assert weights_of(ModelInfo("m", native=entry)) == known


def test_a_model_that_nobody_listed_is_unknown() -> None:
    assert weights_of(None) == weights_of(ModelInfo("m")) == UNKNOWN


json_values = st.recursive(
    st.none() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(max_size=9), inner),
)
members = st.sampled_from(["digest", "details", "meta", "quantization", "quantization_level"])


@given(st.dictionaries(members, json_values | st.dictionaries(members, json_values)))
def test_any_list_entry_gives_two_texts(entry: dict) -> None:
    assert all(isinstance(each, str) for each in weights_of(ModelInfo("m", native=entry)))


async def test_the_log_line_says_which_weights_answered(autojump_clock) -> None:
    models = {"a": {"a-model": ModelInfo("a-model", native=OF_OLLAMA)}}
    script = streams(STREAM["openai"], chat_stream("Hi"))
    async with stage(provider("a"), up={"a": script}, models=models) as st_:
        await st_.ask("openai", request("openai", stream=True))
    line = json.loads(json.dumps(complete(st_.record)))
    assert (line["model_digest"], line["quantization"]) == (DIGEST, "Q4_K_M")


async def test_after_a_failover_they_are_those_of_who_answered(autojump_clock) -> None:
    models = {
        "a": {"a-model": ModelInfo("a-model", native=OF_OLLAMA)},
        "b": {"b-model": ModelInfo("b-model")},
    }
    up = {"a": replies(500, {}), "b": streams(STREAM["openai"], chat_stream("Hi"))}
    async with stage(provider("a"), provider("b"), up=up, models=models) as st_:
        await st_.ask("openai", request("openai", stream=True))
    assert st_.record.provider == "b"
    line = complete(st_.record)
    assert (line["model_digest"], line["quantization"]) == (None, None)
