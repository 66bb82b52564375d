"""The text of a PDF: page after page, within bounds, and why there is none."""

import json
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmrouterd.apart import pdftext
from tests.fakes.pdf import circular, document, encrypted, pages, pdf, shown, stream

BOUNDS = {"seconds": 60, "max_pages": 10, "max_chars": 1000}


@pytest.fixture(autouse=True)
def log_as_it_was():
    import logging

    yield
    logging.disable(logging.NOTSET)


def read(data: bytes, **bounds: object) -> dict:
    return json.loads(pdftext.extract(data, {**BOUNDS, **bounds}))


def test_pages_are_numbered_and_those_without_text_counted() -> None:
    assert read(pdf("Hello", "", "World")) == {
        "text": "[Page 1]\nHello\n\n[Page 3]\nWorld",
        "pages": 3,
        "read": 3,
        "empty": 1,
        "cut": "",
    }


@pytest.mark.parametrize(
    ("bounds", "text", "read_", "cut"),
    [
        ({"max_pages": 2}, "[Page 1]\nabcd\n\n[Page 2]\nefgh", 2, "pages"),
        ({"max_pages": 3}, "[Page 1]\nabcd\n\n[Page 2]\nefgh\n\n[Page 3]\nijkl", 3, ""),
        ({"max_chars": 6}, "[Page 1]\nabcd\n\n[Page 2]\nef", 2, "length"),
        ({"max_chars": 8}, "[Page 1]\nabcd\n\n[Page 2]\nefgh", 2, "length"),
        ({"seconds": 0}, "[Page 1]\nabcd", 1, "time"),
    ],
)
def test_what_is_over_a_bound_is_left_out_and_said(bounds, text, read_, cut) -> None:
    said = read(pdf("abcd", "efgh", "ijkl"), **bounds)
    assert (said["text"], said["read"], said["pages"], said["cut"]) == (text, read_, 3, cut)


def test_the_last_page_may_be_cut_within() -> None:
    assert read(pdf("abcd"), max_chars=2)["cut"] == "length"
    assert read(pdf("abcd"), max_chars=4)["cut"] in ("", "length")


def test_a_page_that_cannot_be_read_has_no_text_and_the_others_have() -> None:
    broken = stream(b"junk", b"/Filter /FlateDecode ")
    said = read(pages(stream(shown("one")), broken, stream(shown("three"))))
    assert said["text"] == "[Page 1]\none\n\n[Page 3]\nthree"
    assert said["empty"] == 1


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b"", "broken"),
        (b"nothing of the kind", "broken"),
        (pdf("Hello")[:200], "broken"),
        (circular(), "broken"),
        (document([b"<< /Type /Catalog >>"]), "broken"),
        (encrypted(), "encrypted"),
    ],
    ids=["empty", "other", "cut", "circular", "no-pages", "encrypted"],
)
def test_why_there_is_no_text(data: bytes, error: str) -> None:
    said = read(data)
    assert said.get("error", "") == error or not said["text"]
    if error == "encrypted":
        assert said == {"error": "encrypted"}


def test_without_pypdf_it_says_so(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "pypdf", None)
    assert read(pdf("x")) == {"error": "missing"}


@pytest.mark.slow
@given(st.binary(max_size=40), st.integers(0, 600), st.integers(0, 40))
def test_whatever_is_damaged_the_answer_is_an_answer(junk: bytes, at: int, gone: int) -> None:
    whole = pdf("Hello", "World")
    said = read(whole[:at] + junk + whole[at + gone :])
    assert said.keys() in ({"error"}, {"text", "pages", "read", "empty", "cut"})
