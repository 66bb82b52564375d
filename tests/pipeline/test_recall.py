"""What clients do not hand back is put back for servers that want it."""

import pytest

from formats.canonical import Message, Request, Text, Thought, ToolUse
from llmrouterd.model import Provider
from llmrouterd.pipeline.recall import Recall, call_name
from tests.pipeline.stage import STREAM, chat_answer, chunk, replies, request, sse, stage, streams

SIGNED = {"extra_content": {"google": {"thought_signature": "S=="}}}


def history(*parts) -> Request:
    return Request("anthropic", "m", (Message("assistant", parts),))


def test_reasoning_and_extras_come_back_by_call_id() -> None:
    recall = Recall()
    recall.remember([("c1", {**SIGNED, "other": 1}), ("c2", {})], "hm")
    filled = recall.filled(history(Text("a"), ToolUse("c1", "f", "{}"), ToolUse("c2", "f", "{}")))
    (message,) = filled.messages
    assert message.parts == (
        Thought("hm"),
        Text("a"),
        ToolUse("c1", "f", "{}", extra=SIGNED),
        ToolUse("c2", "f", "{}"),
    )


def test_what_the_client_hands_back_stays_as_it_is() -> None:
    recall = Recall()
    recall.remember([("c1", SIGNED)], "hm")
    own = history(Thought("mine"), ToolUse("c1", "f", "{}", extra={"x": 1}))
    assert recall.filled(own) is own


def test_what_a_server_wants_back_counts_with_all_its_bytes() -> None:
    recall = Recall(most_bytes=100_000)
    for n in range(50):
        recall.remember([(f"call_{n:024}", {"thought_signature": "S" * 20_000})], "")
    assert 0 < len(recall) <= 5


def test_unknown_calls_are_left_alone() -> None:
    recall = Recall()
    recall.remember([("c1", {})], "hm")
    other = history(ToolUse("c9", "f", "{}"))
    assert recall.filled(other) is other


def test_an_id_that_was_not_legal_is_found_under_the_one_the_client_saw() -> None:
    recall = Recall()
    recall.remember([("functions.f:0", {})], "hm")
    (name,) = {key for key in recall._calls if key.startswith("call_")}
    (message,) = recall.filled(history(ToolUse(name, "f", "{}"))).messages
    assert message.parts[0] == Thought("hm")


def test_the_same_id_in_another_conversation_is_another_call() -> None:
    recall = Recall()
    recall.remember([(call_name("functions.f:0", '{"a": 1, "b": 2}'), {})], "about ann")
    stranger = history(ToolUse("functions.f:0", "f", '{"a": 3}'))
    assert recall.filled(stranger) is stranger
    own = history(ToolUse("functions.f:0", "f", '{"b":2,"a":1}'))  # however it is spelled
    assert recall.filled(own).messages[0].parts[0] == Thought("about ann")
    covered = history(ToolUse("functions.f:0", "f", '{"a": "[NUMBER_1]", "b": 2}'))
    assert recall.filled(covered, own).messages[0].parts[0] == Thought("about ann")


def test_it_is_bounded() -> None:
    recall = Recall(most=3, most_bytes=1000)
    for number in range(10):
        recall.remember([(f"c{number}", {})], "hm")
    assert len(recall) == 3
    recall.remember([("long", {})], "x" * 2000)
    assert len(recall) == 0
    recall.remember([("huge", {})], "x" * 300_000)
    recall.remember([("empty", {})], "")
    assert len(recall) == 0


CALL = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
SECOND = [
    {"role": "user", "content": "hi"},
    {"role": "assistant", "content": [{"type": "tool_use", "id": "c1", "name": "f", "input": {}}]},
    {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "c1", "content": "r"}]},
]


@pytest.mark.parametrize("stream", [False, True])
async def test_over_two_turns_of_a_client_that_shows_no_reasoning(stream: bool) -> None:
    if stream:
        call = {"index": 0, **CALL, **SIGNED}
        body = sse(
            chunk({"role": "assistant", "reasoning_content": "hm"}),
            chunk({"tool_calls": [call]}),
            chunk({}, "tool_calls"),
        )
        first = streams(STREAM["openai"], body)
    else:
        answer = chat_answer("")
        message = answer["choices"][0]["message"]
        message |= {"content": None, "reasoning_content": "hm", "tool_calls": [{**CALL, **SIGNED}]}
        answer["choices"][0]["finish_reason"] = "tool_calls"
        first = replies(200, answer)
    up = {"a": [first, replies(200, chat_answer("done"))]}
    tools = [{"name": "f", "input_schema": {"type": "object"}}]
    async with stage(Provider("a", "openai", "http://a/v1"), up=up) as st:
        await st.ask("anthropic", request("anthropic", stream=stream, tools=tools))
        out = await st.ask("anthropic", request("anthropic", messages=SECOND, tools=tools))
        assert out.status == 200
        sent = st.asked["a"][1].json["messages"][1]
    assert sent["reasoning_content"] == "hm"
    assert sent["tool_calls"] == [{**CALL, **SIGNED}]


def test_what_is_remembered_is_told_once_and_what_was_heard_is_not() -> None:
    told: list = []
    recall = Recall(tell=lambda calls, thought: told.append((calls, thought)))
    recall.remember([("c1", {**SIGNED, "other": 1}), ("", {})], "hm")
    recall.remember([("c2", {})], "")
    assert told == [([("c1", SIGNED)], "hm")]
    other = Recall(tell=lambda *words: told.append(words))
    other.hear(*told[0])
    assert len(told) == 1
    asked = history(ToolUse("c1", "f", "{}"))
    assert other.filled(asked) == recall.filled(asked) != asked
