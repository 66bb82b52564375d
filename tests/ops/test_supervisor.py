"""The pauses before a child is started again. The rest is tests/e2e/test_workers.py."""

from pathlib import Path

import pytest

from llmrouterd.config import Config, Server
from llmrouterd.model import ConfigError, Provider
from llmrouterd.ops.supervisor import PAUSES_S, Supervisor, clear, pause_s


def test_pauses_grow_to_a_bound() -> None:
    pauses = [pause_s(n) for n in range(1000)]
    assert pauses[0] == PAUSES_S[0]
    assert pauses == sorted(pauses)
    assert pauses[-1] == PAUSES_S[1]


def test_the_folder_goes_with_its_socket(tmp_path: Path) -> None:
    folder = tmp_path / "x"
    folder.mkdir()
    (folder / "hub.sock").touch()
    clear(str(folder / "hub.sock"))
    assert not folder.exists()
    clear(str(folder / "hub.sock"))


def test_a_folder_for_budgets_that_is_of_no_use_is_said_before_anything_is_open(
    tmp_path: Path,
) -> None:
    (tmp_path / "file").touch()
    server = Server(port=0, workers=2, state_dir=str(tmp_path / "file" / "state"))
    config = Config(providers=(Provider("echo", "echo"),), server=server)
    with pytest.raises(ConfigError) as caught:
        Supervisor(config, user_agent="tests", environ={}, ready=lambda *found: None)
    assert "state_dir" in str(caught.value.problems)
