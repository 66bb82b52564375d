"""Clients with keys of their own: what each may ask for and see, and that no key goes on."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from tests.e2e.safety.house import answers_well, providers
from tests.fakes.bystander import Journal
from tests.fakes.daemon import RunningDaemon
from tests.fakes.upstream import FakeUpstream

pytestmark = pytest.mark.e2e
KEYS = {"SHARED": "key-of-all", "ANN": "key-of-ann", "BOB": "key-of-bob", "OPS": "key-of-ops"}
CLIENTS = """
[server]
port = 0
api_key_env = "SHARED"
[logging]
enabled = true
path = "log.jsonl"
[[clients]]
name = "ann"
key_env = "ANN"
models = ["openai"]
[[clients]]
name = "bob"
key_env = "BOB"
strict = true
[[clients]]
name = "ops"
key_env = "OPS"
admin = true
"""


class Clients:
    def __init__(self, daemon: RunningDaemon, upstream: FakeUpstream, log: Journal) -> None:
        self.daemon = daemon
        self.upstream = upstream
        self.log = log

    def get(self, who: str, path: str) -> httpx.Response:
        key = {"x-router-key": KEYS[who]}
        return httpx.get(f"{self.daemon.url}{path}", headers=key, timeout=30)

    def ask(self, who: str, model: str, **more: object) -> httpx.Response:
        body = {"model": model, "messages": [{"role": "user", "content": "hi"}], **more}
        key = {"authorization": f"Bearer {KEYS[who]}"}
        url = f"{self.daemon.url}/v1/chat/completions"
        return httpx.post(url, json=body, headers=key, timeout=30)


@pytest.fixture(scope="module")
def clients(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Clients]:
    folder = tmp_path_factory.mktemp("clients")
    with (
        FakeUpstream(answers_well) as upstream,
        RunningDaemon(CLIENTS + providers(upstream.url), folder, env=KEYS) as daemon,
    ):
        yield Clients(daemon, upstream, Journal(folder / "log.jsonl"))


@pytest.mark.parametrize(
    ("who", "model", "status"),
    [
        ("ANN", "openai", 200),
        ("ANN", "ollama", 403),
        ("BOB", "ollama", 200),
        ("OPS", "ollama", 200),
        ("SHARED", "anthropic", 200),
    ],
)
def test_a_client_asks_for_its_models_only(
    clients: Clients, who: str, model: str, status: int
) -> None:
    answer = clients.ask(who, model)
    assert answer.status_code == status
    if status == 403:
        assert answer.headers["x-router-error"] == "forbidden"
        assert (
            "client 'ann' may not ask for the model 'ollama'" in answer.json()["error"]["message"]
        )


def test_a_client_sees_its_models_only(clients: Clients) -> None:
    assert [m["id"] for m in clients.get("ANN", "/v1/models").json()["data"]] == ["openai"]
    assert clients.get("ANN", "/v1/models/openai").status_code == 200
    assert clients.get("ANN", "/v1/models/ollama").status_code == 404
    assert len(clients.get("SHARED", "/v1/models").json()["data"]) > 1
    assert [m["name"] for m in clients.get("ANN", "/api/tags").json()["models"]] == ["openai"]


def test_a_strict_client_is_refused_what_another_one_only_reads_of(clients: Clients) -> None:
    lost = {"logit_bias": {"5": 1}}
    assert clients.ask("SHARED", "ollama", **lost).headers["x-router-dropped"] == "logit_bias"
    refused = clients.ask("BOB", "ollama", **lost)
    assert refused.status_code == 400
    assert "logit_bias" in refused.json()["error"]["message"]


def test_nobody_goes_on_from_anothers_answer(clients: Clients) -> None:
    url = f"{clients.daemon.url}/v1/responses"

    def said(who: str, **more: object) -> httpx.Response:
        key = {"authorization": f"Bearer {KEYS[who]}"}
        return httpx.post(url, json={"model": "ollama", "input": "hi", **more}, headers=key)

    kept = said("BOB").json()["id"]
    assert said("BOB", previous_response_id=kept).status_code == 200
    refused = said("OPS", previous_response_id=kept)
    assert (refused.status_code, refused.json()["error"]["code"]) == (
        400,
        "previous_response_not_found",
    )
    assert clients.get("OPS", f"/v1/responses/{kept}").status_code == 404
    assert clients.get("BOB", f"/v1/responses/{kept}").status_code == 200


@pytest.mark.parametrize(("who", "status"), [("ANN", 403), ("OPS", 200), ("SHARED", 200)])
def test_everybodys_requests_are_seen_by_admins(clients: Clients, who: str, status: int) -> None:
    assert clients.get(who, "/dashboard/api/state").status_code == status


@pytest.mark.parametrize(("who", "kind"), [("ANN", "forbidden"), ("OPS", "bad_request")])
def test_model_administration_is_for_admins(clients: Clients, who: str, kind: str) -> None:
    """There is no Ollama server behind this router that answers, and so nothing is done."""
    with httpx.Client() as http:
        answer = http.post(
            f"{clients.daemon.url}/api/pull",
            json={"model": "x"},
            headers={"x-router-key": KEYS[who]},
        )
    if who == "ANN":
        assert (answer.status_code, answer.headers["x-router-error"]) == (403, kind)
    else:
        assert answer.status_code != 403


def test_a_record_says_whose_request_it_was_and_no_key_goes_anywhere(clients: Clients) -> None:
    clients.upstream.received.clear()
    for who, name in (("BOB", "bob"), ("SHARED", "")):
        answer = clients.ask(who, "openai")
        line = clients.log.line(answer.headers["x-router-request-id"])
        assert line["client"] == name
    assert len(clients.upstream.received) == 2
    sent = str([(r.headers, r.body) for r in clients.upstream.received])
    told = sent + str(clients.log.lines()) + clients.daemon.log
    assert not [key for key in KEYS.values() if key in told]
