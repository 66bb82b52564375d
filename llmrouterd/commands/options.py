"""What each command takes on the command line.

Owns: their arguments and the words about them.
Refuses to know: what becomes of them.

Law: it is loaded for every command line, `--version` too: nothing but the standard library.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

URL = "http://localhost:8090"
HERE = "http://127.0.0.1:8090"
CONFIG = (
    "the configuration file (default: the first that exists of ./llmrouter.toml, ./config.toml, "
    "$XDG_CONFIG_HOME/llmrouter/llmrouter.toml, /etc/llmrouter/llmrouter.toml)"
)


def version(parser: argparse.ArgumentParser) -> None:
    text = "print what it is made of, as CycloneDX JSON"
    parser.add_argument("--sbom", action="store_true", help=text)


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


def explain(parser: argparse.ArgumentParser) -> None:
    _config(parser)
    formats = ("openai", "anthropic", "ollama", "responses", "embeddings", "embed")
    parser.add_argument("--model", help="the model that is asked for")
    parser.add_argument("--prompt", default="hello", help="what is said to it (%(default)s)")
    parser.add_argument(
        "--request", type=Path, metavar="FILE", help="a whole request body; -: stdin"
    )
    parser.add_argument(
        "--format", choices=formats, default="openai", help="of the request; embed: Ollama's"
    )
    parser.add_argument("--tag", action="append", default=[], help="a tag besides those found")
    parser.add_argument("--provider", help="as with the header X-Router-Provider")
    parser.add_argument("--client", default="", help="the name of one of [[clients]]")
    parser.add_argument("--url", help="ask this running router instead of the file")
    _key_env(parser)
    parser.add_argument("--json", action="store_true", help="print JSON")


def stats(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "logs",
        metavar="LOG",
        nargs="*",
        help="files, .gz too; -: stdin (default: the configured log with what was rotated)",
    )
    parser.add_argument("--config", metavar="CONFIG", type=Path, help=CONFIG)
    parser.add_argument(
        "--by",
        action="append",
        default=[],
        metavar="KIND",
        help="provider, model, client, tag, day, end, format; several, and a comma between them",
    )
    parser.add_argument(
        "--since", metavar="WHEN", help="from then on: 90m, 24h, 7d, or a date or time in UTC"
    )
    parser.add_argument("--until", metavar="WHEN", help="before then, likewise")
    shown = parser.add_mutually_exclusive_group()
    shown.add_argument("--json", action="store_true", help="print JSON")
    shown.add_argument("--csv", action="store_true", help="print CSV, the total first")


def replay(parser: argparse.ArgumentParser) -> None:
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
    parser.add_argument("--limit", metavar="N", type=_count, help="only the newest N requests")
    parser.add_argument("--all", action="store_true", help="show every change, not the first 20")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--send", action="store_true", help="send the requests for real")
    parser.add_argument("--url", help="with --send: to this running router, not one of its own")
    parser.add_argument(
        "--concurrency",
        metavar="N",
        type=_count,
        default=1,
        help="with --send: at once (%(default)s)",
    )
    _key_env(parser)


def _count(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 0 < int(text) < 10**9):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0")
    return int(text)


def audit(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("action", metavar="ACTION", choices=("verify",), help="verify")
    parser.add_argument(
        "logs",
        metavar="LOG",
        nargs="*",
        help="files, .gz too; one alone stands for what was rotated out of it as well "
        "(default: the configured log)",
    )
    parser.add_argument("--config", metavar="CONFIG", type=Path, help=CONFIG)
    text = "the key that the log was sealed with, if it was"
    parser.add_argument("--key-file", metavar="FILE", type=Path, help=text)
    parser.add_argument("--json", action="store_true", help="print JSON")


def launch(parser: argparse.ArgumentParser) -> None:
    agents = ("claude", "codex", "copilot", "opencode", "qwen")
    parser.add_argument("agent", metavar="AGENT", choices=agents, help=", ".join(agents))
    parser.add_argument("--url", default=HERE, help="the router (%(default)s)")
    parser.add_argument("--model", help="the model to ask for; else the agent's own, or the first")
    _key_env(parser)
    parser.add_argument("--print", action="store_true", help="only say what would be run")
    parser.epilog = "What follows -- is for the agent: llmrouter launch claude -- -p hello"


def provider(parser: argparse.ArgumentParser) -> None:
    actions = ("list", "pause", "resume", "drain")
    parser.add_argument("action", metavar="ACTION", choices=actions, help=", ".join(actions))
    parser.add_argument("name", metavar="NAME", nargs="?", help="of the provider")
    parser.add_argument("--url", default=HERE, help="the router (%(default)s)")
    _key_env(parser)
    text = "seconds that drain waits for what runs there (%(default)g)"
    parser.add_argument("--timeout", metavar="S", type=float, default=300.0, help=text)


def _key_env(parser: argparse.ArgumentParser) -> None:
    text = "the variable with the router's key, if it wants one (%(default)s)"
    parser.add_argument("--key-env", metavar="NAME", default="ROUTER_API_KEY", help=text)


def service(parser: argparse.ArgumentParser) -> None:
    actions = ("print", "install", "uninstall")
    parser.add_argument("action", metavar="ACTION", choices=actions, help=", ".join(actions))
    parser.add_argument("--user", action="store_true", help="of one's own systemd, without root")
    parser.add_argument("--socket", action="store_true", help="with a socket that systemd holds")
    parser.add_argument("--config", type=Path, metavar="FILE", help="the configuration it serves")
    parser.add_argument("--force", action="store_true", help="over what is there and differs")


def serve(parser: argparse.ArgumentParser) -> None:
    _config(parser)
    parser.add_argument("--host", help="address to listen on, over the file's")
    parser.add_argument(
        "--port", type=_port, help="port to listen on, over the file's; 0: any free"
    )
    text = "processes sharing the port, over the file's"
    parser.add_argument("--workers", type=int, metavar="N", help=text)
    levels = ("debug", "info", "warning", "error")
    parser.add_argument("--log-level", choices=levels, help="the least that goes to stderr")
    shapes = ("auto", "plain", "journal", "json")
    parser.add_argument("--log-format", choices=shapes, help="of stderr (auto: plain or journal)")
    parser.add_argument(
        "--watch-config", action="store_true", help="reload when the configuration changes"
    )
    parser.add_argument("--check", action="store_true", help="only check the configuration")


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) <= 65535):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 0 to 65535")
    return int(text)


def check(parser: argparse.ArgumentParser) -> None:
    _config(parser)
    asked = parser.add_mutually_exclusive_group()
    asked.add_argument("--online", action="store_true", help="ask every provider, too")
    text = "start it under watch: does anything dial outside of this network?"
    asked.add_argument("--offline", action="store_true", help=text)
    parser.add_argument(
        "--allow",
        action="append",
        default=[],
        metavar="WHERE",
        help="with --offline: a name, address or network that is inside",
    )
    parser.add_argument(
        "--seconds",
        metavar="S",
        type=_seconds,
        help="with --offline: how long to watch once it listens (3)",
    )
    parser.add_argument("--json", action="store_true", help="print JSON")


def _seconds(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not 0 <= number <= 86400:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds up to 86400")
    return number


def init(parser: argparse.ArgumentParser) -> None:
    path = Path("llmrouter.toml")
    text = "the file to write (%(default)s); -: stdout"
    parser.add_argument("path", metavar="PATH", nargs="?", type=Path, default=path, help=text)
    parser.add_argument(
        "--key", action="store_true", help="make a key for clients, in a file beside it"
    )
    parser.add_argument("--force", action="store_true", help="over files that are there")


def selftest(parser: argparse.ArgumentParser) -> None:
    own = "try with the settings of this file (default: with none)"
    parser.add_argument("config", metavar="CONFIG", nargs="?", type=Path, help=own)
    parser.add_argument("--json", action="store_true", help="print JSON")


def _config(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("config", metavar="CONFIG", nargs="?", type=Path, help=CONFIG)


def add(command: str, parser: argparse.ArgumentParser) -> None:
    """Give the command's parser what it takes; some take nothing."""
    found = COMMANDS.get(command)
    if found is not None:
        found(parser)


COMMANDS: Mapping[str, Callable[[argparse.ArgumentParser], None]] = {
    "init": init,
    "serve": serve,
    "check": check,
    "explain": explain,
    "selftest": selftest,
    "replay": replay,
    "stats": stats,
    "audit": audit,
    "watch": watch,
    "tui": tui,
    "launch": launch,
    "provider": provider,
    "service": service,
    "version": version,
}
