"""One router for all tests of watch and tui."""

from collections.abc import Iterator

import pytest

from tests.e2e.watching.house import House, house


@pytest.fixture(scope="package")
def router(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    with house(tmp_path_factory.mktemp("router")) as it:
        yield it
