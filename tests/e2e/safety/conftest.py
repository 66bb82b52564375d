from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.e2e.safety.house import PLANTED, House, answers_well, providers, secretive
from tests.fakes.bystander import (
    Journal,
)
from tests.fakes.daemon import RunningDaemon
from tests.fakes.upstream import FakeUpstream


@pytest.fixture(scope="module")
def open_house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """Without a key, for this machine only, as most people have it."""
    folder = tmp_path_factory.mktemp("open")
    with FakeUpstream(answers_well) as upstream:
        text = (
            '[server]\nport = 0\ntrusted_hosts = ["router.lan"]\n'
            'cors_origins = ["https://app.example"]\n[logging]\nenabled = true\npath = "log.jsonl"\n'
        )
        with RunningDaemon(text + providers(upstream.url), folder) as daemon:
            yield House(daemon, upstream, Journal(folder / "log.jsonl"))


@pytest.fixture
def house(open_house: House) -> Iterator[House]:
    open_house.upstream.script = answers_well
    open_house.upstream.received.clear()
    yield open_house
    assert not open_house.upstream.errors
    assert "Traceback" not in open_house.daemon.log
    assert " ERROR " not in open_house.daemon.log


@pytest.fixture(scope="module")
def locked_house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """With a key, and secrets at every place where an owner may have one."""
    folder = tmp_path_factory.mktemp("locked")
    with FakeUpstream(answers_well) as upstream:
        port = upstream.port
        with RunningDaemon(secretive(port), folder, "--log-level", "debug", env=PLANTED) as daemon:
            yield House(daemon, upstream, Journal(folder / "log.jsonl"))


@pytest.fixture
def locked(locked_house: House) -> Iterator[House]:
    locked_house.upstream.script = answers_well
    locked_house.upstream.received.clear()
    yield locked_house
    assert not locked_house.upstream.errors
    assert "Traceback" not in locked_house.daemon.log
