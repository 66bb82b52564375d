"""The page's text, to the letter, and as Prometheus' own parsers read it."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.openmetrics import parser as openmetrics_parser
from prometheus_client.parser import text_string_to_metric_families

from llmrouterd.observe.exposition import (
    Distribution,
    Family,
    accepts_openmetrics,
    number,
    write,
)

COUNTER = Family("a_total", "counter", "Things.", ("who",))
GAUGE = Family("b", "gauge", "A level.")
TIMES = Family("c_seconds", "histogram", "Times.", ("who",), (0.5, 1))


def times(*counts: int, total: float) -> Distribution:
    made = Distribution(3)
    made.counts, made.total = list(counts), total
    return made


SAMPLES = {
    "a_total": {("x",): 2, ('y"\\\n',): 1},
    "b": {(): 0.25},
    "c_seconds": {("x",): times(1, 0, 2, total=7.5)},
}


def test_the_text_to_the_letter() -> None:
    assert write([COUNTER, GAUGE, TIMES], SAMPLES).decode().splitlines() == [
        "# HELP a_total Things.",
        "# TYPE a_total counter",
        'a_total{who="x"} 2',
        'a_total{who="y\\"\\\\\\n"} 1',
        "# HELP b A level.",
        "# TYPE b gauge",
        "b 0.25",
        "# HELP c_seconds Times.",
        "# TYPE c_seconds histogram",
        'c_seconds_bucket{who="x",le="0.5"} 1',
        'c_seconds_bucket{who="x",le="1.0"} 1',
        'c_seconds_bucket{who="x",le="+Inf"} 3',
        'c_seconds_sum{who="x"} 7.5',
        'c_seconds_count{who="x"} 3',
    ]


def test_openmetrics_names_a_counters_family_without_total_and_has_an_end() -> None:
    text = write([COUNTER], SAMPLES, openmetrics=True).decode()
    assert "# TYPE a counter\n" in text
    assert 'a_total{who="x"} 2\n' in text
    assert text.endswith("# EOF\n")


def test_a_family_without_samples_still_has_its_help_and_type() -> None:
    assert write([GAUGE], {}) == b"# HELP b A level.\n# TYPE b gauge\n"


@pytest.mark.parametrize(
    ("accept", "is_it"),
    [
        ("application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.4", True),
        ("text/plain", False),
        ("*/*", False),
        ("", False),
    ],
)
def test_who_asks_for_openmetrics_gets_it(accept: str, is_it: bool) -> None:
    assert accepts_openmetrics(accept) is is_it


def test_numbers_lose_nothing() -> None:
    assert (number(math.inf), number(3), number(0.1), number(1e-07)) == (
        "+Inf",
        "3",
        "0.1",
        "1e-07",
    )


@given(st.dictionaries(st.tuples(st.text()), st.integers(0, 2**53), max_size=5))
def test_any_label_is_read_back_by_both_parsers(samples: dict[tuple[str, ...], float]) -> None:
    text = write([COUNTER], {"a_total": samples}).decode()
    sane = {labels[0]: float(value) for labels, value in samples.items()}
    [family] = list(text_string_to_metric_families(text))
    assert {each.labels["who"]: each.value for each in family.samples} == sane
    text = write([COUNTER], {"a_total": samples}, openmetrics=True).decode()
    [family] = list(openmetrics_parser.text_string_to_metric_families(text))
    assert {each.labels["who"]: each.value for each in family.samples} == sane


def test_half_a_surrogate_pair_is_no_text_that_could_be_written() -> None:
    assert write([COUNTER], {"a_total": {("a\ud800",): 1}}).endswith(b'a_total{who="a?"} 1\n')
