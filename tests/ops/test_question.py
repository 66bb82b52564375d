"""One JSON object from a provider, or a reason why not."""

import pytest

from formats.errors import FormatError
from llmrouterd.config.dialects import PRESETS
from llmrouterd.edge.dial import DialError
from llmrouterd.edge.pool import Pool
from llmrouterd.model import Clocks, Provider, Secret
from llmrouterd.ops.generation import upstream
from llmrouterd.ops.question import CLOCKS, Refused, Silent, fields, question
from tests.fakes.upstream import FakeUpstream, Script, Turn

QUICK = Clocks(connect_s=5, first_token_s=0.05, idle_s=0.05)


async def asked(script: Script, body=None, clocks: Clocks = CLOCKS):
    pool = Pool()
    with FakeUpstream(script) as up:
        provider = Provider("o", "ollama", up.url)
        try:
            return await question(pool, provider, upstream(provider), "/api/x", body, clocks)
        finally:
            pool.close()
            asked.received = up.received


async def test_a_get_and_a_post() -> None:
    assert await asked(lambda turn: turn.whole({"a": 1})) == {"a": 1}
    assert (asked.received[0].method, asked.received[0].target) == ("GET", "/api/x")
    assert await asked(lambda turn: turn.whole({"a": 1}), {"b": [2]}) == {"a": 1}
    assert (asked.received[0].method, asked.received[0].json) == ("POST", {"b": [2]})


@pytest.mark.parametrize("body", [b"[]", b"{", b"", b"<html>"])
async def test_what_is_no_object(body: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        await asked(lambda turn: turn.whole(body))


async def test_another_status() -> None:
    with pytest.raises(Refused, match="/api/x answered 404") as caught:
        await asked(lambda turn: turn.whole({}, 404))
    assert caught.value.status == 404


async def test_no_answer_in_time() -> None:
    def silent(turn: Turn) -> None:
        turn.wait_closed(5)

    with pytest.raises(Silent, match=r"no answer within 0\.05 s"):
        await asked(silent, clocks=QUICK)


async def test_nobody_there() -> None:
    provider = Provider("o", "ollama", "http://127.0.0.1:9")
    with pytest.raises((DialError, FormatError)):
        await question(Pool(), provider, upstream(provider), "/")


@pytest.mark.parametrize(
    ("fmt", "name", "value"),
    [("openai", "authorization", "Bearer k"), ("anthropic", "x-api-key", "k")],
)
def test_the_credential_stands_where_the_format_wants_it(fmt: str, name: str, value: str) -> None:
    sent = dict(fields(Provider("p", fmt, key=Secret("k"), headers=(("x-more", "1"),))))
    assert (sent[name], sent["x-more"]) == (value, "1")
    assert ("anthropic-version" in sent) == (fmt == "anthropic")


@pytest.mark.parametrize(
    ("fmt", "key", "dialect", "name"),
    [
        ("openai", "k", "azure", "api-key"),
        ("anthropic", "sk-ant-oat1", "anthropic", "authorization"),
    ],
)
def test_some_servers_look_for_it_elsewhere(fmt: str, key: str, dialect: str, name: str) -> None:
    provider = Provider("p", fmt, key=Secret(key), dialect=PRESETS[dialect])
    sent = dict(fields(provider))
    assert sent[name].removeprefix("Bearer ") == key
    assert len({"authorization", "api-key", "x-api-key"} & set(sent)) == 1
