"""Sockets of the configuration, and those that are handed down."""

import os
import socket
import ssl
import stat
from pathlib import Path

import pytest
import trustme

from llmrouterd.config import Config, Server
from llmrouterd.edge.listen import bind_unix
from llmrouterd.model import ConfigError, Secret
from llmrouterd.ops.listening import handed_down, listeners, server_context


def config(**server) -> Config:
    return Config(server=Server(**{"port": 0, **server}))


def test_every_address_at_the_same_port(tmp_path: Path) -> None:
    path = tmp_path / "x.sock"
    found = listeners(config(hosts=("127.0.0.1", f"unix:{path}", "127.0.0.2"), unix_mode=0o640))
    try:
        assert found[0].address == f"127.0.0.1:{found[0].port}"
        assert found[1].address == f"unix:{path}"
        assert stat.S_IMODE(path.stat().st_mode) == 0o640
    finally:
        for each in found:
            each.close()
    assert not path.exists()


def test_all_or_nothing(tmp_path: Path) -> None:
    path = tmp_path / "x.sock"
    with pytest.raises(ConfigError, match=r"cannot listen on 192\.0\.2\.1"):
        listeners(config(hosts=(f"unix:{path}", "192.0.2.1"), allow_unauthenticated=True))
    assert not path.exists()


def test_a_socket_that_somebody_left_is_replaced_and_one_in_use_is_not(tmp_path: Path) -> None:
    path = str(tmp_path / "x.sock")
    left = bind_unix(path, 0o600)
    left.sock.close()  # as a daemon that was killed leaves it
    again = bind_unix(path, 0o600)
    with pytest.raises(ConfigError, match="another program listens there"):
        listeners(config(hosts=(f"unix:{path}",)))
    again.close()
    (tmp_path / "file").write_text("words")
    with pytest.raises(ConfigError, match="cannot listen on unix:"):
        listeners(config(hosts=(f"unix:{tmp_path / 'file'}",)))
    assert (tmp_path / "file").read_text() == "words"


def test_closing_leaves_the_socket_of_a_successor(tmp_path: Path) -> None:
    path = tmp_path / "x.sock"
    old = bind_unix(str(path), 0o600)
    path.unlink()
    new = bind_unix(str(path), 0o600)
    old.close()
    assert path.exists()
    new.close()


# --- handed down ----------------------------------------------------------------------------------


def test_nothing_is_handed_down_to_somebody_else() -> None:
    assert handed_down({}) == []
    environ = {"LISTEN_PID": "1", "LISTEN_FDS": "1", "LISTEN_FDNAMES": "x", "HOME": "/"}
    assert handed_down(environ) == []
    assert environ == {"HOME": "/"}
    assert handed_down({"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "x"}) == []


def test_a_given_socket_takes_the_place_of_the_configuration_s() -> None:
    given = socket.create_server(("127.0.0.1", 0))
    (listener,) = listeners(config(hosts=("192.0.2.1",)), [given])
    assert listener.sock is given
    assert not given.getblocking()
    given.close()


def test_what_is_handed_down_must_listen() -> None:
    with socket.socket() as idle, pytest.raises(ConfigError, match="no listening socket"):
        listeners(config(), [idle])


def test_a_given_socket_that_other_machines_reach_asks_for_a_key() -> None:
    with socket.create_server(("0.0.0.0", 0)) as given:
        with pytest.raises(ConfigError, match="handed down by systemd, lets other machines in"):
            listeners(config(), [given])
        assert listeners(config(api_key=Secret("k")), [given])
        assert listeners(config(allow_unauthenticated=True), [given])


def test_a_given_unix_socket_needs_no_key(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as given:
        given.bind(str(tmp_path / "x"))
        given.listen()
        (listener,) = listeners(config(), [given])
        assert listener.address == f"unix:{tmp_path / 'x'}"


# --- TLS ------------------------------------------------------------------------------------------


@pytest.fixture
def files(tmp_path: Path) -> dict[str, str]:
    authority = trustme.CA()
    cert = authority.issue_cert("localhost")
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    cert.private_key_pem.write_to_path(tmp_path / "key.pem")
    cert.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")
    return {name: str(tmp_path / f"{name}.pem") for name in ("ca", "cert", "key")}


def test_a_context_refuses_old_versions(files: dict[str, str]) -> None:
    assert server_context(Server()) is None
    context = server_context(Server(tls_cert=files["cert"], tls_key=files["key"]))
    assert context is not None
    assert context.minimum_version == ssl.TLSVersion.TLSv1_2
    assert context.verify_mode == ssl.CERT_NONE


def test_with_a_ca_clients_show_a_certificate(files: dict[str, str]) -> None:
    server = Server(tls_cert=files["cert"], tls_key=files["key"], tls_client_ca=files["ca"])
    context = server_context(server)
    assert context is not None
    assert context.verify_mode == ssl.CERT_REQUIRED


def test_what_is_no_certificate_is_said(files: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "junk").write_text("junk")
    junk = str(tmp_path / "junk")
    for server in (
        Server(tls_cert=junk, tls_key=files["key"]),
        Server(tls_cert=files["cert"], tls_key=junk),
        Server(tls_cert=files["cert"], tls_key=files["key"], tls_client_ca=junk),
    ):
        with pytest.raises(ConfigError, match=r"^server\.tls_"):
            server_context(server)
