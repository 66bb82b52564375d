"""Without bodies no member of a line holds a word that somebody else has written."""

import json
from pathlib import Path

from formats.canonical import Message, Request, Response, Text, Tool, ToolResult, ToolUse
from formats.errors import Failure
from llmrouterd.model import (
    Candidate,
    Decision,
    Facts,
    Fleet,
    ModelInfo,
    Outcome,
    Provider,
    ProviderState,
    Record,
    Routing,
    Step,
)
from llmrouterd.observe.discreet import discreet
from llmrouterd.observe.journal import Journal
from llmrouterd.route.decide import decide

WORD = "xyzzy"  # planted wherever somebody else's words may stand


def planted() -> Record:
    request = Request(
        "openai",
        "m",
        (
            Message("system", (Text(f"system {WORD}"),)),
            Message("user", (Text(f"user {WORD}"),)),
            Message("assistant", (ToolUse("i", f"tool_{WORD}", f'{{"a":"{WORD}"}}', {"a": WORD}),)),
            Message("user", (ToolResult("i", (Text(WORD),)),)),
        ),
        tools=(Tool(f"tool_{WORD}", WORD, {"type": "object", "title": WORD}),),
    )
    failure = Failure("upstream", f"cannot answer: {WORD}")
    provider = Provider("p", "openai")
    state = ProviderState(
        provider,
        {"m": ModelInfo("m")},
        healthy=False,
        why=f"failed 3 times: {WORD}",
        models_out={"m": f"upstream: {WORD}"},
    )
    facts, fleet, routing = Facts("m"), Fleet({"p": state}), Routing(implicit=True)
    place = Candidate("p", "m", "rule")
    return Record(
        1,
        "r",
        0,
        "upstream_error",
        502,
        "openai",
        "/v1/chat/completions",
        "m",
        request=request,
        response=Response(
            "r", "m", (Text(WORD), ToolUse("j", f"tool_{WORD}", f'{{"b":"{WORD}"}}', {"b": WORD}))
        ),
        error=f"the upstream says {WORD}",
        error_kind="upstream",
        attempts=(f"p/llama3:8b: upstream: you said: {WORD}",),
        trace=(Step("rule", "skipped", f"p failed: {WORD}", "p", "m", "health"),),
        dropped=("top_k", f"{WORD} with blanks, as no field has"),
        decision=Decision(facts, fleet, routing, decide(facts, fleet, routing)),
        tried=(Outcome(place, failure, 0.5),),
    )


async def written(path: Path, bodies: str) -> str:
    journal = Journal(str(path), bodies=bodies, max_bytes=0, keep=1)  # type: ignore[arg-type]
    journal.tell(planted())
    journal.close()
    await journal.run()
    return path.read_text()  # noqa: ASYNC240 - a test


async def test_no_planted_word_is_in_a_line_without_bodies(tmp_path: Path) -> None:
    assert WORD not in await written(tmp_path / "none", "none")
    assert (await written(tmp_path / "full", "full")).count(WORD) > 10  # they were there


async def test_what_programs_read_is_still_there(tmp_path: Path) -> None:
    line = json.loads(await written(tmp_path / "x", "none"))
    assert line["error"] == line["error_kind"] == "upstream"
    assert line["attempts"] == ["p/llama3:8b: upstream"]
    assert line["trace"] == ["rule: skipped p/m: health"]
    assert line["dropped"][0] == "top_k"
    assert line["decision"]["failed"][0]["kind"] == "upstream"
    assert line["decision"]["fleet"]["p"]["healthy"] is False
    assert "m" in line["decision"]["fleet"]["p"]["models_out"]


def test_a_record_without_an_error_has_none() -> None:
    record = Record(1, "r", 0, "complete", 200, "openai", "/", "m")
    assert discreet(record).error is None
