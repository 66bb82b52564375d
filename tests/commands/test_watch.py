"""What watch prints, to whom, and when it keeps lines back."""

import argparse
import json
from pathlib import Path
from typing import Any

import pytest

from llmrouterd.commands import filters
from llmrouterd.commands.watch import Watch, has_colours, run
from tests.commands.test_lines import COMPLETE, FAILED, ROUTED, START


def heard(watch: Watch, *events: dict[str, Any]) -> None:
    for event in events:
        watch.heard(event, json.dumps(event), "")


def watching(text: str = "", *, json: bool = False, brief: bool = False) -> Watch:
    return Watch("http://r", filters.parse(text), json=json, brief=brief)


def test_lines_come_as_things_happen(capsys: pytest.CaptureFixture[str]) -> None:
    watch = watching()
    heard(watch, START)
    assert "start" in capsys.readouterr().out
    heard(watch, ROUTED)
    assert "routed" in capsys.readouterr().out


def test_json_is_the_feeds_own_line(capsys: pytest.CaptureFixture[str]) -> None:
    heard(watching(json=True), START, COMPLETE, {"type": "hello", "feed": 1})
    out = capsys.readouterr().out.splitlines()
    assert [json.loads(line) for line in out] == [START, COMPLETE]


@pytest.mark.parametrize(
    ("text", "before_the_end", "in_all"),
    [
        ("provider=ollama", 2, 3),
        ("provider=other", 0, 0),
        ("client=nobody", 0, 0),
        ("end=complete", 0, 3),
        ("errors", 0, 0),
    ],
)
def test_lines_are_kept_back_until_a_request_is_known_to_be_wanted(
    capsys: pytest.CaptureFixture[str], text: str, before_the_end: int, in_all: int
) -> None:
    watch = watching(text)
    heard(watch, START, ROUTED)
    before = capsys.readouterr().out.splitlines()
    assert len(before) == before_the_end
    heard(watch, COMPLETE | {"client": "editor"})
    after = capsys.readouterr().out.splitlines()
    assert len(before) + len(after) == in_all
    assert watch._held == {}


def test_errors_only_shows_the_whole_block_of_one(capsys: pytest.CaptureFixture[str]) -> None:
    watch = watching("errors")
    heard(watch, START, ROUTED)
    assert not capsys.readouterr().out
    heard(watch, FAILED, COMPLETE)
    assert [line[17:27].strip() for line in capsys.readouterr().out.splitlines()] == [
        "try failed",
        "done",
    ]


def test_what_the_connection_does_is_said_once_and_not_on_stdout(
    capsys: pytest.CaptureFixture[str],
) -> None:
    watch = watching()
    watch.joined()
    watch.parted("refused", 0.5)
    watch.parted("refused", 1.0)
    watch.joined()
    heard(watch, {"type": "lost", "count": 4})
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == [
        "llmrouter watch: http://r: refused; trying again",
        "llmrouter watch: http://r is there again",
        "llmrouter watch: this terminal is too slow: 4 events were lost",
    ]


def args(**members: Any) -> argparse.Namespace:
    usual = {"url": "http://localhost:1", "key_file": None, "ca_file": None, "filter": ""}
    return argparse.Namespace(**(usual | {"json": False, "brief": False} | members))


@pytest.mark.parametrize(
    "members", [{"url": "ftp://x"}, {"filter": "colour=red"}, {"key_file": Path("/absent/key")}]
)
def test_wrong_usage_is_one_line_and_exit_2(
    capsys: pytest.CaptureFixture[str], members: dict[str, Any]
) -> None:
    assert run(args(**members)) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)


def test_there_are_no_colours_in_a_pipe() -> None:
    assert not has_colours()


@pytest.mark.parametrize(
    ("how", "told"),
    [({}, 1), ({"brief": True}, 0), ({"json": True}, 0), ({"text": "errors"}, 0)],
)
def test_how_a_provider_does_is_told_to_who_wants_all(
    capsys: pytest.CaptureFixture[str], how: dict[str, Any], told: int
) -> None:
    event = {"type": "provider", "ts_ms": 1, "provider": "cloud", "healthy": False}
    heard(watching(**how), event)
    assert capsys.readouterr().out.count("circuit open") == told
