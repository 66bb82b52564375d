"""The `llmrouter` command: the table of subcommands, the version line, the exit codes.

Owns what a person at a terminal meets first. Knows nothing of routing: `llmrouter X` imports
`llmrouterd.commands.X` when it runs and calls its `run(args) -> int`.

Laws:
- Only the standard library at the top, so that `--version` and a usage error never load trio.
- Exit 0 is fine, 1 means that what was asked for failed, 2 is wrong usage or wrong configuration,
  130 is Ctrl-C.
- An error is one or two lines on stderr; a traceback appears only with `--debug`.
- The file must parse on Python 3.6 and later, so that an old Python gets a sentence and not a
  SyntaxError: no walrus, no match, no `from __future__ import annotations`.
"""

import argparse
import contextlib
import difflib
import importlib
import os
import sys

if sys.version_info < (3, 11):  # noqa: UP036
    sys.exit("llmrouter: needs Python 3.11 or newer, and this is " + sys.version.split()[0])

from collections.abc import Callable, Sequence
from types import MappingProxyType
from typing import NoReturn

__version__ = "0.1.0"  # the one source: pyproject.toml and zipapp.sh read it here

COMMANDS = MappingProxyType(
    {
        "init": "write a first configuration, for what this machine has",
        "serve": "run the router in the foreground",
        "check": "read and check a configuration, print what it says",
        "explain": "where a request would go, and why, without sending it",
        "selftest": "how this router bears every fault of a misbehaving upstream, on this machine",
        "stats": "add up request logs: requests, errors, tokens, cost, times",
        "watch": "follow a running router: each request as it goes on",
        "tui": "the same on the whole screen, with figures, providers and a chat",
        "audit": "check an audit log: is every line there, in order, and as it was written",
        "replay": "what another configuration would have done with the requests of a log",
        "launch": "start a coding agent (claude, codex, copilot, opencode, qwen) on this router",
        "provider": "list, pause, resume or drain a provider of a running router",
        "service": "the systemd unit: print, install or remove it",
        "version": "print the version, the commit, and those of Python, trio and h11",
    }
)
DEBUG = "show the traceback of an internal error"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code.

    Usage errors and `-h` leave by SystemExit, as argparse does it.
    """
    args = parse(sys.argv[1:] if argv is None else argv)
    try:
        code = find_run(args.command)(args)
        sys.stdout.flush()  # here, where a reader that has gone can still be told from a fault
    except BaseException as exc:
        if interrupted(exc):
            return 130
        if args.debug or not isinstance(exc, Exception | BaseExceptionGroup):
            raise
        return reader_gone() if isinstance(exc, BrokenPipeError) else failed(exc)
    return code


def interrupted(exc: BaseException) -> bool:
    """Ctrl-C, as it is or as it comes up through a nursery."""
    if isinstance(exc, BaseExceptionGroup):
        return exc.split(KeyboardInterrupt)[1] is None
    return isinstance(exc, KeyboardInterrupt)


def find_run(command: str) -> Callable[[argparse.Namespace], int]:
    """Import a command's module, and with it trio, only now that it is wanted."""
    run: Callable[[argparse.Namespace], int]
    run = importlib.import_module(f"llmrouterd.commands.{command}").run
    return run


def reader_gone() -> int:
    """`llmrouter check | head -1`: say nothing, and let the interpreter's last flush go nowhere."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 1


def failed(exc: BaseException) -> int:
    """Print the one line for a fault that no command expected."""
    while isinstance(exc, BaseExceptionGroup):  # its own text says only how many there are
        exc = exc.exceptions[0]
    if isinstance(exc, ModuleNotFoundError) and exc.name in {"trio", "h11"}:
        complain(f"{sys.executable} has no {exc.name}: install trio and h11, or run 'sh zipapp.sh'")
    else:
        text = " ".join(f"{type(exc).__name__}: {exc}".split())
        complain(f"internal error: {text} (run with --debug for the traceback)")
    return 1


def complain(text: str) -> None:
    print(f"llmrouter: {text}", file=sys.stderr)


# ---- the command line --------------------------------------------------------------------------


class Parser(argparse.ArgumentParser):
    """argparse prints the whole usage before an error; two lines say it better."""

    def error(self, message: str) -> NoReturn:
        complain(message)
        complain(f"try '{self.prog} -h'")
        raise SystemExit(2)


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """Read the command line; what cannot be understood ends here with exit 2."""
    words = asking_for_help(list(argv))
    if not words:
        build_parser().print_help(sys.stderr)
        raise SystemExit(2)
    at = next((i for i, word in enumerate(words) if not word.startswith("-")), len(words))
    parser = build_parser()
    end = words.index("--") if "--" in words and words[at : at + 1] == ["launch"] else len(words)
    words, others = words[:end], words[end + 1 :]  # what follows is for the agent
    for word in words[:at]:
        if word not in {"-h", "--help", "--version", "--debug"}:
            parser.error(f"there is no option {word} before the command")
    if "--version" in words[:at]:
        words = ["version"]
    elif words[at:]:
        if words[at].endswith(".toml"):
            words.insert(at, "serve")
        elif words[at] not in COMMANDS:
            refuse(words[at], parser)
    args, unknown = parser.parse_known_args(words)
    if others or args.command == "launch":
        args.args = others
    if unknown:
        parser.prog += f" {args.command}"  # whose help to point to
        parser.error(f"unknown argument {unknown[0]}")
    return args


def asking_for_help(words: list[str]) -> list[str]:
    """`help` and `help COMMAND`, which people type before they know of -h."""
    if words[:1] != ["help"]:
        return words
    return [*(word for word in words[1:2] if not word.startswith("-")), "-h"]


def refuse(word: str, parser: Parser) -> NoReturn:
    """A slip of the finger: name what was meant."""
    near = difflib.get_close_matches(word, COMMANDS, n=1)
    hint = f", did you mean {near[0]!r}?" if near else ""
    parser.error(f"there is no command {word!r}{hint}")


def build_parser() -> Parser:
    """The whole command line: contrib/cli.py makes manual page and completions of it."""
    parser = Parser(
        prog="llmrouter",
        allow_abbrev=False,  # a script's shortened option must not change its meaning later
        description="One address for every LLM client and every LLM server, local first.",
        epilog="'llmrouter FILE.toml' is 'llmrouter serve FILE.toml'; 'help COMMAND' is 'COMMAND -h'.",
    )
    absent = argparse.SUPPRESS
    parser.add_argument("--version", action="store_true", default=absent, help=COMMANDS["version"])
    parser.add_argument("--debug", action="store_true", help=DEBUG)
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    parsers = {
        name: commands.add_parser(name, help=text, description=text, allow_abbrev=False)
        for name, text in COMMANDS.items()
    }
    for each in parsers.values():  # absent, not False: it must not undo a --debug before it
        each.add_argument("--debug", action="store_true", default=absent, help=DEBUG)
    options = importlib.import_module("llmrouterd.commands.options")  # argparse, and nothing else
    for name, each in parsers.items():
        options.add(name, each)
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
