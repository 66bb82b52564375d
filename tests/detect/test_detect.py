"""llmrouterd/detect/__init__.py: all detectors on labelled lines, and on texts made to slow them down."""

import re
import time
from collections import Counter
from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from llmrouterd.detect import DETECTORS, LONGEST, NEAR, PII, SECRETS, find
from tests.detect.labelled import all_lines, read

# As measured on the labelled lines; a change that finds less, or more than there is, fails here.
RECALL = {
    "private-key": 1.0,
    "api-key": 1.0,
    "token": 1.0,
    "password": 38 / 41,
    "iban": 1.0,
    "card": 1.0,
    "national-id": 1.0,
    "email": 1.0,
    "phone": 97 / 98,
}
PRECISION = dict.fromkeys(DETECTORS, 1.0)


def measured() -> dict[str, tuple[int, int, int]]:
    """kind -> what was found rightly, what wrongly, what was missed."""
    right, wrong, missed = Counter(), Counter(), Counter()
    for line in all_lines():
        found = {(span.kind, span.start, span.end) for span in find(line.text)}
        right.update(kind for kind, _, _ in found & line.spans)
        wrong.update(kind for kind, _, _ in found - line.spans)
        missed.update(kind for kind, _, _ in line.spans - found)
    return {kind: (right[kind], wrong[kind], missed[kind]) for kind in DETECTORS}


@pytest.mark.slow
def test_each_detector_is_as_good_on_the_labelled_lines_as_it_was(capsys) -> None:
    figures = measured()
    with capsys.disabled():
        print(f"\n{'detector':12} right wrong missed  precision  recall")  # noqa: T201
        for kind, (right, wrong, missed) in figures.items():
            precision, recall = right / (right + wrong), right / (right + missed)
            row = f"{kind:12} {right:5} {wrong:5} {missed:6}  {precision:9.3f}  {recall:6.3f}"
            print(row)  # noqa: T201
    for kind, (right, wrong, missed) in figures.items():
        assert right >= 25, kind  # fewer would say nothing
        assert right / (right + wrong) >= PRECISION[kind], kind
        assert right / (right + missed) >= RECALL[kind], kind


def test_the_labelled_lines_are_of_both_kinds() -> None:
    lines = all_lines()
    assert sum(bool(line.spans) for line in lines) >= 400
    assert sum(not line.spans for line in lines) >= 300
    assert {kind for line in lines for kind, _, _ in line.spans} == set(DETECTORS)


def test_a_label_is_read_as_it_is_meant() -> None:
    line = read("a ⟦email:b@c.de⟧ ⟦api-key:s¦k-1⏎2⟧")
    assert line.text == "a b@c.de sk-1\n2"
    assert line.spans == {("email", 2, 8), ("api-key", 9, 15)}


def test_every_kind_is_personal_or_secret() -> None:
    assert {*PII, *SECRETS} == set(DETECTORS)
    assert not set(PII) & set(SECRETS)


def test_only_the_kinds_that_are_asked_for_are_found() -> None:
    text = "anna@zeit.de, 4111 1111 1111 1111"
    assert [span.kind for span in find(text)] == ["email", "card"]
    assert [span.kind for span in find(text, ["card"])] == ["card"]
    assert find(text, []) == []


@pytest.mark.slow
def test_all_lines_in_one_text_are_found_as_each_alone() -> None:
    """What stands around does not matter, as long as lines are apart."""
    lines = all_lines()
    text, wanted = "", set()
    for line in lines:
        wanted |= {(s.kind, s.start + len(text), s.end + len(text)) for s in find(line.text)}
        text += line.text + "\n\n" + "." * 80 + "\n\n"
    found = {(span.kind, span.start, span.end) for span in find(text)}
    assert found == wanted


# --- laws -----------------------------------------------------------------------------------------

PIECES = st.sampled_from(
    [line.text for line in all_lines() if len(line.text) < 100]
    + ["@", "+", "1", " ", "-", "://", "password=", "sk-", "eyJ", "AA00", "\n", "é", "\ud800", "İ"]
)


LENGTHY = st.builds(
    "".join,
    st.tuples(
        st.sampled_from(
            ["", "sk-ant-api03-", "password=", "eyJ", "Bearer ", "-----BEGIN PRIVATE KEY-----"]
        ),
        st.integers(1, 3).map(lambda n: "aB3dE5gH7" * 10**n),
        st.sampled_from(["", "@", ".eyJ", "@b.de", "\n"]),
    ),
)


@pytest.mark.slow
@settings(max_examples=150, deadline=None)
@given(st.lists(PIECES | st.text(max_size=5), max_size=12))
def test_spans_are_in_order_apart_and_say_what_stands_there(pieces) -> None:
    text = "".join(pieces)
    past = 0
    for span in find(text):
        assert past <= span.start < span.end <= len(text)
        assert text[span.start : span.end] == span.value
        past = span.end


@pytest.mark.slow
@settings(max_examples=100, deadline=None)
@given(st.lists(PIECES | LENGTHY, max_size=6))
def test_no_find_is_longer_than_is_said(pieces) -> None:
    text = "".join(pieces)
    for kind, detector in DETECTORS.items():
        assert all(span.end - span.start <= LONGEST[kind] for span in detector(text))


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(st.lists(PIECES, min_size=1, max_size=6), st.sampled_from([" ", "\n", ";"]))
def test_what_stands_far_before_a_find_does_not_matter(pieces, gap: str) -> None:
    text = "".join(pieces)
    before = (gap + "x") * NEAR + gap * 2
    near = {(s.kind, s.start - len(before), s.value) for s in find(before + text)}
    far = "password: ssn tel. -----BEGIN //" + before
    assert {(s.kind, s.start - len(far), s.value) for s in find(far + text)} == near


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(st.lists(PIECES, max_size=8))
def test_whatever_a_detector_finds_is_covered_by_what_is_found_together(pieces) -> None:
    text = "".join(pieces)
    covered = {at for span in find(text) for at in range(span.start, span.end)}
    for detector in DETECTORS.values():
        for span in detector(text):
            assert covered.issuperset(range(span.start, span.end))


# --- time -----------------------------------------------------------------------------------------

SIZE = 4_000
FOUR_TIMES = 9.0  # what takes time in step with the text takes 4; with its square, 16
NASTY = [
    *("1", "1 ", "12-", "1.", "(1", "+1", "+1 ", "a", "a.", "A", "AA00", "AA00 ", "DE89 ", "4111 "),
    *(
        "@",
        "a@",
        "@a",
        "a@a.",
        "a@a.aa",
        ".@",
        "sk-",
        "sk-a1",
        "ghp_",
        "SG.",
        "SK0a",
        "eyJ",
        "eyJa.eyJ",
    ),
    *(
        "://",
        "://a:",
        "://a:b@",
        "password=",
        "password: ",
        "secret",
        "token=a",
        "api_key='",
        "Bearer ",
    ),
    *(
        "-----BEGIN ",
        "-----BEGIN PRIVATE KEY-----\n",
        "-----END PRIVATE KEY-----",
        ":AA",
        "12345678:AA",
    ),
    *(
        "ssn ",
        "ssn 1",
        "tel",
        "é",
        "\n",
        "\\n",
        "0",
        "00 ",
        "9999 9999 ",
        "ABCDEF85",
        "2A",
        "İ",
        '"',
    ),
]


def cpu_s(text: str, work: Callable[[str], object]) -> float:
    begun = time.process_time()
    work(text)
    return time.process_time() - begun


def grows_evenly(unit: str, work: Callable[[str], object] = find, size: int = SIZE) -> bool:
    """Whether four times the text takes about four times the work: of several tries, the best."""
    short, long = unit * (size // len(unit)), unit * (4 * size // len(unit))
    for _ in range(4):
        base = min(cpu_s(short, work) for _ in range(2))
        if cpu_s(long, work) < FOUR_TIMES * base + 0.002:
            return True
    return False


@pytest.mark.slow
def test_the_measure_tells_a_square_from_a_line() -> None:
    square = re.compile(r"\d+x")  # from each digit on to the end
    assert not grows_evenly("1", lambda text: list(square.finditer(text)), 1000)
    assert grows_evenly("1", lambda text: [each for _ in range(50) for each in text], 1000)


@pytest.mark.slow
@pytest.mark.parametrize("unit", NASTY)
def test_four_times_the_text_takes_four_times_the_work(unit: str) -> None:
    assert grows_evenly(unit)


@pytest.mark.slow
@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.text(alphabet="019 aAeyJsk@.:/-+_=\"'\n()&", min_size=1, max_size=12))
def test_no_text_that_repeats_itself_takes_more_than_its_share(unit: str) -> None:
    assert grows_evenly(unit)
