"""The pauses before a child is started again. The rest is tests/e2e/test_workers.py."""

from pathlib import Path

from llmrouterd.ops.supervisor import PAUSES_S, clear, pause_s


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
