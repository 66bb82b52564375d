"""Keys: from environment variables and files, never from the configuration itself.

Owns: where a key may come from, and what is wrong with one that does not.
Refuses to know: whose key it is, how it is shown to anybody.

Laws:
1. No message shows a key, nor a "variable name" that looks like one.
2. A file by a bare name is one of systemd's credentials where the service has some, else it lies
   beside the configuration.
"""

from __future__ import annotations

import re
from pathlib import Path as FilePath
from typing import TYPE_CHECKING, Any

from llmrouterd.config.read import Problems, quoted
from llmrouterd.model import Secret

if TYPE_CHECKING:
    from collections.abc import Mapping

    from llmrouterd.tomlpos import Path

_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
NO_HEADER = re.compile(r"[\x00-\x08\x0a-\x1f\x7f\u0100-\U0010ffff]")
_LARGEST = 16384  # bytes of a key file; a key has tens, a token hundreds
_EVERYBODY = 0o004


class NoKeyError(Exception):
    """A variable or a file gives no key. The text says why, and names it."""


def own_key(
    problems: Problems,
    table: Path,
    values: Mapping[str, Any],
    names: tuple[str, str],
    environ: Mapping[str, str],
    otherwise: str,
) -> Secret | None:
    """A key that comes from a variable or from a file; None where neither is named. A key that must
    be there and is not is noted with what to do, of which `otherwise` is the second half.

    Args:
        names: the keys of the table that name the variable and the file.
    """
    variable, file = (values[name] for name in names)
    path: Path = (*table, names[1] if file else names[0])
    if variable and file:
        problems.add(path, f"give either {names[0]} or {names[1]}")
        return None
    try:
        if file:
            return key_in_file(problems, path, file, environ)
        return key_from(problems, path, variable, environ)
    except NoKeyError as why:
        problems.add(path, f"{why}: set it, or {otherwise}")
        return None


def key_from(
    problems: Problems, path: Path, variable: str, environ: Mapping[str, str]
) -> Secret | None:
    """The key in this variable; None when no variable is named.

    Raises NoKeyError when the variable is unset or empty; what can never be right is noted.
    """
    if not variable:
        return None
    if not _VARIABLE.match(variable):
        problems.add(path, "expected the name of an environment variable, and not the key itself")
        return None
    shown = variable if _shows(variable) else "named there (it looks like a key, so not shown)"
    text = environ.get(variable)
    if text is None or not text.strip():
        raise NoKeyError(f"the variable {shown} is {'not set' if text is None else 'empty'}")
    return _checked(problems, path, text, f"the variable {shown}")


def key_in_file(
    problems: Problems, path: Path, name: str, environ: Mapping[str, str]
) -> Secret | None:
    """The key in this file; None when no file is named. Raises NoKeyError as `key_from` does."""
    if not name:
        return None
    place = _place(name, problems.folder, environ)
    try:
        text = _read(place)
        open_to_all = bool(place.stat().st_mode & _EVERYBODY)
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else str(error)
        raise NoKeyError(f"the file {quoted(str(place))} cannot be read: {why}") from None
    if not text.strip():
        raise NoKeyError(f"the file {quoted(str(place))} is empty")
    if open_to_all:
        problems.warn(path, f"everybody on this machine can read {quoted(str(place))}: chmod 600")
    return _checked(problems, path, text, f"the file {quoted(str(place))}")


def _place(name: str, folder: FilePath, environ: Mapping[str, str]) -> FilePath:
    path = FilePath(name).expanduser()
    if path.is_absolute():
        return path
    credentials = environ.get("CREDENTIALS_DIRECTORY")
    if credentials and (FilePath(credentials) / path).exists():
        return FilePath(credentials) / path
    return folder / path


def _read(place: FilePath) -> str:
    with place.open("rb") as file:
        data = file.read(_LARGEST + 1)
    if len(data) > _LARGEST:
        raise ValueError("it is too large for a key")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise ValueError("it is no text") from None


def _checked(problems: Problems, path: Path, text: str, where: str) -> Secret | None:
    if NO_HEADER.search(text.strip()):
        problems.add(path, f"{where} holds characters that no key has")
        return None
    return Secret(text.strip())


def _shows(variable: str) -> bool:
    """Whether it looks like a name: people do write the key itself where its name is asked for."""
    return len(variable) <= 64 and (variable.upper() == variable or len(variable) < 16)
