"""Real programs as clients: the router between them and servers of other formats.

`contrib/clients.sh` installs them; without them these tests are skipped.
"""

import os
import subprocess
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.fakes.daemon import ROOT, RunningDaemon
from tests.fakes.models import MODEL, FakeModel

PROGRAMS = Path(os.environ.get("CLIENTS_DIR", ROOT / ".clients")) / "node_modules"
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


@pytest.fixture(scope="session")
def programs() -> Path:
    """The directory of node_modules."""
    if not (PROGRAMS / ".bin" / "claude").exists():
        pytest.skip("no clients here: bash contrib/clients.sh installs them")
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
