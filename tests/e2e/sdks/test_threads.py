"""Anthropic's tool runner opens a thread at the server; here nobody keeps one. At the right 400 it
goes on without, and every upstream sees the whole conversation."""

import httpx
import pytest
from anthropic import Anthropic, beta_tool

from tests.e2e.sdks.pairs import FORMATS
from tests.fakes.models import MODEL, Said

pytestmark = pytest.mark.e2e


@pytest.mark.parametrize("to", FORMATS)
def test_the_tool_runner_goes_on_without_a_thread(daemon, models, to):
    heard = []

    @beta_tool
    def weather(city: str) -> str:
        """The weather in a city."""
        heard.append(city)
        return "rain"

    model = models[to]
    calling = model.answer(Said(calls=(("call_1", "weather", {"city": "Oslo"}),)))
    model.does(calling, model.answer(Said("It rains.")))
    with Anthropic(api_key="x", base_url=daemon.url, max_retries=0) as client:
        runner = client.beta.messages.tool_runner(
            model=MODEL[to],
            max_tokens=900,
            tools=[weather],
            messages=[{"role": "user", "content": "Oslo?"}],
        )
        answer = runner.until_done()
    assert heard == ["Oslo"]
    assert answer.content[-1].text == "It rains."
    assert len(model.chats) == 2
    assert "Oslo?" in str(model.chats[-1].json)
    assert "rain" in str(model.chats[-1].json)
    assert not any("thread" in chat.json for chat in model.chats)


def test_the_refusal_of_a_thread_says_what_it_is(daemon):
    body = {
        "model": MODEL["openai"],
        "max_tokens": 9,
        "messages": [{"role": "user", "content": "hi"}],
        "thread": {"type": "create"},
    }
    answer = httpx.post(f"{daemon.url}/v1/messages", json=body)
    error = answer.json()["error"]
    assert (answer.status_code, error["type"]) == (400, "invalid_request_error")
    assert error["details"] == {
        "error_code": "thread_unsupported_request",
        "unsupported": ["thread"],
    }
