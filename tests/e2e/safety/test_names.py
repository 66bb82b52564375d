"""Names that strangers choose are text, wherever they stand."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import pytest

from tests.e2e.safety.house import CLOSE, House, answers_well
from tests.fakes.bystander import (
    FORMATS,
    Journal,
    Listener,
    ask,
    chat,
    raw_post,
)
from tests.fakes.daemon import RunningDaemon
from tests.fakes.models import CHAT_PATH, Said, whole
from tests.fakes.upstream import FakeUpstream, Turn

pytestmark = pytest.mark.e2e


NASTY = [
    "m\r\nX-Evil: yes",
    "m\r\n\r\nHTTP/1.1 200 OK\r\n\r\nevil",
    "m\nSet-Cookie: a=b",
    "\0\x01\x7f",
    "模型-ñandú-🦙",
    "a\ud800b",
    "x" * 5000,
    "  m  ",
    "\u2028\u2029\x85",
]


ODD_PROVIDER = "prové ☃, d'or"
ODD_TAG = "grün\r\nX-Evil: yes, really"


@pytest.fixture(scope="module")
def odd_house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """An owner with a taste for names, and a rule that sends every model to that provider."""
    folder = tmp_path_factory.mktemp("odd")
    with FakeUpstream(answers_well) as upstream:
        text = f"""
[server]
port = 0
[logging]
enabled = true
path = "log.jsonl"
[[providers]]
name = "{ODD_PROVIDER}"
format = "openai"
base_url = "{upstream.url}"
max_retries = 0
[[routers]]
type = "fallback"
[classifiers.keyword]
enabled = true
tags = {{ {json.dumps(ODD_TAG)} = ["hello"] }}
"""
        with RunningDaemon(text, folder) as daemon:
            yield House(daemon, upstream, Journal(folder / "log.jsonl"))


@pytest.mark.parametrize("name", NASTY, ids=range(len(NASTY)))
@pytest.mark.parametrize("client", FORMATS)
def test_a_models_name_cannot_write_a_header(odd_house: House, client: str, name: str) -> None:
    """It is served, and stands in the header as harmless text."""
    body = json.dumps(chat(client, name)).encode()
    request = raw_post(CHAT_PATH[client], body, CLOSE)
    with Listener(odd_house.daemon, request) as listener:
        raw_answer = b"".join(iter(lambda: listener.sock.recv(65536), b""))
    head, _, _ = raw_answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 ")
    assert len(re.findall(rb"(?m)^HTTP/1", raw_answer)) == 1
    names = [line.partition(b":")[0].lower() for line in head.split(b"\r\n")[1:]]
    assert b"x-evil" not in names
    assert b"set-cookie" not in names
    assert head.isascii()
    fields = dict(line.split(b": ", 1) for line in head.lower().split(b"\r\n")[1:])
    assert len(fields[b"x-router-model"]) <= 256
    assert fields[b"x-router-provider"]
    assert fields[b"x-router-request-tags"]
    line = odd_house.journal.line(fields[b"x-router-request-id"].decode())
    told = name.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    assert line["requested_model"] == line["sent_model"] == told  # no half a character
    assert (line["provider"], line["tags"]) == (ODD_PROVIDER, [ODD_TAG])


@pytest.mark.parametrize("client", FORMATS)
def test_an_upstreams_own_words_cannot_write_a_header(odd_house: House, client: str) -> None:
    def script(turn: Turn) -> None:
        turn.keep = False
        body = json.dumps(whole("openai", Said("fine"))).encode()
        turn.raw(
            b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n"
            b"X-Request-Id: r\xe9q\tid\r\nSet-Cookie: a=b\r\nServer: upstream\r\n"
            b"X-Router-Provider: somebody else\r\nAccess-Control-Allow-Origin: *\r\n"
            b"Content-Length: %d\r\n\r\n%b" % (len(body), body)
        )

    odd_house.upstream.script = script
    try:
        answer = ask(odd_house.daemon, CHAT_PATH[client], chat(client, "m"))
    finally:
        odd_house.upstream.script = answers_well
    assert answer.status == 200
    assert not {"set-cookie", "access-control-allow-origin"} & answer.headers.keys()
    assert answer.headers.get("server") != "upstream"
    assert "somebody" not in answer.headers["x-router-provider"]
    assert all(value.isascii() for value in answer.headers.values())
