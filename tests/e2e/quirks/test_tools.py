"""Tool calls as real servers were seen to stream and to number them."""

import json
from typing import Any

import pytest

from tests.e2e.quirks.world import (
    A_TOOL,
    DONE,
    GOODBYE,
    HELLO,
    HI,
    ROLE,
    TEXT_BLOCK,
    TOOL,
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
)

pytestmark = pytest.mark.e2e


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
