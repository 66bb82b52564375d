"""`[logging]`, and the key of an audit log."""

from pathlib import Path

import pytest

from llmrouterd.config import load
from llmrouterd.model import ConfigError

ECHO = '[[providers]]\nname = "e"\nformat = "echo"\n[logging]\n'


def logging_of(tmp_path: Path, text: str):
    path = tmp_path / "c.toml"
    path.write_text(ECHO + text)
    return load(path, {}).logging


def problems(tmp_path: Path, text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        logging_of(tmp_path, text)
    return "\n".join(caught.value.problems)


def test_what_is_not_said_is_the_default(tmp_path: Path) -> None:
    found = logging_of(tmp_path, "")
    assert (found.rotate, found.compress, found.audit, found.audit_key) == (
        "size",
        False,
        False,
        None,
    )


def test_the_key_is_read_from_its_file_and_never_shown(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("a key of enough characters\n")
    (tmp_path / "key").chmod(0o600)
    found = logging_of(tmp_path, 'enabled = true\naudit = true\naudit_key_file = "key"\n')
    assert found.audit_key is not None
    assert found.audit_key.reveal() == "a key of enough characters"
    assert "enough" not in repr(found)


def test_what_cannot_be_is_refused(tmp_path: Path) -> None:
    (tmp_path / "short").write_text("short")
    audit = "enabled = true\naudit = true\n"
    assert "set enabled = true" in problems(tmp_path, "audit = true\n")
    assert "set audit = true" in problems(tmp_path, 'audit_key_file = "short"\n')
    assert "less than 16" in problems(tmp_path, audit + 'audit_key_file = "short"\n')
    assert "cannot be read" in problems(tmp_path, audit + 'audit_key_file = "none"\n')
    assert "daily" in problems(tmp_path, 'rotate = "weekly"\n')
