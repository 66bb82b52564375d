"""Keys from variables and files."""

from pathlib import Path

import pytest

from llmrouterd.config import load, parse
from llmrouterd.config.credentials import NoKeyError, key_from, key_in_file, own_key
from llmrouterd.config.read import Problems
from llmrouterd.model import ConfigError, Secret

HERE = ("x",)


@pytest.fixture
def problems(tmp_path: Path) -> Problems:
    return Problems(str(tmp_path / "x.toml"), {})


def written(path: Path, text: str | bytes, mode: int = 0o600) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    path.chmod(mode)
    return path


def test_a_variable(problems: Problems) -> None:
    assert key_from(problems, HERE, "", {}) is None
    assert key_from(problems, HERE, "KEY", {"KEY": " k \n"}) == Secret("k")
    with pytest.raises(NoKeyError, match="the variable KEY is not set"):
        key_from(problems, HERE, "KEY", {})


def test_a_file_beside_the_configuration(problems: Problems, tmp_path: Path) -> None:
    written(tmp_path / "key", "\ufeffsk-1\n")
    assert key_in_file(problems, HERE, "key", {}) == Secret("sk-1")
    assert key_in_file(problems, HERE, str(tmp_path / "key"), {}) == Secret("sk-1")
    assert key_in_file(problems, HERE, "", {}) is None
    assert problems.warnings() == ()


def test_systemd_s_credentials_come_first(problems: Problems, tmp_path: Path) -> None:
    written(tmp_path / "key", "beside")
    written(tmp_path / "credentials" / "key", "given", 0o400)
    environ = {"CREDENTIALS_DIRECTORY": str(tmp_path / "credentials")}
    assert key_in_file(problems, HERE, "key", environ) == Secret("given")
    (tmp_path / "credentials" / "key").unlink()
    assert key_in_file(problems, HERE, "key", environ) == Secret("beside")


def test_a_file_that_everybody_can_read_is_warned_of(problems: Problems, tmp_path: Path) -> None:
    written(tmp_path / "key", "sk-1", 0o644)
    assert key_in_file(problems, HERE, "key", {}) == Secret("sk-1")
    (warning,) = problems.warnings()
    assert "chmod 600" in warning
    assert "sk-1" not in warning


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"", "is empty"),
        (b" \n", "is empty"),
        (b"\xff\xfe", "it is no text"),
        (b"x" * 20_000, "too large for a key"),
    ],
)
def test_a_file_that_gives_no_key(problems: Problems, tmp_path: Path, text, said) -> None:
    written(tmp_path / "key", text)
    with pytest.raises(NoKeyError, match=said):
        key_in_file(problems, HERE, "key", {})


def test_a_file_that_is_not_there(problems: Problems) -> None:
    with pytest.raises(NoKeyError, match=r"cannot be read: No such file"):
        key_in_file(problems, HERE, "key", {})


def test_characters_that_no_key_has(problems: Problems, tmp_path: Path) -> None:
    written(tmp_path / "key", "two\nlines")
    assert key_in_file(problems, HERE, "key", {}) is None
    with pytest.raises(ConfigError, match="characters that no key has"):
        problems.settle()


def test_keys_of_the_server_a_provider_and_a_client_in_files(tmp_path: Path) -> None:
    for name in ("own", "theirs", "kids"):
        written(tmp_path / name, f"sk-{name}")
    text = """
[server]
api_key_file = "own"
[[providers]]
name = "p"
format = "openai"
base_url = "https://a.example"
api_key_file = "theirs"
[[providers]]
name = "gone"
format = "openai"
base_url = "https://a.example"
api_key_file = "not-there"
[[clients]]
name = "kid"
key_file = "kids"
"""
    config = load(written(tmp_path / "x.toml", text), {})
    assert config.server.api_key == Secret("sk-own")
    assert config.providers[0].key == Secret("sk-theirs")
    assert config.clients[0].key == Secret("sk-kids")
    ((name, why),) = config.skipped
    assert name == "gone"
    assert "cannot be read" in why


def test_a_client_s_key_comes_from_one_place() -> None:
    base = '[[providers]]\nname = "e"\nformat = "echo"\n[[clients]]\nname = "kid"\n'
    for more in ("", 'key_env = "K"\nkey_file = "k"\n'):
        with pytest.raises(ConfigError, match="give its key with key_env or key_file"):
            parse(base + more, "x.toml", {"K": "v"})


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"env": "K", "file": "k"}, "give either env or file"),
        ({"env": "K", "file": ""}, "the variable K is not set: set it, or do without"),
        ({"env": "", "file": "k"}, "cannot be read: .*: set it, or do without"),
    ],
)
def test_a_key_that_must_be_there_is_asked_for(
    problems: Problems, values: dict[str, str], words: str
) -> None:
    assert own_key(problems, HERE, values, ("env", "file"), {}, "do without") is None
    with pytest.raises(ConfigError, match=words):
        problems.settle()


def test_a_key_that_nobody_names_is_none(problems: Problems) -> None:
    values = {"env": "", "file": ""}
    assert own_key(problems, HERE, values, ("env", "file"), {}, "do without") is None
    problems.settle()
