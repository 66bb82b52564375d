"""A plugin of your own, to begin with. Copy it, change it, and name it in the configuration:

    [plugins.house-style]
    path = "example_plugin.py"      # from the folder of the configuration file
    enabled = true                  # or only for requests with "plugins": [{"id": "house-style"}]
    timeout = 5                     # seconds that a hook may take; without it, for ever
    line = "Answer in British English."     # from here on: what this file wants to know
    refuse = ["Project Nightingale"]

The file is read when the router starts and at every reload; `llmrouter check` says what is wrong with
it, and where. It runs inside the router and may do what the router may: keep it writable for nobody but
yourself. It stands for itself (no module beside it is found), and has Python's standard library,
`formats` and `llmrouterd.hooks`. A class whose name begins with _ is not taken for the plugin.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from formats.canonical import Message, Text
from llmrouterd.hooks import Plugin, PluginFailed

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from formats.canonical import Event, Request, Response
    from formats.errors import Failure
    from llmrouterd.hooks import Context, Kept, Place, Stop
    from llmrouterd.model import EndState, Record


class HouseStyle(Plugin):
    """Says one more line to every model, and refuses what must not be asked.

    One object serves all requests at once: what belongs to one of them goes into `ctx.state`.
    """

    # True: an answer waits until it is whole, so that post_response may change it.
    whole_response = False

    def __init__(self, settings: Mapping[str, Any]) -> None:
        """settings: the table of the configuration. A ValueError is a mistake in it, and stops the
        start with its words."""
        self._refused = settings.get("refuse", [])
        if not isinstance(self._refused, list):
            raise ValueError("refuse: expected a list of texts")

    async def on_start(self, request: Request, ctx: Context) -> Request | Response | Stop:
        """Before the classifiers. Whatever a hook does not change it returns as it is."""
        return request

    async def pre_request(self, request: Request, ctx: Context) -> Request | Response | Stop:
        """Before a provider is chosen; `ctx.tags` has the tags. A Request goes on, a Response is the
        answer, a Stop ends the hooks. ctx.settings: those of the table, and of the request over them.
        """
        words = " ".join(p.text for m in request.messages for p in m.parts if isinstance(p, Text))
        for refused in self._refused:
            if refused.casefold() in words.casefold():
                raise PluginFailed(f"{refused!r} is nothing to ask a model about")
        # status, body = await ctx.fetch("GET", "http://localhost:9000/line")  # raises FetchFailed
        line = ctx.settings.get("line")
        if not line:
            return request
        ctx.notes.append("said one more line")  # for the log
        more = Message("system", (Text(str(line)),))
        return replace(request, messages=(more, *request.messages), raw=None)

    async def on_attempt(self, request: Request, place: Place, ctx: Context) -> Request:
        """The request for one provider, before each attempt: `place.provider`, `place.local`, ..."""
        return request

    def on_event(self, event: Event, ctx: Context) -> Iterable[Event]:
        """Each event of an answer as it passes, of streams and whole ones; not async. Take this hook
        out where you do not need it: without it, answers can pass as bytes."""
        return (event,)

    async def post_response(self, response: Response, ctx: Context) -> Response | Stop:
        """The whole answer; of a stream, when it has gone out."""
        return response

    def on_release(self, kept: Kept | None, end: EndState, ctx: Context) -> None:
        """It is over, in whatever way, also when the client has just left; not async. What on_arrival or
        on_start took for this request is given back here. It comes to plugins with an on_arrival."""

    async def on_error(self, failure: Failure, ctx: Context) -> None:
        """The request has failed: `failure.kind`, `failure.message`."""

    async def on_end(self, record: Record) -> None:
        """Everything is over: `record.provider`, `record.usage`, `record.duration_ms` ..."""
