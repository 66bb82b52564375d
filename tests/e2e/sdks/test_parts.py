"""Schemas, images and thoughts reach the server, and come back, in their places."""

import base64
import json

import pytest

from tests.e2e.sdks.pairs import FORMATS, PNG, both, every_pair, joined
from tests.fakes.models import (
    MODEL,
    SIGNATURE,
    Said,
)

pytestmark = pytest.mark.e2e


ANSWER = {
    "type": "object",
    "properties": {
        "city": {"type": "string"},
        "people": {"type": "array", "items": {"type": "string"}},
    },
    "required": ["city", "people"],
    "additionalProperties": False,
}


@every_pair
def test_a_schema_reaches_the_upstream_in_its_place(models, clients, client, upstream, stream):
    said = '{"city":"Oslo","people":["Åse","Bo"]}'
    models[upstream].says(Said(said))
    heard = clients[client].ask(MODEL[upstream], "who?", schema=ANSWER, stream=stream)
    assert json.loads(heard.text) == json.loads(said)
    asked = models[upstream].asked
    if upstream == "openai":
        output = asked["response_format"]
        assert output["type"] == "json_schema"
        assert output["json_schema"]["schema"] == ANSWER
        assert output["json_schema"]["name"]
    elif upstream == "anthropic":
        assert asked["output_config"]["format"] == {"type": "json_schema", "schema": ANSWER}
    else:
        assert asked["format"] == ANSWER


def images_in(fmt, message):
    if fmt == "ollama":
        return message["images"]
    if fmt == "anthropic":
        sources = [b["source"] for b in message["content"] if b["type"] == "image"]
        assert {(s["type"], s["media_type"]) for s in sources} == {("base64", "image/png")}
        return [source["data"] for source in sources]
    urls = [b["image_url"]["url"] for b in message["content"] if b["type"] == "image_url"]
    assert all(url.startswith("data:image/png;base64,") for url in urls)
    return [url.partition(",")[2] for url in urls]


@every_pair
def test_an_image_reaches_the_upstream_byte_for_byte(models, clients, client, upstream, stream):
    models[upstream].says(Said("A dot."))
    talk = clients[client]
    heard = talk.ask(MODEL[upstream], [talk.user("What is it?", PNG)], stream=stream)
    assert heard.text == "A dot."
    (message,) = models[upstream].asked["messages"]
    assert [base64.b64decode(data) for data in images_in(upstream, message)] == [PNG]
    assert joined(message["content"]) == "What is it?"


@every_pair
def test_thinking_is_asked_for_and_shown_in_its_place(models, clients, client, upstream, stream):
    models[upstream].says(Said("Yes.", thinking="17 is prime, so yes.", input=20, output=30))
    talk = clients[client]
    heard = talk.ask(MODEL[upstream], "17?", thinking=True, stream=stream)
    assert (heard.text, heard.thinking) == ("Yes.", "17 is prime, so yes.")
    assert (heard.stop, heard.usage) == ("end_turn", (20, 30))
    asked = models[upstream].asked
    if client == "ollama" and upstream == "openai":
        return  # nothing to say: such servers think unless told otherwise
    if upstream == "openai":
        assert asked["reasoning_effort"] == "low"
    elif upstream == "anthropic":
        effort = asked.get("output_config", {}).get("effort")
        assert effort == "low" or asked["thinking"]["type"] in ("adaptive", "enabled")
    else:
        assert asked["think"] == (True if client == "ollama" else "low")


@every_pair
def test_reasoning_goes_back_only_to_whom_it_belongs(models, clients, client, upstream, stream):
    """What an Anthropic client sends back: a vendor's signature as it came, to that vendor; the
    router's own token never to anybody."""
    talk, model = clients[client], MODEL[upstream]
    models[upstream].says(Said("Yes.", thinking="17 is prime."))
    question = talk.user("17?")
    heard = talk.ask(model, [question], thinking=True, stream=stream)
    models[upstream].says(Said("Sure."))
    talk.ask(model, [question, heard.message, talk.user("Sure?")], thinking=True, stream=stream)
    asked = models[upstream].asked
    body = models[upstream].chats[0].body
    assert b"llmr1." not in body
    spoken = next(m for m in asked["messages"] if m["role"] == "assistant")
    if client == "anthropic" and upstream == "anthropic":
        assert spoken["content"][0] == {
            "type": "thinking",
            "thinking": "17 is prime.",
            "signature": SIGNATURE,
        }
    elif client == "anthropic":
        kept = spoken.get("thinking" if upstream == "ollama" else "reasoning_content")
        assert kept == "17 is prime."
    else:
        assert SIGNATURE.encode() not in body
    assert joined([b for b in blocks(spoken["content"]) if b["type"] == "text"]) == "Yes."


@both
@pytest.mark.parametrize("second", FORMATS)
@pytest.mark.parametrize("first", FORMATS)
def test_reasoning_of_one_upstream_is_not_taken_for_another_s_own(
    models, clients, first, second, stream
):
    """An Anthropic client carries what one server thought to another one: words may go along where
    nobody vouches for them, but no signature and no token of the router's."""
    talk = clients["anthropic"]
    models[first].says(Said("Yes.", thinking="17 is prime."))
    question = talk.user("17?")
    heard = talk.ask(MODEL[first], [question], thinking=True, stream=stream)
    (signature,) = [b["signature"] for b in heard.message["content"] if b["type"] == "thinking"]
    assert signature  # clients drop blocks that have none
    models[second].says(Said("Sure."))
    history = [question, heard.message, talk.user("Sure?")]
    assert talk.ask(MODEL[second], history, thinking=True, stream=stream).text == "Sure."
    (received,) = models[second].chats
    assert (signature.encode() in received.body) == (first == second == "anthropic")
    if second == "anthropic" != first:
        assert b"17 is prime." not in received.body
    elif second != "anthropic":
        assert b"17 is prime." in received.body


def blocks(content):
    return [{"type": "text", "text": content}] if isinstance(content, str) else content
