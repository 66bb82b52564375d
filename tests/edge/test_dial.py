import base64
import errno
import socket
import ssl
from datetime import UTC, datetime

import pytest
import trio
import trio.testing
import trustme

from llmrouterd.edge import dial as dial_module
from llmrouterd.edge.dial import (
    DialError,
    Origin,
    TLSContexts,
    bracketed,
    dial,
    proxy_authorization,
)
from llmrouterd.guard.egress import Label
from tests.edge.peers import scripted


async def dialled(origin: Origin, label: Label | None = None):
    return await dial(origin, contexts=TLSContexts(), label=label)


async def failure(origin: Origin, label: Label | None = None) -> DialError:
    with pytest.raises(DialError) as caught:
        await dialled(origin, label)
    return caught.value


async def say(peer) -> None:
    await peer.send(b"hello")
    await peer.all()


class Resolver(trio.abc.HostnameResolver):
    """Names to addresses, by hand."""

    def __init__(self, *addresses: str) -> None:
        self.addresses = addresses
        self.asked = 0

    async def getaddrinfo(self, host, port, family=0, type=0, proto=0, flags=0):  # noqa: A002
        self.asked += 1
        if not self.addresses:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [
            (
                socket.AF_INET6 if ":" in address else socket.AF_INET,
                socket.SOCK_STREAM,
                6,
                "",
                (address, port, 0, 0) if ":" in address else (address, port),
            )
            for address in self.addresses
        ]

    async def getnameinfo(self, sockaddr, flags):
        raise NotImplementedError


async def test_a_plain_connection_and_its_receipt() -> None:
    async with scripted(say) as port:
        wire, receipt = await dialled(Origin("http", "127.0.0.1", port))
        assert await wire.receive() == b"hello"
        assert receipt.address == f"127.0.0.1:{port}"
        assert not receipt.left_host
        assert wire.sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        wire.close()


async def test_nothing_listens() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        exc = await failure(Origin("http", "127.0.0.1", port))
    assert exc.kind == "refused"
    assert f"127.0.0.1:{port}" in str(exc)


async def test_no_such_name() -> None:
    trio.socket.set_custom_hostname_resolver(Resolver())
    exc = await failure(Origin("http", "no.such.name", 80))
    assert exc.kind == "dns"
    assert "no.such.name:80" in str(exc)
    assert (await failure(Origin("http", "a" * 70 + ".b", 80))).kind == "dns"


async def test_a_label_keeps_the_bytes_here_whatever_the_name_says() -> None:
    """The address counts, each one: a name that resolves to both is dialled only where it may."""
    resolver = Resolver("8.8.8.8", "2001:db8::1")
    trio.socket.set_custom_hostname_resolver(resolver)
    exc = await failure(Origin("http", "localhost.example.com", 80), Label(local_only=True))
    assert exc.kind == "denied"
    assert resolver.asked == 1
    async with scripted(say) as port:
        trio.socket.set_custom_hostname_resolver(Resolver("8.8.8.8", "127.0.0.1"))
        wire, receipt = await dialled(Origin("http", "both", port), Label(local_only=True))
        assert receipt.address == f"127.0.0.1:{port}"
        wire.close()


async def test_the_next_address_is_tried(monkeypatch) -> None:
    trio.socket.set_custom_hostname_resolver(Resolver("127.0.0.2", "127.0.0.1"))
    async with scripted(say) as port:
        wire, receipt = await dialled(Origin("http", "two", port))
        assert receipt.address == f"127.0.0.1:{port}"
        wire.close()


async def race(monkeypatch, fates: dict[str, float | int]) -> tuple[str, list[str], list]:
    """Run the race with made-up connects: a float connects after so long, an int is an errno."""
    started, made = [], []

    async def connected(family, kind, proto, address):
        started.append(address[0])
        fate = fates[address[0]]
        if isinstance(fate, int):
            raise OSError(fate, "no")
        await trio.sleep(fate)
        made.append(socket.socket())
        return made[-1]

    monkeypatch.setattr(dial_module, "_connected", connected)
    trio.socket.set_custom_hostname_resolver(Resolver(*fates))
    try:
        wire, receipt = await dialled(Origin("http", "h", 80))
        wire.close()
        return receipt.address, started, made
    finally:
        assert all(sock.fileno() == -1 for sock in made)


async def test_a_dead_ipv6_costs_one_head_start(monkeypatch, autojump_clock) -> None:
    fates = {"2001:db8::1": 100.0, "2001:db8::2": 100.0, "192.0.2.1": 0.1}
    start = trio.current_time()
    address, started, _ = await race(monkeypatch, fates)
    assert address == "192.0.2.1:80"
    assert trio.current_time() - start == pytest.approx(0.35)
    assert started == ["2001:db8::1", "192.0.2.1"]  # the families take turns


async def test_a_failed_attempt_starts_the_next_at_once(monkeypatch, autojump_clock) -> None:
    start = trio.current_time()
    fates = {"192.0.2.1": errno.ECONNREFUSED, "192.0.2.2": 0.0}
    assert (await race(monkeypatch, fates))[0] == "192.0.2.2:80"
    assert trio.current_time() - start < 0.1


async def test_two_that_connect_together_leave_one(monkeypatch, autojump_clock) -> None:
    address, _, made = await race(monkeypatch, {"192.0.2.1": 0.3, "192.0.2.2": 0.05})
    assert address in ("192.0.2.1:80", "192.0.2.2:80")
    assert made


async def test_all_fail(monkeypatch, autojump_clock) -> None:
    with pytest.raises(DialError) as caught:
        await race(monkeypatch, {"192.0.2.1": errno.ENETUNREACH, "192.0.2.2": errno.EHOSTUNREACH})
    assert caught.value.kind == "unreachable"
    assert "ENETUNREACH" in str(caught.value)


async def test_cancelled_while_connecting_nothing_stays_open(monkeypatch, autojump_clock) -> None:
    with trio.move_on_after(1) as scope:
        await race(monkeypatch, {"192.0.2.1": 100.0, "192.0.2.2": 100.0})
    assert scope.cancelled_caught


# --- TLS ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def ca_file(authority, tmp_path) -> str:
    path = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(path))
    return str(path)


def tls_script(authority: trustme.CA, name: str, seen: dict, **dates: datetime):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name, **dates).configure_cert(context)
    context.set_alpn_protocols(["h2", "http/1.1"])
    context.sni_callback = lambda obj, sni, ctx: seen.update(sni=sni)

    async def script(peer) -> None:
        stream = trio.SSLStream(peer.stream, context, server_side=True, https_compatible=True)
        await stream.do_handshake()
        seen["alpn"] = stream.selected_alpn_protocol()
        await stream.send_all(b"hello")
        await stream.receive_some(10)

    return script


async def test_tls_with_sni_alpn_and_a_ca_file(authority, ca_file) -> None:
    seen: dict = {}
    async with scripted(tls_script(authority, "localhost", seen)) as port:
        origin = Origin("https", "localhost", port, ca_file=ca_file)
        wire, _ = await dialled(origin)
        assert await wire.receive() == b"hello"
        assert not wire.readable()
        wire.close()
    assert seen == {"sni": "localhost", "alpn": "http/1.1"}


async def test_a_certificate_for_another_name_is_refused(authority, ca_file) -> None:
    async with scripted(tls_script(authority, "other.example", {})) as port:
        exc = await failure(Origin("https", "localhost", port, ca_file=ca_file))
    assert exc.kind == "tls"
    assert str(exc) == (
        f"TLS with localhost:{port} failed: hostname mismatch, certificate is not valid for "
        "'localhost' (base_url must use a name that the certificate holds)"
    )


async def test_a_certificate_nobody_vouches_for_is_refused(authority, tmp_path) -> None:
    other = tmp_path / "other.pem"
    trustme.CA().cert_pem.write_to_path(str(other))
    async with scripted(tls_script(authority, "localhost", {})) as port:
        exc = await failure(Origin("https", "localhost", port))
        assert exc.kind == "tls"
        assert "name its file in ca_file" in str(exc)
        exc = await failure(Origin("https", "localhost", port, ca_file=str(other)))
        assert str(exc).endswith(f"(the CA of this server is not in {other})")


async def test_an_old_certificate_is_refused(authority, ca_file) -> None:
    dates = {
        "not_before": datetime(2019, 1, 1, tzinfo=UTC),
        "not_after": datetime(2020, 1, 1, tzinfo=UTC),
    }
    async with scripted(tls_script(authority, "localhost", {}, **dates)) as port:
        exc = await failure(Origin("https", "localhost", port, ca_file=ca_file))
    assert str(exc) == f"TLS with localhost:{port} failed: certificate has expired"


async def test_a_server_that_does_not_speak_tls(ca_file) -> None:
    async with scripted(say) as port:
        exc = await failure(Origin("https", "localhost", port, ca_file=ca_file))
        assert exc.kind == "tls"
        assert str(exc).endswith("(does it speak https at this port?)")


async def test_a_ca_file_that_cannot_be_used(tmp_path) -> None:
    exc = await failure(Origin("https", "localhost", 1, ca_file=str(tmp_path / "none.pem")))
    assert exc.kind == "tls"
    assert "none.pem" in str(exc)


def test_contexts_are_made_once(ca_file) -> None:
    contexts = TLSContexts()
    assert contexts.get(ca_file) is contexts.get(ca_file)
    assert contexts.get(ca_file) is not contexts.get("")


# --- proxies --------------------------------------------------------------------------------------


def test_proxies_are_not_for_this_host_unless_asked_for() -> None:
    proxy = "http://p:3128"
    for host in ("localhost", "127.0.0.1", "::1", "a.localhost"):
        assert not Origin("https", host, 1, proxy=proxy).proxied
        assert Origin("https", host, 1, proxy=proxy, proxy_loopback=True).proxied
    assert Origin("https", "10.0.0.1", 1, proxy=proxy).proxied
    assert not Origin("https", "10.0.0.1", 1).proxied


def test_an_origin_does_not_show_its_proxys_password() -> None:
    origin = Origin("https", "h", 443, proxy="http://u:secret@p:1")
    assert "secret" not in repr(origin)
    assert proxy_authorization(origin) == "Basic " + base64.b64encode(b"u:secret").decode()
    assert proxy_authorization(Origin("https", "h", 443, proxy="http://p:1")) is None


def test_authority_and_where() -> None:
    assert Origin("https", "h", 443).authority == "h"
    assert Origin("http", "::1", 8080).authority == "[::1]:8080"
    assert Origin("http", "h", 80).where == "h:80"
    assert bracketed("h") == "h"


async def test_tls_through_a_proxy(authority, ca_file) -> None:
    seen: dict = {}

    async def proxy(peer) -> None:
        seen["asked"] = await peer.until(b"\r\n\r\n")
        await peer.send(b"HTTP/1.1 200 Connection established\r\nX: y\r\n\r\n")
        await tls_script(authority, "far.example", seen)(peer)

    async with scripted(proxy) as port:
        origin = Origin(
            "https", "far.example", 8443, ca_file=ca_file, proxy=f"http://u:p%40ss@127.0.0.1:{port}"
        )
        wire, receipt = await dialled(origin)
        assert await wire.receive() == b"hello"
        assert receipt.left_host
        wire.close()
    assert seen["asked"].startswith(
        b"CONNECT far.example:8443 HTTP/1.1\r\nHost: far.example:8443\r\n"
    )
    assert base64.b64encode(b"u:p@ss") in seen["asked"]
    assert seen["sni"] == "far.example"


@pytest.mark.parametrize(
    "reply",
    [
        b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n\r\nunasked bytes",
        b"nonsense\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 10_000,
        b"",
    ],
)
async def test_a_proxy_that_does_not_open_the_way(reply: bytes) -> None:
    async def proxy(peer) -> None:
        await peer.until(b"\r\n\r\n")
        await peer.send(reply)
        if b"\r\n\r\n" not in reply and reply:
            await peer.all()

    async with scripted(proxy) as port:
        url = f"http://user:secret@127.0.0.1:{port}"
        exc = await failure(Origin("https", "far.example", 443, proxy=url))
    assert exc.kind == "proxy"
    assert "far.example:443" in str(exc) or f"127.0.0.1:{port}" in str(exc)
    assert "secret" not in str(exc)


@pytest.mark.parametrize("proxy", ["https://p:1", "socks5://p:1", "http://p:99999", "nonsense"])
async def test_a_proxy_of_another_kind(proxy: str) -> None:
    assert (await failure(Origin("https", "far.example", 443, proxy=proxy))).kind == "proxy"


async def test_a_request_that_must_stay_here_goes_through_no_proxy() -> None:
    origin = Origin("https", "10.0.0.1", 443, proxy="http://127.0.0.1:1")
    assert (await failure(origin, Label(local_only=True))).kind == "denied"


# --- unix sockets ---------------------------------------------------------------------------------


def on(path) -> Origin:
    return Origin("http", "localhost", 80, unix=str(path))


def listening(path, backlog: int = 5) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX)
    sock.bind(str(path))
    sock.listen(backlog)
    return sock


async def test_a_unix_socket_is_this_host(tmp_path) -> None:
    path = tmp_path / "x.sock"
    with listening(path) as server:
        for label in (Label(), Label(local_only=True), Label(True, networks=("10.0.0.0/8",))):
            wire, receipt = await dialled(on(path), label)
            peer, _ = server.accept()
            peer.send(b"hello")
            assert await wire.receive() == b"hello"
            assert (receipt.address, receipt.host) == (f"unix:{path}",) * 2
            assert not receipt.left_host
            peer.close()
            wire.close()
        exc = await failure(on(path), Label(public_only=True))
        assert exc.kind == "denied"
    exc = await failure(on(path))
    assert (exc.kind, "nothing listens there" in str(exc)) == ("refused", True)
    exc = await failure(on(tmp_path / "none"))
    assert (exc.kind, "is not there" in str(exc)) == ("refused", True)


async def test_a_unix_socket_with_a_full_queue_is_waited_for(tmp_path, autojump_clock) -> None:
    path = tmp_path / "x.sock"
    with listening(path, 0) as server, socket.socket(socket.AF_UNIX) as first:
        first.connect(str(path))
        with trio.move_on_after(5) as scope:
            await dialled(on(path))
        assert scope.cancelled_caught
        server.accept()[0].close()
        wire, _ = await dialled(on(path))
        wire.close()


def test_a_unix_origin_has_no_proxy_and_its_own_name() -> None:
    origin = Origin("http", "localhost", 80, proxy="http://p:1", proxy_loopback=True, unix="/x")
    assert not origin.proxied
    assert (origin.where, origin.authority) == ("unix:/x", "localhost")
