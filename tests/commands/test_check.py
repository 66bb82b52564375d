"""`llmrouter check`: the tables, the JSON, the exit codes, and no secret in any of them."""

import argparse
import json
from pathlib import Path

import pytest

from llmrouterd.commands import check
from llmrouterd.config.prices import list_date

CONFIG = """
[server]
api_key_env = "OWN"
[logging]
enabled = true
[[providers]]
name = "ollama"
format = "ollama"
base_url = "http://localhost:11434"
quality = 75
[[providers]]
name = "cloud"
format = "openai"
base_url = "https://me:hush@api.example/v1"
[[providers]]
name = "keyed"
format = "anthropic"
base_url = "https://api.example"
api_key_env = "THEIRS"
cost_per_1m_tokens = 15
headers = { X-Whisper = "murmur" }
[[providers]]
name = "gone"
format = "openai"
base_url = "https://b.example"
api_key_env = "NOT_SET"
[[routers]]
type = "prefix"
model_prefix = "claude-"
provider = "keyed"
rewrite_model = "claude-x"
[[routers]]
type = "model"
match = ["a", "b*"]
targets = [{ provider = "ollama", model = "m" }, { provider = "cloud" }]
[[routers]]
type = "tag"
tag = "code"
provider = "gone"
[[routers]]
type = "price"
max_cost_per_1m_tokens = 0.5
[[routers]]
type = "latency"
max_latency_ms = 100
[[routers]]
type = "throughput"
[[routers]]
type = "discover"
[[routers]]
type = "random"
[[routers]]
type = "fallback"
[models]
small = ["ollama/x", "cloud/y"]
[plugins.response-healing]
enabled = true
"""
SECRETS = {"OWN": "sk-own", "THEIRS": "sk-theirs"}
ECHO = '[[providers]]\nname = "e"\nformat = "echo"\n'


def words(config: Path | None, *, as_json: bool) -> argparse.Namespace:
    asked = {"online": False, "offline": False, "allow": [], "seconds": None}
    return argparse.Namespace(config=config, json=as_json, **asked)


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("NOT_SET", raising=False)

    def run_check(text: str, *, as_json: bool = False) -> tuple[int, str, str]:
        file = tmp_path / "x.toml"
        file.write_text(text, "utf-8")
        code = check.run(words(file, as_json=as_json))
        return code, *capsys.readouterr()

    return run_check


def test_the_tables(run) -> None:
    code, out, err = run(CONFIG)
    assert (code, err) == (0, "")
    rows = [" ".join(line.split()) for line in out.splitlines()]
    assert rows[0].endswith("x.toml: right, with 1 warning")
    assert rows[1] == "listens on http://127.0.0.1:8090, asks for a key"
    assert "ollama ollama http://localhost:11434 local - - 75" in rows
    assert "cloud openai https://api.example/v1 remote - - 0" in rows
    assert "keyed anthropic https://api.example/v1 remote yes 15 0" in rows
    assert "routers[0] prefix the model begins with claude- keyed claude-x" in rows
    assert "routers[1] model the model is a or b* ollama/m, cloud -" in rows
    assert "routers[2] tag tagged code gone -" in rows
    assert "routers[3] price cheapest first, at most 0.5 all providers -" in rows
    assert "routers[8] fallback best first, quality bias 0.5 all providers -" in rows
    assert "small ollama/x, cloud/y" in rows
    assert "response-healing plugin yes" in rows
    assert "NOT_SET is not set" in out.splitlines()[-1]


def test_prices_are_shown_and_where_they_come_from(run) -> None:
    text = CONFIG + '[[prices]]\nmodel = ["x", "y*"]\nprovider = "keyed"\ninput = 1\noutput = 2.5\n'
    text += "cached_input = 0.1\nmax_input_tokens = 1000\n"
    text = text.replace('"https://me:hush@api.example/v1"', '"https://api.openai.com/v1"')
    text = text.replace("cost_per_1m_tokens = 15", "input_cost_per_1m = 3\noutput_cost_per_1m = 9")
    rows = [" ".join(line.split()) for line in run(text)[1].splitlines()]
    assert f"cloud openai https://api.openai.com/v1 remote - list of {list_date()} 0" in rows
    assert "keyed anthropic https://api.example/v1 remote yes 3/9 0" in rows
    assert "x, y* keyed 1 2.5 0.1 - 1000" in rows
    providers = json.loads(run(text, as_json=True)[1])["providers"]
    assert [each["list_prices"] for each in providers] == [None, list_date(), None]
    assert providers[2]["prices"][0]["models"] == ["x", "y*"]


def test_policies_say_whom_they_bind_and_what_they_forbid(run) -> None:
    policies = """
[[policies]]
tag = ["pii", "secret"]
client = "kid"
allow = ["ollama"]
require = "local"
networks = ["10.1.0.0/16"]
[[policies]]
action = "block"
model = "x*"
[[policies]]
deny = ["cloud"]
"""
    rows = [" ".join(line.split()) for line in run(CONFIG + policies)[1].splitlines()]
    binds = "policies[0] tag pii or secret, client kid"
    assert f"{binds} any but ollama; what is not local; networks but 10.1.0.0/16" in rows
    assert "policies[1] model x* any provider" in rows
    assert "policies[2] every request cloud" in rows
    told = json.loads(run(CONFIG + policies, as_json=True)[1])["policies"]
    assert told[2] == {"where": "policies[2]", "binds": "every request", "forbids": "cloud"}


def test_columns_are_aligned_and_nothing_trails(run) -> None:
    lines = run(CONFIG)[1].splitlines()
    head = next(line for line in lines if line.startswith("PROVIDER"))
    row = next(line for line in lines if line.startswith("keyed"))
    assert head.index("ADDRESS") == row.index("https")
    assert all(line == line.rstrip() for line in lines)


def test_the_json(run) -> None:
    code, out, err = run(CONFIG, as_json=True)
    said = json.loads(out)
    assert (code, err) == (0, "")
    assert [each["name"] for each in said["providers"]] == ["ollama", "cloud", "keyed"]
    assert said["providers"][2]["key"] is True
    assert said["providers"][2]["headers"] == ["x-whisper"]
    assert said["skipped"] == [{"name": "gone", "reason": "the variable NOT_SET is not set"}]
    assert len(said["routers"]) == 9
    assert said["models"] == {"small": ["ollama/x", "cloud/y"]}
    assert said["plugins"] == {"response-healing": {"enabled": True}}
    assert len(said["warnings"]) == 1


def test_programs_get_the_problems_as_json(run) -> None:
    assert json.loads(run(CONFIG, as_json=True)[1])["problems"] == []
    code, out, err = run("[typo]\n[logging]\nkeep = 0", as_json=True)
    assert code == 2
    problems = json.loads(out)["problems"]
    assert len(problems) == 3  # and no providers
    assert err.splitlines() == [f"llmrouter: {problem}" for problem in problems]


@pytest.mark.parametrize("as_json", [False, True])
@pytest.mark.parametrize("text", [CONFIG, CONFIG + "\n[typo]\n"], ids=["right", "wrong"])
def test_no_secret_is_printed(run, text: str, as_json: bool) -> None:
    _, out, err = run(text, as_json=as_json)
    assert not any(secret in out + err for secret in ("sk-own", "sk-theirs", "hush", "murmur"))


def test_every_problem_goes_to_stderr_and_the_exit_code_is_2(run) -> None:
    code, out, err = run(ECHO + "qality = 1\n[serve]\nport = 1\n")
    assert (code, out) == (2, "")
    first, second = err.splitlines()
    assert first.endswith('x.toml:4: providers[0].qality: unknown key; did you mean "quality"?')
    assert second.endswith('x.toml:5: serve: unknown key; did you mean "server"?')


def test_the_smallest_file(run) -> None:
    code, out, _ = run(ECHO)
    assert code == 0
    assert "local providers first" in out
    assert out.splitlines()[0].endswith("x.toml: right")


def test_an_open_router_says_so(run) -> None:
    out = run('[server]\nhost = "::"\nallow_unauthenticated = true\n' + ECHO)[1]
    assert "http://[::]:8090, open to everybody" in out


def test_what_a_terminal_would_obey_is_not_printed(run) -> None:
    out = run('[[providers]]\nname = "a\\u009b31m"\nformat = "echo"\n')[1]
    assert "a?31m" in out


def test_without_any_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    code = check.run(words(None, as_json=False))
    said = capsys.readouterr().err
    assert code == 2
    assert "no configuration found" in said
    assert "config.toml" in said


def test_what_only_shows_when_it_is_made_is_a_problem_too(tmp_path: Path, capsys) -> None:
    path = tmp_path / "x.toml"
    patterns = (
        '[classifiers.keyword]\nenabled = true\npatterns = { a = ["(", "(a+)+"], b = ["b*"] }\n'
    )
    path.write_text('[[providers]]\nname = "e"\nformat = "echo"\n' + patterns)
    assert check.run(words(path, as_json=True)) == 2
    problems = json.loads(capsys.readouterr().out)["problems"]
    assert len(problems) == 3
    assert problems[0].startswith(f"{path}: classifiers.keyword: patterns.a[0]: not a regular")


def test_classifiers_are_shown(tmp_path: Path, capsys) -> None:
    path = tmp_path / "x.toml"
    text = "[classifiers.pii]\nenabled = true\n[response_classifiers.empty]\nenabled = false\n"
    path.write_text('[[providers]]\nname = "e"\nformat = "echo"\n' + text)
    assert check.run(words(path, as_json=False)) == 0
    shown = capsys.readouterr().out
    assert "pii        classifier           yes" in shown
    assert "empty      response classifier  no" in shown


TWO = """
[[providers]]
name = "a"
format = "echo"
[[providers]]
name = "later"
format = "echo"
"""


@pytest.mark.parametrize(
    ("rules", "unnamed"),
    [
        ('[[routers]]\ntype = "discover"\nproviders = ["a"]\n', ["later"]),
        ('[[routers]]\ntype = "tag"\ntag = "x"\nprovider = "a"\n', ["later"]),
        ('[[routers]]\ntype = "discover"\nproviders = ["a"]\n[models]\nm = "later/x"\n', []),
        ('[[routers]]\ntype = "discover"\n', []),
        ("", []),
    ],
)
def test_a_provider_that_no_rule_leads_to_is_noted(run, rules: str, unnamed: list[str]) -> None:
    _, text, _ = run(TWO + rules)
    assert ("note: later: no rule and no alias leads there" in text) is bool(unnamed)
    _, told, _ = run(TWO + rules, as_json=True)
    assert json.loads(told)["unnamed"] == unnamed
