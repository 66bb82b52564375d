"""The real daemon as a process on a real port."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import httpx

ROOT = Path(__file__).resolve().parents[2]
START_S = 60.0
_LISTENS = re.compile(r"listens on (https?://[^\s,]+:(\d+))")


class RunningDaemon:
    """`with RunningDaemon(config_text, tmp_path) as daemon:`; `daemon.url` is where it listens.

    The configuration's [server] port should be 0: the system picks one. config None: none at all.
    `log` is what it wrote to stderr so far. Leaving stops it with SIGTERM and asserts exit 0.
    """

    def __init__(
        self, config: str | None, folder: Path, *args: str, env: dict[str, str] | None = None
    ) -> None:
        self._folder = folder
        self._args = list(args)
        self._lines: list[str] = []
        self._ready = threading.Event()
        keep = {k: v for k, v in os.environ.items() if not k.endswith("_API_KEY")}
        self._env = {**keep, "HOME": str(folder), "PYTHONUNBUFFERED": "1", **(env or {})}
        self._command = [sys.executable, str(ROOT / "llmrouter.py"), "serve"]
        if config is not None:
            (folder / "llmrouter.toml").write_text(config)
            self._command.append(str(folder / "llmrouter.toml"))

    def __enter__(self) -> RunningDaemon:
        self.process = subprocess.Popen(
            [*self._command, *self._args],
            cwd=self._folder,
            env=self._env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        if not self._ready.wait(START_S):
            self.process.kill()
            raise AssertionError(f"the daemon did not start:\n{self.log}")
        found = _LISTENS.search(self.log)
        assert found, f"the daemon did not start:\n{self.log}"
        self.url, self.port = found[1], int(found[2])
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        self.process.send_signal(signal.SIGTERM)
        try:
            code = self.process.wait(START_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise AssertionError(f"the daemon did not stop:\n{self.log}") from None
        finally:
            self._reader.join(START_S)
            assert self.process.stderr
            self.process.stderr.close()
        if kind is None:
            assert code == 0, f"exit code {code}:\n{self.log}"
            assert "Traceback" not in self.log, self.log

    def _read(self) -> None:
        assert self.process.stderr
        for line in self.process.stderr:
            self._lines.append(line)
            if "listens on" in line:
                self._ready.set()
        self._ready.set()  # it ended; whoever waits will see why

    @property
    def log(self) -> str:
        return "".join(self._lines)

    @property
    def pid(self) -> int:
        return self.process.pid

    def open_files(self) -> int:
        """How many descriptors the process holds now."""
        return len(list(Path(f"/proc/{self.pid}/fd").iterdir()))

    def settles(self, files: int, timeout_s: float = 20.0) -> bool:
        """Wait until the process holds at most that many descriptors."""
        end = time.monotonic() + timeout_s
        while self.open_files() > files:
            if time.monotonic() > end:
                return False
            time.sleep(0.02)
        return True

    def in_flight(self) -> int:
        """What /ready says of requests that are being served."""
        return int(httpx.get(f"{self.url}/ready", timeout=20).json()["in_flight"])
