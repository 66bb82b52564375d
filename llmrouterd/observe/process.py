"""What the operating system says of this process.

Owns: the `process_*` figures under the names that every exporter uses.
Refuses to know: what the process does.

Law: what the system does not tell is left out. Linux tells all of it, others memory's peak at most.
"""

from __future__ import annotations

import os
import resource
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

_PROC = Path("/proc/self")


def figures(proc: Path = _PROC) -> Mapping[str, float]:
    """The family's name -> its value now."""
    found = {"process_cpu_seconds_total": time.process_time()}
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY:
        found["process_max_fds"] = float(soft)
    try:
        pages = int((proc / "statm").read_text().split()[1])
        found["process_resident_memory_bytes"] = float(pages * os.sysconf("SC_PAGE_SIZE"))
        found["process_open_fds"] = float(len(os.listdir(proc / "fd")))  # noqa: PTH208 - no Paths made
        found["process_start_time_seconds"] = _began(proc)
    except (OSError, ValueError, IndexError):
        pass
    return found


def _began(proc: Path) -> float:
    """From the ticks since the machine's start. The command's name may hold anything but its last
    parenthesis."""
    ticks = int((proc / "stat").read_text().rpartition(")")[2].split()[19])
    since_boot_s = ticks / os.sysconf("SC_CLK_TCK")
    return time.time() - time.clock_gettime(time.CLOCK_BOOTTIME) + since_boot_s
