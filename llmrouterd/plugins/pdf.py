"""The plugin `pdf`: documents as PDF become text for models that take none.

    [plugins.pdf]
    enabled = true

Owns: which attempts need text, which documents are PDF, their texts in the place of them, and texts that
are kept for a while.
Refuses to know: how a PDF is read (llmrouterd/apart/pdftext.py, in a process of its own).

Laws:
1. Who reads PDF itself gets the client's own: the vendors of Anthropic's and OpenAI's formats, models that
   are known to, and whom the owner names. `always` makes text of all of them, before anybody looks.
2. A PDF without a text that can be had is said to be one: to the client, or to the model in its place.
3. Bounded in number, bytes, pages, characters, time and memory.
"""

from __future__ import annotations

import importlib.util
import json
import time
from base64 import b64decode
from dataclasses import replace
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

from formats import media
from formats.canonical import Document, Text, ToolResult
from llmrouterd.hooks import ApartFailed, Plugin, PluginFailed, PluginRefused
from llmrouterd.plugins.recent import Recent

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from formats.canonical import Message, Part, Request
    from llmrouterd.hooks import Context, Place

MISSING = (
    "pypdf is not there: install it beside llmrouter (pip install 'llmrouter[pdf]'), or build the file "
    "with it (sh zipapp.sh --with pdf)"
)
PDF = "application/pdf"
_FORMATS = ("anthropic", "openai", "responses")
_CAPABILITIES = frozenset({"pdf", "documents", "document"})
_MOST_DOCUMENTS = 20
_MOST_KEPT = 16
_WORDS = {
    "missing": MISSING,
    "encrypted": "it is encrypted: send it without a password",
    "broken": "it is damaged, or no PDF",
    "scan": "there is no text in it: its pages are pictures (a scan?), which need a model that sees, or OCR",
}
_CUT = {"length": "characters", "pages": "pages", "time": "time"}


class Unreadable(Exception):
    """There is no text to be had of a PDF; in words."""


class Pdf(Plugin):
    id = "pdf"
    owned = frozenset(
        (
            "always",
            "native",
            "max_bytes",
            "max_pages",
            "max_chars",
            "parse_timeout",
            "memory",
            "keep",
        )
    )

    def __init__(
        self, settings: Mapping[str, Any], now: Callable[[], float] = time.monotonic
    ) -> None:
        self._always = bool(settings.get("always"))
        self._native = frozenset(settings.get("native", ()))
        self._most_bytes = int(settings.get("max_bytes", 32 * 1024 * 1024))
        self._seconds = float(settings.get("parse_timeout", 30.0))
        self._memory = int(settings.get("memory", 512 * 1024 * 1024))
        self._most_chars = int(settings.get("max_chars", 400_000))
        self._bounds = {
            "seconds": self._seconds,
            "max_pages": int(settings.get("max_pages", 300)),
            "max_chars": self._most_chars,
        }
        keep_s = float(settings.get("keep", 600.0))
        self._kept: Recent[bytes, str] = Recent(keep_s, _MOST_KEPT, now)

    async def on_start(self, request: Request, ctx: Context) -> Request:
        if not self._always:
            return request
        try:
            return await self._as_text(request, ctx)
        except Unreadable as error:
            raise PluginRefused(str(error)) from None

    async def on_attempt(self, request: Request, place: Place, ctx: Context) -> Request:
        if self._reads_pdf(place):
            return request
        try:
            return await self._as_text(request, ctx)
        except Unreadable as error:
            raise PluginFailed(f"{place.provider} takes no PDF, and {error}") from None

    def _reads_pdf(self, place: Place) -> bool:
        if place.provider in self._native:
            return True
        if place.capabilities is not None and place.capabilities & _CAPABILITIES:
            return True
        return place.vendor and place.format in _FORMATS

    async def _as_text(self, request: Request, ctx: Context) -> Request:
        """The request with texts for its PDFs. Raises Unreadable."""
        found = list(dict.fromkeys(each.data for each in _documents(request) if each.data))
        if not found:
            return request
        if len(found) > _MOST_DOCUMENTS:
            raise Unreadable(f"of more than {_MOST_DOCUMENTS} PDFs in one request none is read")
        goes_on = _goes_on(ctx.settings)
        texts: dict[str, str] = {}
        for data in found:
            try:
                texts[data] = await self._text(data, ctx)
            except Unreadable as error:
                if not goes_on:
                    raise
                texts[data] = f"[This PDF could not be read: {error}.]"
        messages = tuple(_told(message, texts) for message in request.messages)
        return replace(request, messages=messages, raw=None)

    async def _text(self, data: str, ctx: Context) -> str:
        """Raises Unreadable."""
        if len(data) * 3 // 4 > self._most_bytes:
            raise Unreadable(f"the PDF is over {self._most_bytes} bytes")
        key = blake2b(data.encode(), digest_size=16).digest()
        kept = self._kept.get(key)
        if kept is not None:
            return kept
        if not installed():
            raise Unreadable(MISSING)
        raw = _bytes(data)
        try:
            answer = await ctx.apart(
                *("llmrouterd.apart.pdftext:extract", raw, self._bounds),
                timeout_s=self._seconds,
                memory_bytes=self._memory,
                max_bytes=self._most_chars * 12 + 1_000_000,
            )
        except ApartFailed as error:
            raise Unreadable(f"the PDF could not be read: {error}") from None
        said = json.loads(answer)
        text = _readable(said)
        ctx.notes.append(f"{said['read']} of {said['pages']} pages of a PDF as text")
        self._kept.keep(key, text)
        return text


def installed() -> bool:
    return importlib.util.find_spec("pypdf") is not None


def _bytes(data: str) -> bytes:
    try:
        return b64decode(data)
    except ValueError:
        raise Unreadable("the PDF cannot be read: it is no base64") from None


def _goes_on(settings: Mapping[str, Any]) -> bool:
    wanted = settings.get("on_failure", "fail")
    if wanted not in ("continue", "fail"):
        raise PluginRefused('on_failure: expected "continue" or "fail"')
    return bool(wanted == "continue")


def _readable(said: Mapping[str, Any]) -> str:
    """The text, with what is not in it. Raises Unreadable."""
    error = said.get("error")
    if error is None and not said["text"]:
        error = "scan"
    if error is not None:
        words = _WORDS.get(error, error)
        raise Unreadable(words if error == "missing" else f"the PDF cannot be read: {words}")
    text = str(said["text"])
    if said["empty"]:
        text += (
            f"\n\n[{said['empty']} of the pages that were read have no text: pictures, it seems.]"
        )
    if said["cut"]:
        what = f"{said['read']} of {said['pages']} pages were read"
        text += f"\n\n[The rest was left out: {what}, as much as its bound on {_CUT[said['cut']]} allows.]"
    return text


# --- documents ------------------------------------------------------------------------------------


def _documents(request: Request) -> Iterator[Document]:
    for message in request.messages:
        yield from _in(message.parts)


def _in(parts: Sequence[Part]) -> Iterator[Document]:
    for part in parts:
        if isinstance(part, Document) and _is_pdf(part):
            yield part
        elif isinstance(part, ToolResult):
            yield from _in(part.parts)


def _is_pdf(part: Document) -> bool:
    if part.text is not None or part.data is None:
        return False
    return media.media_type(part.mime) == PDF or media.sniff(part.data) == PDF


def _told(message: Message, texts: Mapping[str, str]) -> Message:
    return replace(message, parts=tuple(_with_text(part, texts) for part in message.parts))


def _with_text(part: Part, texts: Mapping[str, str]) -> Part:
    if isinstance(part, ToolResult):
        return replace(part, parts=tuple(_with_text(inner, texts) for inner in part.parts))
    if not isinstance(part, Document) or not _is_pdf(part):
        return part
    as_text = Document(text=texts[part.data or ""], name=part.name, context=part.context)
    return Text(media.document_text(as_text) or "", cache=part.cache)
