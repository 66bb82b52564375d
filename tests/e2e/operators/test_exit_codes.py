"""Every command as a process: a call that is fine, one that fails, and one that is wrong.

0 is fine, 1 means that what was asked for failed, 2 is wrong usage or configuration. On stdout stands
the answer and nothing else; what went wrong is one or two lines on stderr, never a traceback.
"""

import json
import os
import pty
import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

import llmrouter
from tests.fakes.daemon import ROOT, RunningDaemon

pytestmark = pytest.mark.e2e

PATIENCE_S = 90.0
ECHO = '[[providers]]\nname = "e"\nformat = "echo"\n'
FORBIDS = f'{ECHO}[[policies]]\naction = "block"\nmodel = "*"\n'
NOBODY = "http://127.0.0.1:9"  # nothing listens at the discard port


@dataclass(frozen=True)
class Call:
    """words: after the command, `{url}` is where a router runs, `{port}` its port; said: on stderr, or
    on stdout where the failure is the answer (told)."""

    words: str
    said: str = ""
    told: bool = False


FINE = {
    "init": (Call("made/new.toml"), Call("- "), Call("made/keyed.toml --key")),
    "serve": (Call("x.toml --check"),),
    "check": (Call("x.toml"), Call("x.toml --json"), Call("x.toml --online --json")),
    "explain": (Call("x.toml --model echo --json"), Call("--model echo --url {url}")),
    "stats": (Call("log.jsonl --json"), Call("log.jsonl --csv")),
    "audit": (Call("verify log.jsonl --json"),),
    "replay": (Call("log.jsonl --config x.toml --json"),),
    "launch": (Call("claude --url {url} --print"),),
    "provider": (
        Call("list --url {url}"),
        Call("pause e --url {url}"),
        Call("resume e --url {url}"),
    ),
    "service": (Call("print --config x.toml"), Call("install --user --config x.toml")),
    "version": (Call(""), Call("--sbom")),
}
FAILING = {
    "init": (Call("x.toml", "x.toml is there already: --force replaces it"),),
    "serve": (Call("x.toml --port {port}", "another program listens there"),),
    "check": (
        Call("gone.toml --online", "nothing listens there", told=True),
        Call("out.toml --offline --seconds 0", "wrong: a start goes outside", told=True),
    ),
    "explain": (
        Call("forbids.toml --model echo", "a policy of this router blocks", told=True),
        Call(f"--model echo --url {NOBODY}", f"no router answers at {NOBODY}"),
    ),
    "stats": (Call("none.jsonl", "no such file"), Call("x.toml", "no requests", told=True)),
    "watch": (Call("{url}/elsewhere", "event feed"),),
    "audit": (
        Call("verify none.jsonl", "no such file"),
        Call("verify cut.jsonl", "BROKEN", told=True),
    ),
    "replay": (
        Call("none.jsonl --config x.toml", "no such file"),
        Call(f"log.jsonl --config x.toml --send --url {NOBODY}", "refused", told=True),
    ),
    "launch": (Call(f"claude --url {NOBODY}", f"no router answers at {NOBODY}"),),
    "provider": (
        Call(f"list --url {NOBODY}", "no router answers"),
        Call("pause none --url {url}", "there is no provider 'none'"),
    ),
    "service": (Call("install --user --config none.toml", "there is no "),),
}
WRONG = {
    "init": (Call("- --key", "--key needs a file"), Call("--frce", "unknown argument --frce")),
    "serve": (Call("wrong.toml", "wrong.toml:2: server.prot"), Call("--port x", "'x' is not a")),
    "check": (
        Call("wrong.toml", "wrong.toml:2: server.prot: unknown key"),
        Call("none.toml", "none.toml: no such file"),
        Call("x.toml --seconds 1", "goes with --offline"),
        Call("x.toml --offline --online", "not allowed with"),
    ),
    "explain": (
        Call("x.toml", "give --model"),
        Call("wrong.toml --model m", "server.prot"),
        Call("--model m --url ftp://x", "is no address such as"),
    ),
    "selftest": (Call("wrong.toml", "server.prot"), Call("--jsn", "unknown argument")),
    "stats": (Call("log.jsonl --since soon", "--since takes"), Call("log.jsonl --by x", "--by")),
    "watch": (Call("ftp://x", "is no address such as"), Call("{url} --filter a=b", "filter by")),
    "tui": (Call("{url}", "this is no terminal"), Call("ftp://x", "is no address such as")),
    "audit": (Call("verfy log.jsonl", "invalid choice"), Call("", "required")),
    "replay": (
        Call("log.jsonl --since soon --config x.toml", "--since takes"),
        Call("", "required"),
    ),
    "launch": (Call("clod", "invalid choice"), Call("claude --url unix:/x", "cannot use a socket")),
    "provider": (
        Call("pause --url {url}", "name the provider"),
        Call("list --url x", "--url takes"),
    ),
    "service": (Call("remove", "invalid choice"), Call("", "required")),
    "version": (Call("now", "unknown argument now"),),
}
# Which of the two has no such call, or is tried elsewhere, and why.
NO_FINE = {
    "selftest": "half a minute: tests/commands/test_selftest.py, tests/e2e/faults",
    "watch": "it goes on until it is stopped: below",
    "tui": "it wants a terminal: below",
}
NO_FAILING = {
    "selftest": "it fails when the router is broken: tests/commands/test_selftest.py",
    "tui": "a router that refuses is shown on the screen, until somebody quits",
    "version": "nothing in it can fail",
}


@pytest.fixture(scope="module")
def yard(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with configurations and logs, and a router that runs; `url` in it says where."""
    folder = tmp_path_factory.mktemp("yard")
    sealed = f"[server]\nport = 0\n[logging]\nenabled = true\naudit = true\n{ECHO}"
    (folder / "daemon").mkdir()
    files = {
        "x.toml": ECHO,
        "wrong.toml": f"[server]\nprot = 1\n{ECHO}",
        "forbids.toml": FORBIDS,
        "gone.toml": f'[[providers]]\nname = "g"\nformat = "openai"\nbase_url = "{NOBODY}"\n',
        "out.toml": '[[providers]]\nname = "o"\nformat = "openai"\nbase_url = "https://a.example"\n',
    }
    for name, text in files.items():
        (folder / name).write_text(text)
    (folder / "claude").write_text("#!/bin/sh\n")
    (folder / "claude").chmod(0o755)
    with RunningDaemon(sealed, folder / "daemon") as daemon:
        body = b'{"model": "echo", "messages": [{"role": "user", "content": "hello"}]}'
        for _ in range(3):
            urllib.request.urlopen(f"{daemon.url}/v1/chat/completions", body, timeout=60).read()
        log, until = folder / "daemon/logs/requests.jsonl", time.monotonic() + PATIENCE_S
        while not log.exists() or len(log.read_text().splitlines()) < 3:
            assert time.monotonic() < until
            time.sleep(0.05)
        lines = log.read_text().splitlines(keepends=True)
        (folder / "log.jsonl").write_text("".join(lines))
        (folder / "cut.jsonl").write_text("".join([lines[0], *lines[2:]]))
        (folder / "url").write_text(daemon.url)
        yield folder


def environment(yard: Path) -> dict[str, str]:
    return {
        "PATH": f"{yard}:{os.environ['PATH']}",
        "HOME": str(yard),
        "XDG_CONFIG_HOME": str(yard / "config"),
        "TERM": "xterm",
    }


def words_of(yard: Path, command: str, call: Call) -> list[str]:
    url = (yard / "url").read_text()
    words = call.words.format(url=url, port=url.rpartition(":")[2]).split()
    return [sys.executable, str(ROOT / "llmrouter.py"), command, *words]


def run(yard: Path, command: str, call: Call) -> "subprocess.CompletedProcess[str]":
    done = subprocess.run(
        words_of(yard, command, call),
        cwd=yard,
        env=environment(yard),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_S,
    )
    assert "Traceback" not in done.stdout + done.stderr
    return done


def calls(table: dict[str, tuple[Call, ...]]) -> list:
    return [
        pytest.param(command, call, id=f"{command} {call.words}")
        for command, each in table.items()
        for call in each
    ]


def test_every_command_is_walked() -> None:
    commands = set(llmrouter.COMMANDS)
    assert set(FINE) | set(NO_FINE) == commands
    assert set(FAILING) | set(NO_FAILING) == commands
    assert set(WRONG) == commands
    assert not set(FINE) & set(NO_FINE)
    assert not set(FAILING) & set(NO_FAILING)


@pytest.mark.parametrize(("command", "call"), calls(FINE))
def test_a_fine_call_is_0(yard: Path, command: str, call: Call) -> None:
    done = run(yard, command, call)
    assert done.returncode == 0, done.stderr
    if "--json" in call.words or "--sbom" in call.words:
        json.loads(done.stdout)
    if command != "init":
        assert (done.stderr, bool(done.stdout)) == ("", True)


@pytest.mark.parametrize(("command", "call"), calls(FAILING))
def test_a_failing_call_is_1(yard: Path, command: str, call: Call) -> None:
    done = run(yard, command, call)
    assert done.returncode == 1, (done.stdout, done.stderr)
    assert call.said in (done.stdout if call.told else done.stderr)
    if not call.told:
        assert done.stdout == ""
        assert is_short(done.stderr), done.stderr


@pytest.mark.parametrize(("command", "call"), calls(WRONG))
def test_a_wrong_call_is_2(yard: Path, command: str, call: Call) -> None:
    done = run(yard, command, call)
    assert (done.returncode, done.stdout) == (2, ""), done.stderr
    assert call.said in done.stderr
    assert is_short(done.stderr), done.stderr


def is_short(said: str) -> bool:
    """One or two lines that begin with who says it."""
    lines = said.splitlines()
    return 1 <= len(lines) <= 2 and all(line.startswith("llmrouter") for line in lines)


# --- what goes on until it is stopped -------------------------------------------------------------


def test_serve_is_0_when_it_was_stopped_in_order(yard: Path) -> None:
    command = words_of(yard, "serve", Call("x.toml --port 0"))
    with subprocess.Popen(
        command, cwd=yard, env=environment(yard), stderr=subprocess.PIPE, stdout=subprocess.PIPE
    ) as serving:
        assert serving.stderr
        assert serving.stdout
        assert any(b"listens on" in line for line in iter(serving.stderr.readline, b""))
        serving.send_signal(signal.SIGTERM)
        assert (serving.wait(PATIENCE_S), serving.stdout.read()) == (0, b"")


def test_watch_is_130_when_it_was_interrupted(yard: Path) -> None:
    command = words_of(yard, "watch", Call("{url} --json"))
    with subprocess.Popen(
        command, cwd=yard, env=environment(yard), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as watching:
        url, until = (yard / "url").read_text(), time.monotonic() + PATIENCE_S
        body = b'{"model": "echo", "messages": [{"role": "user", "content": "hello"}]}'
        assert watching.stdout
        assert watching.stderr
        os.set_blocking(watching.stdout.fileno(), False)
        while not watching.stdout.read():
            assert time.monotonic() < until
            urllib.request.urlopen(f"{url}/v1/chat/completions", body, timeout=60).read()
        watching.send_signal(signal.SIGINT)
        assert (watching.wait(PATIENCE_S), watching.stderr.read()) == (130, b"")


def test_tui_is_0_when_somebody_quits(yard: Path) -> None:
    above, below = pty.openpty()
    command = words_of(yard, "tui", Call("{url}"))
    with subprocess.Popen(
        command, cwd=yard, env=environment(yard), stdin=below, stdout=below, stderr=subprocess.PIPE
    ) as shown:
        os.close(below)
        said = b""
        while not re.search(rb"(?i)requests", said):
            said += os.read(above, 65536)
        os.write(above, b"q")
        assert shown.stderr
        try:
            while os.read(above, 65536):
                pass
        except OSError:  # the terminal's other side is closed
            pass
        assert (shown.wait(PATIENCE_S), shown.stderr.read()) == (0, b"")
    os.close(above)
