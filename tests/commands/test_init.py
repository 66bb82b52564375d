"""`llmrouter init`: what it writes, with which modes, and what it leaves alone."""

import os
from pathlib import Path

import pytest

import llmrouter
from llmrouterd.commands import init
from llmrouterd.config import load
from llmrouterd.ops.local import CLOUDS, PLACES, Sight

PLANTED = "sk-planted"


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    for *_, variable in CLOUDS:
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("OPENAI_API_KEY", PLANTED)
    seen = tuple(Sight(place, why="nothing listens there") for place in PLACES)
    monkeypatch.setattr(init, "_looked", lambda: seen)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*words: str) -> int:
    return llmrouter.main(["init", *words])


def mode(path: str) -> int:
    return Path(path).stat().st_mode & 0o777


def test_what_it_writes_is_right_and_its_owner_s_only(capsys: pytest.CaptureFixture[str]) -> None:
    assert run() == 0
    assert mode("llmrouter.toml") == 0o600
    out, err = capsys.readouterr()
    assert out == ""
    assert "not found  ollama: nothing listens there" in err
    assert "found      openai: OPENAI_API_KEY is set" in err
    assert PLANTED not in err + Path("llmrouter.toml").read_text()
    assert llmrouter.main(["check"]) == 0


def test_what_is_there_stays_without_force(capsys: pytest.CaptureFixture[str]) -> None:
    Path("llmrouter.toml").write_text("mine")
    assert run() == 1
    assert "llmrouter.toml is there already: --force replaces it" in capsys.readouterr().err
    assert Path("llmrouter.toml").read_text() == "mine"
    assert run("--force") == 0
    assert mode("llmrouter.toml") == 0o600
    assert [path.name for path in Path().iterdir()] == ["llmrouter.toml"]


def test_a_link_that_leads_nowhere_is_there() -> None:
    Path("llmrouter.toml").symlink_to("elsewhere")
    assert run() == 1
    assert not Path("elsewhere").exists()


def test_a_key_is_made_beside_it_and_never_shown(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("deep/r.toml", "--key") == 0
    key = Path("deep/r.key").read_text().strip()
    config = load(Path("deep/r.toml"), os.environ)
    assert config.server.api_key is not None
    assert config.server.api_key.matches(key)
    assert len(key) >= 40
    assert (mode("deep/r.key"), mode("deep/r.toml")) == (0o600, 0o600)
    assert key not in "".join(capsys.readouterr())


def test_a_key_that_is_there_is_kept_and_force_makes_a_new_one() -> None:
    Path("llmrouter.key").write_text("old")
    assert run("--key") == 0
    assert Path("llmrouter.key").read_text() == "old"
    assert run("--key", "--force") == 0
    assert Path("llmrouter.key").read_text() != "old"


def test_stdout_holds_the_file_and_nothing_else(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("-") == 0
    Path("x.toml").write_text(capsys.readouterr().out)
    assert load(Path("x.toml"), os.environ).providers[0].name == "openai"
    assert run("-", "--key") == 2


def test_a_directory_is_no_place_for_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(".", "--force") == 1
    assert "is a directory" in capsys.readouterr().err


def test_a_full_disk_leaves_nothing_behind(monkeypatch, capsys) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device", "llmrouter.toml")

    monkeypatch.setattr(init.os, "fsync", full)
    assert run() == 1
    assert "no space left on device" in capsys.readouterr().err
    assert not list(Path().iterdir())
