"""`llmrouter check --offline`: does a start of this configuration open a socket to the outside?

Owns: the start that is watched, and how what was seen is shown.
Refuses to know: how a process watches itself (ops/offline.py).

Laws:
1. It is the daemon's own start, in this process: listening, first round of questions, the services in
   the background, and an orderly end. Only its own address differs (a free port of loopback), and
   no request log and no budgets are written.
2. Both must be right: nobody outside was dialled, and nobody outside is due without a request.
"""

from __future__ import annotations

import logging
import signal
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from llmrouterd.commands.check import table
from llmrouterd.model import ConfigError
from llmrouterd.ops import offline

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from llmrouterd.config import Config

JSON = Any
WATCHED_S = 3.0


@dataclass(frozen=True, slots=True)
class Proof:
    """seen: in the time that was watched; due: by the word of the configuration."""

    seconds: float
    seen: tuple[offline.Seen, ...]
    due: tuple[offline.Due, ...]

    @property
    def well(self) -> bool:
        late = any(each.at_start and each.where == "outside" for each in self.due)
        return not late and not any(each.refused for each in self.seen)


def prove(
    config: Config | None, allowed: offline.Allowed, seconds: float, environ: Mapping[str, str]
) -> Proof:
    """Start, watch for so long after it listens, end. config None: the start without a file. Raises
    ConfigError when it cannot start."""
    import trio

    due = offline.due(config, allowed) if config is not None else ()
    barred = offline.barred(config, allowed) if config is not None else frozenset[tuple[str, int]]()
    watch = offline.Watch(allowed, barred)
    logging.basicConfig(level=logging.CRITICAL)  # what is refused here would be told twice
    with watch.watching():
        trio.run(_start, _elsewhere(config), seconds, dict(environ))
    return Proof(seconds, watch.seen, due)


def _elsewhere(config: Config | None) -> Config | None:
    """The configuration, out of the way of a daemon that runs already."""
    from llmrouterd.config import Logging

    if config is None:
        return None
    server = replace(config.server, hosts=("127.0.0.1",), port=0, state_dir="", workers=1)
    return replace(config, server=server, logging=Logging())


async def _start(config: Config | None, seconds: float, environ: dict[str, str]) -> None:
    import trio

    from llmrouterd.ops import app

    listening = trio.Event()
    wrong: list[ConfigError] = []

    async def serve() -> None:
        try:
            await app.run(
                config,
                user_agent="llmrouter/check",
                environ=_own(environ),
                host="127.0.0.1",
                port=0,
                ready=lambda _: listening.set(),
            )
        except ConfigError as error:  # it would leave the nursery in a group
            wrong.append(error)
            listening.set()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve)
        await listening.wait()
        if not wrong:
            await trio.sleep(seconds)
            signal.raise_signal(signal.SIGTERM)
    if wrong:
        raise wrong[0]


def _own(environ: dict[str, str]) -> dict[str, str]:
    """Without the service manager's: this is not the service."""
    theirs = ("NOTIFY_SOCKET", "LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES", "WATCHDOG_USEC")
    return {name: value for name, value in environ.items() if name not in theirs}


# --- for people -----------------------------------------------------------------------------------


def as_text(proof: Proof) -> str:
    return "\n".join(_lines(proof))


def _lines(proof: Proof) -> Iterator[str]:
    yield f"a start, watched for {proof.seconds:g} s after it listened, and its end"
    if proof.seen:
        yield from table(("DIALLED OR LOOKED UP", "WHERE", "AND"), [_seen(e) for e in proof.seen])
    else:
        yield "nothing was dialled, and no name looked up"
    if proof.due:
        yield ""
        head = ("BY THE CONFIGURATION", "WHERE", "WHEN", "WHY")
        yield from table(head, [_due(each) for each in proof.due])
    yield ""
    yield _sum(proof)


def _seen(each: offline.Seen) -> tuple[str, ...]:
    return each.target, each.where, "refused" if each.refused else "let through"


def _due(each: offline.Due) -> tuple[str, ...]:
    return each.target, each.where, "by itself" if each.at_start else "for requests", each.why


def _sum(proof: Proof) -> str:
    if proof.well:
        return "right: nothing outside is dialled at a start"
    outside = [each.target for each in proof.due if each.at_start and each.where == "outside"]
    known = " ".join(outside)
    refused = (each.target for each in proof.seen if each.refused)
    outside += [each for each in refused if each.removeprefix(offline.NAME) not in known]
    return (
        f"wrong: a start goes outside: {', '.join(outside)}\n"
        "what to do: write models = [...] for a provider, and it is not asked for them; leave out its "
        "probe_interval; or name what is inside with --allow"
    )


# --- for programs ---------------------------------------------------------------------------------


def as_json(proof: Proof) -> dict[str, JSON]:
    return {
        "well": proof.well,
        "seconds": proof.seconds,
        "seen": [{"target": e.target, "where": e.where, "refused": e.refused} for e in proof.seen],
        "due": [
            {"target": e.target, "where": e.where, "at_start": e.at_start, "why": e.why}
            for e in proof.due
        ],
    }
