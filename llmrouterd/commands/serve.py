"""`llmrouter serve`: runs the daemon in the foreground.

Owns: setting up the daemon's own log on stderr, exit codes.
Refuses to know: how anything is served, what is said at the start (announce.py).
"""

from __future__ import annotations

import gc
import logging
import os
from functools import partial
from typing import TYPE_CHECKING

from llmrouterd.commands import check, logs
from llmrouterd.commands.announce import announce
from llmrouterd.commands.locate import complain, find
from llmrouterd.config import load, overridden
from llmrouterd.model import ConfigError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable
    from pathlib import Path

    from llmrouterd.config import Config
    from llmrouterd.ops.app import Running
    from llmrouterd.ops.supervisor import Supervisor


def run(args: argparse.Namespace) -> int:
    """Serve until stopped. 0: stopped in order. 1: it cannot listen there. 2: the configuration is
    wrong."""
    try:
        path = find(args.config, os.environ)
        config = None if path is None else load(path, os.environ)
        if config is not None:
            config = overridden(config, args.host, args.port, args.workers)
            if args.check:
                check.made(config)
        elif (args.workers or 1) > 1:
            raise ConfigError(
                ["--workers takes a configuration file: llmrouter serve FILE --workers N"]
            )
        elif args.host is not None:
            _check_host(args.host)
    except ConfigError as error:
        return complain(error)
    if args.check:
        print(check.as_text(config) if config else "no configuration: the machine is looked at")
        return 0
    stamp = logs.to_stderr(args.log_level or "info", args.log_format or "auto", os.environ)
    again = None if path is None else partial(_load, path, args)
    return _serve(config, args, stamp, again)


def _load(path: Path, args: argparse.Namespace) -> Config:
    """The file, with the command line's words over it."""
    return overridden(load(path, os.environ), args.host, args.port, args.workers)


def _check_host(host: str) -> None:
    """Without a configuration there is no key, so only this machine may be served."""
    from llmrouterd.config import Config

    overridden(Config(), host)


def _serve(
    config: Config | None,
    args: argparse.Namespace,
    stamp: logs.Generation,
    again: Callable[[], Config] | None,
) -> int:
    import trio

    from llmrouter import __version__
    from llmrouterd.ops import app
    from llmrouterd.ops.listening import NotListeningError

    for warning in config.warnings if config else ():
        logging.getLogger("llmrouter").warning("%s", warning)
    _settle_memory()
    try:
        child = None
        if config is not None and config.server.workers > 1:
            supervisor = _supervisor(config, args, stamp, again)
            child = supervisor.run()
            if child is None:
                return 0
            config = supervisor.config
        trio.run(
            lambda: app.run(
                config,
                user_agent=f"llmrouter/{__version__}",
                environ=os.environ,
                host=args.host,
                port=args.port,
                load=again,
                watch=args.watch_config and child is None,
                ready=partial(announce, stamp.shape) if child is None else _silent,
                in_force=partial(setattr, stamp, "number"),
                child=child,
            )
        )
    except ConfigError as error:
        code = complain(error)
        return 1 if isinstance(error, NotListeningError) else code
    return 0


def _supervisor(
    config: Config,
    args: argparse.Namespace,
    stamp: logs.Generation,
    again: Callable[[], Config] | None,
) -> Supervisor:
    from llmrouter import __version__
    from llmrouterd.ops import app, supervisor

    return supervisor.Supervisor(
        config,
        user_agent=f"llmrouter/{__version__}",
        environ=os.environ,
        load=again,
        watch=args.watch_config,
        ready=lambda *found: announce(stamp.shape, app.Running(*found)),
        in_force=partial(setattr, stamp, "number"),
    )


def _settle_memory() -> None:
    """What is loaded by now stays for ever: keep the collector from looking at it again and again.
    Requests make few cycles (those that were cancelled make most), so that it runs once in thousands
    of requests; seldomer, and what waits for it is megabytes."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(2_000, 10, 50)


def _silent(running: Running) -> None:
    """Of a worker: its supervisor says when all are there."""
