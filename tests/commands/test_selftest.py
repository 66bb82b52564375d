import json
import logging
from dataclasses import replace

import pytest

import llmrouter
from llmrouterd.commands import selftest
from llmrouterd.selftest import run
from llmrouterd.selftest.faults import FAULTS, HEALTHY, named
from llmrouterd.selftest.judge import Seen
from llmrouterd.selftest.run import Report, Result, cases
from llmrouterd.selftest.setting import setting

SUBJECTS = setting(None, "http://127.0.0.1:1", "http://127.0.0.1:2").subjects
CASES = [case for case in cases(SUBJECTS) if case.fault.name in (HEALTHY, "cut-after-content")]


def report(*, wrong=(), notes=()):
    """What a run would give; `wrong` for the first of its cases."""
    seen = Seen(status=200, end="complete")
    results = [Result(case, seen, 5) for case in CASES]
    first = next(at for at, case in enumerate(CASES) if case.fault.name != HEALTHY)
    results[first] = replace(results[first], wrong=tuple(wrong))
    return Report(tuple(results), tuple(notes), 1.25)


def text(given, *, colours=False):
    return "\n".join(selftest.lines(given, colours=colours))


def test_all_that_is_right_is_one_row_a_fault():
    shown = text(report(notes=["said"]))
    assert "FAIL" not in shown
    assert "pass  cut after content" in shown
    assert "36/36" in shown
    assert "note: said" in shown
    assert shown.endswith(f"{len(CASES)} cases in 1.2 s: all as they must be")


def test_what_is_wrong_is_named_with_who_asked_whom():
    shown = text(report(wrong=["end is 'complete', not 'truncated'"]))
    assert "FAIL  cut after content" in shown
    assert "35/36" in shown
    assert "openai -> openai, whole, alone: end is 'complete', not 'truncated'" in shown
    assert "1 went wrong" in shown


def test_of_much_that_is_wrong_the_first_is_named():
    results = tuple(replace(result, wrong=("no",)) for result in report().results)
    shown = text(Report(results, (), 1.0))
    assert "and 30 more" in shown


def test_a_terminal_is_sent_nothing_that_it_would_obey():
    assert "\x1b" not in text(report(wrong=["\x1b[2J"], notes=["\x1b[2J"]))


@pytest.mark.parametrize(
    ("tty", "environ", "wanted"),
    [
        (True, {}, True),
        (False, {}, False),
        (True, {"NO_COLOR": "1"}, False),
        (True, {"TERM": "dumb"}, False),
    ],
)
def test_colours_are_for_terminals(monkeypatch, tty, environ, wanted):
    monkeypatch.setattr("sys.stdout.isatty", lambda: tty)
    assert selftest.wants_colours(environ) is wanted


def test_colours_are_round_the_verdict_alone():
    shown = text(report(wrong=["no"]), colours=True)
    assert "\x1b[31mFAIL\x1b[0m  cut after content" in shown
    assert "\x1b[32mpass\x1b[0m  none" in shown


@pytest.mark.parametrize(("wrong", "code"), [((), 0), (("no",), 1)])
def test_the_exit_code_says_whether_anything_differed(monkeypatch, capsys, wrong, code):
    async def ran(config, *, user_agent):
        assert config is None
        return report(wrong=wrong)

    monkeypatch.setattr(run, "run", ran)
    assert llmrouter.main(["selftest", "--json"]) == code
    told = json.loads(capsys.readouterr().out)
    assert told["ok"] is not bool(wrong)
    assert [case["wrong"] for case in told["cases"] if not case["ok"]] == [list(wrong)] * code
    assert len(told["cases"]) == len(CASES)


def test_a_wrong_file_is_exit_2(tmp_path, capsys):
    assert llmrouter.main(["selftest", str(tmp_path / "none.toml")]) == 2
    assert "no such file" in capsys.readouterr().err


def test_it_really_runs(monkeypatch, capsys, tmp_path):
    """One fault, with a file of its own; stdout holds the table and nothing else."""
    monkeypatch.setattr(run, "FAULTS", [named("html")])
    own = tmp_path / "own.toml"
    own.write_text('[[providers]]\nname = "box"\nformat = "ollama"\nbase_url = "http://box:1"\n')
    assert llmrouter.main(["selftest", str(own)]) == 0
    out, err = capsys.readouterr()
    assert "pass  HTML with 200" in out
    assert "12/12" in out
    assert err == ""
    assert logging.getLogger("llmrouter").level == logging.NOTSET
    assert [path.name for path in tmp_path.iterdir()] == ["own.toml"]


def test_every_fault_has_words_for_people():
    assert all(fault.what for fault in FAULTS)
