"""Unix sockets from end to end: a router that listens on one, and one whose provider does."""

import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.fakes.daemon import ROOT, RunningDaemon

pytestmark = pytest.mark.e2e

PATIENCE_S = 60.0
KEY = "a key that only these two know"
POLICY = '[[policies]]\nmodel = "*"\nrequire = "local"\n'


@pytest.fixture(scope="module")
def sock(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """An echo that listens on a unix socket (and on a port, for the one who waits for its start)."""
    folder = tmp_path_factory.mktemp("behind")
    path = folder / "r.sock"
    text = f'[server]\nport = 0\nhost = ["127.0.0.1", "unix:{path}"]\napi_key_env = "OWN"\n'
    text += '[[providers]]\nname = "e"\nformat = "echo"\nmax_concurrency = 3\n'
    with RunningDaemon(text, folder, env={"OWN": KEY}):
        yield path


def command(*words: str) -> "subprocess.CompletedProcess[str]":
    env = {"PATH": os.environ["PATH"], "HOME": "/nowhere", "ROUTER_API_KEY": KEY}
    return subprocess.run(
        [sys.executable, ROOT / "llmrouter.py", *words],
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_S,
        env=env,
    )


def chat(url: str, model: str) -> httpx.Response:
    body = {"model": model, "messages": [{"role": "user", "content": "through a socket"}]}
    return httpx.post(f"{url}/v1/chat/completions", json=body, timeout=PATIENCE_S)


@pytest.mark.parametrize("rest", ["", ":/v1"])
def test_a_provider_on_a_socket_is_local_and_streams(sock: Path, tmp_path: Path, rest: str) -> None:
    text = f'[server]\nport = 0\n{POLICY}[[providers]]\nname = "up"\nformat = "openai"\n'
    text += f'base_url = "unix:{sock}{rest}"\napi_key_env = "THEIRS"\n'
    with RunningDaemon(text, tmp_path, env={"THEIRS": KEY}) as daemon:
        answer = chat(daemon.url, "e/echo")
        assert "through a socket" in answer.json()["choices"][0]["message"]["content"]
        assert answer.headers["x-router-provider"] == "up"
        assert answer.headers["x-router-left-host"] == "no"
        state = httpx.get(f"{daemon.url}/dashboard/api/state").json()
        assert state["providers"][0]["address"] == f"unix:{sock}:/v1"


def test_commands_ask_a_router_on_a_socket(sock: Path) -> None:
    listed = command("provider", "list", "--url", f"unix:{sock}")
    assert (listed.returncode, listed.stderr) == (0, "")
    assert listed.stdout.splitlines()[1].split()[:2] == ["e", "well"]
    told = command("explain", "--model", "echo", "--url", f"unix:{sock}", "--json")
    assert told.returncode == 0, told.stderr
    candidate = json.loads(told.stdout)["candidates"][0]
    assert (candidate["provider"], candidate["queue"]["at_once"]) == ("e", 3)
    paused = command("provider", "drain", "e", "--url", f"unix:{sock}")
    assert "nothing runs there" in paused.stdout
    assert command("provider", "resume", "e", "--url", f"unix:{sock}").returncode == 0


def test_watch_follows_a_router_on_a_socket(sock: Path) -> None:
    env = {**os.environ, "LLMROUTER_API_KEY": KEY}
    words = [sys.executable, ROOT / "llmrouter.py", "watch", f"unix:{sock}", "--json"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True, env=env) as watching:
        try:
            transport = httpx.HTTPTransport(uds=str(sock))
            with httpx.Client(transport=transport, base_url="http://localhost") as client:
                fields = {"authorization": f"Bearer {KEY}"}
                body = {"model": "e/echo", "messages": [{"role": "user", "content": "hello"}]}
                until = time.monotonic() + PATIENCE_S
                while not select.select([watching.stdout], [], [], 0.3)[0]:
                    assert time.monotonic() < until
                    asked = client.post("/v1/chat/completions", json=body, headers=fields)
                    assert asked.status_code == 200
            assert watching.stdout is not None
            assert json.loads(watching.stdout.readline())["type"]
        finally:
            watching.kill()


def test_a_socket_that_is_not_there_is_said_so(tmp_path: Path) -> None:
    gone = f"unix:{tmp_path}/gone.sock"
    done = command("provider", "list", "--url", gone)
    assert (done.returncode, done.stdout) == (1, "")
    assert f"{gone} is not there" in done.stderr
    wrong = command("provider", "list", "--url", "unix:gone.sock")
    assert (wrong.returncode, "whole path" in wrong.stderr) == (2, True)
