"""Every field of an SDK's request type, as requests that differ in that one field.

Owns: the walk over TypedDicts, pydantic models, unions, literals and lists, and values that such a
field may really have. A new version of an SDK brings its new fields by itself.
Refuses to know: what becomes of a field in any format.
"""

from __future__ import annotations

import types
import typing
from base64 import b64encode
from collections import abc
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cache
from os import PathLike
from typing import IO, Any, Literal

import typing_extensions as ext
from pydantic import BaseModel

ABSENT: Any = object()
# Optional to the types, although nothing can be understood without them.
_MODELS_NEED = frozenset({"role", "function", "name"})
_DICTS_NEED = frozenset({"file_data", "image_url", "call_id"})
_PNG = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\1\0\0\0\1\x08\6\0\0\0"


@dataclass(frozen=True)
class Probe:
    """Two values that differ in one place. path: the place, "[]" for an element, "probe" for a value. words: the types
    (`type`, `role`) of the objects on the way there, by which a client would name the loss."""

    one: Any
    other: Any
    path: tuple[str, ...] = ()
    words: frozenset[str] = frozenset()
    note: str = field(default="", compare=False)

    def inside(self, step: str, wrap: Callable[[Any], Any], words: frozenset[str]) -> Probe:
        one, other = wrap(self.one), wrap(self.other)
        return replace(
            self, one=one, other=other, path=(step, *self.path), words=self.words | words
        )


def probes(kind: Any, fill: Fill) -> Iterator[Probe]:
    """All probes of one request type, each with two whole bodies."""
    yield from _Walk(fill).probes(kind, "", ())


Fill = Callable[[str, Any], "tuple[Any, Any] | None"]
"""(name of the member, its type) -> two legal values, or None where any would do."""


class _Walk:
    def __init__(self, fill: Fill) -> None:
        self.fill = fill

    # --- probes ---

    def probes(self, kind: Any, name: str, seen: tuple[Any, ...]) -> Iterator[Probe]:
        kind = plain(kind)
        given = self.fill(name, kind)
        if given is not None:
            yield Probe(given[0], given[1])
        elif is_union(kind):
            yield from self._union(kind, name, seen)
        elif (fields := fields_of(kind)) is not None:
            if kind not in seen:
                yield from self._object(kind, fields, (*seen, kind))
        elif (inner := element_of(kind)) is not None:
            for each in self.probes(inner, name, seen):
                yield each.inside("[]", _listed, frozenset())
        elif (inner := value_of(kind)) is not None:
            for each in self.probes(inner, name, seen):
                yield each.inside("probe", lambda value: {"probe": value}, frozenset())
        elif typing.get_origin(kind) is Literal:
            words = typing.get_args(kind)
            for word in words:
                yield Probe(word, words[0] if word != words[0] else ABSENT, note=str(word))
        elif kind is not type(None):
            one, other = two_of(kind, name)
            yield Probe(one, other)

    def _union(self, kind: Any, name: str, seen: tuple[Any, ...]) -> Iterator[Probe]:
        for each in typing.get_args(kind):
            if plain(each) is not type(None):
                yield from self.probes(each, name, seen)

    def _object(
        self, kind: Any, fields: Mapping[str, tuple[Any, bool]], seen: tuple[Any, ...]
    ) -> Iterator[Probe]:
        base = self.least(kind)
        words = words_of(base)
        for name, (inner, required) in fields.items():
            for each in self.probes(inner, name, seen):
                if each.other is ABSENT and required:
                    continue  # a constant: it says which object this is
                own = words | words_of({name: each.one} if each.path == () else {})
                yield each.inside(name, lambda v, n=name: _with(base, n, v), own)

    # --- the least value of a type ---

    def least(self, kind: Any, name: str = "") -> Any:
        kind = plain(kind)
        given = self.fill(name, kind)
        if given is not None:
            return given[0]
        if is_union(kind):
            return self.least(simplest(kind), name)
        if (fields := fields_of(kind)) is not None:
            wanted = {n: inner for n, (inner, required) in fields.items() if required}
            return {n: self.least(inner, n) for n, inner in wanted.items()}
        if (inner := element_of(kind)) is not None:
            return [self.least(inner, name)]
        if (inner := value_of(kind)) is not None:
            return {"probe": self.least(inner, name)}
        if typing.get_origin(kind) is Literal:
            return typing.get_args(kind)[0]
        return None if kind is type(None) else two_of(kind, name)[0]


def _with(base: Mapping[str, Any], name: str, value: Any) -> dict[str, Any]:
    out = dict(base)
    if value is ABSENT:
        out.pop(name, None)
    else:
        out[name] = value
    return out


def _listed(value: Any) -> Any:
    return ABSENT if value is ABSENT else [value]


def words_of(value: Mapping[str, Any]) -> frozenset[str]:
    given = (value.get(name) for name in ("type", "role"))
    return frozenset(word for word in given if isinstance(word, str))


# --- what a type is -------------------------------------------------------------------------------


def plain(kind: Any) -> Any:
    """The type itself, without Required, NotRequired, Annotated and names for it."""
    while True:
        origin = typing.get_origin(kind)
        if origin in (ext.Required, ext.NotRequired, typing.Required, typing.NotRequired):
            kind = typing.get_args(kind)[0]
        elif hasattr(kind, "__metadata__"):
            kind = kind.__origin__
        elif isinstance(kind, (ext.TypeAliasType, typing.TypeVar)):
            kind = kind.__value__
        else:
            return kind


def is_union(kind: Any) -> bool:
    return typing.get_origin(kind) in (typing.Union, types.UnionType)


def simplest(union: Any) -> Any:
    """The alternative that takes least to write: a string, else an object, else whatever is first."""
    kinds = [plain(each) for each in typing.get_args(union) if plain(each) is not type(None)]
    for each in kinds:
        if each is str:
            return each
    return kinds[0]


@cache
def fields_of(kind: Any) -> Mapping[str, tuple[Any, bool]] | None:
    """Names of an object's members with their types and whether each must be there."""
    if ext.is_typeddict(kind):
        hints = ext.get_type_hints(kind, include_extras=True)
        return {
            name: (hint, _required(hint, kind.__total__) or name in _DICTS_NEED)
            for name, hint in hints.items()
        }
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return {
            info.alias or name: (info.annotation, info.is_required() or name in _MODELS_NEED)
            for name, info in kind.model_fields.items()
        }
    return None


def _required(hint: Any, total: bool) -> bool:
    """Asked of the hint itself: what is written as text is not in `__required_keys__`."""
    origin = typing.get_origin(hint)
    if origin in (ext.Required, typing.Required):
        return True
    return total and origin not in (ext.NotRequired, typing.NotRequired)


def element_of(kind: Any) -> Any:
    origin = typing.get_origin(kind)
    if not isinstance(origin, type) or issubclass(origin, abc.Mapping):
        return None
    return typing.get_args(kind)[0] if issubclass(origin, abc.Iterable) else None


def value_of(kind: Any) -> Any:
    origin = typing.get_origin(kind)
    if isinstance(origin, type) and issubclass(origin, abc.Mapping):
        return typing.get_args(kind)[1]
    return None


# --- values ---------------------------------------------------------------------------------------


def two_of(kind: Any, name: str) -> tuple[Any, Any]:
    """Two different values of a plain type, such as a member of this name may have."""
    if kind is type(None):
        return None, None
    if kind is bool:
        return True, False
    if kind is int:
        return 1201, 1302
    if kind is float:
        return 0.31, 0.42
    if kind is str:
        return text_of(name, "one"), text_of(name, "two")
    if kind is datetime:
        return "2026-01-01T00:00:00Z", "2026-02-02T00:00:00Z"
    if kind in (object, Any) or kind is dict:
        return {"probe": "one"}, {"probe": "two"}
    if kind is bytes or typing.get_origin(kind) in (PathLike, IO) or _is_path(kind):
        return text_of("data", "one"), text_of("data", "two")
    raise TypeError(f"no value is known for {kind!r} ({name})")


def _is_path(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, PathLike)


def text_of(name: str, which: str) -> str:
    if name in ("data", "file_data", "image_data"):
        return picture(which)
    if name in ("url", "image_url", "file_url", "server_url", "external_web_url"):
        return f"https://example.com/{which}.png"
    if name in ("arguments", "partial_json"):
        return f'{{"probe":"{which}"}}'
    return f"probe_{which}"


def picture(which: str) -> str:
    return b64encode(_PNG + which.encode()).decode()


def folded(path: Sequence[str]) -> str:
    """`messages[].content[].text`"""
    return ".".join(path).replace(".[]", "[]")
