"""Keys, tokens and passwords that stand in a text.

Owns: the shapes of keys by those who give them out, private keys, tokens, and what is assigned to a
name that says it is secret.
Refuses to know: whether any of them still opens something.

Laws:
1. A shape starts with letters that its giver chose for that purpose. What has none counts only as
   the value of a telling name, and if it looks drawn by lot.
2. What says of itself that it is an example is none.
3. Time is linear: each search is for a fixed text, and goes a bounded way from there.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from llmrouterd.detect.entropy import bits, is_drawn, is_placeholder
from llmrouterd.detect.span import Span

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


@dataclass(frozen=True, slots=True)
class _Shape:
    """anchor: the fixed text. tail: what must follow it. least: bits a character of the tail."""

    form: str
    anchor: str
    tail: re.Pattern[str]
    least: float = 3.0


def _shape(form: str, anchor: str, tail: str, least: float = 3.0) -> _Shape:
    return _Shape(form, anchor, re.compile(tail), least)


_W = "[A-Za-z0-9_-]"
_AN = "[A-Za-z0-9]"
_HEX = "[0-9a-f]"
_SHAPES: Sequence[_Shape] = (
    *(_shape("aws", prefix, "[A-Z0-9]{16}") for prefix in ("AKIA", "ASIA")),
    *(_shape("github", f"gh{kind}_", f"{_AN}{{36,255}}") for kind in "pousr"),
    _shape("github", "github_pat_", "[A-Za-z0-9_]{36,255}"),
    _shape("gitlab", "glpat-", f"{_W}{{20,64}}"),
    _shape("gitlab", "glrt-", f"{_W}{{20,64}}"),
    _shape("anthropic", "sk-ant-", f"[a-z0-9]{{3,10}}-{_W}{{32,128}}"),
    _shape("openai", "sk-proj-", f"{_W}{{40,200}}"),
    _shape("openai", "sk-svcacct-", f"{_W}{{40,200}}"),
    _shape("openrouter", "sk-or-v1-", f"{_HEX}{{64}}"),
    _shape("openai", "sk-", f"{_AN}{{32,64}}", 3.5),
    _shape("stripe", "sk_live_", f"{_AN}{{16,128}}"),
    _shape("stripe", "rk_live_", f"{_AN}{{16,128}}"),
    _shape("stripe", "sk_test_", f"{_AN}{{16,128}}"),
    _shape("stripe", "whsec_", f"{_AN}{{24,64}}"),
    _shape("google", "AIza", f"{_W}{{35}}"),
    _shape("google", "GOCSPX-", f"{_W}{{28}}"),
    _shape("google", "ya29.", f"{_W}{{30,512}}"),
    *(_shape("slack", f"xox{kind}-", "[A-Za-z0-9-]{20,255}") for kind in "abeoprs"),
    _shape("slack", "xapp-", "[0-9]-[A-Za-z0-9-]{20,255}"),
    _shape(
        "slack", "hooks.slack.com/services/", "T[A-Z0-9]{6,12}/B[A-Z0-9]{6,12}/[A-Za-z0-9]{16,32}"
    ),
    _shape("sendgrid", "SG.", f"{_W}{{22}}\\.{_W}{{43}}"),
    _shape("twilio", "SK", f"{_HEX}{{32}}"),
    _shape("npm", "npm_", f"{_AN}{{36}}"),
    _shape("pypi", "pypi-AgE", f"{_W}{{50,255}}"),
    _shape("digitalocean", "dop_v1_", f"{_HEX}{{64}}"),
    _shape("huggingface", "hf_", f"{_AN}{{30,64}}"),
    _shape("groq", "gsk_", f"{_AN}{{40,64}}"),
    _shape("xai", "xai-", f"{_AN}{{60,100}}"),
    _shape("perplexity", "pplx-", f"{_AN}{{40,64}}"),
    _shape("replicate", "r8_", f"{_AN}{{37}}"),
    _shape("nvidia", "nvapi-", f"{_W}{{60,80}}"),
    _shape("docker", "dckr_pat_", f"{_W}{{24,40}}"),
    *(_shape("shopify", f"shp{kind}_", "[0-9a-fA-F]{32}") for kind in ("at", "ca", "pa", "ss")),
    _shape("atlassian", "ATATT3", "[A-Za-z0-9_=-]{60,255}"),
    _shape("databricks", "dapi", f"{_HEX}{{32}}(?:-[0-9])?"),
    _shape("vault", "hvs.", f"{_W}{{24,200}}"),
    _shape("grafana", "glsa_", f"{_AN}{{32}}_{_HEX}{{8}}"),
    _shape("linear", "lin_api_", f"{_AN}{{32,64}}"),
    _shape("tailscale", "tskey-", f"[a-z]{{3,10}}-{_AN}{{8,20}}-{_AN}{{16,40}}"),
    _shape("postman", "PMAK-", f"{_HEX}{{24}}-{_HEX}{{34}}"),
    _shape("doppler", "dp.pt.", f"{_AN}{{40,44}}"),
    _shape("planetscale", "pscale_", f"(?:tkn|pw|oauth)_{_W}{{32,64}}"),
    _shape("azure", "AccountKey=", "[A-Za-z0-9+/]{80,88}={0,2}"),
    _shape("age", "AGE-SECRET-KEY-1", "[0-9A-Z]{58}"),
)
_BOT = re.compile(r"(?<![0-9A-Za-z])[0-9]{8,10}:AA[A-Za-z0-9_-]{33}(?![A-Za-z0-9_-])")


def api_keys(text: str) -> Iterator[Span]:
    """Keys that begin as their giver lets all of them begin. form: who gives them out."""
    for shape in _SHAPES:
        yield from _of_shape(text, shape)
    at = text.find(":AA")
    while at >= 0:
        found = _BOT.search(text, max(0, at - 11), min(len(text), at + 40))
        if found is not None and is_drawn(found.group()[11:]):
            yield Span(*found.span(), "api-key", found.group(), "telegram")
        at = text.find(":AA", at + 3)


def _of_shape(text: str, shape: _Shape) -> Iterator[Span]:
    anchor = shape.anchor
    at = text.find(anchor)
    while at >= 0:
        past = at + len(anchor)
        tail = shape.tail.match(text, past)
        if tail is not None and _begins(text, at) and _ends(text, tail.end()):
            past = tail.end()
            value = tail.group()
            if bits(value) >= shape.least and not is_placeholder(value) and _has_digit(value):
                yield Span(at, past, "api-key", text[at:past], shape.form)
        at = text.find(anchor, past)


def _has_digit(value: str) -> bool:
    return any(each.isdigit() for each in value) or len(value) > 30 or value.isupper()


def _begins(text: str, at: int) -> bool:
    """Nothing belongs to it from before. In the text of a JSON string, `\\n` is two characters."""
    before = text[at - 1 : at]
    if not before.isascii() or not (before.isalnum() or before in ("_", "-")):
        return True
    return before in "nrt" and text[at - 2 : at - 1] == "\\"


def _ends(text: str, at: int) -> bool:
    after = text[at : at + 1]
    return not (after.isascii() and (after.isalnum() or after == "_"))


# --- private keys ---------------------------------------------------------------------------------

_BEGIN = "-----BEGIN "
_HEAD = re.compile(r"-----BEGIN (?:[A-Z0-9]{2,12} ){0,2}PRIVATE KEY(?: BLOCK)?-----")
_END = re.compile(r"-----END (?:[A-Z0-9]{2,12} ){0,2}PRIVATE KEY(?: BLOCK)?-----")
_BODY = re.compile(r"[A-Za-z0-9+/=]{40,}")
_HEADERS, _GAP = 256, 16  # characters before the first line, and between two of them
_LONGEST = 16384  # characters; an RSA key of 8192 bits takes 6,400


def private_keys(text: str) -> Iterator[Span]:
    """PEM and OpenPGP blocks with something in them; up to the end mark, or as far as they go."""
    at = text.find(_BEGIN)
    while at >= 0:
        past = at + len(_BEGIN)
        head = _HEAD.match(text, at)
        if head is not None:
            past = head.end()
            following = text.find(_BEGIN, past, past + _LONGEST)
            limit = following if following >= 0 else min(len(text), past + _LONGEST)
            end = _END.search(text, past, limit)
            stop = end.start() if end is not None else limit
            last = _last_line(text, past, stop)
            if last is not None:
                past = end.end() if end is not None else last
                yield Span(at, past, "private-key", text[at:past])
        at = text.find(_BEGIN, past)


def _last_line(text: str, start: int, stop: int) -> int | None:
    """Where the lines of a key end that begin here, if there are any."""
    last, reach = None, start + _HEADERS
    for line in _BODY.finditer(text, start, stop):
        if line.start() > reach or bits(line.group()) < 3.0:
            break
        last, reach = line.end(), line.end() + _GAP
    return last


# --- tokens ---------------------------------------------------------------------------------------

_JWT = re.compile(rf"eyJ{_W}{{10,4096}}\.eyJ{_W}{{10,8192}}\.{_W}{{20,2048}}")
_BEARER = re.compile(r"[Bb]earer[ \t]{1,4}([A-Za-z0-9._~+/=-]{20,4096})(?![A-Za-z0-9])")


def tokens(text: str) -> Iterator[Span]:
    """Signed tokens (JWT), and what follows `Bearer`."""
    at = text.find("eyJ")
    while at >= 0:
        found = _JWT.match(text, at) if _begins(text, at) else None
        if found is not None:
            yield Span(at, found.end(), "token", found.group(), "jwt")
        at = text.find("eyJ", found.end() if found else at + 3)
    at = text.find("earer")
    while at >= 0:
        found = _BEARER.match(text, at - 1) if at else None
        if found is not None and is_drawn(found.group(1), 3.5):
            yield Span(*found.span(1), "token", found.group(1), "bearer")
        at = text.find("earer", at + 5)


# --- passwords ------------------------------------------------------------------------------------

_URL = re.compile(r"://([^\s:/@\"'<>`]{0,64}):([^\s/@\"'<>`]{3,128})@(?=[A-Za-z0-9\[])")
_NAMES = (
    "passw",
    "pwd",
    "passphrase",
    "secret",
    "token",
    "api_key",
    "apikey",
    "api-key",
    "access_key",
)
_ASSIGNED = re.compile(
    r"[A-Za-z_-]{0,24}\\?[\"'`]?[ \t]{0,8}(?::=|=>|=|:)[ \t]{0,8}"
    r"(?:\\?([\"'`])([^\s\"'`\\]{6,256})\\?\1"
    r"|((?:[^\s\"'`,;&(){}\[\]<>\\]|&(?![A-Za-z_]{1,40}=)){6,256})([\"'`(\[]?))"
)
_REFERENCE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(?:[.:/][A-Za-z_][A-Za-z0-9_]*)+\Z")
_UUID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}\Z")


def passwords(text: str) -> Iterator[Span]:
    """Passwords in URLs, and values of names such as `password` and `client_secret`. The span is the
    value alone."""
    at = text.find("://")
    while at >= 0:
        found = _URL.match(text, at)
        if found is not None and _is_password_of(found.group(1), found.group(2)):
            yield Span(*found.span(2), "password", found.group(2), "url")
        at = text.find("://", at + 3)
    yield from _assigned(text)


def _is_password_of(user: str, password: str) -> bool:
    known = {
        user.lower(),
        "password",
        "pass",
        "pwd",
        "secret",
        "passwd",
        "postgres",
        "root",
        "guest",
    }
    if password.lower() in known or password[0] in "$%{[*":
        return False
    return not is_placeholder(password) or (len(set(password)) < 5 <= len(password))


def _assigned(text: str) -> Iterator[Span]:
    low, past = lowered(text), 0
    places = sorted({at for name in _NAMES for at in _all(low, name)})
    for at in places:
        if at < past:
            continue
        name = next(each for each in _NAMES if low.startswith(each, at))
        found = _ASSIGNED.match(text, at + len(name))
        if found is None or found.group(4) in ("(", "["):
            continue
        group = 2 if found.group(2) else 3
        value = found.group(group).rstrip(".")
        if _looks_secret(name, value):
            past = found.start(group) + len(value)
            yield Span(found.start(group), past, "password", value, "assigned")


def _all(text: str, word: str) -> Iterator[int]:
    at = text.find(word)
    while at >= 0:
        yield at
        at = text.find(word, at + len(word))


def _looks_secret(name: str, value: str) -> bool:
    if is_placeholder(value) or _REFERENCE.match(value) or value[0] in "$%&*/" or "://" in value:
        return False
    if name in ("passw", "pwd", "passphrase"):
        return _looks_chosen(value)
    return len(value) >= 16 and not _UUID.match(value) and is_drawn(value, 3.2) and _is_mixed(value)


def _looks_chosen(value: str) -> bool:
    """A password that somebody made up: no word, no number, no name of something."""
    digit = any(each.isdigit() for each in value)
    sign = any(not each.isalnum() and each not in "_-.:" for each in value)
    letter = any(each.isalpha() for each in value)
    return letter and (digit or (sign and len(value) >= 8))


def _is_mixed(value: str) -> bool:
    """Digits among the letters, not behind them as in `my_access_token_2024`."""
    return sum(a.isdigit() != b.isdigit() for a, b in pairwise(value)) >= 4


def lowered(text: str) -> str:
    """In lower case, with every character at its place: a few have a lower case of two."""
    low = text.lower()
    return low if len(low) == len(text) else "".join(c.lower() if c.isascii() else c for c in text)
