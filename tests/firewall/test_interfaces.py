from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from smtpproxy.firewall.interfaces import networks_behind
from smtpproxy.firewall.programs import FirewallError

if TYPE_CHECKING:
    from collections.abc import Sequence

ADDRESSES = [
    {"local": "10.9.0.1", "prefixlen": 24, "scope": "global"},
    {"local": "10.9.0.7", "prefixlen": 24, "scope": "global"},
    {"local": "10.9.1.1", "prefixlen": 32, "scope": "global"},
    {"local": "fd09::1", "prefixlen": 64, "scope": "global"},
    {"local": "fe80::1", "prefixlen": 64, "scope": "link"},
]


def listing(addresses: object) -> str:
    return json.dumps([{}, {"ifname": "eth1", "addr_info": addresses}, {}])


def test_networks_are_found_once_and_those_of_the_link_or_of_one_host_are_not() -> None:
    asked: list[Sequence[str]] = []

    def run(program: str, arguments: Sequence[str], text: str = "") -> str:
        assert (program, text) == ("ip", "")
        asked.append(arguments)
        return listing(ADDRESSES)

    assert list(map(str, networks_behind("eth1", run))) == ["10.9.0.0/24", "fd09::/64"]
    assert [arguments[-1] for arguments in asked] == ["eth1"]


def test_an_interface_in_no_network_is_told() -> None:
    def run(program: str, arguments: Sequence[str], text: str = "") -> str:  # noqa: ARG001
        return listing(ADDRESSES[-1:])

    with pytest.raises(FirewallError, match="eth1 is in no network"):
        networks_behind("eth1", run)
