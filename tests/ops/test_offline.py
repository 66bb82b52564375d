"""Watching one's own sockets. Hooks cannot be taken out of a process, so each watch looks away at its
end; what runs here dials loopback and addresses of documentation only."""

import socket
import subprocess
import sys

import pytest

from llmrouterd.config import Config, Telemetry
from llmrouterd.model import Provider
from llmrouterd.ops.offline import Allowed, Due, Seen, Watch, barred, due

OUTSIDE = "203.0.113.7"


@pytest.mark.parametrize(
    ("host", "where"),
    [
        ("127.0.0.1", "this host"),
        ("::1", "this host"),
        ("localhost", "this host"),
        ("a.localhost.", "this host"),
        ("10.1.2.3", "this network"),
        ("fe80::1%eth0", "this network"),
        ("nas", "this network"),
        ("nas.local", "this network"),
        ("203.0.113.7", "outside"),
        ("100.64.0.1", "outside"),
        ("2001:db8::1", "outside"),
        ("api.example.com", "outside"),
    ],
)
def test_where_a_host_is(host: str, where: str) -> None:
    assert Allowed().judge(host) == where


def test_what_the_owner_calls_inside() -> None:
    allowed = Allowed(["gw.example.com", "203.0.113.0/24", "2001:db8::5"])
    for host in ("GW.example.com", "203.0.113.9", "2001:db8::5"):
        assert allowed.judge(host) == "allowed"
    for host in ("other.example.com", "203.0.114.1", "2001:db8::6"):
        assert allowed.judge(host) == "outside"
    for wrong in ("10.0.0.1/99", "", "bücher.example"):
        with pytest.raises(ValueError, match="no name, address or network"):
            Allowed([wrong])


def test_what_is_inside_goes_through_and_is_noted(tmp_path) -> None:
    watch = Watch(Allowed())
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket(socket.AF_UNIX) as unix:
        port = server.getsockname()[1]
        unix.bind(str(tmp_path / "s"))
        unix.listen()
        with watch.watching():
            socket.create_connection(("localhost", port), 5).close()
            with socket.socket(socket.AF_UNIX) as sock:
                sock.connect(str(tmp_path / "s"))
    assert Seen(f"127.0.0.1:{port}", "this host") in watch.seen
    assert Seen(f"unix:{tmp_path / 's'}", "this host") in watch.seen
    assert not any(each.refused for each in watch.seen)


def test_what_is_outside_is_refused_before_anything_leaves() -> None:
    watch = Watch(Allowed(), barred=frozenset({("127.0.0.1", 9)}))
    with watch.watching(), socket.socket() as tcp, socket.socket(type=socket.SOCK_DGRAM) as udp:
        with pytest.raises(OSError, match="refused by check --offline"):
            tcp.connect((OUTSIDE, 443))
        with pytest.raises(OSError, match="refused by check --offline"):
            tcp.connect_ex(("127.0.0.1", 9))
        with pytest.raises(OSError, match="refused by check --offline"):
            udp.sendto(b"x", (OUTSIDE, 53))
        for look_up in (lambda name: socket.getaddrinfo(name, 443), socket.gethostbyname):
            with pytest.raises(OSError, match="refused by check --offline"):
                look_up("api.example.com")
    assert watch.seen == (
        Seen(f"{OUTSIDE}:443", "outside"),
        Seen("127.0.0.1:9", "outside"),
        Seen(f"{OUTSIDE}:53", "outside"),
        Seen("the name api.example.com", "outside"),
    )


def test_another_program_is_not_seen_into_and_so_refused() -> None:
    watch = Watch(Allowed())
    with watch.watching(), pytest.raises(OSError, match="refused by check --offline"):
        subprocess.run([sys.executable, "--version"], check=True)
    assert [each.where for each in watch.seen] == ["unseen"]


def test_afterwards_it_looks_away() -> None:
    watch = Watch(Allowed())
    with watch.watching():
        pass
    with socket.socket(type=socket.SOCK_DGRAM) as udp, pytest.raises(OSError, match=r".") as why:
        udp.connect(("240.0.0.1", 9))
        raise OSError("let through")
    assert "check --offline" not in str(why.value)
    assert watch.seen == ()


# --- what the configuration says ------------------------------------------------------------------


def openai(name: str, url: str, **more) -> Provider:
    return Provider(name, "openai", url, **more)


def test_who_is_due_at_a_start_and_who_only_for_requests() -> None:
    config = Config(
        telemetry=Telemetry(enabled=True, endpoint="http://10.0.0.9:4318"),
        providers=(
            Provider("e", "echo"),
            openai("asked", "https://api.example.com/v1"),
            openai("listed", "https://b.example.com/v1", models=("m",)),
            openai("probed", "http://nas:1234/v1", models=("m",), probe_interval_s=30),
            openai("demand", "https://c.example.com/v1", on_demand=True),
            openai("sock", "unix:/run/x.sock:/v1"),
        ),
    )
    assert due(config, Allowed()) == (
        Due("api.example.com:443", "outside", "'asked': its models are asked for", True),
        Due("b.example.com:443", "outside", "'listed': only when a request goes there", False),
        Due("nas:1234", "this network", "'probed': it is probed", True),
        Due("c.example.com:443", "outside", "'demand': only when a request goes there", False),
        Due("unix:/run/x.sock", "this host", "'sock': its models are asked for", True),
        Due("10.0.0.9:4318", "this network", "telemetry is sent there", True),
    )


def test_a_proxy_next_door_leads_outside() -> None:
    proxied = openai("p", "https://api.example.com/v1", http_proxy="http://10.0.0.1:3128")
    config = Config(providers=(proxied,))
    (found,) = due(config, Allowed())
    assert found.target == "10.0.0.1:3128, the proxy for api.example.com:443"
    assert found.where == "outside"
    assert barred(config, Allowed()) == {("10.0.0.1", 3128)}
    inside = Allowed(["api.example.com"])
    assert due(config, inside)[0].where == "this network"
    assert barred(config, inside) == frozenset()
