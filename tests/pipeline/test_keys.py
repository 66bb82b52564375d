"""Several keys of one provider: in turn, and one that rests is not used."""

import json

import pytest

from llmrouterd.model import Secret
from tests.pipeline.stage import chat_answer, openai, replies, request, stage

KEYS = (Secret("key-one-aaaa"), Secret("key-two-bbbb"))
RATE = {"error": {"message": "slow down", "code": "rate_limit_exceeded"}}
REFUSED = {"error": {"message": "Incorrect API key provided: key-one-aaaa"}}
FINE = replies(200, chat_answer("hello"))


def keyed(*scripts, **more):
    provider = openai("a", key=KEYS[0], keys=KEYS, max_retries=0, **more)
    return stage(provider, openai("b"), up={"a": list(scripts), "b": FINE})


def used(st):
    return [asked.headers.get("authorization").split("-")[1] for asked in st.asked["a"]]


async def asks(st, times=1):
    return [await st.ask("openai", request("openai")) for _ in range(times)]


async def test_keys_are_used_in_turn(autojump_clock) -> None:
    async with keyed(FINE) as st:
        await asks(st, 4)
        assert used(st) == ["one", "two", "one", "two"]


async def test_a_rate_limited_key_rests_and_the_other_serves_at_once(autojump_clock) -> None:
    limited = replies(429, RATE, headers=[("retry-after", "60")])
    async with keyed(limited, FINE) as st:
        outs = await asks(st, 3)
        assert used(st) == ["one", "two", "two", "two"]
        assert [out.status for out in outs] == [200, 200, 200]
        assert st.sink.records[0].notes == ("key 1 of 2 of a: rate_limit",)
        assert st.daemon.health.spotless


async def test_a_refused_key_rests_too_and_is_shown_nowhere(autojump_clock) -> None:
    async with keyed(replies(401, REFUSED), FINE) as st:
        [out] = await asks(st)
        assert (out.status, used(st)) == (200, ["one", "two"])
        assert "key-one" not in str(out.headers.raw) + str(st.sink.records[0].notes)


async def test_when_all_rest_the_provider_rests_until_the_first_is_back(autojump_clock) -> None:
    soon = replies(429, RATE, headers=[("retry-after", "20")])
    late = replies(429, RATE, headers=[("retry-after", "90")])
    async with keyed(late, soon, FINE) as st:
        outs = await asks(st, 2)
        assert [out.headers.get("x-router-provider") for out in outs] == ["b", "b"]
        assert used(st) == ["one", "two"]
        rest = st.daemon.health.rests["a"]
        assert rest.until == pytest.approx(20, abs=1)


async def test_another_failure_is_not_the_keys(autojump_clock) -> None:
    broken = replies(500, {"error": {"message": "it broke"}})
    async with keyed(broken, FINE) as st:
        [out] = await asks(st)
        assert (out.headers.get("x-router-provider"), used(st)) == ("b", ["one"])


async def test_an_upstream_that_repeats_any_of_the_keys_tells_nobody(autojump_clock) -> None:
    both = {"error": {"message": "key-two-bbbb and key-one-aaaa are wrong", "code": "x"}}
    async with stage(
        openai("a", key=KEYS[0], keys=KEYS, max_retries=0), up={"a": replies(400, both)}
    ) as st:
        [out] = await asks(st)
    assert "key-" not in json.dumps(out.json)
