"""Frames between workers and hub."""

import pickle
from types import MappingProxyType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmrouterd.model import Fleet, Opened, Record, Routing, Secret, Unread
from llmrouterd.ops.frames import LIMIT, Malformed, Reader, Writer
from llmrouterd.spans import Attempted, Exchanged, Traced


@given(st.lists(st.integers(1, 9)))
def test_frames_come_whole_however_they_are_cut(cuts: list[int]) -> None:
    writer, reader = Writer(), Reader()
    data = writer.frame("tell", Opened(1, 2, "m", 1)) + writer.frame("lost", 3)
    found = []
    for size in cuts:
        found += reader.feed(data[:size])
        data = data[size:]
    found += reader.feed(data)
    assert found == [("tell", Opened(1, 2, "m", 1)), ("lost", 3)]


def test_what_a_frame_makes_of_special_values() -> None:
    said = (Secret("sk-planted"), MappingProxyType({"a": 1}), Unread(lambda: None))
    data = Writer().frame("x", *said)
    assert b"sk-planted" not in data
    ((_, secret, mapping, answer),) = Reader().feed(data)
    assert secret.reveal() == ""
    assert mapping == {"a": 1}
    assert answer is None


def test_what_a_request_did_when_goes_along() -> None:
    tried = Attempted("b" * 16, 1, "p", "m", exchanges=(Exchanged("c" * 16, 2, status=200),))
    traced = Traced("a" * 32, "d" * 16, 5, 9, attempts=(tried,))
    record = Record(1, "r", 0, "complete", 200, "openai", "/", "m", traced=traced)
    assert Reader().feed(Writer().frame("tell", record)) == [("tell", record)]


def test_a_routing_is_sent_once() -> None:
    from llmrouterd.model import Decision, Verdict

    routing = Routing(failover_to_remote=True)
    record = Record(1, "r", 0, "complete", 200, "openai", "/", "m")
    fleet = Fleet({}, seed=1)
    decision = Decision(None, fleet, routing, Verdict(()))  # type: ignore[arg-type]
    record = Record(1, "r", 0, "complete", 200, "openai", "/", "m", decision=decision)
    writer, reader = Writer(), Reader()
    first, second = writer.frame("tell", record), writer.frame("tell", record)
    assert len(second) < len(first)
    (one,), (other,) = reader.feed(first), reader.feed(second)
    assert one[1].decision.routing is other[1].decision.routing
    assert one[1].decision.routing == routing


@pytest.mark.parametrize(
    "body",
    [
        b"no pickle",
        pickle.dumps(("x", print)),
        pickle.dumps("no tuple"),
        b"cposix\nsystem\n(S'true'\ntR.",
        b"cllmrouterd.ops.frames\nio.open\n.",
        b"cformats.nothing\nX\n.",
        b"cre\n_compile\n(S'('\nI0\ntR.",
    ],
)
def test_what_is_not_said_here_is_refused(body: bytes) -> None:
    with pytest.raises(Malformed):
        Reader().feed(len(body).to_bytes(4, "big") + body)


def test_a_frame_beyond_the_bound_is_refused_at_its_head() -> None:
    with pytest.raises(Malformed):
        Reader().feed((LIMIT + 1).to_bytes(4, "big"))
