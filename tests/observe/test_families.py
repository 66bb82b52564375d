"""The names of all metrics, held to what promtool and Prometheus' rules ask for."""

import re

import pytest

from llmrouterd.observe.exposition import Family
from llmrouterd.observe.families import CIRCUITS, FAMILIES
from llmrouterd.observe.metrics import SERIES

NAME = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*\Z")
# what stands for a unit or for a count of things, and what never does
NO_BASE_UNITS = ("_ms", "_milliseconds", "_minutes", "_hours", "_kb", "_mb", "_percent", "_kib")
RESERVED = ("le", "quantile", "instance", "job", "__name__")
EACH = pytest.mark.parametrize("family", FAMILIES.values(), ids=lambda each: each.name)


def lint(family: Family) -> list[str]:
    """What promtool check metrics would say."""
    name, found = family.name, []
    if not NAME.match(name):
        found.append("not in snake case")
    if name.endswith("_total") is not (family.kind == "counter"):
        found.append("_total is for counters, and for all of them")
    if name.endswith(("_count", "_sum", "_bucket")):
        found.append("ends as a histogram's lines do")
    if any(unit in name + "_" for unit in (f"{each}_" for each in NO_BASE_UNITS)):
        found.append("not a base unit")
    if family.kind == "histogram" and not name.endswith("_seconds"):
        found.append("a histogram of what?")
    if family.kind in ("counter", "gauge", "histogram") and family.kind in name.split("_"):
        found.append("names its type")
    if not family.help or not family.help.endswith("."):
        found.append("no help")
    if any(not NAME.match(label) or label in RESERVED for label in family.labels):
        found.append("a label's name")
    return found


@EACH
def test_the_name_keeps_the_rules(family: Family) -> None:
    assert not lint(family)


@pytest.mark.parametrize(
    "family",
    [
        Family("requests", "counter", "X."),
        Family("level_total", "gauge", "X."),
        Family("took_ms", "gauge", "X."),
        Family("Took_seconds", "gauge", "X."),
        Family("took", "histogram", "X."),
        Family("a_counter_total", "counter", "X."),
        Family("a_total", "counter", ""),
        Family("a_total", "counter", "X.", ("le",)),
    ],
)
def test_an_offence_is_found(family: Family) -> None:
    assert lint(family)


@EACH
def test_ours_say_whose_they_are(family: Family) -> None:
    assert family.name.startswith(("llmrouter_", "process_"))


@EACH
def test_buckets_rise_and_are_few(family: Family) -> None:
    assert list(family.bounds) == sorted(set(family.bounds))
    assert bool(family.bounds) is (family.kind == "histogram")
    assert len(family.bounds) <= 15


def test_no_name_is_another_ones_line() -> None:
    lines = [
        f"{family.name}{end}"
        for family in FAMILIES.values()
        for end in (("_bucket", "_sum", "_count") if family.bounds else ("",))
    ]
    assert len(set(lines)) == len(lines)


def test_the_table_is_a_page_that_a_server_can_hold() -> None:
    assert len(FAMILIES) * SERIES < 50_000
    assert CIRCUITS == ("closed", "open", "half_open")
