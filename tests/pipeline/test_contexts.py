"""The size of a context on its way to an Ollama server, and prompts that were cut in silence."""

import json

from llmrouterd.model import ModelInfo
from llmrouterd.pipeline.walk import CUT
from tests.pipeline.stage import ollama, openai, replies, request, stage

LONG = "word " * 8000


def answer(counted):
    message = {"role": "assistant", "content": "hello"}
    figures = {"done": True, "done_reason": "stop", "prompt_eval_count": counted, "eval_count": 3}
    return replies(200, {"model": "m", "message": message, **figures})


def known(**more):
    return {"a": {"a-model": ModelInfo("a-model", **more)}}


def asked(st):
    return json.loads(st.asked["a"][-1].body).get("options")


async def test_a_loaded_model_is_asked_with_its_own_size(autojump_clock) -> None:
    models = known(loaded_context=8192)
    async with stage(ollama("a"), up={"a": answer(9)}, models=models) as st:
        await st.ask("openai", request("openai"))
        assert asked(st) == {"num_ctx": 8192}
        await st.ask("ollama", request("ollama", options={"num_ctx": 2048, "top_k": 5}))
        assert asked(st) == {"num_ctx": 8192, "top_k": 5}


async def test_a_client_that_is_the_first_says_the_size(autojump_clock) -> None:
    async with stage(ollama("a"), up={"a": answer(9)}) as st:
        await st.ask("openai", request("openai"))
        assert asked(st) is None
        await st.ask("ollama", request("ollama", options={"num_ctx": 6000}))
        out = await st.ask("ollama", request("ollama", options={"num_ctx": 2048}))
        assert asked(st) == {"num_ctx": 6000}
    assert out.headers.get("x-router-dropped") == "options.num_ctx"


async def test_where_it_may_grow_it_grows_with_the_prompt(autojump_clock) -> None:
    up = {"a": answer(9000)}
    async with stage(ollama("a", grow_context=True), up=up) as st:
        messages = [{"role": "user", "content": LONG}]
        await st.ask("openai", request("openai", messages=messages))
        assert asked(st)["num_ctx"] == 16_384


async def test_a_prompt_that_does_not_fit_what_is_loaded_goes_elsewhere(autojump_clock) -> None:
    models = known(loaded_context=2048, context_length=131_072)
    messages = [{"role": "user", "content": LONG}]
    async with stage(ollama("a"), openai("b"), up={"b": answer(9)}, models=models) as st:
        await st.ask("openai", request("openai", messages=messages))
    assert (len(st.asked.get("a", ())), len(st.asked["b"])) == (0, 1)
    assert [step.code for step in st.record.trace if step.outcome == "skipped"] == ["context:2048"]


async def test_with_nobody_else_it_is_refused_before_it_is_cut(autojump_clock) -> None:
    models = known(loaded_context=2048, context_length=131_072)
    messages = [{"role": "user", "content": LONG}]
    async with stage(ollama("a"), up={"a": answer(9)}, models=models) as st:
        out = await st.ask("openai", request("openai", messages=messages))
    assert (out.status, out.headers.get("x-router-error")) == (400, "context_too_long")


async def test_a_prompt_that_was_read_in_part_is_flagged(autojump_clock) -> None:
    messages = [{"role": "user", "content": LONG}]
    async with stage(ollama("a"), up={"a": [answer(2048), answer(9500)]}) as st:
        await st.ask("openai", request("openai", messages=messages))
        await st.ask("openai", request("openai", messages=messages))
        notes = [record.notes for record in st.sink.records]
    assert notes == [(CUT,), ()]
