"""No upstream sees a value, wherever in a request it stands: real clients' requests, each place in
turn, over real sockets, to servers of four formats that keep every byte."""

import json
from functools import cache

import httpx
import pytest

from tests.e2e.covering.planted import (
    CODES,
    MAIL,
    SECRETS,
    SENTENCES,
    VALUES,
    Fixture,
    at,
    fixtures,
    general,
    held,
    in_base64,
    places,
    planted,
    wire,
)

pytestmark = pytest.mark.e2e
UPSTREAMS = ("openai", "anthropic", "ollama", "responses")
# Nobody may alter these, and nobody but their vendor reads them.
SEALED = ("signature", "encrypted_content", "data", "image_data")


def send(client, fixture: Fixture, body, wish: str, **fields) -> httpx.Response:
    query = f"?{fixture.query}" if fixture.query else ""
    headers = {**fixture.headers, "x-router-provider": wish, **fields}
    return client.post(fixture.path + query, content=json.dumps(body).encode(), headers=headers)


@cache
def each_place() -> list[tuple[Fixture, tuple]]:
    """Every kind of place of every path, once: a fixture and where."""
    found = {}
    for fixture in fixtures():
        for path in places(fixture.body):
            key = (fixture.path, general(path))
            size = len(json.dumps(fixture.body))
            if path[-1] not in SEALED and (key not in found or size < found[key][0]):
                found[key] = (size, fixture, path)
    return [(fixture, path) for _, fixture, path in found.values()]


def seen(models) -> list:
    return [got for model in models.values() for got in model.upstream.received]


WORDS = {"content", "text", "input", "prompt", "instructions", "description", "system", "output"}


@cache
def one_of_each() -> list[Fixture]:
    """The smallest of each client and path."""
    found = {}
    for fixture in sorted(fixtures(), key=lambda each: -len(json.dumps(each.body))):
        found[fixture.name.partition("-0")[0], fixture.path] = fixture
    return list(found.values())


def holds_words(body, path) -> bool:
    old = at(body, path)
    named = path[-1] in WORDS or (type(path[-1]) is int and len(path) < 4)
    return named and "base64" not in old and len(old) < 20_000


def forget(models) -> None:
    for model in models.values():
        model.upstream.received.clear()


def test_there_are_many_places_and_the_check_sees_what_it_should() -> None:
    assert len(each_place()) > 150
    assert {f.path for f, _ in each_place()} >= {
        "/v1/chat/completions",
        "/v1/messages",
        "/v1/messages/count_tokens",
        "/v1/responses",
        "/api/chat",
        "/api/generate",
        "/v1/completions",
        "/v1/embeddings",
        "/api/embed",
    }
    for text in (MAIL, MAIL.replace("@", "%40"), MAIL.replace("@", "\\u0040"), in_base64(MAIL)):
        assert held(f"x {text} y".encode()) == [MAIL]


@pytest.mark.parametrize("up", UPSTREAMS)
def test_no_place_of_a_request_lets_a_value_through(up, models, daemon) -> None:
    asked = reached = 0
    with httpx.Client(base_url=daemon.url, timeout=60) as client:
        for number, (fixture, path) in enumerate(each_place()):
            sentence, secret = list(VALUES.values())[number % len(VALUES)]
            if secret == VALUES["word"][1] and path[-1] in CODES:
                sentence, secret = VALUES["email"]
            old = at(fixture.body, path)
            is_media = "base64," in old or (len(old) > 400 and " " not in old[:300])
            full = sentence if is_media else f"{old} {sentence}"
            text = (full, MAIL)[(number + UPSTREAMS.index(up)) % 2]
            answer = send(client, fixture, planted(fixture.body, path, text), up)
            asked += 1
            assert answer.status_code < 500, (fixture.name, path, answer.text)
            got = seen(models)
            reached += bool(got)
            for each in got:
                leaked = held(wire(each), [secret, MAIL])
                assert not leaked, (fixture.name, general(path), text, wire(each)[:3000])
            forget(models)
    assert reached > asked / 2  # they were not all refused


@pytest.mark.parametrize("up", UPSTREAMS)
def test_values_of_all_kinds_are_covered_in_the_words_of_every_clients_request(
    up, models, daemon
) -> None:
    with httpx.Client(base_url=daemon.url, timeout=60) as client:
        for fixture in one_of_each():
            body = fixture.body
            if send(client, fixture, body, up).status_code == 400:
                continue  # what only its own vendor can do
            forget(models)
            chosen = [path for path in places(fixture.body) if holds_words(fixture.body, path)]
            for path in [*chosen[:3], *chosen[-3:]]:
                body = planted(body, path, f"{at(fixture.body, path)}\n{SENTENCES}")
            answer = send(client, fixture, body, up)
            assert answer.status_code == 200, (fixture.name, answer.text)
            assert SENTENCES.encode() not in answer.content
            for each in seen(models):
                assert held(wire(each)) == [], (fixture.name, wire(each)[-3000:])
                assert each.method == "GET" or b"EMAIL_1" in each.body
            forget(models)


@pytest.mark.parametrize("up", UPSTREAMS)
@pytest.mark.parametrize("secret", SECRETS)
def test_what_goes_along_with_a_request_is_left_out_where_it_holds_a_value(
    secret, up, models, daemon
) -> None:
    """Header fields and the query: in the client's own format many of them are passed on."""
    name = next(
        f
        for f in fixtures()
        if f.path.endswith(
            {"openai": "chat/completions", "anthropic": "messages", "ollama": "api/chat"}.get(
                up, "responses"
            )
        )
    )
    value = "".join(c if c.isascii() and c.isprintable() else "" for c in secret)[:2000]
    value = f"password={value}" if secret == VALUES["password"][1] else value
    fields = dict.fromkeys(
        (
            *("user-agent", "x-request-id", "x-client-request-id", "idempotency-key"),
            *("openai-beta", "anthropic-beta", "anthropic-version", "x-on-behalf-of"),
            *("baggage", "tracestate", "x-app"),
        ),
        value,
    )
    fields = {**fields, "x-request-id": value[:100]}
    with httpx.Client(base_url=daemon.url, timeout=60) as client:
        url = httpx.URL(name.path, params={"who": value, "beta": "true"})
        answer = client.post(
            url, json=name.body, headers={**name.headers, **fields, "x-router-provider": up}
        )
    assert answer.status_code == 200, answer.text
    (got,) = [each for each in seen(models) if each.method == "POST"]
    if value in (secret, f"password={secret}"):
        assert held(wire(got), [secret]) == []
    assert "beta=true" in got.target


def test_values_are_known_in_ids_and_in_names_and_in_urls(models, daemon) -> None:
    """Where nothing is looked for, or where a value is written otherwise."""
    quoted = MAIL.replace("@", "%40")
    call = {"id": f"call_{MAIL}", "type": "function"}
    body = {
        "model": "kit-model",
        "user": MAIL,
        "metadata": {MAIL: "x"},
        "messages": [
            {"role": "user", "name": "n", "content": [
                {"type": "text", "text": f"I am {MAIL}"},
                {"type": "image_url", "image_url": {"url": f"https://a.test/x.png?for={quoted}"}},
                {"type": "file", "file": {
                    "filename": f"{MAIL}.json",
                    "file_data": f"data:application/json;base64,{in_base64(json.dumps([MAIL]))}",
                }},
            ]},
            {"role": "assistant", "content": None, "tool_calls": [
                {**call, "function": {"name": "t", "arguments": json.dumps({"to": MAIL})}}
            ]},
            {"role": "tool", "tool_call_id": f"call_{MAIL}", "content": json.dumps({"a": MAIL})},
        ],
        "tools": [{"type": "function", "function": {"name": "t", "parameters": {
            "type": "object",
            "properties": {MAIL: {"type": "string", "pattern": MAIL, "enum": [MAIL]}},
        }}}],
    }  # fmt: skip
    for up in UPSTREAMS:
        answer = httpx.post(
            f"{daemon.url}/v1/chat/completions", json=body, headers={"x-router-provider": up}
        )
        assert answer.status_code in (200, 400), answer.text
        assert answer.status_code == 200 or up != "openai"
        for each in seen(models):
            assert held(wire(each), [MAIL]) == [], (up, wire(each))


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/embeddings", {"input": [1, 2, 3]}),
        ("/v1/embeddings", {"input": [[1, 2], [3]]}),
        ("/v1/completions", {"prompt": [1, 2, 3]}),
        ("/v1/completions", {"prompt": [[1, 2], [3]]}),
    ],
)
def test_token_ids_are_refused_since_nobody_can_read_them(path, body, models, daemon) -> None:
    answer = httpx.post(f"{daemon.url}{path}", json={"model": "kit-model", **body})
    assert answer.status_code == 400
    assert "token ids" in answer.text
    assert not [each for each in seen(models) if each.method == "POST"]
