"""What the system says of the process."""

import os
import sys
import time
from pathlib import Path

import pytest

from llmrouterd.observe.families import FAMILIES
from llmrouterd.observe.process import figures


def test_every_figure_is_in_the_table() -> None:
    assert set(figures()) <= set(FAMILIES)


@pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux's")
def test_linux_tells_all_of_it() -> None:
    found = figures()
    assert set(found) == {name for name in FAMILIES if name.startswith("process_")}
    assert 1e6 < found["process_resident_memory_bytes"] < 1e12
    assert 3 <= found["process_open_fds"] <= found["process_max_fds"]
    age_s = time.time() - found["process_start_time_seconds"]
    assert 0 <= age_s < 30 * 24 * 3600
    assert found["process_cpu_seconds_total"] > 0


def test_a_name_with_blanks_and_parentheses_does_not_confuse_it(tmp_path: Path) -> None:
    (tmp_path / "statm").write_text("100 25 3 1 0 9 0\n")
    (tmp_path / "fd").mkdir()
    fields = " ".join(["S", *(["0"] * 18), "500", *(["0"] * 30)])
    (tmp_path / "stat").write_text(f"7 (a b) c) {fields}\n")
    found = figures(tmp_path)
    assert found["process_resident_memory_bytes"] == 25 * os.sysconf("SC_PAGE_SIZE")
    assert found["process_start_time_seconds"] <= time.time()


def test_what_is_not_told_is_left_out(tmp_path: Path) -> None:
    found = figures(tmp_path)
    assert "process_resident_memory_bytes" not in found
    assert "process_cpu_seconds_total" in found
