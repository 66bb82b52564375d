from collections.abc import Iterator

import pytest

from tests.e2e.quirks.world import CONFIG, FORMATS, MODELS, PROVIDER, World, spare_script
from tests.fakes.daemon import RunningDaemon
from tests.fakes.upstream import FakeUpstream


@pytest.fixture(scope="module")
def whole_world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("quirks")
    with FakeUpstream(spare_script) as up, FakeUpstream(spare_script) as spare:
        config = CONFIG
        for fmt in FORMATS:
            given = {"name": fmt, "format": fmt, "url": up.url}
            config += (PROVIDER + MODELS).format(**given)
            given["name"] = f"{fmt}-soon"
            config += (PROVIDER + MODELS).format(**given) + "idle_timeout = 1\n"
        for name, url in (("spare", spare.url), ("refused", "http://127.0.0.1:1")):
            config += (PROVIDER + MODELS).format(name=name, format="openai", url=url)
        config += PROVIDER.format(name="retries", format="openai", url=up.url)
        config = config.removesuffix("max_retries = 0\n") + MODELS.format(name="retries")
        with RunningDaemon(config, folder) as daemon:
            world = World(daemon, up, spare, folder / "requests.jsonl")
            yield world
            world.http.close()


@pytest.fixture
def world(whole_world: World) -> Iterator[World]:
    yield whole_world
    errors = [*whole_world.up.errors, *whole_world.spare.errors]
    whole_world.up.errors.clear()
    whole_world.spare.errors.clear()
    assert not errors
    assert whole_world.daemon.in_flight() == 0
