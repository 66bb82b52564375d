"""llmrouterd/detect/national.py: each form has its examples in tests/data/detect/national-id.txt."""

import pytest

from llmrouterd.detect.national import _FORMS, _LETTERED, national_ids
from tests.detect.labelled import all_lines

LINES = [line for line in all_lines() if any(kind == "national-id" for kind, _, _ in line.spans)]


def forms(text: str) -> list[str]:
    return [span.form for span in national_ids(text)]


def test_every_form_has_an_example_that_is_found() -> None:
    known = {form.name for form in _FORMS} | {name for name, *_ in _LETTERED}
    assert known - {form for line in LINES for form in forms(line.text)} == set()


@pytest.mark.parametrize(
    ("text", "form"),
    [
        ("536-90-4399", "us-ssn"),
        ("54362315K", "es-dni"),
        ("X2482300W", "es-nie"),
        ("85.07.30-033.28", "be-nrn"),
        ("756.9217.0769.85", "ch-ahv"),
        ("811228-9874", "se-pnr"),
        ("131052-308T", "fi-hetu"),
        ("15108695088", "no-fnr"),
        ("736028/5163", "cz-rc"),
        ("529.982.247-25", "br-cpf"),
        ("12.531.909-2", "cl-rut"),
        ("11010519491231002X", "cn-id"),
        ("S1234567D", "sg-nric"),
        ("8001015009087", "za-id"),
        ("RSSMRA85T10A562S", "it-cf"),
        ("HEGG560427MVZRRL04", "mx-curp"),
        ("2 55 08 14 168 025 38", "fr-nir"),
        ("36 574 261 809", "de-steuer-id"),
    ],
)
def test_what_proves_itself_needs_no_word(text: str, form: str) -> None:
    assert forms(f"x {text} y") == [form]


@pytest.mark.parametrize(
    ("word", "number", "form"),
    [
        ("BSN", "111222333", "nl-bsn"),
        ("PESEL", "44051401359", "pl-pesel"),
        ("NHS", "943 476 5919", "uk-nhs"),
        ("Aadhaar", "2341 2341 2346", "in-aadhaar"),
        ("kimlik", "10000000146", "tr-tckn"),
        ("cpr", "211062-5629", "dk-cpr"),
        ("pan", "ABCPE1234F", "in-pan"),
    ],
)
def test_what_proves_little_needs_its_word(word: str, number: str, form: str) -> None:
    assert forms(f"{word}: {number}") == [form]
    assert forms(f"order {number}") == []


@pytest.mark.parametrize("line", [line for line in LINES if len(line.spans) == 1])
def test_a_wrong_last_digit_is_found_in_no_form_with_a_check_digit(line) -> None:
    """Three kinds have no check digit, or need not have one."""
    ((_, _start, end),) = line.spans
    form = forms(line.text)[0]
    last = line.text[end - 1]
    if form in ("us-ssn", "uk-nino", "dk-cpr", "in-pan", "kr-rrn"):
        return
    wrong = [
        c for c in ("0123456789" if last.isdigit() else "ABCDEFGHJKLMNPQRSTUVWXYZ") if c != last
    ]
    kept = [c for c in wrong if form in forms(line.text[: end - 1] + c + line.text[end:])]
    assert len(kept) <= len(wrong) // 8
