"""How soon the built file answers, and what it holds at rest.

    python contrib/bench/start.py
    python contrib/bench/start.py --runs 3

Owns: the time from typing the command to the first answer, on a machine with nothing else: no
configuration, an empty home, no local server. Refuses to know: what the router does meanwhile.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING

from processes import ROOT, Process, built_router, free_port

if TYPE_CHECKING:
    from collections.abc import Iterable

PATHS = ["/v1/chat/completions", "/v1/messages", "/api/chat"]
_QUESTION = {
    "model": "any",
    "max_tokens": 16,
    "stream": False,
    "messages": [{"role": "user", "content": "Are you there?"}],
}
_PATIENCE_S = 30.0
_REST_S = 1.5


def first_answer_s(command: list[str], port: int, path: str, log: Path) -> tuple[float, float]:
    """Seconds from the start to the first answer on `path`, and MiB of memory at rest after it."""
    begun = time.perf_counter()
    with Process("llmrouter", command, None, log) as process:
        while not _answered(port, path):
            if time.perf_counter() - begun > _PATIENCE_S:
                sys.exit(f"no answer on {path}:\n{log.read_text()}")
            time.sleep(0.002)
        taken = time.perf_counter() - begun
        time.sleep(_REST_S)
        return taken, process.memory_mib("VmRSS")


def _answered(port: int, path: str) -> bool:
    url, body = f"http://127.0.0.1:{port}{path}", json.dumps(_QUESTION).encode()
    request = urllib.request.Request(url, body, {"Content-Type": "application/json"})
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=_PATIENCE_S) as answer:
            return bool(json.load(answer))
    except urllib.error.HTTPError as error:
        sys.exit(f"{path} answered with {error.code}")
    except OSError:
        return False


def version(command: list[str]) -> tuple[float, bool]:
    """Seconds that `--version` takes, and whether it imports trio."""
    begun = time.perf_counter()
    subprocess.run([*command, "--version"], check=True, stdout=subprocess.DEVNULL)
    taken = time.perf_counter() - begun
    traced = [command[0], "-X", "importtime", *command[1:], "--version"]
    seen = subprocess.run(traced, check=True, capture_output=True, text=True).stderr
    return taken, any(line.split("|")[-1].strip() == "trio" for line in seen.splitlines())


def _spread(values: Iterable[float]) -> str:
    found = list(values)
    return f"{statistics.median(found):.2f} ({min(found):.2f} to {max(found):.2f})"


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    options.add_argument("--runs", type=int, default=7)
    options.add_argument("--router", help="a built llmrouter.pyz (default: built from this tree)")
    options.add_argument("--python", default=sys.executable, help="needs no packages")
    asked = options.parse_args()
    with tempfile.TemporaryDirectory(prefix="llmrouter-bench-") as folder:
        work = Path(folder)
        built = asked.router or built_router(work, asked.python)
        os.environ["HOME"] = folder
        os.chdir(folder)
        router = [asked.python, "-S", "-I", str(ROOT / built)]
        print("| what | median (least to most) |\n| --- | --- |")
        memory: list[float] = []
        for path in PATHS:
            taken = []
            for _ in range(asked.runs):
                port = free_port()
                command = [*router, "serve", "--port", str(port)]
                seconds, mib = first_answer_s(command, port, path, work / "log")
                taken.append(seconds)
                memory.append(mib)
            print(f"| first answer on `{path}`, s | {_spread(taken)} |")
        print(f"| memory at rest (RSS), MiB | {_spread(memory)} |")
        versions = [version(router) for _ in range(asked.runs)]
        print(f"| `--version`, s | {_spread(seconds for seconds, _ in versions)} |")
        print(f"| `--version` imports trio | {'yes' if any(t for _, t in versions) else 'no'} |")


if __name__ == "__main__":
    main()
