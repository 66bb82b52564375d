import pytest

from llmrouterd.model import EndState
from llmrouterd.selftest.faults import (
    BAD,
    FAULTS,
    LATE,
    WORDS,
    Asked,
    Close,
    Drip,
    Expected,
    Fault,
    Heard,
    Reset,
    Send,
    Silence,
    breaks,
    held,
    named,
    stops,
)
from llmrouterd.selftest.voices import VOICES

ENDS = EndState.__args__


def said(acts):
    return b"".join(act.data for act in acts if isinstance(act, Send))


def test_names_are_names_of_models_and_each_is_there_once():
    names = [fault.name for fault in FAULTS]
    assert len(set(names)) == len(names)
    assert all(name.replace("-", "").isalnum() for name in names)
    assert [named(name) for name in names] == list(FAULTS)
    assert named("no such fault") is None


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("name", VOICES)
def test_what_a_fault_does_agrees_with_what_is_expected(fault: Fault, stream: bool, name: str):
    expected = fault.stream if stream else fault.whole
    if expected is None:
        return
    acts = fault.acts(Asked(name, stream))
    assert expected.end in ENDS
    assert (expected.outcome == "breaks") == (Heard in map(type, acts) or reasons_aloud(acts))
    assert fault.slow == bool({Silence, Drip} & set(map(type, acts)))
    ends_by_itself = not {Silence, Drip, Close, Reset} & set(map(type, acts))
    if expected.outcome == "passes":
        assert ends_by_itself
        assert expected.end == "complete"
    for place, act in enumerate(acts):
        if isinstance(act, Close | Reset | Silence | Drip):
            assert place == len(acts) - 1  # nothing comes after it


def reasons_aloud(acts) -> bool:
    """Reasoning without end is shown from its first word on, unless it is a whole answer's."""
    return (
        any(isinstance(act, Drip) for act in acts)
        and b"chunked" in said(acts[:1])
        and (b"stream" in said(acts[:1]) or b"ndjson" in said(acts[:1]))
    )


def test_the_date_of_a_pause_is_the_askers_clock_and_one_hour():
    date = said(named("429-date").acts(Asked("openai", False, 1_800_000_000.0)))
    assert b"Retry-After: Fri, 15 Jan 2027 09:00:00 GMT" in date


def test_the_header_of_one_megabyte_is_that_long():
    assert len(said(named("big-head").acts(Asked("openai", True)))) > 1024 * 1024


def test_letters_are_cut_into_their_bytes():
    acts = named("split-letters").acts(Asked("ollama", True))
    assert max(len(act.data) for act in acts[1:]) == len(b"1\r\nx\r\n")


def test_where_answers_are_held_back_nothing_breaks_but_the_walk_goes_on():
    assert held(breaks("truncated", "truncated")).status == BAD
    late = held(breaks("timeout:idle", "stalled"))
    assert (late.outcome, late.status, late.end) == ("walks", LATE, "upstream_error")
    assert held(Expected("passes")) == Expected("passes")


def test_a_mistake_may_be_called_by_two_names():
    assert stops("bad_request", 400, "refused_by_upstream").kinds == (
        "bad_request",
        "refused_by_upstream",
    )
    assert stops("bad_request", 400).kinds == ("bad_request",)
    assert Expected("passes").text == WORDS
