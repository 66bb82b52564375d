"""Real programs as clients: the router between them and servers of other formats.

`contrib/clients.sh` installs them, with `--all` some more. Without them these tests are skipped; where
they should be, they fail: in CI wherever npm is, and all of them under `contrib/clients.sh --test`.
"""

import os
import shutil
import subprocess
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.fakes.daemon import ROOT, RunningDaemon
from tests.fakes.models import MODEL, FakeModel

CLIENTS = Path(os.environ.get("CLIENTS_DIR", ROOT / ".clients"))
PROGRAMS = CLIENTS / "node_modules"
KEY = "router-key-1"
PATIENCE_S = 120
CONFIG = """
[server]
port = 0
api_key_env = "ROUTER_API_KEY"

{providers}
[[routers]]
type = "discover"

[models]
{aliases}
"""


def needed(found: bool, what: str, *, more: bool = False) -> None:
    """Skip the test of a client that is not here, or fail where it has to be. more: it is one of
    those that only `--all` installs."""
    if found:
        return
    words = f"no {what} here: bash contrib/clients.sh{' --all' if more else ''} installs it"
    in_ci = os.environ.get("CI") == "true" and shutil.which("npm") is not None
    if os.environ.get("CLIENTS") == "all" or (in_ci and not more):
        pytest.fail(words)
    pytest.skip(words)


@pytest.fixture(scope="session")
def programs() -> Path:
    """The directory of node_modules."""
    needed((PROGRAMS / ".bin" / "claude").exists(), "Claude Code")
    return PROGRAMS


@pytest.fixture(scope="module")
def models():
    """An upstream of each format."""
    with ExitStack() as stack:
        yield {name: stack.enter_context(FakeModel(name)) for name in MODEL}


@pytest.fixture(scope="module")
def daemon(models, tmp_path_factory):
    providers = "".join(
        f'[[providers]]\nname = "{name}"\nformat = "{name}"\nbase_url = "{model.url}"\n'
        for name, model in models.items()
    )
    aliases = "".join(f'over-{name} = "{name}/{MODEL[name]}"\n' for name in models)
    config = CONFIG.format(providers=providers, aliases=aliases)
    env = {"ROUTER_API_KEY": KEY}
    with RunningDaemon(config, tmp_path_factory.mktemp("daemon"), env=env) as running:
        yield running


@pytest.fixture
def run(programs, daemon, tmp_path):
    """Run a program in an empty home; what it printed."""

    def run(*command: str, text: str | None = None, **env: str) -> str:
        path = f"{programs / '.bin'}:{os.environ['PATH']}"
        keep = {name: value for name, value in os.environ.items() if name in ("LANG", "TMPDIR")}
        done = subprocess.run(
            command,
            cwd=tmp_path,
            env={**keep, "PATH": path, "HOME": str(tmp_path), "ROUTER_API_KEY": KEY, **env},
            input=text or "",
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=False,
        )
        assert done.returncode == 0, f"{done.stdout}\n{done.stderr}\n{daemon.log}"
        return done.stdout

    return run
