from collections.abc import Iterator

import pytest

from llmrouterd.selftest.setting import setting
from tests.e2e.faults.matrix import FORMATS, SAMPLED, Matrix, toml
from tests.fakes.bystander import Journal
from tests.fakes.daemon import RunningDaemon
from tests.fakes.misbehaving import Misbehaving


@pytest.fixture(scope="module")
def matrix(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Matrix]:
    folder = tmp_path_factory.mktemp("faults")
    with Misbehaving() as bad:
        tested = setting(None, bad.url, bad.nobody, (*FORMATS, SAMPLED))
        with RunningDaemon(toml(tested), folder) as daemon:
            made = Matrix(bad, tested, daemon.url, Journal(folder / "log.jsonl"))
            yield made
            made.close()
            assert daemon.in_flight() == 0
