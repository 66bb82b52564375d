"""One configuration takes another's place: whole or not at all."""

import logging
import socket
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import trio
import trio.testing

from llmrouterd.config import Config, Server, Telemetry
from llmrouterd.edge.client import Client
from llmrouterd.edge.incoming import Incoming
from llmrouterd.edge.pool import Pool
from llmrouterd.model import Candidate, ConfigError, Provider, Routing, Secret
from llmrouterd.ops.current import Current
from llmrouterd.ops.generation import build
from llmrouterd.ops.probes import Probes
from llmrouterd.pipeline.daemon import Daemon
from llmrouterd.pipeline.tracing import CURRENT
from tests.fakes.upstream import FakeUpstream
from tests.ops.stage import ask

ECHO = Provider("echo", "echo")


def config(*providers: Provider, **more) -> Config:
    return Config(providers=providers or (ECHO,), routing=Routing(implicit=True), **more)


class File:
    """What a reload reads."""

    def __init__(self, first: Config) -> None:
        self.says: Config | ConfigError = first
        self.read = 0

    def load(self) -> Config:
        self.read += 1
        if isinstance(self.says, ConfigError):
            raise self.says
        return self.says


@asynccontextmanager
async def current(first: Config):
    file, pool = File(first), Pool()
    it = Current(first, build(first, 1, "tests"), Daemon(pool), None, load=file.load)
    async with trio.open_nursery() as nursery:
        await nursery.start(it.run)
        yield it, file
        nursery.cancel_scope.cancel()
    pool.close()


def names(it: Current) -> list[str]:
    return list(it.generation.fleet(0).states)


async def test_a_new_configuration_is_in_force_for_what_comes_from_now_on() -> None:
    async with current(config()) as (it, file):
        old = it.generation
        file.says = config(ECHO, Provider("b", "echo"), server=Server(api_key=Secret("k")))
        assert await it.reload()
        assert (it.generation.number, it.failed) == (2, "")
        assert names(it) == ["echo", "b"]
        assert (await ask(it.answer, "GET", "/v1/models")).status == 401
        assert list(old.fleet(0).states) == ["echo"]  # what began under it ends under it


async def test_a_wrong_file_changes_nothing_and_is_said(caplog: pytest.LogCaptureFixture) -> None:
    async with current(config()) as (it, file):
        pages = it.pages
        file.says = ConfigError(["x.toml:1: one", "x.toml:2: two"])
        assert not await it.reload()
        assert (it.generation.number, it.pages) == (1, pages)
        assert it.failed == "x.toml:1: one; x.toml:2: two"
        errors = [r.getMessage() for r in caplog.records if r.levelno == logging.ERROR]
        assert errors == ["not reloaded: x.toml:1: one", "not reloaded: x.toml:2: two"]


async def test_a_plugin_that_cannot_be_built_changes_nothing() -> None:
    async with current(config()) as (it, file):
        wrong = {"pareto-router": {"enabled": True, "tiers": {"low": ["echo"]}, "tier": 5}}
        file.says = config(plugins=wrong)
        done = await it.reload()
        assert done == (it.generation.number == 2)


async def test_an_owners_plugin_is_read_anew_and_a_broken_one_changes_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "mine.py"
    text = "from llmrouterd.hooks import Plugin\nclass Mine(Plugin):\n    version = {}\n"
    path.write_text(text.format(1))
    path.chmod(0o600)
    tables = {"mine": {"enabled": True, "path": str(path)}}
    async with current(config(plugins=tables)) as (it, file):
        file.says = config(plugins=tables)
        for version, works in ((2, True), ("(", False), (3, True)):
            path.write_text(text.format(version))
            assert await it.reload() is works
        assert it.generation.plugins["mine"].hook.version == 3
        assert it.generation.number == 3
    assert f"{path}:3: '(' was never closed" in caplog.text


async def test_what_takes_a_restart_is_named_and_stays(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    async with current(config()) as (it, file):
        file.says = config(server=Server(port=1, hosts=("::1",), life_sign=3.0))
        assert await it.reload()
        assert (it.config.server.port, it.config.server.hosts) == (8090, ("127.0.0.1",))
        assert it.config.server.life_sign == 3.0
        assert "server.port takes a restart" in caplog.text
        assert "server.hosts takes a restart" in caplog.text


async def test_telemetry_takes_a_restart(caplog: pytest.LogCaptureFixture) -> None:
    async with current(config()) as (it, file):
        file.says = config(telemetry=Telemetry(enabled=True))
        assert await it.reload()
        assert it.config.telemetry == Telemetry()
        assert "[telemetry] takes a restart" in caplog.text


async def test_a_page_is_not_of_the_last_requests_trace() -> None:
    seen: list[str] = []
    async with current(config()) as (it, _):

        async def answer(incoming: Incoming, client: Client) -> None:
            CURRENT.set("0af7")  # as an earlier request of this connection left it
            await it.answer(incoming, client)
            seen.append(CURRENT.get())

        assert (await ask(answer, "GET", "/health")).status == 200
    assert seen == [""]


async def test_what_is_known_of_an_unchanged_provider_stays_known() -> None:
    with FakeUpstream(lambda turn: turn.whole({"data": [{"id": "m"}]})) as up:
        kept = Provider("kept", "openai", up.url + "/v1")
        async with current(config(kept)) as (it, file):
            with socket.create_server(("127.0.0.1", 0)) as silent:
                port = silent.getsockname()[1]
                slow = Provider("slow", "openai", f"http://127.0.0.1:{port}/v1")
                file.says = config(kept, slow)
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(it.reload)
                    while it.generation.number == 1:
                        assert list(it.generation.fleet(0).states["kept"].models or ()) == ["m"]
                        await trio.sleep(0.01)
            assert list(it.generation.fleet(0).states["kept"].models or ()) == ["m"]
            assert names(it) == ["kept", "slow"]


async def test_who_was_ill_may_be_tried_and_who_is_gone_is_forgotten() -> None:
    from formats.errors import Failure

    async with current(config(ECHO, Provider("b", "echo"))) as (it, file):
        health, now = it._daemon.health, trio.current_time()
        for name in ("echo", "b"):
            failure = Failure("credential", "no", 401)
            health.failed(Candidate(name, "m", "r"), failure, now, jitter=0.5)
        assert not it._daemon.fleet(it.generation, 0).states["echo"].healthy
        file.says = config(ECHO)
        assert await it.reload()
        assert it._daemon.fleet(it.generation, 0).states["echo"].healthy
        assert "b" not in health.breaker.circuits()
        assert list(health.seen) == ["echo"]


async def test_two_reloads_at_once_are_one_after_the_other() -> None:
    async with current(config()) as (it, file):
        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(it.reload)
        assert 2 <= file.read <= 3
        assert it.generation.number == 1 + file.read


async def test_without_a_file_there_is_nothing_to_reload(caplog: pytest.LogCaptureFixture) -> None:
    first = config()
    it = Current(first, build(first, 1, "tests"), Daemon(Pool()), None)
    assert not await it.reload()
    assert "no configuration file" in caplog.text


async def test_the_generation_does_not_change_under_a_request() -> None:
    first = config()
    it = Current(first, build(first, 1, "tests"), Daemon(Pool()), None)
    with pytest.raises(AttributeError):
        it.generation.number = 2  # type: ignore[misc]
    assert replace(it.generation, number=2).number == 2


async def test_probes_are_those_of_the_configuration_in_force(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: trio.testing.MockClock
) -> None:
    probed: list[str] = []

    async def probe(self: Probes, provider: Provider) -> None:
        probed.append(provider.name)

    monkeypatch.setattr(Probes, "probe", probe)

    def one(name: str) -> Provider:
        return Provider(
            name, "openai", "http://127.0.0.1:9/v1", models=("m",), probe_interval_s=10.0
        )

    async with current(config(one("a"))) as (it, file):
        await trio.sleep(100)
        assert set(probed) == {"a"}
        file.says = config(one("b"))
        assert await it.reload()
        probed.clear()
        await trio.sleep(100)
        assert set(probed) == {"b"}
        assert 8 <= len(probed) <= 12
