"""Which configuration file is meant, and what is said when there is something wrong with it.

Owns: the search order, the way a ConfigError is shown, and how this program is called.
Refuses to know: what stands in a configuration.

Laws:
1. A file that was named is the one: another one is never taken in its place.
2. Of the default places the first that exists is taken, be it right or wrong. One that this user
   may not even look into is somebody else's.
"""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from llmrouterd.model import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping


def places(environ: Mapping[str, str]) -> tuple[Path, ...]:
    """Where a configuration is looked for, in order."""
    base = environ.get("XDG_CONFIG_HOME", "")
    if not base.startswith("/"):  # the specification says to ignore one that is not absolute
        home = environ.get("HOME", "")
        base = f"{home}/.config" if home else ""
    return (
        Path("llmrouter.toml"),
        Path("config.toml"),
        *([Path(base) / "llmrouter" / "llmrouter.toml"] if base else []),
        Path("/etc/llmrouter/llmrouter.toml"),
    )


def find(named: Path | None, environ: Mapping[str, str]) -> Path | None:
    """The configuration to use; None when none was named and none is there.

    Raises ConfigError when the one that was named is not there to be read.
    """
    if named is None:
        return next((path for path in places(environ) if _exists(path)), None)
    try:
        there = named.exists()
    except OSError as error:
        raise ConfigError([f"{named}: {(error.strerror or 'cannot be read').lower()}"]) from error
    if not there:
        raise ConfigError([f"{named}: no such file"])
    return named


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # no permission to look into the directory
        return False


def called(program: str) -> str:
    """How a command of ours is written for this person to copy: as this one was."""
    installed = Path(program).suffix not in (".pyz", ".py")
    return "llmrouter" if installed else f"python3 {shlex.quote(program)}"


def complain(error: ConfigError) -> int:
    """Print every problem to stderr. Returns the exit code for a wrong configuration."""
    for problem in error.problems:
        print(f"llmrouter: {problem}", file=sys.stderr)
    return 2
