"""`check --online` and `--offline` as a user runs them, and what the kernel saw meanwhile."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fakes.daemon import ROOT
from tests.fakes.upstream import FakeUpstream, Turn

pytestmark = pytest.mark.e2e

PATIENCE_S = 120.0
MODELS = {"data": [{"id": "m"}]}
INSIDE = '[[providers]]\nname = "up"\nformat = "openai"\nbase_url = "{url}/v1"\n'
OUTSIDE = """
[[providers]]
name = "by-name"
format = "openai"
base_url = "https://api.example.com/v1"
[[providers]]
name = "by-address"
format = "openai"
base_url = "http://203.0.113.7:8000/v1"
[telemetry]
enabled = true
otlp_endpoint = "http://198.51.100.7:4318"
"""


def check(
    text: str | None, folder: Path, *words: str, before: tuple[str, ...] = (), **env: str
) -> "subprocess.CompletedProcess[str]":
    command = [*before, sys.executable, str(ROOT / "llmrouter.py"), "check"]
    if text is not None:
        (folder / "x.toml").write_text(text)
        command.append(str(folder / "x.toml"))
    return subprocess.run(
        [*command, *words],
        cwd=folder,
        env={"PATH": os.environ["PATH"], "HOME": str(folder), **env},
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_S,
    )


def test_online_says_what_works_and_what_does_not(tmp_path: Path) -> None:
    def keyed(turn: Turn) -> None:
        right = turn.received.headers.get("authorization") == "Bearer sk-right"
        turn.whole(MODELS if right else {}, 200 if right else 401)

    with FakeUpstream(keyed) as up:
        text = INSIDE.format(url=up.url) + 'api_key_env = "KEY"\n[models]\nsmall = "up/{model}"\n'
        fine = check(text.format(model="m"), tmp_path, "--online", KEY="sk-right")
        assert (fine.returncode, fine.stderr) == (0, ""), fine.stdout
        assert "all providers answer" in fine.stdout
        wrong_key = check(text.format(model="m"), tmp_path, "--online", KEY="sk-wrong")
        assert wrong_key.returncode == 1
        assert "/models answered 401: it refuses the key" in wrong_key.stdout
        echo = '[[providers]]\nname = "e"\nformat = "echo"\n'
        no_key = check(echo + text.format(model="m"), tmp_path, "--online")
        assert no_key.returncode == 1
        assert "the variable KEY is not set" in no_key.stdout
        typo = check(text.format(model="n"), tmp_path, "--online", "--json", KEY="sk-right")
        assert typo.returncode == 1
        (missing,) = json.loads(typo.stdout)["missing"]
        assert (missing["model"], missing["named_by"]) == ("n", "models.small")
        said = "".join(each.stdout + each.stderr for each in (fine, wrong_key, typo))
        assert "sk-" not in said


def test_offline_is_right_when_all_is_here_and_asks_as_a_start_does(tmp_path: Path) -> None:
    with FakeUpstream(lambda turn: turn.whole(MODELS)) as up:
        text = f"{INSIDE.format(url=up.url)}[logging]\nenabled = true\n"
        done = check(text, tmp_path, "--offline", "--seconds", "0.5")
        assert (done.returncode, done.stderr) == (0, ""), done.stdout
        assert re.search(rf"127.0.0.1:{up.port} +this host +let through", done.stdout)
        assert [each.target for each in up.received][:1] == ["/v1/models"]
    assert [path.name for path in tmp_path.iterdir()] == ["x.toml"]


def test_offline_without_a_file_looks_at_this_machine_only(tmp_path: Path) -> None:
    done = check(None, tmp_path, "--offline", "--seconds", "0", "--json", OPENAI_API_KEY="sk-x")
    told = json.loads(done.stdout)
    assert (done.returncode, told["well"], told["path"]) == (0, True, None)
    assert {each["where"] for each in told["seen"]} == {"this host"}
    assert len(told["seen"]) == 4


def test_offline_is_red_when_a_start_would_go_outside(tmp_path: Path) -> None:
    done = check(OUTSIDE, tmp_path, "--offline", "--seconds", "0", "--json")
    told = json.loads(done.stdout)
    assert (done.returncode, told["well"]) == (1, False)
    seen = {each["target"]: each["refused"] for each in told["seen"]}
    assert seen["the name api.example.com"]
    assert seen["203.0.113.7:8000"]
    due = {each["target"] for each in told["due"] if each["at_start"]}
    assert due == {"api.example.com:443", "203.0.113.7:8000", "198.51.100.7:4318"}


def test_a_wrong_file_and_wrong_words_are_exit_2(tmp_path: Path) -> None:
    assert check("[server]\nprot = 1\n", tmp_path, "--offline").returncode == 2
    wrong = check(OUTSIDE, tmp_path, "--offline", "--allow", "10.0.0.0/99")
    assert (wrong.returncode, wrong.stdout) == (2, "")
    assert "--allow: '10.0.0.0/99' is no name, address or network" in wrong.stderr
    assert check(OUTSIDE, tmp_path, "--offline", "--online").returncode == 2
    alone = check(OUTSIDE, tmp_path, "--allow", "10.0.0.1")
    assert (alone.returncode, "goes with --offline" in alone.stderr) == (2, True)


@pytest.mark.skipif(shutil.which("strace") is None, reason="there is no strace")
def test_the_kernel_saw_nothing_go_outside_either(tmp_path: Path) -> None:
    """What the watch refuses never becomes a system call, of any thread, and names are not asked for."""
    trace = tmp_path / "trace"
    calls = "trace=connect,sendto,sendmsg,sendmmsg"
    before = ("strace", "-f", "-qq", "-e", calls, "-o", str(trace))
    with FakeUpstream(lambda turn: turn.whole(MODELS)) as up:
        text = INSIDE.format(url=up.url) + OUTSIDE
        done = check(text, tmp_path, "--offline", "--seconds", "0", before=before)
    if not trace.exists() or "Operation not permitted" in done.stderr:
        pytest.skip("strace may not trace here")
    assert done.returncode == 1, done.stderr
    addresses = re.findall(
        r"sin6?_addr=[^\"]*\"([^\"]+)\"|inet_pton\([^\"]*\"([^\"]+)\"", trace.read_text()
    )
    assert {a or b for a, b in addresses} == {"127.0.0.1"}
