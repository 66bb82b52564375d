"""The systemd unit: what is written where, and what systemd itself says of it."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import llmrouter
from llmrouterd.commands import service

EXPOSURE = re.compile(r"exposure level[^:]*: ([0-9.]+)")


@pytest.fixture
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    monkeypatch.setattr(service, "SYSTEM", tmp_path / "system")
    monkeypatch.setattr(service, "HIDDEN", (Path("/home"),))  # this lies in /tmp
    (tmp_path / "x.toml").write_text("")
    return tmp_path


def run(*words: str) -> int:
    return llmrouter.main(["service", *words])


def test_print(home: Path, capsys: pytest.CaptureFixture[str], monkeypatch) -> None:
    monkeypatch.setattr(sys, "argv", [str(home / "a dir" / "llmrouter.pyz")])
    assert run("print", "--config", str(home / "x.toml")) == 0
    unit = capsys.readouterr().out
    start = next(line for line in unit.splitlines() if line.startswith("ExecStart="))
    assert start == (
        f"ExecStart={sys.executable} -I -S '{home}/a dir/llmrouter.pyz' serve {home}/x.toml"
    )
    assert "DynamicUser=yes" in unit
    assert not (home / "system").exists()


def test_the_program_is_named_as_it_was_started(tmp_path: Path, monkeypatch) -> None:
    installed = tmp_path / "llmrouter"
    installed.write_text("")
    installed.chmod(0o755)
    monkeypatch.setattr(sys, "argv", [str(installed)])
    assert service.program() == str(installed)
    monkeypatch.setattr(sys, "argv", [str(tmp_path / "llmrouter.py")])
    assert service.program() == f"{sys.executable} {tmp_path / 'llmrouter.py'}"


def test_install_and_uninstall(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("--config", str(home / "x.toml"), "--socket")
    assert run("install", *words) == 0
    unit, socket = home / "system" / service.UNIT, home / "system" / service.SOCKET
    assert unit.read_text().startswith(service.OURS)
    assert "ListenStream=127.0.0.1:8090" in socket.read_text()
    assert f"wrote {unit}" in capsys.readouterr().out
    assert run("install", *words) == 0  # the same again changes nothing
    assert run("uninstall") == 0
    assert not unit.exists()
    assert not socket.exists()
    assert run("uninstall") == 1


def test_a_configuration_that_only_root_can_read_is_told(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The service runs as a user that exists only while it runs."""
    (home / "x.toml").chmod(0o600)
    assert run("install", "--config", str(home / "x.toml")) == 0
    assert f"chmod 644 {home / 'x.toml'}" in capsys.readouterr().out
    (home / "x.toml").chmod(0o644)
    assert run("install", "--config", str(home / "x.toml")) == 0
    assert "chmod" not in capsys.readouterr().out


def test_what_lies_in_a_home_cannot_be_served(
    home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["/home/ann/llmrouter.pyz"])
    assert run("install", "--config", str(home / "x.toml")) == 1
    assert "lies where the service cannot see it" in capsys.readouterr().err
    assert not (home / "system").exists()


def test_a_python_that_lies_in_a_home_cannot_serve(
    home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", "/home/ann/.pyenv/bin/python3")
    assert run("install", "--config", str(home / "x.toml")) == 1
    assert "with a Python of the system" in capsys.readouterr().err


KEYS = """
[server]
api_key_file = "llmrouter.key"
[logging]
audit_key_file = "/etc/elsewhere/audit"
[[providers]]
api_key_file = "cloud.key"
[[clients]]
key_file = "llmrouter.key"
[[clients]]
key_file = "sub/dir.key"
"""


def test_keys_beside_the_configuration_are_handed_over(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Their owner is root, and the service's own user cannot read them."""
    (home / "x.toml").write_text(KEYS)
    assert run("print", "--config", str(home / "x.toml")) == 0
    unit = capsys.readouterr().out
    found = [line for line in unit.splitlines() if line.startswith("LoadCredential=")]
    assert found == [f"LoadCredential={n}:{home}/{n}" for n in ("llmrouter.key", "cloud.key")]
    assert "#LoadCredential" not in unit
    assert run("install", "--config", str(home / "x.toml")) == 0
    assert f"hands it the key cloud.key: {home}/cloud.key" in capsys.readouterr().out
    (home / "x.toml").write_text("no = toml =")
    assert run("print", "--config", str(home / "x.toml")) == 0
    assert "#LoadCredential=openai:" in capsys.readouterr().out


def test_what_was_enabled_does_not_dangle(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("install", "--config", str(home / "x.toml"), "--socket") == 0
    wants = home / "system" / "sockets.target.wants"
    wants.mkdir()
    (wants / service.SOCKET).symlink_to(home / "system" / service.SOCKET)
    capsys.readouterr()
    assert run("uninstall") == 0
    assert not list(wants.iterdir())
    out = capsys.readouterr().out
    assert f"removed {wants / service.SOCKET}" in out
    if shutil.which("systemctl"):
        assert out.index(f"stop {service.SOCKET} {service.UNIT}") < out.index("daemon-reload")
    assert "left alone: /etc/llmrouter" in out


def test_what_is_there_and_differs_stays(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    unit = home / "system" / service.UNIT
    unit.parent.mkdir()
    unit.write_text("# somebody's own\n")
    config = str(home / "x.toml")
    assert run("install", "--config", config) == 1
    assert run("uninstall") == 1
    assert unit.read_text() == "# somebody's own\n"
    assert "--force" in capsys.readouterr().err
    assert run("install", "--config", config, "--force") == 0
    assert unit.read_text().startswith(service.OURS)


def test_without_a_configuration_nothing_is_installed(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("install", "--config", str(home / "not-there.toml")) == 1
    assert "llmrouter init" in capsys.readouterr().err
    assert not (home / "system").exists()


def test_for_one_person(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = home / ".config" / "llmrouter" / "llmrouter.toml"
    config.parent.mkdir(parents=True)
    config.write_text("")
    assert run("install", "--user") == 0
    unit = (home / ".config" / "systemd" / "user" / service.UNIT).read_text()
    assert f"serve {config}" in unit
    assert "WantedBy=default.target" in unit
    assert "EnvironmentFile=-%E/llmrouter/environment" in unit
    assert "LoadCredential" not in unit
    assert "network-online" not in unit
    for key in ("DynamicUser", "ProtectSystem", "CapabilityBoundingSet", "After", "Wants"):
        assert f"\n{key}=" not in unit
    assert "NoNewPrivileges=yes" in unit


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_without_the_right_to_write_it_is_said(home: Path, capsys, monkeypatch) -> None:
    monkeypatch.setattr(service, "SYSTEM", Path("/etc/systemd/system"))
    assert run("install", "--config", str(home / "x.toml")) == 1
    assert "as root, or with --user" in capsys.readouterr().err


# --- what systemd says ----------------------------------------------------------------------------


def analyze(*words: str) -> "subprocess.CompletedProcess[str]":
    if shutil.which("systemd-analyze") is None:
        if os.environ.get("CI") == "true":
            pytest.fail("there is no systemd-analyze here (package systemd)")
        pytest.skip("there is no systemd-analyze here")
    return subprocess.run(
        ["systemd-analyze", *words], capture_output=True, text=True, timeout=120, check=False
    )


def written(folder: Path, unit: str) -> Path:
    """As `install` writes it, with programs that are there."""
    start = f"ExecStart={sys.executable} -I -S /usr/bin/env serve /etc/x.toml"
    path = folder / service.UNIT
    path.write_text(re.sub(r"ExecStart=.*", start, unit))
    return path


@pytest.mark.slow
def test_systemd_finds_nothing_wrong_with_the_units(tmp_path: Path) -> None:
    unit = written(tmp_path, service.template(service.UNIT))
    (tmp_path / service.SOCKET).write_text(service.template(service.SOCKET))
    done = analyze("verify", "--man=no", str(unit), str(tmp_path / service.SOCKET))
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.slow
def test_the_unit_is_hardly_exposed(tmp_path: Path) -> None:
    unit = written(tmp_path, service.template(service.UNIT))
    done = analyze("security", "--offline=true", "--no-pager", str(unit))
    found = EXPOSURE.search(done.stdout)
    assert found, done.stdout + done.stderr
    assert float(found[1]) <= 2.0
