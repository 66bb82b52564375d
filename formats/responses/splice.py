"""A Responses request that passes on as the client's own text.

Owns: the few edits that such a request may need for its upstream.
Refuses to know: other formats, and requests that were changed on the way.

Laws:
1. Outside the edited members the text stays the client's, to the character.
2. A token of the router's own never leaves: for the vendor its whole reasoning goes, for servers
   that speak alike only the token.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from formats import plugins
from formats.limits import capped_tokens
from formats.responses.wire import texts_of
from formats.token import TOKEN_PREFIX, is_token

if TYPE_CHECKING:
    from formats.canonical import JSON, Request, Target
    from formats.jsontext import RawBody
    from formats.losses import Losses


def passed_request(request: Request, raw: RawBody, losses: Losses, target: Target) -> bytes:
    edits: dict[str, JSON] = {}
    if raw.value["model"] != target.model:
        edits["model"] = target.model
    if request.stream and raw.value.get("stream") is not True:
        edits["stream"] = True
    items = raw.value.get("input")
    if type(items) is list:
        edited = _with_roles(items, target)
        if TOKEN_PREFIX in raw.text:
            edited = _without_tokens(edited, losses, target)
        if edited != items:
            edits["input"] = edited
    limit = capped_tokens(request, losses, target)
    if limit != request.max_tokens:
        edits["max_output_tokens"] = limit
    edits |= {name: value for name, value in target.options.items() if name not in raw.members}
    return raw.spliced(edits, [plugins.MEMBER]).removeprefix(b"\xef\xbb\xbf")


def _with_roles(items: list[JSON], target: Target) -> list[JSON]:
    """The upstream's own word for instructions, where it is configured to have one only."""
    wanted = target.system_role
    if not wanted:
        return items
    out: list[JSON] = []
    for item in items:
        if type(item) is dict and item.get("role") in ("system", "developer"):
            item = {**item, "role": wanted}
        out.append(item)
    return out


def _without_tokens(items: list[JSON], losses: Losses, target: Target) -> list[JSON]:
    out: list[JSON] = []
    for item in items:
        sealed = item.get("encrypted_content") if type(item) is dict else None
        if type(sealed) is not str or not is_token(sealed):
            out.append(item)
            continue
        shown = texts_of(item.get("summary")) + texts_of(item.get("content"))
        if target.vendor or not any(shown):
            losses.note("reasoning: foreign")
        else:
            out.append({n: v for n, v in item.items() if n != "encrypted_content"})
    return out
