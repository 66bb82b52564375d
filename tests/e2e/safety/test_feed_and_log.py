"""The event feed and the log: readable by the original's readers, whole, in order."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.safety.house import CLOSE, ECHO, House, answers_well, format_asked, watch
from tests.fakes.bystander import (
    FORMATS,
    Listener,
    ask,
    chat,
)
from tests.fakes.daemon import RunningDaemon
from tests.fakes.models import CHAT_PATH, STREAM_TYPE, Said, pieces, wants_stream, whole
from tests.fakes.original import events_of, strict
from tests.fakes.upstream import Turn

pytestmark = pytest.mark.e2e


def heard_through(reader: Listener, words: str) -> list[tuple[int, Any]]:
    """All events up to the end of the one that holds these words."""
    reader.until(words.encode())
    while not reader.body.endswith(b"\n\n"):
        data = reader.response.read1(65536)
        assert data
        reader.body += data
    return events_of(reader.body)


PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="


def varied(client: str) -> list[dict[str, Any]]:
    """Requests with all that a record may have to show."""
    user = {"role": "user", "content": "hello\nline two \u2028 \U0001f999"}
    if client == "anthropic":
        image = {
            "type": "image",
            "source": {"type": "base64", "media_type": "image/png", "data": PIXEL},
        }
        use = {"type": "tool_use", "id": "t1", "name": "look", "input": {"at": [1]}}
        told = {
            "type": "tool_result",
            "tool_use_id": "t1",
            "content": [{"type": "text", "text": "a"}],
        }
        history = [
            {"role": "user", "content": [{"type": "text", "text": "see"}, image]},
            {"role": "assistant", "content": [{"type": "text", "text": "so"}, use]},
            {"role": "user", "content": [told]},
        ]
        extra: dict[str, Any] = {"system": [{"type": "text", "text": "be brief"}]}
    elif client == "openai":
        url = f"data:image/png;base64,{PIXEL}"
        image = {"type": "image_url", "image_url": {"url": url}}
        call = {"id": "t1", "type": "function", "function": {"name": "look", "arguments": "{bad"}}
        history = [
            {"role": "system", "content": "be brief"},
            {"role": "user", "content": [{"type": "text", "text": "see"}, image]},
            {"role": "assistant", "content": None, "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "t1", "content": "a"},
        ]
        extra = {}
    else:
        call = {"function": {"name": "look", "arguments": {"at": [1]}}}
        history = [
            {"role": "system", "content": "be brief"},
            {"role": "user", "content": "see", "images": [PIXEL]},
            {"role": "assistant", "content": "", "tool_calls": [call]},
            {"role": "tool", "tool_name": "look", "content": "a"},
        ]
        extra = {}
    return [
        chat(client, client, messages=[user]),
        chat(client, client, stream=True, messages=[user]),
        chat(client, client, messages=history, **extra),
        chat(client, client, stream=True, messages=history, **extra),
    ]


def calls_a_tool(turn: Turn) -> None:
    turn.keep = False
    fmt = format_asked(turn.received)
    said = Said("so", thinking="hm", calls=(("t9", "look", {"at": {"x": 1}}),), cut=False)
    if wants_stream(fmt, turn.received):
        turn.stream(pieces(fmt, said, turn.received.json), CLOSE, kind=STREAM_TYPE[fmt])
    else:
        turn.whole(whole(fmt, said), 200, CLOSE)


def fails(turn: Turn) -> None:
    turn.keep = False
    turn.whole({"error": {"message": "no", "type": "x"}}, 500, CLOSE)


@pytest.mark.parametrize("client", FORMATS)
def test_the_feed_and_the_log_can_be_read_by_the_originals_readers(
    house: House, client: str
) -> None:
    lines = house.journal.count()
    asked: list[tuple[str, list[str]]] = []
    with watch(house.daemon) as reader:
        for script in (answers_well, calls_a_tool, fails):
            house.upstream.script = script
            for body in varied(client):
                answer = ask(house.daemon, CHAT_PATH[client], body)
                assert (answer.status == 200) == (script is not fails), answer.body
                asked.append((answer.id, ["start", "classified", "routed", "complete"]))
        refused = ask(house.daemon, CHAT_PATH[client], b"{")
        nobody = ask(house.daemon, CHAT_PATH[client], chat(client, "nobody/has-it"))
        asked += [(refused.id, ["complete"]), (nobody.id, ["start", "classified", "complete"])]
        events = heard_through(reader, nobody.id)
    numbers = [number for number, _ in events]
    assert numbers == sorted(set(numbers))  # our own types have some of them
    for _, event in events:
        strict(event)
    completes = [event for _, event in events if event["type"] == "complete"]
    for request_id, kinds in asked:
        (ended,) = [event for event in completes if event["request_id"] == request_id]
        mine = [event["type"] for _, event in events if event["id"] == ended["id"]]
        assert mine == [kind for kind in kinds if kind in mine]
        assert {"start", "routed", "complete"} & set(kinds) <= set(mine)
    for line in house.journal.after(lines, len(asked)):
        assert strict(line) == "complete"
        for ours in ("decision", "asked"):  # what a replay needs, and no onlooker
            line.pop(ours, None)
        assert line == next(e for e in completes if e["request_id"] == line["request_id"])
    parts = {p["type"] for e in completes for m in e["messages"] for p in m["content"]}
    assert parts == {"text", "image", "tool_use", "tool_result"}
    assert any(e["response"] and "tool_calls" in e["response"] for e in completes)
    assert any(e["error"] for e in completes)
    assert {e["system"] for e in completes} == {None, "be brief"}


def test_a_reader_that_comes_back_gets_what_it_missed(house: House) -> None:
    with watch(house.daemon) as reader:
        first = house.ask("openai", {})
        seen = heard_through(reader, first.id)
    missed = [house.ask(client, {}) for client in FORMATS]
    with watch(house.daemon, f"Last-Event-ID: {seen[-1][0]}") as reader:
        again = heard_through(reader, missed[-1].id)
    assert again[0][0] == seen[-1][0] + 1
    assert [e["request_id"] for _, e in again if e["type"] == "complete"] == [a.id for a in missed]
    numbers = [number for number, _ in again]
    assert numbers == sorted(set(numbers))
    with watch(house.daemon) as reader:  # who was never there begins now
        last = house.ask("openai", {})
        heard_through(reader, last.id)
        assert all(a.id.encode() not in reader.body for a in missed)


@pytest.mark.parametrize("last", ["", "x", "-1", "1e3", "9" * 30, "٣"])
def test_a_last_event_id_that_is_none_starts_now(house: House, last: str) -> None:
    request = f"GET /dashboard/events HTTP/1.1\r\nHost: localhost\r\nLast-Event-ID: {last}\r\n\r\n"
    with Listener(house.daemon, request.encode()) as reader:
        reader.until(b"\n\n")
        answer = house.ask("openai", {})
        events = heard_through(reader, answer.id)
        assert [e["type"] for _, e in events].count("complete") == 1


def test_without_a_dashboard_there_is_none(tmp_path: Path) -> None:
    with RunningDaemon(f"[server]\nport = 0\ndashboard = false\n{ECHO}", tmp_path) as daemon:
        assert ask(daemon, "/dashboard").status == 404
        assert ask(daemon, "/dashboard/events").status == 404
        assert ask(daemon, CHAT_PATH["openai"], chat("openai", "echo")).status == 200


def test_many_requests_at_once_are_each_one_whole_line(tmp_path: Path) -> None:
    text = f'[server]\nport = 0\n[logging]\nenabled = true\npath = "log.jsonl"\n{ECHO}'
    with RunningDaemon(text, tmp_path) as daemon:
        ids: list[str] = []

        def many(client: str) -> None:
            for number in range(40):
                body = chat(client, "echo", stream=bool(number % 2))
                body["messages"][0]["content"] = "line\n" * number + "\u2028\r\n\0"
                ids.append(ask(daemon, CHAT_PATH[client], body).id)

        threads = [threading.Thread(target=many, args=(fmt,)) for fmt in FORMATS for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    # written to the last one when the daemon has ended
    data = (tmp_path / "log.jsonl").read_bytes()
    lines = [json.loads(line) for line in data.removesuffix(b"\n").split(b"\n")]
    assert sorted(line["request_id"] for line in lines) == sorted(ids)
    assert len(lines) == 240
    assert {strict(line) for line in lines} == {"complete"}
    assert (tmp_path / "log.jsonl").stat().st_mode & 0o777 == 0o600
