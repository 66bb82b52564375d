"""What a request needs, and what a model is known to lack."""

import pytest

from formats.canonical import Audio, Document, Image, Message, Part, Request, Text, Tool, ToolResult
from llmrouterd.model import Facts, ModelInfo
from llmrouterd.route.facts import (
    embedding_only,
    facts,
    lacks,
    looks_embedding_only,
    needs,
    with_inferred,
)


def ask(*parts: Part, **more) -> Request:
    return Request("openai", "m", (Message("user", parts),), **more)


def able(*names: str) -> frozenset[str]:
    return frozenset(names)


@pytest.mark.parametrize(
    ("request_", "expected"),
    [
        (ask(Text("hi")), able()),
        (ask(Text("hi"), Image(url="http://x")), able("vision")),
        (Request("openai", "m", (Message("tool", (ToolResult("1"),)),)), able()),
        (
            Request("openai", "m", (Message("tool", (ToolResult("1", (Image(data=""),)),)),)),
            able("vision"),
        ),
        (ask(Audio("", "wav")), able("audio")),
        (ask(Document(data="")), able()),
        (ask(tools=(Tool("look"),)), able("tools")),
        (
            ask(Image(data=""), Audio("", "mp3"), tools=(Tool("t"),)),
            able("vision", "audio", "tools"),
        ),
        (Request("openai", "m"), able()),
    ],
)
def test_a_request_needs_what_it_makes_use_of(request_: Request, expected: frozenset[str]) -> None:
    assert needs(request_) == expected


def test_facts_carry_everything_that_routing_may_know() -> None:
    request = ask(Text("a" * 38), Image(data="", detail="low"), stream=True)
    found = facts(request, tags=["code", "pii"], client="ann", wish="ollama", forced="openai")
    assert found == Facts(
        model="m",
        needs=able("vision"),
        tags=("code", "pii"),
        size_tokens=99,
        stream=True,
        client="ann",
        forced="openai",
        wish="ollama",
    )


@pytest.mark.parametrize(
    ("info", "wanted", "missing"),
    [
        (None, ["vision"], None),
        (ModelInfo("m"), ["vision"], None),
        (ModelInfo("m", able("completion", "vision")), ["vision"], None),
        (ModelInfo("m", able("completion")), [], None),
        (ModelInfo("m", able("completion")), ["vision", "tools"], "tools"),
        (ModelInfo("m", able()), ["vision"], "vision"),
    ],
)
def test_only_a_known_list_of_capabilities_can_lack_one(
    info: ModelInfo | None, wanted: list[str], missing: str | None
) -> None:
    assert lacks(info, wanted) == missing


@pytest.mark.parametrize(
    ("info", "known", "looks"),
    [
        (ModelInfo("nomic-embed-text", able("embedding")), True, True),
        (ModelInfo("x", able("embedding", "completion")), False, False),
        (ModelInfo("x", able()), False, False),
        (ModelInfo("text-embedding-3-small"), False, True),
        (ModelInfo("all-minilm", family="BERT"), False, True),
        (ModelInfo("llama3"), False, False),
        (ModelInfo("embed-chat", able("completion")), False, False),
    ],
)
def test_embedding_models_are_known_by_capability_and_guessed_by_name(
    info: ModelInfo, known: bool, looks: bool
) -> None:
    assert embedding_only(info) is known
    assert looks_embedding_only(info) is looks


@pytest.mark.parametrize(
    ("info", "coding"),
    [
        (ModelInfo("qwen2.5-Coder:7b", able("completion")), True),
        (ModelInfo("x", able("completion"), family="starcoder2"), True),
        (ModelInfo("llama3", able("completion"), family="llama"), False),
        (ModelInfo("codellama", able("completion", "coding")), True),
    ],
)
def test_coding_is_inferred_from_name_or_family(info: ModelInfo, coding: bool) -> None:
    inferred = with_inferred(info)
    assert inferred.capabilities is not None
    assert ("coding" in inferred.capabilities) is coding
    assert "completion" in inferred.capabilities


def test_a_model_of_unknown_capabilities_stays_able_to_do_everything() -> None:
    assert with_inferred(ModelInfo("codellama")).capabilities is None
