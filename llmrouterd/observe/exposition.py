"""Metrics as text: the Prometheus format 0.0.4, and OpenMetrics 1.0 for who asks for it.

Owns: what a metric family is, and how families and samples are written.
Refuses to know: what is counted (metrics.py), HTTP.

Laws:
1. Bytes from values, nothing else: the same families and samples give the same page.
2. Every family has its HELP and TYPE on the page, with samples or without.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

PROMETHEUS = "text/plain; version=0.0.4; charset=utf-8"
OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"
_ESCAPES = str.maketrans({"\\": r"\\", "\n": r"\n", '"': r"\""})
_HELP_ESCAPES = str.maketrans({"\\": r"\\", "\n": r"\n"})


@dataclass(frozen=True, slots=True)
class Family:
    """One metric. bounds: the upper bounds of a histogram's buckets, without the infinite one."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    help: str
    labels: tuple[str, ...] = ()
    bounds: tuple[float, ...] = ()


class Distribution:
    """How many observations fell into each bucket of a histogram, and their sum. The last bucket is
    the infinite one."""

    __slots__ = ("counts", "total")

    def __init__(self, buckets: int) -> None:
        self.counts = [0] * buckets
        self.total = 0.0


Value = float | Distribution
Samples = dict[tuple[str, ...], Value]  # a family's values, by the values of its labels


def accepts_openmetrics(accept: str) -> bool:
    """Whether a scraper with this Accept field reads OpenMetrics."""
    return "application/openmetrics-text" in accept.lower()


def write(
    families: Iterable[Family],
    samples: Mapping[str, Mapping[tuple[str, ...], Value]],
    *,
    openmetrics: bool = False,
) -> bytes:
    """The page. samples: by the family's name."""
    lines: list[str] = []
    for family in families:
        lines += _head(family, openmetrics)
        found = samples.get(family.name, {})
        if family.kind == "histogram":
            lines += _buckets(family, found)
        else:
            name = family.name
            lines += [
                f"{name}{_braced(_pairs(family, labels))} {number(value)}"
                for labels, value in found.items()
                if not isinstance(value, Distribution)
            ]
    if openmetrics:
        lines.append("# EOF")
    return ("\n".join(lines) + "\n").encode("utf-8", "replace")


def _head(family: Family, openmetrics: bool) -> Sequence[str]:
    name = family.name
    if openmetrics and family.kind == "counter":
        name = name.removesuffix("_total")
    told = family.help.translate(_ESCAPES if openmetrics else _HELP_ESCAPES)
    return f"# HELP {name} {told}", f"# TYPE {name} {family.kind}"


def _buckets(family: Family, samples: Mapping[tuple[str, ...], Value]) -> Iterator[str]:
    """The lines of a histogram. Most of a page is these, so what they share is made once."""
    name = family.name
    edges = [f'le="{number(float(bound))}"}} ' for bound in (*family.bounds, math.inf)]
    for labels, value in samples.items():
        assert isinstance(value, Distribution)
        pairs = _pairs(family, labels)
        before, braced = f"{name}_bucket{{{pairs}{',' if pairs else ''}", _braced(pairs)
        count = 0
        for edge, here in zip(edges, value.counts, strict=True):
            count += here
            yield f"{before}{edge}{count}"
        yield f"{name}_sum{braced} {number(value.total)}"
        yield f"{name}_count{braced} {count}"


def _pairs(family: Family, values: tuple[str, ...]) -> str:
    return ",".join(
        f'{label}="{text.translate(_ESCAPES)}"'
        for label, text in zip(family.labels, values, strict=True)
    )


def _braced(pairs: str) -> str:
    return f"{{{pairs}}}" if pairs else ""


def number(value: float) -> str:
    if value == math.inf:
        return "+Inf"
    return repr(value)
