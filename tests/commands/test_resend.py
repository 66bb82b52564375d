"""`llmrouter replay --send`: real requests, to a router of its own and to one that runs."""

import json
import sys

import httpx
import pytest

import llmrouter
from tests.fakes.daemon import RunningDaemon

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(sys.platform == "win32", reason="starts a daemon"),
]
CONFIG = """
[server]
port = 0
[logging]
enabled = true
path = "log"
bodies = "BODIES"
[[providers]]
name = "one"
format = "echo"
cost_per_1m_tokens = 2.0
[[providers]]
name = "two"
format = "echo"
"""
RULE = '[[routers]]\ntype = "fallback"\nproviders = ["NAME"]\n'


def chat(text, **more):
    return {"model": "m", "messages": [{"role": "user", "content": text}], **more}


def logged(folder, bodies="full"):
    """A log of three requests that `one` served, and a file that sends them to `two`."""
    config = CONFIG.replace("BODIES", bodies) + RULE.replace("NAME", "one")
    with RunningDaemon(config, folder) as daemon:
        for text, stream in (("first", False), ("second", True), ("third", False)):
            url = f"{daemon.url}/v1/chat/completions"
            httpx.post(url, json=chat(text, stream=stream), timeout=60).raise_for_status()
        httpx.post(url, json={"model": 5}, timeout=60)
    (folder / "new.toml").write_text(CONFIG.replace("BODIES", "none") + RULE.replace("NAME", "two"))
    return str(folder / "log"), str(folder / "new.toml")


def sent(capsys, *args):
    code = llmrouter.main(["replay", *args])
    out = capsys.readouterr()
    assert "Traceback" not in out.err
    return code, out.out, out.err


def test_a_log_is_sent_by_a_router_of_its_own(tmp_path, capsys, monkeypatch) -> None:
    log, new = logged(tmp_path)
    size = (tmp_path / "log").stat().st_size
    monkeypatch.chdir(tmp_path)
    code, out, err = sent(capsys, log, "--config", new, "--send")
    assert code == 0
    assert "1 not sent: it was wrong, or refused before it was routed" in err
    assert "sending 3 to a router of" in err
    lines = out.splitlines()
    assert lines[0] == "1. m"
    assert lines[1].startswith("   then  200  one/m  ")
    assert lines[1].endswith(" USD")
    assert lines[2].startswith("   now   200  two/m  ")
    assert lines[2].endswith("cost unknown")
    assert lines[-1] == "3 sent, 0 failed"
    assert (tmp_path / "log").stat().st_size == size


def test_a_log_is_sent_to_a_running_router(tmp_path, capsys, monkeypatch) -> None:
    log, _ = logged(tmp_path)
    (tmp_path / "other").mkdir()
    text = CONFIG.replace("port = 0", 'port = 0\napi_key_env = "K"').replace("BODIES", "full")
    text += RULE.replace("NAME", "two")
    with RunningDaemon(text, tmp_path / "other", env={"K": "secret"}) as daemon:
        args = (log, "--send", "--url", daemon.url, "--json", "--concurrency", "2")
        code, out, _ = sent(capsys, *args)
        assert code == 1
        assert [each["now"]["status"] for each in json.loads(out)["sent"]] == [401, 401, 401]
        monkeypatch.setenv("ROUTER_API_KEY", "secret")
        code, out, _ = sent(capsys, *args, "--limit", "2")
        told = json.loads(out)
        assert (code, told["failed"], told["not_sent"]) == (0, 0, 1)
        assert [each["then"]["provider"] for each in told["sent"]] == ["one", "one"]
        assert [each["now"]["provider"] for each in told["sent"]] == ["two", "two"]
        assert all(each["now"]["output_tokens"] for each in told["sent"])


def test_a_log_without_words_cannot_be_sent_and_says_so(tmp_path, capsys) -> None:
    log, new = logged(tmp_path, "none")
    code, out, err = sent(capsys, log, "--config", new, "--send")
    assert (code, out) == (1, "")
    assert '3 not sent: the log has no words: it was written with bodies = "none"' in err
    assert "there is no request to send" in err
    code, out, _ = sent(capsys, log, "--config", new)
    assert code == 0
    assert "one/m  two/m  3" in out
