"""Whatever a client or an upstream sends: a clear error in the client's format, a log line that says
who was at fault, and nothing left behind."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from tests.fakes.bystander import (
    FORMATS,
    Answered,
    Journal,
    Rest,
    ask,
)
from tests.fakes.daemon import RunningDaemon
from tests.fakes.models import CHAT_PATH, Said, whole
from tests.fakes.upstream import FakeUpstream, Turn

MIB = 1024 * 1024
PAIRS = [(client, up) for client in FORMATS for up in FORMATS]
SAME = [(fmt, fmt) for fmt in FORMATS]
USER = {"role": "user", "content": "hello"}
BAD_GATEWAY = {"openai": 502, "anthropic": 500, "ollama": 502}
CLOSE = "Connection: close"  # no idle connection stays, so that every descriptor is counted
DEEP = "[" * 100_000 + "]" * 100_000


def config(url: str, *, server: str = "") -> str:
    """A provider of each format, and two of each that have no patience. Each model has one place, so that nobody
    else can answer for it."""
    tables = [f'[server]\nport = 0\n{server}\n[logging]\nenabled = true\npath = "log.jsonl"\n']
    for fmt in FORMATS:
        for name, clocks in (
            (fmt, ""),
            (f"hasty-{fmt}", "first_token_timeout = 0.3\n"),
            (f"weary-{fmt}", "idle_timeout = 0.3\n"),
        ):
            tables.append(
                f'[[providers]]\nname = "{name}"\nformat = "{fmt}"\nbase_url = "{url}"\ncircuit_failures = 0\n'
                f'models = ["{name}"]\nmax_retries = 0\n{clocks}'
                f'[[routers]]\ntype = "model"\nmatch = "{name}"\nprovider = "{name}"\n'
            )
    return "\n".join(tables)


def format_asked(turn: Turn) -> str:
    path = turn.received.target
    return next(fmt for fmt in FORMATS if path.startswith(CHAT_PATH[fmt]))


def answers_well(turn: Turn) -> None:
    fmt = format_asked(turn)
    turn.keep = False
    turn.whole(whole(fmt, Said("fine")), 200, CLOSE)


@dataclass
class House:
    daemon: RunningDaemon
    upstream: FakeUpstream
    journal: Journal
    rest: Rest
    rss_at_start: int

    def ask(self, client: str, body: Any, headers: dict[str, str] | None = None) -> Answered:
        return ask(self.daemon, CHAT_PATH[client], body, headers)

    def told(self, answer: Answered, *, end: str, fault: str) -> dict[str, Any]:
        """The log line of an answer, which must agree with it."""
        line = self.journal.line(answer.id)
        assert (line["end"], line["fault"]) == (end, fault), line
        assert line["status"] == answer.status
        assert (line["error"] is None) == (end == "complete")
        if answer.tag:
            assert line["error_kind"] == answer.tag
        return line


def text(body: Any) -> bytes:
    return json.dumps(body).encode()


ERROR_EVENT = {
    "openai": b'data: {"error":{"message":"the kettle boils","type":"server_error","code":500}}\n\n',
    "anthropic": b"event: error\ndata: "
    b'{"type":"error","error":{"type":"api_error","message":"the kettle boils"}}\n\n',
    "ollama": b'{"error":"the kettle boils"}\n',
}


def half_an_event(turn: Turn) -> None:
    turn.raw(b"400\r\n" + (b'{"model":"' if format_asked(turn) == "ollama" else b"data: {"))


def waits(turn: Turn) -> None:
    assert turn.wait_closed(), "the router did not let go of a silent upstream"
