"""formats/responses/watch.py"""

import pytest

from formats.canonical import Failed, Request, UsageSeen
from formats.errors import TooLong
from formats.responses import observer
from tests.formats.responses.wires import (
    BIG,
    CREATED,
    STREAMS,
    completed,
    decoded,
    event,
    golden,
    message,
    text_delta,
)

REQUEST = Request("responses", "m")


def watched(*data, limit=BIG):
    watcher = observer(REQUEST, limit=limit)
    passed = b"".join(map(watcher.feed, data))
    return watcher, passed


@pytest.mark.parametrize("step", [1, 100, BIG])
@pytest.mark.parametrize("name", STREAMS)
def test_a_watcher_sees_in_a_golden_stream_what_the_reader_sees(name, step):
    data = golden(name)
    watcher, passed = watched(*[data[at : at + step] for at in range(0, len(data), step)])
    assert passed == data
    events = decoded(data)
    usage = [each.usage for each in events if isinstance(each, UsageSeen)]
    assert watcher.usage == (usage[-1] if usage else None)
    assert watcher.content
    assert watcher.ended
    failed = [each.failure for each in events if isinstance(each, Failed)]
    assert watcher.eof() == (failed[0] if failed else None)
    assert watcher.told == bool(failed)


def test_an_answer_that_is_being_made_is_no_content():
    item = {"type": "message", "content": []}
    watcher, _ = watched(CREATED, event("response.output_item.added", item=item, output_index=0))
    assert not watcher.content
    watcher.feed(text_delta("x"))
    assert watcher.content


def test_a_call_is_content_from_its_start():
    item = {"type": "function_call", "name": "f"}
    watcher, _ = watched(CREATED, event("response.output_item.added", item=item, output_index=0))
    assert watcher.content


def test_a_stream_without_its_end_is_truncated_and_half_an_event_is_held_back():
    watcher, passed = watched(CREATED, text_delta("a"), completed()[:-5])
    assert passed == CREATED + text_delta("a")
    assert watcher.eof().kind == "truncated"
    assert not watcher.ended


def test_an_error_is_seen_and_told():
    watcher, _ = watched(CREATED, text_delta("a"), event("error", code="x", message="no"))
    assert (watcher.failure.message, watcher.told, watcher.ended) == ("no", True, False)
    watcher, _ = watched(CREATED, event("response.failed", response={"error": {"message": "no"}}))
    assert (watcher.eof().message, watcher.told, watcher.ended) == ("no", True, True)


def test_a_model_that_talks_about_errors_does_not_make_one():
    watcher, _ = watched(CREATED, text_delta('"error" and "response.failed"'), completed())
    assert watcher.eof() is None


def test_the_answer_is_there_for_who_keeps_it():
    watcher, _ = watched(CREATED, completed(message("a")))
    assert watcher.answer["output"] == [message("a")]
    assert watcher.content


def test_what_is_no_stream_says_so():
    watcher, _ = watched(b"<html>busy</html>")
    assert "no stream" in watcher.eof().message
    watcher, _ = watched(b"data: {oops\n\n")
    assert "cannot be read" in watcher.eof().message


@pytest.mark.parametrize("broken", [b"data: {garbage\n\n", b'data: {"type": "x"\n\n'])
@pytest.mark.parametrize("apart", [True, False])
def test_what_cannot_be_read_does_not_pass_nor_what_follows_it(broken, apart):
    pieces = [CREATED + text_delta("a"), text_delta("b"), broken, text_delta("c"), completed()]
    watcher, passed = watched(*(pieces if apart else [pieces[0], b"".join(pieces[1:])]))
    assert passed == b"".join(pieces[:2])
    assert "cannot be read" in watcher.eof().message
    assert not watcher.ended


def test_comments_and_other_line_ends_pass_after_content():
    rest = [
        b": ping\n\n",
        text_delta("b").replace(b"\n", b"\r\n"),
        completed(),
        b"data: [DONE]\n\n",
    ]
    watcher, passed = watched(CREATED + text_delta("a"), *rest)
    assert passed == CREATED + text_delta("a") + b"".join(rest)
    assert watcher.eof() is None


def test_no_event_is_kept_without_a_bound():
    with pytest.raises(TooLong):
        watched(b"data: " + b"x" * 200, limit=100)
