"""Nothing starts where strangers could use it, and what cannot start says why in a line."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from tests.e2e.safety.house import ECHO, KEY, command
from tests.fakes.bystander import (
    ask,
)
from tests.fakes.daemon import RunningDaemon

pytestmark = pytest.mark.e2e


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


def test_a_port_in_use_is_one_line_and_exit_1(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        file = tmp_path / "router.toml"
        file.write_text(f"[server]\nport = {port}\n{ECHO}")
        for args in ([str(file)], ["--port", str(port)]):
            done = command("serve", *args, cwd=tmp_path)
            assert done.returncode == 1
            (line,) = done.stderr.splitlines()
            assert f"127.0.0.1:{port}" in line
            assert "in use" in line
            assert "--port takes another one" in line


@pytest.mark.parametrize("host", ["no-such-host.invalid", "localhost:80", "http://localhost"])
def test_an_address_that_cannot_be_had_is_said_in_a_line(tmp_path: Path, host: str) -> None:
    file = tmp_path / "router.toml"
    file.write_text(f'[server]\nhost = "{host}"\nport = 0\nallow_unauthenticated = true\n{ECHO}')
    done = command("serve", str(file), cwd=tmp_path)
    assert done.returncode == (1 if host == "no-such-host.invalid" else 2)  # it may come yet
    assert len(done.stderr.splitlines()) == 1
    assert "Traceback" not in done.stderr
