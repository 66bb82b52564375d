from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.e2e.bad_input.house import House, answers_well, config
from tests.fakes.bystander import (
    Journal,
    Rest,
    ask,
    rss_bytes,
)
from tests.fakes.daemon import RunningDaemon
from tests.fakes.upstream import FakeUpstream


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    folder = tmp_path_factory.mktemp("bad")
    with FakeUpstream(answers_well) as upstream:
        with RunningDaemon(config(upstream.url), folder) as daemon:
            ask(daemon, "/health")
            journal = Journal(folder / "log.jsonl")
            yield House(daemon, upstream, journal, Rest(daemon, upstream), rss_bytes(daemon.pid))


@pytest.fixture
def house(place: House) -> Iterator[House]:
    """The house, which must be at rest again after every test."""
    place.upstream.script = answers_well
    place.upstream.received.clear()
    yield place
    place.rest.holds()
    assert not place.upstream.errors
