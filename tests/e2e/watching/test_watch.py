"""`llmrouter watch` as a process, in front of a real router."""

import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.e2e.watching.house import LLMROUTER, House, Upstream, config
from tests.fakes.daemon import RunningDaemon
from tests.fakes.terminal import Terminal
from tests.fakes.upstream import FakeUpstream

pytestmark = pytest.mark.e2e
PATIENCE_S = 60.0


class Watching:
    """The process, and the lines it has printed so far."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.out: list[str] = []
        self.err: list[str] = []
        self._threads = [
            threading.Thread(target=self._read, args=each, daemon=True)
            for each in ((process.stdout, self.out), (process.stderr, self.err))
        ]
        for thread in self._threads:
            thread.start()

    @staticmethod
    def _read(stream: Iterator[str], lines: list[str]) -> None:
        lines.extend(line.rstrip("\n") for line in stream)

    def until(self, word: str, lines: list[str]) -> str:
        end = time.monotonic() + PATIENCE_S
        while not (found := [line for line in lines if word in line]):
            assert time.monotonic() < end, f"no {word!r} in {self.out} and {self.err}"
            time.sleep(0.02)
        return found[0]

    def joins(self, router: House) -> None:
        """Wait until the router has one reader that is us: what is asked from now on is printed."""
        end = time.monotonic() + PATIENCE_S
        while not any("probe" in line for line in self.out):
            assert time.monotonic() < end, self.err
            router.ask("probe")
            time.sleep(0.1)

    def finish(self) -> int:
        code = self.process.wait(PATIENCE_S)
        for thread in self._threads:
            thread.join(PATIENCE_S)
        return code


@contextmanager
def watching(url: str, *args: str, env: dict[str, str] | None = None) -> Iterator[Watching]:
    process = subprocess.Popen(
        [*LLMROUTER, "watch", url, *args],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | (env or {}),
    )
    watch = Watching(process)
    try:
        yield watch
    finally:
        process.kill()
        watch.finish()
        for stream in (process.stdout, process.stderr):
            if stream is not None:
                stream.close()


def test_each_stage_is_a_line_without_colours_in_a_pipe(router: House) -> None:
    with watching(router.url) as watch:
        watch.joins(router)
        router.ask("ill", "some python")
        failed = watch.until("try failed", watch.out)
        assert "streams/ill  upstream: out of \ufffd[2Jmemory \ufffd" in failed
        done = watch.until("echo/ill", watch.out)
        assert "routed" in done
        watch.until("done       200  echo/ill", watch.out)
        watch.until("classified code", watch.out)
        with router.asking("small"):
            watch.until("routed     streams/small", watch.out)
            router.upstream.go.set()
            watch.until("streaming  first token", watch.out)
        line = watch.until("done       200  streams/small", watch.out)
        assert "1234\u219256 tok" in line
        assert "$0.0018" in line
        assert not any("\x1b" in each for each in watch.out)
        watch.process.send_signal(signal.SIGINT)
        assert watch.finish() == 130
        assert watch.err == []


def test_json_is_the_four_events_one_a_line(router: House) -> None:
    with watching(router.url, "--json") as watch:
        watch.joins(router)
        router.ask("ill", "the words")
        watch.until('"the words"', watch.out)
        events = [json.loads(line) for line in watch.out]
        assert {each["type"] for each in events} == {"start", "classified", "routed", "complete"}


def test_a_filter_lets_only_some_through(router: House) -> None:
    with watching(router.url, "--brief", "--filter", "errors") as watch:
        time.sleep(0.2)
        end = time.monotonic() + PATIENCE_S
        while not watch.out:
            router.ask("fine")
            router.ask("ill")
            assert time.monotonic() < end
            time.sleep(0.2)
        watch.until("done", watch.out)
        assert not any("fine" in line for line in watch.out)


@pytest.mark.parametrize(("env", "coloured"), [({}, True), ({"NO_COLOR": "1"}, False)])
def test_there_are_colours_on_a_terminal_unless_nobody_wants_them(
    router: House, env: dict[str, str], coloured: bool
) -> None:
    with Terminal([*LLMROUTER, "watch", router.url], columns=100, env=env) as terminal:
        end = time.monotonic() + PATIENCE_S
        while "echo/probe" not in terminal.text:
            router.ask("probe")
            assert time.monotonic() < end
            time.sleep(0.1)
        terminal.shows("done")
        assert (b"\x1b[32m" in terminal.raw) is coloured
        terminal.type("\x03")
        assert terminal.ended() == 130
        assert "Traceback" not in terminal.text


def test_whoever_reads_may_go(router: House) -> None:
    """`llmrouter watch | head -1`"""
    reading, writing = os.pipe()
    command = [*LLMROUTER, "watch", router.url]
    with subprocess.Popen(command, stdout=writing, stderr=subprocess.PIPE, text=True) as process:
        os.close(writing)
        os.close(reading)
        end = time.monotonic() + PATIENCE_S
        while process.poll() is None:
            router.ask("probe")
            assert time.monotonic() < end
            time.sleep(0.1)
        assert process.stderr is not None
        assert process.stderr.read() == ""


def test_it_comes_back_and_misses_nothing_that_is_held(tmp_path: Path) -> None:
    upstream = Upstream()
    upstream.free()
    with FakeUpstream(upstream) as up:
        with RunningDaemon(config(up.url), tmp_path) as daemon:
            port, house = daemon.port, House(daemon, upstream)
            with watching(daemon.url) as watch:
                watch.joins(house)
                daemon.process.send_signal(signal.SIGTERM)
                daemon.process.wait(PATIENCE_S)
                watch.until("trying again", watch.err)
                with RunningDaemon(config(up.url, port=port), tmp_path) as again:
                    House(again, upstream).ask("while-away")
                    watch.until("echo/while-away", watch.out)
                    watch.until("is there again", watch.err)


def test_without_its_key_it_says_how_to_show_one(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text("right\n")
    secret = {"THE_ROUTERS_API_KEY": "right"}
    with RunningDaemon(config("http://127.0.0.1:1", key=True), tmp_path, env=secret) as daemon:
        with watching(daemon.url, env={"ROUTER_API_KEY": "wrong"}) as watch:
            assert watch.finish() == 1
            (line,) = watch.err
            assert "--key-file" in line
        with watching(daemon.url, "--key-file", str(file)) as watch:
            end = time.monotonic() + PATIENCE_S
            while not watch.out:
                body = {"model": "probe", "messages": [{"role": "user", "content": "hi"}]}
                fields = {"x-router-key": "right"}
                httpx.post(f"{daemon.url}/v1/chat/completions", json=body, headers=fields)
                assert time.monotonic() < end
                time.sleep(0.1)
            assert watch.err == []
