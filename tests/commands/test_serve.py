"""`llmrouter serve`: exit codes, the words at start, and no secret among them.

The daemon itself is a stand-in here; tests/ops/test_app.py runs it.
"""

import argparse
import gc
import logging
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import llmrouter
from llmrouterd.commands import serve
from llmrouterd.commands.logs import Generation
from llmrouterd.config import Config
from llmrouterd.model import ConfigError
from llmrouterd.ops import app
from llmrouterd.ops.app import Running

ROOT = Path(__file__).parents[2]
ECHO = '[[providers]]\nname = "e"\nformat = "echo"\n'
FULL = """
[server]
port = 1234
api_key_env = "OWN"
[[providers]]
name = "ollama"
format = "ollama"
base_url = "http://localhost:11434"
[[providers]]
name = "cloud"
format = "openai"
base_url = "https://me:hush@api.example/v1"
[[providers]]
name = "keyed"
format = "anthropic"
base_url = "https://api.anthropic.example"
api_key_env = "THEIRS"
headers = { X-Whisper = "murmur" }
[[providers]]
name = "gone"
format = "openai"
base_url = "https://b.example"
api_key_env = "NOT_SET"
[[providers]]
name = "e"
format = "echo"
"""
SECRETS = ("sk-own", "sk-theirs", "hush", "murmur")


class StandIn:
    """app.run's place: keeps what it was given, and announces as the daemon would."""

    def __init__(self) -> None:
        self.config: Config | None = None
        self.given: dict[str, Any] = {}
        self.raises: Exception | None = None
        self.addresses = ("127.0.0.1:8090",)

    async def run(self, config: Config | None, **given: Any) -> None:
        self.config, self.given = config, given
        if self.raises is not None:
            raise self.raises
        given["ready"](Running(config or Config(), self.addresses))

    @property
    def called(self) -> bool:
        return bool(self.given)


@pytest.fixture
def daemon(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[StandIn]:
    stand_in = StandIn()
    monkeypatch.setattr(app, "run", stand_in.run)
    monkeypatch.setattr(serve, "_settle_memory", lambda: None)
    monkeypatch.setattr(serve.logs, "to_stderr", lambda *_: Generation())
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    monkeypatch.setenv("OWN", "sk-own")
    monkeypatch.setenv("THEIRS", "sk-theirs")
    monkeypatch.delenv("NOT_SET", raising=False)
    return stand_in


def run(*words: str) -> int:
    return llmrouter.main(["serve", *words])


def written(text: str, name: str = "x.toml") -> str:
    Path(name).write_text(text)
    return name


# --- what is run ----------------------------------------------------------------------------------


def test_the_file_that_is_named_is_served(daemon: StandIn) -> None:
    assert run(written(FULL)) == 0
    assert daemon.config is not None
    assert daemon.config.server.port == 1234
    assert daemon.given["user_agent"] == f"llmrouter/{llmrouter.__version__}"


def test_the_first_file_of_the_usual_places_is_served(daemon: StandIn) -> None:
    written(ECHO, "llmrouter.toml")
    written("broken", "config.toml")
    assert run() == 0
    assert daemon.config is not None
    assert daemon.config.path == "llmrouter.toml"


def test_without_any_file_the_machine_is_looked_at(daemon: StandIn) -> None:
    assert run("--port", "7") == 0
    assert daemon.config is None
    assert (daemon.given["host"], daemon.given["port"]) == (None, 7)


def test_the_command_line_overrides_the_file(daemon: StandIn) -> None:
    assert run(written(ECHO), "--host", "::1", "--port", "0") == 0
    assert daemon.config is not None
    assert (daemon.config.server.hosts, daemon.config.server.port) == (("::1",), 0)


# --- what is not run ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[server]\nprot = 1\n" + ECHO, ["x.toml:2", "server.prot", "port"]),
        ("nonsense", ["x.toml:1", "not TOML"]),
        ("[server]\nport = 1\n", ["[[providers]]"]),
    ],
)
def test_a_wrong_file_is_said_where_and_why(
    text: str, said: list[str], daemon: StandIn, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(written(text)) == 2
    out, err = capsys.readouterr()
    assert all(word in err for word in said), err
    assert all(line.startswith("llmrouter: ") for line in err.splitlines())
    assert (out, daemon.called) == ("", False)


def test_all_that_is_wrong_is_said_at_once(
    daemon: StandIn, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(written('[server]\nport = "x"\nprot = 1\n' + ECHO)) == 2
    assert len(capsys.readouterr().err.splitlines()) == 2


def test_a_file_that_is_not_there_is_not_replaced_by_another(
    daemon: StandIn, capsys: pytest.CaptureFixture[str]
) -> None:
    written(ECHO, "llmrouter.toml")
    assert run("missing.toml") == 2
    assert "missing.toml: no such file" in capsys.readouterr().err
    assert not daemon.called


@pytest.mark.parametrize("named", [True, False])
def test_beyond_this_machine_nothing_starts_without_a_key(
    named: bool, daemon: StandIn, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [written(ECHO)] if named else []
    for host in ("0.0.0.0", "::", "192.168.1.5", "some.name"):
        assert run(*words, "--host", host) == 2
        err = capsys.readouterr().err
        assert host in err
        assert "allow_unauthenticated" in err
    assert not daemon.called
    for host in ("127.0.0.1", "localhost", "::1"):
        assert run(*words, "--host", host) == 0


def test_with_a_key_it_may_listen_anywhere(daemon: StandIn) -> None:
    assert run(written(FULL), "--host", "0.0.0.0") == 0


def test_what_the_daemon_cannot_do_is_a_line_and_exit_code_2(
    daemon: StandIn, capsys: pytest.CaptureFixture[str]
) -> None:
    daemon.raises = ConfigError(["cannot listen on 127.0.0.1:8090: address already in use"])
    assert run(written(ECHO)) == 2
    out, err = capsys.readouterr()
    assert err == "llmrouter: cannot listen on 127.0.0.1:8090: address already in use\n"
    assert out == ""


def test_a_port_that_is_taken_is_a_line_and_exit_code_1(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The real daemon, as far as it gets."""
    monkeypatch.setattr(serve, "_settle_memory", lambda: None)
    monkeypatch.setattr(serve.logs, "to_stderr", lambda *_: Generation())
    monkeypatch.chdir(tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert run(written(ECHO), "--port", str(port)) == 1
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert f"127.0.0.1:{port}" in err
    assert "--port" in err


@pytest.mark.parametrize(
    "words", [["--port", "x"], ["--port", "70000"], ["--log-level", "loud"], ["--prot", "1"]]
)
def test_wrong_usage_is_exit_code_2(
    words: list[str], daemon: StandIn, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as left:
        run(*words)
    assert left.value.code == 2
    assert not daemon.called
    assert capsys.readouterr().out == ""


# --- check ----------------------------------------------------------------------------------------


def test_check_checks_and_does_not_serve(
    daemon: StandIn, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(written(FULL), "--check") == 0
    out, _ = capsys.readouterr()
    assert "x.toml: right" in out
    assert not daemon.called
    assert run(written("[server]\nprot = 1\n" + ECHO), "--check") == 2


def test_check_checks_what_would_be_served(
    daemon: StandIn, capsys: pytest.CaptureFixture[str]
) -> None:
    """The command line's words included."""
    assert run(written(ECHO), "--check", "--port", "4321") == 0
    assert "127.0.0.1:4321" in capsys.readouterr().out
    assert run(written(ECHO), "--check", "--host", "0.0.0.0") == 2


def test_check_without_a_file_says_what_would_happen(
    daemon: StandIn, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("--check") == 0
    assert "no configuration" in capsys.readouterr().out
    assert not daemon.called


# --- words ----------------------------------------------------------------------------------------


def test_what_was_found_and_the_lines_that_a_client_needs(
    daemon: StandIn, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(written(FULL)) == 0
    out, err = capsys.readouterr()
    assert out == ""  # nothing but an answer goes there
    lines = [line.strip() for line in err.splitlines()]
    assert any(
        line.startswith("provider   ollama (ollama, local) http://localhost:11434: ")
        for line in lines
    )
    assert any(line.startswith("skipped    gone: ") and "NOT_SET" in line for line in lines)
    assert "llmrouter listens on http://127.0.0.1:8090" in lines
    url = "http://127.0.0.1:8090"
    assert f"OpenAI     export OPENAI_BASE_URL={url}/v1 OPENAI_API_KEY=$KEY" in lines
    assert f"Anthropic  export ANTHROPIC_BASE_URL={url} ANTHROPIC_AUTH_TOKEN=$KEY" in lines
    assert f"Ollama     export OLLAMA_HOST={url}" in lines
    assert f"dashboard  {url}/dashboard" in lines


def test_no_secret_is_ever_printed(
    daemon: StandIn, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    assert run(written(FULL)) == 0
    assert run(written(FULL), "--check") == 0
    daemon.raises = ConfigError(["no"])
    assert run(written(FULL)) == 2
    said = "".join(capsys.readouterr()) + caplog.text
    assert not [secret for secret in SECRETS if secret in said]


def test_without_a_key_clients_are_told_so_and_without_a_dashboard_none_is_named(
    daemon: StandIn, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(written("[server]\ndashboard = false\n" + ECHO)) == 0
    err = capsys.readouterr().err
    assert "OPENAI_API_KEY=none" in err
    assert "dashboard" not in err


@pytest.mark.parametrize(
    ("addresses", "listens", "url"),
    [
        (
            ("127.0.0.1:1", "[::1]:1"),
            "http://127.0.0.1:1, http://[::1]:1",
            "http://127.0.0.1:1/v1",
        ),
        (("0.0.0.0:1",), "http://0.0.0.0:1", "http://127.0.0.1:1/v1"),
        (("[::]:1",), "http://[::]:1", "http://[::1]:1/v1"),
        (("192.168.1.5:1",), "http://192.168.1.5:1", "http://192.168.1.5:1/v1"),
    ],
)
def test_clients_are_given_an_address_that_can_be_connected_to(
    addresses: tuple, listens: str, url: str, daemon: StandIn, capsys: pytest.CaptureFixture[str]
) -> None:
    daemon.addresses = addresses
    assert run(written(ECHO)) == 0
    err = capsys.readouterr().err
    assert f"listens on {listens}\n" in err
    assert f"OPENAI_BASE_URL={url} " in err


def test_a_reload_reads_the_file_under_the_command_line_s_words(daemon: StandIn) -> None:
    name = written(ECHO)
    assert run(name, "--port", "7", "--watch-config") == 0
    written("[server]\nport = 9\nlife_sign = 2\n" + ECHO)
    again = daemon.given["load"]()
    assert (again.server.port, again.server.life_sign) == (7, 2.0)
    assert daemon.given["watch"] is True
    written("nonsense")
    with pytest.raises(ConfigError):
        daemon.given["load"]()


def test_without_a_file_there_is_nothing_to_reload(daemon: StandIn) -> None:
    assert run() == 0
    assert daemon.given["load"] is None


def test_the_log_is_told_which_configuration_is_in_force(
    daemon: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    stamp = Generation()
    monkeypatch.setattr(serve.logs, "to_stderr", lambda *_: stamp)
    assert run(written(ECHO)) == 0
    daemon.given["in_force"](4)
    assert stamp.number == 4


def test_a_unix_socket_alone_gives_no_lines_for_clients(
    daemon: StandIn, capsys: pytest.CaptureFixture[str]
) -> None:
    daemon.addresses = ("unix:/run/x.sock",)
    assert run(written(ECHO)) == 0
    said = capsys.readouterr().err
    assert "listens on unix:/run/x.sock" in said
    assert "export" not in said


@pytest.mark.slow
def test_memory_is_settled_and_can_be_unsettled() -> None:
    before = gc.get_threshold()
    try:
        serve._settle_memory()
        assert gc.get_freeze_count() > 0
        assert gc.get_threshold()[0] > before[0]
    finally:
        gc.unfreeze()
        gc.set_threshold(*before)


# --- how much a start is ---------------------------------------------------------------------------

# What it takes to listen and to answer, and a fifth to spare. Time is the machine's affair; what is
# loaded is ours. Whoever adds to it looks first whether it is wanted before somebody asks for it.
OURS, OTHERS = 300, 340
NOT_AT_A_START = frozenset(
    """curses asyncio multiprocessing unittest sqlite3 http.client urllib.request xml pydoc readline
    statistics fractions webbrowser llmrouterd.observe.otlp llmrouterd.observe.stats
    llmrouterd.pipeline.replay llmrouterd.ops.resend llmrouterd.selftest llmrouterd.commands.tui
    llmrouterd.commands.watch llmrouterd.commands.starter""".split()  # noqa: SIM905
)
STARTED = """
import os, signal, sys
import llmrouter
from llmrouterd.ops import app
run = app.run
async def told(*given, ready, **named):
    def listens(running):
        ready(running)
        print(*sys.modules)
        os.kill(os.getpid(), signal.SIGTERM)
    await run(*given, ready=listens, **named)
app.run = told
sys.exit(llmrouter.main(["serve", sys.argv[1]]))
"""


@pytest.mark.slow
def test_a_start_loads_what_it_needs_and_no_more(tmp_path: Path) -> None:
    """A module that creeps into every start costs every start; a clock would not say which it was."""
    config = tmp_path / "echo.toml"
    config.write_text("[server]\nport = 0\n" + ECHO)
    command = [sys.executable, "-c", STARTED, str(config)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    loaded = set(done.stdout.split())
    assert not sorted(NOT_AT_A_START & loaded)
    ours = {name for name in loaded if name.partition(".")[0] in ("formats", "llmrouterd")}
    assert {"llmrouterd.ops.app", "formats.ollama", "trio", "h11"} <= loaded
    assert len(ours) <= OURS, sorted(ours)
    assert len(loaded - ours) <= OTHERS, sorted(loaded - ours)


def test_the_parser_knows_all_that_serve_reads() -> None:
    args = llmrouter.build_parser().parse_args(["serve"])
    assert isinstance(args, argparse.Namespace)
    wanted = {"config", "host", "port", "log_level", "log_format", "watch_config", "check"}
    assert wanted <= set(vars(args))
