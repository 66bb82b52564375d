"""`[[policies]]`: what the owner forbids, whatever the rules say.

Owns: reading and checking that table.
Refuses to know: whom a policy binds in the end (llmrouterd/route/policies.py), who holds the door.

Law: a policy that forbids nothing, or names a provider that is not there, is wrong: whoever wrote it
believes to be protected.
"""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING, Any

from llmrouterd.config.keys import POLICY
from llmrouterd.config.read import Problems, quoted, read
from llmrouterd.config.rules import check_name, texts
from llmrouterd.model import Policy

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from llmrouterd.tomlpos import Path

_FORBIDS = ("allow", "deny", "require", "action")


def read_policies(
    problems: Problems, tables: Sequence[Mapping[str, Any]], names: Sequence[str]
) -> tuple[Policy, ...]:
    """names: of the configured providers, those without their key included."""
    return tuple(_policy(problems, index, table, names) for index, table in enumerate(tables))


def _policy(
    problems: Problems, index: int, table: Mapping[str, Any], names: Sequence[str]
) -> Policy:
    path: Path = ("policies", index)
    values = read(problems, path, table, POLICY)
    if not any(values[key] for key in _FORBIDS) and not any(key in table for key in _FORBIDS):
        problems.add(path, "forbids nothing: give allow, deny, require or action")
    for key in ("allow", "deny"):
        if values[key] == [] and key in table:
            problems.add((*path, key), "must not be an empty list")
        for place, name in enumerate(values[key]):
            check_name(problems, (*path, key, place), name, names)
    for place, text in enumerate(values["networks"]):
        _check_network(problems, (*path, "networks", place), text)
    if values["networks"] and values["require"] != "local":
        problems.add((*path, "networks"), 'goes with require = "local"')
    return Policy(
        where=f"policies[{index}]",
        tags=texts(values["tag"]),
        clients=texts(values["client"]),
        models=texts(values["model"]),
        allow=tuple(values["allow"]),
        deny=tuple(values["deny"]),
        local=values["require"] == "local",
        networks=tuple(values["networks"]),
        block=values["action"] == "block",
        message=values["message"] or "",
    )


def _check_network(problems: Problems, path: Path, text: str) -> None:
    try:
        ipaddress.ip_network(text)
    except ValueError as error:
        words = f'expected a network like "10.1.0.0/16", got {quoted(text)}'
        problems.add(path, f"{words} ({error})" if "host bits" in str(error) else words)
