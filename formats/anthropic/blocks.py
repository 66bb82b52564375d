"""Canonical parts as content blocks of Anthropic Messages.

Owns: one block for one part, and what a part cannot say in this format.
Refuses to know: roles, order, everything of a request but its parts.

Laws:
1. A part that came in this format goes back with every member it had.
2. A picture, a document or a sound that cannot be sent is Unsupported, never left out.
3. A thinking block is written only with what its vendor signed. The router's own tokens were read
   into plain reasoning, which no vendor is sent.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, assert_never

from formats import media
from formats.anthropic.wire import NAME, call_input
from formats.canonical import (
    Audio,
    Document,
    Image,
    Message,
    Opaque,
    Part,
    Request,
    Target,
    Text,
    Thought,
    ToolResult,
    ToolUse,
)
from formats.fields import field
from formats.opaque import opaque_text

if TYPE_CHECKING:
    from formats.losses import Losses

JSON = Any
_Object = dict[str, JSON]

_IMAGE_TYPES = frozenset({"image/jpeg", "image/png", "image/gif", "image/webp"})
# A cache mark of Chat Completions or Responses lives this long: the nearest this format has.
_LONG_MARKS = frozenset({"1h", "12h", "24h"})


class BlockWriter:
    """thoughts_dropped: reasoning of the history was left out."""

    def __init__(
        self, request: Request, losses: Losses, target: Target, name: Callable[[str], str]
    ) -> None:
        self._origin = request.origin
        self._own = request.origin == NAME
        self._where = field(request.origin, "messages")
        self._losses = losses
        self._vendor = target.vendor
        self._name = name
        self.thoughts_dropped = False

    def blocks(self, message: Message) -> list[_Object]:
        """The message's content. Reasoning that may not be sent is left out and noted."""
        written = map(self._block, message.parts)
        return [block for block in written if block is not None]

    def mark(self, cache: JSON) -> JSON:
        """A cache mark in this format's words."""
        if self._own or cache is None:
            return cache
        ttl = cache.get("ttl") if isinstance(cache, Mapping) else None
        return {"type": "ephemeral", "ttl": "1h"} if ttl in _LONG_MARKS else {"type": "ephemeral"}

    def _block(self, part: Part) -> _Object | None:
        match part:
            case Text():
                return self._text(part)
            case Image():
                return self._image(part)
            case Document():
                return self._document(part)
            case Thought():
                return self._thought(part)
            case ToolUse():
                return self._tool_use(part)
            case ToolResult():
                return self._tool_result(part)
            case Audio():
                raise self._losses.refusal("audio")
            case Opaque():
                if part.origin == NAME:
                    return dict(part.value)
                return {"type": "text", "text": self._foreign(part)}
            case _:
                assert_never(part)

    def _finished(
        self, block: _Object, cache: JSON, extra: Mapping[str, JSON], item: str = ""
    ) -> _Object:
        """The block with its mark, and with its own members or a note about them."""
        if (mark := self.mark(cache)) is not None:
            block["cache_control"] = mark
        if self._own:
            return block | dict(extra)
        if item:
            self._losses.note_item(item, extra)
        else:
            self._losses.note_rest(f"{self._where}[].content[].", extra)
        return block

    def _text(self, part: Text) -> _Object | None:
        if not self._own and not part.text.strip():
            return None  # refused, whether empty or nothing but blanks
        block: _Object = {"type": "text", "text": part.text}
        if part.citations:
            if self._own:
                block["citations"] = list(part.citations)
            else:
                self._losses.note("citations")
        return self._finished(block, part.cache, part.extra)

    def _foreign(self, part: Opaque) -> str:
        """A block that only another vendor understands, in words."""
        path = f"{self._where}[].{part.type}"
        text = opaque_text(part) if part.origin == "responses" else None
        if not text:
            raise self._losses.refusal("vendor's block: no text", at=path, type=part.type)
        self._losses.note("vendor's block", at=path)
        return text

    # --- media ---

    def _image(self, part: Image) -> _Object:
        if part.detail is not None:
            self._losses.note("image.detail")
        source, extra = _source_rest(part.extra) if self._own else ({}, part.extra)
        if part.data is not None:
            mime = part.mime or media.sniff(part.data) or ""
            if not self._own and mime not in _IMAGE_TYPES:
                raise self._losses.refusal("image: type", mime=mime or "unknown")
            source = {"type": "base64", "media_type": mime, "data": part.data, **source}
        elif part.url is not None:
            source = {"type": "url", "url": part.url, **source}
        else:
            file_id = self._file(part.file_id, "image: stored")
            source = {"type": "file", "file_id": file_id, **source}
        return self._finished({"type": "image", "source": source}, part.cache, extra)

    def _file(self, file_id: str | None, case: str) -> str:
        if self._own and file_id is not None:
            return file_id
        raise self._losses.refusal(case)

    def _document(self, part: Document) -> _Object:
        extra: Mapping[str, JSON] = part.extra
        settings: _Object = {"enabled": True} if part.citations else {}
        source: _Object = {}
        if self._own:
            source, extra = _source_rest(extra)
            if isinstance(rest := extra.get("citations"), Mapping):
                settings |= rest
                extra = {name: value for name, value in extra.items() if name != "citations"}
        block: _Object = {"type": "document", "source": self._document_source(part, source)}
        if part.name is not None:
            block["title"] = part.name
        if part.context is not None:
            block["context"] = part.context
        if settings:
            block["citations"] = settings
        return self._finished(block, part.cache, extra)

    def _document_source(self, part: Document, rest: _Object) -> _Object:
        if part.text is not None:
            if rest.get("type") == "content":
                return {**rest, "content": part.text}
            mime = (part.mime if self._own else "") or "text/plain"
            return {"type": "text", "media_type": mime, "data": part.text, **rest}
        if part.data is not None:
            mime = part.mime or media.sniff(part.data) or ""
            if self._own or mime == "application/pdf":
                return {"type": "base64", "media_type": mime, "data": part.data, **rest}
            text = media.decoded_text(part.data) if media.is_text(mime) else None
            if text is None:
                raise self._losses.refusal("document: type", mime=mime or "unknown")
            return {"type": "text", "media_type": "text/plain", "data": text}
        if part.url is not None:
            return {"type": "url", "url": part.url, **rest}
        file_id = self._file(part.file_id, "document: stored")
        return {"type": "file", "file_id": file_id, **rest}

    # --- reasoning and calls ---

    def _thought(self, part: Thought) -> _Object | None:
        extra = part.extra if self._own else {}
        if part.origin == NAME:
            if part.redacted is not None:
                return {"type": "redacted_thinking", "data": part.redacted, **extra}
            # Servers that merely speak the format sign nothing and take their own text back.
            if part.signature is not None or (self._own and not self._vendor):
                signature = part.signature or ""
                return {
                    "type": "thinking",
                    "thinking": part.text,
                    "signature": signature,
                    **extra,
                }
        self.thoughts_dropped = True
        self._losses.note("reasoning")
        return None

    def _tool_use(self, part: ToolUse) -> _Object:
        value = call_input(part)
        if value is None:
            self._losses.note("arguments")
            value = {"_raw_arguments": part.arguments}
        block = {"type": "tool_use", "id": part.id, "name": self._name(part.name), "input": value}
        return self._finished(block, part.cache, part.extra, "tool_calls")

    def _tool_result(self, part: ToolResult) -> _Object:
        block: _Object = {"type": "tool_result", "tool_use_id": part.call_id}
        inner = [each for each in map(self._block, part.parts) if each is not None]
        if len(inner) == 1 and inner[0].keys() == {"type", "text"} and inner[0]["type"] == "text":
            block["content"] = inner[0]["text"]
        elif inner:
            block["content"] = inner
        if part.is_error:
            block["is_error"] = True
        return self._finished(block, part.cache, part.extra, "content")


def _source_rest(extra: Mapping[str, JSON]) -> tuple[_Object, Mapping[str, JSON]]:
    """Members of the source object that the reader kept, and the block's others."""
    rest = extra.get("source")
    if not isinstance(rest, Mapping):
        return {}, extra
    return dict(rest), {name: value for name, value in extra.items() if name != "source"}
