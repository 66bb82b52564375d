"""`[[clients]]`: who may come in with a key of its own, and what that key is good for.

Owns: reading and checking that table.
Refuses to know: the shared key ([server] api_key_env), how a key is offered and compared.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from llmrouterd.config import keys
from llmrouterd.config.credentials import own_key
from llmrouterd.config.nouns import KeyHolder
from llmrouterd.config.read import Problems, quoted, read
from llmrouterd.model import Allowance, Caller, Secret

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from llmrouterd.model import Provider
    from llmrouterd.tomlpos import Path


def read_clients(
    problems: Problems, tables: Sequence[Any], environ: Mapping[str, str], shared: Secret | None
) -> tuple[KeyHolder, ...]:
    """shared: the key of [server], which cannot be a client's too."""
    holders: list[KeyHolder] = []
    for index, table in enumerate(tables):
        values = read(problems, ("clients", index), table, keys.CLIENT)
        key = _key(problems, index, values, environ)
        _check_name(problems, index, values["name"], holders)
        if key is not None and _is_taken(key, shared, holders):
            problems.add(("clients", index, "key_env"), "another client has the same key")
        caller = Caller(
            name=values["name"] or "",
            models=tuple(values["models"]),
            strict=values["strict"],
            admin=values["admin"],
            allowance=_allowance(values),
            batch=values["priority"] == "batch",
        )
        if key is not None:
            holders.append(KeyHolder(key, caller))
    return tuple(holders)


def check_budgets(problems: Problems, tables: Sequence[Any], providers: Sequence[Provider]) -> None:
    """A client with a budget is not sent to a remote provider of which nobody knows the prices."""
    unpriced = [quoted(p.name) for p in providers if not p.local and not p.is_priced]
    for index, table in enumerate(tables):
        if unpriced and table.get("budget_usd_per_day"):
            words = f"no prices are declared for {', '.join(unpriced)}: this client cannot go there"
            problems.warn(("clients", index, "budget_usd_per_day"), words)


def _allowance(values: Mapping[str, Any]) -> Allowance | None:
    """None where nothing is limited."""
    allowance = Allowance(
        rpm=values["rpm"],
        tpm=values["tpm"],
        at_once=values["max_concurrency"],
        budget_usd_per_day=values["budget_usd_per_day"],
    )
    return None if allowance == Allowance() else allowance


def _key(
    problems: Problems, index: int, values: Mapping[str, Any], environ: Mapping[str, str]
) -> Secret | None:
    names = ("key_env", "key_file")
    if bool(values["key_env"]) == bool(values["key_file"]):
        problems.add(("clients", index), "give its key with key_env or key_file")
        return None
    here: Path = ("clients", index)
    return own_key(problems, here, values, names, environ, "remove this client")


def _check_name(
    problems: Problems, index: int, name: str | None, holders: Sequence[KeyHolder]
) -> None:
    if name and any(holder.caller.name == name for holder in holders):
        problems.add(("clients", index, "name"), f"there is another client {quoted(name)}")


def _is_taken(key: Secret, shared: Secret | None, holders: Sequence[KeyHolder]) -> bool:
    return key == shared or any(key == holder.key for holder in holders)
