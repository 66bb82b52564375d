"""The plugin `redact`: what is about people, or opens doors, leaves this router as placeholders, and
comes back as itself.

    [plugins.redact]
    enabled = true
    kinds = ["email", "phone", "api-key"]
    words = ["Project Nightingale"]
    patterns = { ticket = "TCK-[0-9]{6}" }

Owns: what is covered, in which hook, and the answer's events with the values put back.
Refuses to know: how values are found (llmrouterd.detect), where texts stand (places.py), how a
placeholder looks (placeholders.py).

Laws:
1. A value that was found once is covered wherever it stands in the request.
2. The table of values lives as long as its request does, and nowhere else.
3. A request may have more covered than the owner's settings say, never less.
4. Sealed things are not altered: ids, signatures, pictures, sounds, PDF.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from formats import jsontext
from formats.canonical import (
    CitationSeen,
    Event,
    Failed,
    Finished,
    OpaquePart,
    PartEnded,
    RefusalDelta,
    TextDelta,
    ThoughtDelta,
    ThoughtSigned,
    ToolDelta,
    ToolStarted,
)
from llmrouterd.detect import DETECTORS, find
from llmrouterd.hooks import Plugin, PluginFailed
from llmrouterd.plugins.placeholders import Restorer, Table, TooMany
from llmrouterd.plugins.places import Form, turned

if TYPE_CHECKING:
    from collections.abc import Iterable

    from formats.canonical import Request
    from llmrouterd.hooks import Context

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,30}")
_BREATH = 1 << 16  # characters looked at between two breaths


@dataclass(frozen=True, slots=True)
class _Rules:
    kinds: tuple[str, ...]
    words: re.Pattern[str] | None
    patterns: tuple[tuple[str, re.Pattern[str]], ...]

    def found(self, text: str) -> Iterable[tuple[str, str, bool]]:
        """(value, kind, whether it is a word)."""
        for span in find(text, self.kinds):
            yield span.value, span.kind, False
        for kind, pattern in self.patterns:
            for match in pattern.finditer(text):
                yield match.group(), kind, False
        if self.words is not None:
            for match in self.words.finditer(text):
                yield match.group(), "word", True


@dataclass(slots=True)
class _Covered:
    """Of one request."""

    table: Table
    in_json: bool  # the answer's text is JSON


@dataclass(slots=True)
class _Stream:
    """Of one answer's stream."""

    open: dict[int, tuple[type[Any], Restorer]] = field(default_factory=dict)
    custom: set[int] = field(default_factory=set)


class Redact(Plugin):
    id = "redact"

    def __init__(self, settings: Mapping[str, Any]) -> None:
        self._rules = _rules(settings)
        self._settings = settings

    async def on_start(self, request: Request, ctx: Context) -> Request:
        if self._settings.get("before_classifiers", False):
            return await self._cover(request, ctx)
        return request

    async def pre_request(self, request: Request, ctx: Context) -> Request:
        """Whatever else was added to the request meanwhile is covered, too."""
        return await self._cover(request, ctx)

    async def _cover(self, request: Request, ctx: Context) -> Request:
        rules = self._more(ctx.settings)
        texts: list[tuple[str, Form]] = []

        def seen(text: str, form: Form) -> str:
            texts.append((text, form))
            return text

        turned(request, seen)
        before: _Covered | None = ctx.state
        table = before.table if before else Table(text for text, _ in texts)
        try:
            await _fill(table, texts, rules, ctx)
        except TooMany as error:
            raise PluginFailed(str(error)) from None
        ctx.state = _Covered(table, in_json=request.output is not None)
        if not len(table):
            return request
        return turned(request, lambda text, form: _covered(table, text, form))

    def _more(self, asked: Mapping[str, Any]) -> _Rules:
        """What the owner set, and what this request wants besides."""
        try:
            more = _rules({key: asked[key] for key in ("kinds", "words") if key in asked})
        except ValueError as error:
            raise PluginFailed(str(error)) from None
        mine = self._rules
        kinds = mine.kinds
        if "kinds" in asked:
            owned = mine.kinds if self._settings else ()
            kinds = tuple(dict.fromkeys((*owned, *more.kinds)))
        words = [*self._settings.get("words", ()), *asked.get("words", ())]
        return replace(mine, kinds=kinds, words=_any_of(words))

    # --- the answer -------------------------------------------------------------------------------

    def on_event(self, event: Event, ctx: Context) -> Iterable[Event]:
        covered: _Covered | None = ctx.state
        if covered is None or not len(covered.table):
            return (event,)
        if ctx.stream is None:
            ctx.stream = _Stream()
        return _restored(event, covered, ctx.stream)


async def _fill(
    table: Table, texts: Sequence[tuple[str, Form]], rules: _Rules, ctx: Context
) -> None:
    read = 0
    for text, form in texts:
        for value, kind, word in rules.found(text):
            table.add(_plain(value) if form == "json" else value, kind, word=word)
        read += len(text)
        if read > _BREATH:
            read = 0
            await ctx.breathe()


def _plain(value: str) -> str:
    """A value that stands in JSON, as it is without."""
    if "\\" not in value:
        return value
    try:
        plain = jsontext.loads(f'"{value}"')
    except ValueError:
        return value
    return plain if isinstance(plain, str) else value


def _covered(table: Table, text: str, form: Form) -> str:
    return text if form == "json" else table.cover(text, form)


def _restored(event: Event, covered: _Covered, stream: _Stream) -> Iterable[Event]:
    table = covered.table
    match event:
        case TextDelta(part, text) | RefusalDelta(part, text) | ThoughtDelta(part, text):
            in_json = covered.in_json and isinstance(event, TextDelta)
            out = _fed(stream, part, text, type(event), table, in_json=in_json)
            return (replace(event, text=out),) if out or not text else ()
        case ToolDelta(part, fragment):
            in_json = part not in stream.custom
            out = _fed(stream, part, fragment, ToolDelta, table, in_json=in_json)
            return (ToolDelta(part, out),) if out or not fragment else ()
        case ToolStarted(part):
            if event.kind == "custom":
                stream.custom.add(part)
            return (replace(event, name=table.restore(event.name)),)
        case CitationSeen(part, citation):
            return (*_flushed(stream, part), CitationSeen(part, _json(citation, table)))
        case OpaquePart():
            return (replace(event, value=_json(event.value, table)),)
        case PartEnded(part) | ThoughtSigned(part):
            return (*_flushed(stream, part), event)
        case Finished() | Failed():
            rest = [each for part in list(stream.open) for each in _flushed(stream, part)]
            return (*rest, event)
        case _:
            return (event,)


def _fed(
    stream: _Stream, part: int, text: str, kind: type[Any], table: Table, *, in_json: bool
) -> str:
    found = stream.open.get(part)
    if found is None:
        found = stream.open[part] = (kind, Restorer(table, in_json=in_json))
    return found[1].feed(text)


def _flushed(stream: _Stream, part: int) -> Iterable[Event]:
    """What was held back of a part, as the kind of event that it came in."""
    found = stream.open.pop(part, None)
    held = found[1].end() if found else ""
    return (found[0](part, held),) if found and held else ()


def _json(value: Any, table: Table) -> Any:
    if isinstance(value, str):
        return table.restore(value)
    if isinstance(value, list | tuple):
        return [_json(each, table) for each in value]
    if isinstance(value, Mapping):
        return {table.restore(name): _json(each, table) for name, each in value.items()}
    return value


# --- settings -------------------------------------------------------------------------------------


def _rules(settings: Mapping[str, Any]) -> _Rules:
    kinds = _texts(settings, "kinds") if "kinds" in settings else tuple(DETECTORS)
    for kind in kinds:
        if kind not in DETECTORS:
            raise ValueError(f"kinds: there is no {kind[:40]!r}, only {', '.join(DETECTORS)}")
    patterns = []
    for name, text in settings.get("patterns", {}).items():
        if not _NAME.fullmatch(name):
            raise ValueError(f"patterns.{name}: expected a name of letters, digits, - and _")
        try:
            patterns.append((name, re.compile(text)))
        except (re.error, OverflowError, RecursionError) as error:
            raise ValueError(f"patterns.{name}: not a regular expression: {error}") from None
    return _Rules(kinds, _any_of(_texts(settings, "words")), tuple(patterns))


def _texts(settings: Mapping[str, Any], key: str) -> tuple[str, ...]:
    given = settings.get(key, ())
    right = isinstance(given, Sequence) and not isinstance(given, str)
    if not right or not all(isinstance(each, str) and each.strip() for each in given):
        raise ValueError(f"{key}: expected a list of texts")
    return tuple(given)


def _any_of(words: Sequence[str]) -> re.Pattern[str] | None:
    """Any of the words where it stands alone, however it is capitalised."""
    if not words:
        return None
    longest = sorted(set(words), key=len, reverse=True)
    return re.compile(rf"(?<!\w)(?:{'|'.join(map(re.escape, longest))})(?!\w)", re.IGNORECASE)
