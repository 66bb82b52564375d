"""Pages of other origins, and names that are not ours, get nothing."""

from __future__ import annotations

import re

import pytest

from tests.e2e.safety.house import House
from tests.fakes.bystander import (
    FORMATS,
    Answered,
    ask,
    error_before,
)
from tests.fakes.models import CHAT_PATH

pytestmark = pytest.mark.e2e


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
