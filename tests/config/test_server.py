"""`[server]`: several addresses, sockets, TLS; the rest is in test_load.py."""

from pathlib import Path

import pytest

from llmrouterd.config import Server, parse
from llmrouterd.config.server import only_here
from llmrouterd.model import ConfigError

ECHO = '[[providers]]\nname = "e"\nformat = "echo"\n'


def server(text: str) -> Server:
    return parse(f"[server]\n{text}\n{ECHO}", "x.toml", {}).server


def test_several_addresses() -> None:
    it = server('host = ["127.0.0.1", "[::1]", "unix:/run/x.sock"]\nunix_mode = "660"')
    assert it.hosts == ("127.0.0.1", "::1", "unix:/run/x.sock")
    assert it.unix_mode == 0o660


def test_one_open_address_among_others_asks_for_a_key() -> None:
    with pytest.raises(ConfigError, match=r'"10\.0\.0\.1" lets other machines in'):
        server('host = ["127.0.0.1", "10.0.0.1"]')


@pytest.mark.parametrize(
    ("host", "key", "warned"),
    [("0.0.0.0", "short", True), ("0.0.0.0", "x" * 16, False), ("127.0.0.1", "short", False)],
)
def test_a_short_key_that_others_can_try_is_warned_of(host: str, key: str, warned: bool) -> None:
    text = f'[server]\nhost = "{host}"\napi_key_env = "K"\n{ECHO}'
    warnings = parse(text, "x.toml", {"K": key}).warnings
    assert any("this one is short" in each for each in warnings) is warned
    assert not [each for each in warnings if key in each.partition(": ")[2].split()]


def test_only_here() -> None:
    assert only_here("unix:/run/x")
    assert only_here("::1")
    assert not only_here("0.0.0.0")


def test_tls(tmp_path: Path) -> None:
    for name in ("cert", "key", "ca"):
        (tmp_path / name).write_text("x")
    text = "\n".join(
        f'{key} = "{tmp_path / name}"'
        for key, name in (("tls_cert", "cert"), ("tls_key", "key"), ("tls_client_ca", "ca"))
    )
    it = server(text)
    assert (it.tls_cert, it.tls_key) == (str(tmp_path / "cert"), str(tmp_path / "key"))
    assert it.tls_client_ca == str(tmp_path / "ca")
