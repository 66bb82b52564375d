"""A Chat Completions request that passes on as the client's own text.

Owns: the few edits that such a request may need for its upstream, and the names by which one
upstream of this format differs from another.
Refuses to know: other formats, and requests that were changed on the way.

Laws:
1. Outside the edited members the text stays the client's, to the character.
2. An edit is made only where the target is configured to need it or is known to fail without.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from formats import plugins
from formats.limits import capped_tokens
from formats.openai_chat.parse import NAME

if TYPE_CHECKING:
    from formats.canonical import JSON, Request, Target
    from formats.jsontext import RawBody
    from formats.losses import Losses


def passed_request(request: Request, raw: RawBody, losses: Losses, target: Target) -> bytes:
    edits: dict[str, JSON] = {}
    remove = [plugins.MEMBER]
    if raw.value["model"] != target.model:
        edits["model"] = target.model
    _edit_roles(raw, target, edits)
    _edit_max_tokens(request, raw, losses, target, edits, remove)
    edit_stream_options(request, raw, target, edits, remove)
    edits |= {name: value for name, value in target.options.items() if name not in raw.members}
    return raw.spliced(edits, remove).removeprefix(b"\xef\xbb\xbf")


def _edit_roles(raw: RawBody, target: Target, edits: dict[str, JSON]) -> None:
    changed = False
    messages = []
    for message in raw.value["messages"]:
        wanted = system_role(message["role"], NAME, target)
        if wanted != message["role"]:
            message = {**message, "role": wanted}
            changed = True
        messages.append(message)
    if changed:
        edits["messages"] = messages


def system_role(role: str, origin: str, target: Target) -> str:
    """The word this upstream has for instructions. Chat templates of most servers know `system`
    only; the vendor's newer models prefer `developer` and take both."""
    if role not in ("system", "developer"):
        return role
    if target.system_role:
        return target.system_role
    return role if target.vendor and origin in (NAME, "responses") else "system"


def max_tokens_name(target: Target) -> str:
    """The vendor's reasoning models refuse the old name; many others know no other."""
    return target.max_tokens_field or ("max_completion_tokens" if target.vendor else "max_tokens")


def _edit_max_tokens(
    request: Request,
    raw: RawBody,
    losses: Losses,
    target: Target,
    edits: dict[str, JSON],
    remove: list[str],
) -> None:
    """The vendor is sent the name that the client chose: both are its own, and each model knows
    which it takes. Others may overlook the new name without a word, so they get the old one."""
    sent = {
        name: raw.value[name]
        for name in ("max_completion_tokens", "max_tokens")
        if raw.value.get(name) is not None
    }
    if not sent:
        return
    limit = capped_tokens(request, losses, target)
    wanted = max_tokens_name(target)
    if wanted not in sent and (target.max_tokens_field or not target.vendor):
        remove += sent
        edits[wanted] = limit
    elif limit != request.max_tokens:
        edits |= dict.fromkeys(sent, limit)


def edit_stream_options(
    request: Request, raw: RawBody, target: Target, edits: dict[str, JSON], remove: list[str]
) -> None:
    if request.stream and raw.value.get("stream") is not True:
        edits["stream"] = True
    options = raw.value.get("stream_options")
    if target.include_usage:
        if request.stream and not request.include_usage:
            edits["stream_options"] = {**(options or {}), "include_usage": True}
    elif options and "include_usage" in options:
        left = {name: value for name, value in options.items() if name != "include_usage"}
        if left:
            edits["stream_options"] = left
        else:
            remove.append("stream_options")
