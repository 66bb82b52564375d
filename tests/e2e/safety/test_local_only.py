"""A request that must stay here, and everything a stranger could say to get it out.

"Elsewhere" is a server on this machine that the owner calls remote: whatever reaches it has left.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.bystander import PATIENCE_S, Answered, Listener, ask, chat
from tests.fakes.daemon import RunningDaemon
from tests.fakes.models import CHAT_PATH, Said, pieces, wants_stream, whole
from tests.fakes.upstream import FakeUpstream, Turn

pytestmark = pytest.mark.e2e
WORD = "diagnosis"
MINE = [{"role": "user", "content": f"my {WORD}"}]


def answers(turn: Turn) -> None:
    """Whatever it is asked for, in OpenAI's format."""
    turn.keep = False
    if wants_stream("openai", turn.received):
        turn.stream(pieces("openai", Said("well"), turn.received.json))
    elif turn.received.target.endswith("/embeddings"):
        vector = {"object": "embedding", "index": 0, "embedding": [0.5]}
        turn.whole({"object": "list", "data": [vector], "model": "m"}, 200)
    else:
        turn.whole(whole("openai", Said("well")), 200)


def fails(turn: Turn) -> None:
    turn.keep = False
    turn.whole({"error": {"message": "ill", "type": "x"}}, 500)


def provider(name: str, url: str, *models: str, local: bool) -> str:
    return (
        f'[[providers]]\nname = "{name}"\nformat = "openai"\nbase_url = "{url}"\n'
        f"local = {str(local).lower()}\nmodels = {json.dumps(models)}\nmax_retries = 0\n"
        "circuit_failures = 0\n"
    )


@dataclass
class Town:
    daemon: RunningDaemon
    here: FakeUpstream
    there: FakeUpstream

    def left(self) -> bool:
        return any(
            WORD in received.body.decode() or received.target != "/v1/models"
            for received in self.there.received
        )


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    folder = tmp_path_factory.mktemp("town")
    with FakeUpstream(answers) as here, FakeUpstream(answers) as there:
        text = (
            "[server]\nport = 0\nfailover_to_remote = true\n"
            + provider("here", here.url, "m", "house-model", local=True)
            + provider("there", there.url, "m", "house-model", "far", local=False)
            + '[models]\nwork = ["here/m", "there/far"]\nfar-away = ["there/far"]\n'
            + '[[routers]]\ntype = "prefix"\nmodel_prefix = "cloud-"\nprovider = "there"\n'
            + '[[routers]]\ntype = "fallback"\n'
            + f'[classifiers.keyword]\nenabled = true\ntags = {{ Private = ["{WORD}"] }}\n'
            + "[plugins.pareto-router]\nenabled = false\n"
            + '[[policies]]\ntag = "Private"\nrequire = "local"\n'
            + '[[policies]]\ntag = "grün"\nrequire = "local"\n'
            + '[[policies]]\nmodel = "house-*"\nrequire = "local"\n'
        )
        with RunningDaemon(text, folder) as daemon:
            yield Town(daemon, here, there)


@pytest.fixture
def town(built: Town) -> Town:
    built.here.script = answers
    built.there.received.clear()
    return built


MODELS = [
    *("m", "far", "there/m", "there/far", "There/far", "work", "far-away", "cloud-x", "here/far"),
    *("there//m", "/there/m", "there/../far", "auto", "house-model", "nobody-has-it"),
]


@pytest.mark.parametrize("ill", [False, True], ids=["well", "ill"])
@pytest.mark.parametrize("wish", ["", "there", "THERE", "here"])
@pytest.mark.parametrize("model", MODELS)
def test_no_name_leads_out(town: Town, model: str, wish: str, ill: bool) -> None:
    town.here.script = fails if ill else answers
    fields = {"X-Router-Provider": wish} if wish else {}
    for client, path in CHAT_PATH.items():
        body = chat(client, model, messages=MINE)
        if client == "responses":
            body = {"model": model, "input": f"my {WORD}"}
        answer = ask(town.daemon, path, body, fields)
        assert answer.headers.get("x-router-provider") in (None, "here")
        assert answer.headers.get("x-router-left-host") != "yes"
    assert not town.left()


def test_what_is_not_private_may_leave(town: Town) -> None:
    """Else nothing here would prove anything."""
    assert ask(town.daemon, CHAT_PATH["openai"], chat("openai", "far-away")).status == 200
    assert town.there.received


BODIES: list[tuple[str, dict[str, Any]]] = [
    ("/v1/chat/completions", {"provider": {"only": ["there"]}}),
    ("/v1/chat/completions", {"provider": "there", "models": ["there/far"], "route": "fallback"}),
    ("/v1/chat/completions", {"plugins": [{"id": "pareto-router", "min_quality": 1}]}),
    ("/v1/chat/completions", {"plugins": [{"id": "pareto-router", "provider": "there"}]}),
    ("/v1/chat/completions", {"stream": True}),
    ("/v1/chat/completions", {"user": "there", "metadata": {"tags": ["public"]}}),
    ("/v1/messages/count_tokens", {}),
    ("/v1/completions", {"prompt": f"my {WORD}"}),
    ("/v1/embeddings", {"input": f"my {WORD}"}),
    ("/api/embed", {"input": f"my {WORD}"}),
    ("/api/embeddings", {"prompt": f"my {WORD}"}),
    ("/api/generate", {"prompt": f"my {WORD}"}),
    ("/v1/responses", {"input": f"my {WORD}", "previous_response_id": "resp_of_another"}),
    ("/v1/responses", {"input": f"my {WORD}", "background": True}),
    ("/api/pull", {"name": f"my {WORD}"}),
    ("/api/show", {"name": f"my {WORD}"}),
]


@pytest.mark.parametrize(("path", "more"), BODIES, ids=range(len(BODIES)))
def test_no_member_of_a_body_leads_out(town: Town, path: str, more: dict[str, Any]) -> None:
    for model in ("m", "there/far", "far-away"):
        ask(town.daemon, path, {"model": model, "messages": MINE, **more})
        ask(
            town.daemon,
            path,
            {"model": model, "messages": MINE, **more},
            {"X-Router-Tags": "public"},
        )
    assert not town.left()


def test_a_picture_is_not_fetched_for_it(town: Town) -> None:
    seen = [
        {"type": "text", "text": f"my {WORD}"},
        {"type": "image_url", "image_url": {"url": f"{town.there.url}/{WORD}.png"}},
    ]
    ask(
        town.daemon,
        CHAT_PATH["openai"],
        chat("openai", "m", messages=[{"role": "user", "content": seen}]),
    )
    assert not town.left()


def tagged(town: Town, value: bytes, model: str = "far-away") -> int:
    body = json.dumps(chat("openai", model)).encode()
    head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nX-Router-Tags: %b\r\n"
    sent = head % value + b"Content-Length: %d\r\n\r\n" % len(body) + body
    with Listener(town.daemon, sent) as listener:
        return listener.rest().status


@pytest.mark.parametrize(
    "value",
    [
        b"private",
        b"PRIVATE",
        b"public, Private",
        b" ,Private,, ",
        "grün".encode(),
        "grün".encode("latin-1"),
        "GRÜN".encode(),
        b",".join(b"t%d" % n for n in range(40)) + b",private",
        b"x" * 65 + b",private",
    ],
    ids=range(9),
)
def test_a_tag_is_heard_however_it_is_written(town: Town, value: bytes) -> None:
    assert tagged(town, value) in (400, 403)
    assert not town.left()
    assert not town.there.received
    assert tagged(town, b"public") == 200


@pytest.mark.parametrize(
    "model", ["house-model", "HOUSE-model", "there/house-model", "there/House-Model"]
)
def test_a_model_that_stays_here_stays_under_any_spelling(town: Town, model: str) -> None:
    answer = ask(
        town.daemon, CHAT_PATH["openai"], chat("openai", model), {"X-Router-Provider": "there"}
    )
    assert answer.headers.get("x-router-provider") in (None, "here")
    assert not town.there.received


def test_a_classifier_that_does_not_answer_keeps_it_here(tmp_path: Path) -> None:
    def silent(turn: Turn) -> None:
        turn.wait_closed(PATIENCE_S)

    with FakeUpstream(silent) as here, FakeUpstream(answers) as there:
        text = (
            "[server]\nport = 0\nfailover_to_remote = true\n"
            + provider("here", here.url, "judge", local=True)
            + provider("there", there.url, "far", local=False)
            + '[classifiers.llm]\nenabled = true\nprovider = "here"\nmodel = "judge"\ntimeout = 1\n'
            + 'labels = { private = "about health", public = "anything else" }\n'
            + '[[policies]]\ntag = "private"\nrequire = "local"\n'
        )
        with RunningDaemon(text, tmp_path) as daemon:
            said: Answered = ask(daemon, CHAT_PATH["openai"], chat("openai", "far", messages=MINE))
            assert said.status == 403, said.body
        assert not there.received
