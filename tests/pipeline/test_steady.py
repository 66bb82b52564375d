"""What would spoil a prompt cache, and what must not be touched."""

import json

import pytest

from formats import FORMATS
from formats.canonical import Message, Request, Text
from llmrouterd.pipeline.steady import NOTE, steady
from tests.pipeline.stage import anthropic, chat_answer, ollama, openai, replies, request, stage

LINE = "x-anthropic-billing-header: cc_version=2.1.330.4a1; cc_entrypoint=cli; cch=0f3e1;"


def asked(*texts: str, role: str = "system") -> Request:
    parts = tuple(Text(text) for text in texts)
    return Request("anthropic", "m", (Message(role, parts), Message("user", (Text("hi"),))))


def test_a_block_of_its_own_goes_and_the_others_stay() -> None:
    lean = steady(asked(LINE, "You are an agent."))
    assert [part.text for part in lean.messages[0].parts] == ["You are an agent."]
    assert lean.raw is None


def test_a_line_before_other_words_goes_alone() -> None:
    lean = steady(asked(f"{LINE}\nYou are an agent.\n"))
    assert lean.messages[0].parts[0].text == "You are an agent.\n"


def test_a_message_that_was_nothing_else_goes() -> None:
    assert [message.role for message in steady(asked(LINE)).messages] == ["user"]


@pytest.mark.parametrize(
    "request_",
    [
        asked("You are an agent."),
        asked(LINE, role="user"),
        asked(f"The header {LINE} is odd."),
        asked(f"You are an agent.\n{LINE}"),
    ],
)
def test_what_is_left_alone(request_: Request) -> None:
    assert steady(request_) is request_


BODY = {
    **request("anthropic"),
    "system": [{"type": "text", "text": LINE}, {"type": "text", "text": "You are an agent."}],
}
MESSAGE = {
    "id": "m",
    "type": "message",
    "role": "assistant",
    "model": "u",
    "stop_reason": "end_turn",
    "content": [{"type": "text", "text": "x"}],
    "usage": {"input_tokens": 1, "output_tokens": 1},
}


@pytest.mark.parametrize("make", [openai, ollama, anthropic])
async def test_two_turns_of_an_agent_are_the_same_prompt_to_a_local_server(make) -> None:
    answer = MESSAGE if make is anthropic else chat_answer("x")
    if make is ollama:
        answer = {"model": "u", "message": {"role": "assistant", "content": "x"}, "done": True}
    async with stage(make("a"), up={"a": replies(200, answer)}) as st:
        for hash_ in ("0f3e1", "77aa2"):
            body = json.loads(json.dumps(BODY).replace("0f3e1", hash_))
            assert (await st.ask("anthropic", body)).status == 200
        first, second = st.asked["a"]
        assert first.body == second.body
        assert b"billing" not in first.body
        assert b"You are an agent." in first.body
        assert st.sink.records[0].notes.count(NOTE) == 1


async def test_the_vendor_gets_its_own_line_to_the_byte() -> None:
    async with stage(anthropic("a", local=False), up={"a": replies(200, MESSAGE)}) as st:
        await st.ask("anthropic", BODY)
        assert st.asked["a"][0].json["system"] == BODY["system"]
        assert NOTE not in st.record.notes


def test_a_real_agent_s_request_is_recognised() -> None:
    parsed = FORMATS["anthropic"].parse_request(json.dumps(BODY).encode())
    assert steady(parsed) is not parsed


# --- where a prompt stopped being the same --------------------------------------------------------

DIFFERS = "prompt differs from the last one at "


async def told_of(st, fmt: str, *bodies: dict) -> list[list[str]]:
    """What the log line of each says of its prompt."""
    for body in bodies:
        assert (await st.ask(fmt, body)).status == 200
    notes = [record.notes for record in st.sink.records]
    return [[n.removeprefix(DIFFERS) for n in each if n.startswith(DIFFERS)] for each in notes]


def turn(system: str, *more: dict) -> dict:
    messages = [{"role": "system", "content": system}, {"role": "user", "content": "hi"}, *more]
    return request("openai", messages=messages)


async def test_the_log_line_tells_where_a_prompt_stopped_being_the_same() -> None:
    went_on = [{"role": "assistant", "content": "x"}, {"role": "user", "content": "and?"}]
    turns = [turn("It is 10:01."), turn("It is 10:01.", *went_on), turn("It is 10:02.", *went_on)]
    async with stage(openai("a"), up={"a": replies(200, chat_answer("x"))}) as st:
        assert await told_of(st, "openai", *turns) == [[], [], ["message 1 (system)"]]
        assert "10:0" not in str(st.sink.records[2].notes)


@pytest.mark.parametrize(("strips", "told"), [(True, []), (False, ["message 1 (system)"])])
async def test_what_is_left_out_for_the_cache_makes_no_difference(strips: bool, told: list) -> None:
    turns = [json.loads(json.dumps(BODY).replace("0f3e1", each)) for each in ("0f3e1", "77aa2")]
    which = anthropic("a", strip_nonces=strips)
    async with stage(which, up={"a": replies(200, MESSAGE)}) as st:
        assert await told_of(st, "anthropic", *turns) == [[], told]


async def test_each_model_has_read_prompts_of_its_own() -> None:
    """After a failover nothing is in the other one's cache that could have been used again."""
    a_fails = [replies(200, chat_answer("x")), replies(500, {})]
    up = {"a": a_fails, "b": replies(200, chat_answer("x"))}
    async with stage(openai("a", max_retries=0), openai("b"), up=up) as st:
        assert await told_of(st, "openai", turn("one"), turn("two")) == [[], ["message 1 (system)"]]
        assert st.sink.records[1].provider == "b"
