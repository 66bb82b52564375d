"""`llmrouter provider`, before a stand-in of the router."""

import pytest

import llmrouter
from llmrouterd.commands import provider
from tests.fakes.upstream import FakeUpstream, Turn


class Router:
    """Answers as the daemon would; each look at the state finds one request fewer."""

    def __init__(self, in_flight: int = 0) -> None:
        self.in_flight, self.paused = in_flight, False

    def __call__(self, turn: Turn) -> None:
        if turn.received.method == "GET":
            self.in_flight = max(0, self.in_flight - 1)
            return turn.whole({"providers": [self.state(), self.state("b", healthy=False)]})
        asked = turn.received.json
        if asked["name"] != "a":
            return turn.whole({"error": {"message": "there is no provider"}}, 404)
        self.paused = asked["paused"]
        return turn.whole({"name": "a", "paused": self.paused, "in_flight": self.in_flight})

    def state(self, name: str = "a", *, healthy: bool = True) -> dict:
        why = None if healthy else "timeout\x1b[31m"
        paused = self.paused and name == "a"
        return {
            "name": name,
            "healthy": healthy and not paused,
            "paused": paused,
            "in_flight": self.in_flight,
            "why": why,
        }


def run(router: Router, *words: str) -> int:
    with FakeUpstream(router) as up:
        return llmrouter.main(["provider", *words, "--url", up.url])


def test_pause_and_resume(capsys: pytest.CaptureFixture[str]) -> None:
    router = Router()
    assert run(router, "pause", "a") == 0
    assert router.paused
    assert run(router, "resume", "a") == 0
    assert not router.paused
    assert capsys.readouterr().out == "a: paused\na: asked again\n"


def test_drain_waits(capsys: pytest.CaptureFixture[str], monkeypatch) -> None:
    monkeypatch.setattr(provider, "EVERY_S", 0.001)
    router = Router(in_flight=3)
    assert run(router, "drain", "a") == 0
    assert (router.paused, router.in_flight) == (True, 0)
    assert capsys.readouterr().out == "a: paused, and nothing runs there\n"


def test_drain_gives_up_and_leaves_it_paused(capsys: pytest.CaptureFixture[str]) -> None:
    router = Router(in_flight=3)
    assert run(router, "drain", "a", "--timeout", "0") == 1
    assert router.paused
    assert "3 requests still run there" in capsys.readouterr().err


def test_list(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(Router(in_flight=2), "list") == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert rows[1:] == [["a", "well", "1", "-"], ["b", "ill", "1", "timeout?[31m"]]


def test_what_goes_wrong_is_a_line_and_an_exit_code(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(Router(), "pause", "x") == 1
    assert "there is no provider" in capsys.readouterr().err
    assert run(Router(), "pause") == 2
    assert "name the provider" in capsys.readouterr().err


def test_drain_waits_until_the_router_knows_of_all_its_processes(
    capsys: pytest.CaptureFixture[str], monkeypatch
) -> None:
    """Nothing in flight is no news while what it knows of others is older than the pause."""
    monkeypatch.setattr(provider, "EVERY_S", 0.001)
    router, seen = Router(), []

    def answer(turn: Turn) -> None:
        if turn.received.method == "GET":
            seen.append(1)
            state = {**router.state(), "in_flight": 1 if len(seen) == 3 else 0}
            return turn.whole({"providers": [state]})
        return turn.whole({"name": "a", "paused": True, "in_flight": 0, "stale_s": 0.4})

    with FakeUpstream(answer) as up:
        assert llmrouter.main(["provider", "drain", "a", "--url", up.url]) == 0
    assert len(seen) > 4
    assert "nothing runs there" in capsys.readouterr().out
