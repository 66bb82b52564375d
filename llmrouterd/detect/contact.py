"""Where a person can be reached: addresses of mail, and telephone numbers.

Owns: both detectors.
Refuses to know: whose they are.

Laws:
1. An address that is nobody's is none: names reserved for documentation, senders that nobody
   answers, accounts of machines (`git@github.com:`), files that look like one (`icon@2x.png`).
2. A telephone number is written internationally, or in a national way that little else is written
   in, or near a word that says what it is.
3. Time is linear: everything starts at an `@`, a `+` or a block of digits, and goes a bounded way.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from llmrouterd.detect.shapes import Form, announced, is_whole, numbers
from llmrouterd.detect.span import Span

if TYPE_CHECKING:
    from collections.abc import Iterator

# --- addresses ------------------------------------------------------------------------------------

_LOCAL = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._%+-'")
_MOST_LOCAL = 64  # RFC 5321
_LABEL = r"[A-Za-z0-9\u00c0-\u024f](?:[A-Za-z0-9\u00c0-\u024f-]{0,61}[A-Za-z0-9\u00c0-\u024f])?"
_DOMAIN = re.compile(rf"(?:{_LABEL}\.){{1,6}}[A-Za-z]{{2,24}}(?![A-Za-z0-9_-]|\.[A-Za-z0-9])")
_NO_TOP = frozenset(
    [
        "png",
        "jpg",
        "jpeg",
        "gif",
        "webp",
        "svg",
        "ico",
        "bmp",
        "avif",
        "js",
        "mjs",
        "cjs",
        "ts",
        "tsx",
        "jsx",
        "css",
        "scss",
        "less",
        "json",
        "yaml",
        "yml",
        "toml",
        "txt",
        "html",
        "htm",
        "xml",
        "vue",
        "lock",
        "map",
        "log",
        "cfg",
        "conf",
        "ini",
        "pdf",
        "zip",
        "tar",
        "gz",
        "tgz",
        "whl",
        "jar",
        "class",
        "dll",
        "exe",
        "so",
        "service",
        "socket",
        "timer",
        "slice",
        "target",
        "mount",
        "scope",
        "device",
        "path",
        "local",
        "lan",
        "localdomain",
        "localhost",
        "test",
        "example",
        "invalid",
        "internal",
    ]
)
_RESERVED = re.compile(
    r"(?:.*\.)?(?:example\.(?:com|net|org|edu)|noreply\.github\.com|noreply\.gitlab\.com)\Z"
)
_NOBODY = frozenset(
    [
        "noreply",
        "no-reply",
        "no_reply",
        "no.reply",
        "donotreply",
        "do-not-reply",
        "do_not_reply",
        "mailer-daemon",
        "postmaster",
        "git",
        "hg",
        "svn",
        "root",
        "ec2-user",
        "ubuntu",
        "nobody",
    ]
)


def emails(text: str) -> Iterator[Span]:
    """Addresses of mail."""
    at, past = text.find("@"), 0
    while at >= 0:
        span = _email(text, at, past)
        if span is not None:
            yield span
            past = span.end
        at = text.find("@", at + 1)


def _email(text: str, at: int, past: int) -> Span | None:
    domain = _DOMAIN.match(text, at + 1)
    if domain is None:
        return None
    start = _local_start(text, at, past)
    local, name = text[start:at].lower(), domain.group().lower()
    if not _is_local(local) or local in _NOBODY or local.startswith(("noreply", "no-reply")):
        return None
    if name.rpartition(".")[2] in _NO_TOP or _RESERVED.match(name):
        return None
    if _in_a_url(text, start):
        return None
    return Span(start, domain.end(), "email", text[start : domain.end()])


def _local_start(text: str, at: int, past: int) -> int:
    start, least = at, max(past, at - _MOST_LOCAL - 1)
    while start > least and text[start - 1] in _LOCAL:
        start -= 1
    while start < at and text[start] in ".'%+-":
        start += 1
    return start


def _is_local(local: str) -> bool:
    return 0 < len(local) <= _MOST_LOCAL and local[-1] not in ".'" and ".." not in local


def _in_a_url(text: str, start: int) -> bool:
    """Before a host a URL has `//user:password@`, and a path may have an `@`, too."""
    if text[start - 1 : start] not in (":", "/"):
        return False
    before = text[max(0, start - 100) : start]
    word = before.rsplit(maxsplit=1)[-1] if before.strip() else ""
    return "//" in word


# --- telephone numbers ----------------------------------------------------------------------------

# Country calling codes, ITU-T E.164.
_TWO = frozenset(
    [
        "20",
        "27",
        "30",
        "31",
        "32",
        "33",
        "34",
        "36",
        "39",
        "40",
        "41",
        "43",
        "44",
        "45",
        "46",
        "47",
        "48",
        "49",
        "51",
        "52",
        "53",
        "54",
        "55",
        "56",
        "57",
        "58",
        "60",
        "61",
        "62",
        "63",
        "64",
        "65",
        "66",
        "81",
        "82",
        "84",
        "86",
        "90",
        "91",
        "92",
        "93",
        "94",
        "95",
        "98",
    ]
)
_THREE_FIRST = frozenset(
    [
        "21",
        "22",
        "23",
        "24",
        "25",
        "26",
        "29",
        "35",
        "37",
        "38",
        "42",
        "50",
        "59",
        "67",
        "68",
        "69",
        "80",
        "85",
        "87",
        "88",
        "96",
        "97",
        "99",
    ]
)
_GAPS = frozenset(" .-/()\u00a0")
_LONGEST = 15  # digits, by E.164
_WIDEST = 26  # characters


def phones(text: str) -> Iterator[Span]:
    """Telephone numbers."""
    yield from _international(text)
    yield from numbers(text, "phone", _NATIONAL)


def _international(text: str) -> Iterator[Span]:
    at, past = text.find("+"), 0
    while at >= 0:
        if at >= past and not (at and (text[at - 1].isalnum() or text[at - 1] in "+_=\\.")):
            end, digits = _run(text, at + 1) if _starts(text, at + 1) else (at, "")
            if _is_international(digits) and is_whole(text, at, end) and _is_written(text, at, end):
                yield Span(at, end, "phone", text[at:end], "international")
                past = end
        at = text.find("+", at + 1)


def _starts(text: str, at: int) -> bool:
    first = text[at : at + 1]
    return "0" <= first <= "9" if first != "(" else text[at + 1 : at + 2].isdigit()


def _run(text: str, start: int) -> tuple[int, str]:
    """The digits from here on, with at most two separators between any two; where they end."""
    digits: list[str] = []
    end, gaps = start, 0
    for at in range(start, min(len(text), start + _WIDEST)):
        each = text[at]
        if "0" <= each <= "9":
            if len(digits) == _LONGEST:
                break
            digits.append(each)
            end, gaps = at + 1, 0
        elif each in _GAPS and gaps < 2:
            gaps += 1
        else:
            break
    return end, "".join(digits)


def _is_international(digits: str) -> bool:
    if digits[:1] == "1":  # one plan for all of North America: area and exchange begin with 2 to 9
        return len(digits) == 11 and digits[1] in "23456789" and digits[4] in "23456789"
    if digits[:1] == "7":
        return len(digits) == 11 and digits[1] in "3456789"
    known = digits[:2] in _TWO or digits[:2] in _THREE_FIRST
    return known and 9 <= len(digits) <= _LONGEST


def _is_written(text: str, start: int, end: int) -> bool:
    """In groups, or where no number stands by itself: a line of a diff begins with `+`, too, and a
    sum has one between two numbers."""
    if text[end - 2] in ".,":  # a number with a fraction
        return False
    if any(each in _GAPS for each in text[start:end]) or announced(text, start, _WORDS):
        return True
    before = text[max(0, start - 80) : start].rstrip(" ")
    alone = before[-1:] in ("", "\n") and text[end : end + 1] in ("", "\n", ",")
    return not alone and not before[-1:].isdigit()


def _is_american(digits: str) -> bool:
    if len(digits) == 11 and digits[0] != "1":
        return False
    area, exchange = digits[-10:-7], digits[-7:-4]
    return area[0] in "23456789" and exchange[0] in "23456789" and exchange[1:] != "11"


def _is_french(digits: str) -> bool:
    return digits[0] == "0" and digits[1] in "123456789"


def _with_trunk(digits: str) -> bool:
    return digits[0] == "0" and 9 <= len(digits) <= 12 and digits[1:3] != "00"


def _is_russian(digits: str) -> bool:
    return digits[0] in "78" and digits[1] in "3489"


def _is_chinese(digits: str) -> bool:
    return digits[0] == "1" and digits[1] in "3456789"


def _any(digits: str) -> bool:
    return digits[0] != "0" or digits[1] != "0"


_WORDS = (
    *("tel", "phone", "telephone", "mobile", "cell", "cellphone", "fax", "whatsapp", "hotline"),
    *("telefon", "telefonnummer", "handy", "mobil", "rufnummer", "handynummer", "telefoon", "gsm"),
    *("téléphone", "tél", "portable", "teléfono", "móvil", "celular", "telefono", "cellulare"),
    *(
        "telefone",
        "telemóvel",
        "telemovel",
        "puhelin",
        "телефон",
        "тел",
        "моб",
        "电话",
        "手机",
        "電話",
    ),
    *("携帯", "전화", "הטלפון", "هاتف"),
)
_TRUNK = tuple(
    f"{'9' * area}{gap}{rest}"
    for area in (2, 3, 4, 5)
    for gap in (" ", "/", "-", " / ")
    for rest in (
        *("999999", "9999999", "99999999", "999 999", "999 9999", "9999 9999", "9999 999"),
        *("99 99 99", "999 99 99", "999 99 999", "99 99 999", "999-9999", "9999-9999"),
    )
)
_NATIONAL = (
    Form(
        "american",
        _is_american,
        free=(
            *("(999) 999-9999", "(999)999-9999", "999-999-9999", "999.999.9999", "(999) 999 9999"),
            *("9-999-999-9999", "9 (999) 999-9999", "9.999.999.9999"),
        ),
        named=("999 999 9999", "999 999-9999", "9 999 999 9999", "9" * 10, "9" * 11),
        words=_WORDS,
    ),
    Form("french", _is_french, free=("99 99 99 99 99", "99.99.99.99.99", "99-99-99-99-99")),
    Form(
        "russian",
        _is_russian,
        free=("9 (999) 999-99-99", "9 999 999-99-99"),
        named=("9 999 999 99 99", "9" * 11),
        words=_WORDS,
    ),
    Form("chinese", _is_chinese, named=("9" * 11, "999 9999 9999"), words=_WORDS),
    Form("trunk", _with_trunk, named=(*_TRUNK, *("9" * n for n in (10, 11, 12))), words=_WORDS),
    Form(
        "local",
        _any,
        named=("999-9999", "999 99 99", "999 999 999", "99 99 99 99", "9999 9999", "999 99 99 99"),
        words=_WORDS,
        alone=True,
    ),
)
