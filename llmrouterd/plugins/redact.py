"""The plugin `redact`: what is about people, or opens doors, leaves this router as placeholders, and
comes back as itself.

    [plugins.redact]
    enabled = true
    kinds = ["email", "phone", "api-key"]
    words = ["Project Nightingale"]
    patterns = { ticket = "TCK-[0-9]{6}" }

Owns: what is covered, and in which hook.
Refuses to know: how values are found (llmrouterd.detect), where texts stand (places.py), how a
placeholder looks (placeholders.py), how the values come back (restoring.py).

Laws:
1. A value that was found once is covered wherever it stands in the request.
2. The table of values lives as long as its request does, and nowhere else.
3. A request may have more covered than the owner's settings say, never less.
4. Sealed things are not altered: signatures, pictures, sounds, PDF. Words are not covered in ids and
   settings, where any word may be one of a server's own.
5. What holds a value and cannot be covered does not leave: a header field and a part of the query are
   left out, a name of a model and token ids are refused.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote_plus

from formats import jsontext
from llmrouterd.detect import DETECTORS, find
from llmrouterd.hooks import Plugin, PluginFailed, PluginRefused
from llmrouterd.plugins.placeholders import Table, TooMany, tree
from llmrouterd.plugins.places import Form, turned
from llmrouterd.plugins.restoring import Restoring

if TYPE_CHECKING:
    from collections.abc import Iterable

    from formats.canonical import Event, Request
    from llmrouterd.hooks import Along, Context

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,30}")
_LONG = 4096
_MOST_WORDS = 1 << 16  # characters of those that a request brings along
_LETTERS = re.compile("[A-Za-z_]{0,40}")  # they are nobody's number, address or key
_BASE64 = re.compile(r"[A-Za-z0-9+/_-]*={0,2}")
_BREATH = 1 << 16  # characters looked at between two breaths
_CODED = re.compile("%[0-9A-Fa-f]{2}")
_PIECE = re.compile("%[0-9A-Fa-f]{2}|.", re.DOTALL)
# They go to the server that they are for, and to nobody else (pipeline/headers.py).
_CREDENTIALS = frozenset({"authorization", "x-api-key", "api-key"})
_IDS = "token ids cannot be read, so nobody knows what they hold: send text"


@dataclass(frozen=True, slots=True)
class _Found:
    """Where a value stands. word: it is one of the words."""

    start: int
    end: int
    kind: str
    word: bool = False


@dataclass(frozen=True, slots=True)
class _Rules:
    kinds: tuple[str, ...]
    words: re.Pattern[str] | None
    patterns: tuple[tuple[str, re.Pattern[str]], ...]

    def found(self, text: str) -> Iterable[_Found]:
        for span in find(text, self.kinds):
            yield _Found(span.start, span.end, span.kind)
        for kind, pattern in self.patterns:
            for match in pattern.finditer(text):
                yield _Found(*match.span(), kind)
        if self.words is not None:
            for match in self.words.finditer(text):
                yield _Found(*match.span(), "word", word=True)


@dataclass(slots=True)
class _Covered:
    """Of one request. client: as it came. table: None until it is covered. in_json: the answer's text
    is JSON."""

    client: Request
    table: Table | None = None
    in_json: bool = False


class Redact(Plugin):
    id = "redact"
    vectors = True

    def __init__(self, settings: Mapping[str, Any]) -> None:
        self._rules = _rules(settings)
        self._settings = settings

    async def on_start(self, request: Request, ctx: Context) -> Request:
        ctx.state = _Covered(request)
        if self._settings.get("before_classifiers", False):
            return await self._cover(request, ctx)
        return request

    async def pre_request(self, request: Request, ctx: Context) -> Request:
        """Whatever else was added to the request meanwhile is covered, too."""
        return await self._cover(request, ctx)

    async def _cover(self, request: Request, ctx: Context) -> Request:
        if _has_ids(request):
            raise PluginRefused(_IDS)
        rules = self._more(ctx)
        texts = _texts_of(request)
        state: _Covered = ctx.state or _Covered(request)
        table = state.table
        if table is None:
            table = Table(text for text, _ in texts)
        read = 0
        for text, form in texts:
            _add(table, text, form, rules)
            read += len(text)
            if read > _BREATH:
                read = 0
                await ctx.breathe()
        if any(not found.word for found in rules.found(request.model)):
            raise PluginRefused("the name of the model holds what is to be covered")
        _keep_back(ctx.along, table, rules)
        ctx.state = replace(state, table=table, in_json=request.output is not None)
        covered = _with_placeholders(request, table)
        if covered is request and _holds_more(request, {text for text, _ in texts}, rules):
            return replace(request, raw=None)  # a codec writes what it knows, and no more
        return covered

    def on_send(self, request: Request, ctx: Context) -> Request:
        """With the table of its request. Before there is one, with a table of its own: the numbers of
        a conversation must not depend on who asked about it."""
        rules = self._more(ctx)
        state: _Covered | None = ctx.state
        texts = _texts_of(request)
        table = state.table if state is not None else None
        if table is None:
            known = _texts_of(state.client) if state is not None else []
            texts = [*known, *texts]
            table = Table(text for text, _ in texts)
        for text, form in texts:
            _add(table, text, form, rules)
        return _with_placeholders(request, table)

    def shown(self, request: Request, ctx: Context) -> Request:
        table = ctx.state.table if ctx.state is not None else None
        if table is None or not len(table):
            return request
        restored = turned(request, lambda text, form: _restored_text(table, text, form))
        return replace(restored, raw=request.raw)

    def _more(self, ctx: Context) -> _Rules:
        """What the owner set, and what this request wants besides. Whoever turned it on without another
        word set all kinds."""
        asked = ctx.settings
        try:
            more = _rules({key: asked[key] for key in ("kinds", "words") if key in asked})
        except ValueError as error:
            raise PluginFailed(str(error)) from None
        mine = self._rules
        kinds = mine.kinds
        if "kinds" in asked:
            owned = mine.kinds if self._settings or ctx.enabled else ()
            kinds = tuple(dict.fromkeys((*owned, *more.kinds)))
        words = [*self._settings.get("words", ()), *asked.get("words", ())]
        if sum(map(len, asked.get("words", ()))) > _MOST_WORDS:
            raise PluginRefused(f"words: more than {_MOST_WORDS} characters in all")
        return replace(mine, kinds=kinds, words=_any_of(words))

    # --- the answer -------------------------------------------------------------------------------

    def on_event(self, event: Event, ctx: Context) -> Iterable[Event]:
        covered: _Covered | None = ctx.state
        if covered is None or not covered.table:
            return (event,)
        if ctx.stream is None:
            ctx.stream = Restoring(covered.table, in_json=covered.in_json)
        restoring: Restoring = ctx.stream
        return restoring(event)


def _texts_of(request: Request) -> list[tuple[str, Form]]:
    texts: list[tuple[str, Form]] = []

    def seen(text: str, form: Form) -> str:
        texts.append((text, form))
        return text

    turned(request, seen)
    return list(dict.fromkeys(texts))  # a text completion has its own text beside its messages


def _add(table: Table, text: str, form: Form, rules: _Rules) -> None:
    """The values of a text into the table. Raises PluginRefused."""
    try:
        for found in rules.found(text):
            if not (found.word and form == "code"):
                value = text[found.start : found.end]
                plain = _plain(value) if form == "json" else value
                table.add(plain, found.kind, word=found.word)
        if _CODED.search(text):
            _add_coded(table, text, rules)
    except TooMany as error:
        raise PluginRefused(str(error)) from None


def _add_coded(table: Table, text: str, rules: _Rules) -> None:
    """The values of a text with percent-encoding, and how they stand there."""
    pieces = _PIECE.findall(text)
    plain = "".join(chr(int(each[1:], 16)) if len(each) == 3 else each for each in pieces)
    for found in rules.found(plain):
        value, spelt = plain[found.start : found.end], "".join(pieces[found.start : found.end])
        if value != spelt and not found.word:
            table.add(value, found.kind)
            table.spelt(value, spelt)


def _holds_more(request: Request, seen: set[str], rules: _Rules) -> bool:
    """Whether the client's own text, which would pass on, holds a value in what no codec reads."""
    left: list[Any] = [] if request.raw is None else [request.raw.value]
    more: set[str] = set()
    while left:
        each = left.pop()
        if isinstance(each, Mapping):
            more.update(each)
            left += each.values()
        elif isinstance(each, list):
            left += each
        elif isinstance(each, str):
            more.add(each)
    return any(_holds(text, rules) for text in more - seen)


def _holds(text: str, rules: _Rules) -> bool:
    if len(text) > _LONG and (text.startswith("data:") or _BASE64.fullmatch(text)):
        return False  # bytes, which have been looked at
    if _LETTERS.fullmatch(text) and not rules.patterns:
        return False
    return any(not found.word for found in rules.found(text))


def _keep_back(along: Along, table: Table, rules: _Rules) -> None:
    """Leave out what holds a value: a placeholder in its place could mean something else there."""

    def holds(text: str) -> bool:
        texts = {text, unquote_plus(text)}
        return any(any(rules.found(t)) or table.cover(t) != t for t in texts)

    along.fields = [(n, v) for n, v in along.fields if n in _CREDENTIALS or not holds(v)]
    along.query = "&".join(part for part in along.query.split("&") if not holds(part))


def _has_ids(request: Request) -> bool:
    """Whether it has token ids for a prompt, of a request for vectors or of a text completion."""
    if "input" in request.bound:
        return True
    if request.origin != "completions" or request.raw is None:
        return False
    prompt = request.raw.value.get("prompt")
    each = prompt if type(prompt) is list else []
    return any(type(item) is int or type(item) is list for item in each)


def _with_placeholders(request: Request, table: Table) -> Request:
    if not len(table):
        return request
    return turned(request, lambda text, form: _covered(table, text, form))


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
    if form == "json":
        return text
    words = form in ("text", "name")
    return table.cover(text, "text" if form == "text" else "name", words=words)


def _restored_text(table: Table, text: str, form: Form) -> str:
    return text if form == "json" else table.restore(text)


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
    return re.compile(rf"(?<!\w)(?:{tree(set(map(_lowered, words)))})(?!\w)", re.IGNORECASE)


def _lowered(word: str) -> str:
    """As the expression sees it, so that what differs in case only is in one branch."""
    lower = word.lower()
    return lower if re.fullmatch(re.escape(word), lower, re.IGNORECASE) else word
