"""Ollama's model administration: /api/pull, /api/push, /api/create, /api/copy, /api/delete.

Owns: whether it is allowed, which server it is for, and passing its answer on piece by piece.
Refuses to know: what is pulled or deleted.

Laws:
1. Off unless the owner said `allow_model_admin = true`, or `admin = true` of the client that asks:
   whoever may chat may not delete.
2. It goes to the one Ollama server there is; with several, nobody guesses.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from formats.errors import Failure, FormatError
from llmrouterd.edge.deadline import Deadline
from llmrouterd.edge.dial import DialError
from llmrouterd.model import Clocks
from llmrouterd.ops.models import refuse
from llmrouterd.ops.question import fields

if TYPE_CHECKING:
    from llmrouterd.edge.client import Client
    from llmrouterd.edge.exchange import Exchange
    from llmrouterd.edge.incoming import Incoming
    from llmrouterd.model import Caller, Provider
    from llmrouterd.pipeline.daemon import Daemon, Generation

LOG = logging.getLogger("llmrouter.admin")
PATHS = {
    "/api/pull": ("POST",),
    "/api/push": ("POST",),
    "/api/create": ("POST",),
    "/api/copy": ("POST",),
    "/api/delete": ("DELETE",),
}
# A pull reports every moment; checking what was pulled may take minutes without a word.
_CLOCKS = Clocks(connect_s=5, first_token_s=300, idle_s=600, total_s=0)


class Admin:
    def __init__(self, gen: Generation, daemon: Daemon, *, allowed: bool) -> None:
        self._gen = gen
        self._daemon = daemon
        self._allowed = allowed

    async def page(self, incoming: Incoming, client: Client) -> None:
        provider = self._server(incoming.caller)
        if isinstance(provider, Failure):
            return await refuse(client, "ollama", provider)
        body = await incoming.body()
        LOG.info("%s %s goes to %r", incoming.method, incoming.path, provider.name)
        failure = await self._pass_on(provider, incoming, client, body)
        if failure is None:
            return None
        if client.headers_sent:
            return client.abort()
        return await refuse(client, "ollama", failure)

    def _server(self, caller: Caller) -> Provider | Failure:
        if not (self._allowed or (caller.name and caller.admin)):
            words = (
                "model administration is off: allow_model_admin = true in [server] turns it on, "
                "or admin = true of a client"
            )
            return Failure("forbidden", words)
        servers = [p for p in self._gen.providers.values() if p.format == "ollama"]
        if len(servers) != 1:
            words = (
                f"there are {len(servers)} Ollama servers behind this router: ask the one itself"
            )
            return Failure("bad_request", words)
        return servers[0]

    async def _pass_on(
        self, provider: Provider, incoming: Incoming, client: Client, body: bytes
    ) -> Failure | None:
        origin, prefix = self._gen.upstreams[provider.name]
        target = prefix + incoming.target.partition("?")[0]
        with Deadline(_CLOCKS) as deadline:
            try:
                async with self._daemon.pool.exchange(
                    origin, incoming.method, target, fields(provider), body, deadline
                ) as exchange:
                    await _relay(exchange, client, deadline)
                    return None
            except DialError as error:
                return Failure("upstream", str(error))
            except FormatError as error:
                return Failure("upstream", str(error))
        clock = deadline.expired or "total"
        return Failure("timeout", f"the {clock} clock ran out", clock=clock)


async def _relay(exchange: Exchange, client: Client, deadline: Deadline) -> None:
    kind = exchange.headers.get("content-type") or "application/json"
    await client.start(exchange.status, [("content-type", kind)])
    while data := await exchange.read():
        deadline.off()
        await client.send(data)
        deadline.enter("idle")
    await client.finish()
