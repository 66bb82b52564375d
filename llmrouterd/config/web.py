"""`[plugins.web]`: the engine's address and its key.

Owns: whether there is an address where there has to be one, and the key from its variable or file.
Refuses to know: how an engine is asked (llmrouterd/plugins/engine.py).

Law: what may be a credential is a `Secret` from here on, and no message shows it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from llmrouterd.config.credentials import NoKeyError, key_from, key_in_file
from llmrouterd.config.providers import unreadable
from llmrouterd.config.read import quoted

if TYPE_CHECKING:
    from collections.abc import Mapping

    from llmrouterd.config.read import Problems
    from llmrouterd.model import Secret

_NAMES = ("authorization", "key", "token", "secret", "password")


def with_key(
    problems: Problems, tables: Mapping[str, Mapping[str, Any]], environ: Mapping[str, str]
) -> Mapping[str, Mapping[str, Any]]:
    """The plugins' tables, with the key in place of where it is to be found."""
    table = tables.get("web")
    if table is None:
        return tables
    on = bool(table["enabled"] or table.get("serve_hosted"))
    if on and not table.get("url"):
        problems.add(("plugins", "web"), 'the key "url" is missing')
    file = table.get("ca_file", "")
    if file and (wrong := unreadable(file)):
        problems.add(("plugins", "web", "ca_file"), f"{quoted(file)} cannot be read: {wrong}")
    _look_for_keys(problems, table)
    rest = {name: value for name, value in table.items() if name not in ("key_env", "key_file")}
    key = _key(problems, table, environ, on=on)
    return {**tables, "web": rest if key is None else {**rest, "key": key}}


def _key(
    problems: Problems, table: Mapping[str, Any], environ: Mapping[str, str], *, on: bool
) -> Secret | None:
    variable, file = table.get("key_env", ""), table.get("key_file", "")
    path = ("plugins", "web", "key_env" if variable else "key_file")
    if variable and file:
        problems.add(path, "there is a key_file, too: only one of them can hold the key")
        return None
    try:
        if variable:
            return key_from(problems, path, variable, environ)
        return key_in_file(problems, path, file, environ)
    except NoKeyError as error:
        if on:
            problems.add(path, str(error))
        else:
            problems.warn(path, f"{error}, so that every search fails")
        return None


def _look_for_keys(problems: Problems, table: Mapping[str, Any]) -> None:
    for name, value in (table.get("headers") or {}).items():
        if "{key}" not in value and any(word in name.lower() for word in _NAMES):
            words = "a key does not belong into the file: write {key}, and name its key_env"
            problems.warn(("plugins", "web", "headers"), words)
