"""An answer that is not 200, and when to come back."""

from email.utils import formatdate

import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st_

from llmrouterd.model import Headers
from llmrouterd.pipeline import refused as module
from llmrouterd.pipeline.refused import retry_after
from tests.pipeline.stage import (
    STREAM,
    Up,
    anthropic,
    ollama,
    openai,
    request,
    stage,
)

SSE = STREAM["openai"]
FORMATS = ["openai", "anthropic", "ollama"]
PROVIDER = {"openai": openai, "anthropic": anthropic, "ollama": ollama}
TARGETS = {
    "openai": "/v1/chat/completions",
    "anthropic": "/v1/messages",
    "ollama": "/v1/api/chat",  # the stage puts /v1 before all
}
both = pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])


async def test_a_huge_error_body_is_not_read(autojump_clock: trio.testing.MockClock) -> None:
    sent = 0

    async def flood(up: Up) -> None:
        nonlocal sent
        await up.request()
        await up.stream.send_all(b"HTTP/1.1 500 No\r\nConnection: close\r\n\r\n")
        while True:
            await up.stream.send_all(b"x" * 65536)
            sent += 65536

    async with stage(openai(max_retries=0), up={"a": flood}) as st:
        out = await st.ask("openai", request("openai"))
    assert out.status >= 500
    assert sent <= module._LIMIT + 2 * 65536


# --- Retry-After ----------------------------------------------------------------------------------

NOW = 1_800_000_000.0


def fields(**values: str) -> Headers:
    return Headers(
        [(n.replace("_", "-").encode(), v.encode("latin-1", "replace")) for n, v in values.items()]
    )


@pytest.mark.parametrize(
    ("given_", "seconds"),
    [
        ({}, None),
        ({"retry_after": "7"}, 7.0),
        ({"retry_after": " 1.5 "}, 1.5),
        ({"retry_after": "0"}, 0.0),
        ({"retry_after": "-1"}, None),
        ({"retry_after": "soon"}, None),
        ({"retry_after": ""}, None),
        ({"retry_after": "9e999"}, None),
        ({"retry_after": "nan"}, None),
        ({"retry_after": "9" * 5000}, None),
        ({"retry_after": "\xb2"}, None),
        ({"retry_after_ms": "\xb2"}, None),
        ({"retry_after_ms": "9" * 5000, "retry_after": "2"}, 2.0),
        ({"retry_after_ms": "1500", "retry_after": "2"}, 1.5),
        ({"retry_after_ms": "x", "retry_after": "2"}, 2.0),
        ({"retry_after": formatdate(NOW + 90, usegmt=True)}, 90.0),
        ({"retry_after": formatdate(NOW - 90, usegmt=True)}, 0.0),
        ({"retry_after": "Fri, 31 Dec 9999 23:59:60 GMT"}, None),
    ],
)
def test_retry_after(given_: dict, seconds: float | None) -> None:
    assert retry_after(fields(**given_), NOW) == seconds


@given(st_.text(max_size=60), st_.text(max_size=60))
def test_any_retry_after_is_a_bounded_number_or_nothing(ms: str, text: str) -> None:
    value = retry_after(fields(retry_after_ms=ms, retry_after=text), NOW)
    assert value is None or 0 <= value < 1e12
