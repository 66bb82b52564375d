"""Rules that go by what happened before: turns, load, and where a conversation sits."""

import pytest
import trio

from llmrouterd.model import Routing, RuleSpec, When
from tests.pipeline.stage import (
    STREAM,
    chat_answer,
    chat_stream,
    openai,
    replies,
    request,
    stage,
    streams,
)

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


# --- failures are load, not its absence -----------------------------------------------------------


def slow(name, seconds=2.0):
    async def script(up):
        await up.request()
        await trio.sleep(seconds)
        await up.reply(200, chat_answer(f"from {name}"))

    return script


def flawed(every: int):
    """Fails at once, but for each `every`-th time."""
    fine = replies(200, chat_answer("from a"))
    return ([BROKEN] * (every - 1) + [fine]) * 200


@pytest.mark.parametrize("threshold", [0, 3])
async def test_one_that_fails_at_once_does_not_look_idle(autojump_clock, threshold: int) -> None:
    """The fewest in flight has who fails fastest: most of the traffic would go there."""
    spec = RuleSpec("least_busy", "r", ("a", "b"))
    providers = [openai("a", max_retries=0, circuit_failures=threshold), openai("b")]
    up = {"a": flawed(3), "b": slow("b")}
    async with stage(*providers, up=up, routing=Routing(rules=(spec,))) as st:
        async with trio.open_nursery() as nursery:
            for _ in range(60):
                nursery.start_soon(st.ask, "openai", request("openai"))
                await trio.sleep(0.5)
        assert len(st.asked["b"]) > 45
        assert len(st.asked["a"]) < 25
    assert {record.end for record in st.sink.records} == {"complete"}


async def test_measured_rules_prefer_a_slow_one_to_one_that_fails_quickly(autojump_clock) -> None:
    spec = RuleSpec("latency", "r", ("a", "b"), measured=True)
    providers = [
        openai("a", latency_ms=100, max_retries=0, circuit_failures=0),
        openai("b", latency_ms=3000),
    ]
    up = {"a": BROKEN, "b": slow("b")}
    async with stage(*providers, up=up, routing=Routing(rules=(spec,))) as st:
        await served(st, 10)
        assert len(st.asked["a"]) == 1


async def test_what_was_measured_takes_over_from_what_was_declared(autojump_clock) -> None:
    """And when nothing was seen for long, what was declared comes back."""

    def begins_after(seconds):
        async def script(up):
            await up.request()
            await trio.sleep(seconds)
            await up.head(STREAM["openai"])
            await up.chunk(chat_stream("hello"))
            await up.end()

        return script

    spec = RuleSpec("latency", "r", ("a", "b"), measured=True)
    providers = [openai("a", latency_ms=100), openai("b", latency_ms=500)]
    up = {"a": begins_after(4), "b": begins_after(0.4)}
    async with stage(*providers, up=up, routing=Routing(rules=(spec,))) as st:
        assert await served(st, 4, stream=True) == "abbb"
        seen = st.daemon.health.seen
        assert seen["a"].first_token_ms.value == pytest.approx(4000, abs=5)
        assert seen["b"].first_token_ms.value == pytest.approx(400, abs=5)
        await trio.sleep(3000)
        assert await served(st, stream=True) == "a"


# --- a coding agent's conversation ----------------------------------------------------------------


def turns(count: int) -> dict:
    """The body that Claude Code sends at its n-th turn: all that was said, and one more result."""
    messages: list[dict] = [{"role": "user", "content": "Fix the failing test."}]
    for turn in range(count):
        call = {"type": "tool_use", "id": f"toolu_{turn}", "name": "Bash", "input": {"n": turn}}
        text = {"type": "text", "text": f"Step {turn}."}
        messages.append({"role": "assistant", "content": [text, call]})
        result = {"type": "tool_result", "tool_use_id": f"toolu_{turn}", "content": f"ok {turn}"}
        messages.append({"role": "user", "content": [result]})
    tool = {"name": "Bash", "input_schema": {"type": "object"}}
    return {"messages": messages, "tools": [tool], "system": "You are a coding agent."}


async def test_a_coding_agents_conversation_stays_with_its_cache_over_failures_and_back(
    autojump_clock,
) -> None:
    well = streams(STREAM["openai"], chat_stream("from a"))
    ill = [BROKEN] * 3
    up = {"a": [well, well, *ill, well], "b": streams(STREAM["openai"], chat_stream("from b"))}
    session = [("x-claude-code-session-id", "s-1")]

    async def turn(st, number: int) -> str:
        body = request("anthropic", stream=True, **turns(number))
        out = await st.ask("anthropic", body, session)
        assert out.status == 200
        assert b"message_stop" in out.body
        return out.headers.get("x-router-provider")

    async with ruled("round_robin", up=up, sticky=True) as st:
        assert [await turn(st, 0), await turn(st, 1)] == ["a", "a"]
        other = request("anthropic", stream=True, **turns(0))  # takes the next turn, and b
        await st.ask("anthropic", other, [("x-claude-code-session-id", "s-2")])
        assert [await turn(st, n) for n in (2, 3, 4)] == ["b", "b", "b"]  # a fails, thrice
        assert len(st.asked["a"]) == 5
        assert await turn(st, 5) == "b"
        assert len(st.asked["a"]) == 5  # left alone meanwhile
        await trio.sleep(5)
        assert [await turn(st, n) for n in (6, 7, 8)] == ["a", "a", "a"]
        last = st.asked["a"][-1].json["messages"]
        assert len([m for m in last if m["role"] == "tool"]) == 8
