"""`llmrouter audit verify [LOG...]`: is every line of an audit log there, in order, as it was written?

Owns: which files, in which order, and how the findings are told.
Refuses to know: how lines are sealed and what makes a chain (observe/chain.py).

Laws:
1. Files are read line by line, once: a log may be larger than the memory.
2. Exit 0: the chain holds. 1: it does not, or a file cannot be read. 2: asked wrongly.
3. A log that is being written is checked as far as it goes.
"""

from __future__ import annotations

import gzip
import io
import json
import re
import sys
import time
import zlib
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from llmrouterd.commands import locate
from llmrouterd.commands.check import printable
from llmrouterd.commands.stats import AskedWrongly, configured
from llmrouterd.model import ConfigError
from llmrouterd.observe import chain
from llmrouterd.observe.audit import head_of
from llmrouterd.observe.logfile import rotated

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator, Sequence

LINE_BYTES = 512 * 1024 * 1024  # longer than any line of a log
_NUMBER = re.compile(r"\.([1-9][0-9]{0,4})(\.gz)?\Z")
_WAIT_S = 0.1  # for the rest of a line that is being written
_WAITS = 10
_DAMAGED = (EOFError, zlib.error, gzip.BadGzipFile)


def run(args: argparse.Namespace) -> int:
    """Check and print. Exit code 0 when the chain holds."""
    try:
        key = _key(args.key_file)
        paths = _files(args.logs or configured(args.config))
        check = chain.Check(key, _head(paths, key))
        for path in paths:
            _read(path, check)
    except AskedWrongly as wrong:
        return _complain(str(wrong), 2)
    except ConfigError as error:
        return locate.complain(error)
    except OSError as error:
        return _complain(f"{error.filename}: {(error.strerror or str(error)).lower()}", 1)
    check.end()
    if not check.lines:
        return _complain("there are no lines in these files", 1)
    if check.method not in ("", chain.method(key)):
        wanted = "was sealed with a key" if not key else "was sealed without a key"
        hint = "give it with --key-file" if not key else "leave out --key-file"
        return _complain(f"this log {wanted}: {hint}", 2 if not key else 1)
    print(json.dumps(as_json(check, paths), indent=2) if args.json else "\n".join(as_lines(check)))
    return 1 if check.count else 0


def _complain(words: str, code: int) -> int:
    print(f"llmrouter audit: {printable(words)}", file=sys.stderr)
    return code


# ---- files ---------------------------------------------------------------------------------------


def _key(file: Path | None) -> bytes:
    """The key as the daemon takes it: without white space around it."""
    if file is None:
        return b""
    key = file.read_bytes().strip()
    if not key:
        raise AskedWrongly(f"{file} is empty")
    return key


def _files(logs: Sequence[str]) -> list[Path]:
    """The files in the chain's order. A log by its own name stands for what was rotated out of it."""
    found: dict[Path, None] = {}
    for log in logs:
        path = Path(log)
        if len(logs) > 1 and path.name.endswith(".head"):  # a shell's `requests.jsonl*`
            continue
        if len(logs) == 1 and not _NUMBER.search(path.name):
            found |= dict.fromkeys(each for _, each in rotated(path))
            if found and not path.exists():  # it was moved away, and nothing was written since
                break
        found[path] = None
    begins = {path: _begins(path) for path in found}
    return sorted(found, key=lambda path: begins[path])


def _begins(path: Path) -> tuple[float, int]:
    """Where a file belongs: by the number of its first line, or by its own where that has none."""
    named = _NUMBER.search(path.name)
    place = -int(named[1]) if named else 0
    with _opened(path) as file:
        try:
            seal = chain.seal_of(file.readline(LINE_BYTES).removesuffix(b"\n"), b"")
        except _DAMAGED:
            seal = None
    return (seal.seq if seal else float("inf"), place)


def _head(paths: Sequence[Path], key: bytes) -> chain.Link | None:
    """What the head file of these logs says; read before them, since it follows them."""
    places = {head_of(path.with_name(_NUMBER.sub("", path.name))) for path in paths}
    found = [place for place in places if place.exists()]
    if len(found) != 1:
        return None
    return chain.read_head(found[0].read_bytes()[:4096], key) or chain.Link("")


def _read(path: Path, check: chain.Check) -> None:
    check.begin(str(path))
    with _opened(path) as file:
        try:
            for line in _lines(file):
                check.take(line)
        except _DAMAGED as error:
            check.fault("damaged", f"the compressed file is damaged after this line: {error}")


def _opened(path: Path) -> BinaryIO:
    file: BinaryIO = path.open("rb")
    packed = file.read(2) == b"\x1f\x8b"
    file.seek(0)
    if not packed:
        return file
    file.close()
    return gzip.open(path, "rb")  # type: ignore[return-value]


def _lines(file: BinaryIO) -> Iterator[bytes]:
    growing = isinstance(file, io.BufferedReader)
    while line := file.readline(LINE_BYTES):
        waits = _WAITS if growing else 0
        while not line.endswith(b"\n") and waits:
            time.sleep(_WAIT_S)
            rest = file.readline(LINE_BYTES)
            waits = waits - 1 if rest else 0
            line += rest
        yield line


# ---- what is told --------------------------------------------------------------------------------


def as_json(check: chain.Check, paths: Sequence[Path]) -> dict[str, Any]:
    return {
        "ok": not check.count,
        "chain": check.chain,
        "method": chain.method(check.key),
        "files": [str(path) for path in paths],
        "lines": check.lines,
        "first": {"seq": check.first_seq, "time": _time(check.first)},
        "last": {"seq": check.last_seq, "time": _time(check.last), "hash": check.last_hash},
        "head": None if check.head is None else check.head.seq,
        "lost": check.lost,
        "breaks": check.breaks,
        "fault_count": check.count,
        "faults": [
            {"file": each.file, "line": each.line, "what": each.what, "words": each.words}
            for each in check.faults
        ],
    }


def as_lines(check: chain.Check) -> Iterator[str]:
    """For people: the verdict first."""
    span = (
        f"lines {check.first_seq} to {check.last_seq}, {_time(check.first)} to {_time(check.last)}"
    )
    if not check.count:
        yield f"ok: {check.lines} lines hold, {span}"
    else:
        places = "1 place" if check.count == 1 else f"{check.count} places"
        yield f"BROKEN in {places}: {check.lines} lines were read, {span}"
        for each in check.faults:
            yield f"  {printable(each.file)}:{each.line}: {each.what}: {printable(each.words)}"
        if check.count > len(check.faults):
            yield f"  and {check.count - len(check.faults)} more"
    yield f"chain {printable(check.chain) or 'without a name'} ({chain.method(check.key)}), last hash {check.last_hash}"
    if check.first_seq > 1:
        yield f"what came before line {check.first_seq} is not in these files"
    if check.head is None:
        yield "there is no head file: whether lines were cut off at the end cannot be told"
    if check.lost:
        yield f"the daemon says that {check.lost} records were lost before they could be written"
    for words in check.breaks:
        yield f"the daemon says: {printable(words)}"


def _time(line: bytes) -> str | None:
    try:
        ts_ms = json.loads(line)["ts_ms"]
        moment = datetime.fromtimestamp(ts_ms / 1000, UTC)
    except (ValueError, KeyError, TypeError, OverflowError, OSError, RecursionError):
        return None
    return moment.isoformat(timespec="seconds").replace("+00:00", "Z")
