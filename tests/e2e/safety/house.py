"""The daemon as people have it, and with a secret at every place where an owner may have one."""

from __future__ import annotations

import base64
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from tests.fakes.bystander import (
    FORMATS,
    Answered,
    Journal,
    Listener,
    ask,
    chat,
)
from tests.fakes.daemon import ROOT, RunningDaemon
from tests.fakes.models import CHAT_PATH, STREAM_TYPE, Said, pieces, wants_stream, whole
from tests.fakes.upstream import FakeUpstream, Received, Turn

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
        f'[[providers]]\nname = "{fmt}"\nformat = "{fmt}"\nbase_url = "{url}"\ncircuit_failures = 0\n'
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


ECHO = '[[providers]]\nname = "echo"\nformat = "echo"\n'


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
circuit_failures = 0
[[providers]]
name = "anthropic"
format = "anthropic"
base_url = "http://127.0.0.1:{port}"
api_key_env = "ANTHROPIC_KEY"
models = ["anthropic"]
max_retries = 0
circuit_failures = 0
[[providers]]
name = "ollama"
format = "ollama"
base_url = "http://{USERINFO}@127.0.0.1:{port}"
headers = {{ "X-Access-Token" = "{HEADER_SECRET}" }}
models = ["ollama"]
max_retries = 0
circuit_failures = 0
[[providers]]
name = "nobody"
format = "openai"
base_url = "http://{USERINFO}@127.0.0.1:9/v1"
headers = {{ "X-Access-Token" = "{HEADER_SECRET}" }}
models = ["nobody"]
max_retries = 0
circuit_failures = 0
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
circuit_failures = 0
''' + "".join(
        f'[[routers]]\ntype = "model"\nmatch = "{name}"\nprovider = "{name}"\n'
        for name in (*FORMATS, "nobody", "proxied")
    )


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


def watch(daemon: RunningDaemon, *fields: str) -> Listener:
    lines = ["GET /dashboard/events HTTP/1.1", "Host: localhost", *fields]
    listener = Listener(daemon, ("\r\n".join(lines) + "\r\n\r\n").encode())
    listener.until(b"\n\n")
    return listener
