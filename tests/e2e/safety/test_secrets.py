"""No secret goes out: not the owner's to anybody, not the client's to an upstream."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from tests.e2e.safety.house import (
    CLOSE,
    HEADER_SECRET,
    KEY,
    PLACES,
    PLANTED,
    PROXY_LOGIN,
    SECRETS,
    USERINFO,
    WITH_KEY,
    House,
    answers_well,
    command,
    format_asked,
    offered,
    secretive,
)
from tests.fakes.bystander import (
    FORMATS,
    Answered,
    Listener,
    ask,
    chat,
)
from tests.fakes.models import CHAT_PATH
from tests.fakes.upstream import Turn

pytestmark = pytest.mark.e2e


def tells_all(turn: Turn) -> None:
    """An upstream that repeats in its error what it was sent, its credentials included."""
    turn.keep = False
    said = "; ".join(f"{name}: {value}" for name, value in turn.received.headers.items())
    fmt = format_asked(turn.received)
    message = f"invalid credentials in {said}"
    body: Any = {"error": message}
    if fmt == "openai":
        body = {"error": {"message": message, "type": "auth", "code": said, "param": None}}
    elif fmt == "anthropic":
        body = {"type": "error", "error": {"type": "authentication_error", "message": message}}
    status = int(turn.received.headers.get("x-client-request-id", "401"))
    turn.whole(body, status, CLOSE)


def in_every_output(answers: list[Answered]) -> bytes:
    return b"\n".join(repr(answer.headers).encode() + answer.body for answer in answers)


def found_in(output: bytes) -> list[str]:
    return [secret for secret in SECRETS if secret.encode() in output]


@pytest.mark.slow
def test_no_secret_is_in_any_output(locked: House) -> None:
    """Requests that go well and wrong in many ways, with the log at its most talkative."""
    daemon = locked.daemon
    answers = []
    watching = b"GET /dashboard/events HTTP/1.1\r\nHost: localhost\r\nX-Router-Key: %b\r\n\r\n"
    with Listener(daemon, watching % KEY.encode()) as events:
        events.until(b"\n")
        for client in FORMATS:
            path = CHAT_PATH[client]
            for model in (*FORMATS, "nobody", "proxied", "unlisted/x", "unknown"):
                for stream in (False, True):
                    locked.upstream.script = answers_well
                    body = chat(client, model, stream=stream)
                    answers.append(ask(daemon, path, body, WITH_KEY))
                    locked.upstream.script = tells_all
                    for status in ("401", "403", "400", "429", "500"):
                        fields = {**WITH_KEY, "X-Client-Request-Id": status}
                        answers.append(ask(daemon, path, body, fields))
            for place in PLACES:
                query, headers = offered(place, KEY)
                answers.append(ask(daemon, path + query, b"{broken", headers))
                answers.append(ask(daemon, f"/v1/nothing{query}", headers=headers))
                answers.append(ask(daemon, f"/dashboard/nothing{query}", headers=headers))
            answers.append(ask(daemon, path, chat(client, client), {"X-Router-Key": KEY + "x"}))
        pages = ("/ready", "/v1/models", "/api/tags", "/dashboard", "/metrics")
        answers += [ask(daemon, page, headers=WITH_KEY) for page in pages]
        last = ask(daemon, CHAT_PATH["openai"], b"{the last", WITH_KEY)
        events.until(b"the last" if b"the last" in last.body else last.id.encode())
        feed = events.body
    locked.journal.line(last.id)
    assert {answer.status for answer in answers} >= {200, 400, 401, 404, 429, 502}
    assert found_in(in_every_output([*answers, last])) == []
    assert found_in(feed) == []
    assert found_in(locked.journal.path.read_bytes()) == []
    assert found_in(daemon.log.encode()) == []
    assert "DEBUG" in daemon.log or "INFO" in daemon.log


def test_no_secret_is_in_what_check_prints(tmp_path: Path) -> None:
    file = tmp_path / "router.toml"
    file.write_text(secretive(9))
    for args in (
        ["check", str(file)],
        ["check", "--json", str(file)],
        ["serve", "--check", str(file)],
    ):
        done = command(*args, env=PLANTED, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert "openai" in done.stdout
        assert found_in((done.stdout + done.stderr).encode()) == []


@pytest.mark.parametrize(
    "mistake",
    [
        ('api_key_env = "OPENAI_KEY"', 'api_key = "sk-planted-openai-key-0001"'),
        ('api_key_env = "OPENAI_KEY"', 'api_key_env = "sk-planted-openai-key-0001"'),
        ('api_key_env = "ROUTER_KEY"', 'api_key_env = "sk-ant-planted-key-0002"'),
        (f"http://{USERINFO}@127.0.0.1:9/v1", f"http://{USERINFO}@127.0.0.1:port/v1"),
        (f"http://{USERINFO}@127.0.0.1:9/v1", f"ftp://{USERINFO}@127.0.0.1:9/v1"),
        (f"http://{PROXY_LOGIN}@", f"https://{PROXY_LOGIN}@"),
        (f'"{HEADER_SECRET}"', f'"{HEADER_SECRET}\\n"'),
    ],
    ids=["key", "variable", "server", "port", "scheme", "proxy", "header"],
)
def test_no_secret_is_in_a_complaint_about_its_place(
    tmp_path: Path, mistake: tuple[str, str]
) -> None:
    text = secretive(9)
    assert mistake[0] in text
    file = tmp_path / "router.toml"
    file.write_text(text.replace(*mistake))
    for args in (["check", str(file)], ["serve", str(file)]):
        done = command(*args, env=PLANTED, cwd=tmp_path)
        assert done.returncode == 2
        assert done.stderr
        assert found_in((done.stdout + done.stderr).encode()) == []


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize(("client", "up"), [(c, u) for c in FORMATS for u in FORMATS])
def test_a_clients_credentials_never_reach_an_upstream(
    locked: House, client: str, up: str, stream: bool
) -> None:
    fields = {
        "X-Router-Key": KEY,
        "Authorization": "Bearer client-token-1",
        "x-api-key": "client-token-2",
        "api-key": "client-token-3",
        "Cookie": f"session=client-token-4; llmrouter_key={quote(KEY, safe='')}",
        "Proxy-Authorization": "Basic client-token-5",
        "X-Forwarded-For": "198.51.100.7",
        "Forwarded": "for=198.51.100.7",
        "Referer": "https://client-token-6.example/",
        "X-Router-Provider": up,
        "OpenAI-Organization": "client-token-7",
    }
    query = f"?api_key={quote(KEY, safe='')}&beta=true"
    answer = ask(locked.daemon, CHAT_PATH[client] + query, chat(client, up, stream=stream), fields)
    assert answer.status == 200
    (sent,) = locked.upstream.received
    wire = f"{sent.target}\n{sent.headers}\n{sent.body!r}"
    assert "client-token" not in wire
    assert "198.51.100.7" not in wire
    assert "router-Planted" not in wire
    assert "api_key" not in wire
    assert "x-router" not in wire.lower()
    wanted = {
        "openai": ("authorization", "Bearer sk-planted-openai-key-0001"),
        "anthropic": ("x-api-key", "sk-ant-planted-key-0002"),
        "ollama": ("authorization", "Basic " + base64.b64encode(USERINFO.encode()).decode()),
    }
    name, value = wanted[up]
    assert sent.headers[name] == value
    assert {"authorization", "x-api-key"} & sent.headers.keys() == {name}
