"""No secret goes out: not the owner's to anybody, not the client's to an upstream."""

from __future__ import annotations

import base64
import signal
import time
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
    PATIENCE_S,
    Answered,
    Listener,
    ask,
    chat,
)
from tests.fakes.daemon import RunningDaemon
from tests.fakes.models import CHAT_PATH
from tests.fakes.upstream import FakeUpstream, Turn

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


MORE = {
    "ROUTER_KEY": "planted-shared-key-0010",
    "ANN_KEY": "planted-client-key-0011",
    "UNUSED_API_KEY": "planted-in-the-environment-0012",
}
FILE_KEY, FILE_ROUTER = "planted-key-in-a-file-0013", "planted-client-in-a-file-0014"
SENT, COOKIE, QUERY = "planted-clients-token-0015", "planted-cookie-0016", "planted-query-0017"
LITERAL = "planted-in-a-wrong-file-0018"
ALL_MORE = [*MORE.values(), FILE_KEY, FILE_ROUTER, SENT, COOKIE, QUERY, LITERAL]


def more_secretive(port: int, folder: Path) -> str:
    """Keys in files, a client's own key, and a provider that is asked with the client's credential."""
    for name, key in (("up.key", FILE_KEY), ("bob.key", FILE_ROUTER)):
        (folder / name).write_text(key + "\n")
        (folder / name).chmod(0o600)
    return f"""
[server]
port = 0
api_key_env = "ROUTER_KEY"
[logging]
enabled = true
path = "log.jsonl"
[[clients]]
name = "ann"
key_env = "ANN_KEY"
[[clients]]
name = "bob"
key_file = "bob.key"
[[providers]]
name = "filed"
format = "openai"
base_url = "http://127.0.0.1:{port}"
api_key_file = "up.key"
models = ["filed"]
max_retries = 0
circuit_failures = 0
[[providers]]
name = "lent"
format = "openai"
base_url = "http://127.0.0.1:{port}"
credentials = "client"
models = ["lent"]
max_retries = 0
circuit_failures = 0
"""


def more_found_in(output: bytes) -> list[str]:
    return [secret for secret in ALL_MORE if secret.encode() in output]


def test_no_key_of_a_client_a_file_or_a_wrong_configuration_is_in_any_output(
    tmp_path: Path,
) -> None:
    outputs = b""
    with FakeUpstream(tells_all) as upstream:
        text = more_secretive(upstream.port, tmp_path)
        file = tmp_path / "llmrouter.toml"
        with RunningDaemon(text, tmp_path, "--log-level", "debug", env=MORE) as daemon:
            shared = {"X-Router-Key": MORE["ROUTER_KEY"]}
            feed = "GET /dashboard/events?v=2 HTTP/1.1\r\nHost: localhost\r\nX-Router-Key: "
            with Listener(daemon, f"{feed}{MORE['ROUTER_KEY']}\r\n\r\n".encode()) as events:
                events.until(b"\n\n")
                answers = []
                for key in (MORE["ROUTER_KEY"], MORE["ANN_KEY"], FILE_ROUTER, "wrong"):
                    for model in ("filed", "lent", "nobody"):
                        for client in FORMATS:
                            fields = {
                                "X-Router-Key": key,
                                "Authorization": f"Bearer {SENT}",
                                "Cookie": f"session={COOKIE}",
                            }
                            path = f"{CHAT_PATH[client]}?other={QUERY}"
                            answers.append(ask(daemon, path, chat(client, model), fields))
                last = ask(daemon, CHAT_PATH["openai"], b"{the last", shared)
                events.until(last.id.encode())
                outputs += events.body
            pages = ("/ready", "/metrics", "/v1/models", "/dashboard", "/dashboard/api/state")
            answers += [ask(daemon, page, headers=shared) for page in pages]
            asked = {"format": "openai", "request": chat("openai", "filed")}
            answers.append(ask(daemon, "/dashboard/api/explain", asked, shared))
            file.write_text(text.replace('api_key_file = "up.key"', f'api_key = "{LITERAL}"'))
            daemon.process.send_signal(signal.SIGHUP)
            end = time.monotonic() + PATIENCE_S
            while "not reloaded" not in daemon.log:
                assert time.monotonic() < end, daemon.log
                time.sleep(0.02)
            outputs += daemon.log.encode() + in_every_output(answers)
        assert {answer.status for answer in answers} >= {200, 401}
        assert any(b"***" in answer.body for answer in answers)  # it was repeated, and covered
    file.write_text(text)
    for args in (
        ["stats", "log.jsonl"],
        ["explain", str(file), "--model", "filed"],
        ["--debug", "explain", str(file), "--model", "lent", "--json"],
        ["service", "print", "--config", str(file)],
        ["check", str(file)],
    ):
        done = command(*args, env=MORE, cwd=tmp_path)
        assert done.returncode in (0, 1), done.stderr
        outputs += (done.stdout + done.stderr).encode()
    outputs += (tmp_path / "log.jsonl").read_bytes()
    assert more_found_in(outputs) == []


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
