"""Ollama's administration through the router."""

import h11
import pytest

from llmrouterd.config import Config, Server
from llmrouterd.model import Provider
from llmrouterd.ops.admin import PATHS
from tests.fakes.upstream import FakeUpstream, Turn
from tests.ops.stage import ask_pages, pages_of


def pages_with(*providers: Provider, allowed: bool = True):
    return pages_of(Config(server=Server(allow_model_admin=allowed), providers=providers))


@pytest.mark.parametrize("path", PATHS)
async def test_it_is_off_unless_the_owner_says_so(path: str) -> None:
    with FakeUpstream(lambda turn: turn.whole({})) as up:
        pages = pages_with(Provider("o", "ollama", up.url), allowed=False)
        said = await ask_pages(pages, PATHS[path][0], path, body=b'{"model": "m"}')
        assert said.status == 403
        assert "allow_model_admin" in said.json["error"]
        assert up.received == []


async def test_a_pull_is_passed_on_line_by_line() -> None:
    lines = [b'{"status":"pulling"}\n', b'{"status":"success"}\n']
    kind = "application/x-ndjson"
    with FakeUpstream(lambda turn: turn.stream(lines, kind=kind)) as up:
        pages = pages_with(Provider("o", "ollama", up.url), Provider("e", "echo"))
        said = await ask_pages(pages, "POST", "/api/pull", body=b'{"model": "m"}')
        assert (said.status, said.get("content-type"), said.body) == (200, kind, b"".join(lines))
        (asked,) = up.received
        assert (asked.method, asked.target, asked.body) == ("POST", "/api/pull", b'{"model": "m"}')


async def test_a_delete_keeps_its_method_and_its_status() -> None:
    with FakeUpstream(lambda turn: turn.whole({"error": "model 'm' not found"}, 404)) as up:
        pages = pages_with(Provider("o", "ollama", up.url))
        said = await ask_pages(pages, "DELETE", "/api/delete", body=b'{"model": "m"}')
        assert (said.status, said.json) == (404, {"error": "model 'm' not found"})
        assert up.received[0].method == "DELETE"


@pytest.mark.parametrize("count", [0, 2])
async def test_with_no_server_or_with_several_nobody_guesses(count: int) -> None:
    servers = [Provider(f"o{i}", "ollama", "http://127.0.0.1:9") for i in range(count)]
    said = await ask_pages(pages_with(*servers, Provider("e", "echo")), "POST", "/api/pull")
    assert said.status == 400
    assert f"{count} Ollama servers" in said.json["error"]


async def test_a_server_that_is_down() -> None:
    pages = pages_with(Provider("o", "ollama", "http://127.0.0.1:9"))
    said = await ask_pages(pages, "POST", "/api/pull", body=b"{}")
    assert said.status == 502
    assert "error" in said.json


async def test_a_pull_that_breaks_off_is_not_ended_properly() -> None:
    def script(turn: Turn) -> None:
        turn.begin(kind="application/x-ndjson")
        turn.chunk(b'{"status":"pulling"}\n')
        turn.cut()

    with FakeUpstream(script) as up:
        pages = pages_with(Provider("o", "ollama", up.url))
        with pytest.raises(ExceptionGroup) as caught:
            await ask_pages(pages, "POST", "/api/pull", body=b"{}")
    assert caught.group_contains(h11.RemoteProtocolError)
