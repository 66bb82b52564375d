"""Reads queries of Prometheus, as far as dashboards and alert rules need its language: selectors,
ranges, functions, aggregations, operators. Who gives a function the wrong kind of value is told so.

Written after Prometheus' own grammar; what is not in here is refused, not guessed.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

Kind = Literal["scalar", "vector", "matrix"]
_TOKEN = re.compile(
    r"""\s*(?:(?P<duration>\d+(?:ms|[smhdwy])|\$__rate_interval|\$__range)(?![\w.])
    |(?P<number>\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)
    |(?P<name>[a-zA-Z_:][a-zA-Z0-9_:]*)
    |(?P<string>"(?:[^"\\]|\\.)*")
    |(?P<sign>=~|!~|!=|==|>=|<=|[-+*/%^<>=(){}\[\],]))""",
    re.VERBOSE,
)
# what it is given, what comes of it
FUNCTIONS: dict[str, tuple[list[Kind], Kind]] = {
    "rate": (["matrix"], "vector"),
    "increase": (["matrix"], "vector"),
    "max_over_time": (["matrix"], "vector"),
    "histogram_quantile": (["scalar", "vector"], "vector"),
}
AGGREGATIONS = {"sum", "max", "min", "avg", "count"}
_RANKS = [{"==", "!=", ">", "<", ">=", "<="}, {"+", "-"}, {"*", "/", "%"}]


class Wrong(Exception):
    """It is no query."""


@dataclass(frozen=True)
class Selector:
    """matchers: label, operator, value."""

    metric: str
    matchers: tuple[tuple[str, str, str], ...]


@dataclass
class Query:
    """What a text asks for. labels: those that results are grouped by."""

    kind: Kind
    selectors: list[Selector]
    labels: set[str]


def read(text: str) -> Query:
    """Raises Wrong."""
    reading = _Reading(_tokens(text))
    kind = reading.operation(0)
    if reading.left:
        raise Wrong(f"{reading.left[0][1]!r} comes after the end of {text!r}")
    return Query(kind, reading.selectors, reading.labels)


def _tokens(text: str) -> list[tuple[str, str]]:
    found, at = [], 0
    while at < len(text.rstrip()):
        match = _TOKEN.match(text, at)
        if match is None or match.lastgroup is None:
            raise Wrong(f"what is {text[at : at + 20]!r}?")
        found.append((match.lastgroup, match[match.lastgroup]))
        at = match.end()
    return found


class _Reading:
    def __init__(self, tokens: list[tuple[str, str]]) -> None:
        self.left = tokens
        self.selectors: list[Selector] = []
        self.labels: set[str] = set()

    def operation(self, rank: int) -> Kind:
        if rank == len(_RANKS):
            return self._operand()
        kind = self.operation(rank + 1)
        while self._peek() in _RANKS[rank]:
            self._take("sign")
            other = self.operation(rank + 1)
            if "matrix" in (kind, other):
                raise Wrong("a range cannot be reckoned with")
            kind = "scalar" if kind == other == "scalar" else "vector"
        return kind

    def _operand(self) -> Kind:
        if self._peek() == "(":
            self._take("sign", "(")
            kind = self.operation(0)
            self._take("sign", ")")
            return kind
        if self._kind() == "number":
            self._take("number")
            return "scalar"
        name = self._take("name")
        if name in AGGREGATIONS:
            return self._aggregation()
        if self._peek() == "(":
            return self._function(name)
        return self._selector(name)

    def _aggregation(self) -> Kind:
        grouped = self._grouping()
        if self._arguments() != ["vector"]:
            raise Wrong("an aggregation takes one vector")
        if not grouped:
            self._grouping()
        return "vector"

    def _grouping(self) -> bool:
        if self._peek() not in ("by", "without"):
            return False
        self._take("name")
        self._take("sign", "(")
        while self._peek() != ")":
            self.labels.add(self._take("name"))
            if self._peek() != ")":
                self._take("sign", ",")
        self._take("sign", ")")
        return True

    def _function(self, name: str) -> Kind:
        if name not in FUNCTIONS:
            raise Wrong(f"there is no function {name}")
        wanted, kind = FUNCTIONS[name]
        if (given := self._arguments()) != wanted:
            raise Wrong(f"{name} takes {wanted}, not {given}")
        return kind

    def _arguments(self) -> list[Kind]:
        self._take("sign", "(")
        given = [self.operation(0)]
        while self._peek() == ",":
            self._take("sign", ",")
            given.append(self.operation(0))
        self._take("sign", ")")
        return given

    def _selector(self, name: str) -> Kind:
        matchers = []
        if self._peek() == "{":
            self._take("sign", "{")
            while self._peek() != "}":
                label, operator = self._take("name"), self._take("sign")
                if operator not in ("=", "!=", "=~", "!~"):
                    raise Wrong(f"labels are not compared with {operator}")
                value = self._take("string")[1:-1]
                matchers.append((label, operator, value))
                if self._peek() != "}":
                    self._take("sign", ",")
            self._take("sign", "}")
        self.selectors.append(Selector(name, tuple(matchers)))
        if self._peek() != "[":
            return "vector"
        self._take("sign", "[")
        self._take("duration")
        self._take("sign", "]")
        return "matrix"

    def _peek(self) -> str:
        return self.left[0][1] if self.left else ""

    def _kind(self) -> str:
        return self.left[0][0] if self.left else ""

    def _take(self, kind: str, text: str = "") -> str:
        if self._kind() != kind or (text and self._peek() != text):
            raise Wrong(f"{text or kind} is wanted, not {self._peek() or 'the end'!r}")
        return self.left.pop(0)[1]
