"""Who may come in: keys in every place, Host names, browser origins."""

import hmac
from dataclasses import replace

import pytest

from llmrouterd.config import Config, KeyHolder, Server
from llmrouterd.edge.incoming import Incoming, WholeBody
from llmrouterd.model import ANYBODY, Caller, Headers, Secret
from llmrouterd.ops import access

KEYED = Config(server=Server(api_key=Secret("s3cret")))
OPEN = Config()
HERE = Server()
ANN = Caller("ann", models=("small*",), admin=False)
NAMED = Config(server=KEYED.server, clients=(KeyHolder(Secret("anns"), ANN),))


def asking(target: str = "/", *headers: tuple[str, str], method: str = "GET") -> Incoming:
    raw = [(name.encode(), value.encode("latin-1")) for name, value in headers]
    return Incoming(method, target, Headers(raw), WholeBody())


# --- keys -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("target", "header"),
    [
        ("/", ("x-router-key", "s3cret")),
        ("/", ("x-api-key", "s3cret")),
        ("/", ("api-key", "s3cret")),
        ("/", ("authorization", "Bearer s3cret")),
        ("/", ("authorization", "bearer   s3cret")),
        ("/", ("authorization", "s3cret")),
        ("/?api_key=s3cret", ("x", "y")),
        ("/?a=b&api_key=s3cret", ("x", "y")),
    ],
)
def test_a_key_is_found_in_every_place_where_one_may_stand(target: str, header: tuple) -> None:
    assert access.check_key(KEYED, asking(target, header)) is None


@pytest.mark.parametrize(
    "headers",
    [
        (),
        (("authorization", "Bearer "),),
        (("authorization", "Bearer s3cre"),),
        (("authorization", "Bearer s3cretx"),),
        (("authorization", "Basic s3cret"),),
        (("x-api-key", "S3CRET"),),
        (("x-api-key", ""),),
        (("x-api-key", "\xff\xfe"),),
        (("cookie", "llmrouter_key=s3cret"),),
    ],
)
def test_anything_else_is_turned_away(headers: tuple) -> None:
    failure = access.check_key(KEYED, asking("/", *headers))
    assert failure is not None
    assert (failure.kind, failure.message) == ("unauthorized", "missing or invalid API key")


def test_one_right_key_among_wrong_ones_is_enough() -> None:
    """X-Router-Key is ours, so that Authorization may carry the client's own credential on."""
    wrong = ("authorization", "Bearer sk-of-the-client")
    assert access.check_key(KEYED, asking("/", wrong, ("x-router-key", "s3cret"))) is None
    assert access.check_key(KEYED, asking("/", ("x-router-key", "s3cret"), wrong)) is None


def test_without_a_key_in_the_configuration_everybody_comes_in() -> None:
    assert access.check_key(OPEN, asking()) is None


def test_every_offered_key_is_compared_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    compared = []
    real = hmac.compare_digest

    def recorded(a: bytes, b: bytes) -> bool:
        compared.append(b)
        return real(a, b)

    monkeypatch.setattr(hmac, "compare_digest", recorded)
    keys = [("x-router-key", "s3cret"), ("x-api-key", "other"), ("authorization", "Bearer third")]
    assert access.check_key(KEYED, asking("/?api_key=fourth", *keys)) is None
    assert compared == [b"s3cret", b"other", b"third", b"fourth"]


@pytest.mark.parametrize(
    "cookies",
    [
        ("llmrouter_key=s3cret",),
        ("a=b; llmrouter_key=s3cret; c=d",),
        ('jupyter={"x": [1, 2]}; llmrouter_key=s3cret',),
        ("odd name; =; @=; llmrouter_key=s3cret",),
        ("llmrouter_key=old; llmrouter_key=s3cret",),
        ("a=b", "llmrouter_key=s3cret"),
    ],
)
def test_the_dashboards_cookie_is_found_beside_whatever_other_programs_set(cookies: tuple) -> None:
    """Cookies of one host name are shared by all of its ports."""
    incoming = asking("/dashboard", *(("cookie", text) for text in cookies))
    assert access.check_key(KEYED, incoming, cookie=True) is None
    assert access.check_key(KEYED, incoming) is not None


def test_a_cookie_is_no_key_when_it_is_wrong() -> None:
    for text in ("llmrouter_key=", "llmrouter_key", "xllmrouter_key=s3cret", "llmrouter_key=s"):
        incoming = asking("/dashboard", ("cookie", text))
        assert access.check_key(KEYED, incoming, cookie=True) is not None, text


def test_a_client_is_known_by_its_own_key():
    incoming = asking("/", ("x-api-key", "anns"))
    assert access.check_key(NAMED, incoming) is None
    assert incoming.caller == ANN


def test_whoever_has_the_shared_key_may_do_everything():
    incoming = asking("/", ("x-api-key", "s3cret"))
    assert access.check_key(NAMED, incoming) is None
    assert incoming.caller == ANYBODY
    assert access.check_key(OPEN, asking()) is None
    assert asking().caller == ANYBODY


def test_clients_of_their_own_are_a_lock_even_without_a_shared_key():
    only_clients = replace(NAMED, server=Server())
    assert access.check_key(only_clients, asking()) is not None
    assert access.check_key(only_clients, asking("/", ("x-api-key", "anns"))) is None


def test_a_key_of_the_router_beside_another_one_is_found():
    incoming = asking("/", ("x-router-key", "anns"), ("authorization", "Bearer sk-elsewhere"))
    assert access.check_key(NAMED, incoming) is None
    assert incoming.caller == ANN


@pytest.mark.parametrize("path", ["/dashboard", "/dashboard/events", "/metrics"])
def test_everybodys_requests_are_for_admins_only(path):
    incoming = asking(path, ("x-api-key", "anns"))
    access.check_key(NAMED, incoming)
    failure = access.check_rights(incoming, path)
    assert failure is not None
    assert (failure.kind, "'ann'" in failure.message) == ("forbidden", True)
    assert access.check_rights(incoming, "/v1/models") is None
    assert access.check_rights(asking(path), path) is None


# --- Host -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "LOCALHOST:8090",
        "localhost.",
        "localhost.:8090",
        "127.0.0.1",
        "127.0.0.1:8090",
        "127.0.0.2:1",
        "[::1]",
        "[::1]:8090",
        "::1",
        " 127.0.0.1:8090 ",
    ],
)
def test_every_spelling_of_this_machine_is_a_host(host: str) -> None:
    assert access.check_host(HERE, asking("/", ("host", host))) is None


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:8090",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "evil.example.",
        "192.168.1.5",
        "[fe80::1]:8090",
        "[::1].evil.example",
        "",
        ":8090",
        "0.0.0.0",
        "2130706433",
        "localhost@evil.example",
    ],
)
def test_a_foreign_host_is_refused_on_loopback(host: str) -> None:
    for listening in ("127.0.0.1", "localhost", "::1"):
        failure = access.check_host(Server(hosts=(listening,)), asking("/", ("host", host)))
        assert failure is not None
        assert failure.kind == "forbidden"
        assert "trusted_hosts" in failure.message


def test_a_host_that_the_owner_trusts_is_accepted_in_every_spelling() -> None:
    server = Server(trusted_hosts=("Router.Example", "dotted.example."))
    for host in ("router.example", "ROUTER.example:443", "router.example.", "dotted.example:1"):
        assert access.check_host(server, asking("/", ("host", host))) is None, host
    assert access.check_host(server, asking("/", ("host", "x.router.example"))) is not None


def test_beyond_loopback_and_without_a_host_field_nothing_is_checked() -> None:
    beyond = Server(hosts=("0.0.0.0",), allow_unauthenticated=True)
    assert access.check_host(beyond, asking("/", ("host", "any.example"))) is None
    assert access.check_host(HERE, asking()) is None


LETS_IN = Server(hosts=("0.0.0.0",), allow_unauthenticated=True)


@pytest.mark.parametrize("host", ["evil.example:8090", "evil.example", "10.0.0.5.evil.example", ""])
@pytest.mark.parametrize(
    ("path", "fields"),
    [
        ("/dashboard/events", ()),
        ("/v1/chat/completions", (("origin", "http://evil.example:8090"),)),
    ],
)
def test_a_page_cannot_pass_its_own_name_off_as_an_open_servers(
    host: str, path: str, fields: tuple
) -> None:
    """Its name server says that the name is this machine: then the page is of the same origin."""
    failure = access.check_host(LETS_IN, asking(path, ("host", host), *fields))
    assert failure is not None
    assert "trusted_hosts" in failure.message


@pytest.mark.parametrize(
    "host",
    ["10.0.0.5:8090", "[fd00::1]:8090", "nas:8090", "nas.local", "router.lan:8090", "localhost"],
)
def test_an_open_servers_own_names_are_shown_the_dashboard(host: str) -> None:
    server = Server(hosts=("0.0.0.0",), allow_unauthenticated=True, trusted_hosts=("router.lan",))
    assert access.check_host(server, asking("/dashboard", ("host", host))) is None


def test_where_a_key_is_asked_for_any_name_will_do() -> None:
    keyed = Server(hosts=("0.0.0.0",), api_key=Secret("k"), allow_unauthenticated=True)
    assert access.check_host(keyed, asking("/dashboard", ("host", "any.example"))) is None


def test_a_long_host_is_not_told_back_whole() -> None:
    failure = access.check_host(HERE, asking("/", ("host", "x" * 5000)))
    assert failure is not None
    assert len(failure.message) < 250


# --- origins --------------------------------------------------------------------------------------

APP = ("origin", "https://app.example")
LISTED = Server(cors_origins=("https://App.example",))


def test_a_page_of_another_origin_is_refused_unless_it_is_listed() -> None:
    host = ("host", "127.0.0.1:8090")
    assert access.check_origin(HERE, asking("/", host)) is None
    failure = access.check_origin(HERE, asking("/", host, APP))
    assert failure is not None
    assert failure.kind == "forbidden"
    assert access.check_origin(LISTED, asking("/", host, APP)) is None
    assert access.check_origin(Server(cors_origins=("*",)), asking("/", host, APP)) is None
    for origin in ("null", "https://app.example.evil", "http://app.example", "https://x:8090"):
        assert access.check_origin(LISTED, asking("/", host, ("origin", origin))) is not None


def test_our_own_page_may_call_us() -> None:
    own = asking("/", ("host", "LocalHost:8090"), ("origin", "http://localhost:8090"))
    other_port = asking("/", ("host", "localhost:8090"), ("origin", "http://localhost:3000"))
    assert access.check_origin(HERE, own) is None
    assert access.check_origin(HERE, other_port) is not None


def test_no_cors_field_is_sent_to_who_is_not_listed() -> None:
    assert access.cors(HERE, asking("/", APP)) == []
    assert access.cors(LISTED, asking("/")) == []
    assert ("access-control-allow-origin", "https://app.example") in access.cors(
        LISTED, asking("/", APP)
    )
    assert ("vary", "origin") in access.cors(LISTED, asking("/", APP))


def test_a_pre_flight_of_a_listed_page_is_told_what_it_may() -> None:
    wants = ("access-control-request-method", "POST")
    fields = access.preflight(LISTED, asking("/", APP, wants, method="OPTIONS"))
    assert fields is not None
    told = dict(fields)
    assert "POST" in told["access-control-allow-methods"]
    assert "authorization" in told["access-control-allow-headers"]
    assert access.preflight(HERE, asking("/", APP, wants, method="OPTIONS")) == []
    assert access.preflight(LISTED, asking("/", APP, method="OPTIONS")) is None
    assert access.preflight(LISTED, asking("/", APP, wants)) is None


def test_a_listed_page_may_send_the_fields_it_asks_for() -> None:
    """The OpenAI SDK in a browser sends a dozen x-stainless-* fields."""
    asked = "authorization,content-type,x-stainless-os,x-stainless-retry-count"
    incoming = asking(
        "/",
        APP,
        ("access-control-request-method", "POST"),
        ("access-control-request-headers", asked),
        method="OPTIONS",
    )
    assert dict(access.preflight(LISTED, incoming) or [])["access-control-allow-headers"] == asked
