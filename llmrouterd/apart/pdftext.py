"""The text of a PDF, by pypdf, which is an optional extra.

Owns: reading page after page within bounds, and why there is no text.
Refuses to know: who asked. It runs in a process of its own, with a bound on time and memory round it.

Laws:
1. What is wrong with a PDF is an answer like its text: `{"error": ...}`, never an exception.
2. Bounded: in pages, in characters, in time. What was left out is said.
3. Nothing of the PDF is carried out: no script, no link, no attachment.
"""

from __future__ import annotations

import io
import json
import logging
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

SLACK_S = 2.0  # what is kept back for saying what was read so far


def extract(data: bytes, settings: Mapping[str, Any]) -> bytes:
    """JSON: `text`, `pages` of the document, `read` of them, `empty` of those; or `error`."""
    logging.disable(logging.CRITICAL)  # pypdf tells the log what is odd about a PDF, at length
    return json.dumps(_extracted(data, settings)).encode()


def _extracted(data: bytes, settings: Mapping[str, Any]) -> dict[str, Any]:
    try:
        from pypdf import PdfReader
    except ImportError:
        return {"error": "missing"}
    until = time.monotonic() + float(settings["seconds"]) - SLACK_S
    try:
        reader = PdfReader(io.BytesIO(data))
        if reader.is_encrypted and not reader.decrypt(""):
            return {"error": "encrypted"}
        pages = len(reader.pages)
    except MemoryError:
        raise
    except Exception as error:  # noqa: BLE001
        return {"error": "encrypted" if _is_about_keys(error) else "broken"}
    return _read(reader, pages, settings, until)


def _is_about_keys(error: Exception) -> bool:
    """pypdf leaves AES to a package that is not there."""
    return type(error).__name__ in (
        "DependencyError",
        "FileNotDecryptedError",
        "WrongPasswordError",
    )


def _read(reader: Any, pages: int, settings: Mapping[str, Any], until: float) -> dict[str, Any]:
    texts: list[str] = []
    room, empty, why = int(settings["max_chars"]), 0, ""
    most = min(pages, int(settings["max_pages"]))
    for number in range(most):
        text = _page(reader, number)
        empty += not text
        shown = f"[Page {number + 1}]\n{text[:room]}" if text else ""
        texts += [shown] if shown else []
        room -= len(text)
        if room <= 0 or time.monotonic() > until:
            why = "length" if room <= 0 else "time"
            break
    read = number + 1 if most else 0
    if room < 0 or read < pages:
        why = why or "pages"
    return {"text": "\n\n".join(texts), "pages": pages, "read": read, "empty": empty, "cut": why}


def _page(reader: Any, number: int) -> str:
    """A page that cannot be read has no text; the others may have some."""
    try:
        text = reader.pages[number].extract_text()
    except MemoryError:
        raise
    except Exception:  # noqa: BLE001
        return ""
    lines = (line.rstrip() for line in str(text).replace("\0", "").splitlines())
    return "\n".join(lines).encode("utf-8", "replace").decode().strip()
