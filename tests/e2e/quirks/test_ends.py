"""Streams that end in all the ways in which real servers were seen to end them."""

import json

import pytest

from tests.e2e.quirks.world import (
    ALL_PAIRS,
    DONE,
    FORMATS,
    GOODBYE,
    HELLO,
    ROLE,
    both_ways,
    breaks,
    chunk,
    ends,
    every_client,
    failed_over,
    refusing,
    saying,
    sse,
)
from tests.fakes.upstream import Turn

pytestmark = pytest.mark.e2e


@ALL_PAIRS
def test_a_stream_that_ends_cleanly_without_its_end_mark_is_an_error(world, client, upstream):
    """Ollama's /v1 and /v1/messages do so when the model's process dies."""
    silent = {"openai": [chunk({"content": ""}, model="")], "anthropic": [], "ollama": []}
    world.does(breaks(world, upstream, ends(*silent[upstream])))
    heard = world.ask(client, f"{upstream}+", stream=True)
    assert heard.text == "Hello model."
    assert heard.error
    assert not heard.complete
    said = world.line(heard)
    assert (said["end"], said["fault"]) == ("truncated", "upstream")


@ALL_PAIRS
def test_a_server_killed_in_a_stream_is_an_error(world, client, upstream):
    world.does(breaks(world, upstream, Turn.cut))
    heard = world.ask(client, f"{upstream}+", stream=True)
    assert heard.text == "Hello model."
    assert heard.error
    assert not heard.complete
    said = world.line(heard)
    assert (said["end"], said["fault"]) == ("truncated", "upstream")


@ALL_PAIRS
def test_a_stream_that_stalls_is_ended_by_the_idle_clock(world, client, upstream):
    """llama.cpp does so after SIGTERM: the connection stays open and nothing comes."""
    closed = []

    world.does(breaks(world, upstream, lambda turn: closed.append(turn.wait_closed())))
    heard = world.ask(client, f"{upstream}-soon/m", stream=True)
    assert heard.text == "Hello model."
    assert heard.error
    assert not heard.complete
    said = world.line(heard)
    assert (said["end"], said["fault"], said["error_kind"]) == (
        "stalled",
        "upstream",
        "timeout:idle",
    )
    assert world.up.settled(0)
    assert closed == [True]


@every_client
@both_ways
def test_a_server_killed_before_its_first_byte_is_passed_over(world, client, stream):
    world.does(Turn.cut)
    assert failed_over(world.ask(client, "openai+", stream=stream))
    heard = world.ask(client, "openai/m", stream=stream)
    assert heard.status == {"openai": 502, "anthropic": 500, "ollama": 502}[client]
    said = world.line(heard)
    assert (said["end"], said["fault"]) == ("upstream_error", "upstream")


VLLM_DEAD = {
    "message": "EngineCore encountered an issue. See stack trace (above) for the root cause.",
    "type": "InternalServerError",
    "param": None,
    "code": 500,
}


@every_client
def test_an_error_event_followed_by_done_is_an_error(world, client):
    world.does(breaks(world, "openai", ends(sse({"error": VLLM_DEAD}), DONE)))
    heard = world.ask(client, "openai+", stream=True)
    assert heard.text == "Hello model."
    assert "EngineCore" in json.dumps(heard.error)
    if client != "openai":
        assert not heard.complete
    said = world.line(heard)
    assert (said["end"], said["fault"]) == ("upstream_error", "upstream")


@every_client
def test_an_error_event_before_any_content_is_cured_by_another_server(world, client):
    world.does(saying("openai", ROLE, sse({"error": VLLM_DEAD}), DONE))
    assert failed_over(world.ask(client, "openai+", stream=True))


RUNNER = {"error": "an error was encountered while running the model: unexpected EOF"}


@every_client
def test_an_error_line_in_an_ollama_stream_is_an_error(world, client):
    broken = json.dumps(RUNNER).encode() + b"\n"
    world.does(breaks(world, "ollama", ends(broken)))
    heard = world.ask(client, "ollama+", stream=True)
    assert heard.text == "Hello model."
    assert "unexpected EOF" in json.dumps(heard.error)
    assert not heard.complete
    said = world.line(heard)
    assert (said["end"], said["fault"]) == ("upstream_error", "upstream")
    world.does(saying("ollama", broken))
    assert failed_over(world.ask(client, "ollama+", stream=True))


@every_client
def test_the_same_failure_of_a_whole_answer_is_cured_by_another_server(world, client):
    world.does(refusing(500, RUNNER))
    assert failed_over(world.ask(client, "ollama+"))


def test_the_end_mark_may_share_a_piece_with_the_event_before_it(world):
    world.does(saying("openai", b"".join([*HELLO["openai"], *GOODBYE["openai"]])))
    for client in FORMATS:
        heard = world.ask(client, "openai/m", stream=True)
        assert (heard.text, heard.complete) == ("Hello model.", True)
