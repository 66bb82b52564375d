"""Rules that go by what happened before: turns, load, and where a conversation sits."""

import pytest
import trio

from llmrouterd.model import Routing, RuleSpec, When
from tests.pipeline.stage import chat_answer, openai, replies, request, stage

BROKEN = replies(500, {"error": {"message": "it broke"}})
UP = {name: replies(200, chat_answer(f"from {name}")) for name in "ab"}


def ruled(kind, up=UP, **more):
    spec = RuleSpec(kind, f"routers[0] {kind}", ("a", "b"), **more)
    providers = [openai(name, max_retries=0) for name in "ab"]
    return stage(*providers, up=up, routing=Routing(rules=(spec,)))


async def served(st, times=1, **more):
    outs = [await st.ask("openai", request("openai", **more)) for _ in range(times)]
    return "".join(out.headers.get("x-router-provider") or "-" for out in outs)


async def test_requests_go_in_turn(autojump_clock) -> None:
    async with ruled("round_robin") as st:
        assert await served(st, 5) == "ababa"


async def test_the_least_busy_is_taken(autojump_clock) -> None:
    async with ruled("least_busy") as st:
        st.daemon.in_flight_at["a"] = 3
        assert await served(st) == "b"
        st.daemon.in_flight_at["b"] = 5
        assert await served(st) == "a"
        st.daemon.in_flight_at.clear()


def talk(text):
    return {"messages": [{"role": "user", "content": text}]}


async def test_a_conversation_stays_over_a_failure_and_comes_back(autojump_clock) -> None:
    up = {"a": [UP["a"], BROKEN, UP["a"]], "b": UP["b"]}
    async with ruled("round_robin", up=up, sticky=True) as st:
        assert await served(st, **talk("one")) == "a"
        assert await served(st, **talk("another")) == "b"
        assert await served(st, **talk("one")) == "b"  # a fails this time
        assert await served(st, 3, **talk("one")) == "aaa"
        assert await served(st, 2, **talk("another")) == "bb"


@pytest.mark.parametrize(("stream", "said"), [(False, "-"), (True, "a")])
async def test_a_rule_with_a_condition_is_for_those_requests_only(
    autojump_clock, stream: bool, said: str
) -> None:
    async with ruled("round_robin", when=When(stream=True)) as st:
        with trio.fail_after(60):
            assert await served(st, stream=stream) == said
