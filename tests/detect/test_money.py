"""llmrouterd/detect/money.py"""

import pytest

from llmrouterd.detect.money import cards, ibans


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("DE89370400440532013000", "DE89370400440532013000"),
        ("to GB29 NWBK 6016 1331 9268 19, please", "GB29 NWBK 6016 1331 9268 19"),
        ("(NO9386011117947)", "NO9386011117947"),
        ("FR14-2004-1010-0505-0001-3M02-606", "FR14-2004-1010-0505-0001-3M02-606"),
        ("AL and DE89 3704 0044 0532 0130 00.", "DE89 3704 0044 0532 0130 00"),
    ],
)
def test_an_iban_is_found(text: str, number: str) -> None:
    (span,) = ibans(text)
    assert (span.kind, span.value, span.form) == ("iban", number, number[:2].lower())


@pytest.mark.parametrize(
    "text",
    [
        "DE89370400440532013001",  # the remainder
        "DE8937040044053201300",  # too short
        "DE893704004405320130000",  # too long
        "XX89370400440532013000",  # no such country
        "ADE89370400440532013000",
        "de89370400440532013000",
        "DE89  370400440532013000",  # two gaps
        "DE89.3704.0044.0532.0130.00",
        "GB29",
    ],
)
def test_what_does_not_prove_itself_is_no_iban(text: str) -> None:
    assert list(ibans(text)) == []


@pytest.mark.parametrize(
    "text",
    [
        "4111111111111111",
        "4111 1111 1111 1111",
        "4111-1111-1111-1111",
        "3782 822463 10005",
        "378282246310005",
        "3056 930902 5904",
        "6200000000000005",
        "2223003122003222",
    ],
)
def test_a_card_is_found(text: str) -> None:
    assert [span.value for span in cards(f"pay {text}!")] == [text]


@pytest.mark.parametrize(
    "text",
    [
        "4111111111111112",  # the sum
        "1111111111111117",  # no issuer
        "41 1111 1111 1111 11",  # not in these groups
        "4111 11111111 1111",
        "4111 1111-1111 1111",
        "4222222222222",  # of 13 digits, and nothing says that it is a card
        "id-4111111111111111-x",
        "a4111111111111111",
    ],
)
def test_what_is_written_otherwise_is_no_card(text: str) -> None:
    assert list(cards(text)) == []


def test_old_lengths_need_a_word() -> None:
    assert not list(cards("4222222222222"))
    assert [span.value for span in cards("Visa 4222222222222")] == ["4222222222222"]
