"""Answers, whole and streamed, say the same to every SDK from every server."""

import json

import pytest

from tests.e2e.sdks.pairs import FORMATS, TOOLS, all_pairs, every_pair, joined
from tests.fakes.models import (
    MODEL,
    Said,
    golden_entries,
    pieces,
)

pytestmark = pytest.mark.e2e


OF_FORMAT = {"openai-chat": "openai", "anthropic-messages": "anthropic", "ollama-chat": "ollama"}
GOLDEN = [entry for entry in golden_entries() if entry["format"] in OF_FORMAT]


@every_pair
def test_a_plain_question_gets_its_answer(models, clients, client, upstream, stream):
    models[upstream].says(Said("Hello, wörld!", input=12, output=4))
    heard = clients[client].ask(MODEL[upstream], "Grüß Gott", stream=stream)
    assert (heard.text, heard.stop, heard.usage) == ("Hello, wörld!", "end_turn", (12, 4))
    assert (heard.calls, heard.thinking, heard.refusal) == ([], "", "")
    asked = models[upstream].asked
    assert asked["model"] == MODEL[upstream]
    assert asked["messages"] == [{"role": "user", "content": "Grüß Gott"}]


@every_pair
def test_an_answer_that_ran_into_its_limit_says_so(models, clients, client, upstream, stream):
    models[upstream].says(Said("Once upon a", cut=True, input=10, output=3))
    limit = {"options": {"num_predict": 3}} if client == "ollama" else {"max_tokens": 3}
    heard = clients[client].ask(MODEL[upstream], "a tale", stream=stream, **limit)
    assert (heard.text, heard.stop, heard.usage) == ("Once upon a", "max_tokens", (10, 3))
    asked = models[upstream].asked
    assert (asked["options"]["num_predict"] if upstream == "ollama" else asked["max_tokens"]) == 3


@every_pair
def test_the_instructions_reach_the_upstream_in_their_place(
    models, clients, client, upstream, stream
):
    models[upstream].says(Said("Aye."))
    talk = clients[client]
    if client == "anthropic":
        talk.ask(MODEL[upstream], "hi", stream=stream, system="Be a pirate.")
    else:
        system = {"role": "system", "content": "Be a pirate."}
        talk.ask(MODEL[upstream], [system, talk.user("hi")], stream=stream)
    asked = models[upstream].asked
    if upstream == "anthropic":
        assert joined(asked["system"]) == "Be a pirate."
        assert [m["role"] for m in asked["messages"]] == ["user"]
    else:
        assert asked["messages"][0] == {"role": "system", "content": "Be a pirate."}


@pytest.mark.parametrize("client", FORMATS)
@pytest.mark.parametrize("entry", GOLDEN, ids=lambda entry: entry["file"])
def test_a_golden_answer_says_the_same_to_every_client(models, clients, entry, client):
    upstream = OF_FORMAT[entry["format"]]
    talk, wanted = clients[client], entry["canonical"]
    in_stream = (wanted["error"] or {}).get("phase") == "mid"
    wait = (lambda: talk.got_some.wait(20)) if in_stream else (lambda: None)
    models[upstream].plays(entry["file"], wait)
    model, stream = MODEL[upstream], entry["stream"]
    if wanted["error"]:
        with pytest.raises(talk.errors) as raised:
            talk.ask(model, "hi", stream=stream, tools=TOOLS)
        said = str(raised.value)
        assert wanted["error"]["message"] in said or "prompt is too long" in said
        assert talk.heard.text == wanted["text"]
        return
    heard = talk.ask(model, "hi", stream=stream, tools=TOOLS, thinking=True)
    refusal = wanted["refusal"] or ""
    assert heard.text + heard.refusal in (wanted["text"] + refusal, wanted["text"])
    assert heard.thinking == wanted["reasoning"]
    assert [call[1:] for call in heard.calls] == [
        (call["name"], call["arguments"]) for call in wanted["tool_calls"]
    ]
    if client != "ollama":  # its SDK shows no ids
        assert [call[0] for call in heard.calls] == [call["id"] for call in wanted["tool_calls"]]
    if wanted["usage"]:
        assert heard.usage == (wanted["usage"]["input_total"], wanted["usage"]["output_total"])
    if wanted["stop"] in ("end_turn", "tool_use", "max_tokens"):
        assert heard.stop == wanted["stop"]


@all_pairs
def test_a_stream_arrives_in_pieces_and_not_at_its_end(models, clients, client, upstream):
    """The upstream's last words come only when the client has had its first ones."""
    talk, seen = clients[client], []

    def script(turn):
        said = list(pieces(upstream, Said("first last"), turn.received.json))
        turn.begin(kind=models[upstream].stream_type)
        middle = next(at for at, piece in enumerate(said) if b"first" in piece) + 1
        for piece in said[:middle]:
            turn.chunk(piece)
        seen.append(talk.got_some.wait(20))
        for piece in said[middle:]:
            turn.chunk(piece)
        turn.end()

    models[upstream].does(script)
    assert talk.ask(MODEL[upstream], "hi", stream=True).text == "first last"
    assert seen == [True]


@pytest.mark.parametrize("upstream", FORMATS)
def test_a_stream_has_figures_only_for_an_openai_client_that_asked(models, clients, upstream):
    """The router asks for them all the same: its own log wants them."""
    models[upstream].says(Said("hi"))
    chunks = clients["openai"].sdk.chat.completions.create(
        model=MODEL[upstream], messages=[{"role": "user", "content": "hi"}], stream=True
    )
    seen = list(chunks)
    assert "".join(c.choices[0].delta.content or "" for c in seen) == "hi"  # no chunk without
    assert not any(chunk.usage for chunk in seen)
    if upstream == "openai":
        assert models[upstream].asked["stream_options"] == {"include_usage": True}


@pytest.mark.parametrize("upstream", FORMATS)
def test_the_openai_sdk_puts_a_stream_together_by_itself(models, clients, upstream):
    """Its own accumulator is stricter than a loop over the chunks."""
    calls = (("call_h1", "get_time", {"tz": "UTC"}), ("call_h2", "get_time", {"tz": "CET"}))
    models[upstream].says(Said("Look:", thinking="Hm.", calls=calls, input=5, output=6))
    with clients["openai"].sdk.chat.completions.stream(
        model=MODEL[upstream],
        messages=[{"role": "user", "content": "hi"}],
        stream_options={"include_usage": True},
    ) as events:
        for _ in events:
            pass
        made = events.get_final_completion()
    (choice,) = made.choices
    assert (choice.message.content, choice.finish_reason) == ("Look:", "tool_calls")
    told = [
        (c.id, c.function.name, json.loads(c.function.arguments)) for c in choice.message.tool_calls
    ]
    assert told == list(calls)
    assert (made.usage.prompt_tokens, made.usage.completion_tokens) == (5, 6)
