"""What runs in a process of its own, at the other end of pipeline/apart.py: one function, on one piece of data.

Owns: the bounds that the process sets itself, the call, and its end.
Refuses to know: what the function does. It imports nothing but the standard library and what it is told.

Law: whatever the data makes of this process, it ends: by its limits, or by whoever began it.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import resource
import sys
import threading
import time

FULL = 75  # the exit code when the bound on memory was met
_PAGE = os.sysconf("SC_PAGE_SIZE")


def main(function: str, settings: str, memory_bytes: int, cpu_s: int) -> None:
    """Call `module:name` with what comes in and the settings; what it returns goes out."""
    bound(memory_bytes, cpu_s)
    module, _, name = function.partition(":")
    data = sys.stdin.buffer.read()
    try:
        answer = getattr(importlib.import_module(module), name)(data, json.loads(settings))
    except MemoryError:
        os._exit(FULL)
    sys.stdout.buffer.write(answer)
    sys.stdout.buffer.flush()
    os._exit(0)  # nothing of what the data has built is worth tidying up


def bound(memory_bytes: int, cpu_s: int) -> None:
    """Where a sandbox forbids to set limits, memory is looked at instead."""
    limits = [(resource.RLIMIT_CPU, cpu_s), (resource.RLIMIT_FSIZE, 0), (resource.RLIMIT_CORE, 0)]
    for which, value in limits:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(which, (value, value))
    try:
        resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    except (OSError, ValueError):
        threading.Thread(target=_watch, args=(memory_bytes,), daemon=True).start()


def _watch(memory_bytes: int) -> None:
    while True:
        if resident() > memory_bytes:
            os._exit(FULL)
        time.sleep(0.02)


def resident() -> int:
    """Bytes of memory that this process has; 0 where the system does not say."""
    try:
        with open("/proc/self/statm", "rb") as file:  # noqa: PTH123 - pathlib would be imported for it
            return int(file.read().split()[1]) * _PAGE
    except (OSError, ValueError):
        return 0
