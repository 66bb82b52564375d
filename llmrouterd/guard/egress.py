"""May this request's bytes go to that address? The last word before a socket is opened.

Owns: what counts as a local address, and which labels may go where.
Refuses to know: names, DNS, sockets, configuration. It sees the address that will really be dialled.

Laws:
1. Pure: same label and address, same answer.
2. Fail closed: what is not understood as an address is not local.
3. A unix socket, `unix:/path`, is this host.
4. Carrier-grade NAT space (100.64.0.0/10) is somebody else's network, so it is not local.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass

_LOCAL = tuple(
    ipaddress.ip_network(text)
    for text in (
        "127.0.0.0/8",
        "10.0.0.0/8",
        "172.16.0.0/12",
        "192.168.0.0/16",
        "169.254.0.0/16",
        "::1/128",
        "fe80::/10",
        "fc00::/7",
    )
)
# IPv6 addresses that carry an IPv4 one to a gateway, which may sit in this very network.
_CARRIERS = tuple(
    ipaddress.ip_network(text)
    for text in ("64:ff9b::/96", "64:ff9b:1::/48", "2002::/16", "2001::/32")
)
UNIX = "unix:"
_HERE = ipaddress.IPv4Address("127.0.0.1")
Address = ipaddress.IPv4Address | ipaddress.IPv6Address


@dataclass(frozen=True, slots=True)
class Label:
    """What is known of a request's secrecy. local_only: its bytes must not leave this network.
    networks: with local_only, the networks they may reach besides this host, instead of all local
    ones. public_only: it must not reach into this network: whoever made it may be a stranger."""

    local_only: bool = False
    public_only: bool = False
    networks: tuple[str, ...] = ()

    @property
    def binds(self) -> bool:
        """Not every address is right."""
        return self.local_only or self.public_only

    @property
    def nowhere(self) -> bool:
        """No address at all is right."""
        private = all(ipaddress.ip_network(text).is_private for text in self.networks)
        return self.local_only and self.public_only and private


FREE = Label()


def may(label: Label, address: str) -> bool:
    """Whether bytes under `label` may be sent to `address` (an IP address as text, or
    `unix:/path`)."""
    if label.public_only and not is_public(address):
        return False
    if not label.local_only:
        return True
    return _within(address, label.networks) if label.networks else is_local(address)


def _within(address: str, networks: tuple[str, ...]) -> bool:
    parsed = _parse(address)
    if parsed is None:
        return False
    found = map(ipaddress.ip_network, networks)
    return is_loopback(address) or any(parsed in network for network in found)


def is_local(address: str) -> bool:
    """Loopback, private, link-local or unique-local; the unspecified address means this host."""
    parsed = _parse(address)
    if parsed is None:
        return False
    return parsed.is_unspecified or any(parsed in network for network in _LOCAL)


def is_public(address: str) -> bool:
    """An address of the internet at large: not of this host, this network, or any reserved kind."""
    parsed = _parse(address)
    if parsed is None or not parsed.is_global or parsed.is_multicast:
        return False
    return not any(parsed in network for network in _CARRIERS)


def is_loopback(address: str) -> bool:
    """Whether the bytes stay on this host. The unspecified address connects to it, too."""
    parsed = _parse(address)
    return parsed is not None and (parsed.is_loopback or parsed.is_unspecified)


def _parse(address: str) -> Address | None:
    """The address itself; an IPv4 one in IPv6 clothes counts as what it is."""
    if address.startswith(UNIX):
        return _HERE
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return None
    if isinstance(parsed, ipaddress.IPv6Address):
        if parsed.ipv4_mapped is not None:
            return parsed.ipv4_mapped
        if parsed.scope_id is not None:  # `in network` refuses to compare scoped addresses by value
            return ipaddress.IPv6Address(int(parsed))
    return parsed
