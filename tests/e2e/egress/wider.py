"""Runs inside network and mount namespaces of its own, as inside.py does, whose network this one is,
with IPv6 added; and what may cause packets is more.

    unshare --net --mount python wider.py SEED ROUNDS

Beside v0's 10.9.0.0/24 there is fd00:9::/64 (a server at fd00:9::3), and at its far end 2001:db8:1::20
is somebody else's. `flip.test` now has addresses of both families, in this network and elsewhere in turn.
Every packet that leaves by `v0` is read from the wire, of IPv4 and IPv6. Each round is a daemon with a
random configuration: hedging, a collector elsewhere, pictures at hosts that may be fetched, networks in
the policy, servers elsewhere whose addresses hide it, a classifier that nobody answers.
Prints one JSON object.
"""

from __future__ import annotations

import contextlib
import http.client
import ipaddress
import json
import os
import random
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT))

from tests.e2e.egress import inside  # noqa: E402
from tests.e2e.egress.inside import FAR, LAN, PORT, WORD, answer_far, run  # noqa: E402
from tests.fakes.daemon import RunningDaemon  # noqa: E402
from tests.fakes.upstream import FakeUpstream, Turn  # noqa: E402

LAN6, FAR6 = "fd00:9::3", "2001:db8:1::20"
MAPPED, CARRIED, METADATA = f"::ffff:{FAR[0]}", "64:ff9b::c633:6414", "169.254.169.254"
# What a packet of a request that stays may be sent to; neighbours are looked for by multicast.
HERE = [
    ipaddress.ip_network(text)
    for text in ("127.0.0.0/8", "10.9.0.0/24", "::1/128", "fd00:9::/64", "fe80::/10", "ff02::/16")
]
SETTLES_S = 1.4  # longer than the collector's interval


# --- the network ----------------------------------------------------------------------------------


def build_network() -> list[subprocess.Popen[bytes]]:
    there = inside.build_network()
    far = ("nsenter", "--net", "--target", str(there.pid))
    run("ip", "-6", "addr", "add", "fd00:9::1/64", "dev", "v0", "nodad")
    for address in ("fd00:9::2/64", f"{LAN6}/64", f"{FAR6}/128", "64:ff9b::c633:6414/128"):
        run(*far, "ip", "-6", "addr", "add", address, "dev", "v1", "nodad")
    run("ip", "-6", "route", "add", "default", "via", "fd00:9::2")
    run(*far, "ip", "addr", "add", f"{METADATA}/32", "dev", "v1")
    server = subprocess.Popen([*far, sys.executable, __file__, "--far"], stdout=subprocess.PIPE)
    assert server.stdout is not None
    assert server.stdout.readline() == b"here\n"
    return [there, server]


def far_end() -> None:
    """The other namespace's servers of IPv6, and at the ports of https and of the collector."""
    for port in (PORT, 443):
        server = socket.create_server(("::", port), family=socket.AF_INET6, backlog=64)
        threading.Thread(target=_serve, args=(server,), daemon=True).start()
    sys.stdout.write("here\n")
    sys.stdout.flush()
    threading.Event().wait()


def _serve(server: socket.socket) -> None:
    while True:
        sock, _ = server.accept()
        threading.Thread(target=answer_far, args=(sock,), daemon=True).start()


class Resolver(inside.Resolver):
    """With addresses of both families. `asked` is what names were looked up."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        super().__init__()

    def _answer(self, data: bytes) -> bytes:
        name, at = "", 12
        while data[at]:
            name += data[at + 1 : at + 1 + data[at]].decode() + "."
            at += 1 + data[at]
        self.asked.append(name)
        if data[at + 1 : at + 3] != b"\x00\x1c":
            return super()._answer(data)
        found = self._six(name)
        head = data[:2] + b"\x81\x80\x00\x01" + len(found).to_bytes(2, "big") + b"\0\0\0\0"
        records = b"".join(
            b"\xc0\x0c\x00\x1c\x00\x01\x00\x00\x00\x00\x00\x10"
            + socket.inet_pton(socket.AF_INET6, each)
            for each in found
        )
        return head + data[12 : at + 5] + records

    def _six(self, name: str) -> list[str]:
        if name == "flip.test.":
            return ([LAN6], [FAR6], [MAPPED], [FAR6, LAN6], [])[len(self.asked) % 5]
        return [LAN6] if name == "lan.test." else [FAR6]


class Sniffer:
    """Where each packet goes that leaves by v0."""

    def __init__(self) -> None:
        self._sock = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(3))
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 << 20)
        self._sock.bind(("v0", 0))
        self._sock.setblocking(False)

    def strangers(self) -> list[str]:
        """Where packets went since the last time, outside of this network."""
        seen: set[str] = set()
        with contextlib.suppress(BlockingIOError):
            while True:
                data, (_, protocol, direction, *_rest) = self._sock.recvfrom(65536)
                if direction == socket.PACKET_OUTGOING and protocol in (0x0800, 0x86DD):
                    raw = data[16:20] if protocol == 0x0800 else data[24:40]
                    seen.add(str(ipaddress.ip_address(raw)))
        return sorted(each for each in seen if not is_here(each))


def is_here(text: str) -> bool:
    address = ipaddress.ip_address(text)
    return any(address.version == net.version and address in net for net in HERE)


# --- the daemon -----------------------------------------------------------------------------------


def script(mode: str, asked: list[str]) -> Any:
    def answer(turn: Turn) -> None:
        with contextlib.suppress(ValueError):
            asked.append(str(turn.received.json.get("model")))
        if mode == "redirects":
            target = random.Random(len(asked)).choice((FAR[0], f"[{FAR6}]"))
            turn.whole(b"", 307, f"Location: http://{target}:{PORT}/v1/chat/completions")
        elif mode == "fails":
            turn.whole({"error": {"message": "ill"}}, 500)
        elif mode == "cuts":
            turn.cut()
        elif mode == "slow":
            time.sleep(0.25)
            turn.whole(inside.ANSWER)
        else:
            turn.whole(inside.ANSWER)

    return answer


def servers(up: str, port: int) -> list[tuple[str, str, bool]]:
    """(name, URL, whether the owner says that it is local); with most of these he is wrong."""
    return [
        ("near", up, True),
        ("lan6", f"http://[{LAN6}]:{PORT}", True),
        ("lan", f"http://{LAN}:{PORT}", True),
        ("nobody", f"http://0.0.0.0:{port}", True),
        ("flip", f"http://flip.test:{PORT}", True),
        ("posing6", f"http://[{FAR6}]:{PORT}", True),
        ("mapped", f"http://[{MAPPED}]:{PORT}", True),
        ("carried", f"http://[{CARRIED}]:{PORT}", True),
        ("dead", "http://[::1]:9", True),
        ("far", f"http://{FAR[0]}:{PORT}", False),
        ("far6", f"http://[{FAR6}]:{PORT}", False),
        ("named", f"http://far.test:{PORT}", False),
    ]


def configuration(chance: random.Random, up: str, port: int, log: Path) -> str:
    all_of_them = servers(up, port)
    chosen = [each for each in all_of_them if each[0] in ("near", "far", "dead")]
    others = [each for each in all_of_them if each not in chosen]
    chosen += chance.sample(others, chance.randint(4, len(others)))
    chance.shuffle(chosen)
    lines = [
        "[server]\nport = 0\nfailover_to_remote = true",
        f'[images]\nfetch_hosts = ["{FAR[0]}", "far.test", "flip.test", "{METADATA}"]',
        f'[logging]\nenabled = true\npath = "{log}"',
    ]
    if chance.random() < 0.5:
        where = chance.choice((FAR[0], f"[{FAR6}]", "flip.test"))
        lines.append(
            f'[telemetry]\nenabled = true\notlp_endpoint = "http://{where}:{PORT}"\ninterval = 1'
        )
    for name, url, is_local in chosen:
        lines.append(
            f'[[providers]]\nname = "{name}"\nformat = "{chance.choice(("openai", "ollama"))}"\n'
            f'base_url = "{url}"\nlocal = {str(is_local).lower()}\n'
            'models = ["m", "m:cloud"]\nmax_retries = 0\nconnect_timeout = 2\ncircuit_failures = 0'
        )
    if chance.random() < 0.2:  # nobody answers it, so that every request may be a private one
        lines.append(
            '[classifiers.llm]\nenabled = true\nprovider = "dead"\nmodel = "m"\n'
            'labels = { private = "about health", other = "else" }\ntimeout = 0.2'
        )
    else:
        lines.append(f'[classifiers.keyword]\nenabled = true\ntags = {{ private = ["{WORD}"] }}')
    networks = chance.choice(("", "", '\nnetworks = ["10.9.0.0/24", "fd00:9::/64"]'))
    lines.append(f'[[policies]]\ntag = "private"\nrequire = "local"{networks}')
    if chance.random() < 0.7:
        lines += rules(chance, [name for name, _, _ in chosen])
    return "\n".join(lines) + "\n"


def rules(chance: random.Random, names: list[str]) -> list[str]:
    out = []
    for _ in range(chance.randint(1, 3)):
        some = json.dumps(chance.sample(names, chance.randint(2, len(names))))
        kind = chance.choice(("fallback", "random", "round_robin", "least_busy", "latency"))
        hedge = chance.choice(("", "\nhedge_after_ms = 50"))
        out.append(f'[[routers]]\ntype = "{kind}"\nproviders = {some}{hedge}')
    order = json.dumps([f"{name}/m" for name in chance.sample(names, len(names))])
    return [*out, f"[models]\nany = {order}"]


def bodies(chance: random.Random, word: str) -> list[tuple[str, dict[str, Any]]]:
    model = chance.choice(("any", "m", "m:cloud", "far/m", "far6/m", "flip/m", "mapped/m"))
    said = [{"role": "user", "content": f"my {word}"}]
    chat = {"model": model, "messages": said}
    pictures = [
        {"type": "image_url", "image_url": {"url": f"http://{host}:{PORT}/a.png"}}
        for host in (FAR[0], "far.test", "flip.test", METADATA)
    ]
    seen = [{"type": "text", "text": f"my {word}"}, *pictures]
    return [
        ("/v1/chat/completions", chat),
        ("/v1/chat/completions", {**chat, "stream": True}),
        ("/v1/chat/completions", {**chat, "model": f"nobody-has-{chance.random()}"}),
        (
            "/v1/chat/completions",
            {**chat, "model": "m", "messages": [{**said[0], "content": seen}]},
        ),
        ("/v1/messages", {**chat, "max_tokens": 9, "stream": True}),
        ("/v1/messages/count_tokens", chat),
        ("/api/chat", {**chat, "model": "m:cloud"}),
        ("/api/generate", {"model": model, "prompt": f"my {word}"}),
        ("/v1/completions", {"model": model, "prompt": f"my {word}"}),
        ("/v1/responses", {"model": model, "input": f"my {word}"}),
        ("/api/embed", {"model": model, "input": f"my {word}"}),
    ]


def ask(daemon: RunningDaemon, path: str, body: dict[str, Any], wish: str) -> tuple[int, str, str]:
    """Status, receipt and provider of an answer."""
    connection = http.client.HTTPConnection("127.0.0.1", daemon.port, timeout=60)
    fields = {"Content-Type": "application/json"} | ({"X-Router-Provider": wish} if wish else {})
    try:
        connection.request("POST", path, json.dumps(body), fields)
        answer = connection.getresponse()
        answer.read()
        receipt = answer.getheader("x-router-left-host") or ""
        return answer.status, receipt, answer.getheader("x-router-provider") or ""
    finally:
        connection.close()


# --- the rounds -----------------------------------------------------------------------------------


def main(seed: int, rounds: int) -> dict[str, Any]:
    there = build_network()
    resolver, sniffer = Resolver(), Sniffer()
    counted = ("asked", "served", "control", "logged", "hosts", "collectors", "cloud")
    out: dict[str, Any] = {**dict.fromkeys(counted, 0), "left": [], "wrong": []}
    try:
        for number in range(rounds):
            chance = random.Random(f"wider/{seed}/{number}")
            one_round(chance, sniffer, resolver, out)
    finally:
        for each in there:
            each.kill()
    return out


def one_round(
    chance: random.Random, sniffer: Sniffer, resolver: Resolver, out: dict[str, Any]
) -> None:
    mode = chance.choice(("answers", "fails", "redirects", "cuts", "slow", "slow"))
    asked: list[str] = []
    receipts: list[str] = []
    with FakeUpstream(script(mode, asked)) as up, tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log.jsonl"
        text = configuration(chance, up.url, up.port, log)
        with RunningDaemon(text, Path(folder)) as daemon:
            sniffer.strangers()
            resolver.asked.clear()
            for path, body in bodies(chance, WORD):
                wish = chance.choice(("", "", "", "far", "far6", "flip", "mapped"))
                status, receipt, provider = ask(daemon, path, body, wish)
                out["asked"] += 1
                out["served"] += status == 200
                said = {"path": path, "body": body, "in": f"{mode}\n{text}", "wish": wish}
                left = sniffer.strangers()
                if left:
                    out["left"].append({"to": left, "said": status, **said})
                if status == 200 and provider and "count" not in path:
                    out["hosts"] += 1
                    receipts.append(receipt)
            if "[telemetry]" in text:
                time.sleep(SETTLES_S)
                out["collectors"] += 1
                left = sniffer.strangers()
                if left:
                    out["left"].append({"to": left, "by": "telemetry", "in": text})
            if "far.test." in resolver.asked:  # a look-up tells, too
                out["wrong"].append({"looked up": resolver.asked, "in": text})
            out["cloud"] += asked.count("m:cloud")
            if "[classifiers.llm]" in text or control(daemon, sniffer, chance):
                out["control"] += 1
        out["logged"] += check_log(log, receipts, out)


def control(daemon: RunningDaemon, sniffer: Sniffer, chance: random.Random) -> bool:
    """Without the word a request leaves, and the wire shows it."""
    for wish in ("far", "far6", "named"):
        _, body = bodies(chance, "weather")[0]
        ask(daemon, "/v1/chat/completions", {**body, "model": f"{wish}/m"}, wish)
    return bool(sniffer.strangers())


def check_log(log: Path, receipts: list[str], out: dict[str, Any]) -> int:
    """The addresses of the requests that had to stay, and that the receipts said the same."""
    told = [json.loads(line) for line in log.read_text().splitlines()]
    kept = [each for each in told if each["policies"] and each["endpoint"] != "internal"]
    for each in kept:
        host = (each["address"] or "").rpartition(":")[0].strip("[]")
        host = "127.0.0.1" if host in ("", "0.0.0.0") else host  # none: nobody was asked
        on_host = ipaddress.ip_address(host).is_loopback
        agrees = each["left_host"] is not on_host or each["attempts"]  # a failed one may have left
        if not is_here(host) or (each["status"] == 200 and not agrees):
            out["wrong"].append({"logged": each["address"], "left": each["left_host"]})
    said = ["yes" if each["left_host"] else "no" for each in kept if each["status"] == 200]
    if said != receipts:
        out["wrong"].append({"receipts": receipts, "log": said})
    return len(said)


if __name__ == "__main__":
    if sys.argv[1:] == ["--far"]:
        far_end()
    else:
        os.environ.pop("http_proxy", None)
        json.dump(main(int(sys.argv[1]), int(sys.argv[2])), sys.stdout)
