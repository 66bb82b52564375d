"""The member `plugins` of a request's body: which of the router's own plugins it asks for.

Owns: reading it, and its name. It is nobody's wire format: it is the same in all of them, and no
server is ever sent it.
Refuses to know: which plugins there are, and what their settings mean.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from formats import check
from formats.canonical import PluginCall

if TYPE_CHECKING:
    from collections.abc import Mapping

    from formats.canonical import JSON

MEMBER = "plugins"


def plugin_calls(body: Mapping[str, JSON]) -> tuple[PluginCall, ...]:
    """The plugins that a body asks for, in its order.

    Raises:
        Invalid: with the place, such as `plugins[0].id`.
    """
    calls = []
    for index, item in enumerate(check.opt_list(body, MEMBER) or ()):
        path = f"{MEMBER}[{index}]"
        entry = check.an_object(item, path)
        name = check.string(entry, "id", path)
        calls.append(PluginCall(name, check.rest(entry, frozenset({"id"}))))
    return tuple(calls)
