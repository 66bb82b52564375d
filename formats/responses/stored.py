"""What a keeper of answers needs of this format, so that a client may refer to an earlier one.

Owns: which answer a request goes on from, the items that it brings, and the same request with the
earlier items in the reference's place.
Refuses to know: where answers are kept, for how long, and whose they are.

Law: an expanded request says the same as one whose client had sent the whole history itself.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from formats.canonical import JSON, Request, Target
from formats.jsontext import dump, parse_body
from formats.ledger import Ledger
from formats.responses.parse import parse_request
from formats.responses.write import write_request

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_PREVIOUS = "previous_response_id"
_REFERENCE = "item_reference"


def previous_id(request: Request) -> str | None:
    """The earlier answer that a request goes on from."""
    given = request.extra.get(_PREVIOUS)
    return given if type(given) is str and given else None


def referred_ids(request: Request) -> list[str]:
    """The items that a request names instead of sending them."""
    return [item["id"] for item in input_items(request) if _is_reference(item)]


def wants_keeping(request: Request) -> bool:
    """Whether the client expects to find the answer again: without a word it does."""
    return request.extra.get("store") is not False


def declared(request: Request, *, kept: bool) -> Request:
    """The request of which the answer says truly whether it is kept. What goes to an upstream of
    this format as the client's own text stays as it is."""
    return replace(request, extra={**request.extra, "store": kept})


def input_items(request: Request) -> list[JSON]:
    """What the client sent as input, as a list of items."""
    body = _body(request)
    given = body.get("input")
    if type(given) is str:
        return [{"type": "message", "role": "user", "content": given}]
    return list(given or ())


def output_items(answer: Mapping[str, JSON]) -> list[JSON]:
    """The items of an answer object, as a later request's history has them."""
    output = answer.get("output")
    return [item for item in output if type(item) is dict] if type(output) is list else []


def expanded(
    request: Request, before: Sequence[JSON], known: Mapping[str, JSON] | None = None
) -> Request:
    """The request with the items of its earlier turns before its own, instead of their id. known:
    items by id, for those that it refers to one by one. Raises Invalid."""
    known = known or {}
    items = [
        known.get(item["id"], item) if _is_reference(item) else item
        for item in input_items(request)
    ]
    edits = {"input": [*before, *items]}
    if request.raw is not None:
        again = parse_request(request.raw.spliced(edits, [_PREVIOUS]))
        return replace(again, version=request.version)
    body = {name: value for name, value in _body(request).items() if name != _PREVIOUS}
    return replace(parse_request(dump({**body, **edits})), plugins=request.plugins, raw=None)


def _body(request: Request) -> dict[str, JSON]:
    """The request's body: the client's own, or as it would be written after somebody changed it."""
    if request.raw is not None:
        return request.raw.value
    return parse_body(write_request(request, Ledger(), Target(request.model))).value


def _is_reference(item: JSON) -> bool:
    if type(item) is not dict or type(item.get("id")) is not str:
        return False
    return item.get("type") == _REFERENCE or set(item) == {"id"}
