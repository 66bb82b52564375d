"""The benchmark runs and gives figures; which ones is the machine's business."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
BENCH = ROOT / "contrib" / "bench"
pytestmark = [pytest.mark.slow, pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("bench") / "llmrouter.pyz"
    command = ["sh", str(ROOT / "zipapp.sh"), "--python", sys.executable, "--output", str(out)]
    subprocess.run(command, check=True, capture_output=True)
    return out


def tables(script: str, built: Path, *options: str) -> list[list[str]]:
    command = [sys.executable, str(BENCH / script), "--router", str(built), *options]
    done = subprocess.run(
        [*command, "--python", sys.executable], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    rows = [line.strip("| ").split(" | ") for line in done.stdout.splitlines() if line[:1] == "|"]
    return [row for row in rows if row[0] != "---"]


@pytest.mark.skipif(not shutil.which("cc"), reason="no C compiler")
def test_every_target_has_its_cost(built: Path) -> None:
    short = ("--only", "S1b,S3,S5a,S5b", "--rounds", "1", "--secs", "0.2", "--unpin")
    rows = tables("run.py", built, *short)
    ratios = next(row[1:] for row in rows if row[0] == "llmrouter" and len(row) == 5)
    assert all(float(ratio) > 0 for ratio in ratios)
    costs = [row for row in rows if len(row) == 7 and row[0] != "target"]
    assert [row[0] for row in costs].count("llmrouter") == 4
    assert [row[0] for row in costs].count("trio+h11+json") == 2
    for row in costs:
        assert float(row[1]) > 0, row
        assert row[6] == "0", row


@pytest.mark.skipif(not shutil.which("cc"), reason="no C compiler")
def test_what_readers_of_the_feed_cost(built: Path) -> None:
    """It ends with an error when a request fails, or when a reader misses the end of one."""
    short = ("--rounds", "1", "--secs", "0.3", "--readers", "5", "--feeds", "page,plain", "--unpin")
    rows = tables("readers.py", built, *short)
    assert [row[0] for row in rows] == 2 * ["feed", "none", "page", "plain"]
    assert all(float(row[1].split(" ")[0]) > 0 for row in rows if row[0] != "feed")


def test_the_time_to_an_upstreams_end_is_measured_for_every_way_to_leave(built: Path) -> None:
    head, *rows = tables("gone.py", built, "--trials", "3")
    assert head[0] == "the client leaves"
    assert len(rows) == 4
    for _, times, *figures in rows:
        assert times == "3"
        assert all(float(figure) > 0 for figure in figures)


def test_the_start_is_measured_on_every_surface(built: Path) -> None:
    rows = dict(row[:2] for row in tables("start.py", built, "--runs", "1"))
    for path in ("/v1/chat/completions", "/v1/messages", "/api/chat"):
        assert re.match(r"\d+\.\d\d ", rows[f"first answer on `{path}`, s"])
    assert rows["`--version` imports trio"] == "no"


@pytest.mark.skipif(not shutil.which("cc"), reason="no C compiler")
def test_hundreds_of_clients_that_vanish_leave_nothing_behind(built: Path) -> None:
    """It ends with 1, and says what is left, when a gauge stays up or an upstream was not left."""
    rows = tables("vanish.py", built, "--clients", "400")
    assert {row[0] for row in rows} >= {"prefill", "stream", "queued", "all"}


def test_a_short_soak_ends_with_nothing_in_flight(built: Path) -> None:
    rows = [row for row in tables("soak.py", built, "--requests", "400") if row[0].isdigit()]
    assert [int(row[0]) for row in rows] == list(range(40, 401, 40))
    assert all(float(row[1]) > 0 for row in rows)
    assert max(int(row[2]) for row in rows) < 60  # descriptors: a few connections each way
