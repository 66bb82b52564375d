"""A request with other words in its system prompt.

Owns: where such words stand, in the canonical request and in the client's own text.
Refuses to know: which words, and for whom (system_prompt.py).

Laws:
1. The place is the member that the client's format has for it; else the first, or the last, of the
   system messages that the conversation begins with; else its front. Instructions in the middle are no
   place: the next turn would have them somewhere else.
2. Outside of that place the client's text stays as it is, cache marks included. Where the words stand
   among others that this file does not read, the text is let go, and written anew from the request.
3. Request and text say the same.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from formats.canonical import Message, Text
from formats.jsontext import parse_body

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from formats.canonical import Part, Request
    from formats.jsontext import RawBody

MODES = ("prepend", "append", "replace")
_SYSTEM = ("system", "developer")
# The member for system text, where a format has one, and that of the conversation.
_MEMBER = {"anthropic": "system", "responses": "instructions", "generate": "system"}
_CONVERSATION = {"responses": "input"}


def has_system(request: Request) -> bool:
    return any(message.role in _SYSTEM for message in request.messages)


def with_prompt(request: Request, text: str, mode: str) -> Request:
    """The request with `text` before, behind or instead of its system prompt."""
    messages = _placed(request.messages, text, mode, hoists=request.origin in _MEMBER)
    return replace(request, messages=messages, raw=_respelled(request, text, mode))


# --- the request ----------------------------------------------------------------------------------


def _placed(
    messages: Sequence[Message], text: str, mode: str, *, hoists: bool
) -> tuple[Message, ...]:
    alone = Message("system", (Text(text),), hoisted=hoists)
    if mode == "replace":
        return (alone, *(message for message in messages if message.role not in _SYSTEM))
    at = _place(messages, mode, hoists=hoists)
    if at is None:
        return (alone, *messages)
    joined = _joined(messages[at].parts, text, before=mode == "prepend")
    return (*messages[:at], replace(messages[at], parts=joined), *messages[at + 1 :])


def _place(messages: Sequence[Message], mode: str, *, hoists: bool) -> int | None:
    """Which message has the words that ours go with; None: none has."""
    leading = _leading(messages)
    if leading and messages[0].hoisted:
        return 0
    if not leading or (hoists and mode == "prepend"):
        return None
    return 0 if mode == "prepend" else leading - 1


def _leading(messages: Sequence[Message]) -> int:
    """How many system messages the conversation begins with."""
    for count, message in enumerate(messages):
        if message.role not in _SYSTEM:
            return count
    return len(messages)


def _joined(parts: tuple[Part, ...], text: str, *, before: bool) -> tuple[Part, ...]:
    """In one text with the client's words, since chat templates differ in what they do with two; beside
    them where these carry a mark, or are more than one."""
    near = parts[0] if len(parts) == 1 else None
    if not isinstance(near, Text) or near.cache is not None or near.extra:
        return (Text(text), *parts) if before else (*parts, Text(text))
    return (replace(near, text=_both(near.text, text, before=before)),)


def _both(theirs: str, ours: str, *, before: bool) -> str:
    if not theirs:
        return ours
    return f"{ours}\n\n{theirs}" if before else f"{theirs}\n\n{ours}"


# --- the client's text ----------------------------------------------------------------------------


def _respelled(request: Request, text: str, mode: str) -> RawBody | None:
    """The client's own text with the same words at the same place; None: it has to be let go."""
    raw = request.raw
    if raw is None:
        return None
    member = _MEMBER.get(request.origin)
    if member is not None:
        edits = _in_member(request, raw, member, text, mode)
    else:
        edits = _in_messages(request, raw, text, mode)
    return None if edits is None else parse_body(raw.spliced(edits))


def _in_member(
    request: Request, raw: RawBody, member: str, text: str, mode: str
) -> Mapping[str, Any] | None:
    conversation = raw.value.get(_CONVERSATION.get(request.origin, "messages"))
    others = isinstance(conversation, list) and any(map(_is_system, conversation))
    said = raw.value.get(member)
    if mode == "replace":
        return None if others else {member: text}
    if not said:
        return None if others and mode == "append" else {member: text}
    changed = _content(said, text, before=mode == "prepend")
    return None if changed is None else {member: changed}


def _in_messages(request: Request, raw: RawBody, text: str, mode: str) -> Mapping[str, Any] | None:
    said = raw.value["messages"]
    alone = {"role": "system", "content": text}
    if mode == "replace":
        return {"messages": [alone, *(each for each in said if not _is_system(each))]}
    at = _place(request.messages, mode, hoists=False)
    if at is None:
        return {"messages": [alone, *said]}
    near = said[at]
    content = None if near.get("images") else near.get("content")
    changed = _content(content, text, before=mode == "prepend")
    if changed is None:
        return None
    return {"messages": [*said[:at], {**near, "content": changed}, *said[at + 1 :]]}


def _is_system(message: Any) -> bool:
    return isinstance(message, dict) and str(message.get("role")).lower() in _SYSTEM


def _content(said: Any, text: str, *, before: bool) -> Any:
    """System text as a client writes it, with ours; None: it is written in some other way."""
    if isinstance(said, str):
        return _both(said, text, before=before) if said else None
    if not isinstance(said, list) or not all(map(_is_text, said)):
        return None
    if len(said) == 1 and said[0].keys() == {"type", "text"} and said[0]["text"]:
        return [{**said[0], "text": _both(said[0]["text"], text, before=before)}]
    ours = {"type": "text", "text": text}
    return [ours, *said] if before else [*said, ours]


def _is_text(part: Any) -> bool:
    return isinstance(part, dict) and part.get("type") == "text" and bool(part.get("text"))
