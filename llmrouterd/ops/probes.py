"""Probes: is a provider there, asked without a client's request.

Owns: who is probed, how often, with which question, and what an answer says of its health.
Refuses to know: what health does with it (guard/health.py), models (catalog.py), requests.

Laws:
1. Only where the owner set `probe_interval`, never a provider found by a key in the environment, and
   only with a GET that servers of its kind document and that no model works for.
2. An answer of any kind is a sign of life, but for a 5xx. A key that is refused and a rate limit say
   nothing of health: requests find out.
3. A probe is no request: it counts as no load, and its time as no latency.
"""

from __future__ import annotations

import logging
import random
from typing import TYPE_CHECKING

import trio

from formats.errors import FormatError
from llmrouterd.edge.dial import DialError
from llmrouterd.model import Clocks
from llmrouterd.ops.question import Refused, Silent, question

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from llmrouterd.edge.pool import Origin, Pool
    from llmrouterd.guard.health import Health
    from llmrouterd.model import Provider

LOG = logging.getLogger("llmrouter.probes")
CLOCKS = Clocks(connect_s=3, first_token_s=5, idle_s=5, total_s=10)
_SPREAD = 0.1  # of the interval, either way: many routers are not to ask in step
_PATHS = {"ollama": "/api/version", "anthropic": "/models?limit=1"}
_SAYS_NOTHING = frozenset({401, 403, 429})


class Probes:
    """One per daemon. chance: gives numbers from 0 to 1."""

    def __init__(
        self,
        pool: Pool,
        providers: Iterable[Provider],
        upstreams: Mapping[str, tuple[Origin, str]],
        health: Health,
        chance: random.Random | None = None,
    ) -> None:
        self._pool = pool
        self._providers = tuple(filter(_is_probed, providers))
        self._upstreams = upstreams
        self._health = health
        self._chance = chance or random.Random()
        self._silent: set[str] = set()
        self._asking = trio.CancelScope()

    async def run(self) -> None:
        """Until stopped; at once when nobody is to be probed."""
        with self._asking:
            async with trio.open_nursery() as nursery:
                for provider in self._providers:
                    nursery.start_soon(self._keep_probing, provider)

    def stop(self) -> None:
        """Another configuration is in force."""
        self._asking.cancel()

    async def _keep_probing(self, provider: Provider) -> None:
        interval_s = provider.probe_interval_s
        await trio.sleep(interval_s * self._chance.random())
        while True:
            await self.probe(provider)
            spread = _SPREAD * (2 * self._chance.random() - 1)
            await trio.sleep(interval_s * (1 + spread))

    async def probe(self, provider: Provider) -> None:
        """Ask once, and tell health what came of it."""
        why = await self._trouble(provider)
        name, now = provider.name, trio.current_time()
        if why is None:
            return
        if not why:
            self._health.probe_answered(name, now)
            if name in self._silent:
                LOG.info("%r answers its probes again", name)
            self._silent.discard(name)
            return
        self._health.probe_failed(
            name, why, now, jitter=self._chance.random(), threshold=provider.circuit_failures
        )
        if name not in self._silent:
            LOG.info("%r does not answer its probes: %s", name, why)
        self._silent.add(name)

    async def _trouble(self, provider: Provider) -> str | None:
        """What is wrong with it; "": nothing; None: the answer says nothing of that."""
        at, path = self._asked(provider)
        try:
            await question(self._pool, provider, at, path, clocks=CLOCKS)
        except Refused as answer:
            if answer.status in _SAYS_NOTHING:
                return None
            broken = answer.status >= 500 and answer.status != 501
            return str(answer) if broken else ""
        except (DialError, FormatError, Silent) as error:
            return str(error)
        except ValueError:  # an answer, if no object
            return ""
        return ""

    def _asked(self, provider: Provider) -> tuple[tuple[Origin, str], str]:
        at = self._upstreams[provider.name]
        if provider.dialect.name == "llama.cpp":
            return (at[0], ""), "/health"
        return at, _PATHS.get(provider.format, "/models")


def _is_probed(provider: Provider) -> bool:
    return provider.probe_interval_s > 0 and provider.format != "echo" and not provider.on_demand
