"""What an extension fetches: one HTTP request to anybody, within bounds and under the policies.

Owns: which URL, fields and bounds are taken, where the request's bytes may go, the exchange, and what
the record says of it.
Refuses to know: what is fetched and what it is good for; providers, formats.

Laws:
1. Nothing is sent without the label of the bounds: as soon as the request is classified those that
   bind it, before that every one that might. Who may see a request is said of providers; where all
   that a policy allows are local, nobody elsewhere is asked, and what is blocked goes nowhere.
2. No redirect is followed, no credential, cookie or field of the client's goes along.
3. Bounded in number, bytes and time, whatever the extension asks for.
4. Whoever was sent something stands in the record, and in the receipt, whether they answered or not.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from formats.errors import FormatError
from llmrouterd.edge.deadline import Deadline
from llmrouterd.edge.dial import DialError, Origin
from llmrouterd.hooks import FetchFailed
from llmrouterd.model import Clocks, Facts
from llmrouterd.pipeline.binding import label_of
from llmrouterd.route.policies import bounds, might_bind

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from formats.canonical import Request
    from llmrouterd.guard.egress import Label
    from llmrouterd.model import Receipt
    from llmrouterd.pipeline.daemon import Generation
    from llmrouterd.pipeline.story import Story
    from llmrouterd.route.policies import Bounds

MOST = 100  # of one extension, for one request
LONGEST_S = 600.0
LARGEST = 64 * 1024 * 1024
_LONGEST_URL = 8192
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"})
_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*")
# The exchange's own: what they say is what is done.
_FRAMING = frozenset(
    {"host", "content-length", "transfer-encoding", "connection", "upgrade", "te", "trailer"}
)


class Errand:
    """What `ctx.fetch` of one extension is. judged: the request as it stands, once its tags are
    known; None before that."""

    def __init__(
        self, gen: Generation, story: Story, by: str, judged: Callable[[], Request | None]
    ) -> None:
        self._gen = gen
        self._story = story
        self._by = by
        self._judged = judged
        self._count = 0

    async def fetch(
        self,
        method: str,
        url: str,
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
        *,
        timeout_s: float = 10.0,
        max_bytes: int = 1 << 20,
        public_only: bool = False,
        passes_on: bool = False,
        ca_file: str = "",
    ) -> tuple[int, bytes]:
        """Status and body. Raises FetchFailed."""
        if method not in _METHODS:
            raise FetchFailed(f"the method {method!r} is none of {', '.join(sorted(_METHODS))}")
        origin, target = place(url)
        fields = self._fields(headers or {})
        label = replace(self._label(), public_only=public_only)
        if passes_on and label.local_only:
            words = "a policy keeps the request on this network, and whoever is asked passes it on"
            raise FetchFailed(words)
        self._count += 1
        if self._count > MOST:
            raise FetchFailed(f"{self._by} has fetched {MOST} times for this request")
        origin = replace(origin, ca_file=ca_file)
        seconds, limit = min(max(timeout_s, 0.01), LONGEST_S), min(max_bytes, LARGEST)
        clocks = Clocks(connect_s=0, first_token_s=0, idle_s=0, total_s=seconds)
        told = _Told(self._story, f"{self._by} asked {origin.where}")
        try:
            with Deadline(clocks) as deadline:
                async with self._story.daemon.pool.exchange(
                    *(origin, method, target, fields, body, deadline),
                    label=label,
                    reached=told.reached,
                ) as exchange:
                    answer = await exchange.read_all(limit) if method != "HEAD" else b""
                    told.outcome = str(exchange.status)
                    return exchange.status, answer
        except DialError as error:
            raise FetchFailed(told.failed(str(error))) from None
        except FormatError as error:
            raise FetchFailed(told.failed(f"{origin.where}: {error}")) from None
        finally:
            told.end()
        raise FetchFailed(f"{origin.where}: no answer within {seconds:g} s")

    def _fields(self, wanted: Mapping[str, str]) -> list[tuple[str, str]]:
        fields = [("user-agent", self._gen.user_agent), ("accept-encoding", "identity")]
        for name, value in wanted.items():
            if not _NAME.fullmatch(name) or not _VALUE.fullmatch(value):
                raise FetchFailed(f"no header field can be like {name!r} or hold its value")
            lower = name.lower()
            if lower in _FRAMING:
                raise FetchFailed(f"the header field {name!r} is the router's to write")
            fields = [field for field in fields if field[0] != lower]
            fields.append((lower, value))
        return fields

    def _label(self) -> Label:
        """Where this request's bytes may go now. Raises FetchFailed where the answer is nowhere."""
        policies, story = self._gen.routing.policies, self._story
        request = self._judged()
        if request is None:
            bound = might_bind(policies, story.client)
        else:
            known = Facts(
                request.model,
                tags=story.tags,
                client=story.client,
                unknown_tags=story.unknown_tags,
            )
            bound = bounds(known, policies)
            if bound.blocked:
                raise FetchFailed(f"{bound.blocker}: {bound.blocked}")
        label = label_of(bound)
        return replace(label, local_only=True) if self._stays(bound) else label

    def _stays(self, bound: Bounds) -> bool:
        """A policy that may yet block the request, or lets only local providers see it."""
        providers = self._gen.providers
        return bool(bound.blocked) or any(
            policy.allow and all(p.local for name in policy.allow if (p := providers.get(name)))
            for policy in bound.policies
        )


class _Told:
    """Of one request: what the story is told of it, once it has reached somebody."""

    def __init__(self, story: Story, what: str) -> None:
        self._story = story
        self._what = what
        self._address = ""
        self.outcome = "no answer"

    def reached(self, receipt: Receipt) -> None:
        self._address = receipt.address
        self._story.reached(receipt)

    def failed(self, words: str) -> str:
        self.outcome = words
        return words

    def end(self) -> None:
        if self._address:
            self._story.notes.append(f"{self._what} at {self._address}: {self.outcome}")


def place(url: str) -> tuple[Origin, str]:
    """Whom a URL means, and what is asked for there. Raises FetchFailed."""
    if len(url) > _LONGEST_URL:
        raise FetchFailed(f"the URL is over {_LONGEST_URL} characters")
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError as error:
        raise FetchFailed(f"this is no URL: {error}") from None
    if parts.scheme not in ("http", "https") or not host or port == 0:
        raise FetchFailed("a URL is http://host/path or https://host/path")
    if parts.username is not None:
        raise FetchFailed("a URL with a user's name in it is not asked for: use a header field")
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    if not target.isascii() or not target.isprintable() or " " in target:
        raise FetchFailed("the URL has characters that must be percent-encoded")
    secure = parts.scheme == "https"
    usual = 443 if secure else 80
    return Origin("https" if secure else "http", host, port or usual), target
