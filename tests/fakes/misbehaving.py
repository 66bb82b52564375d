"""The misbehaving upstream that the product ships, in a thread of its own, for tests whose clients
block."""

from __future__ import annotations

import socket
import threading

import trio

from llmrouterd.edge.listen import bind_tcp
from llmrouterd.selftest.upstream import Upstream

PATIENCE_S = 30.0


class Misbehaving:
    """`with Misbehaving() as bad:`; `bad.url` misbehaves as models' names say, at `bad.nobody`
    nobody listens. `heard(case)`: the client of that case has its first words."""

    def __enter__(self) -> Misbehaving:
        self._unheard = socket.socket()
        self._unheard.bind(("127.0.0.1", 0))  # and not listening: whoever calls is refused
        self.nobody = f"http://127.0.0.1:{self._unheard.getsockname()[1]}"
        (listener,) = bind_tcp("127.0.0.1", 0)
        self._upstream = Upstream(listener)
        self.url = self._upstream.url
        self._ready = threading.Event()
        self._thread = threading.Thread(target=trio.run, args=(self._run,), daemon=True)
        self._thread.start()
        assert self._ready.wait(PATIENCE_S)
        return self

    def __exit__(self, *_: object) -> None:
        self._token.run_sync_soon(self._scope.cancel)
        self._thread.join(PATIENCE_S)
        assert not self._thread.is_alive()
        self._unheard.close()

    def heard(self, case: str) -> None:
        self._token.run_sync_soon(self._upstream.heard, case)

    async def _run(self) -> None:
        self._token = trio.lowlevel.current_trio_token()
        with trio.CancelScope() as self._scope:
            async with trio.open_nursery() as nursery:
                await nursery.start(self._upstream.run)
                self._ready.set()
