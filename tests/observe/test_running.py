"""What is going on, for readers who come in the middle."""

from llmrouterd.model import (
    AttemptFailed,
    Classified,
    FirstToken,
    Opened,
    Progress,
    Queued,
    Record,
    Routed,
)
from llmrouterd.observe.running import Running


def record(number: int) -> Record:
    return Record(
        id=number,
        request_id="req",
        ts_ms=0,
        end="complete",
        status=200,
        client_format="openai",
        endpoint="/v1/chat/completions",
        requested_model="m",
    )


def types(running: Running) -> list[list[str]]:
    return [[event["type"] for event in events] for events in running.snapshot()]


def test_the_snapshot_is_the_events_of_each_request_that_has_not_ended() -> None:
    running = Running()
    running.tell(Opened(1, 10, "m", 1))
    running.tell(Classified(1, 11, ("code",)))
    running.tell(Routed(1, 12, "a", "m"))
    running.tell(AttemptFailed(1, 13, "a", "m", "upstream", "no", 1))
    running.tell(Routed(1, 14, "b", "m"))
    running.tell(FirstToken(1, 15, 5))
    running.tell(Opened(2, 20, "n", 2))
    assert types(running) == [
        ["start", "classified", "attempt_failed", "routed", "first_token"],
        ["start"],
    ]
    assert running.snapshot()[0][3]["provider"] == "b"  # where it is now
    running.tell(record(1))
    running.tell(record(2))
    assert running.snapshot() == []
    assert not running.streaming


def test_only_the_newest_progress_of_a_stream_is_held_and_told_once() -> None:
    running = Running()
    running.tell(Opened(1, 0, "m", 1))
    assert not running.streaming
    running.tell(FirstToken(1, 0, 5))
    assert running.streaming
    first, second = Progress(1, 1, 5, 50, 250), Progress(1, 2, 9, 90, 500)
    running.tell(first)
    running.tell(second)
    assert running.progress(0) == [second]
    assert running.progress(running.turn) == []
    assert types(running) == [["start", "first_token", "progress"]]


def test_where_it_stands_in_a_queue_is_part_of_it() -> None:
    running = Running()
    running.tell(Opened(1, 0, "m", 1))
    running.tell(Queued(1, 1, "a", "m", 3, None))
    running.tell(Queued(1, 2, "a", "m", 1, 900))
    (events,) = running.snapshot()
    assert [event.get("position") for event in events] == [None, 1]


def test_of_a_request_that_never_began_nothing_is_kept() -> None:
    """One whose body was wrong has a record and no beginning."""
    running = Running()
    running.tell(Progress(7, 0, 1, 1, 1))
    running.tell(FirstToken(7, 0, 1))
    running.tell(record(7))
    assert running.snapshot() == []
    assert not running.streaming


def test_the_failed_tries_of_one_request_are_bounded() -> None:
    running = Running()
    running.tell(Opened(1, 0, "m", 1))
    for n in range(100):
        running.tell(AttemptFailed(1, n, "a", "m", "upstream", "no", 1))
    (events,) = running.snapshot()
    assert [event["ts_ms"] for event in events] == [0, *range(92, 100)]
