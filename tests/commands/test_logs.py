"""The daemon's own log: one line an event, in the shape that whoever reads it wants."""

import json
import logging
import os
import sys
from collections.abc import Iterator

import pytest

from llmrouterd.commands.logs import Generation, Journal, Json, Plain, to_stderr
from llmrouterd.pipeline.tracing import CURRENT


@pytest.fixture(autouse=True)
def root() -> Iterator[None]:
    """The root logger as it was."""
    logger = logging.getLogger()
    before, level = logger.handlers[:], logger.level
    yield
    logger.handlers[:] = before
    logger.setLevel(level)


def record(words: str, level: int = logging.INFO, generation: int = 3) -> logging.LogRecord:
    made = logging.LogRecord("llmrouter.x", level, "f", 1, "%s", (words,), None)
    stamp = Generation()
    stamp.number = generation
    assert stamp.filter(made)
    return made


def test_plain() -> None:
    line = Plain().format(record("a\nb"))
    assert line.endswith(" INFO llmrouter.x[3]: a\\nb")
    assert line[:2] == "20"


def test_under_systemd_the_priority_stands_first_and_no_time() -> None:
    assert Journal().format(record("a\nb")) == "<6>llmrouter.x[3]: a\\nb"
    assert Journal().format(record("no", logging.ERROR)).startswith("<3>")


def test_no_escape_sequence_reaches_a_terminal() -> None:
    line = Plain().format(record("said \x1b]0;x\x07\x9b31m \u202e gr\u00fc\u00df"))
    assert line.endswith(": said \\x1b]0;x\\x07\\x9b31m \\u202e gr\u00fc\u00df")


def test_json() -> None:
    line = json.loads(Json().format(record("a\nb", logging.WARNING)))
    assert line.pop("ts").endswith("Z")
    assert line == {
        "level": "warning",
        "logger": "llmrouter.x",
        "generation": 3,
        "message": "a\nb",
    }


def test_json_holds_a_traceback_in_one_line() -> None:
    try:
        raise ValueError("odd")
    except ValueError:
        made = record("broke")
        made.exc_info = sys.exc_info()
    line = Json().format(made)
    assert "\n" not in line
    assert "ValueError: odd" in json.loads(line)["exception"]


@pytest.mark.parametrize(
    ("shape", "kind"), [("plain", Plain), ("journal", Journal), ("json", Json)]
)
def test_the_shape_that_is_asked_for(shape: str, kind: type) -> None:
    to_stderr("warning", shape, {})
    (handler,) = logging.getLogger().handlers
    assert isinstance(handler.formatter, kind)
    assert logging.getLogger().level == logging.WARNING


def test_auto_is_journal_only_where_stderr_is_the_journal_s(
    monkeypatch: pytest.MonkeyPatch, tmp_path
) -> None:
    with (tmp_path / "log").open("w") as file:
        monkeypatch.setattr(sys, "stderr", file)
        found = os.fstat(file.fileno())
        for stream, kind in (
            (f"{found.st_dev}:{found.st_ino}", Journal),
            ("1:2", Plain),
            ("", Plain),
        ):
            to_stderr("info", "auto", {"JOURNAL_STREAM": stream})
            assert isinstance(logging.getLogger().handlers[0].formatter, kind)


def test_the_number_of_the_configuration_in_force_stands_in_every_line(
    capsys: pytest.CaptureFixture[str],
) -> None:
    stamp = to_stderr("info", "plain", {})
    logging.getLogger("llmrouter").info("one")
    stamp.number = 2
    logging.getLogger("llmrouter").info("two")
    first, second = capsys.readouterr().err.splitlines()
    assert first.endswith("llmrouter[1]: one")
    assert second.endswith("llmrouter[2]: two")


def test_a_line_about_a_request_names_its_trace(capsys: pytest.CaptureFixture[str]) -> None:
    to_stderr("info", "plain", {})
    token = CURRENT.set("0af7")
    try:
        logging.getLogger("llmrouter").info("a\nb")
    finally:
        CURRENT.reset(token)
    logging.getLogger("llmrouter").info("two")
    first, second = capsys.readouterr().err.splitlines()
    assert first.endswith("llmrouter[1]: a\\nb trace_id=0af7")
    assert second.endswith(": two")


def test_programs_find_the_trace_in_a_member_of_its_own() -> None:
    made = record("words")
    made.trace_id = "0af7"
    assert json.loads(Json().format(made))["trace_id"] == "0af7"
    assert Journal().format(made) == "<6>llmrouter.x[3]: words trace_id=0af7"
