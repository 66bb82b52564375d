"""Runs inside network and mount namespaces of its own: a daemon, local servers, a small internet.

    unshare --net --mount python inside.py SEED ROUNDS

The network: `lo`; an interface `v0` (10.9.0.1) whose other end is another namespace, where
10.9.0.3 is a server of this network and 198.51.100.20 and 203.0.113.10 are somebody else's. The
resolver is on this host, and the name `flip.test` means another address at every question. Every
packet that leaves by `v0` is read from the wire. Prints one JSON object.
"""

from __future__ import annotations

import contextlib
import ipaddress
import json
import os
import random
import socket
import struct
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT))

from tests.fakes.daemon import RunningDaemon  # noqa: E402
from tests.fakes.upstream import FakeUpstream, Turn  # noqa: E402

LAN, FAR = "10.9.0.3", ("198.51.100.20", "203.0.113.10")
PORT = 8000
WORD = "diagnosis"
LOCAL_NETWORKS = [ipaddress.ip_network(text) for text in ("127.0.0.0/8", "10.9.0.0/24")]
# What the owner's own plugin asks before anybody knows what a request is: all of it might be private.
EARLY = f"""
from llmrouterd.hooks import FetchFailed, Plugin
class Early(Plugin):
    async def on_start(self, request, ctx):
        for url in ("http://{FAR[0]}:{PORT}/early", "http://far.test:{PORT}/early"):
            try:
                await ctx.fetch("POST", url, str(request.messages).encode(), timeout_s=2)
            except FetchFailed:
                pass
        return request
"""
# Engines elsewhere, by address and by name, whose owner says that they keep to themselves what they hear.
ENGINES = (FAR[0], "far.test", "flip.test")
ANSWER = {
    "id": "c",
    "object": "chat.completion",
    "created": 1,
    "model": "m",
    "choices": [
        {"index": 0, "message": {"role": "assistant", "content": "x"}, "finish_reason": "stop"}
    ],
    "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
}


def run(*command: str) -> None:
    subprocess.run(command, check=True)


# --- the network ----------------------------------------------------------------------------------


def build_network() -> subprocess.Popen[bytes]:
    """The wire and what is at its other end. Returns the process that holds that namespace."""
    run("ip", "link", "set", "lo", "up")
    there = subprocess.Popen(
        ["unshare", "--net", sys.executable, __file__, "--far"], stdout=subprocess.PIPE
    )
    assert there.stdout is not None
    assert there.stdout.readline() == b"here\n"
    run("ip", "link", "add", "v0", "type", "veth", "peer", "name", "v1", "netns", str(there.pid))
    run("ip", "addr", "add", "10.9.0.1/24", "dev", "v0")
    run("ip", "link", "set", "v0", "up")
    far = ("nsenter", "--net", "--target", str(there.pid))
    run(*far, "ip", "link", "set", "lo", "up")
    for address in ("10.9.0.2/24", f"{LAN}/24", *(f"{each}/32" for each in FAR)):
        run(*far, "ip", "addr", "add", address, "dev", "v1")
    run(*far, "ip", "link", "set", "v1", "up")
    run("ip", "route", "add", "default", "via", "10.9.0.2")
    conf = Path(tempfile.mkdtemp()) / "resolv.conf"
    conf.write_text("nameserver 127.0.0.1\noptions timeout:2 attempts:2\n")
    run("mount", "--bind", str(conf), "/etc/resolv.conf")
    return there


def far_end() -> None:
    """The other namespace: everybody there answers whatever is asked of port 8000."""
    sys.stdout.write("here\n")
    sys.stdout.flush()
    server = socket.create_server(("0.0.0.0", PORT), backlog=64)
    while True:
        sock, _ = server.accept()
        threading.Thread(target=answer_far, args=(sock,), daemon=True).start()


def answer_far(sock: socket.socket) -> None:
    body = json.dumps(ANSWER).encode()
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
    with contextlib.suppress(OSError), sock:
        while sock.recv(65536):
            sock.sendall(head % len(body) + body)


class Resolver:
    """DNS on this host. `flip.test` is in this network and elsewhere in turn; `lan.test` stays."""

    def __init__(self) -> None:
        self._sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._sock.bind(("127.0.0.1", 53))
        self._asked = 0
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            data, who = self._sock.recvfrom(4096)
            self._sock.sendto(self._answer(data), who)

    def _answer(self, data: bytes) -> bytes:
        name, at = "", 12
        while data[at]:
            name += data[at + 1 : at + 1 + data[at]].decode() + "."
            at += 1 + data[at]
        question = data[12 : at + 5]
        kind = struct.unpack(">H", data[at + 1 : at + 3])[0]
        addresses = self._addresses(name) if kind == 1 else []
        head = data[:2] + struct.pack(">HHHHH", 0x8180, 1, len(addresses), 0, 0)
        records = b"".join(
            b"\xc0\x0c" + struct.pack(">HHIH", 1, 1, 0, 4) + socket.inet_aton(each)
            for each in addresses
        )
        return head + question + records

    def _addresses(self, name: str) -> list[str]:
        self._asked += 1
        here, there = [LAN], [FAR[0]]
        if name == "flip.test.":
            return (here, there, [*there, *here])[self._asked % 3]
        return here if name == "lan.test." else there


class Sniffer:
    """Every IP packet that leaves by v0: where it goes. The kernel shows them as they are sent, so
    that all of an answered request's are there to be read."""

    def __init__(self) -> None:
        self._sock = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(3))
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 << 20)
        self._sock.bind(("v0", 0))
        self._sock.setblocking(False)

    def taken(self) -> list[str]:
        """Where packets went since the last time this was asked."""
        seen: list[str] = []
        with contextlib.suppress(BlockingIOError):
            while True:
                data, (_, protocol, direction, *_rest) = self._sock.recvfrom(65536)
                if direction == socket.PACKET_OUTGOING and protocol == 0x0800:
                    seen.append(socket.inet_ntoa(data[16:20]))
        return seen


def strangers(addresses: list[str]) -> list[str]:
    """Those outside of this network."""
    return sorted(
        {
            each
            for each in addresses
            if not any(ipaddress.ip_address(each) in network for network in LOCAL_NETWORKS)
        }
    )


# --- the daemon -----------------------------------------------------------------------------------


def local_script(mode: str) -> Any:
    def script(turn: Turn) -> None:
        if mode == "redirects":
            turn.whole(b"", 307, f"Location: http://{FAR[0]}:{PORT}/v1/chat/completions")
        elif mode == "fails":
            turn.whole({"error": {"message": "ill"}}, 500)
        elif mode == "cuts":
            turn.cut()
        else:
            turn.whole(ANSWER)

    return script


def configuration(chance: random.Random, up: str, engine: str) -> str:
    """Random rules over local servers in all states and servers elsewhere, and a search elsewhere."""
    servers = [
        ("near", up, True),
        ("lan", f"http://{chance.choice((LAN, 'lan.test'))}:{PORT}", True),
        ("flip", f"http://flip.test:{PORT}", True),  # the owner believes it to be local
        ("posing", f"http://{FAR[1]}:{PORT}", True),  # and is wrong
        ("dead", "http://127.0.0.1:9", True),
        ("behind", f"http://{LAN}:{PORT}", True),
        ("far", f"http://{FAR[0]}:{PORT}", False),
        ("named", f"http://far.test:{PORT}", False),
    ]
    chance.shuffle(servers)
    lines = [
        '[server]\nport = 0\nfailover_to_remote = true\n[images]\nfetch_hosts = ["198.51.100.20"]'
    ]
    for name, url, is_local in servers:
        proxy = f'http_proxy = "http://{FAR[0]}:{PORT}"' if name == "behind" else ""
        lines.append(
            f'[[providers]]\nname = "{name}"\nformat = "{chance.choice(("openai", "ollama"))}"\n'
            f'base_url = "{url}"\nlocal = {str(is_local).lower()}\nmodels = ["m"]\n{proxy}\n'
            "max_retries = 0\nconnect_timeout = 2\ncircuit_failures = 0"
        )
    lines.append(f'[classifiers.keyword]\nenabled = true\ntags = {{ private = ["{WORD}"] }}')
    lines.append('[[policies]]\ntag = "private"\nrequire = "local"')
    lines.append(
        f'[plugins.web]\nenabled = true\nurl = "http://{engine}:{PORT}"\npasses_on = false\n'
        'search_timeout = 2\nkeep = 0\n[plugins.early]\nenabled = true\npath = "early.py"'
    )
    names = [name for name, _, _ in servers]
    for _ in range(chance.randint(1, 3)):
        some = json.dumps(chance.sample(names, chance.randint(1, len(names))))
        kind = chance.choice(("fallback", "random", "round_robin", "least_busy", "discover"))
        lines.append(f'[[routers]]\ntype = "{kind}"\nproviders = {some}')
    order = json.dumps([f"{name}/m" for name in chance.sample(names, len(names))])
    lines.append(f"[models]\nany = {order}")
    return "\n".join(lines) + "\n"


def bodies(chance: random.Random, word: str) -> list[tuple[str, dict[str, Any]]]:
    picture = {"type": "image_url", "image_url": {"url": f"http://{FAR[0]}:{PORT}/a.png"}}
    model = chance.choice(("any", "m", "far/m", "flip/m", "posing/m"))
    chat = {"model": model, "messages": [{"role": "user", "content": f"my {word}"}]}
    seen = [{"type": "text", "text": f"my {word}"}, picture]
    return [
        ("/v1/chat/completions", chat),
        ("/v1/chat/completions", {**chat, "stream": True}),
        ("/v1/messages", {**chat, "max_tokens": 9}),
        ("/api/chat", {**chat, "stream": False}),
        ("/v1/responses", {"model": model, "input": f"my {word}"}),
        ("/v1/embeddings", {"model": model, "input": f"my {word}"}),
        ("/v1/chat/completions", {**chat, "messages": [{"role": "user", "content": seen}]}),
        ("/v1/messages/count_tokens", chat),
    ]


def ask(daemon: RunningDaemon, path: str, body: dict[str, Any], provider: str) -> str:
    """One request; what the answer says of where it went."""
    import http.client

    connection = http.client.HTTPConnection("127.0.0.1", daemon.port, timeout=60)
    fields = {"Content-Type": "application/json"}
    if provider:
        fields["X-Router-Provider"] = provider
    try:
        connection.request("POST", path, json.dumps(body), fields)
        answer = connection.getresponse()
        answer.read()
        return f"{answer.status} {answer.getheader('x-router-provider') or '-'}"
    finally:
        connection.close()


def main(seed: int, rounds: int) -> dict[str, Any]:
    there = build_network()
    Resolver()
    sniffer = Sniffer()
    out: dict[str, Any] = {"asked": 0, "served": 0, "left": [], "control": 0, "searched": 0}
    try:
        for number in range(rounds):
            chance = random.Random(f"{seed}/{number}")
            mode = chance.choice(("answers", "fails", "redirects", "cuts"))
            with FakeUpstream(local_script(mode)) as up, tempfile.TemporaryDirectory() as folder:
                engine = ENGINES[number % len(ENGINES)]
                text = configuration(chance, up.url, engine)
                early = Path(folder) / "early.py"
                early.write_text(EARLY)
                early.chmod(0o600)
                with RunningDaemon(text, Path(folder)) as daemon:
                    one_round(daemon, chance, sniffer, out, f"{mode}\n{text}")
    finally:
        there.kill()
    return out


def one_round(
    daemon: RunningDaemon,
    chance: random.Random,
    sniffer: Sniffer,
    out: dict[str, Any],
    what: str,
) -> None:
    sniffer.taken()
    for path, body in bodies(chance, WORD):
        said = ask(daemon, path, body, chance.choice(("", "", "far", "flip")))
        out["asked"] += 1
        out["served"] += said.startswith("200")
        left = strangers(sniffer.taken())
        if left:
            out["left"].append({"to": left, "path": path, "body": body, "said": said, "in": what})
    path, body = bodies(chance, "weather")[0]
    ask(daemon, path, {**body, "model": "near/m"}, "near")
    out["searched"] += bool(strangers(sniffer.taken()))
    ask(daemon, path, {**body, "model": "far/m"}, "far")
    out["control"] += bool(strangers(sniffer.taken()))


if __name__ == "__main__":
    if sys.argv[1:] == ["--far"]:
        far_end()
    else:
        os.environ.pop("http_proxy", None)
        json.dump(main(int(sys.argv[1]), int(sys.argv[2])), sys.stdout)
