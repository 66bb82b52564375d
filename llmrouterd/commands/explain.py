"""`llmrouter explain`: where a request would go, and why, without sending it.

Owns: the arguments, and asking a running daemon where one is named.
Refuses to know: how it is decided (pipeline/explain.py).

Without `--url` the file alone is looked at: nobody is asked for models, so that the lists of
providers that are not written out are unknown, and everybody is taken to be well.
"""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from llmrouterd.commands import locate
from llmrouterd.commands.asking import NoAnswerError, ask
from llmrouterd.commands.check import find_and_load, printable
from llmrouterd.model import ConfigError

if TYPE_CHECKING:
    import argparse
    from pathlib import Path

JSON = Any


class _AskedWrongly(Exception):
    """What was asked for cannot be told; the text says why."""


def run(args: argparse.Namespace) -> int:
    """Print the walk. Exit code 0; 1 when the request would be refused or no router answers, 2 for
    wrong usage."""
    try:
        asked = _asked(args)
        told = _of_daemon(args, asked) if args.url else _offline(args, asked)
    except _AskedWrongly as why:
        print(f"llmrouter explain: {why}", file=sys.stderr)
        return 2
    except NoAnswerError as why:
        print(f"llmrouter explain: {why}", file=sys.stderr)
        return why.code
    except ConfigError as error:
        return locate.complain(error)
    if args.json:
        print(json.dumps(told, indent=2))
    else:
        from llmrouterd.pipeline.explain import lines

        print("\n".join(printable(line) for line in lines(told)))
        if not args.url:
            print("\n(from the file alone; --url asks a running router, which knows more)")
    return 1 if "error" in told else 0


def _asked(args: argparse.Namespace) -> dict[str, JSON]:
    """What the endpoint takes, too."""
    if args.request is not None:
        text = sys.stdin.read() if str(args.request) == "-" else _read(args.request)
        try:
            body = json.loads(text)
        except ValueError as error:
            raise _AskedWrongly(f"{args.request}: not JSON: {error}") from None
    elif args.model:
        body = _body(args)
    else:
        raise _AskedWrongly("give --model (and --prompt), or --request FILE")
    if args.model and isinstance(body, dict):
        body["model"] = args.model
    return {
        "format": args.format,
        "request": body,
        "tags": args.tag,
        "provider": args.provider,
        "client": args.client,
    }


def _body(args: argparse.Namespace) -> JSON:
    """A request of the format that says the prompt."""
    if args.format in ("embeddings", "embed", "responses"):
        return {"model": args.model, "input": args.prompt}
    most = {"max_tokens": 1024} if args.format == "anthropic" else {}
    return {"model": args.model, "messages": [{"role": "user", "content": args.prompt}], **most}


def _read(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        words = getattr(error, "strerror", None) or str(error)
        raise _AskedWrongly(f"{path}: {words.lower()}") from None


def _of_daemon(args: argparse.Namespace, asked: dict[str, JSON]) -> dict[str, JSON]:
    return ask(args.url, "/dashboard/api/explain", args.key_env, asked)


def _offline(args: argparse.Namespace, asked: dict[str, JSON]) -> dict[str, JSON]:
    import trio

    from llmrouterd.edge.pool import Pool
    from llmrouterd.ops.catalog import Catalog
    from llmrouterd.ops.generation import build
    from llmrouterd.pipeline.daemon import Daemon
    from llmrouterd.pipeline.explain import Question, explain

    config = find_and_load(args)
    gen = build(config, 1, "llmrouter")

    async def told() -> dict[str, JSON]:
        pool = Pool()
        try:
            catalog = Catalog(pool, config.providers, gen.upstreams)
            question = Question(
                asked["format"],
                json.dumps(asked["request"]).encode(),
                tuple(asked["tags"]),
                asked["provider"],
                asked["client"],
                caller=config.caller(asked["client"]),
            )
            ready = replace(gen, fleet=catalog.fleet)
            return await explain(question, ready, Daemon(pool))
        finally:
            pool.close()

    return trio.run(told)
