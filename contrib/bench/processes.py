"""The processes of a benchmark: started on their cores, stopped while others are measured.

Owns: what Linux tells of a process (CPU time, memory), and the C programs' build.
Refuses to know: what is measured with them.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
_TICK = os.sysconf("SC_CLK_TCK")
_READY_S, _STOP_S = 60.0, 5.0


class Process:
    """One program of the benchmark. `with` stops it."""

    def __init__(self, name: str, command: Sequence[str], core: int | None, log: Path) -> None:
        self.name = name
        self.log = log
        pinned = ["taskset", "-c", str(core)] if core is not None else []
        with log.open("wb") as out:
            self._popen = subprocess.Popen(
                [*pinned, *command], stdin=subprocess.DEVNULL, stdout=out, stderr=out
            )
        self.pid = self._popen.pid

    def __enter__(self) -> Process:
        return self

    def __exit__(self, *exc: object) -> None:
        self._signal(signal.SIGCONT)
        self._signal(signal.SIGTERM)
        try:
            self._popen.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            self._popen.kill()
            self._popen.wait()

    def wait_ready(self, port: int, path: str) -> None:
        until = time.monotonic() + _READY_S
        while status(port, path) != 200:
            if self._popen.poll() is not None or time.monotonic() > until:
                sys.exit(f"{self.name} did not come up:\n{self.log.read_text()[-2000:]}")
            time.sleep(0.005)

    def pause(self) -> None:
        self._signal(signal.SIGSTOP)

    def go_on(self) -> None:
        self._signal(signal.SIGCONT)

    def _signal(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, number)

    def cpu_s(self) -> float:
        """User and system time so far, in seconds."""
        stat = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(stat[11]) + int(stat[12])) / _TICK

    def memory_mib(self, key: str) -> float:
        """key: VmRSS, VmHWM (the peak since `forget_peak`) or Pss."""
        name = "smaps_rollup" if key == "Pss" else "status"
        for line in Path(f"/proc/{self.pid}/{name}").read_text().splitlines():
            if line.startswith(f"{key}:"):
                return int(line.split()[1]) / 1024
        return 0.0

    def forget_peak(self) -> None:
        with contextlib.suppress(OSError):  # not everybody may
            Path(f"/proc/{self.pid}/clear_refs").write_text("5")


def status(port: int, path: str) -> int:
    """The status of a GET; 0 when nobody answers."""
    try:
        with socket.create_connection(("127.0.0.1", port), 5) as sock:
            ask = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n\r\n"
            sock.sendall(ask.encode())
            sock.settimeout(5)
            return int(sock.recv(65536)[9:12] or b"0")
    except OSError:
        return 0


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def busy_s() -> float:
    """Seconds that all cores together were busy since the machine started."""
    fields = [int(f) for f in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    return (sum(fields) - fields[3] - fields[4]) / _TICK


def compiled(name: str, work: Path) -> str:
    """The C program NAME.c, built into `work`."""
    out = work / name
    subprocess.run(["cc", "-O2", "-o", out, HERE / f"{name}.c", "-lm"], check=True)
    return str(out)


def built_router(work: Path, python: str) -> str:
    """llmrouter.pyz, built from this tree."""
    out = work / "llmrouter.pyz"
    command = ["sh", str(ROOT / "zipapp.sh"), "--python", python, "--output", str(out)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return str(out)
