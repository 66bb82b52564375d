"""`llmrouter init [PATH]`: a first configuration, for what this machine has.

Owns: the two files that it writes, and what is said about them.
Refuses to know: what stands in a configuration (starter.py), how the machine is looked at
(ops/local.py).

Laws:
1. Nothing that is there is overwritten without --force: the file is made, or it is an error.
2. Both files are their owner's only (0600), from their first byte on. The key is not printed.
3. What is written has been read and checked before.
4. Only this machine is asked, and the address in OLLAMA_HOST.
"""

from __future__ import annotations

import os
import secrets
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from llmrouterd.commands import starter
from llmrouterd.commands.locate import called
from llmrouterd.config.providers import masked
from llmrouterd.model import ConfigError

if TYPE_CHECKING:
    import argparse

    from llmrouterd.ops.local import Sight

STDOUT = Path("-")
MODE = 0o600


class NotDoneError(Exception):
    """It cannot be written; the text says why and what to do."""


def run(args: argparse.Namespace) -> int:
    """0: written. 1: it could not be. 2: wrong usage."""
    to_stdout = args.path == STDOUT
    if to_stdout and args.key:
        print("llmrouter: --key needs a file beside which the key lies", file=sys.stderr)
        return 2
    try:
        if not to_stdout:
            _free(args.path, force=args.force)
        sights = _looked()
        key_file = args.path.with_suffix(".key") if args.key else None
        text = starter.text(sights, _variables(), key_file.name if key_file else "")
        _check(text, str(args.path), key_file)
        _say_found(sights)
        if to_stdout:
            print(text, end="")
            return 0
        _write_all(args, text, key_file)
    except (NotDoneError, OSError) as error:
        print(f"llmrouter: {_words(error)}", file=sys.stderr)
        return 1
    _say_next(args.path, key_file)
    return 0


def _words(error: Exception) -> str:
    if isinstance(error, OSError):
        return f"{error.filename}: {(error.strerror or str(error)).lower()}"
    return str(error)


# --- what there is --------------------------------------------------------------------------------


def _looked() -> tuple[Sight, ...]:
    import trio

    from llmrouterd.edge.pool import Pool
    from llmrouterd.ops.local import look

    async def looked() -> tuple[Sight, ...]:
        pool = Pool()
        try:
            return await look(os.environ, pool)
        finally:
            pool.close()

    return trio.run(looked)


def _variables() -> frozenset[str]:
    from llmrouterd.ops.local import CLOUDS

    return frozenset(v for *_, v in CLOUDS if os.environ.get(v, "").strip())


def _check(text: str, path: str, key_file: Path | None) -> None:
    """The text as `serve` would read it; its key file is not written yet."""
    from llmrouterd.commands.check import made
    from llmrouterd.config import parse

    if key_file is not None:
        text = text.replace(f'\napi_key_file = "{key_file.name}"', "", 1)
    try:
        made(parse(text, path, os.environ))
    except ConfigError as error:
        problem = f"what was found makes no configuration: {error.problems[0]}"
        raise NotDoneError(problem) from error


# --- writing --------------------------------------------------------------------------------------


def _free(path: Path, *, force: bool) -> None:
    if os.path.lexists(path) and not force:
        raise NotDoneError(f"{path} is there already: --force replaces it")
    if path.is_dir():
        raise NotDoneError(f"{path} is a directory: name the file")


def _write_all(args: argparse.Namespace, text: str, key_file: Path | None) -> None:
    args.path.parent.mkdir(parents=True, exist_ok=True)
    if key_file is not None and not (key_file.exists() and not args.force):
        _write(key_file, secrets.token_urlsafe(32) + "\n", force=args.force)
        _say(f"wrote {key_file}, a new key")
    elif key_file is not None:
        _say(f"kept  {key_file}, the key that is there (--force makes a new one)")
    _write(args.path, text, force=args.force)
    _say(f"wrote {args.path}")


def _write(path: Path, text: str, *, force: bool) -> None:
    """Whole or not at all. Without force the file is made by this call, or it is an error."""
    place = path.with_name(f".{path.name}.{os.getpid()}") if force else path
    try:
        descriptor = os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL, MODE)
    except FileExistsError:
        raise NotDoneError(f"{place} is there already: --force replaces it") from None
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(descriptor)
        place.replace(path)
    except BaseException:
        place.unlink()
        raise


# --- words ----------------------------------------------------------------------------------------


def _say_found(sights: tuple[Sight, ...]) -> None:
    from llmrouterd.ops.local import CLOUDS

    variables = _variables()
    for each in sights:
        found = each.models is not None
        there = f"{len(each.models or ())} models at {masked(each.place.base_url)}"
        _say_one(each.place.name, there if found else each.why, found=found)
    for name, _, _, variable in CLOUDS:
        found = variable in variables
        _say_one(name, f"{variable} is {'set' if found else 'not set'}", found=found)


def _say_one(name: str, words: str, *, found: bool) -> None:
    _say(f"  {'found' if found else 'not found':<9}  {name}: {words}")


def _say_next(path: Path, key_file: Path | None) -> None:
    program, named = called(sys.argv[0]), shlex.quote(str(path))
    _say("now:")
    _say(f"  {program} check {named}")
    _say(f"  {program} serve {named}")
    if key_file is not None:
        _say(f'  export ROUTER_API_KEY="$(cat {shlex.quote(str(key_file))})"   # for clients')


def _say(line: str) -> None:
    """To stderr: stdout may be the file."""
    print(line, file=sys.stderr)
