"""Figures, names, text and thoughts at the places where real servers were seen to put them."""

import json
from typing import Any

import pytest

from tests.e2e.quirks.world import (
    BEGINNING,
    DONE,
    GOODBYE,
    HELLO,
    LAST_LINE,
    ROLE,
    TEXT_BLOCK,
    any_answer,
    block,
    both_ways,
    chunk,
    delta,
    event,
    every_client,
    every_upstream,
    line,
    message_end,
    message_start,
    openai_whole,
    refusing,
    saying,
    sse,
)
from tests.fakes.upstream import Turn

pytestmark = pytest.mark.e2e


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
