"""The man page and the completions are what the command line makes of them."""

import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def cli() -> ModuleType:
    path = ROOT / "contrib" / "cli.py"
    spec = importlib.util.spec_from_file_location("contrib_cli", path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def test_what_stands_in_contrib_is_what_the_command_line_makes(cli: ModuleType) -> None:
    stale = [
        name for name, text in cli.made().items() if (ROOT / "contrib" / name).read_text() != text
    ]
    assert not stale, "python contrib/cli.py writes them anew"


def test_every_command_and_option_is_in_each(cli: ModuleType) -> None:
    made = cli.made()
    for command in cli.commands():
        for text in made.values():
            assert command.name in text
        for option in command.options:
            for flag in option.flags:
                assert flag.replace("-", "\\-") in made["llmrouter.1"]
                assert flag in made["completions/llmrouter.bash"]
                assert flag in made["completions/_llmrouter"]
                assert flag.lstrip("-") in made["completions/llmrouter.fish"]


def completed(*words: str) -> list[str]:
    """What bash offers for the last of these words."""
    script = (
        f"source {ROOT}/contrib/completions/llmrouter.bash; "
        'COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _llmrouter; printf "%s\\n" "${COMPREPLY[@]}"'
    )
    command = ["bash", "-c", script, "bash", "llmrouter", *words]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash here")
def test_bash_completes() -> None:
    assert "serve" in completed("")
    assert completed("exp") == ["explain"]
    assert "--watch-config" in completed("serve", "--w")
    assert set(completed("serve", "--log-format", "j")) == {"journal", "json"}
    assert "claude" in completed("launch", "c")


@pytest.mark.skipif(shutil.which("man") is None, reason="no man here")
def test_the_man_page_is_read_without_a_warning() -> None:
    path = str(ROOT / "contrib" / "llmrouter.1")
    done = subprocess.run(
        ["man", "--warnings", "-l", path], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "EXIT STATUS" in done.stdout
