"""The names of all metrics, held to what promtool and Prometheus' rules ask for."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from llmrouterd.observe.exposition import Family
from llmrouterd.observe.families import CIRCUITS, FAMILIES
from llmrouterd.observe.metrics import SERIES
from tests.fakes import promql

NAME = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*\Z")
# what stands for a unit or for a count of things, and what never does
NO_BASE_UNITS = ("_ms", "_milliseconds", "_minutes", "_hours", "_kb", "_mb", "_percent", "_kib")
RESERVED = ("le", "quantile", "instance", "job", "__name__")
ROOT = Path(__file__).parent.parent.parent
PAGE = (ROOT / "docs" / "observability.md").read_text("utf-8")
GRAFANA = json.loads((ROOT / "contrib" / "grafana.json").read_text("utf-8"))
USED = re.compile(r"\b(?:llmrouter|process)_[a-z0-9_]+")
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


# --- who uses the names ---------------------------------------------------------------------------


def lines() -> set[str]:
    """What a query may name."""
    return {
        f"{family.name}{end}"
        for family in FAMILIES.values()
        for end in (("_bucket", "_sum", "_count") if family.bounds else ("",))
    }


def queries(value: Any) -> Iterator[str]:
    """Every expression and every variable's query of the dashboard."""
    match value:
        case dict():
            for key, each in value.items():
                if key in ("expr", "definition") or (key == "query" and isinstance(each, str)):
                    yield each
                else:
                    yield from queries(each)
        case list():
            for each in value:
                yield from queries(each)


def test_the_dashboard_asks_only_for_metrics_that_there_are() -> None:
    named = {name for query in queries(GRAFANA) for name in USED.findall(query)}
    assert len(named) > 20
    assert not named - lines()


def test_every_metric_of_ours_is_on_the_dashboard() -> None:
    text = json.dumps(GRAFANA)
    left_out = {"llmrouter_draining"}
    ours = {name for name in FAMILIES if name.startswith("llmrouter_")}
    assert {name for name in ours if name not in text} == left_out


def expressions() -> list[str]:
    """Those of the dashboard's panels, and those of the alert rules that the page proposes."""
    panels = [target["expr"] for panel in GRAFANA["panels"] for target in panel.get("targets", ())]
    rules = re.findall(r"expr: (?:\|\n((?: {10,}.*\n)+)|(.+)\n)", PAGE)
    assert len(rules) == PAGE.count("- alert:")
    return [*panels, *(" ".join(rule).strip() for rule in rules)]


@pytest.mark.parametrize("expression", expressions())
def test_a_query_is_one_and_uses_only_labels_that_its_metrics_have(expression: str) -> None:
    """Those of the scrape come from Prometheus itself."""
    query = promql.read(expression)
    assert query.kind == "vector"
    assert query.selectors
    for selector in query.selectors:
        name = selector.metric
        if name == "up":  # Prometheus' own
            continue
        family = FAMILIES.get(name) or FAMILIES[re.sub("_(bucket|sum|count)$", "", name)]
        labels = {*family.labels, "job", "instance", *(("le",) if family.bounds else ())}
        assert {label for label, _, _ in selector.matchers} <= labels
        assert query.labels <= labels


@pytest.mark.parametrize(
    "text",
    [
        "",
        "sum(",
        "sum(a))",
        "rate(a)",
        "sum(rate(a[5m])",
        "rate(a[5])",
        "guess(a[5m])",
        "a{b=c}",
        'a{b>"c"}',
        "a[5m] / 2",
        "sum by le (a)",
        "histogram_quantile(a, 0.5)",
        "a b",
        "a ? b",
    ],
)
def test_what_is_no_query_is_found(text: str) -> None:
    with pytest.raises(promql.Wrong):
        promql.read(text)


def test_the_dashboard_is_one_that_grafana_can_place() -> None:
    panels = GRAFANA["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        at = panel["gridPos"]
        cells = {(at["x"] + i, at["y"] + j) for i in range(at["w"]) for j in range(at["h"])}
        assert not cells & taken, panel["title"]
        assert at["x"] + at["w"] <= 24
        taken |= cells
        assert panel["type"] == "row" or all(each["expr"] for each in panel["targets"])


def test_every_metric_is_described_with_its_labels() -> None:
    for family in FAMILIES.values():
        [row] = [
            row for row in PAGE.splitlines() if row.startswith("|") and f"`{family.name}`" in row
        ]
        if not family.name.startswith("process_"):
            assert all(f"`{label}`" in row for label in family.labels)
            assert f"| {family.kind} |" in row


def test_the_page_names_no_metric_that_there_is_not() -> None:
    assert not set(USED.findall(PAGE)) - lines() - FAMILIES.keys()
