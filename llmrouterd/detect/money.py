"""Numbers of accounts and payment cards.

Owns: IBANs and cards.
Refuses to know: whether an account exists.

Laws:
1. Both have to prove themselves: length by country, and the remainder of 97; issuer, length and the
   sum of Luhn.
2. A card is written in one piece, or in the groups that are on the card.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from llmrouterd.detect.digits import luhn, mod_97
from llmrouterd.detect.shapes import Form, is_whole, numbers
from llmrouterd.detect.span import Span

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_LENGTHS: Final[Mapping[str, int]] = {
    "AD": 24,
    "AE": 23,
    "AL": 28,
    "AT": 20,
    "AZ": 28,
    "BA": 20,
    "BE": 16,
    "BG": 22,
    "BH": 22,
    "BR": 29,
    "BY": 28,
    "CH": 21,
    "CR": 22,
    "CY": 28,
    "CZ": 24,
    "DE": 22,
    "DK": 18,
    "DO": 28,
    "EE": 20,
    "EG": 29,
    "ES": 24,
    "FI": 18,
    "FO": 18,
    "FR": 27,
    "GB": 22,
    "GE": 22,
    "GI": 23,
    "GL": 18,
    "GR": 27,
    "GT": 28,
    "HR": 21,
    "HU": 28,
    "IE": 22,
    "IL": 23,
    "IQ": 23,
    "IS": 26,
    "IT": 27,
    "JO": 30,
    "KW": 30,
    "KZ": 20,
    "LB": 28,
    "LC": 32,
    "LI": 21,
    "LT": 20,
    "LU": 20,
    "LV": 21,
    "LY": 25,
    "MC": 27,
    "MD": 24,
    "ME": 22,
    "MK": 19,
    "MR": 27,
    "MT": 31,
    "MU": 30,
    "NL": 18,
    "NO": 15,
    "PK": 24,
    "PL": 28,
    "PS": 29,
    "PT": 25,
    "QA": 29,
    "RO": 24,
    "RS": 22,
    "SA": 24,
    "SC": 31,
    "SD": 18,
    "SE": 24,
    "SI": 19,
    "SK": 24,
    "SM": 27,
    "ST": 25,
    "SV": 28,
    "TL": 23,
    "TN": 24,
    "TR": 26,
    "UA": 29,
    "VA": 22,
    "VG": 24,
    "XK": 20,
}
_IBAN = re.compile(r"[A-Z]{2}[0-9]{2}(?=[ \u00a0-]?[A-Z0-9])")
_GAPS = " -\u00a0"


def ibans(text: str) -> Iterator[Span]:
    """Account numbers of countries that have IBANs, in one piece or in groups."""
    for head in _IBAN.finditer(text):
        length = _LENGTHS.get(text[head.start() : head.start() + 2])
        end = None if length is None else _end_of(text, head.start(), length)
        if end is None or not is_whole(text, head.start(), end):
            continue
        bare = "".join(each for each in text[head.start() : end] if each not in _GAPS)
        if mod_97(bare[4:] + bare[:4]):
            country = bare[:2].lower()
            yield Span(head.start(), end, "iban", text[head.start() : end], country)


def _end_of(text: str, start: int, length: int) -> int | None:
    """Where so many capitals and digits have passed, with no more than one gap between two."""
    count, gap = 0, False
    for at in range(start, min(len(text), start + 2 * length)):
        each = text[at]
        if each in _GAPS:
            if gap:
                return None
            gap = True
        elif each.isascii() and (each.isdigit() or each.isupper()):
            count, gap = count + 1, False
            if count == length:
                return at + 1
        else:
            return None
    return None


def _is_card(number: str) -> bool:
    return _issued(number) and luhn(number)


def _issued(number: str) -> bool:
    """Whether a card of this length begins so."""
    two, three, four = int(number[:2]), int(number[:3]), int(number[:4])
    match len(number):
        case 13:
            return number[0] == "4"
        case 14:
            return two in (36, 38, 39) or 300 <= three <= 305
        case 15:
            return two in (34, 37)
        case 19:
            return two == 62 or number[0] == "4"
        case _:
            return (
                number[0] == "4"
                or 51 <= two <= 55
                or 2221 <= four <= 2720
                or 2200 <= four <= 2204
                or 3528 <= four <= 3589
                or four == 6011
                or two in (62, 65)
                or 644 <= three <= 649
            )


_CARD_WORDS = (
    *(
        "card",
        "visa",
        "mastercard",
        "amex",
        "diners",
        "unionpay",
        "maestro",
        "karte",
        "kreditkarte",
    ),
    *("carte", "tarjeta", "carta", "cartão", "карта", "карты", "卡号", "カード"),
)
_CARDS = (
    Form(
        "card",
        _is_card,
        free=(
            "9" * 16,
            "9999 9999 9999 9999",
            "9999-9999-9999-9999",
            "9999.9999.9999.9999",
            "9" * 15,
            "9999 999999 99999",
            "9999-999999-99999",
            "9999 999999 9999",
            "9999-999999-9999",
            "9999 9999 9999 9999 999",
        ),
        named=("9" * 13, "9" * 14, "9" * 19, "9999 9999 999 999", "99999999 99999999"),
        words=_CARD_WORDS,
    ),
)


def cards(text: str) -> Iterator[Span]:
    """Numbers of payment cards."""
    return numbers(text, "card", _CARDS)
