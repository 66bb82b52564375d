from dataclasses import replace

import pytest

from llmrouterd.guard.egress import Label, is_local, is_loopback, is_public, may

LOCAL = [
    "127.0.0.1",
    "127.9.9.9",
    "10.1.2.3",
    "172.16.0.1",
    "172.31.255.255",
    "192.168.1.1",
    "169.254.1.1",
    "::1",
    "fe80::1",
    "fe80::1%eth0",
    "fd00::1",
    "::ffff:10.0.0.1",
    "0.0.0.0",
    "::",
]
FAR = [
    "8.8.8.8",
    "100.64.0.1",  # carrier-grade NAT
    "172.32.0.1",
    "192.0.2.1",
    "2001:4860:4860::8888",
    "::ffff:8.8.8.8",
    "64:ff9b::808:808",
    "2002:7f00:1::",  # 6to4 of 127.0.0.1: goes to a relay
    "",
    "localhost",
    "10.1",
    "127.0.0.1.example.com",
]


@pytest.mark.parametrize("address", LOCAL)
def test_a_local_address(address: str) -> None:
    assert is_local(address)
    assert may(Label(local_only=True), address)


@pytest.mark.parametrize("address", FAR)
def test_an_address_elsewhere_or_none_at_all(address: str) -> None:
    assert not is_local(address)
    assert not may(Label(local_only=True), address)


def test_with_networks_only_these_and_this_host() -> None:
    label = Label(local_only=True, networks=("10.1.0.0/16", "fd00:1::/32", "198.51.100.0/24"))
    for address in ("10.1.2.3", "::ffff:10.1.2.3", "fd00:1::9", "198.51.100.7", "127.0.0.1", "::1"):
        assert may(label, address)
    for address in ("10.2.0.1", "192.168.1.1", "fe80::1", "8.8.8.8", "", "router.lan"):
        assert not may(label, address)


def test_what_binds() -> None:
    assert not Label().binds
    assert Label(local_only=True).binds
    assert Label(public_only=True).binds


@pytest.mark.parametrize("address", LOCAL + FAR)
def test_without_a_label_everything_may(address: str) -> None:
    assert may(Label(), address)


def test_only_loopback_stays_on_this_host() -> None:
    assert is_loopback("127.0.0.1")
    assert is_loopback("::1")
    assert is_loopback("::ffff:127.0.0.1")
    assert not is_loopback("10.0.0.1")
    assert not is_loopback("example.com")


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("93.184.215.14", True),
        ("2606:2800:21f::1", True),
        ("127.0.0.1", False),
        ("10.1.2.3", False),
        ("169.254.169.254", False),
        ("100.64.0.1", False),
        ("192.0.2.1", False),
        ("224.0.0.1", False),
        ("0.0.0.0", False),
        ("::1", False),
        ("fe80::1", False),
        ("fc00::1", False),
        ("::ffff:10.0.0.1", False),
        ("64:ff9b:1::1", False),
        ("64:ff9b::a01:203", False),
        ("2002:a01:203::1", False),
        ("name", False),
        ("", False),
    ],
)
def test_what_a_stranger_s_url_may_reach(address: str, public: bool) -> None:
    assert is_public(address) is public
    assert may(Label(public_only=True), address) is public
    assert may(Label(), address)


def test_what_must_stay_and_must_not_reach_into_this_network_may_go_nowhere():
    both = Label(local_only=True, public_only=True)
    assert both.nowhere
    assert not any(may(both, each) for each in ("127.0.0.1", "10.0.0.1", "198.51.100.1", "9.9.9.9"))
    assert not Label(local_only=True).nowhere
    assert not Label(public_only=True).nowhere
    assert replace(both, networks=("10.0.0.0/8", "fd00::/8")).nowhere
    assert not replace(both, networks=("10.0.0.0/8", "9.9.9.0/24")).nowhere


def test_a_unix_socket_is_this_host() -> None:
    address = "unix:/run/llama.sock"
    assert is_loopback(address)
    assert is_local(address)
    assert not is_public(address)
    assert may(Label(local_only=True, networks=("10.0.0.0/8",)), address)
    assert not may(Label(public_only=True), address)
