"""What plugins tell of themselves, and how they may be asked for."""

from dataclasses import replace

import pytest
import trio.testing

from formats.canonical import Request, Response, Text
from llmrouterd.hooks import Context, Plugin
from tests.pipeline.plugged import answering, both, installed
from tests.pipeline.stage import chat_answer, openai, replies, request, stage

# --- what plugins tell, and how they may be asked for ---------------------------------------------


class Telling(Plugin):
    """Says something in a hook; whoever says `please` has asked for it."""

    id = "telling"

    def __init__(self, hook: str = "pre_request", **fields: str) -> None:
        self.hook = hook
        self.fields = fields

    def asked_for(self, request: Request) -> bool:
        if request.user == "broken":
            raise ValueError("ill")
        return request.user == "please"

    def _tell(self, hook: str, ctx: Context) -> None:
        if hook == self.hook:
            ctx.notes.append("a note")
            ctx.fields.update(self.fields)

    async def on_start(self, request: Request, ctx: Context) -> Request:
        self._tell("on_start", ctx)
        return request

    async def pre_request(self, request: Request, ctx: Context) -> Request:
        self._tell("pre_request", ctx)
        return request

    async def post_response(self, response: Response, ctx: Context) -> Response:
        self._tell("post_response", ctx)
        return response


@both
@pytest.mark.parametrize("hook", ["on_start", "pre_request"])
async def test_what_a_plugin_tells_is_in_the_answers_head_and_in_the_record(
    hook: str, stream: bool, autojump_clock
) -> None:
    plugin = Telling(hook, Sources="https://x/ä\r\nevil: 1", **{"b ad": "x"})
    async with stage(openai(), up={"a": answering(stream=stream)}, plugins=[plugin]) as st:
        out = await st.ask("openai", request("openai", stream=stream))
    assert out.headers.get("x-router-telling-sources") == "https://x/???evil: 1"
    assert out.headers.get("evil") is None
    assert not [name for name, _ in out.headers.raw if b"ad" in name and b"telling" in name]
    assert st.record.notes == ("telling: a note",)


async def test_what_is_told_after_the_answer_is_in_the_record(autojump_clock) -> None:
    plugin = Telling("post_response")
    async with stage(openai(), up={"a": answering(stream=True)}, plugins=[plugin]) as st:
        await st.ask("openai", request("openai", stream=True))
    assert st.record.notes == ("telling: a note",)


async def test_what_a_plugin_tells_of_itself_is_bounded(autojump_clock) -> None:
    plugin = Telling(**{f"n{number}": "x" * 5000 for number in range(50)})
    async with stage(openai(), up={"a": answering(stream=False)}, plugins=[plugin]) as st:
        out = await st.ask("openai", request("openai"))
    told = [value for name, value in out.headers.raw if name.startswith(b"x-router-telling-")]
    assert [len(value) for value in told] == [1024] * 8


@pytest.mark.parametrize(("user", "runs"), [("please", True), ("no", False), ("broken", False)])
async def test_a_plugin_may_know_by_the_request_that_it_is_asked_for(
    user: str, runs: bool, autojump_clock
) -> None:
    plugin = installed(Telling(), enabled=False)
    async with stage(openai(), up={"a": answering(stream=False)}, plugins=[plugin]) as st:
        out = await st.ask("openai", request("openai", user=user))
    assert out.status == 200
    assert st.record.notes == (("telling: a note",) if runs else ())


class Beside(Plugin):
    """Takes a field out, and has a hand in all that leaves."""

    id = "beside"

    async def pre_request(self, request, ctx):
        ctx.along.fields = [field for field in ctx.along.fields if field[0] != "openai-beta"]
        ctx.along.query = ""
        said = ctx.leaving("words")
        assert said == "words, covered"
        return request

    def on_send(self, request, ctx):
        (message,) = request.messages
        (part,) = message.parts
        return replace(
            request, messages=(replace(message, parts=(Text(f"{part.text}, covered"),)),)
        )


async def test_a_plugin_takes_out_what_would_go_along(
    autojump_clock: trio.testing.MockClock,
) -> None:
    fields = [("openai-beta", "x"), ("x-request-id", "r-1")]
    async with stage(
        openai("a"), up={"a": replies(200, chat_answer("x"))}, plugins=[Beside()]
    ) as st:
        await st.ask("openai", request("openai"), fields, query="?a=b")
        (asked,) = st.asked["a"]
    assert asked.target == "/v1/chat/completions"
    assert "openai-beta" not in asked.headers
    assert asked.headers.get("x-request-id") == "r-1"
