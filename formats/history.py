"""Conversations put in order: every call has its result, every result its call, every id is legal.

Owns: matching results to calls, minting and mapping ids in a history, joining runs of one role and
joining texts. Strict upstreams refuse a history that has any of it wrong.
Refuses to know: wire formats; which id is legal is told by a rule.

Laws:
1. Never raises for an odd history, and gives one in order back untouched.
2. Deterministic: the same history gives the same ids on every turn (prompt caches hang on that).
3. Nothing that was said disappears: a result nobody asked for becomes text. All but the dropping
   of empty text is noted in the ledger.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from formats import ids, jsontext
from formats.canonical import (
    Audio,
    Document,
    Image,
    Message,
    Part,
    Role,
    Text,
    Thought,
    ToolResult,
    ToolUse,
)
from formats.errors import FormatError
from formats.losses import CASES, record

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from formats.ids import IdRule
    from formats.ledger import Ledger

NO_RESULT = "No result was recorded for this call."
ORPHAN = "Result of an earlier tool call: "


@dataclass(slots=True)
class _Call:
    """A call of a turn: the id it goes by from now on, and the result that was found for it."""

    use: ToolUse
    id: str
    result: ToolResult | None = None
    source: int = -1  # index of the message that brought the result


@dataclass(slots=True)
class _Turn:
    """A run of assistant messages. last: index of the last of them."""

    last: int
    calls: list[_Call] = field(default_factory=list)


class _Open:
    """The calls that wait for a result, found by id, or by name and order in the latest turn.

    Every queue may hold calls that were answered by way of another one: they are skipped.
    """

    __slots__ = ("_by_id", "_by_name", "_idless", "_latest")

    def __init__(self) -> None:
        self._by_id: dict[str, list[deque[_Call]]] = {}  # one queue for each turn
        self._latest: deque[_Call] = deque()
        self._idless: deque[_Call] = deque()
        self._by_name: dict[str, deque[_Call]] = {}

    def begin(self, turn: _Turn) -> None:
        self._latest = deque(turn.calls)
        self._idless = deque(call for call in turn.calls if not call.use.id)
        self._by_name = {}
        fresh: dict[str, deque[_Call]] = {}
        for call in turn.calls:
            self._by_name.setdefault(call.use.name, deque()).append(call)
            if call.use.id:
                fresh.setdefault(call.use.id, deque()).append(call)
        for id, queue in fresh.items():  # noqa: A001
            self._by_id.setdefault(id, []).append(queue)

    def take(self, result: ToolResult) -> _Call | None:
        """The call that this result answers. An id that is nobody's may still belong to a call of
        the same name, or to one that had no id: never to one with another id."""
        queues = self._by_id.get(result.call_id, [])
        while queues:
            if call := _next(queues[-1]):
                return call
            queues.pop()
        if result.name and (call := _next(self._by_name.get(result.name, deque()))):
            return call
        return _next(self._idless if result.call_id else self._latest)


def _next(queue: deque[_Call]) -> _Call | None:
    while queue:
        call = queue.popleft()
        if call.result is None:
            return call
    return None


def settle(
    messages: tuple[Message, ...], ledger: Ledger, rule: IdRule, *, path: str = "messages"
) -> tuple[Message, ...]:
    """The same conversation with calls and results in order, as strict formats want it.

    Every call has an id that is legal for `rule` and stands once; results follow their turn in the
    order of its calls; a call without a result gets one that says so, unless nothing follows its
    turn; a result without a call becomes text of the user. Empty texts are dropped, which may
    leave a message without parts.
    """
    return _Settler(messages, ledger, rule, path).settled()


class _Settler:
    __slots__ = ("_ledger", "_messages", "_orphans", "_path", "_rule", "_turns", "_used")

    def __init__(
        self, messages: tuple[Message, ...], ledger: Ledger, rule: IdRule, path: str
    ) -> None:
        self._messages = [_without_empty_text(message) for message in messages]
        self._ledger = ledger
        self._rule = rule
        self._path = path
        self._used: dict[str, int] = {}  # ids given out, with how often each was asked for
        self._turns: list[_Turn] = []
        self._orphans: set[tuple[int, int]] = set()  # places of results without a call

    def settled(self) -> tuple[Message, ...]:
        self._find_turns()
        self._match_results()
        return self._written()

    # --- calls and their ids ---

    def _find_turns(self) -> None:
        previous: Role | None = None
        for index, message in enumerate(self._messages):
            if message.role == "assistant":
                if previous != "assistant":
                    self._turns.append(_Turn(index))
                self._turns[-1].last = index
                self._read_calls(index, message)
            previous = message.role

    def _read_calls(self, index: int, message: Message) -> None:
        uses = [part for part in message.parts if isinstance(part, ToolUse)]
        for ordinal, use in enumerate(uses):
            call = _Call(use, self._settled_id(use, index, ordinal))
            self._turns[-1].calls.append(call)

    def _settled_id(self, use: ToolUse, index: int, ordinal: int) -> str:
        if use.id:
            settled = ids.legal_id(use.id, self._rule)
        else:
            settled = f"call_{index}_{ordinal}_{ids.digest(use.name + _arguments(use), 8)}"
        settled = self._unused(settled)
        if settled != use.id:
            case = "call id: changed" if use.id else "call id: made"
            self._note(f"[{index}].tool_calls[{ordinal}].id", case)
        return settled

    def _unused(self, wanted: str) -> str:
        given = wanted
        while given in self._used:
            self._used[wanted] += 1
            given = ids.legal_id(f"{wanted}_{self._used[wanted]}", self._rule)
        self._used[given] = 1
        return given

    # --- results and their calls ---

    def _match_results(self) -> None:
        waiting = _Open()
        turns = {turn.last: turn for turn in self._turns}
        for index, message in enumerate(self._messages):
            for place, part in enumerate(message.parts):
                if isinstance(part, ToolResult):
                    call = waiting.take(part)
                    if call is None:
                        self._orphans.add((index, place))
                    else:
                        call.result, call.source = part, index
            if index in turns:
                waiting.begin(turns[index])

    # --- the conversation in order ---

    def _written(self) -> tuple[Message, ...]:
        out: list[Message] = []
        turns = {turn.last: turn for turn in self._turns}
        settled = iter([call for turn in self._turns for call in turn.calls])
        for index, message in enumerate(self._messages):
            if message.role == "assistant":
                out.append(_with_ids(message, settled))
                if index in turns:
                    out += self._results(turns[index])
            else:
                out += self._without_results(index, message)
        return tuple(out)

    def _results(self, turn: _Turn) -> list[Message]:
        """The tool messages that follow a turn: each result in its own message as it came, so far
        as the order of the calls allows."""
        groups: list[tuple[int, list[Part]]] = []
        at_end = turn.last == len(self._messages) - 1
        for call in turn.calls:
            result = call.result
            if result is None:
                if at_end:
                    continue
                self._note(f"[{turn.last}].tool_calls", "call: no result")
                result = ToolResult(
                    "", (Text(NO_RESULT),), call.use.name, is_error=True, kind=call.use.kind
                )
            source = call.source if call.result else (groups[-1][0] if groups else -1)
            if result.call_id != call.id:
                result = replace(result, call_id=call.id)
            if groups and groups[-1][0] == source:
                groups[-1][1].append(result)
            else:
                groups.append((source, [result]))
        self._note_order(turn, [source for source, _ in groups if source >= 0])
        return [self._group(source, parts) for source, parts in groups]

    def _group(self, source: int, parts: list[Part]) -> Message:
        if source < 0:
            return Message("tool", tuple(parts))
        original = self._messages[source]
        if len(parts) == len(original.parts) and all(map(_is, parts, original.parts)):
            return original
        return replace(original, parts=tuple(parts), role="tool")

    def _note_order(self, turn: _Turn, sources: list[int]) -> None:
        in_place = list(range(turn.last + 1, turn.last + 1 + len(sources)))
        if sources != in_place or self._shuffled(turn):
            self._note(f"[{turn.last}]", "result: order")

    def _shuffled(self, turn: _Turn) -> bool:
        given = [call.result for call in turn.calls if call.result is not None]
        places = {id(result) for result in given}
        sources = {call.source for call in turn.calls if call.result is not None}
        sent = [
            part
            for source in sorted(sources)
            for part in self._messages[source].parts
            if id(part) in places
        ]
        return not all(map(_is, given, sent))

    def _without_results(self, index: int, message: Message) -> list[Message]:
        """What remains of a message when its results stand elsewhere; orphans become text."""
        if message.role != "tool" and not any(map(_is_result, message.parts)):
            return [message]
        kept: list[Part] = []
        for place, part in enumerate(message.parts):
            if not isinstance(part, ToolResult):
                kept.append(part)
            elif (index, place) in self._orphans:
                kept += _as_text(part)
                self._note(f"[{index}]", "result: no call")
        return [replace(message, role="user", parts=tuple(kept))] if kept else []

    def _note(self, place: str, case: str) -> None:
        record(self._ledger, CASES[""][case], self._path + place)


def _is_result(part: Part) -> bool:
    return isinstance(part, ToolResult)


def _is(one: object, other: object) -> bool:
    return one is other


def _arguments(use: ToolUse) -> str:
    if use.arguments or not use.input:
        return use.arguments
    try:
        return jsontext.dumps(dict(use.input))
    except (FormatError, TypeError, ValueError):
        return ""


def _with_ids(message: Message, settled: Iterable[_Call]) -> Message:
    """The message with its calls' settled ids; `settled` runs along with all calls in order."""
    parts: list[Part] = []
    for part in message.parts:
        if isinstance(part, ToolUse):
            id = next(iter(settled)).id  # noqa: A001
            parts.append(part if part.id == id else replace(part, id=id))
        else:
            parts.append(part)
    return message if all(map(_is, parts, message.parts)) else replace(message, parts=tuple(parts))


def _as_text(result: ToolResult) -> list[Part]:
    text = joined_text(result.parts, role="tool")
    media = [part for part in result.parts if isinstance(part, Image | Document | Audio)]
    return [Text(ORPHAN + text, cache=result.cache), *media]


def _without_empty_text(message: Message) -> Message:
    parts = _kept(message.parts)
    return message if parts is message.parts else replace(message, parts=parts)


def _kept(parts: tuple[Part, ...]) -> tuple[Part, ...]:
    out: list[Part] = []
    for part in parts:
        if isinstance(part, Text) and not part.text:
            continue
        if isinstance(part, ToolResult):
            inner = _kept(part.parts)
            if inner is not part.parts:
                part = replace(part, parts=inner)
        out.append(part)
    same = len(out) == len(parts) and all(map(_is, out, parts))
    return parts if same else tuple(out)


def merged(messages: Sequence[Message]) -> tuple[Message, ...]:
    """Runs of one role joined into one message each. What came from a top-level `system` member
    stays apart from system messages of the conversation."""
    out: list[Message] = []
    for message in messages:
        last = out[-1] if out else None
        if last and last.role == message.role and last.hoisted == message.hoisted:
            extra = {**last.extra, **message.extra} if message.extra else last.extra
            out[-1] = replace(
                last, parts=last.parts + message.parts, name=last.name or message.name, extra=extra
            )
        else:
            out.append(message)
    return tuple(out)


def joined_text(parts: Iterable[Part], *, role: Role) -> str:
    """All text of the parts as one string. Pieces of an assistant's text run on (citations cut it
    in the middle of sentences); others get a line end where neither side has one."""
    texts = [part.text for part in parts if isinstance(part, Text) and part.text]
    if role == "assistant" or len(texts) < 2:
        return "".join(texts)
    out = texts[:1]
    for text in texts[1:]:
        if not out[-1].endswith("\n") and not text.startswith("\n"):
            out.append("\n")
        out.append(text)
    return "".join(out)


def unsigned(messages: tuple[Message, ...], ledger: Ledger, path: str) -> tuple[Message, ...]:
    """The conversation without reasoning that some vendor sealed: another one refuses it."""
    out = []
    for message in messages:
        kept = tuple(part for part in message.parts if not _is_sealed(part))
        if len(kept) != len(message.parts):
            record(ledger, CASES[""]["sealed"], path)
            message = replace(message, parts=kept)
        out.append(message)
    return tuple(out)


def _is_sealed(part: Part) -> bool:
    return isinstance(part, Thought) and (part.signature is not None or part.redacted is not None)
