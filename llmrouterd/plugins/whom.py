"""For whom a plugin's setting is meant, and how its tables are read.

    models = ["llama*", "ollama/*"]
    clients = ["guest"]
    tags = ["code"]

Owns: `Whom`, and the checks of single values inside tables that the configuration leaves to plugins.
Refuses to know: what is done for those it is meant for.

Law: all that is given must be so, of each list one is enough, and nothing given means everybody.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from formats.canonical import Request
    from llmrouterd.hooks import Context

KEYS = ("models", "clients", "tags")


@dataclass(frozen=True, slots=True)
class Whom:
    """models, clients: globs. tags: of the classifiers or the client's own, in any case."""

    models: tuple[str, ...] = ()
    clients: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()

    def has(self, request: Request, ctx: Context) -> bool:
        return (
            (not self.models or _any_glob(names_of(request.model), self.models))
            and (not self.clients or _any_glob((ctx.client,), self.clients))
            and (not self.tags or not {tag.casefold() for tag in ctx.tags}.isdisjoint(self.tags))
        )


def names_of(model: str) -> tuple[str, ...]:
    """What a model may be meant by: servers hear its name in any case, with `:latest` or without it,
    and behind `provider/`."""
    name = model.lower()
    bare = name.removesuffix(":latest")
    return (name, bare, bare.partition("/")[2] or bare)


def _any_glob(names: Collection[str], globs: Sequence[str]) -> bool:
    return any(fnmatchcase(name, glob) for glob in globs for name in names)


# --- settings -------------------------------------------------------------------------------------


def whom(table: Mapping[str, Any], at: str) -> Whom:
    """at: what stands before the keys in messages. Raises ValueError."""
    models = tuple(glob.lower() for glob in texts(table, "models", at))
    tags = tuple(tag.casefold() for tag in texts(table, "tags", at))
    return Whom(models, texts(table, "clients", at), tags)


def texts(table: Mapping[str, Any], key: str, at: str) -> tuple[str, ...]:
    given = table.get(key, ())
    right = isinstance(given, Sequence) and not isinstance(given, str)
    if not right or not all(isinstance(each, str) and each.strip() for each in given):
        raise ValueError(f"{at}{key}: expected a list of texts")
    return tuple(given)


def choice(table: Mapping[str, Any], key: str, of: Sequence[str], at: str) -> str:
    """One of some words; the first where nothing is said."""
    given = table.get(key, of[0])
    if given not in of:
        raise ValueError(f"{at}{key}: expected one of {', '.join(of)}")
    return str(given)


def switch(table: Mapping[str, Any], key: str, at: str) -> bool:
    given = table.get(key, False)
    if not isinstance(given, bool):
        raise ValueError(f"{at}{key}: expected true or false")
    return given


def tables(
    settings: Mapping[str, Any], key: str, known: Collection[str]
) -> Iterator[tuple[Mapping[str, Any], str]]:
    """Each table of a list, with what stands before its keys in messages."""
    for index, table in enumerate(settings.get(key, ())):
        at = f"{key}[{index}]."
        if not isinstance(table, Mapping):
            raise ValueError(f"{key}[{index}]: expected a table")
        for name in table:
            if name not in known:
                raise ValueError(f"{at}{name}: unknown key, there are {', '.join(known)}")
        yield table, at
