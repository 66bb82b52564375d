"""`check --offline`: what is said of a start that was watched. The start itself is a process of its own:
tests/e2e/operators/test_checks.py."""

import json

import pytest

from llmrouterd.commands.offline import Proof, as_json, as_text
from llmrouterd.ops.offline import Due, Seen

HERE = Due("127.0.0.1:11434", "this host", "'ollama': its models are asked for", True)
LATER = Due("api.example:443", "outside", "'cloud': only when a request goes there", False)
OUT = Due("api.example:443", "outside", "'cloud': its models are asked for", True)


def test_a_start_that_dials_nobody_outside() -> None:
    proof = Proof(3, (Seen("127.0.0.1:11434", "this host"),), (HERE, LATER))
    assert proof.well
    text = as_text(proof)
    assert text.startswith("a start, watched for 3 s after it listened, and its end\n")
    assert "127.0.0.1:11434       this host  let through" in text
    assert "for requests" in text
    assert text.endswith("right: nothing outside is dialled at a start")
    assert "nothing was dialled, and no name looked up" in as_text(Proof(3, (), ()))


@pytest.mark.parametrize(
    ("seen", "due", "named"),
    [
        (Seen("203.0.113.7:443", "outside"), HERE, "203.0.113.7:443"),
        (Seen("another program (os.fork)", "unseen"), HERE, "another program"),
        (Seen("127.0.0.1:1", "this host"), OUT, "api.example:443"),
        (Seen("the name api.example", "outside"), OUT, "outside: api.example:443\n"),
    ],
)
def test_either_is_enough_to_be_wrong(seen: Seen, due: Due, named: str) -> None:
    proof = Proof(3, (seen,), (due,))
    assert not proof.well
    last = as_text(proof).partition("wrong: a start goes ")[2]
    assert named in last
    assert "write models = [...]" in last
    told = json.loads(json.dumps(as_json(proof)))
    assert (told["well"], told["seen"][0]["refused"]) == (False, seen.refused)
