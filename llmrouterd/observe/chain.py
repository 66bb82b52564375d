"""A log in which each line vouches for the one before: how lines are sealed, and how that is checked.

Owns: the three members at the end of a sealed line (`seq`, `prev`, `hash`), the head that says how
far a chain goes, and what is wrong with a chain that does not hold.
Refuses to know: files, what the lines say, when they are written.

Laws:
1. `hash` is the SHA-256 of the line's own bytes without `,"hash":"..."` and without its end: bytes,
   not values, so that there is nothing to normalise. With a key it is HMAC-SHA256.
2. `prev` is the `hash` of the line before, 64 zeros in the first of all; `seq` counts from 1.
3. The first line of each file has `chain`: which chain it is, and whether a key is needed.
4. A check holds one line at a time.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
from dataclasses import dataclass, field
from typing import Any

GENESIS = "0" * 64
_SEAL = re.compile(rb',"seq":([0-9]{1,18}),"prev":"([0-9a-f]{64})","hash":"([0-9a-f]{64})"\}\Z')
_SEAL_BYTES = 256  # the seal is shorter, whatever the number
_HASH_BYTES = len(',"hash":""}') + 64
_HEAD_MAC = re.compile(rb',"mac":"([0-9a-f]{64})"\}\Z')
_TELLS = re.compile(rb',"(?:lost":[0-9]|break":")')
_TELLS_BYTES = 4096  # these stand before the seal
_TOLD = 20  # faults that are told one by one


@dataclass(frozen=True, slots=True)
class Link:
    """How far a chain goes: its name, and number and hash of its last line."""

    chain: str
    seq: int = 0
    hash: str = GENESIS


@dataclass(frozen=True, slots=True)
class Seal:
    """What stands at the end of a line. right: the hash is that of the line."""

    seq: int
    prev: str
    hash: str
    right: bool


def method(key: bytes) -> str:
    return "hmac-sha256" if key else "sha256"


def digest(text: bytes, key: bytes) -> str:
    if key:
        return hmac.digest(key, text, "sha256").hex()
    return hashlib.sha256(text).hexdigest()


def sealed(
    text: str, before: Link, key: bytes, *, first: bool, more: dict[str, Any]
) -> tuple[bytes, Link]:
    """A JSON object's text as the next line of the chain, without a line end. first: of its file."""
    named = {"chain": {"id": before.chain, "method": method(key)}} if first else {}
    members = named | more | {"seq": before.seq + 1, "prev": before.hash}
    tail = json.dumps(members, separators=(",", ":"))[1:]
    body = f"{text[:-1]},{tail}".encode()
    mark = digest(body, key)
    return body[:-1] + f',"hash":"{mark}"}}'.encode(), Link(before.chain, before.seq + 1, mark)


def seal_of(line: bytes, key: bytes) -> Seal | None:
    """The seal of a line without its end; None where there is none."""
    found = _SEAL.search(line[-_SEAL_BYTES:])
    if found is None:
        return None
    mark = found[3].decode()
    right = hmac.compare_digest(digest(line[:-_HASH_BYTES] + b"}", key), mark)
    return Seal(int(found[1]), found[2].decode(), mark, right)


def name_of(line: bytes) -> tuple[str, str] | None:
    """Which chain the first line of a file names, and its method."""
    try:
        told = json.loads(line)["chain"]
        return str(told["id"]), str(told["method"])
    except (ValueError, KeyError, TypeError, RecursionError):
        return None


def head_text(link: Link, key: bytes) -> bytes:
    """What the head file says. It is sealed as the lines are."""
    members = {"head": link.chain, "method": method(key), "seq": link.seq, "hash": link.hash}
    body = json.dumps(members, separators=(",", ":")).encode()
    return body[:-1] + f',"mac":"{digest(body, key)}"}}\n'.encode()


def read_head(text: bytes, key: bytes) -> Link | None:
    """The head; None when it is none, or was written by somebody without the key."""
    text = text.strip()
    found = _HEAD_MAC.search(text)
    if found is None:
        return None
    body = text[: found.start()] + b"}"
    if not hmac.compare_digest(digest(body, key), found[1].decode()):
        return None
    try:
        told = json.loads(body)
        return Link(str(told["head"]), int(told["seq"]), str(told["hash"]))
    except (ValueError, KeyError, TypeError):
        return None


# --- checking -------------------------------------------------------------------------------------


@dataclass(slots=True)
class Fault:
    """One place where the chain does not hold. what: changed, missing, reordered, foreign, renamed,
    torn, truncated, head, damaged."""

    file: str
    line: int
    what: str
    words: str


@dataclass(slots=True)
class Check:
    """Takes the lines of a chain one by one, in order, and says what is wrong with it.

    head: how far the chain goes, by its head file; one without a name is not to be trusted. faults:
    the first of them; count: how many. method: of the first file. lost, breaks: what the lines themselves tell.
    """

    key: bytes = b""
    head: Link | None = None
    lines: int = 0
    chain: str = ""
    method: str = ""
    first: bytes = b""
    last: bytes = b""
    first_seq: int = 0
    count: int = 0
    faults: list[Fault] = field(default_factory=list)
    lost: int = 0
    breaks: list[str] = field(default_factory=list)
    _link: Link | None = None
    _file: str = ""
    _line: int = 0
    _gap: tuple[int, int] = (0, 0)  # the lines that were missing last, and not seen since

    @property
    def last_seq(self) -> int:
        return self._link.seq if self._link else 0

    @property
    def last_hash(self) -> str:
        return self._link.hash if self._link else ""

    def begin(self, file: str) -> None:
        """The lines that follow are of this file."""
        self._file, self._line = file, 0

    def fault(self, what: str, words: str) -> None:
        self.count += 1
        if len(self.faults) < _TOLD:
            self.faults.append(Fault(self._file, self._line, what, words))

    def take(self, line: bytes) -> None:
        """One line with its end, as it stands in the file."""
        self._line += 1
        self.lines += 1
        if not line.endswith(b"\n"):
            self.fault("torn", "the last line has no end: it was cut")
        text = line.removesuffix(b"\n")
        seal = seal_of(text, self.key)
        if self._line == 1:
            self._named(text)
        if seal is None:
            self.fault("foreign", "this is no line of a chain")
            return
        if not seal.right:
            self.fault("changed", f"line {seal.seq} of the chain was changed")
        elif _TELLS.search(text[-_TELLS_BYTES:]):
            self._heed(text)
        self._follow(seal)
        self.first = self.first or text
        self.last = text

    def _heed(self, text: bytes) -> None:
        """What the daemon itself says that it could not do."""
        try:
            told = json.loads(text)
        except (ValueError, RecursionError):
            return
        lost, words = told.get("lost"), told.get("break")
        self.lost += lost if type(lost) is int else 0
        if isinstance(words, str) and len(self.breaks) < _TOLD:
            self.breaks.append(words)

    def _named(self, text: bytes) -> None:
        """The first line of a file says which chain it is of. One from the middle does not."""
        found = name_of(text)
        if found is None:
            self.fault("missing", "the file does not begin with a line that names its chain")
        elif found[1] != method(self.key):
            words = "is sealed with a key" if found[1] != "sha256" else "is sealed without a key"
            self.fault("renamed", f"the chain {words}")
        elif self.chain and found[0] != self.chain:
            self.fault("renamed", f"another chain begins here: {found[0]}, not {self.chain}")
        self.chain = self.chain or (found[0] if found else "")
        self.method = self.method or (found[1] if found else "")

    def _follow(self, seal: Seal) -> None:
        before = self._link
        if before is None:
            self.first_seq = seal.seq
            if (seal.seq == 1) != (seal.prev == GENESIS):
                self.fault("changed", "the beginning of the chain was changed")
        elif seal.seq != before.seq + 1:
            self._jumped(before.seq + 1, seal.seq)
        elif seal.prev != before.hash:
            self.fault("changed", f"line {before.seq} before it is not the one that was written")
        self._link = Link(self.chain, seal.seq, seal.hash)
        head = self.head
        if head is not None and seal.seq == head.seq and seal.hash != head.hash:
            self.fault("head", f"line {seal.seq} is not the one that the head file tells of")

    def _jumped(self, wanted: int, got: int) -> None:
        low, high = self._gap
        if got > wanted:
            self._gap = (wanted, got - 1)
            self.fault("missing", f"{_lines(wanted, got - 1)} missing before line {got}")
        elif low <= got <= high:
            words = f"line {got} stands behind line {wanted - 1}"
            self.fault("reordered", words)
        else:
            self.fault("reordered", f"line {got} stands behind line {wanted - 1}, once more")

    def end(self) -> None:
        """There are no more lines. Is this as far as the head goes?"""
        if self.head is None or self._link is None:
            return
        if not self.head.chain:
            self.fault("head", "the head file was changed, or not written with this key")
        elif self.chain and self.head.chain != self.chain:
            self.fault("head", f"the head file is of another chain, {self.head.chain}")
        elif self.head.seq > self._link.seq:
            gone = _lines(self._link.seq + 1, self.head.seq)
            self.fault("truncated", f"the end was cut off: {gone} missing, says the head file")


def _lines(first: int, last: int) -> str:
    return f"line {first} is" if first == last else f"lines {first} to {last} are"
