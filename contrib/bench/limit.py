"""The ceiling of trio + h11: a reverse proxy that does nothing but pass bytes on.

Owns: the least that any proxy on this stack has to do, to measure the router against. h11 on both
sides, one task a connection, kept-alive upstream connections; no routing, no clocks, no log.

    python limit.py --listen 19111 --upstream 19100
    python limit.py --json --listen 19114 --upstream 19100

With `--json` the request's JSON, and that of each line of a stream, is parsed, changed in one
place and written again: the ceiling of a router that looks at everything it passes on.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import signal
import socket
import sys

import h11
import trio

_READ_BYTES = 65536
_SMALL_BODY = 4096  # with less than this, head and body are joined for one system call
_END = h11.EndOfMessage()
_wait_readable, _wait_writable = trio.lowlevel.wait_readable, trio.lowlevel.wait_writable


class Pipe:
    """A plain non-blocking socket: a send that does not block is one system call."""

    __slots__ = ("receive_now", "sock")

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.receive_now = sock.recv

    async def receive(self) -> bytes:
        await _wait_readable(self.sock)
        return self.receive_now(_READ_BYTES)

    async def send(self, parts: list[bytes]) -> None:
        sent = self.sock.send(parts[0]) if len(parts) == 1 else self.sock.sendmsg(parts)
        if sent < sum(map(len, parts)):
            rest = memoryview(b"".join(parts))[sent:]
            while rest:
                await _wait_writable(self.sock)
                rest = rest[self.sock.send(rest) :]


class Upstreams:
    """Connections to the one upstream, kept for the next request."""

    def __init__(self, port: int) -> None:
        self._address = ("127.0.0.1", port)
        self._idle: list[tuple[Pipe, h11.Connection]] = []

    async def take(self) -> tuple[Pipe, h11.Connection]:
        return self._idle.pop() if self._idle else await self._dial()

    def give(self, pipe: Pipe, conn: h11.Connection) -> None:
        if conn.our_state is h11.DONE and conn.their_state is h11.DONE:
            conn.start_next_cycle()
            self._idle.append((pipe, conn))
        else:
            pipe.sock.close()

    async def _dial(self) -> tuple[Pipe, h11.Connection]:
        sock = socket.socket()
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if sock.connect_ex(self._address):
            await _wait_writable(sock)
            error = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if error:
                sock.close()
                raise OSError(error, os.strerror(error))
        return Pipe(sock), h11.Connection(h11.CLIENT)


class Proxy:
    def __init__(self, upstreams: Upstreams, *, parse: bool) -> None:
        self._upstreams = upstreams
        self._parse = parse

    async def serve(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        client, conn = Pipe(sock), h11.Connection(h11.SERVER, 65536)
        try:
            while await self._one(client, conn):
                conn.start_next_cycle()
        except (OSError, h11.ProtocolError):
            return
        finally:
            sock.close()

    async def _one(self, client: Pipe, conn: h11.Connection) -> bool:
        """One request and its answer. Whether another may follow."""
        request, body = await self._request(client, conn)
        if request is None:
            return False
        if self._parse and body:
            body = _rewritten(body)
            fields = [(n, v) for n, v in request.headers if n != b"content-length"]
            fields.append((b"content-length", b"%d" % len(body)))
            request = h11.Request(method=request.method, target=request.target, headers=fields)
        pipe, up = await self._upstreams.take()
        try:
            out = up.send_with_data_passthrough(request) or []
            if body:
                out += up.send_with_data_passthrough(h11.Data(data=body)) or []
            out += up.send_with_data_passthrough(_END) or []
            await pipe.send([b"".join(out)] if len(body) < _SMALL_BODY else out)
            await self._relay(pipe, up, client, conn)
        except BaseException:
            pipe.sock.close()
            raise
        self._upstreams.give(pipe, up)
        return conn.our_state is h11.DONE and conn.their_state is h11.DONE

    async def _request(
        self, client: Pipe, conn: h11.Connection
    ) -> tuple[h11.Request | None, bytes]:
        request, parts = None, []
        while True:
            event = conn.next_event()
            if event is h11.NEED_DATA:
                conn.receive_data(await client.receive())
            elif type(event) is h11.Data:
                parts.append(event.data)
            elif type(event) is h11.Request:
                request = event
            elif type(event) is h11.EndOfMessage:
                return request, parts[0] if len(parts) == 1 else b"".join(parts)
            else:
                return None, b""

    async def _relay(
        self, pipe: Pipe, up: h11.Connection, client: Pipe, conn: h11.Connection
    ) -> None:
        """What one read brought goes out in one write."""
        done = False
        while not done:
            up.receive_data(await pipe.receive())
            out: list[bytes] = []
            parts: list[bytes] = []
            while (event := up.next_event()) is not h11.NEED_DATA:
                if type(event) is h11.Data:
                    parts.append(event.data)
                elif type(event) is h11.Response:
                    head = h11.Response(status_code=event.status_code, headers=event.headers)
                    out += conn.send_with_data_passthrough(head) or []
                elif type(event) is h11.EndOfMessage:
                    done = True
                    break
                else:
                    raise ConnectionResetError
            if parts:
                data = parts[0] if len(parts) == 1 else b"".join(parts)
                data = _rewritten_lines(data) if self._parse else data
                out += conn.send_with_data_passthrough(h11.Data(data=data)) or []
            if done:
                out += conn.send_with_data_passthrough(_END) or []
            if out:
                await client.send([b"".join(out)])


def _rewritten(data: bytes) -> bytes:
    body = json.loads(data)
    body["model"] = "mock-model"
    return json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()


def _rewritten_lines(data: bytes) -> bytes:
    out = []
    for line in data.split(b"\n"):
        if line.startswith(b"data: {"):
            try:
                out.append(b"data: " + _rewritten(line[6:]))
            except ValueError:  # cut by the read's end: the measurement does not need it whole
                out.append(line)
        else:
            out.append(line)
    return b"\n".join(out)


async def _listen(port: int, proxy: Proxy) -> None:
    listener = socket.create_server(("127.0.0.1", port), backlog=4096)
    listener.setblocking(False)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_until_signal, nursery.cancel_scope)
        while True:
            await _wait_readable(listener)
            try:
                while True:
                    nursery.start_soon(proxy.serve, listener.accept()[0])
            except BlockingIOError:
                continue


async def _until_signal(scope: trio.CancelScope) -> None:
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async for _ in signals:
            scope.cancel()


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    options.add_argument("--listen", type=int, required=True)
    options.add_argument("--upstream", type=int, required=True)
    options.add_argument("--json", action="store_true")
    asked = options.parse_args()
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 50, 100)
    trio.run(_listen, asked.listen, Proxy(Upstreams(asked.upstream), parse=asked.json))


if __name__ == "__main__":
    sys.exit(main())
