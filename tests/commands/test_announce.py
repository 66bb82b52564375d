"""What is said when the daemon listens: one line for each thing, no secret in any."""

import json
import logging
from pathlib import Path

import pytest

from llmrouterd.commands import logs
from llmrouterd.commands.announce import announce, lines
from llmrouterd.config import Config, parse
from llmrouterd.model import ModelInfo, Provider, ProviderState
from llmrouterd.ops.app import Running

TEXT = """
[server]
api_key_env = "OWN"
state_dir = "state"
[logging]
enabled = true
bodies = "none"
audit = true
[telemetry]
enabled = true
otlp_endpoint = "http://collector:4318"
[[clients]]
name = "anna"
key_env = "ANNA"
[classifiers.pii]
enabled = true
[response_classifiers.empty]
enabled = false
[plugins.response-healing]
enabled = true
[[providers]]
name = "ollama"
format = "ollama"
base_url = "http://localhost:11434"
[[providers]]
name = "cloud"
format = "openai"
base_url = "https://me:hush@api.example/v1"
[[providers]]
name = "late"
format = "openai"
base_url = "unix:/run/late.sock"
api_key_envs = ["OWN", "ANNA"]
[[providers]]
name = "listed"
format = "openai"
base_url = "https://b.example/v1"
models = ["a"]
[[providers]]
name = "gone"
format = "openai"
base_url = "https://c.example"
api_key_env = "NOT_SET"
[[providers]]
name = "e"
format = "echo"
[[routers]]
type = "prefix"
model_prefix = "claude"
provider = "cloud"
[[routers]]
type = "discover"
[models]
small = "e/echo"
[[policies]]
tag = "pii"
require = "local"
"""
ENVIRON = {"OWN": "sk-own", "ANNA": "sk-anna"}
SECRETS = ("sk-own", "sk-anna", "hush")


def running(config: Config | None = None, **more) -> Running:
    config = config or parse(TEXT, "x.toml", ENVIRON)
    states = {each.name: ProviderState(each) for each in config.providers}
    if "ollama" in states:
        known = {name: ModelInfo(name) for name in ("a", "b")}
        states["ollama"] = ProviderState(states["ollama"].provider, known)
        cloud = states["cloud"].provider
        states["cloud"] = ProviderState(cloud, reached=False, why="api.example: no such name")
    return Running(config, more.pop("addresses", ("127.0.0.1:8090",)), states=states, **more)


def said(it: Running) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for line in lines(it):
        found.setdefault(line.label, []).append(line.text)
    return found


def test_everything_an_operator_asks_at_a_start() -> None:
    found = said(running())
    here = Path.cwd()
    assert found["config"] == [f"{here}/x.toml, generation 1, with 1 warning (above)"]
    assert found["skipped"] == ["gone: the variable NOT_SET is not set"]
    assert found["provider"] == [
        "ollama (ollama, local) http://localhost:11434: 2 models",
        "cloud (openai, remote) https://api.example/v1: no models known: api.example: no such name",
        "late (openai, local) unix:/run/late.sock:/v1: has not answered yet; it is asked again",
        "listed (openai, remote) https://b.example/v1: 1 model, as the file says",
        "e (echo, local) embedded: answers by itself",
    ]
    assert found["rules"] == ["2: prefix, discover"]
    assert found["aliases"] == ["small"]
    assert found["policies"] == ["tag pii must not reach what is not local"]
    assert (found["classify"], found["plugins"]) == (["pii"], ["response-healing"])
    assert "judge" not in found
    assert found["access"] == ["asks for a key; clients: anna"]
    assert found["log"] == [f"{here}/logs/requests.jsonl, without bodies, sealed"]
    assert found["state"] == [f"{here}/state"]
    assert found["telemetry"] == ["to http://collector:4318"]
    assert list(found)[-1] == "listens"


def test_a_machine_without_a_file() -> None:
    cloud = Provider("openai", "openai", "https://api.example/v1", local=False, on_demand=True)
    found = said(running(Config(providers=(cloud,), skipped=(("vllm", "refused"),))))
    assert found["config"] == ["none: what this machine has is served"]
    assert found["skipped"] == ["vllm: refused"]
    assert found["provider"][0].endswith(": asked when a request names what nobody here has")
    assert found["rules"] == ["none: whoever has the model is asked, local providers first"]
    assert found["access"] == ["open to this machine"]
    assert found["log"] == ["none: requests are not written down"]


@pytest.mark.parametrize("shape", ["plain", "journal", "json"])
def test_no_secret_and_one_line_each(shape: str, capsys: pytest.CaptureFixture[str]) -> None:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    try:
        logs.to_stderr("info", shape, {})
        announce(shape, running())
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)
    out, err = capsys.readouterr()
    assert out == ""
    assert not [secret for secret in SECRETS if secret in err]
    assert sum("listens" in line for line in err.splitlines()) == 1
    assert ("export OPENAI_BASE_URL=http://127.0.0.1:8090/v1" in err) is (shape == "plain")
    assert "http://127.0.0.1:8090/dashboard" in err
    if shape == "journal":
        assert all(line.startswith("<6>llmrouter.start[1]: ") for line in err.splitlines())
    if shape == "json":
        told = [json.loads(line) for line in err.splitlines()]
        provider = next(each for each in told if each.get("name") == "ollama")
        assert (provider["event"], provider["models"], provider["keys"]) == ("provider", 2, 0)
        assert next(e for e in told if e.get("name") == "late")["keys"] == 2
        assert told[-1]["addresses"] == ["http://127.0.0.1:8090"]
        assert {each["logger"] for each in told} == {"llmrouter.start"}


def test_a_name_that_a_terminal_would_obey_is_not_printed(
    capsys: pytest.CaptureFixture[str],
) -> None:
    evil = Config(providers=(Provider("e\x1b[31m", "echo"),))
    announce("plain", running(evil))
    assert "\x1b" not in capsys.readouterr().err
