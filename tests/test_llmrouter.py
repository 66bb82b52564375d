"""The command: what it accepts, what it refuses, and how it ends."""

import argparse
import ast
import importlib
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

import llmrouter

ROOT = Path(__file__).parent.parent
Run = Callable[[argparse.Namespace], int]
VERSION_LINE = re.compile(
    r"llmrouter \d+\.\d+\.\d+\S* \((unknown|[0-9a-f]{7}(-dirty)?, \d{4}-\d\d-\d\d)\)"
    r" python \d+\.\d+\.\S+ trio \d+\.\S+ h11 \d+\.\S+"
)


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, Run], None]:
    """Put a function in the place of a command's module."""

    importlib.import_module("llmrouterd.commands.options")  # each command line loads it

    def put(name: str, run: Run) -> None:
        module = ModuleType(f"llmrouterd.commands.{name}")
        module.run = run  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, module.__name__, module)
        package = ModuleType("llmrouterd.commands")
        package.__path__ = []
        monkeypatch.setitem(sys.modules, package.__name__, package)

    return put


def seen_by(command: Callable[[str, Run], None], name: str, argv: list[str]) -> argparse.Namespace:
    seen: list[argparse.Namespace] = []

    def run(args: argparse.Namespace) -> int:
        seen.append(args)
        return 0

    command(name, run)
    assert llmrouter.main(argv) == 0
    return seen[0]


def refused(argv: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """The error of a command line that must end with exit 2 and nothing on stdout."""
    with pytest.raises(SystemExit) as end:
        llmrouter.main(argv)
    out, err = capsys.readouterr()
    assert end.value.code == 2
    assert out == ""
    assert len(err.splitlines()) <= 2
    assert err.startswith("llmrouter: ")
    return err


# ---- what a command is given ---------------------------------------------------------------------


def test_serve_without_anything(command: Callable[[str, Run], None]) -> None:
    args = seen_by(command, "serve", ["serve"])
    assert vars(args) == {
        "command": "serve",
        "debug": False,
        "config": None,
        "host": None,
        "port": None,
        "workers": None,
        "log_level": None,
        "log_format": None,
        "watch_config": False,
        "check": False,
    }


def test_serve_with_everything(command: Callable[[str, Run], None]) -> None:
    words = "--debug serve my.toml --host ::1 --port 0 --log-level debug --check"
    args = seen_by(command, "serve", words.split())
    assert (args.config, args.host, args.port) == (Path("my.toml"), "::1", 0)
    assert (args.log_level, args.check, args.debug) == ("debug", True, True)


def test_debug_may_follow_the_command(command: Callable[[str, Run], None]) -> None:
    assert seen_by(command, "check", ["check", "--debug"]).debug


def test_a_toml_file_is_served(command: Callable[[str, Run], None]) -> None:
    args = seen_by(command, "serve", ["conf/my.toml", "--port", "9"])
    assert (args.config, args.port) == (Path("conf/my.toml"), 9)


def test_check_takes_a_file_and_json(command: Callable[[str, Run], None]) -> None:
    args = seen_by(command, "check", ["check", "my.toml", "--json"])
    assert (args.config, args.json) == (Path("my.toml"), True)


def test_the_exit_code_is_the_commands(command: Callable[[str, Run], None]) -> None:
    command("check", lambda _: 2)
    assert llmrouter.main(["check"]) == 2


# ---- what is refused -----------------------------------------------------------------------------


def test_an_unknown_command_names_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert "there is no command 'sevre', did you mean 'serve'?" in refused(["sevre"], capsys)


def test_an_unknown_command_like_no_other_names_none(capsys: pytest.CaptureFixture[str]) -> None:
    assert "did you mean" not in refused(["xyzzy"], capsys)


def test_no_command_at_all_lists_them(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        llmrouter.main([])
    out, err = capsys.readouterr()
    assert (end.value.code, out) == (2, "")
    assert all(name in err for name in llmrouter.COMMANDS)


def test_an_option_before_the_command_is_told_its_place(capsys: pytest.CaptureFixture[str]) -> None:
    assert "--port" in refused(["--port", "80", "serve"], capsys)


@pytest.mark.parametrize("text", ["-1", "65536", "http", "٣", "1.5", ""])
def test_a_port_is_a_number_in_range(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert "--port" in refused(["serve", f"--port={text}"], capsys)


@pytest.mark.parametrize(
    "words", ["serve --prot 1", "serve a.toml b.toml", "serve --log-level all"]
)
def test_wrong_usage_of_a_command_points_to_its_help(
    words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "llmrouter serve -h" in refused(words.split(), capsys)


def test_options_are_not_abbreviated(capsys: pytest.CaptureFixture[str]) -> None:
    assert "--po" in refused(["serve", "--po", "1"], capsys)


@pytest.mark.parametrize(
    "words", ["-h", "serve -h", "check --help", "version -h", "help", "help serve"]
)
def test_help_is_everywhere(words: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        llmrouter.main(words.split())
    assert end.value.code == 0
    assert "usage: llmrouter" in capsys.readouterr().out


# ---- how it ends ---------------------------------------------------------------------------------


def raising(error: BaseException) -> Run:
    def run(_: argparse.Namespace) -> int:
        raise error

    return run


@pytest.mark.parametrize(
    "error",
    [KeyboardInterrupt(), BaseExceptionGroup("nursery", [KeyboardInterrupt()])],
    ids=["alone", "in a nursery"],
)
def test_ctrl_c_ends_without_a_word(
    error: BaseException,
    command: Callable[[str, Run], None],
    capsys: pytest.CaptureFixture[str],
) -> None:
    command("serve", raising(error))
    assert llmrouter.main(["--debug", "serve"]) == 130
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    "error",
    [ValueError("of two\nlines"), ExceptionGroup("nursery", [ValueError("of two\nlines")])],
    ids=["alone", "in a nursery"],
)
def test_an_unexpected_error_is_one_line(
    error: Exception, command: Callable[[str, Run], None], capsys: pytest.CaptureFixture[str]
) -> None:
    command("serve", raising(error))
    assert llmrouter.main(["serve"]) == 1
    assert capsys.readouterr().err == (
        "llmrouter: internal error: ValueError: of two lines (run with --debug for the traceback)\n"
    )


def test_debug_lets_the_traceback_through(command: Callable[[str, Run], None]) -> None:
    command("serve", raising(ValueError("inside")))
    with pytest.raises(ValueError, match="inside"):
        llmrouter.main(["serve", "--debug"])


def test_a_missing_dependency_is_named(
    command: Callable[[str, Run], None], capsys: pytest.CaptureFixture[str]
) -> None:
    command("serve", raising(ModuleNotFoundError("No module named 'trio'", name="trio")))
    assert llmrouter.main(["serve"]) == 1
    assert "has no trio: install trio and h11, or run" in capsys.readouterr().err


def test_a_command_that_leaves_by_itself_may(command: Callable[[str, Run], None]) -> None:
    command("serve", raising(SystemExit(3)))
    with pytest.raises(SystemExit) as end:
        llmrouter.main(["serve"])
    assert end.value.code == 3


def test_a_reader_that_has_gone_is_no_error() -> None:
    """`llmrouter version | true`, with certainty: the pipe's other end is closed before the start."""
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "wb") as out:
        done = run_command("version", stdout=out, stderr=subprocess.PIPE)
    assert (done.returncode, done.stderr) == (1, "")


# ---- the version ---------------------------------------------------------------------------------


def run_command(
    *words: str, stdout: object = subprocess.PIPE, stderr: int = subprocess.STDOUT
) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, str(ROOT / "llmrouter.py"), *words]
    return subprocess.run(command, stdout=stdout, stderr=stderr, text=True, check=False)  # type: ignore[call-overload, no-any-return]


@pytest.mark.parametrize("word", ["version", "--version"])
def test_the_version_line(word: str) -> None:
    done = run_command(word)
    assert done.returncode == 0
    assert VERSION_LINE.fullmatch(done.stdout.rstrip("\n"))


def test_the_version_loads_neither_trio_nor_the_daemon_s_rooms() -> None:
    code = (
        "import sys, llmrouter; llmrouter.main(['version']);"
        "sys.exit(', '.join({'trio', 'h11', 'formats', 'llmrouterd.model'} & sys.modules.keys()) or 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


# ---- the file itself -----------------------------------------------------------------------------


def test_it_parses_on_old_pythons() -> None:
    """So that they get the sentence about 3.11 and not a SyntaxError."""
    text = (ROOT / "llmrouter.py").read_text("utf-8")
    ast.parse(text, feature_version=(3, 7))
    assert "from __future__" not in text.split('"""', 2)[2]


def test_an_old_python_gets_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "version_info", (3, 9, 1, "final", 0))
    with pytest.raises(SystemExit, match=r"needs Python 3\.11 or newer"):
        exec(compile((ROOT / "llmrouter.py").read_text("utf-8"), "llmrouter.py", "exec"), {})


def test_it_stays_thin() -> None:
    assert len((ROOT / "llmrouter.py").read_text("utf-8").splitlines()) <= 250
