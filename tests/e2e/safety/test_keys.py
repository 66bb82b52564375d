"""Where a key is heard, and what is shown without one."""

from __future__ import annotations

import re
from urllib.parse import quote

import pytest

from tests.e2e.safety.house import KEY, PLACES, WITH_KEY, House, offered
from tests.fakes.bystander import (
    FORMATS,
    Listener,
    ask,
    chat,
    error_before,
)
from tests.fakes.models import CHAT_PATH

pytestmark = pytest.mark.e2e


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
