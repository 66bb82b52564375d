"""What serves when nobody wrote a configuration, seen through a dialler that records every call."""

from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Any

import pytest
import trio

from llmrouterd.edge.dial import DialError, Origin, dial
from llmrouterd.edge.pool import Pool
from llmrouterd.model import Provider, Secret
from llmrouterd.ops import local
from llmrouterd.ops.local import CLOUDS, found
from tests.fakes.upstream import FakeUpstream, Turn

USUAL = [
    ("127.0.0.1", 1234),
    ("127.0.0.1", 8000),
    ("127.0.0.1", 8080),
    ("127.0.0.1", 11434),
]


PROBE_S = local.PROBE_S


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that a busy machine finds its servers, too."""
    monkeypatch.setattr(local, "PROBE_S", 30.0)


def test_the_start_is_held_up_for_half_a_second_at_most() -> None:
    assert PROBE_S == 0.5


class Switchboard:
    """A dialler: says who was called, and connects where a test has put somebody."""

    def __init__(self, lines: dict[tuple[str, int], FakeUpstream] | None = None) -> None:
        self.lines = lines or {}
        self.called: list[tuple[str, int]] = []

    async def __call__(self, origin: Origin, **more: Any) -> Any:
        self.called.append((origin.host, origin.port))
        up = self.lines.get((origin.host, origin.port))
        if up is None:
            raise DialError("refused", "nobody there")
        return await dial(replace(origin, scheme="http", host="127.0.0.1", port=up.port), **more)


def answering(body: Any, status: int = 200) -> Any:
    def script(turn: Turn) -> None:
        turn.whole(body, status)

    return script


async def look(environ: dict[str, str], board: Switchboard) -> tuple[Provider, ...]:
    pool = Pool(dialer=board)
    try:
        with trio.fail_after(30):
            config = await found(environ, pool)
        assert pool.leased == 0
        assert config.routing.implicit
        return config.providers
    finally:
        pool.close()


@contextmanager
def machine(**servers: Any) -> Any:
    """A machine with servers at the usual ports: p11434=script."""
    with ExitStack() as stack:
        yield Switchboard(
            {
                ("127.0.0.1", int(name[1:])): stack.enter_context(FakeUpstream(script))
                for name, script in servers.items()
            }
        )


async def test_a_machine_with_nothing_has_the_echo() -> None:
    board = Switchboard()
    assert await look({}, board) == (Provider("echo", "echo"),)
    assert sorted(board.called) == USUAL


async def test_every_local_server_is_found_in_the_order_of_the_table() -> None:
    models = answering({"object": "list", "data": []})
    with machine(p8000=models, p1234=models, p8080=models, p11434=answering({"models": []})) as b:
        providers = await look({}, b)
        assert [(p.name, p.format, p.base_url) for p in providers] == [
            ("ollama", "ollama", "http://127.0.0.1:11434"),
            ("llama-server", "openai", "http://127.0.0.1:8080/v1"),
            ("lmstudio", "openai", "http://127.0.0.1:1234/v1"),
            ("vllm", "openai", "http://127.0.0.1:8000/v1"),
        ]
        assert all(p.local and not p.on_demand and p.key is None for p in providers)
        received = [r for up in b.lines.values() for r in up.received]
        assert sorted((r.method, r.target) for r in received) == [
            ("GET", "/api/tags"),
            *[("GET", "/v1/models")] * 3,
        ]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"<html>a web server</html>", 200),
        (b"", 200),
        ([], 200),
        ({}, 200),
        ({"data": {"a": 1}, "models": "many"}, 200),
        ({"data": [], "models": []}, 404),
        ({"data": [], "models": []}, 401),
        (b"[" * 100_000, 200),
        (b"\xff", 200),
    ],
)
async def test_who_answers_otherwise_is_somebody_else(body: Any, status: int) -> None:
    """Ports 8000 and 8080 are every developer's."""
    script = answering(body, status)
    with machine(p8000=script, p1234=script, p8080=script, p11434=script) as board:
        assert await look({}, board) == (Provider("echo", "echo"),)


async def test_a_place_with_the_other_places_shape_is_not_taken_for_it() -> None:
    with machine(p11434=answering({"data": []}), p8080=answering({"models": []})) as board:
        assert [p.name for p in await look({}, board)] == ["echo"]


async def test_what_is_not_http_is_nobody() -> None:
    def garbage(turn: Turn) -> None:
        turn.raw(b"SSH-2.0-OpenSSH_9.2\r\n")
        turn.cut()

    with machine(p8080=garbage, p8000=lambda turn: turn.cut()) as board:
        assert [p.name for p in await look({}, board)] == ["echo"]


async def test_a_server_that_hangs_does_not_hold_up_the_start(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(local, "PROBE_S", 0.2)

    def hang(turn: Turn) -> None:
        turn.wait_closed()

    with machine(p8080=hang) as board:
        assert [p.name for p in await look({}, board)] == ["echo"]
        (up,) = board.lines.values()
        assert up.settled()


async def test_an_answer_without_end_does_not_hold_up_the_start(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(local, "PROBE_S", 0.2)

    def endless(turn: Turn) -> None:
        turn.begin(kind="application/json")
        while not turn.wait_closed(0.005):
            turn.chunk(b'{"data":[' + b" " * 1000)

    with machine(p8080=endless) as board:
        assert [p.name for p in await look({}, board)] == ["echo"]


# --- OLLAMA_HOST ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "base"),
    [
        ("", "http://127.0.0.1:11434"),
        ("   ", "http://127.0.0.1:11434"),
        ("0.0.0.0", "http://127.0.0.1:11434"),
        ("0.0.0.0:8888", "http://127.0.0.1:8888"),
        (":8888", "http://127.0.0.1:8888"),
        ("localhost", "http://localhost:11434"),
        ("gpu", "http://gpu:11434"),
        ("gpu.lan:8888", "http://gpu.lan:8888"),
        ("http://gpu", "http://gpu:80"),
        ("https://gpu", "https://gpu:443"),
        ("HTTP://gpu:8888", "http://gpu:8888"),
        ("http://gpu:8888/", "http://gpu:8888"),
        ("https://gpu/ollama", "https://gpu:443/ollama"),
        ("gpu:8888/a/b/", "http://gpu:8888/a/b"),
        (' "gpu:8888" ', "http://gpu:8888"),
        ("'gpu'", "http://gpu:11434"),
        ("[::1]", "http://[::1]:11434"),
        ("[::1]:8888", "http://[::1]:8888"),
        ("::1", "http://[::1]:11434"),
        ("fe80::1:2", "http://[fe80::1:2]:11434"),
        ("[::]:8888", "http://127.0.0.1:8888"),
        ("::", "http://127.0.0.1:11434"),
        ("http://[::1]", "http://[::1]:80"),
        # what is no port is the usual one, what is no address is as if it were not set
        ("localhost:99999", "http://localhost:11434"),
        ("localhost:abc", "http://localhost:11434"),
        ("localhost:", "http://localhost:11434"),
        ("ftp://gpu", "http://127.0.0.1:11434"),
        ("http://[::1", "http://127.0.0.1:11434"),
        ("://", "http://127.0.0.1:11434"),
    ],
)
async def test_ollama_host_is_read_as_ollama_reads_it(value: str, base: str) -> None:
    with FakeUpstream(answering({"models": []})) as up:
        board = Switchboard()
        board.lines = AllButTheOthers(up)
        providers = await look({"OLLAMA_HOST": value}, board)
        assert [(p.name, p.base_url) for p in providers] == [("ollama", base)]


class AllButTheOthers(dict):
    """Everybody is Ollama but the three other usual places."""

    def __init__(self, up: FakeUpstream) -> None:
        self.up = up

    def get(self, key: Any, default: Any = None) -> Any:
        others = {place for place in USUAL if place[1] != 11434}
        return None if key in others else self.up


@pytest.mark.parametrize(
    ("value", "is_local"),
    [
        ("", True),
        ("[::1]", True),
        ("192.168.1.9", True),
        ("ollama", True),  # a container's name
        ("gpu.local:11434", True),
        ("http://ollama.example", False),
        ("8.8.8.8", False),
    ],
)
async def test_an_ollama_elsewhere_is_local_only_on_this_network(
    value: str, is_local: bool
) -> None:
    with FakeUpstream(answering({"models": []})) as up:
        board = Switchboard()
        board.lines = AllButTheOthers(up)
        (provider,) = await look({"OLLAMA_HOST": value}, board)
        assert provider.local is is_local


async def test_only_this_machine_and_the_named_ollama_are_asked() -> None:
    board = Switchboard()
    keys = {variable: "sk-x" for *_, variable in CLOUDS}
    await look({"OLLAMA_HOST": "gpu.example", **keys}, board)
    assert sorted(board.called) == [*USUAL[:3], ("gpu.example", 11434)]


# --- keys -----------------------------------------------------------------------------------------


async def test_a_key_in_the_environment_is_a_provider_for_models_asked_for_by_name() -> None:
    board = Switchboard()
    keys = {variable: f"sk-{name}" for name, _, _, variable in CLOUDS}
    providers = await look(keys, board)
    assert [p.name for p in providers] == [name for name, *_ in CLOUDS]
    for p in providers:
        assert p.on_demand
        assert not p.local
        assert p.key == Secret(f"sk-{p.name}")
        assert p.base_url.startswith("https://")
        assert "sk-" not in repr(p)
    assert sorted(board.called) == USUAL  # nothing left the machine


async def test_blanks_round_a_key_are_not_of_it() -> None:
    (provider,) = await look({"OPENAI_API_KEY": " sk-1\n"}, Switchboard())
    assert provider.key == Secret("sk-1")


async def test_an_empty_key_is_none() -> None:
    keys = {variable: " " for *_, variable in CLOUDS}
    assert await look(keys, Switchboard()) == (Provider("echo", "echo"),)


async def test_a_local_server_and_a_key_stand_side_by_side_without_the_echo() -> None:
    with machine(p11434=answering({"models": []})) as board:
        providers = await look({"ANTHROPIC_API_KEY": "sk-a"}, board)
    assert [(p.name, p.on_demand) for p in providers] == [("ollama", False), ("anthropic", True)]


async def test_what_was_looked_for_and_is_not_there_is_said_with_the_reason() -> None:
    with machine(p8080=answering({}), p11434=answering({"models": []})) as board:
        pool = Pool(dialer=board)
        try:
            skipped = dict((await found({"XAI_API_KEY": "sk-x"}, pool)).skipped)
        finally:
            pool.close()
    assert skipped["llama-server"] == "what answers at 127.0.0.1:8080 is not llama-server"
    assert skipped["vllm"] == "nobody there"
    assert "ollama" not in skipped
    assert "OPENAI_API_KEY" in skipped["clouds"]
    assert "XAI" not in skipped["clouds"]
