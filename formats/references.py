"""What a request refers to instead of saying it: earlier answers, prompts and jobs that one server keeps.

Owns: which members do that, and the refusal where the server that keeps it is not asked.
Refuses to know: who keeps what; a keeper puts the thing itself in the reference's place before.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

    from formats.canonical import Request
    from formats.losses import Losses

# By the client's format: members that lean on what its own server keeps or runs. Items that are
# references are parts of their own kind.
REFERENCES: Final[Mapping[str, Mapping[str, str]]] = {
    "responses": dict.fromkeys(
        ("previous_response_id", "conversation", "prompt", "background"), "reference"
    ),
    "anthropic": {"thread": "thread", "mcp_servers": "mcp_servers"},
}
# Those that even a server of the same format must be the vendor itself for: others overlook them.
_VENDORS_ONLY: Final = frozenset({"thread"})


def refuse_references(
    request: Request, losses: Losses, *, own: bool = False, vendor: bool = False
) -> None:
    """own: the upstream is of the client's own format. vendor: it is that format's vendor. Raises
    Unsupported."""
    for name, case in REFERENCES.get(request.origin, {}).items():
        kept = own and (vendor or name not in _VENDORS_ONLY)
        if not kept and request.extra.get(name):
            raise losses.refusal(case, at=name)
