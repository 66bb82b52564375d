"""The version line, and where the commit in it comes from."""

import os
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from llmrouterd.commands import version

ROOT = Path(__file__).parent.parent.parent


def test_the_commit_of_a_built_file_is_what_it_was_built_from(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    built = ModuleType("_build")
    built.COMMIT, built.DATE = "a1b2c3d", "2026-11-23"  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "_build", built)
    assert version.commit() == "a1b2c3d, 2026-11-23"
    built.COMMIT, built.DATE = "unknown", ""  # type: ignore[attr-defined]
    assert version.commit() == "unknown"


def test_a_module_that_is_only_called_so_is_not_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A directory `_build`, as documentation tools make them, imports as an empty package."""
    monkeypatch.setitem(sys.modules, "_build", ModuleType("_build"))
    assert version.commit() == version.commit_of_checkout(ROOT)


def test_the_commit_of_a_checkout_is_gits(checkout: Path) -> None:
    commit, date = version.commit_of_checkout(checkout).split(", ")
    assert re.fullmatch("[0-9a-f]{7}", commit)
    assert date == "2026-11-23"


def test_a_changed_source_is_dirty_and_a_changed_note_is_not(checkout: Path) -> None:
    (checkout / "notes.txt").write_text("x")
    assert "-dirty" not in version.commit_of_checkout(checkout)
    (checkout / "llmrouter.py").write_text("x")
    assert "-dirty, " in version.commit_of_checkout(checkout)


def test_a_directory_inside_another_checkout_has_no_commit(checkout: Path) -> None:
    inside = checkout / "unpacked"
    inside.mkdir()
    assert version.commit_of_checkout(inside) == "unknown"


def test_without_git_the_commit_is_unknown(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(checkout))
    assert version.commit_of_checkout(checkout) == "unknown"


def test_a_missing_package_has_a_version_too() -> None:
    assert version.version_of("no-such-package-here") == "missing"


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with one commit."""
    for name, value in (
        ("GIT_CONFIG_GLOBAL", os.devnull),
        ("GIT_AUTHOR_DATE", "2026-11-23T12:00:00Z"),
        ("GIT_COMMITTER_DATE", "2026-11-23T12:00:00Z"),
        ("GIT_AUTHOR_NAME", "A"),
        ("GIT_AUTHOR_EMAIL", "a@example.org"),
        ("GIT_COMMITTER_NAME", "A"),
        ("GIT_COMMITTER_EMAIL", "a@example.org"),
    ):
        monkeypatch.setenv(name, value)
    (tmp_path / "llmrouter.py").write_text("")
    for words in ("init -q", "add llmrouter.py", "commit -q -m one"):
        subprocess.run(["git", "-C", str(tmp_path), *words.split()], check=True)
    return tmp_path
