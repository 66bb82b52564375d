"""How hard the property tests try, and who tells where a test hangs.

Property tests try a few examples by default, and as many as Hypothesis itself would in the profile
`full`, which `contrib/test.sh --all` runs:

    pytest --hypothesis-profile=full -m hypothesis
"""

import faulthandler
import gc
import os
import signal
import time
from pathlib import Path

import pytest
from hypothesis import Phase, settings

HANGS_S = 120.0
EVERY_S = 5.0

# Without a deadline: how long an example takes is the machine's business. Without Phase.explain,
# which runs a failing test many times more to say little.
PHASES = (Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink)
settings.register_profile("fast", max_examples=8, deadline=None, phases=PHASES)
settings.register_profile("full", max_examples=100, deadline=None, phases=PHASES)
settings.load_profile("fast")


class Watchdog:
    """Shows all stacks when a test takes too long. pytest's own `faulthandler_timeout` makes and
    joins a thread for each test, which takes longer than most tests do; this one sets its clock
    anew every few seconds."""

    def __init__(self) -> None:
        self._stderr = os.dup(2)  # the real one, before a test's output is caught
        self._set_at = float("-inf")

    def pytest_runtest_logstart(self) -> None:
        now = time.monotonic()
        if now - self._set_at > EVERY_S:
            faulthandler.dump_traceback_later(HANGS_S + EVERY_S, file=self._stderr)
            self._set_at = now

    def pytest_unconfigure(self) -> None:
        faulthandler.cancel_dump_traceback_later()
        os.close(self._stderr)


def pytest_configure(config: pytest.Config) -> None:
    # Whoever is started in the background of a shell ignores Ctrl-C, and so would all programs that
    # tests start and interrupt.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    config.pluginmanager.register(Watchdog())


def pytest_collection_finish() -> None:
    """The collector need not look at the modules again and again for as long as the tests run."""
    gc.collect()
    gc.freeze()


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """What starts the daemon is not even read when none of it is to run."""
    is_e2e = collection_path == Path(__file__).parent / "e2e"
    return True if is_e2e and "not e2e" in config.option.markexpr else None
