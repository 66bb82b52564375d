"""`llmrouter explain`: from a file, and from a running router."""

import json
import sys

import pytest

import llmrouter
from tests.fakes.daemon import RunningDaemon

CONFIG = """
[[providers]]
name = "small"
format = "echo"
[[providers]]
name = "big"
format = "openai"
base_url = "https://big.example"
models = ["large"]
[[routers]]
type = "model"
match = "large"
provider = "big"
[[routers]]
type = "fallback"
providers = ["small"]
"""


@pytest.fixture
def config(tmp_path):
    path = tmp_path / "c.toml"
    path.write_text(CONFIG)
    return str(path)


def explained(capsys, *args):
    code = llmrouter.main(["explain", *args])
    out = capsys.readouterr()
    return code, out.out, out.err


def test_a_file_is_walked(config, capsys):
    code, out, _ = explained(capsys, config, "--model", "large", "--prompt", "hi")
    assert code == 0
    assert "routers[0] model: takes big/large" in out
    assert "1. big/large (openai, remote)" in out
    assert "from the file alone" in out


def test_json_is_for_programs(config, capsys):
    code, out, _ = explained(capsys, config, "--model", "tiny", "--json")
    assert code == 0
    told = json.loads(out)
    assert [each["provider"] for each in told["candidates"]] == ["small"]
    assert told["steps"][0]["reason"] == "the model matches none of: large"


def test_a_whole_request_of_any_format(config, capsys, tmp_path):
    body = {"model": "x", "max_tokens": 5, "messages": [{"role": "user", "content": "hi"}]}
    tools = [{"name": "f", "input_schema": {"type": "object"}}]
    path = tmp_path / "r.json"
    path.write_text(json.dumps({**body, "tools": tools}))
    args = (config, "--request", str(path), "--format", "anthropic", "--json")
    code, out, _ = explained(capsys, *args)
    assert (code, json.loads(out)["needs"]) == (0, ["tools"])
    code, out, _ = explained(capsys, *args, "--model", "large")
    assert json.loads(out)["model"] == "large"


@pytest.mark.parametrize(
    ("args", "code", "said"),
    [
        ((), 2, "give --model (and --prompt), or --request FILE"),
        (("--request", "gone.json"), 2, "gone.json: no such file"),
        (("--model", "x", "--url", "ftp://x"), 2, "no address such as"),
        (("--model", "x", "--url", "http://127.0.0.1:9"), 1, "no router answers at"),
    ],
)
def test_wrong_questions(config, capsys, args, code, said):
    found, out, err = explained(capsys, config, *args)
    assert (found, out) == (code, "")
    assert said in err
    assert "Traceback" not in err


def test_a_client_of_the_file_is_held_to_its_models(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("ANN", "secret-ann")
    path = tmp_path / "c.toml"
    path.write_text(CONFIG + '[[clients]]\nname = "ann"\nkey_env = "ANN"\nmodels = ["tiny"]\n')
    for model, wanted in (("large", 1), ("tiny", 0)):
        code, out, _ = explained(capsys, str(path), "--model", model, "--client", "ann")
        assert code == wanted
        assert ("may not ask for the model 'large'" in out) is bool(wanted)


def test_a_request_that_would_be_refused(config, capsys, tmp_path):
    path = tmp_path / "r.json"
    path.write_text('{"model": "x"}')
    code, out, _ = explained(capsys, config, "--request", str(path))
    assert code == 1
    assert "refused (bad_request): messages: this field is required" in out


@pytest.mark.e2e
@pytest.mark.skipif(sys.platform == "win32", reason="starts a daemon")
def test_a_running_router_tells_what_it_knows(tmp_path, capsys, monkeypatch):
    text = '[server]\nport = 0\napi_key_env = "K"\n' + CONFIG
    with RunningDaemon(text, tmp_path, env={"K": "secret"}) as daemon:
        asked = ("--model", "large", "--url", daemon.url)
        code, _, err = explained(capsys, *asked)
        assert code == 1
        assert "answered 401: set ROUTER_API_KEY to its key" in err
        monkeypatch.setenv("ROUTER_API_KEY", "secret")
        code, out, _ = explained(capsys, *asked, "--json")
        assert code == 0
        assert [each["provider"] for each in json.loads(out)["candidates"]] == ["big", "small"]
