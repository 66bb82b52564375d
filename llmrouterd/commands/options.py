"""What `watch` and `tui` take on the command line.

Owns: their arguments and the words about them.
Refuses to know: what becomes of them.

Law: it is loaded for every command line, `--version` too: nothing but the standard library.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse

URL = "http://localhost:8090"


def watch(parser: argparse.ArgumentParser) -> None:
    tui(parser)
    parser.add_argument("--json", action="store_true", help="print the feed's events, one a line")
    parser.add_argument("--brief", action="store_true", help="print requests when they have ended")


def tui(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "url", metavar="URL", nargs="?", default=URL, help="the router (%(default)s)"
    )
    parser.add_argument(
        "--key-file",
        type=Path,
        metavar="FILE",
        help="where the router's key is, if it wants one (else $LLMROUTER_API_KEY, $ROUTER_API_KEY)",
    )
    parser.add_argument("--ca-file", metavar="FILE", help="trust this certificate, for https")
    parser.add_argument(
        "--filter",
        default="",
        metavar="WORDS",
        help="only these: provider=NAME model='llama*' client=NAME tag=NAME errors, or any word",
    )
