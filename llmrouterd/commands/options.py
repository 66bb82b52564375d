"""The options of commands that have many: read only when one of them is asked for.

Owns: their words, types and defaults. Refuses to know: what is done with them.

Law: the standard library only, as in llmrouter.py: a usage error must not load trio.
"""

from __future__ import annotations

import argparse
from pathlib import Path


def add_replay_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "log", metavar="LOG", nargs="+", type=Path, help="files of the request log; -: stdin"
    )
    parser.add_argument(
        "--config",
        metavar="NEW",
        type=Path,
        help="the new configuration file (default: as for `serve`)",
    )
    parser.add_argument(
        "--since", metavar="WHEN", help="leave out what is older: 24h, 90m, 7d, a date"
    )
    parser.add_argument("--limit", metavar="N", type=count, help="only the newest N requests")
    parser.add_argument("--all", action="store_true", help="show every change, not the first 20")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--send", action="store_true", help="send the requests for real")
    parser.add_argument("--url", help="with --send: to this running router, not one of its own")
    parser.add_argument(
        "--concurrency",
        metavar="N",
        type=count,
        default=1,
        help="with --send: at once (%(default)s)",
    )
    parser.add_argument(
        "--key-env",
        metavar="NAME",
        default="ROUTER_API_KEY",
        help="with --url: the variable with the router's key, if it wants one (%(default)s)",
    )


def count(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 0 < int(text) < 10**9):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0")
    return int(text)
