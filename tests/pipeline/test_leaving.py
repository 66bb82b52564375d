"""What plugins have a say in before it leaves: header fields and query, texts for others, refusals."""

from dataclasses import replace

import trio.testing

from formats.canonical import Text
from llmrouterd.hooks import Plugin, PluginRefused
from tests.pipeline.stage import chat_answer, openai, replies, request, stage


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


async def test_a_request_that_a_plugin_refuses_is_the_clients_mistake(
    autojump_clock: trio.testing.MockClock,
) -> None:
    class Refuses(Plugin):
        id = "refuses"

        async def pre_request(self, request, ctx):
            raise PluginRefused("no such words")

    async with stage(
        openai("a"), up={"a": replies(200, chat_answer("x"))}, plugins=[Refuses()]
    ) as st:
        out = await st.ask("openai", request("openai"))
    assert out.status == 400
    assert out.json["error"]["message"] == "plugin 'refuses': no such words"
