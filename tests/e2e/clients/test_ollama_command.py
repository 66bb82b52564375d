"""The `ollama` command itself, where it is on the PATH, with the router in the server's place."""

import shutil
import subprocess

import pytest

from tests.fakes.daemon import RunningDaemon
from tests.fakes.models import MODEL, FakeModel, Said

pytestmark = [pytest.mark.e2e, pytest.mark.real, pytest.mark.slow]
PROGRAM = shutil.which("ollama")
CONFIG = """
[server]
port = 0
[[providers]]
name = "cloud"
format = "anthropic"
base_url = "{url}"
models = ["{model}"]
context_length = 200000
[[routers]]
type = "discover"
"""


@pytest.fixture
def upstream():
    with FakeModel("anthropic") as model:
        yield model


@pytest.fixture
def command(upstream, tmp_path):
    if PROGRAM is None:
        pytest.skip("no ollama on the PATH")
    with RunningDaemon(
        CONFIG.format(url=upstream.url, model=MODEL["anthropic"]), tmp_path
    ) as daemon:

        def command(*words: str) -> str:
            done = subprocess.run(
                [PROGRAM, *words],
                env={"OLLAMA_HOST": daemon.url, "HOME": str(tmp_path), "TERM": "dumb"},
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=60,
                check=False,
            )
            assert done.returncode == 0, f"{done.stdout}\n{done.stderr}\n{daemon.log}"
            return done.stdout

        yield command


def test_a_cloud_model_is_listed_like_a_local_one(command) -> None:
    assert MODEL["anthropic"] in command("list")
    assert "completion" in command("show", MODEL["anthropic"])
    assert "NAME" in command("ps")


def test_a_cloud_model_is_run(command, upstream) -> None:
    upstream.says(Said("Hello from far away."))
    assert "Hello from far away." in command("run", MODEL["anthropic"], "Say hello.")
    assert "Say hello." in str(upstream.chats[-1].json["messages"])
