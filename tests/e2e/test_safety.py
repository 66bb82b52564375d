"""Who may come in, what never goes out, and how the daemon starts, is watched and ends."""

from __future__ import annotations

import base64
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from tests.fakes.bystander import (
    FORMATS,
    PATIENCE_S,
    Answered,
    Journal,
    Listener,
    ask,
    chat,
    error_before,
    error_within,
    heard,
    raw_chat,
    raw_post,
)
from tests.fakes.daemon import ROOT, RunningDaemon
from tests.fakes.models import CHAT_PATH, STREAM_TYPE, Said, pieces, wants_stream, whole
from tests.fakes.upstream import FakeUpstream, Received, Turn

pytestmark = pytest.mark.e2e

CLOSE = "Connection: close"
# With every kind of letter that a header takes and a URL or a cookie must quote.
KEY = "sk-router-Planted+/=@!;, 100%&more"
PLANTED = {
    "ROUTER_KEY": KEY,
    "OPENAI_KEY": "sk-planted-openai-key-0001",
    "ANTHROPIC_KEY": "sk-ant-planted-key-0002",
}
HEADER_SECRET = "planted-header-secret-0003"
USERINFO = "planted-user:planted-password-0004"
PROXY_LOGIN = "planted-proxy:planted-proxy-password-0005"
SECRETS = [
    *PLANTED.values(),
    HEADER_SECRET,
    "planted-user",
    "planted-password-0004",
    "planted-proxy",
    "planted-proxy-password-0005",
    base64.b64encode(USERINFO.encode()).decode(),
    base64.b64encode(PROXY_LOGIN.encode()).decode(),
    quote(KEY, safe=""),
]


def format_asked(received: Received) -> str:
    path = received.target
    return next(fmt for fmt in FORMATS if path.startswith(CHAT_PATH[fmt]))


def answers_well(turn: Turn) -> None:
    turn.keep = False
    fmt = format_asked(turn.received)
    if wants_stream(fmt, turn.received):
        parts = pieces(fmt, Said("all is well"), turn.received.json)
        turn.stream(parts, CLOSE, kind=STREAM_TYPE[fmt])
    else:
        turn.whole(whole(fmt, Said("all is well")), 200, CLOSE)


def providers(url: str, *more: str) -> str:
    """One provider and model of each format, at this address."""
    tables = [
        f'[[providers]]\nname = "{fmt}"\nformat = "{fmt}"\nbase_url = "{url}"\n'
        f'models = ["{fmt}"]\nmax_retries = 0\n'
        f'[[routers]]\ntype = "model"\nmatch = "{fmt}"\nprovider = "{fmt}"\n'
        for fmt in FORMATS
    ]
    return "\n".join([*tables, *more])


def command(*args: str, env: Mapping[str, str] | None = None, cwd: Path | None = None) -> Any:
    """`llmrouter ...` to its end."""
    keep = {k: v for k, v in os.environ.items() if not k.endswith("_API_KEY")}
    return subprocess.run(
        [sys.executable, str(ROOT / "llmrouter.py"), *args],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=cwd,
        env={**keep, "HOME": str(cwd or "/nonexistent"), **(env or {})},
    )


@dataclass
class House:
    daemon: RunningDaemon
    upstream: FakeUpstream
    journal: Journal

    def ask(self, client: str, headers: Mapping[str, str], model: str = "") -> Answered:
        return ask(self.daemon, CHAT_PATH[client], chat(client, model or client), headers)


# --- starting -------------------------------------------------------------------------------------

ECHO = '[[providers]]\nname = "echo"\nformat = "echo"\n'


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.7", "router.example"])
@pytest.mark.parametrize("way", ["file", "option", "option without a file"])
def test_beyond_loopback_nothing_starts_without_a_key(
    tmp_path: Path, host: str, way: str
) -> None:
    file = tmp_path / "router.toml"
    file.write_text(f'[server]\nport = 0\n{f"host = {host!r}" if way == "file" else ""}\n{ECHO}')
    args = {
        "file": [str(file)],
        "option": [str(file), "--host", host],
        "option without a file": ["--host", host],
    }[way]
    done = command("serve", *args, cwd=tmp_path)
    assert done.returncode == 2
    assert "there is no key" in done.stderr
    assert "api_key_env" in done.stderr
    assert "allow_unauthenticated" in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize("value", [None, "", "   "])
def test_a_key_that_is_not_there_is_no_key(tmp_path: Path, value: str | None) -> None:
    file = tmp_path / "router.toml"
    file.write_text(f'[server]\nhost = "0.0.0.0"\nport = 0\napi_key_env = "ROUTER_KEY"\n{ECHO}')
    done = command(
        "serve", str(file), cwd=tmp_path, env={} if value is None else {"ROUTER_KEY": value}
    )
    assert done.returncode == 2
    assert "ROUTER_KEY" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("how", ['api_key_env = "ROUTER_KEY"', "allow_unauthenticated = true"])
def test_beyond_loopback_with_a_key_or_on_the_owners_word(tmp_path: Path, how: str) -> None:
    text = f'[server]\nhost = "0.0.0.0"\nport = 0\n{how}\n{ECHO}'
    with RunningDaemon(text, tmp_path, env={"ROUTER_KEY": KEY}) as daemon:
        answer = ask(daemon, "/v1/models", headers={"Host": "what.ever:1"})
        assert answer.status == (401 if "env" in how else 200)


def test_a_port_in_use_is_one_line_and_exit_2(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        file = tmp_path / "router.toml"
        file.write_text(f"[server]\nport = {port}\n{ECHO}")
        for args in ([str(file)], ["--port", str(port)]):
            done = command("serve", *args, cwd=tmp_path)
            assert done.returncode == 2
            (line,) = done.stderr.splitlines()
            assert f"127.0.0.1:{port}" in line
            assert "in use" in line


@pytest.mark.parametrize("host", ["no-such-host.invalid", "localhost:80", "http://localhost"])
def test_an_address_that_cannot_be_had_is_said_in_a_line(tmp_path: Path, host: str) -> None:
    file = tmp_path / "router.toml"
    file.write_text(f'[server]\nhost = "{host}"\nport = 0\nallow_unauthenticated = true\n{ECHO}')
    done = command("serve", str(file), cwd=tmp_path)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert "Traceback" not in done.stderr


# --- hosts and origins ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def open_house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """Without a key, for this machine only, as most people have it."""
    folder = tmp_path_factory.mktemp("open")
    with FakeUpstream(answers_well) as upstream:
        text = (
            '[server]\nport = 0\ntrusted_hosts = ["router.lan"]\n'
            'cors_origins = ["https://app.example"]\n[logging]\nenabled = true\npath = "log.jsonl"\n'
        )
        with RunningDaemon(text + providers(upstream.url), folder) as daemon:
            yield House(daemon, upstream, Journal(folder / "log.jsonl"))


@pytest.fixture
def house(open_house: House) -> Iterator[House]:
    open_house.upstream.script = answers_well
    open_house.upstream.received.clear()
    yield open_house
    assert not open_house.upstream.errors
    assert "Traceback" not in open_house.daemon.log
    assert " ERROR " not in open_house.daemon.log


FOREIGN = [
    "evil.example",
    "evil.example:8090",
    "localhost.evil.example",
    "127.0.0.1.evil.example",
    "localhost@evil.example",
    "0.0.0.0",
    "192.168.0.1",
    "[2001:db8::1]:80",
    "127.0.0.1:80:80",
    "",
]


@pytest.mark.parametrize("host", FOREIGN)
@pytest.mark.parametrize("client", FORMATS)
def test_a_foreign_host_is_refused_in_the_clients_shape(
    house: House, client: str, host: str
) -> None:
    answer = house.ask(client, {"Host": host})
    assert answer.status in ((403, 400) if "@" in host or host.count(":") == 2 else (403,))
    assert answer.tag in ("forbidden", "bad_request")
    if answer.status == 403:
        assert "trusted_hosts" in error_before(client, answer)
    assert not house.upstream.received


@pytest.mark.parametrize(
    "host",
    ["localhost", "LocalHost:1", "localhost.", "127.0.0.1", "127.9.9.9:7", "[::1]", "[::1]:80"]
    + ["router.lan", "ROUTER.LAN:8090"],
)
def test_our_own_names_are_heard(house: House, host: str) -> None:
    assert house.ask("openai", {"Host": host}).status == 200


@pytest.mark.parametrize(
    "path", ["/", "/health", "/ready", "/v1/models", "/api/tags", "/dashboard", "/dashboard/events"]
)
def test_no_page_is_shown_under_a_foreign_name(house: House, path: str) -> None:
    assert ask(house.daemon, path, headers={"Host": "evil.example"}).status == 403


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "https://app.example:444"])
@pytest.mark.parametrize("client", FORMATS)
def test_a_browser_page_of_another_origin_is_refused(
    house: House, client: str, origin: str
) -> None:
    """text/plain is what a page may send without asking first."""
    answer = house.ask(client, {"Origin": origin, "Content-Type": "text/plain"})
    assert answer.status == 403
    assert "cors_origins" in error_before(client, answer)
    assert not any(name.startswith("access-control") for name in answer.headers)
    assert not house.upstream.received


def test_the_routers_own_page_may_call_it(house: House) -> None:
    own = f"127.0.0.1:{house.daemon.port}"
    answer = house.ask("openai", {"Host": own, "Origin": f"http://{own}"})
    assert answer.status == 200


@pytest.mark.parametrize("client", FORMATS)
def test_a_listed_origin_is_answered_errors_included(house: House, client: str) -> None:
    listed = {"Origin": "https://app.example"}
    well = house.ask(client, listed)
    wrong = ask(house.daemon, CHAT_PATH[client], b"{", listed)
    lost = ask(house.daemon, "/v1/nothing", headers=listed)
    assert [well.status, wrong.status, lost.status] == [200, 400, 404]
    for answer in (well, wrong, lost):
        assert answer.headers["access-control-allow-origin"] == "https://app.example"
        assert "origin" in answer.headers["vary"].lower()
        assert "access-control-allow-credentials" not in answer.headers


@pytest.mark.parametrize("client", FORMATS)
def test_a_preflight_is_answered_for_listed_origins_only(house: House, client: str) -> None:
    def preflight(origin: str) -> Answered:
        fields = {
            "Origin": origin,
            "Access-Control-Request-Method": "POST",
            "Access-Control-Request-Headers": "authorization,content-type,x-api-key",
        }
        return ask(house.daemon, CHAT_PATH[client], None, fields, "OPTIONS")

    answer = preflight("https://app.example")
    assert answer.status == 204
    assert answer.body == b""
    assert answer.headers["access-control-allow-origin"] == "https://app.example"
    assert "POST" in answer.headers["access-control-allow-methods"]
    allowed = answer.headers["access-control-allow-headers"]
    assert {"authorization", "content-type", "x-api-key"} <= set(allowed.split(", "))
    refused = preflight("https://evil.example")
    assert not any(name.startswith("access-control") for name in refused.headers)
    assert not house.upstream.received


# --- keys -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def locked_house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """With a key, and secrets at every place where an owner may have one."""
    folder = tmp_path_factory.mktemp("locked")
    with FakeUpstream(answers_well) as upstream:
        port = upstream.port
        with RunningDaemon(secretive(port), folder, "--log-level", "debug", env=PLANTED) as daemon:
            yield House(daemon, upstream, Journal(folder / "log.jsonl"))


def secretive(port: int) -> str:
    """Six providers: each with its secrets, one of them behind a proxy, one where nobody is."""
    return f'''
[server]
port = 0
api_key_env = "ROUTER_KEY"
[logging]
enabled = true
path = "log.jsonl"
[[providers]]
name = "openai"
format = "openai"
base_url = "http://127.0.0.1:{port}"
api_key_env = "OPENAI_KEY"
models = ["openai"]
max_retries = 0
[[providers]]
name = "anthropic"
format = "anthropic"
base_url = "http://127.0.0.1:{port}"
api_key_env = "ANTHROPIC_KEY"
models = ["anthropic"]
max_retries = 0
[[providers]]
name = "ollama"
format = "ollama"
base_url = "http://{USERINFO}@127.0.0.1:{port}"
headers = {{ "X-Access-Token" = "{HEADER_SECRET}" }}
models = ["ollama"]
max_retries = 0
[[providers]]
name = "nobody"
format = "openai"
base_url = "http://{USERINFO}@127.0.0.1:9/v1"
headers = {{ "X-Access-Token" = "{HEADER_SECRET}" }}
models = ["nobody"]
max_retries = 0
[[providers]]
name = "unlisted"
format = "openai"
base_url = "http://{USERINFO}@127.0.0.1:9/v1"
headers = {{ "X-Access-Token" = "{HEADER_SECRET}" }}
[[providers]]
name = "proxied"
format = "openai"
base_url = "http://upstream.invalid"
http_proxy = "http://{PROXY_LOGIN}@127.0.0.1:{port}"
api_key_env = "OPENAI_KEY"
models = ["proxied"]
max_retries = 0
''' + "".join(
        f'[[routers]]\ntype = "model"\nmatch = "{name}"\nprovider = "{name}"\n'
        for name in (*FORMATS, "nobody", "proxied")
    )


@pytest.fixture
def locked(locked_house: House) -> Iterator[House]:
    locked_house.upstream.script = answers_well
    locked_house.upstream.received.clear()
    yield locked_house
    assert not locked_house.upstream.errors
    assert "Traceback" not in locked_house.daemon.log


WITH_KEY = {"X-Router-Key": KEY}
PLACES = ["x-router-key", "bearer", "x-api-key", "query", "cookie"]


def offered(place: str, key: str) -> tuple[str, dict[str, str]]:
    """(query, headers) of a request with its key at this place."""
    return {
        "x-router-key": ("", {"X-Router-Key": key}),
        "bearer": ("", {"Authorization": f"Bearer {key}"}),
        "x-api-key": ("", {"x-api-key": key}),
        "query": (f"?api_key={quote(key, safe='')}", {}),
        "cookie": ("", {"Cookie": f"other=1; llmrouter_key={quote(key, safe='')}; more=2"}),
    }[place]


CLOSED = [
    ("GET", "/"),
    ("HEAD", "/"),
    ("GET", "/ready"),
    ("GET", "/v1/models"),
    ("GET", "/models"),
    ("GET", "/api/tags"),
    ("GET", "/api/version"),
    ("GET", "/dashboard"),
    ("GET", "/dashboard/events"),
    ("GET", "/metrics"),
    ("GET", "/no/such/page"),
    ("POST", "/health"),
    ("POST", "/v1/chat/completions"),
    ("POST", "/v1/v1/chat/completions"),
    ("POST", "/chat/completions"),
    ("POST", "/v1/messages"),
    ("POST", "/messages"),
    ("POST", "/api/chat"),
    ("POST", "/api/pull"),
    ("DELETE", "/api/delete"),
    ("POST", "/v1/responses"),
    ("GET", "/health/../v1/models"),
    ("GET", "//v1/models"),
    ("GET", "/%76%31/models"),
]


@pytest.mark.parametrize(("method", "path"), CLOSED)
def test_everything_but_health_needs_the_key(locked: House, method: str, path: str) -> None:
    body = b"{}" if method == "POST" else None
    answer = ask(locked.daemon, path, body, method=method)
    if path == "/health":
        assert answer.status == 405  # it is open, and takes no POST
        return
    assert (answer.status, answer.tag) == (401, "unauthorized")
    if method == "HEAD":
        return
    shape = "ollama" if path.startswith("/api") else "anthropic" if "messages" in path else "openai"
    assert error_before(shape, answer) == "missing or invalid API key"


def test_health_is_open(locked: House) -> None:
    answer = ask(locked.daemon, "/health")
    assert (answer.status, answer.body) == (200, b"ok")


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("client", FORMATS)
def test_a_key_is_heard_at_its_places_and_nowhere_else(
    locked: House, client: str, place: str
) -> None:
    def tried(key: str) -> int:
        query, headers = offered(place, key)
        return ask(locked.daemon, CHAT_PATH[client] + query, chat(client, client), headers).status

    wrong = ["", "x", KEY[:-1], KEY + "x", KEY.lower(), KEY.swapcase(), "\xff" * len(KEY)]
    for key in wrong:
        if not (place in ("x-router-key", "bearer", "x-api-key") and not key.isascii()):
            assert tried(key) == 401, key
    assert not locked.upstream.received
    # a cookie comes with every request a browser sends, whoever made it send that
    assert tried(KEY) == (401 if place == "cookie" else 200)


@pytest.mark.parametrize("place", PLACES)
def test_the_dashboard_takes_every_place(locked: House, place: str) -> None:
    query, headers = offered(place, KEY)
    answer = ask(locked.daemon, f"/dashboard{query}", headers=headers)
    assert answer.status == (303 if place == "query" else 200)
    query, headers = offered(place, KEY[:-1])
    assert ask(locked.daemon, f"/dashboard{query}", headers=headers).status == 401
    assert ask(locked.daemon, f"/dashboard/events{query}", headers=headers).status == 401


def test_a_key_in_the_dashboards_address_becomes_a_cookie(locked: House) -> None:
    first = ask(locked.daemon, f"/dashboard?api_key={quote(KEY, safe='')}")
    assert first.status == 303
    assert first.headers["location"] == "/dashboard"
    cookie, _, attributes = first.headers["set-cookie"].partition(";")
    assert {"HttpOnly", "SameSite=Strict", "Path=/dashboard"} <= {
        a.strip() for a in attributes.split(";")
    }
    assert first.headers["cache-control"] == "no-store"
    assert ask(locked.daemon, "/dashboard", headers={"Cookie": cookie}).status == 200
    request = f"GET /dashboard/events HTTP/1.1\r\nHost: localhost\r\nCookie: {cookie}\r\n\r\n"
    with Listener(locked.daemon, request.encode()) as events:
        events.until(b"\n")
        assert events.response.status == 200


def test_the_dashboard_loads_nothing_from_anywhere(locked: House) -> None:
    page = ask(locked.daemon, "/dashboard", headers=WITH_KEY)
    assert page.status == 200
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "connect-src 'self'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "http:" not in policy
    assert "*" not in policy
    assert page.headers["x-content-type-options"] == "nosniff"
    html = page.body.decode()
    assert not re.findall(r"""(?:src|href)\s*=\s*["']?\s*(?:https?:)?//""", html)
    assert not re.findall(r"@import|url\(", html)
    assert "innerHTML" not in html  # what it shows came from strangers


# --- secrets --------------------------------------------------------------------------------------


def tells_all(turn: Turn) -> None:
    """An upstream that repeats in its error what it was sent, its credentials included."""
    turn.keep = False
    said = "; ".join(f"{name}: {value}" for name, value in turn.received.headers.items())
    fmt = "openai" if "://" in turn.received.target else format_asked(turn.received)
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
        for page in ("/ready", "/v1/models", "/api/tags", "/dashboard", "/metrics"):
            answers.append(ask(daemon, page, headers=WITH_KEY))
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
    for args in (["check", str(file)], ["check", "--json", str(file)], ["serve", "--check", str(file)]):
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


# --- names that strangers choose ------------------------------------------------------------------

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


@pytest.mark.parametrize("name", NASTY, ids=range(len(NASTY)))
@pytest.mark.parametrize("client", FORMATS)
def test_a_models_name_cannot_write_a_header(tmp_path: Path, client: str, name: str) -> None:
    """It is refused or served, and in both cases stands in the header as harmless text."""
    with nasty_house(tmp_path) as house:
        body = json.dumps(chat(client, name)).encode()
        with Listener(house.daemon, raw_post(CHAT_PATH[client], body)) as listener:
            answer = listener.rest()
    assert answer.status == 200
    assert "x-evil" not in answer.headers
    assert "set-cookie" not in answer.headers
    shown = answer.headers["x-router-model"]
    assert shown.isascii()
    assert shown.isprintable()
    assert len(shown) <= 256
    assert answer.headers["x-router-provider"].isascii()
    assert answer.headers["x-router-request-tags"].isascii()
    line = house.journal.line(answer.id)
    assert line["requested_model"] == line["sent_model"] == name
    assert (line["provider"], line["tags"]) == ("prové ☃, d'or", ["grün\r\nX-Evil: yes"])


_NASTY: dict[str, Any] = {}


@pytest.fixture(scope="module", autouse=True)
def _end_nasty_house() -> Iterator[None]:
    yield
    for thing in reversed(_NASTY.pop("open", [])):
        thing.__exit__(None, None, None)
