"""The story of a call: its records and end states, also when it is cancelled anywhere."""

from tests.pipeline.stage import *


async def test_smoke(autojump_clock) -> None:
    async with stage(openai(), up={"a": replies(200, chat_answer("hello"))}) as st:
        out = await st.ask("openai", request("openai"))
    assert out.status == 200
    print(out, st.record)
    assert out.json["choices"]
