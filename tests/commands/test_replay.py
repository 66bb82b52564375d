"""`llmrouter replay`: a log under another configuration, as a person and as a program see it."""

import gzip
import json
from datetime import UTC, datetime, timedelta

import pytest

import llmrouter
from formats.canonical import Usage
from llmrouterd.commands.replay import SHOWN, _since_ms
from llmrouterd.config import parse
from llmrouterd.model import Decision, Facts, Fleet, ModelInfo, ProviderState, Record
from llmrouterd.observe.shapes import as_text
from llmrouterd.route.decide import decide
from llmrouterd.route.recorded import Lists, write

OLD = """
[[providers]]
name = "small"
format = "openai"
base_url = "http://127.0.0.1:1"
cost_per_1m_tokens = 1.0
[[providers]]
name = "big"
format = "openai"
base_url = "https://big.example"
api_key_env = "BIG_KEY"
cost_per_1m_tokens = 5.0
[[routers]]
type = "model"
match = "large*"
provider = "big"
[[routers]]
type = "fallback"
providers = ["small"]
"""
NEW = OLD.replace('match = "large*"', 'match = "large-1*"')
NOW_MS = 1_795_000_000_000


def line(number, model, lists, **more):
    """A line as the daemon writes it under OLD."""
    config = parse(OLD, "old.toml", {"BIG_KEY": "k"})
    known = {m: ModelInfo(m) for m in ("large-1", "large-2", "tiny")}
    states = {p.name: ProviderState(p, known) for p in config.providers}
    facts, fleet = Facts(model, size_tokens=3), Fleet(states, seed=number)
    made = Decision(facts, fleet, config.routing, decide(facts, fleet, config.routing))
    first = made.verdict.candidates[0]
    record = Record(
        number,
        f"req_{number}",
        NOW_MS + number,
        "complete",
        200,
        "openai",
        "/v1/chat/completions",
        model,
        first.model,
        first.provider,
        usage=Usage(1_000_000, 0),
        cost_usd=5.0 if first.provider == "big" else 1.0,
        **more,
    )
    return as_text(record, bodies=False, more={"decision": write(made, (), lists)})


@pytest.fixture
def world(tmp_path, monkeypatch):
    """The log of three kinds of requests, the two files, and nobody's keys."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("BIG_KEY", raising=False)
    lists = Lists()
    models = ("large-1", "large-2", "tiny", "large-2")
    (tmp_path / "log").write_text(
        "".join(line(n, model, lists) + "\n" for n, model in enumerate(models))
    )
    (tmp_path / "old.toml").write_text(OLD)
    (tmp_path / "new.toml").write_text(NEW)
    return tmp_path


def replayed(capsys, *args):
    code = llmrouter.main(["replay", *args])
    out = capsys.readouterr()
    assert "Traceback" not in out.err
    return code, out.out, out.err


def as_object(capsys, *args):
    code, out, _ = replayed(capsys, *args, "--json")
    return code, json.loads(out)


def test_the_same_file_changes_nothing(world, capsys) -> None:
    code, told = as_object(capsys, "log", "--config", "old.toml")
    assert (code, told["requests"], told["same"], told["changed"]) == (0, 4, 4, 0)
    assert told["cost_usd"]["difference"] == 0


def test_a_changed_rule_is_shown_with_what_it_changes(world, capsys) -> None:
    code, out, err = replayed(capsys, "log", "--config", "new.toml")
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert lines[0].startswith("new.toml: 4 requests, 2026-11-")
    assert "same      2" in lines
    assert "changed   2" in lines
    assert "refused   0 then, 0 now" in lines
    assert "cost      16.000000 USD then, 8.000000 now (-8.000000) for 4 requests" in lines
    assert "big/large-2  small/large-2  2" in lines
    assert lines[-1].endswith(
        "large-2  big/large-2  small/large-2  "
        "routers[1] fallback takes it, and nothing names big/large-2"
    )


def test_the_same_for_programs(world, capsys) -> None:
    _, told = as_object(capsys, "log", "--config", "new.toml")
    assert told["pairs"] == [{"from": "big/large-2", "to": "small/large-2", "requests": 2}]
    change = told["changes"][0]
    assert change["from"] == {"provider": "big", "model": "large-2"}
    assert change["to"] == {"provider": "small", "model": "large-2"}
    assert (change["rule_then"], change["rule_now"]) == ("routers[0] model", "routers[1] fallback")
    assert (change["cost_then_usd"], change["cost_now_usd"]) == (5.0, 1.0)
    assert told["cost_usd"] == {
        "then": 16.0,
        "now": 8.0,
        "difference": -8.0,
        "requests": 4,
        "unknown": 0,
    }


def test_no_key_is_needed_where_the_log_knows_the_provider(world, capsys) -> None:
    """A new provider without its key here would not serve there either, for all that is known."""
    more = '[[providers]]\nname = "new"\nformat = "openai"\nbase_url = "https://n.example"\n'
    (world / "more.toml").write_text(more + 'api_key_env = "NEW_KEY"\n' + OLD)
    _, told = as_object(capsys, "log", "--config", "more.toml")
    assert told["same"] == 4
    assert told["providers"] == {"new": [], "gone": [], "without_key": ["new"]}
    (world / "open.toml").write_text(more + 'models = ["tiny"]\n' + OLD)
    _, out, _ = replayed(capsys, "log", "--config", "open.toml")
    assert "note: the log knows nothing of new: taken to be well" in out


def test_a_refusal_is_a_change(world, capsys) -> None:
    (world / "strict.toml").write_text(OLD[: OLD.rindex("[[routers]]")])
    _, out, _ = replayed(capsys, "log", "--config", "strict.toml")
    assert "refused   0 then, 1 now" in out
    assert "small/tiny  refused" in out
    assert "no provider configured for model 'tiny'" in out


def test_several_files_compressed_and_in_any_order(world, capsys) -> None:
    later = "".join(line(n, "large-2", lists) + "\n" for lists in [Lists()] for n in (10, 11))
    (world / "log.1.gz").write_bytes(gzip.compress((world / "log").read_bytes()))
    (world / "log").write_text(later)
    _, told = as_object(capsys, "log", "log.1.gz", "--config", "new.toml")
    assert (told["requests"], told["files"]) == (6, ["log.1.gz", "log"])
    _, told = as_object(capsys, "log", "log.1.gz", "--config", "new.toml", "--limit", "3")
    assert (told["requests"], told["changed"]) == (3, 3)


def test_what_cannot_be_read_is_counted_and_never_fatal(world, capsys) -> None:
    good = (world / "log").read_text()
    old = json.loads(good.splitlines()[0])
    del old["decision"]
    wrong = good.splitlines()[0].replace('"seed":"0"', '"seed":"?"')
    never = json.dumps(old | {"decision": None})
    (world / "log").write_text(
        "\n".join(["no JSON", *good.splitlines(), json.dumps(old), never, wrong, '{"half'])
    )
    code, out, _ = replayed(capsys, "log", "--config", "new.toml")
    assert code == 0
    assert "new.toml: 4 requests" in out
    assert "1 line without a decision, of a version that did not write any" in out
    assert "1 request never came to a decision" in out
    assert "3 lines could not be read" in out
    assert "  the first: log:1: not JSON: Expecting value" in out


def test_the_end_of_a_log_alone_lacks_its_lists_and_is_told_so(world, capsys) -> None:
    lines = (world / "log").read_text().splitlines()
    (world / "tail").write_text("\n".join(lines[2:]))
    code, out, _ = replayed(capsys, "tail", "--config", "old.toml")
    assert code == 1
    assert "there is no request to replay" in out
    assert "2 lines without the model lists that stand earlier in the log" in out
    assert "--limit" in out


def test_only_so_many_changes_are_shown(world, capsys) -> None:
    lists = Lists()
    (world / "log").write_text("".join(line(n, "large-2", lists) + "\n" for n in range(30)))
    _, out, _ = replayed(capsys, "log", "--config", "new.toml")
    assert f"({SHOWN} of 30 shown; --all shows all of them)" in out
    _, told = as_object(capsys, "log", "--config", "new.toml", "--all")
    assert len(told["changes"]) == 30


def test_what_is_older_is_left_out_but_for_what_others_refer_to(world, capsys) -> None:
    when = datetime.fromtimestamp((NOW_MS + 2) / 1000, UTC).isoformat()
    _, told = as_object(capsys, "log", "--config", "old.toml", "--since", when)
    assert (told["requests"], told["lines"]["older"]) == (2, 2)


def test_ages_and_dates() -> None:
    now = datetime(2026, 1, 2, tzinfo=UTC)
    day_ms = int((now - timedelta(days=1)).timestamp() * 1000)
    assert _since_ms("24h", now) == _since_ms("1d", now) == day_ms
    assert _since_ms("2026-01-01T00:00:00+00:00", now) == day_ms
    assert _since_ms(None, now) == 0


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("gone", "--config", "new.toml"), "gone: no such file"),
        (("log", "--config", "gone.toml"), "gone.toml: no such file"),
        (
            ("log", "--config", "new.toml", "--since", "soon"),
            "--since takes 24h, 90m, 7d or a date",
        ),
        (("log", "--config", "new.toml", "--since", "999999999w"), "--since takes"),
    ],
)
def test_wrong_questions(world, capsys, args, said) -> None:
    code, out, err = replayed(capsys, *args)
    assert (code, out) == (1 if args[0] == "gone" else 2, "")
    assert said in err
