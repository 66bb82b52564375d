"""Numbers by which states know people.

Owns: the table of forms, a line for each kind of number, with its check.
Refuses to know: how a form is found (shapes.py).

Law: what proves itself by two check digits, by one and a date, or by a way of writing that nothing
else has, counts anywhere; anything weaker only near a word that names it.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from llmrouterd.detect.digits import (
    ean_13,
    is_day,
    is_full_date,
    luhn,
    mod_11_10,
    verhoeff,
    weighted,
)
from llmrouterd.detect.shapes import Form, announced, is_whole, numbers
from llmrouterd.detect.span import Span

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

_DNI = "TRWAGMYFPDXBNJZSQVHLCKE"
_HETU = "0123456789ABCDEFHJKLMNPRSTUVWXY"
_CN = "10X98765432"
_CF_ODD = dict(
    zip(
        "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ",
        (
            *(1, 0, 5, 7, 9, 13, 15, 17, 19, 21),
            *(1, 0, 5, 7, 9, 13, 15, 17, 19, 21, 2, 4, 18, 20, 11, 3, 6, 8, 12, 14, 16, 10, 22),
            *(25, 24, 23),
        ),
        strict=True,
    )
)
_CURP = {each: at for at, each in enumerate("0123456789ABCDEFGHIJKLMNÑOPQRSTUVWXYZ")}


# --- Europe ---------------------------------------------------------------------------------------


def _nino(number: str) -> bool:
    first, second = number[0], number[1]
    if first in "DFIQUV" or second in "DFIOQUV" or number[8] not in "ABCD":
        return False
    return number[:2] not in ("BG", "GB", "KN", "NK", "NT", "TN", "ZZ")


def _nhs(number: str) -> bool:
    return (11 - weighted(number, 10, 9, 8, 7, 6, 5, 4, 3, 2) % 11) % 11 == int(number[9])


def _steuer_id(number: str) -> bool:
    """One digit of the first ten comes twice or thrice, the others once at most."""
    counts = sorted((number.count(each, 0, 10) for each in set(number[:10])), reverse=True)
    return number[0] != "0" and counts[0] in (2, 3) and counts[1] == 1 and mod_11_10(number)


def _nir(number: str) -> bool:
    """2A and 2B, the two halves of Corsica, count as 19 and 18."""
    digits = number[:5] + number[5:7].replace("2A", "19").replace("2B", "18") + number[7:]
    if not digits.isdigit():
        return False
    month = int(digits[3:5])
    born = 1 <= month <= 12 or 20 <= month <= 42
    return digits[0] in "12" and born and 97 - int(digits[:13]) % 97 == int(digits[13:])


def _dni(number: str) -> bool:
    """Foreigners have X, Y or Z for a first digit of 0, 1 or 2."""
    first = {"X": "0", "Y": "1", "Z": "2"}.get(number[0], number[0])
    digits = first + number[1:-1]
    return digits.isdigit() and _DNI[int(digits) % 23] == number[-1]


def _bsn(number: str) -> bool:
    return number != "0" * 9 and weighted(number, 9, 8, 7, 6, 5, 4, 3, 2, -1) % 11 == 0


def _belgian(number: str) -> bool:
    if not is_day(number[4:6], number[2:4]):
        return False
    check = int(number[9:])
    return any(97 - int(century + number[:9]) % 97 == check for century in ("", "2"))


def _ahv(number: str) -> bool:
    return number.startswith("756") and ean_13(number)


def _austrian(number: str) -> bool:
    total = weighted(number, 3, 7, 9, 0, 5, 8, 4, 2, 1, 6) % 11
    return number[0] != "0" and total == int(number[3]) and is_day(number[4:6], number[6:8])


def _swedish(number: str) -> bool:
    digits = number[-10:]
    return is_day(digits[4:6], digits[2:4]) and luhn(digits)


def _hetu(number: str) -> bool:
    digits = number[:6] + number[-4:-1]
    if not digits.isdigit() or len(number) not in (10, 11) or not is_day(number[:2], number[2:4]):
        return False
    return _HETU[int(digits) % 31] == number[-1]


def _cpr(number: str) -> bool:
    return is_day(number[:2], number[2:4])


def _norwegian(number: str) -> bool:
    day = str(int(number[0]) % 4) + number[1]
    if not is_day(day, number[2:4]):
        return False
    first = weighted(number, 3, 7, 6, 1, 8, 9, 4, 5, 2, 1) % 11
    return first == 0 and weighted(number, 5, 4, 3, 2, 7, 6, 5, 4, 3, 2, 1) % 11 == 0


def _pesel(number: str) -> bool:
    month = f"{int(number[2:4]) % 20:02}"
    total = weighted(number, 1, 3, 7, 9, 1, 3, 7, 9, 1, 3, 1)
    return is_day(number[4:6], month) and total % 10 == 0


def _nif(number: str) -> bool:
    rest = weighted(number, 9, 8, 7, 6, 5, 4, 3, 2) % 11
    return number[0] in "1235689" and (0 if rest < 2 else 11 - rest) == int(number[8])


def _rodne(number: str) -> bool:
    """Women have 50 more months, and since 2004 there may be 20 more."""
    month = int(number[2:4]) % 50
    month -= 20 if month > 20 else 0
    return is_day(number[4:6], f"{month:02}") and int(number) % 11 == 0


def _pps(number: str) -> bool:
    extra = ord(number[8]) - 64 if len(number) == 9 else 0
    if not number[:7].isdigit() or not number[7:].isalpha() or extra > 9:
        return False
    total = weighted(number[:7], 8, 7, 6, 5, 4, 3, 2) + 9 * extra
    return "WABCDEFGHIJKLMNOPQRSTUV"[total % 23] == number[7]


def _egn(number: str) -> bool:
    month = int(number[2:4]) % 20
    total = weighted(number, 2, 4, 8, 5, 10, 9, 7, 3, 6) % 11 % 10
    return is_day(number[4:6], f"{month:02}") and total == int(number[9])


def _cnp(number: str) -> bool:
    total = weighted(number, 2, 7, 9, 1, 4, 6, 3, 5, 8, 2, 7, 9) % 11
    born = is_day(number[5:7], number[3:5])
    return number[0] in "12345678" and born and (1 if total == 10 else total) == int(number[12])


def _amka(number: str) -> bool:
    return is_day(number[:2], number[2:4]) and luhn(number)


def _baltic(number: str) -> bool:
    total = weighted(number, 1, 2, 3, 4, 5, 6, 7, 8, 9, 1) % 11
    if total == 10:
        total = weighted(number, 3, 4, 5, 6, 7, 8, 9, 1, 2, 3) % 11 % 10
    born = is_day(number[5:7], number[3:5])
    return number[0] in "123456" and born and total == int(number[10])


# --- the Americas ---------------------------------------------------------------------------------

_KNOWN_FAKES = frozenset({"078051120", "219099999", "123456789", "111111111", "123121234"})


def _ssn(number: str) -> bool:
    area, group, serial = number[:3], number[3:5], number[5:]
    if area in ("000", "666") or area[0] == "9" or group == "00" or serial == "0000":
        return False
    return number not in _KNOWN_FAKES


def _sin(number: str) -> bool:
    return number[0] != "8" and luhn(number)


def _cpf(number: str) -> bool:
    if len(set(number)) == 1:
        return False
    first = weighted(number, *range(10, 1, -1)) * 10 % 11 % 10
    second = weighted(number, *range(11, 1, -1)) * 10 % 11 % 10
    return first == int(number[9]) and second == int(number[10])


def _rut(number: str) -> bool:
    body, check = number[:-1], number[-1].upper()
    if not body.isdigit():
        return False
    rest = 11 - weighted(body[::-1], 2, 3, 4, 5, 6, 7, 2, 3) % 11
    return check == {11: "0", 10: "K"}.get(rest, str(rest))


# --- Asia, Africa, Oceania ------------------------------------------------------------------------


def _aadhaar(number: str) -> bool:
    return number[0] in "23456789" and verhoeff(number)


def _chinese(number: str) -> bool:
    body = number[:17]
    if not body.isdigit() or not is_full_date(body[6:14]) or body[0] not in "12345678":
        return False
    total = weighted(body, 7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
    return _CN[total % 11] == number[17].upper()


def _korean(number: str) -> bool:
    total = weighted(number, 2, 3, 4, 5, 6, 7, 8, 9, 2, 3, 4, 5)
    born = is_day(number[4:6], number[2:4]) and number[6] in "12345678"
    return born and (11 - total % 11) % 10 == int(number[12])


def _korean_any(number: str) -> bool:
    """Numbers given out since October 2020 have no check digit."""
    return is_day(number[4:6], number[2:4]) and number[6] in "12345678"


def _my_number(number: str) -> bool:
    rest = weighted(number, 6, 5, 4, 3, 2, 7, 6, 5, 4, 3, 2) % 11
    return (0 if rest <= 1 else 11 - rest) == int(number[11])


def _nric(number: str) -> bool:
    if number[0] not in "STFGM" or not number[1:8].isdigit():
        return False
    total = weighted(number[1:8], 2, 7, 6, 5, 4, 3, 2)
    total += 4 if number[0] in "TG" else 3 if number[0] == "M" else 0
    letters = {"S": "JZIHGFEDCBA", "T": "JZIHGFEDCBA", "M": "XWUTRQPNJLK"}.get(
        number[0], "XWUTRQPNMLK"
    )
    rest = 10 - total % 11 if number[0] == "M" else total % 11
    return letters[rest] == number[8]


def _tckn(number: str) -> bool:
    odd, even = sum(map(int, number[0:9:2])), sum(map(int, number[1:8:2]))
    tenth = (odd * 7 - even) % 10 == int(number[9])
    return number[0] != "0" and tenth and sum(map(int, number[:10])) % 10 == int(number[10])


def _south_african(number: str) -> bool:
    born = is_day(number[4:6], number[2:4]) and number[10] in "012" and number[11] in "89"
    return born and luhn(number)


def _tfn(number: str) -> bool:
    return weighted(number, 1, 4, 3, 7, 5, 8, 6, 9, 10) % 11 == 0


def _israeli(number: str) -> bool:
    return number != "0" * 9 and luhn(number)


_ELEVEN = "9" * 11
_FORMS: Sequence[Form] = (
    Form(
        "us-ssn",
        _ssn,
        ("999-99-9999",),
        ("999999999", "999 99 9999"),
        ("ssn", "social security", "social-security"),
    ),
    Form(
        "uk-nino",
        _nino,
        ("AA 99 99 99 A",),
        ("AA999999A", "AA 999999 A"),
        ("nino", "national insurance", "ni number", "ni no"),
    ),
    Form("uk-nhs", _nhs, (), ("999 999 9999", "9999999999", "999-999-9999"), ("nhs",)),
    Form(
        "de-steuer-id",
        _steuer_id,
        ("99 999 999 999",),
        (_ELEVEN,),
        ("steuer", "idnr", "id-nr", "tax id", "tin"),
    ),
    Form("fr-nir", _nir, ("9" * 15, "9 99 99 99 999 999 99")),
    Form(
        "es-dni", _dni, ("99999999A", "99999999-A"), ("99.999.999-A", "99999999 A"), ("dni", "nif")
    ),
    Form("es-nie", _dni, ("A9999999A", "A-9999999-A")),
    Form(
        "nl-bsn",
        _bsn,
        (),
        ("999999999", "9999.99.999", "999 999 999"),
        ("bsn", "burgerservicenummer", "sofi"),
    ),
    Form(
        "be-nrn",
        _belgian,
        ("99.99.99-999.99", "99.99.99-999-99"),
        (_ELEVEN, "99 99 99 999 99"),
        ("rijksregister", "registre national", "nrn", "national number", "insz", "niss"),
    ),
    Form(
        "ch-ahv",
        _ahv,
        ("999.9999.9999.99", "999 9999 9999 99"),
        ("9" * 13,),
        ("ahv", "avs", "oasi"),
    ),
    Form(
        "at-svnr",
        _austrian,
        (),
        ("9999 999999", "9999999999", "9999-999999", "9999 99 99 99"),
        ("svnr", "sv-nr", "sozialversicherung", "versicherungsnummer"),
    ),
    Form("se-pnr", _swedish, ("999999-9999", "99999999-9999", "999999+9999")),
    Form(
        "fi-hetu",
        _hetu,
        ("999999-999A", "999999-9999", "999999A999A", "999999A9999", "999999+999A"),
    ),
    Form("dk-cpr", _cpr, (), ("999999-9999", "9999999999"), ("cpr", "personnummer")),
    Form("no-fnr", _norwegian, (_ELEVEN, "999999 99999")),
    Form("pl-pesel", _pesel, (), (_ELEVEN,), ("pesel",)),
    Form(
        "pt-nif",
        _nif,
        (),
        ("999999999", "999 999 999"),
        ("nif", "contribuinte", "número fiscal"),
    ),
    Form("cz-rc", _rodne, ("999999/9999",)),
    Form("ie-pps", _pps, (), ("9999999A", "9999999AA"), ("pps", "ppsn")),
    Form("bg-egn", _egn, (), ("9999999999",), ("egn", "егн")),
    Form("ro-cnp", _cnp, (), ("9" * 13,), ("cnp", "cod numeric personal")),
    Form("gr-amka", _amka, (), (_ELEVEN,), ("amka", "αμκα")),
    Form(
        "ee-lt-id",
        _baltic,
        (),
        (_ELEVEN,),
        ("isikukood", "asmens kodas", "personal code", "id code"),
    ),
    Form("hr-oib", mod_11_10, (), (_ELEVEN,), ("oib",)),
    Form(
        "ca-sin", _sin, (), ("999 999 999", "999-999-999", "999999999"), ("sin", "social insurance")
    ),
    Form("br-cpf", _cpf, ("999.999.999-99",), (_ELEVEN,), ("cpf",)),
    Form(
        "cl-rut", _rut, ("99.999.999-9", "9.999.999-9", "99.999.999-A"), ("99999999-9",), ("rut",)
    ),
    Form(
        "in-aadhaar",
        _aadhaar,
        (),
        ("9999 9999 9999", "9" * 12, "9999-9999-9999"),
        ("aadhaar", "aadhar", "uidai"),
    ),
    Form("cn-id", _chinese, ("9" * 18, "9" * 17 + "A")),
    Form("kr-rrn", _korean, ("999999-9999999",)),
    Form("kr-rrn", _korean_any, (), ("999999-9999999",), ("rrn", "주민", "resident registration")),
    Form(
        "jp-my-number",
        _my_number,
        (),
        ("9" * 12, "9999 9999 9999", "9999-9999-9999"),
        ("マイナンバー", "個人番号", "my number"),
    ),
    Form("sg-nric", _nric, ("A9999999A",)),
    Form("tr-tckn", _tckn, (), (_ELEVEN,), ("kimlik", "tckn", "tc no", "t.c.")),
    Form("za-id", _south_african, ("9" * 13, "999999 9999 99 9", "999999 9999 999")),
    Form("au-tfn", _tfn, (), ("999 999 999", "999999999"), ("tfn", "tax file")),
    Form("il-id", _israeli, (), ("999999999",), ("teudat", "ת.ז", "תעודת זהות")),
)

# --- those that begin with letters ----------------------------------------------------------------

_CODICE = re.compile(r"[A-Z]{6}[0-9]{2}[A-EHLMPRST][0-9]{2}[A-Z][0-9]{3}[A-Z]")
_CURP_SHAPE = re.compile(r"[A-Z]{4}[0-9]{6}[HMX][A-Z]{5}[A-Z0-9][0-9]")
_CORSICAN = re.compile(r"[12] ?[0-9]{2} ?[0-9]{2} ?2[AB] ?[0-9]{3} ?[0-9]{3} ?[0-9]{2}")
_PAN = re.compile(r"[A-Z]{3}P[A-Z][0-9]{4}[A-Z]")
_PAN_WORDS = ("pan", "permanent account")


def _codice(number: str) -> bool:
    total = sum(_CF_ODD[each] for each in number[0:15:2])
    total += sum(int(each) if each.isdigit() else ord(each) - 65 for each in number[1:15:2])
    return 1 <= int(number[9:11]) % 40 <= 31 and chr(65 + total % 26) == number[15]


def _curp(number: str) -> bool:
    total = sum(_CURP[each] * (18 - at) for at, each in enumerate(number[:17]))
    return is_day(number[8:10], number[6:8]) and (10 - total % 10) % 10 == int(number[17])


_LETTERED: Sequence[tuple[str, re.Pattern[str], Callable[[str], bool], tuple[str, ...]]] = (
    ("it-cf", _CODICE, _codice, ()),
    ("mx-curp", _CURP_SHAPE, _curp, ()),
    ("fr-nir", _CORSICAN, _nir, ()),
    ("in-pan", _PAN, lambda number: True, _PAN_WORDS),
)


def national_ids(text: str) -> Iterator[Span]:
    """Numbers of tax, insurance and registers of residents. form: country and kind."""
    yield from numbers(text, "national-id", _FORMS)
    for form, pattern, check, words in _LETTERED:
        for found in pattern.finditer(text):
            start, end = found.span()
            if not is_whole(text, start, end) or not check(found.group().replace(" ", "")):
                continue
            if not words or announced(text, start, words):
                yield Span(start, end, "national-id", found.group(), form)
