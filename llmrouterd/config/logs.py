"""`[logging]`: the request log.

Owns: reading its table, and the key that an audit log is sealed with.
Refuses to know: how lines are written and sealed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from llmrouterd.config import keys
from llmrouterd.config.credentials import NoKeyError, key_in_file
from llmrouterd.config.nouns import Logging
from llmrouterd.config.read import Problems, read

if TYPE_CHECKING:
    from collections.abc import Mapping

SHORTEST = 16  # characters of a key: 16 at random cannot be guessed


def read_logging(
    problems: Problems, table: Mapping[str, Any], environ: Mapping[str, str]
) -> Logging:
    values = read(problems, ("logging",), table, keys.LOGGING)
    name = values.pop("audit_key_file")
    logging = Logging(**values)
    if logging.audit and not logging.enabled:
        problems.add(("logging", "audit"), "nothing is logged: set enabled = true as well")
    if not name:
        return logging
    path = ("logging", "audit_key_file")
    if not logging.audit:
        problems.add(path, "it is for an audit log: set audit = true as well")
    try:
        key = key_in_file(problems, path, name, environ)
    except NoKeyError as why:
        problems.add(path, f"{why}: set it right, or remove this key to seal without one")
        return logging
    if key is not None and len(key.reveal()) < SHORTEST:
        problems.add(path, f"the key has less than {SHORTEST} characters, and could be guessed")
    return Logging(**values, audit_key=key)
