"""What commands take on the command line."""

import subprocess
import sys
from pathlib import Path

import pytest

import llmrouter
from llmrouterd.commands import options

ROOT = Path(__file__).resolve().parents[2]


def test_watch_and_tui_take_an_address_and_where_the_key_is() -> None:
    for command in ("watch", "tui"):
        args = llmrouter.parse([command])
        assert (args.url, args.key_file, args.ca_file, args.filter) == (options.URL, None, None, "")
        args = llmrouter.parse([command, "http://r", "--key-file", "k", "--filter", "errors"])
        assert (args.url, args.key_file, args.filter) == ("http://r", Path("k"), "errors")
    assert llmrouter.parse(["watch", "--json"]).json
    assert llmrouter.parse(["watch", "--brief"]).brief


def test_there_is_no_option_for_the_key_itself(capsys: pytest.CaptureFixture[str]) -> None:
    """Every user of the machine could read it."""
    with pytest.raises(SystemExit):
        llmrouter.parse(["watch", "--key", "secret"])
    assert "secret" not in capsys.readouterr().err


def test_it_loads_nothing_but_the_standard_library() -> None:
    code = "import sys, llmrouterd.commands.options; print('trio' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout == "False\n"


def test_the_options_of_replay() -> None:
    args = llmrouter.parse(["replay", "a", "b.gz", "--config", "n.toml", "--limit", "5", "--json"])
    assert [str(path) for path in args.log] == ["a", "b.gz"]
    assert (str(args.config), args.limit, args.concurrency) == ("n.toml", 5, 1)
    assert (args.json, args.send, args.all, args.url) == (True, False, False, None)


@pytest.mark.parametrize("wrong", ["0", "-1", "x", "1" * 12, "٣"])
def test_a_count_is_a_number_above_0(wrong: str, capsys) -> None:
    with pytest.raises(SystemExit) as exit_:
        llmrouter.parse(["replay", "a", f"--limit={wrong}"])
    assert exit_.value.code == 2
    assert "is not a number above 0" in capsys.readouterr().err
