"""Values of every kind, the places of a request to plant them in, and whether bytes hold one.

`VALUES`: kind -> (a sentence that shows it, the value). The keys are those of tests/data/detect.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import unquote_to_bytes

from llmrouterd.detect import DETECTORS
from tests.detect.labelled import all_lines
from tests.fakes.upstream import Received

FIXTURES = Path(__file__).parents[2] / "transcripts" / "clients"
WORD, TICKET = 'Nacht"igall\\ß', "TCK-123456"
REDACT = (
    "[plugins.redact]\nenabled = true\n"
    f"words = [{json.dumps(WORD)}]\npatterns = {{ ticket = 'TCK-[0-9]{{6}}' }}\n"
)
Path_ = tuple[str | int, ...]


# Names of members that hold no words: the owner's own words are not covered there.
CODES = frozenset({"type", "id", "call_id", "tool_call_id", "tool_use_id", "role", "model"})


def _values() -> dict[str, tuple[str, str]]:
    found = {}
    for line in all_lines():
        for kind, start, end in sorted(line.spans):
            if len(line.spans) == 1 and kind not in found and len(line.text) < 4000:
                found[kind] = (line.text, line.text[start:end])
    return {kind: found[kind] for kind in DETECTORS} | {
        "word": (f"about {WORD}.", WORD),
        "ticket": (f"see {TICKET}", TICKET),
    }


VALUES = _values()
SENTENCES = "\n\n".join(sentence for sentence, _ in VALUES.values())
SECRETS = [value for _, value in VALUES.values()]
# A value that shows itself wherever it stands.
MAIL = VALUES["email"][1]


def wire(received: Received) -> bytes:
    """All that an upstream got with one request."""
    head = [received.method, received.target, *(f"{n}: {v}" for n, v in received.headers.items())]
    return "\n".join(head).encode("latin-1") + b"\n" + received.body


def spellings(data: bytes, depth: int = 2) -> Iterator[bytes]:
    """The bytes, and what they say when escapes, percent-encoding and base64 are undone."""
    yield data
    if not depth:
        return
    plain = re.sub(
        rb"\\u([0-9a-fA-F]{4})", lambda m: chr(int(m[1], 16)).encode("utf-8", "replace"), data
    )
    for escape, meant in ((b"\\n", b"\n"), (b'\\"', b'"'), (b"\\/", b"/"), (b"\\\\", b"\\")):
        plain = plain.replace(escape, meant)
    others = {plain, unquote_to_bytes(data)} - {data}
    for run in re.findall(rb"[A-Za-z0-9+/_-]{20,}", data):
        for start in range(4) if len(run) < 4000 else (0,):
            text = run[start:].translate(bytes.maketrans(b"-_", b"+/"))
            try:
                others.add(binascii.a2b_base64(text + b"=" * (-len(text) % 4)))
            except binascii.Error:
                continue
    for other in others:
        yield from spellings(other, depth - 1)


def held(data: bytes, values: list[str] = SECRETS) -> list[str]:
    """The values that these bytes hold in one spelling or another."""
    wanted = [(value, value.encode()) for value in values]
    found = {
        v
        for each in spellings(data, 2 if len(data) < 20_000 else 1)
        for v, text in wanted
        if text in each
    }
    return sorted(found)


# --- places ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Fixture:
    """A request of a real client."""

    name: str
    path: str
    query: str
    headers: dict[str, str]
    body: Any


LEFT_OUT = frozenset({"host", "content-length", "authorization", "connection", "accept-encoding"})


@cache
def fixtures() -> list[Fixture]:
    """Those that have a body, one of each client and path."""
    found = {}
    for file in sorted(FIXTURES.glob("*.json")):
        told = json.loads(file.read_text())
        if told["method"] != "POST" or told["body"] is None or "show" in told["path"]:
            continue
        headers = {n: v for n, v in told["headers"] if n.lower() not in LEFT_OUT}
        fixture = Fixture(file.stem, told["path"], told["query"] or "", headers, told["body"])
        found[file.stem] = fixture
    return list(found.values())


def places(value: Any, path: Path_ = ()) -> Iterator[Path_]:
    """Where strings stand, and names of members that somebody may choose."""
    if isinstance(value, str):
        yield path
    elif isinstance(value, list):
        for index, each in enumerate(value):
            yield from places(each, (*path, index))
    elif isinstance(value, dict):
        for name, each in value.items():
            yield from places(each, (*path, name))


def general(path: Path_) -> str:
    """A place without its numbers and without names that somebody chose."""
    out: list[str] = []
    for each in path:
        chosen = (
            out and out[-1] in ("properties", "arguments", "input", "$defs") and type(each) is str
        )
        out.append("*" if type(each) is int or chosen else str(each))
    return ".".join(out)


def planted(body: Any, path: Path_, text: str) -> Any:
    """The body with another text at a place."""
    out = json.loads(json.dumps(body))
    at = out
    for step in path[:-1]:
        at = at[step]
    at[path[-1]] = text
    return out


def at(body: Any, path: Path_) -> str:
    for step in path:
        body = body[step]
    assert isinstance(body, str)
    return body


def in_base64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()
