"""Who may come in, what never goes out, and how the daemon starts, is watched and ends."""

from __future__ import annotations

import base64
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
    if "://" in path:
        return "openai"  # asked as a proxy
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
def test_beyond_loopback_nothing_starts_without_a_key(tmp_path: Path, host: str, way: str) -> None:
    file = tmp_path / "router.toml"
    file.write_text(f"[server]\nport = 0\n{f'host = {host!r}' if way == 'file' else ''}\n{ECHO}")
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
    [
        "localhost",
        "LocalHost:1",
        "localhost.",
        "127.0.0.1",
        "127.9.9.9:7",
        "[::1]:80",
        "router.lan",
        "ROUTER.LAN:8090",
    ],
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
    assert {"authorization", "content-type", "x-api-key"} <= set(re.split(r",\s*", allowed))
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
    assert line["requested_model"] == line["sent_model"] == name
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


# --- smuggling ------------------------------------------------------------------------------------

INNER = raw_chat("openai", model="openai")
SMUGGLING: dict[str, bytes] = {
    "length beside chunked": b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunked beside length": b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
    "two lengths": b"Content-Length: 0\r\nContent-Length: 5\r\n\r\n",
    "two equal lengths": b"Content-Length: 0\r\nContent-Length: 0\r\n\r\n",
    "a list of lengths": b"Content-Length: 0, 0\r\n\r\n",
    "a signed length": b"Content-Length: +0\r\n\r\n",
    "a negative length": b"Content-Length: -1\r\n\r\n",
    "a hexadecimal length": b"Content-Length: 0x0\r\n\r\n",
    "an underscored length": b"Content-Length: 1_0\r\n\r\n",
    "an empty length": b"Content-Length:\r\n\r\n",
    "two codings": b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n",
    "a list of codings": b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "an unknown coding": b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "chunked with a tail": b"Transfer-Encoding: chunked;a=b\r\n\r\n0\r\n\r\n",
    "a vertical tab": b"Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n",
    "a blank before the colon": b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
    "a folded line": b"X-A: b\r\n Transfer-Encoding: chunked\r\nContent-Length: 0\r\n\r\n",
    "a bare LF": b"X-A: b\nContent-Length: 0\r\n\r\n",
    "bare LFs only": b"Content-Length: 0\n\n",
    "a bare CR": b"X-A: b\rContent-Length: 5\r\n\r\n",
    "a NUL": b"X-A: b\0\r\nContent-Length: 0\r\n\r\n",
    "a name with a blank": b"X A: b\r\nContent-Length: 0\r\n\r\n",
    "a line without a colon": b"Content-Length\r\n\r\n",
    "no name": b": b\r\nContent-Length: 0\r\n\r\n",
    "two hosts": b"Host: other\r\nContent-Length: 0\r\n\r\n",
}


def all_of(daemon: RunningDaemon, data: bytes) -> bytes:
    """Everything that is answered to these bytes until the router closes."""
    with socket.create_connection(("127.0.0.1", daemon.port), timeout=PATIENCE_S) as sock:
        sock.sendall(data)
        return b"".join(iter(lambda: sock.recv(65536), b""))


@pytest.mark.parametrize("case", SMUGGLING)
def test_a_request_that_two_readers_could_read_differently_is_refused(
    house: House, case: str
) -> None:
    """And nothing that came behind it is ever looked at."""
    outer = b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\n" + SMUGGLING[case]
    answer = all_of(house.daemon, outer + INNER)
    assert answer.startswith((b"HTTP/1.1 400 ", b"HTTP/1.1 501 "))
    assert answer.count(b"HTTP/1.1 ") == 1
    assert b"connection: close" in answer.lower()
    assert b"x-router-error" in answer.lower()
    assert not house.upstream.received


CHUNKS: dict[str, bytes] = {
    "a size in the negative": b"-1\r\n\r\n",
    "a size that is too long": b"f" * 20 + b"\r\n",
    "a size with a prefix": b"0x5\r\nhello\r\n0\r\n\r\n",
    "a bare LF after the size": b"5\nhello\r\n0\r\n\r\n",
    "too much data": b"5\r\nhello, world\r\n0\r\n\r\n",
    "no line end after the data": b"5\r\nhello0\r\n\r\n",
    "an endless extension": b"5;" + b"a" * 100_000,
    "a framing field in the trailer": b"0\r\nContent-Length : 5\r\n\r\n",
}


@pytest.mark.parametrize("case", CHUNKS)
def test_chunks_that_two_readers_could_read_differently_are_refused(
    house: House, case: str
) -> None:
    head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
    answer = all_of(house.daemon, head + CHUNKS[case] + INNER)
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert answer.count(b"HTTP/1.1 ") == 1
    assert not house.upstream.received


LINES: dict[str, tuple[bytes, bytes]] = {
    "HTTP/2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"505"),
    "HTTP/0.9": (b"GET /v1/models\r\n\r\n", b"400"),
    "HTTP/1.2": (b"GET / HTTP/1.2\r\nHost: localhost\r\n\r\n", b"505"),
    "TLS": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(40) + b"\r\n\r\n", b"400"),
    "CONNECT": (b"CONNECT evil:443 HTTP/1.1\r\nHost: evil:443\r\n\r\n", b"501"),
    "TRACE": (b"TRACE / HTTP/1.1\r\nHost: localhost\r\n\r\n", b"501"),
    "another host": (b"GET http://evil/ HTTP/1.1\r\nHost: localhost\r\n\r\n", b"400"),
    "a blank too many": (b"GET  / HTTP/1.1\r\nHost: localhost\r\n\r\n", b"400"),
    "no host": (b"GET / HTTP/1.1\r\n\r\n", b"400"),
    "a long target": (b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n", b"414"),
    "a long head": (b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"a" * 70_000, b"431"),
    "chunked in HTTP/1.0": (
        b"POST /v1/chat/completions HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"400",
    ),
}


@pytest.mark.parametrize("case", LINES)
def test_what_is_not_a_request_of_ours_is_refused_by_its_status(house: House, case: str) -> None:
    data, status = LINES[case]
    answer = all_of(house.daemon, data)
    assert answer.startswith(b"HTTP/1.1 " + status + b" ")
    assert b'"error"' in answer
    assert not house.upstream.received


def test_pipelined_requests_are_answered_in_their_order(house: House) -> None:
    """The safe sort of a second request: it has its own answer."""
    last = b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    answer = all_of(house.daemon, INNER + raw_chat("ollama", model="nobody/has-it") + last)
    assert re.findall(rb"HTTP/1\.1 (\d+)", answer) == [b"200", b"400", b"200"]
    assert answer.endswith(b"ok")


# --- the event feed and the log ---------------------------------------------------------------------


def strict(event: Any) -> str:
    """Reads an event as the original's own parsers do; what they do not take is an error here."""
    kind = event["type"]
    assert type(event["id"]) is int
    assert type(event["ts_ms"]) is int
    if kind == "start":
        assert type(event["model"]) is str
        assert type(event["in_flight"]) is int
    elif kind == "classified":
        _texts(event["tags"])
    elif kind == "routed":
        assert type(event["provider"]) is str
        assert type(event["model"]) is str
    elif kind == "complete":
        _strict_complete(event)
    else:
        raise AssertionError(f"an event that the original does not know: {kind}")
    return str(kind)


def _texts(value: Any) -> None:
    assert type(value) is list
    assert all(type(item) is str for item in value)


def _strict_complete(event: Any) -> None:
    for name in ("provider", "requested_model", "sent_model"):
        assert type(event[name]) is str
    assert type(event["duration_ms"]) is int
    _texts(event["tags"])
    _texts(event["plugins"])
    for name in ("trace_id", "system", "error"):
        assert event[name] is None or type(event[name]) is str
    assert type(event["messages"]) is list
    for message in event["messages"]:
        assert message["role"] in ("user", "assistant")
        assert type(message["content"]) is list
        for part in message["content"]:
            _strict_part(part)
    if event["response"] is not None:
        _strict_response(event["response"])


def _strict_part(part: Any) -> None:
    names = {
        "text": ("text",),
        "image": ("media_type", "data"),
        "tool_use": ("id", "name"),
        "tool_result": ("tool_use_id", "content"),
    }[part["type"]]
    assert all(type(part[name]) is str for name in names)
    assert part["type"] != "tool_use" or type(part["input"]) is dict


def _strict_response(response: Any) -> None:
    assert all(type(response[name]) is str for name in ("id", "model", "content"))
    assert response["stop_reason"] in ("end_turn", "max_tokens", "tool_use", "other")
    assert type(response["usage"]["input_tokens"]) is int
    assert type(response["usage"]["output_tokens"]) is int
    _texts(response["tags"])
    if "tool_calls" in response:
        assert response["tool_calls"]
        for call in response["tool_calls"]:
            assert type(call["id"]) is str
            assert type(call["name"]) is str
            assert type(call["input"]) is dict


def events_of(body: bytes) -> list[tuple[int, Any]]:
    """(id, object) of every event; anything but events and comments is an error."""
    found = []
    for block in body.decode().split("\n\n")[:-1]:
        if block.startswith(":"):
            continue
        first, second = block.split("\n")
        assert first.startswith("id: ")
        assert second.startswith("data: ")
        found.append((int(first[4:]), json.loads(second[6:])))
    return found


def heard_through(reader: Listener, words: str) -> list[tuple[int, Any]]:
    """All events up to the end of the one that holds these words."""
    reader.until(words.encode())
    while not reader.body.endswith(b"\n\n"):
        data = reader.response.read1(65536)
        assert data
        reader.body += data
    return events_of(reader.body)


def watch(daemon: RunningDaemon, *fields: str) -> Listener:
    lines = ["GET /dashboard/events HTTP/1.1", "Host: localhost", *fields]
    listener = Listener(daemon, ("\r\n".join(lines) + "\r\n\r\n").encode())
    listener.until(b"\n\n")
    return listener


PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="


def varied(client: str) -> list[dict[str, Any]]:
    """Requests with all that a record may have to show."""
    user = {"role": "user", "content": "hello\nline two \u2028 \U0001f999"}
    if client == "anthropic":
        image = {
            "type": "image",
            "source": {"type": "base64", "media_type": "image/png", "data": PIXEL},
        }
        use = {"type": "tool_use", "id": "t1", "name": "look", "input": {"at": [1]}}
        told = {
            "type": "tool_result",
            "tool_use_id": "t1",
            "content": [{"type": "text", "text": "a"}],
        }
        history = [
            {"role": "user", "content": [{"type": "text", "text": "see"}, image]},
            {"role": "assistant", "content": [{"type": "text", "text": "so"}, use]},
            {"role": "user", "content": [told]},
        ]
        extra: dict[str, Any] = {"system": [{"type": "text", "text": "be brief"}]}
    elif client == "openai":
        url = f"data:image/png;base64,{PIXEL}"
        image = {"type": "image_url", "image_url": {"url": url}}
        call = {"id": "t1", "type": "function", "function": {"name": "look", "arguments": "{bad"}}
        history = [
            {"role": "system", "content": "be brief"},
            {"role": "user", "content": [{"type": "text", "text": "see"}, image]},
            {"role": "assistant", "content": None, "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "t1", "content": "a"},
        ]
        extra = {}
    else:
        call = {"function": {"name": "look", "arguments": {"at": [1]}}}
        history = [
            {"role": "system", "content": "be brief"},
            {"role": "user", "content": "see", "images": [PIXEL]},
            {"role": "assistant", "content": "", "tool_calls": [call]},
            {"role": "tool", "tool_name": "look", "content": "a"},
        ]
        extra = {}
    return [
        chat(client, client, messages=[user]),
        chat(client, client, stream=True, messages=[user]),
        chat(client, client, messages=history, **extra),
        chat(client, client, stream=True, messages=history, **extra),
    ]


def calls_a_tool(turn: Turn) -> None:
    turn.keep = False
    fmt = format_asked(turn.received)
    said = Said("so", thinking="hm", calls=(("t9", "look", {"at": {"x": 1}}),), cut=False)
    if wants_stream(fmt, turn.received):
        turn.stream(pieces(fmt, said, turn.received.json), CLOSE, kind=STREAM_TYPE[fmt])
    else:
        turn.whole(whole(fmt, said), 200, CLOSE)


def fails(turn: Turn) -> None:
    turn.keep = False
    turn.whole({"error": {"message": "no", "type": "x"}}, 500, CLOSE)


@pytest.mark.parametrize("client", FORMATS)
def test_the_feed_and_the_log_can_be_read_by_the_originals_readers(
    house: House, client: str
) -> None:
    lines = house.journal.count()
    asked: list[tuple[str, list[str]]] = []
    with watch(house.daemon) as reader:
        for script in (answers_well, calls_a_tool, fails):
            house.upstream.script = script
            for body in varied(client):
                answer = ask(house.daemon, CHAT_PATH[client], body)
                assert (answer.status == 200) == (script is not fails), answer.body
                asked.append((answer.id, ["start", "classified", "routed", "complete"]))
        refused = ask(house.daemon, CHAT_PATH[client], b"{")
        nobody = ask(house.daemon, CHAT_PATH[client], chat(client, "nobody/has-it"))
        asked += [(refused.id, ["complete"]), (nobody.id, ["start", "classified", "complete"])]
        events = heard_through(reader, nobody.id)
    numbers = [number for number, _ in events]
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
    for _, event in events:
        strict(event)
    completes = [event for _, event in events if event["type"] == "complete"]
    for request_id, kinds in asked:
        (ended,) = [event for event in completes if event["request_id"] == request_id]
        mine = [event["type"] for _, event in events if event["id"] == ended["id"]]
        assert mine == [kind for kind in kinds if kind in mine]
        assert {"start", "routed", "complete"} & set(kinds) <= set(mine)
    for line in house.journal.after(lines, len(asked)):
        assert strict(line) == "complete"
        assert line == next(e for e in completes if e["request_id"] == line["request_id"])
    parts = {p["type"] for e in completes for m in e["messages"] for p in m["content"]}
    assert parts == {"text", "image", "tool_use", "tool_result"}
    assert any(e["response"] and "tool_calls" in e["response"] for e in completes)
    assert any(e["error"] for e in completes)
    assert {e["system"] for e in completes} == {None, "be brief"}


def test_a_reader_that_comes_back_gets_what_it_missed(house: House) -> None:
    with watch(house.daemon) as reader:
        first = house.ask("openai", {})
        seen = heard_through(reader, first.id)
    missed = [house.ask(client, {}) for client in FORMATS]
    with watch(house.daemon, f"Last-Event-ID: {seen[-1][0]}") as reader:
        again = heard_through(reader, missed[-1].id)
    assert again[0][0] == seen[-1][0] + 1
    assert [e["request_id"] for _, e in again if e["type"] == "complete"] == [a.id for a in missed]
    assert [number for number, _ in again] == [again[0][0] + n for n in range(len(again))]
    with watch(house.daemon) as reader:  # who was never there begins now
        last = house.ask("openai", {})
        heard_through(reader, last.id)
        assert all(a.id.encode() not in reader.body for a in missed)


@pytest.mark.parametrize("last", ["", "x", "-1", "1e3", "9" * 30, "٣"])
def test_a_last_event_id_that_is_none_starts_now(house: House, last: str) -> None:
    request = f"GET /dashboard/events HTTP/1.1\r\nHost: localhost\r\nLast-Event-ID: {last}\r\n\r\n"
    with Listener(house.daemon, request.encode()) as reader:
        reader.until(b"\n\n")
        answer = house.ask("openai", {})
        events = heard_through(reader, answer.id)
        assert [e["type"] for _, e in events].count("complete") == 1


def test_without_a_dashboard_there_is_none(tmp_path: Path) -> None:
    with RunningDaemon(f"[server]\nport = 0\ndashboard = false\n{ECHO}", tmp_path) as daemon:
        assert ask(daemon, "/dashboard").status == 404
        assert ask(daemon, "/dashboard/events").status == 404
        assert ask(daemon, CHAT_PATH["openai"], chat("openai", "echo")).status == 200


def test_many_requests_at_once_are_each_one_whole_line(tmp_path: Path) -> None:
    text = f'[server]\nport = 0\n[logging]\nenabled = true\npath = "log.jsonl"\n{ECHO}'
    with RunningDaemon(text, tmp_path) as daemon:
        ids: list[str] = []

        def many(client: str) -> None:
            for number in range(40):
                body = chat(client, "echo", stream=bool(number % 2))
                body["messages"][0]["content"] = "line\n" * number + "\u2028\r\n\0"
                ids.append(ask(daemon, CHAT_PATH[client], body).id)

        threads = [threading.Thread(target=many, args=(fmt,)) for fmt in FORMATS for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    # written to the last one when the daemon has ended
    data = (tmp_path / "log.jsonl").read_bytes()
    lines = [json.loads(line) for line in data.removesuffix(b"\n").split(b"\n")]
    assert sorted(line["request_id"] for line in lines) == sorted(ids)
    assert len(lines) == 240
    assert {strict(line) for line in lines} == {"complete"}
    assert (tmp_path / "log.jsonl").stat().st_mode & 0o777 == 0o600


# --- ending ---------------------------------------------------------------------------------------


def refuses(port: int) -> bool:
    """Wait until nobody listens there any more."""
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S).close()
        except OSError:
            return True
        time.sleep(0.01)
    return False


class Paused:
    """A stream that says its first words, and the rest when it is told to."""

    def __init__(self) -> None:
        self.go_on = threading.Event()
        self.let_go = threading.Event()

    def __call__(self, turn: Turn) -> None:
        turn.keep = False
        fmt = format_asked(turn.received)
        parts = list(pieces(fmt, Said("hello there, friend"), turn.received.json))
        cut = next(n for n, part in enumerate(parts) if b"hello" in part) + 1
        turn.begin(CLOSE, kind=STREAM_TYPE[fmt])
        turn.chunk(b"".join(parts[:cut]))
        while not self.go_on.wait(0.05):
            if turn.wait_closed(0.05):
                self.let_go.set()
                return
        turn.chunk(b"".join(parts[cut:]))
        turn.end()


def log_config(url: str, server: str = "") -> str:
    head = f'[server]\nport = 0\n{server}\n[logging]\nenabled = true\npath = "log.jsonl"\n'
    return head + providers(url)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_lets_what_runs_finish_and_refuses_what_is_new(
    tmp_path: Path, number: signal.Signals
) -> None:
    script = Paused()
    with FakeUpstream(script) as upstream:
        with RunningDaemon(log_config(upstream.url), tmp_path) as daemon:
            listeners = []
            for client in FORMATS:
                body = json.dumps(chat(client, client, stream=True)).encode()
                listeners.append(Listener(daemon, raw_post(CHAT_PATH[client], body)))
                listeners[-1].until(b"hello")
            idle = Listener(daemon, b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
            idle.until(b"ok")
            with watch(daemon) as reader, idle:
                daemon.process.send_signal(number)
                assert refuses(daemon.port)
                assert idle.sock.recv(1) == b""  # an idle connection has nothing to finish
                assert reader.rest().whole  # nor has a reader of the feed
            script.go_on.set()
            for client, listener in zip(FORMATS, listeners, strict=True):
                with listener:
                    answer = listener.rest()
                assert answer.whole
                assert b"friend" in answer.body or b"nd" in answer.body
                assert daemon.process.wait(PATIENCE_S) == 0 or client
        lines = Journal(tmp_path / "log.jsonl").lines()
    assert [line["end"] for line in lines] == ["complete"] * 3


def test_two_signals_end_everything_at_once(tmp_path: Path) -> None:
    script = Paused()
    with FakeUpstream(script) as upstream:
        text = log_config(upstream.url, "drain_timeout = 600")
        with RunningDaemon(text, tmp_path) as daemon:
            body = json.dumps(chat("openai", "openai", stream=True)).encode()
            with Listener(daemon, raw_post(CHAT_PATH["openai"], body)) as listener:
                listener.until(b"hello")
                daemon.process.send_signal(signal.SIGINT)
                assert refuses(daemon.port)
                daemon.process.send_signal(signal.SIGINT)
                assert daemon.process.wait(PATIENCE_S) == 0
                answer = listener.rest()
                assert not answer.whole or error_within("openai", answer)
            assert script.let_go.wait(PATIENCE_S)
        (line,) = Journal(tmp_path / "log.jsonl").lines()
    assert line["end"] != "complete"
    assert line["fault"] == "router"
    assert line["error_kind"] == "draining"


def test_the_drain_does_not_wait_longer_than_it_may(tmp_path: Path) -> None:
    script = Paused()
    with FakeUpstream(script) as upstream:
        with RunningDaemon(log_config(upstream.url, "drain_timeout = 0.3"), tmp_path) as daemon:
            for client in FORMATS:
                body = json.dumps(chat(client, client, stream=True)).encode()
                listener = Listener(daemon, raw_post(CHAT_PATH[client], body))
                listener.until(b"hello")
                with listener:
                    if client == FORMATS[-1]:
                        daemon.process.send_signal(signal.SIGTERM)
                        assert daemon.process.wait(PATIENCE_S) == 0
        assert upstream.settled(0)
