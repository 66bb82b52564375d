"""Connections that real servers keep, close and lose, and the long wait for a cold model."""

import json
import select
import socket
import threading
from typing import Any

import pytest

from tests.e2e.quirks.world import (
    BEGINNING,
    GOODBYE,
    HELLO,
    HI,
    KEEP_ALIVE,
    KIND,
    PATIENCE_S,
    ROLE,
    both_ways,
    chunk,
    every_client,
    every_upstream,
    failed_over,
    openai_whole,
    saying,
)
from tests.fakes.upstream import Turn

pytestmark = pytest.mark.e2e


# --- connections ----------------------------------------------------------------------------------


def test_a_connection_closed_after_each_stream_despite_keep_alive_harms_nobody(world):
    def script(turn: Turn) -> None:
        turn.stream([*HELLO["openai"], *GOODBYE["openai"]], KEEP_ALIVE, "Server: llama.cpp")
        turn.cut()

    world.does(script)
    for _ in range(10):
        heard = world.ask("openai", "openai/m", stream=True)
        assert (heard.text, heard.complete, heard.error) == ("Hello model.", True, None)
    assert len(world.up.received) == 10


def test_a_kept_connection_that_dies_on_its_second_request_is_replaced_unseen(world):
    """Closed while the request was on its way: not a byte came back, so once more is safe."""
    used: dict[Any, int] = {}

    def script(turn: Turn) -> None:
        peer = turn.sock.getpeername()
        used[peer] = used.get(peer, 0) + 1
        if used[peer] > 1:
            turn.cut()
            return
        turn.whole(openai_whole({"content": "Hello model."}), 200, KEEP_ALIVE)

    world.does(lambda turn: (turn.whole(openai_whole({"content": "x"})), turn.cut()))
    world.ask("openai", "openai/m")  # no older connection is left after this one
    assert world.up.settled(0)
    world.does(script)
    for _ in range(4):
        heard = world.ask("openai", "openai/m")
        assert (heard.status, heard.text) == (200, "Hello model.")
        assert heard.headers["x-router-attempts"] == "1"
    assert len(world.up.received) == 7


@every_upstream
def test_a_connection_kept_after_a_stream_is_used_again(world, upstream):
    peers = []

    def script(turn: Turn) -> None:
        peers.append(turn.sock.getpeername())
        turn.stream([*HELLO[upstream], *GOODBYE[upstream]], kind=KIND[upstream])

    world.does(script)
    for _ in range(4):
        assert world.ask("openai", f"{upstream}/m", stream=True).complete
    assert len(set(peers)) == 1


def test_the_router_never_closes_its_sending_side_before_the_answer(world):
    """llama.cpp takes a half-closed client for one that is gone."""
    early = []

    def script(turn: Turn) -> None:
        early.extend(select.select([turn.sock], [], [], 0.3)[0])
        turn.whole(openai_whole({"content": "Hello model."}))

    world.does(script)
    assert world.ask("openai", "openai/m").text == "Hello model."
    assert early == []


@every_upstream
@both_ways
def test_a_client_that_goes_away_closes_the_upstream_connection(world, upstream, stream):
    began, closed = threading.Event(), []

    def script(turn: Turn) -> None:
        if stream:
            turn.begin(kind=KIND[upstream])
            for piece in HELLO[upstream]:
                turn.chunk(piece)
        began.set()
        closed.append(turn.wait_closed())

    world.does(script)
    body = {"model": f"{upstream}/{upstream}-m", "messages": HI, "stream": stream}
    head = "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\n"
    data = json.dumps(body).encode()
    with socket.create_connection(("127.0.0.1", world.daemon.port), PATIENCE_S) as sock:
        sock.sendall(f"{head}Content-Length: {len(data)}\r\n\r\n".encode() + data)
        assert began.wait(PATIENCE_S)
        if stream:
            assert sock.recv(1)
    assert world.up.settled(0)
    assert closed == [True]


def test_a_server_that_is_not_there_is_passed_over(world):
    assert failed_over(world.ask("openai", "refused+"))
    assert failed_over(world.ask("openai", "refused+", stream=True))
    assert world.ask("openai", "refused/m").status == 502


# --- waiting --------------------------------------------------------------------------------------


@pytest.mark.parametrize("client", ["openai", "anthropic"])
@every_upstream
def test_a_cold_model_that_sends_no_byte_for_long_is_waited_for_with_life_signs(
    world, client, upstream
):
    patient = threading.Event()

    def script(turn: Turn) -> None:
        assert patient.wait(PATIENCE_S)
        turn.stream([*HELLO[upstream], *GOODBYE[upstream]], kind=KIND[upstream])

    def seen(body: bytes) -> None:
        if sum(row.startswith(b":") for row in body.split(b"\n")) >= 2:
            patient.set()

    world.does(script)
    heard = world.ask(client, f"{upstream}/m", stream=True, seen=seen)
    assert (heard.text, heard.complete, heard.error) == ("Hello model.", True, None)
    assert heard.comments >= 2


@pytest.mark.parametrize("client", ["openai", "anthropic"])
@pytest.mark.parametrize("end", ["closed", "busy"])
def test_after_life_signs_another_server_can_still_answer(world, client, end):
    patient = threading.Event()

    def script(turn: Turn) -> None:
        assert patient.wait(PATIENCE_S)
        if end == "busy":
            turn.whole({"error": "server busy, please try again."}, 503)
        turn.cut()

    world.does(script)
    heard = world.ask(
        client, "ollama+", stream=True, seen=lambda body: patient.set() if b":" in body else None
    )
    assert (heard.text, heard.complete, heard.error) == ("from the spare", True, None)
    assert heard.comments
    said = world.line(heard)
    assert (said["end"], said["provider"], len(said["attempts"])) == ("complete", "spare", 1)


@pytest.mark.parametrize("client", ["openai", "anthropic"])
def test_after_life_signs_an_error_is_an_event_of_the_stream(world, client):
    patient = threading.Event()

    def script(turn: Turn) -> None:
        assert patient.wait(PATIENCE_S)
        turn.whole({"error": {"message": "Invalid tool_choice: whatever", "code": 400}}, 400)

    world.does(script)
    heard = world.ask(
        client,
        "openai/m",
        stream=True,
        seen=lambda body: patient.set() if b":" in body else None,
    )
    assert heard.status == 200
    assert "Invalid tool_choice" in heard.error["message"]
    assert not heard.complete
    assert world.line(heard)["end"] == "refused"


@every_client
@every_upstream
def test_a_role_a_comment_or_an_open_block_is_no_content_so_another_server_can_answer(
    world, client, upstream
):
    def script(turn: Turn) -> None:
        turn.begin(kind=KIND[upstream])
        for piece in BEGINNING[upstream]:
            turn.chunk(piece)
        turn.cut()

    world.does(script)
    heard = world.ask(client, f"{upstream}+", stream=True)
    assert failed_over(heard)
    assert heard.error is None


@every_client
def test_progress_reports_and_comments_before_the_first_token_are_not_text(world, client):
    progress = [
        chunk({"role": "assistant", "content": None}, prompt_progress={"total": 9, "processed": n})
        for n in range(3)
    ]
    world.does(saying("openai", ROLE, b":\n\n", *progress, *HELLO["openai"], *GOODBYE["openai"]))
    heard = world.ask(client, "openai/m", stream=True)
    assert (heard.text, heard.complete) == ("Hello model.", True)
    if client == "anthropic":
        assert [e["type"] for e in heard.events].count("message_start") == 1
