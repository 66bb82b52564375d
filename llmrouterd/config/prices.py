"""`[[prices]]`, and the list of prices that ships with the program.

Owns: reading that table, reading prices.toml, and which of both a provider gets.
Refuses to know: which price holds in the end (route/price.py), what was used.

Law: the list that ships is for the vendor's own address alone. The same model costs something else
at another's.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from llmrouterd.config import keys
from llmrouterd.config.read import Problems, read
from llmrouterd.config.rules import check_name
from llmrouterd.model import Price, Provider

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


@dataclass(frozen=True, slots=True)
class OwnPrice:
    """One of `[[prices]]`. provider: the one it is for; "": every one."""

    provider: str
    price: Price


def read_prices(
    problems: Problems, tables: Sequence[Mapping[str, Any]], names: Sequence[str]
) -> tuple[OwnPrice, ...]:
    """names: of the providers that the file has."""
    return tuple(_own(problems, index, table, names) for index, table in enumerate(tables))


def _own(
    problems: Problems, index: int, table: Mapping[str, Any], names: Sequence[str]
) -> OwnPrice:
    values = read(problems, ("prices", index), table, keys.PRICE)
    if values["provider"]:
        check_name(problems, ("prices", index, "provider"), values["provider"], names)
    return OwnPrice(values["provider"] or "", _price(values))


def _price(values: Mapping[str, Any]) -> Price:
    model = values["model"] or ()
    return Price(
        (model,) if isinstance(model, str) else tuple(model),
        values["input"] or 0.0,
        values["output"] or 0.0,
        values.get("cached_input"),
        values.get("cache_write"),
        values.get("max_input_tokens") or 0,
    )


def with_prices(provider: Provider, own: Sequence[OwnPrice] = ()) -> Provider:
    """The provider with what its models cost, as far as that is known."""
    mine = tuple(each.price for each in own if each.provider in ("", provider.name))
    listed = _shipped().get(urlsplit(provider.base_url).hostname or "", ())
    return replace(provider, prices=mine, list_prices=listed) if mine or listed else provider


@cache
def _shipped() -> Mapping[str, tuple[Price, ...]]:
    """Host -> prices of its models."""
    return {
        vendor["host"]: tuple(_price(each) for each in vendor["prices"])
        for vendor in _document()["vendors"]
    }


def list_date() -> str:
    """The day on which the prices that ship were looked up, as YYYY-MM-DD."""
    return str(_document()["date"])


@cache
def _document() -> Mapping[str, Any]:
    return tomllib.loads(files("llmrouterd.config").joinpath("prices.toml").read_text("utf-8"))
