"""The one table of what translations lose, and that nothing is lost beside it."""

import ast
import string
from pathlib import Path

import pytest

import formats
from formats.canonical import OutputFormat, Request
from formats.errors import Unsupported
from formats.fields import field
from formats.ledger import Ledger, Loss
from formats.losses import ANSWERS, CASES, HARMLESS, Losses, note_answer

ROOT = Path(formats.__file__).parent
TARGETS = ("openai", "responses", "anthropic", "ollama")
CLIENTS = ("openai", "responses", "anthropic", "ollama", "completions", "generate")
# Who writes requests, or puts one in order before it is written.
WRITERS = sorted(
    [
        ROOT / "freeform.py",
        *ROOT.glob("*/write.py"),
        *ROOT.glob("*/splice.py"),
        *ROOT.glob("*/compose.py"),
        *ROOT.glob("*/blocks.py"),
        *(ROOT / f"{name}.py" for name in ("history", "namespaces", "prompt", "references")),
        ROOT / "limits.py",
    ]
)


def calls(path: Path) -> list[ast.Call]:
    return [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]


def called(call: ast.Call) -> str:
    return ast.unparse(call.func)


@pytest.mark.parametrize("path", WRITERS, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_a_writer_loses_and_refuses_only_by_the_table(path):
    names = [called(call) for call in calls(path)]
    assert [name for name in names if name.endswith("ledger.note") or name == "Unsupported"] == []


def test_every_case_of_the_table_is_used():
    written = "".join(path.read_text() for path in WRITERS)
    keys = {name for cases in CASES.values() for name in cases}
    assert {key for key in keys if f'"{key}"' not in written} == _NOTED_BY_THE_TABLE_ITSELF


_NOTED_BY_THE_TABLE_ITSELF = {
    "unknown: mild",
    "schema.name",
    "schema.description",
    "schema.strict",
}


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("client", CLIENTS)
def test_every_case_can_be_told_to_every_client(target, client):
    request = Request(client, "m")
    for name, case in CASES[target].items():
        wanted = {word for _, word, _, _ in string.Formatter().parse(case.why) if word}
        words = dict.fromkeys(wanted, "x")
        ledger = Ledger()
        losses = Losses(target, request, ledger)
        if case.what == "refused":
            refusal = losses.refusal(name, at="" if case.place else "somewhere", **words)
            assert isinstance(refusal, Unsupported)
            assert refusal.path
        else:
            losses.note(name, at="" if case.place else "somewhere", **words)
            [entry] = ledger.entries
            assert (entry.what, entry.harmless) == (case.what, case.harmless)
            assert entry.path
            assert "{" not in entry.path + entry.why


def test_a_place_is_told_in_the_clients_words():
    ledger = Ledger()
    losses = Losses("openai", Request("responses", "m"), ledger)
    losses.note("content: order")
    losses.note("document.context")
    losses.note("thinking: budget", budget=5, effort="low")
    assert ledger.names() == (
        "input[].content",
        field("responses", "document") + ".context",
        "reasoning.effort",
    )


def test_members_only_the_clients_format_has_are_named_one_by_one():
    ledger = Ledger()
    losses = Losses("openai", Request("anthropic", "m"), ledger)
    losses.note_rest("tools[].", {"defer_loading": True, "allowed_callers": [], "nothing": None})
    why = "only the client's own format has this"
    assert ledger.entries == [
        Loss("tools[].defer_loading", "dropped", why, harmless=True),
        Loss("tools[].allowed_callers", "dropped", why),
    ]
    assert "defer_loading" in HARMLESS


def test_items_of_responses_are_named_where_they_stand():
    ledger = Ledger()
    losses = Losses("openai", Request("responses", "m"), ledger)
    losses.note_item("content", {"status": "completed"})
    losses.note_rest("input[].content[].", {"item": {"phase": "final"}, "mood": 1})
    assert ledger.names() == ("input[].status", "input[].phase", "input[].content[].mood")


ANSWERING = sorted(
    [
        *ROOT.glob("*/answer.py"),
        *ROOT.glob("*/encode.py"),
        *ROOT.glob("*/stream.py"),
        ROOT / "completions.py",
        ROOT / "generate.py",
    ]
)


@pytest.mark.parametrize("path", ANSWERING, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_an_answer_loses_only_by_the_table(path):
    names = [called(call) for call in calls(path)]
    assert [name for name in names if name.endswith("ledger.note")] == []


@pytest.mark.parametrize("client", ANSWERS)
def test_every_case_of_an_answer_can_be_told(client):
    for name, case in ANSWERS[client].items():
        ledger = Ledger()
        note_answer(ledger, client, name, at="" if case.place else "somewhere")
        [entry] = ledger.entries
        assert (entry.path, entry.what) == (case.place or "somewhere", case.what)


def test_what_a_schema_has_besides_itself():
    ledger = Ledger()
    losses = Losses("ollama", Request("openai", "m"), ledger)
    losses.note_schema(OutputFormat("schema", {}, name="n", strict=False))
    assert ledger.names() == (
        "response_format.json_schema.name",
        "response_format.json_schema.strict",
    )
