"""What passes as it came, and what the headers and the keys of a request become."""

import json

import httpx
import pytest

from tests.e2e.sdks.pairs import FORMATS, PNG, TOOLS, all_pairs, both, every_pair
from tests.fakes.models import (
    CHAT_PATH,
    MODEL,
    SIGNATURE,
    Said,
    pieces,
    wants_stream,
    whole,
)

pytestmark = pytest.mark.e2e


# --- same format: bytes pass ----------------------------------------------------------------------


ODD = {
    "openai": {
        "temperature": 0.30000000000000004,
        "user": "me",
        "extra_body": {"zz_unknown": {"b": 1, "a": [1e3, None]}, "seed": 12345678901234567890},
    },
    "anthropic": {
        "system": [{"type": "text", "text": "S", "cache_control": {"type": "ephemeral"}}],
        "metadata": {"user_id": "me"},
        "extra_body": {"zz_unknown": {"b": 1, "a": [1e3, None]}},
        "extra_headers": {"anthropic-beta": "one-2026-01-01,two-2026-02-02"},
    },
    "ollama": {"keep_alive": "7m", "options": {"num_ctx": 4096, "zz_unknown": [1]}},
}


def odd_messages(client, talk):
    """A conversation with what only the client's own format has."""
    question = talk.user("17?", PNG)
    if client != "anthropic":
        return [question]
    mark = {"type": "ephemeral", "ttl": "1h"}
    question["content"][1]["cache_control"] = mark
    thought = {"type": "thinking", "thinking": "Hm.\u2028", "signature": SIGNATURE}
    hidden = {"type": "redacted_thinking", "data": "b3BhcXVl"}
    text = {"type": "text", "text": "Yes."}
    turn = {"role": "assistant", "content": [thought, hidden, text]}
    return [question, turn, {"role": "user", "content": "Sure?"}]


@both
@pytest.mark.parametrize("renamed", [False, True], ids=["own-name", "provider-and-model"])
@pytest.mark.parametrize("client", FORMATS)
def test_in_the_same_format_the_client_s_own_bytes_reach_the_upstream(
    models, clients, client, renamed, stream
):
    talk = clients[client]
    model = f"{client}-up/{MODEL[client]}" if renamed else MODEL[client]
    models[client].says(Said("Yes."))
    talk.ask(model, odd_messages(client, talk), tools=TOOLS, stream=stream, **ODD[client])
    (received,) = models[client].chats
    assert talk.sent.count(model.encode()) == 1
    assert received.body == talk.sent.replace(model.encode(), MODEL[client].encode())
    if client != "ollama":
        assert b"zz_unknown" in received.body
    if client == "anthropic":
        assert received.headers["anthropic-beta"] == "one-2026-01-01,two-2026-02-02"
        assert received.headers["anthropic-version"] == talk.sent_headers["anthropic-version"]


@both
@pytest.mark.parametrize("fmt", FORMATS)
def test_in_the_same_format_the_upstream_s_own_bytes_reach_the_client(models, daemon, fmt, stream):
    """Down to fields that nobody knows, and to the spelling of numbers."""
    sent = []
    said = Said("Yes.", thinking="Hm.", calls=(("call_b1", "get_time", {"tz": "UTC"}),))
    ask = {"model": MODEL[fmt], "max_tokens": 9, "stream": stream, "messages": []}
    ask["messages"].append({"role": "user", "content": "hi"})
    if fmt == "openai" and stream:
        ask["stream_options"] = {"include_usage": True}

    def script(turn):
        assert wants_stream(fmt, turn.received) == stream
        if stream:
            parts = [p.replace(b'"model"', b'"zz":1E+2,"model"') for p in pieces(fmt, said, ask)]
            sent.extend(parts)
            turn.stream(parts, kind=models[fmt].stream_type)
        else:
            value = json.dumps({**whole(fmt, said), "zz": 1}, indent=1).encode()
            sent.append(value.replace(b'"zz": 1', b'"zz" : 1E+2'))
            turn.whole(sent[0])

    models[fmt].does(script)
    answer = httpx.post(f"{daemon.url}{CHAT_PATH[fmt]}", json=ask, timeout=20)
    assert answer.status_code == 200
    assert answer.content == b"".join(sent)


# --- headers, keys, names -------------------------------------------------------------------------


@every_pair
def test_the_answer_says_who_gave_it(models, clients, client, upstream, stream):
    models[upstream].says(Said("hi", input=12, output=4))
    talk = clients[client]
    talk.ask(f"{upstream}-up/{MODEL[upstream]}", "hi", stream=stream)
    told = {n.removeprefix("x-router-"): v for n, v in talk.headers.items() if "x-router" in n}
    assert told["provider"] == f"{upstream}-up"
    assert told["model"] == MODEL[upstream]
    assert told["rule"] == "provider/model"
    assert told["attempts"] == "1"
    assert told["request-id"]
    assert told["left-host"] == "no"
    assert "error" not in told
    figures = (told.get("input-tokens"), told.get("output-tokens"))
    assert figures == ((None, None) if stream else ("12", "4"))
    if client == upstream:
        assert "dropped" not in told


LOST = {
    ("openai", "anthropic"): ({"logit_bias": {"50256": -100}, "seed": 7}, {"logit_bias", "seed"}),
    ("openai", "ollama"): ({"logit_bias": {"50256": -100}}, {"logit_bias"}),
    ("anthropic", "openai"): ({"extra_body": {"zz_unknown": 1}}, {"zz_unknown"}),
    ("anthropic", "ollama"): ({"extra_body": {"zz_unknown": 1}}, {"zz_unknown"}),
    ("ollama", "openai"): ({"options": {"mirostat": 2}}, {"mirostat"}),
    ("ollama", "anthropic"): ({"options": {"seed": 7}}, {"seed"}),
}


@both
@pytest.mark.parametrize(("client", "upstream"), LOST)
def test_what_the_upstream_cannot_carry_is_named(models, clients, client, upstream, stream):
    more, names = LOST[client, upstream]
    models[upstream].says(Said("hi"))
    talk = clients[client]
    assert talk.ask(MODEL[upstream], "hi", stream=stream, **more).text == "hi"
    dropped = talk.headers["x-router-dropped"].split(",")
    assert names <= {name.rpartition(".")[2] for name in dropped}
    assert not any(name.encode() in models[upstream].chats[0].body for name in names)


@all_pairs
def test_the_upstream_gets_the_router_s_key_and_nothing_of_the_client_s(
    models, clients, client, upstream
):
    models[upstream].says(Said("hi"))
    clients[client].ask(MODEL[upstream], "hi")
    (received,) = models[upstream].chats
    assert "client-key" not in str(received.headers)
    key = f"key-of-{upstream}"
    if upstream == "anthropic":
        assert received.headers["x-api-key"] == key
        assert "authorization" not in received.headers
    else:
        assert received.headers["authorization"] == f"Bearer {key}"
        assert "x-api-key" not in received.headers


@every_pair
def test_an_alias_leads_to_its_model(models, clients, client, upstream, stream):
    models[upstream].says(Said("hi"))
    talk = clients[client]
    assert talk.ask(f"alias-of-{upstream}", "hi", stream=stream).text == "hi"
    assert models[upstream].asked["model"] == MODEL[upstream]
    assert talk.headers["x-router-rule"] == f"models.alias-of-{upstream}"


def test_every_sdk_lists_aliases_and_models(clients):
    wanted = {f"alias-of-{name}" for name in FORMATS} | set(MODEL.values())
    listed = {
        "openai": {model.id for model in clients["openai"].sdk.models.list()},
        "anthropic": {model.id for model in clients["anthropic"].sdk.models.list()},
        "ollama": {model.model for model in clients["ollama"].sdk.list().models},
    }
    for name, names in listed.items():
        assert wanted <= names, name
