"""Which configuration file is taken."""

from pathlib import Path

import pytest

from llmrouterd.commands import locate
from llmrouterd.model import ConfigError


@pytest.fixture(autouse=True)
def in_an_empty_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")


def test_the_order(tmp_path: Path) -> None:
    environ = {"XDG_CONFIG_HOME": str(tmp_path / "xdg"), "HOME": "/nonexistent"}
    places = locate.places(environ)
    assert [str(place) for place in places] == [
        "llmrouter.toml",
        "config.toml",
        f"{tmp_path}/xdg/llmrouter/llmrouter.toml",
        "/etc/llmrouter/llmrouter.toml",
    ]
    for place in reversed(places[:3]):
        place.parent.mkdir(parents=True, exist_ok=True)
        place.touch()
        assert locate.find(None, environ) == place


def test_without_xdg_it_is_the_home_directory() -> None:
    wanted = Path("/home/me/.config/llmrouter/llmrouter.toml")
    assert wanted in locate.places({"HOME": "/home/me"})
    assert wanted in locate.places({"HOME": "/home/me", "XDG_CONFIG_HOME": "relative"})
    assert len(locate.places({})) == 3


def test_a_named_file_is_the_one(tmp_path: Path) -> None:
    Path("llmrouter.toml").touch()
    named = tmp_path / "mine.toml"
    with pytest.raises(ConfigError, match=r"mine\.toml: no such file"):
        locate.find(named, {})
    named.touch()
    assert locate.find(named, {}) == named


def test_a_place_that_cannot_be_looked_into_is_no_internal_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A service's user often has a HOME that is closed to it."""
    exists = Path.exists

    def refused(path: Path) -> bool:
        if "closed" in path.parts:
            raise PermissionError(13, "Permission denied")
        return exists(path)

    monkeypatch.setattr(Path, "exists", refused)
    closed = tmp_path / "closed"
    with pytest.raises(ConfigError, match=r"my\.toml: permission denied"):
        locate.find(closed / "my.toml", {})
    assert locate.find(None, {"XDG_CONFIG_HOME": str(closed)}) in (None, locate.places({})[-1])
    with pytest.raises(ConfigError, match="file name too long"):
        locate.find(Path("a" * 5000), {})


def test_complaints_go_to_stderr_one_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert locate.complain(ConfigError(["a: b", "c: d"])) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err == "llmrouter: a: b\nllmrouter: c: d\n"


def test_a_command_is_written_as_this_one_was_called() -> None:
    assert locate.called("/usr/bin/llmrouter") == "llmrouter"
    assert locate.called("a dir/llmrouter.pyz") == "python3 'a dir/llmrouter.pyz'"
