"""Pictures that a client only names by URL, fetched for servers that take bytes.

Owns: which URLs may be fetched, fetching them within bounds, and the request with bytes in their
place.
Refuses to know: how a request is written, what a server does with a picture.

Laws:
1. Off unless the owner lists hosts: a URL is a client's word, and fetching it is done in the
   router's name.
2. Public addresses only, looked at as they are dialled; no redirect is followed; no credential,
   cookie or header of the client's goes along.
3. Bounded in number, bytes and time. What cannot be fetched is left as it is, and the writer says
   what the server cannot take.
"""

from __future__ import annotations

import logging
from base64 import b64encode
from dataclasses import replace
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import trio

from formats import media
from formats.canonical import Image, ToolResult
from formats.errors import FormatError
from llmrouterd.edge.deadline import Deadline
from llmrouterd.edge.dial import DialError, Origin
from llmrouterd.guard.egress import Label
from llmrouterd.model import Clocks

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from formats.canonical import Message, Part, Request
    from llmrouterd.edge.pool import Pool, Reached
    from llmrouterd.model import Images, Provider
    from llmrouterd.pipeline.work import Work

LOG = logging.getLogger("llmrouter.fetch")
_MOST = 20  # pictures of one request
_AT_ONCE = 4
_PUBLIC = Label(public_only=True)
_FIELDS = [("accept", "image/*"), ("accept-encoding", "identity"), ("user-agent", "llmrouter")]


async def with_images(work: Work, provider: Provider) -> Request:
    """The request for this provider: with bytes for URLs where it needs them and may have them."""
    rules = work.gen.images
    if not rules.fetch_hosts or not _needs_bytes(provider):
        return work.request
    wanted = [url for url in dict.fromkeys(_urls(work.request)) if allowed(url, rules)][:_MOST]
    missing = [url for url in wanted if url not in work.fetched]
    if missing:
        await _fetch_all(missing, work, rules)
    found = {url: image for url in wanted if (image := work.fetched.get(url)) is not None}
    if not found:
        return work.request
    messages = tuple(_replaced(message, found) for message in work.request.messages)
    return replace(work.request, messages=messages, raw=None)


def _needs_bytes(provider: Provider) -> bool:
    return provider.format == "ollama" or provider.dialect.name == "llama.cpp"


def allowed(url: str, rules: Images) -> bool:
    """Whether this URL is one of those that the owner lets be fetched."""
    try:
        parts = urlsplit(url)
        host, port = (parts.hostname or "").lower().rstrip("."), parts.port
    except ValueError:
        return False
    if parts.scheme not in ("http", "https") or not host or parts.username is not None or port == 0:
        return False
    if not url.isascii() or not url.isprintable() or " " in url:
        return False  # HTTP has no way to ask for it
    return any(fnmatchcase(host, pattern.lower()) for pattern in rules.fetch_hosts)


def _urls(request: Request) -> Iterable[str]:
    for message in request.messages:
        yield from _urls_in(message.parts)


def _urls_in(parts: Sequence[Part]) -> Iterable[str]:
    for part in parts:
        if isinstance(part, Image) and part.url is not None:
            yield part.url
        elif isinstance(part, ToolResult):
            yield from _urls_in(part.parts)


def _replaced(message: Message, found: dict[str, Image]) -> Message:
    return replace(message, parts=tuple(_with_bytes(part, found) for part in message.parts))


def _with_bytes(part: Part, found: dict[str, Image]) -> Part:
    if isinstance(part, ToolResult):
        return replace(part, parts=tuple(_with_bytes(inner, found) for inner in part.parts))
    if not isinstance(part, Image) or part.url is None or part.url not in found:
        return part
    image = found[part.url]
    return replace(part, url=None, data=image.data, mime=image.mime)


async def _fetch_all(urls: Sequence[str], work: Work, rules: Images) -> None:
    places = trio.CapacityLimiter(_AT_ONCE)

    async def one(url: str) -> None:
        async with places:
            label = replace(work.label, public_only=True)
            reached = work.story.reached
            work.fetched[url] = await fetch(url, work.daemon.pool, rules, label, reached)

    async with trio.open_nursery() as nursery:
        for url in urls:
            nursery.start_soon(one, url)


async def fetch(
    url: str, pool: Pool, rules: Images, label: Label = _PUBLIC, reached: Reached | None = None
) -> Image | None:
    """The picture at a URL; None when it cannot be had, which the log says."""
    parts = urlsplit(url)
    secure = parts.scheme == "https"
    origin = Origin(
        "https" if secure else "http", parts.hostname or "", parts.port or (443 if secure else 80)
    )
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    half = rules.timeout / 2
    clocks = Clocks(connect_s=half, first_token_s=half, idle_s=half, total_s=rules.timeout)
    why = f"no answer within {rules.timeout:g} s"
    with Deadline(clocks) as deadline:
        try:
            async with pool.exchange(
                origin, "GET", target, _FIELDS, b"", deadline, label=label, reached=reached
            ) as exchange:
                if exchange.status != 200:
                    raise ValueError(f"status {exchange.status}")
                return _picture(await exchange.read_all(rules.max_bytes))
        except (DialError, FormatError, ValueError) as error:
            why = str(error)
    LOG.info("a picture at %s was not fetched: %s", origin.host, why)
    return None


def _picture(body: bytes) -> Image:
    data = b64encode(body).decode()
    kind = media.sniff(data) or ""
    if not kind.startswith("image/"):
        raise ValueError("what came is no picture")
    return Image(data=data, mime=kind)
