"""The owner's own plugins and classifiers, as far as the file speaks of them.

Owns: which tables mean a file of the owner's, and where that file lies.
Refuses to know: what is in it (llmrouterd/plugins/own.py), what its other keys mean: they are handed on.

Law: a file of the owner's never takes the place of what is built in.
"""

from __future__ import annotations

import re
from pathlib import Path as FilePath
from typing import TYPE_CHECKING, Any

from llmrouterd.config import keys
from llmrouterd.config.read import read

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from llmrouterd.config.read import Problems
    from llmrouterd.tomlpos import Path

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}\Z")


def read_own(
    problems: Problems, path: Path, table: Mapping[str, Any], taken: Collection[str]
) -> Mapping[str, Any] | None:
    """The settings of a table that names a file, its path made absolute; None when it may not.
    taken: ids that are llmrouter's own."""
    name = str(path[-1])
    if name in taken:
        problems.add((*path, "path"), "this name is llmrouter's own: give yours another one")
        return None
    if not _ID.match(name):
        problems.add(path, "a name has letters, digits, - and _, and begins with a letter or digit")
        return None
    known = {key: value for key, value in table.items() if key in keys.OWN}
    values = read(problems, path, known, keys.OWN)
    place = values["path"]
    if not isinstance(place, str):
        return None
    file = problems.folder / FilePath(place).expanduser()
    given = {key: values[key] for key in ("enabled", "timeout") if values[key] is not None}
    return {**table, **given, "path": str(file.absolute())}
