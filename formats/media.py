"""Images, files and data URLs: what they are, whatever somebody said they are.

Owns: lenient reading of data URLs and base64, telling a media type by its first bytes, and a text
document written as text for formats that have no documents.
Refuses to know: which format takes which media type; fetching (a URL stays a URL).

Laws:
1. What comes out is base64 in the standard alphabet, padded, without white space.
2. The first bytes are believed before the declared type: vendors refuse what does not agree.
3. Broken data is `Invalid`; only the beginning of a long one is ever decoded to look at it.
"""

from __future__ import annotations

import base64
import binascii
from typing import TYPE_CHECKING
from urllib.parse import unquote, unquote_to_bytes

from formats.canonical import EMPTY, JSON, Document, Image
from formats.errors import Invalid

if TYPE_CHECKING:
    from collections.abc import Mapping

_MAGIC = (
    (b"\x89PNG", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF8", "image/gif"),
    (b"%PDF", "application/pdf"),
    (b"ID3", "audio/mpeg"),
    (b"OggS", "audio/ogg"),
    (b"fLaC", "audio/flac"),
)
_RIFF = {b"WEBP": "image/webp", b"WAVE": "audio/wav"}
_SPOKEN = {"image/jpg": "image/jpeg", "image/pjpeg": "image/jpeg", "image/x-png": "image/png"}
_URL_SAFE = str.maketrans("-_", "+/")


def media_type(declared: str | None) -> str:
    """A declared media type in its usual spelling, without parameters; "" when there is none."""
    name = (declared or "").partition(";")[0].strip().lower()
    return _SPOKEN.get(name, name)


def clean_base64(data: str, path: str = "") -> str:
    """The same bytes in standard base64. Takes URL-safe letters, white space, missing padding."""
    if _is_base64(data):
        return data
    text = "".join(data.split()).translate(_URL_SAFE).rstrip("=")
    text += "=" * (-len(text) % 4)
    if not _is_base64(text):
        raise Invalid(path, "this is not base64 data")
    return text


def _is_base64(data: str) -> bool:
    try:
        binascii.a2b_base64(data, strict_mode=True)
    except ValueError:  # binascii.Error is one, and so is what is said of text that is not ASCII
        return False
    return True


def parse_data_url(url: str, path: str = "") -> tuple[str, str] | None:
    """(media type, base64) of a data URL; None for any other URL. The type is "" when neither the
    URL nor the data tells it. Raises Invalid when it is a data URL, but broken."""
    if url[:5].lower() != "data:":
        return None
    head, comma, payload = url[5:].partition(",")
    if not comma:
        raise Invalid(path, "this data URL has no comma, so it holds no data")
    declared, *parameters = (piece.strip() for piece in head.split(";"))
    if "base64" in (piece.lower() for piece in parameters):
        data = clean_base64(unquote(payload) if "%" in payload else payload, path)
    else:
        data = base64.b64encode(unquote_to_bytes(payload)).decode()
    if not data:
        raise Invalid(path, "this data URL holds no data")
    return media_type(declared) or sniff(data) or "", data


def data_url(mime: str, data_b64: str) -> str:
    """The data URL of base64 data."""
    return f"data:{mime};base64,{data_b64}"


def sniff(data_b64: str) -> str | None:
    """The media type that the first bytes tell; None when they are of no known kind."""
    try:
        start = base64.b64decode(data_b64[:24] + "=" * (-len(data_b64[:24]) % 4))
    except ValueError:
        return None
    if start[:4] == b"RIFF":
        return _RIFF.get(start[8:12])
    return next((mime for magic, mime in _MAGIC if start.startswith(magic)), None)


def image(
    data_b64: str,
    declared_mime: str | None = None,
    *,
    path: str = "",
    detail: str | None = None,
    cache: JSON = None,
    extra: Mapping[str, JSON] = EMPTY,
) -> Image:
    """An image of base64 data, its type by its first bytes and else as declared."""
    data = clean_base64(data_b64, path)
    if not data:
        raise Invalid(path, "this image holds no data")
    mime = sniff(data) or media_type(declared_mime)
    return Image(data=data, mime=mime, detail=detail, cache=cache, extra=extra)


def is_text(mime: str) -> bool:
    """Whether a document of this type can be written as text."""
    return mime.startswith("text/") or mime in ("application/json", "application/xml")


def decoded_text(data_b64: str) -> str | None:
    """Base64 data as text; None when it is not UTF-8."""
    try:
        return base64.b64decode(data_b64).decode("utf-8-sig")
    except ValueError:
        return None


def document_text(document: Document) -> str | None:
    """A text document as text with its title, for formats without documents; None when it is no
    text document (a PDF, a URL, a vendor's stored file)."""
    text = document.text
    if text is None and document.data is not None and is_text(document.mime):
        text = decoded_text(document.data)
    if text is None:
        return None
    title = (document.name or "").replace("&", "&amp;").replace('"', "&quot;")
    head = f'<document title="{title}">' if title else "<document>"
    context = f"{document.context}\n" if document.context else ""
    return f"{head}\n{context}{text}\n</document>"
