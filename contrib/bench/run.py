"""What llmrouter costs: CPU time for the same work, beside the least its stack can do.

    python contrib/bench/run.py                                # all of it, about eight minutes
    python contrib/bench/run.py --only S1b,S3 --rounds 5
    python contrib/bench/run.py --more others.json             # other proxies beside it
    python contrib/bench/run.py --report one.json two.json     # the tables of earlier runs

Owns: the targets, the scenarios and the way one is measured. Refuses to know: how tables look.

Laws:
1. Rounds are interleaved, and a target that is not being measured is stopped: what else runs on
   the machine hits all of them alike.
2. CPU time is the figure; rates and latencies of a shared machine say little.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import platform
import subprocess
import sys
import tempfile
import time
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import bodies
import tables
from processes import HERE, ROOT, Process, built_router, busy_s, compiled, free_port

OPENAI, ANTHROPIC = "/v1/chat/completions", "/v1/messages"
_FLOOD = {"chunks": 200, "bytes": 24, "gap_us": 0}
_MOCK = {**_FLOOD, "ttfb_us": 0, "resp": 400, "batch": 1}
_LOAD_CORE, _TARGET_CORE = 0, 1

CONFIG = """\
[server]
port = {port}
dashboard = false

[[providers]]
name = "gpt"
format = "openai"
base_url = "http://127.0.0.1:{upstream}/v1"
models = ["gpt-mock"]

[[providers]]
name = "claude"
format = "anthropic"
base_url = "http://127.0.0.1:{upstream}"
models = ["claude-mock"]

[[routers]]
type = "prefix"
model_prefix = "gpt"
provider = "gpt"

[[routers]]
type = "prefix"
model_prefix = "claude"
provider = "claude"
"""


@dataclass(frozen=True)
class Scenario:
    """One kind of load. kind: "pass", or the two formats of a translation.

    beside: the scenario of the limit that has as much to pass on, where the limit cannot do this.
    """

    id: str
    title: str
    path: str
    body: str
    connections: int
    kind: str = "pass"
    stream: bool = False
    slow: bool = False
    mock: dict[str, int] = field(default_factory=dict)
    secs: float = 1.0
    beside: str = ""


SCENARIOS = [
    Scenario("S1a", "small chat, whole answer, 1 connection", OPENAI, "chat", 1),
    Scenario("S1b", "small chat, whole answer, 32 connections", OPENAI, "chat", 32),
    Scenario(
        "S2", "a coding agent's body (112 kB), whole answer, 8 connections", OPENAI, "agent", 8
    ),
    Scenario(
        "S2x",
        "the same from a Messages client to an OpenAI upstream",
        ANTHROPIC,
        "agent_messages",
        8,
        kind="anthropic>openai",
        beside="S2",
    ),
    Scenario(
        "S3",
        "streams of 200 chunks as fast as they go, 16 connections",
        OPENAI,
        "chat_stream",
        16,
        stream=True,
        mock=_FLOOD,
        secs=1.6,
    ),
    Scenario(
        "S5a",
        "the same, OpenAI client to an Anthropic upstream",
        OPENAI,
        "chat_stream_to_claude",
        16,
        kind="openai>anthropic",
        stream=True,
        mock=_FLOOD,
        secs=1.6,
        beside="S3",
    ),
    Scenario(
        "S5b",
        "the same, Anthropic client to an OpenAI upstream",
        ANTHROPIC,
        "messages_stream_to_gpt",
        16,
        kind="anthropic>openai",
        stream=True,
        mock=_FLOOD,
        secs=1.6,
        beside="S3",
    ),
    Scenario(
        "S6",
        "500 streams at once, a chunk every half second each",
        OPENAI,
        "chat_stream",
        500,
        stream=True,
        slow=True,
        mock={"chunks": 9, "gap_us": 500_000},
    ),
]


@dataclass(frozen=True)
class Target:
    """A proxy. command: {port}, {upstream} and {work} are filled in; kinds: what it can do."""

    name: str
    command: list[str]
    kinds: tuple[str, ...] = ("pass",)
    ready: str = "/v1/models"
    headers: tuple[str, ...] = ()


def limits_and_router(python: str, router: str) -> list[Target]:
    limit = [python, str(HERE / "limit.py"), "--listen", "{port}", "--upstream", "{upstream}"]
    return [
        Target("trio+h11", limit),
        Target("trio+h11+json", [*limit, "--json"]),
        Target(
            "llmrouter",
            [python, router, "serve", "{work}/llmrouter.toml"],
            kinds=("pass", "openai>anthropic", "anthropic>openai"),
        ),
    ]


class Bench:
    """One run: the mock, the targets beside each other, the load on one after the other."""

    def __init__(self, options: argparse.Namespace, work: Path) -> None:
        self._options = options
        self._work = work
        self._loadgen = compiled("loadgen", work)
        self._upstream = free_port()
        self._ports: dict[str, int] = {}
        self._procs: dict[str, Process] = {}
        self._mock: Process | None = None
        bodies.write_all(work / "bodies")

    def run(self, targets: list[Target], scenarios: list[Scenario]) -> dict[str, Any]:
        cells: dict[str, dict[str, list[dict[str, Any]]]] = {}
        mock = [compiled("mock_upstream", self._work), "--port", str(self._upstream)]
        with contextlib.ExitStack() as stack:
            self._mock = self._started(stack, "mock", mock, _LOAD_CORE)
            self._mock.wait_ready(self._upstream, "/v1/models")
            rest = {target.name: self._up(stack, target) for target in targets}
            able = [(s, t) for s in scenarios for t in targets if s.kind in t.kinds]
            for scenario, target in able:  # once unmeasured: imports, connections
                if not scenario.slow:
                    self._cell(scenario, target, 0.4)
            for scenario in scenarios:
                for _ in range(self._options.rounds):
                    for target in [t for s, t in able if s is scenario]:
                        secs = self._options.secs * scenario.secs
                        cell = self._cell(scenario, target, secs)
                        cells.setdefault(scenario.id, {}).setdefault(target.name, []).append(cell)
                        print(f"{scenario.id} {target.name}: {tables.brief(cell)}", file=sys.stderr)
        return {**self._about(), "targets": [t.name for t in targets], "rest": rest, "cells": cells}

    def _about(self) -> dict[str, Any]:
        python = subprocess.check_output([self._options.python, "-V"], text=True).strip()
        options = self._options
        return {
            "when": time.strftime("%F %T"),
            "python": python,
            "machine": f"{platform.system()} {platform.machine()}",
            "rounds": options.rounds,
            "secs": options.secs,
            "titles": {s.id: s.title for s in SCENARIOS},
            "beside": {s.id: s.beside for s in SCENARIOS if s.beside},
        }

    def _started(
        self, stack: contextlib.ExitStack, name: str, command: list[str], core: int
    ) -> Process:
        log = self._work / f"{name}.log"
        pinned = None if self._options.unpin else core
        return stack.enter_context(Process(name, command, pinned, log))

    def _up(self, stack: contextlib.ExitStack, target: Target) -> dict[str, float]:
        port = self._ports[target.name] = free_port()
        fill = {"port": port, "upstream": self._upstream, "work": self._work}
        if target.name == "llmrouter":
            (self._work / "llmrouter.toml").write_text(CONFIG.format_map(fill))
        command = [part.format_map(fill) for part in target.command]
        process = self._started(stack, target.name, command, _TARGET_CORE)
        self._procs[target.name] = process
        process.wait_ready(port, target.ready)
        time.sleep(1.5)
        rest = {"rss_mib": process.memory_mib("VmRSS"), "pss_mib": process.memory_mib("Pss")}
        process.pause()
        return rest

    def _cell(self, scenario: Scenario, target: Target, secs: float) -> dict[str, Any]:
        """One load on one target: what the load generator saw, and what it cost."""
        assert self._mock is not None
        knobs = "&".join(f"{k}={v}" for k, v in {**_MOCK, **scenario.mock}.items())
        urllib.request.urlopen(f"http://127.0.0.1:{self._upstream}/_ctl?{knobs}").close()
        process = self._procs[target.name]
        process.go_on()
        time.sleep(0.05)
        process.forget_peak()
        before = (process.cpu_s(), self._mock.cpu_s(), busy_s(), time.monotonic())
        done = subprocess.run(
            self._load(scenario, target, secs), capture_output=True, text=True, timeout=secs + 90
        )
        after = (process.cpu_s(), self._mock.cpu_s(), busy_s(), time.monotonic())
        peak = process.memory_mib("VmHWM")
        process.pause()
        if not done.stdout.strip():
            sys.exit(f"the load on {target.name} in {scenario.id} came to nothing: {done.stderr}")
        cell: dict[str, Any] = json.loads(done.stdout)
        own, mock, busy, wall = (b - a for a, b in zip(before, after, strict=True))
        served = cell["stamps"] if scenario.stream else cell["ok"]
        cell["cpu_us"] = 1e6 * own / served if served else None
        cell["peak_rss_mib"] = peak
        cell["others_cores"] = max(0.0, busy - own - mock - cell["cpu_s"]) / wall
        cell["complaints"] = done.stderr[-400:]
        return cell

    def _load(self, scenario: Scenario, target: Target, secs: float) -> list[str]:
        body = self._work / "bodies" / f"{scenario.body}.json"
        pinned = [] if self._options.unpin else ["taskset", "-c", str(_LOAD_CORE)]
        command = [*pinned, self._loadgen, "--port", str(self._ports[target.name])]
        command += ["--path", scenario.path, "--body", str(body), "-c", str(scenario.connections)]
        for header in ("content-type: application/json", *target.headers):
            command += ["-H", header]
        if scenario.slow:
            secs = scenario.mock["chunks"] * scenario.mock["gap_us"] / 1e6 + 2.5
            command += ["--idle", "--ramp-ms", "1000", "--grace", "6"]
            command += ["--gap-us", str(scenario.mock["gap_us"])]
        elif scenario.stream:
            command += ["--stream"]
        return [*command, "--warm", "0.3", "-t", str(secs)]


def _options() -> argparse.Namespace:
    venv = ROOT / ".venv" / "bin" / "python"
    a = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    a.add_argument("--only", type=lambda s: s.split(","), help="ids of scenarios")
    a.add_argument("--targets", type=lambda s: s.split(","), help="names of targets")
    a.add_argument("--more", type=Path, help="more targets: a JSON list of the fields of Target")
    a.add_argument("--rounds", type=int, default=5)
    a.add_argument("--secs", type=float, default=1.5, help="of one measurement")
    a.add_argument("--unpin", action="store_true", help="let the kernel place the processes")
    a.add_argument("--router", help="a built llmrouter.pyz (default: built from this tree)")
    a.add_argument("--python", default=str(venv) if venv.exists() else sys.executable)
    a.add_argument("--out", type=Path, help="all values as JSON")
    a.add_argument("--report", type=Path, nargs="+", help="tables of earlier runs")
    return a.parse_args()


def main() -> None:
    options = _options()
    if options.report:
        print(tables.report([json.loads(path.read_text()) for path in options.report]))
        return
    with tempfile.TemporaryDirectory(prefix="llmrouter-bench-") as folder:
        work = Path(folder)
        router = options.router or built_router(work, options.python)
        targets = limits_and_router(options.python, router)
        if options.more:
            targets += [Target(**each) for each in json.loads(options.more.read_text())]
        targets = [t for t in targets if not options.targets or t.name in options.targets]
        scenarios = [s for s in SCENARIOS if not options.only or s.id in options.only]
        found = Bench(options, work).run(targets, scenarios)
    if options.out:
        options.out.write_text(json.dumps(found))
    print(tables.report([found]))


if __name__ == "__main__":
    main()
