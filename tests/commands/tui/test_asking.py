"""An answer of the chat, as it comes in."""

import json
from contextlib import closing

import trio

from llmrouterd.commands.router import Router
from llmrouterd.commands.tui.asking import ask
from llmrouterd.commands.tui.chat import Chat
from tests.fakes.upstream import FakeUpstream, Script, Turn

PATIENCE_S = 20


def piece(**delta: object) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": None}
    return b"data: " + json.dumps({"choices": [choice]}).encode() + b"\n\n"


END = b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n'
USAGE = b'data: {"choices":[],"usage":{"prompt_tokens":5,"completion_tokens":7}}\n\n'
DONE = b"data: [DONE]\n\n"


async def asked(script: Script, chat: Chat | None = None) -> Chat:
    chat = chat or Chat()
    rings: list[int] = []
    with FakeUpstream(script) as up, closing(Router(up.url)) as router:
        with trio.fail_after(PATIENCE_S):
            await ask(router, chat, "hi", lambda: rings.append(1))
        assert up.received[0].target == "/v1/chat/completions"
        assert up.received[0].json["messages"][-1] == {"role": "user", "content": "hi"}
    assert rings
    assert not chat.busy
    return chat


async def test_an_answer_streams_in() -> None:
    def script(turn: Turn) -> None:
        fields = ("X-Router-Provider: a", "X-Router-Model: m")
        pieces = [piece(reasoning_content="hm"), piece(content="hel"), piece(content="lo")]
        turn.stream([*pieces, END, USAGE, DONE], *fields)

    said = (await asked(script)).said[-1]
    assert (said.who, said.text, said.thought) == ("assistant", "hello", "hm")
    assert said.about.startswith("a/m \u00b7 ttft ")
    assert "7 tok" in said.about


async def test_a_call_of_a_tool_is_told() -> None:
    call = {"index": 0, "id": "c", "function": {"name": "sum", "arguments": "{}"}}
    chat = await asked(lambda turn: turn.stream([piece(tool_calls=[call]), END, DONE]))
    assert chat.said[-1].text == "[calls sum]"


async def test_a_refusal_is_told_in_its_own_words() -> None:
    error = {"error": {"message": "no provider configured for model 'x'"}}
    chat = await asked(lambda turn: turn.whole(error, 400))
    assert chat.said[-1].who == "error"
    assert "no provider configured" in chat.said[-1].text
    assert chat.said[0].who == "note"  # not sent again with the next question


async def test_an_error_in_the_stream_ends_the_answer() -> None:
    error = b'data: {"error": {"message": "it burns", "type": "server_error"}}\n\n'
    chat = await asked(lambda turn: turn.stream([piece(content="half"), error, DONE]))
    assert [(each.who, each.text) for each in chat.said[1:]] == [
        ("assistant", "half"),
        ("error", "it burns"),
    ]


async def test_a_connection_that_breaks_is_told() -> None:
    def script(turn: Turn) -> None:
        turn.begin()
        turn.chunk(piece(content="half"))
        turn.cut()

    chat = await asked(script)
    assert chat.said[-2].text == "half"
    assert chat.said[-1].who == "error"


async def test_nonsense_instead_of_a_stream_is_told() -> None:
    chat = await asked(lambda turn: turn.stream([b"data: {nonsense\n\n"]))
    assert chat.said[-1].who == "error"


async def test_stopped_what_came_stays() -> None:
    chat = Chat()

    def script(turn: Turn) -> None:
        turn.begin()
        turn.chunk(piece(content="half"))
        turn.wait_closed()

    with FakeUpstream(script) as up, closing(Router(up.url)) as router:
        with trio.fail_after(PATIENCE_S), trio.CancelScope() as scope:
            await ask(router, chat, "hi", lambda: scope.cancel() if chat.said[-1].text else None)
    assert scope.cancelled_caught
    assert [(each.who, each.text) for each in chat.said[1:]] == [
        ("assistant", "half"),
        ("error", "stopped"),
    ]
