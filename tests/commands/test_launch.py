"""Starting a coding agent on the router."""

import json
import os
import subprocess
import sys
from argparse import Namespace
from pathlib import Path

import pytest

import llmrouter
from llmrouterd.commands import launch
from llmrouterd.commands.launch import AGENTS, KEY, LaunchError, plan
from tests.fakes.upstream import FakeUpstream, Turn

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture
def path(tmp_path: Path) -> str:
    """A PATH with programs that say how they were started."""
    for name in AGENTS:
        program = tmp_path / name
        program.write_text(
            f"#!{sys.executable}\nimport json, os, sys\n"
            "print(json.dumps([sys.argv[1:], dict(os.environ)]))\nsys.exit(7)\n"
        )
        program.chmod(0o755)
    return str(tmp_path)


@pytest.fixture
def router():
    def script(turn: Turn) -> None:
        if turn.received.headers.get("authorization") == "Bearer wrong":
            turn.whole({"error": {"message": "no"}}, 401)
        else:
            turn.whole({"object": "list", "data": [{"id": "first"}, {"id": "second"}]})

    with FakeUpstream(script) as up:
        yield up


def asked(agent: str, *words: str) -> Namespace:
    return llmrouter.parse(["launch", agent, *words])


def planned(agent: str, router: FakeUpstream, path: str, *words: str, **env: str):
    return plan(asked(agent, "--url", router.url, *words), {"PATH": path, **env})


def test_the_command_line_knows_all_agents() -> None:
    for agent in AGENTS:
        assert asked(agent).agent == agent


def test_claude_code_asks_for_claude_unless_told_otherwise(router, path) -> None:
    _, words, env = planned("claude", router, path, ROUTER_API_KEY="k")
    assert words == []
    assert env["ANTHROPIC_BASE_URL"] == router.url
    assert env["ANTHROPIC_AUTH_TOKEN"] == "k"
    assert "ANTHROPIC_MODEL" not in env
    _, words, env = planned("claude", router, path, "--model", "m", "--", "-p", "hi")
    assert words == ["-p", "hi"]
    assert (env["ANTHROPIC_MODEL"], env["ANTHROPIC_SMALL_FAST_MODEL"]) == ("m", "m")


def test_codex_is_given_a_provider_on_its_command_line_and_the_key_in_its_environment(
    router, path
) -> None:
    _, words, env = planned("codex", router, path, "--model", "m", "--", "exec", "hi", MINE="k")
    line = " ".join(words)
    assert f'base_url = "{router.url}/v1"' in line
    assert 'wire_api = "responses"' in line
    assert words[-4:] == ["-m", "m", "exec", "hi"]
    assert env[KEY] == "none"
    _, words, env = planned("codex", router, path, "--key-env", "MINE", MINE="secret")
    assert env[KEY] == "secret"
    assert "secret" not in " ".join(words)


@pytest.mark.parametrize(
    ("agent", "name"), [("copilot", "COPILOT_MODEL"), ("qwen", "OPENAI_MODEL")]
)
def test_an_agent_that_must_be_told_a_model_gets_the_router_s_first(
    agent: str, name: str, router, path
) -> None:
    _, _, env = planned(agent, router, path)
    assert env[name] == "first"
    assert f"{router.url}/v1" in env.values()


def test_opencode_is_given_a_whole_configuration(router, path) -> None:
    _, _, env = planned("opencode", router, path, "--model", "org/m")
    told = json.loads(env["OPENCODE_CONFIG_CONTENT"])
    assert told["model"] == "llmrouter/org/m"
    assert told["provider"]["llmrouter"]["options"]["baseURL"] == f"{router.url}/v1"
    assert "org/m" in told["provider"]["llmrouter"]["models"]


def test_a_url_may_end_in_v1(router, path) -> None:
    args = asked("claude", "--url", router.url + "/v1/")
    assert plan(args, {"PATH": path})[2]["ANTHROPIC_BASE_URL"] == router.url


@pytest.mark.parametrize(
    ("agent", "words", "env", "said"),
    [
        ("claude", (), {"PATH": "/nowhere"}, "no program 'claude'"),
        ("claude", ("--url", "http://127.0.0.1:9"), {}, "no router answers"),
        ("claude", (), {"ROUTER_API_KEY": "wrong"}, "wants a key"),
    ],
)
def test_what_is_missing_is_said(agent, words, env, said, router, path) -> None:
    with pytest.raises(LaunchError, match=said):
        plan(asked(agent, "--url", router.url, *words), {"PATH": path, **env})


def test_something_else_at_that_address(path) -> None:
    for script in (lambda t: t.whole({}, 404), lambda t: t.whole(b"<html>"), lambda t: t.whole({})):
        with FakeUpstream(script) as up, pytest.raises(LaunchError):
            plan(asked("claude", "--url", up.url), {"PATH": path})


def test_a_router_without_models(path) -> None:
    with FakeUpstream(lambda turn: turn.whole({"data": []})) as up:
        with pytest.raises(LaunchError, match="--model"):
            plan(asked("qwen", "--url", up.url), {"PATH": path})
        assert plan(asked("claude", "--url", up.url), {"PATH": path})


def test_the_agent_takes_our_place(router, path) -> None:
    command = [sys.executable, str(ROOT / "llmrouter.py"), "launch", "claude", "--url", router.url]
    env = {"PATH": path, "PYTHONPATH": os.environ.get("PYTHONPATH", "")}
    done = subprocess.run(
        [*command, "--", "-p", "a b"], capture_output=True, text=True, env=env, timeout=30
    )
    assert done.returncode == 7, done.stderr
    words, seen = json.loads(done.stdout)
    assert words == ["-p", "a b"]
    assert seen["ANTHROPIC_BASE_URL"] == router.url


def test_print_says_it_without_the_key(router, path, capsys, monkeypatch) -> None:
    monkeypatch.setenv("PATH", path)
    monkeypatch.setenv("ROUTER_API_KEY", "very-secret")
    assert launch.run(asked("codex", "--url", router.url, "--print", "--", "exec", "a b")) == 0
    out = capsys.readouterr().out
    assert "very-secret" not in out
    assert f"export {KEY}=..." in out
    assert out.rstrip().endswith("exec 'a b'")


def test_a_failure_is_one_line(capsys) -> None:
    assert launch.run(asked("claude", "--url", "http://127.0.0.1:9")) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert len(said.err.splitlines()) == 1
