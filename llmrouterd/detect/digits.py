"""Check digits and dates: the arithmetic by which numbers of people and accounts prove themselves.

Owns: the sums.
Refuses to know: texts. Every function takes a string of ASCII digits, nothing else in it.
"""

from __future__ import annotations

_DAYS = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
_DIHEDRAL = (
    (0, 1, 2, 3, 4, 5, 6, 7, 8, 9),
    (1, 2, 3, 4, 0, 6, 7, 8, 9, 5),
    (2, 3, 4, 0, 1, 7, 8, 9, 5, 6),
    (3, 4, 0, 1, 2, 8, 9, 5, 6, 7),
    (4, 0, 1, 2, 3, 9, 5, 6, 7, 8),
    (5, 9, 8, 7, 6, 0, 4, 3, 2, 1),
    (6, 5, 9, 8, 7, 1, 0, 4, 3, 2),
    (7, 6, 5, 9, 8, 2, 1, 0, 4, 3),
    (8, 7, 6, 5, 9, 3, 2, 1, 0, 4),
    (9, 8, 7, 6, 5, 4, 3, 2, 1, 0),
)
_PERMUTED = (
    (0, 1, 2, 3, 4, 5, 6, 7, 8, 9),
    (1, 5, 7, 6, 2, 8, 3, 0, 9, 4),
    (5, 8, 0, 3, 7, 9, 6, 1, 4, 2),
    (8, 9, 1, 6, 0, 4, 3, 5, 2, 7),
    (9, 4, 5, 3, 1, 2, 6, 8, 7, 0),
    (4, 2, 8, 6, 5, 7, 3, 9, 0, 1),
    (2, 7, 9, 3, 8, 0, 6, 4, 1, 5),
    (7, 0, 4, 6, 9, 1, 3, 2, 5, 8),
)


def luhn(digits: str) -> bool:
    """The sum of payment cards and many ids: every second digit doubled, from the right."""
    total = 0
    for place, digit in enumerate(reversed(digits)):
        value = int(digit) * (1 + place % 2)
        total += value - 9 if value > 9 else value
    return total % 10 == 0


def weighted(digits: str, *weights: int) -> int:
    """The sum of the first digits, each times its weight."""
    return sum(int(digit) * weight for digit, weight in zip(digits, weights, strict=False))


def verhoeff(digits: str) -> bool:
    """A sum in the symmetries of a pentagon, which finds every swap of neighbours."""
    state = 0
    for place, digit in enumerate(reversed(digits)):
        state = _DIHEDRAL[state][_PERMUTED[place % 8][int(digit)]]
    return state == 0


def mod_11_10(digits: str) -> bool:
    """ISO 7064, MOD 11,10."""
    product = 10
    for digit in digits[:-1]:
        total = (int(digit) + product) % 10 or 10
        product = total * 2 % 11
    return (11 - product) % 10 == int(digits[-1])


def mod_97(letters_and_digits: str) -> bool:
    """ISO 7064, MOD 97-10, with letters as 10 to 35: an IBAN that was turned round."""
    return int("".join(str(int(each, 36)) for each in letters_and_digits)) % 97 == 1


def ean_13(digits: str) -> bool:
    return (weighted(digits, *(1, 3) * 6) + int(digits[12])) % 10 == 0


def is_day(day: str, month: str) -> bool:
    """A day that some year has."""
    return 1 <= int(month) <= 12 and 1 <= int(day) <= _DAYS[int(month) - 1]


def is_full_date(date: str) -> bool:
    """YYYYMMDD of somebody who may be alive, or was within a century or so."""
    return 1880 <= int(date[:4]) <= 2060 and is_day(date[6:8], date[4:6])
