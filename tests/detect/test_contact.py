"""llmrouterd/detect/contact.py"""

import pytest

from llmrouterd.detect.contact import emails, phones


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("jane.doe@acme.io", "jane.doe@acme.io"),
        ("<o'brien@tcd.ie>", "o'brien@tcd.ie"),
        ("'a@b.org'", "a@b.org"),
        ("邮箱是user@qq.com谢谢", "user@qq.com"),
        ("x@müller-bau.de.", "x@müller-bau.de"),
        ("a+b%c_d-e@sub.domain.co.uk,", "a+b%c_d-e@sub.domain.co.uk"),
        ("mailto:kim@mail.kr?subject=x", "kim@mail.kr"),
        ("..x@y.io", "x@y.io"),
        ("\\nkim@mail.kr", "nkim@mail.kr"),
    ],
)
def test_an_address_is_found(text: str, address: str) -> None:
    assert [span.value for span in emails(text)] == [address]


@pytest.mark.parametrize(
    "text",
    [
        *(
            "@",
            "a@",
            "@b.de",
            "a@b",
            "a@b.c",
            "a@.de",
            "a..b@c.de",
            "a.@c.de",
            "a @b.de",
            "a@b .de",
        ),
        *("icon@2x.png", "user@1000.service", "react@18.2.0", "a@b.local", "x@y.test"),
        *("noreply@firm.de", "no-reply@x.com", "git@github.com", "root@host.firm.de"),
        *("jane@example.com", "jane@mail.example.org", "1+x@users.noreply.github.com"),
        *("http://user:pw@host.de/", "https://me@host.de", "https://site.de/@name.com/x"),
        "a" * 65 + "@b.de",
        "a@" + "b." * 12 + "de",
    ],
)
def test_what_is_nobodys_is_no_address(text: str) -> None:
    assert list(emails(text)) == []


def test_two_addresses_side_by_side_are_two() -> None:
    assert [s.value for s in emails("a@b.de,c@d.fr;e@f.it")] == ["a@b.de", "c@d.fr", "e@f.it"]


@pytest.mark.parametrize(
    "number",
    [
        *("+49 30 901820", "+49 (0)30 901820-12", "+4915112345678", "+1 (415) 555-2671"),
        *("+33142685300", "+44 20 7946 0958", "+86 138 0013 8000", "+351 21 123 4567"),
        *("(415) 555-2671", "415-555-2671", "415.555.2671", "1-800-555-0199", "01 42 68 53 00"),
        "8 (495) 123-45-67",
    ],
)
def test_a_number_that_is_written_as_one_is_found(number: str) -> None:
    assert number in [span.value for span in phones(f"reach me: {number}, please")]


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("Telefon: 030 901820", "030 901820"),
        ("Tel. 0171/5551234", "0171/5551234"),
        ("mobile 07911 123456", "07911 123456"),
        ("phone 555-2671", "555-2671"),
        ("手机：13800138000", "13800138000"),  # noqa: RUF001
        ("tel:+14155550123", "+14155550123"),
    ],
)
def test_a_word_makes_a_number_of_what_else_would_be_none(text: str, number: str) -> None:
    assert number in [span.value for span in phones(text)]
    if not number.startswith("+"):
        assert list(phones(f"order {number}")) == []


@pytest.mark.parametrize(
    "text",
    [
        *("+1700000000", "+12 +34", "+0100", "UTC+01:00", "+ 907133923", "h * 69069 + 907133923"),
        *("+35236450.6", "1+491701234567", "x+491701234567", "+999123456789", "+1 115 555 2671"),
        *("115-555-2671", "415-155-2671", "415-511-2671", "415-555-26711", "1.415.555.2671.3"),
        *("2-415-555-2671", "91 42 68 53 00", "01 42 68 53", "2024-03-15 10:30:22", "10.0.0.1"),
    ],
)
def test_numbers_of_another_kind_are_none(text: str) -> None:
    assert list(phones(text)) == []
