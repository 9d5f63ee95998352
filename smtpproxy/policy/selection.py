"""Select the policy for a connection: first match wins."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final, TypeAlias

from smtpproxy.policy.model import Policy, PortKind
from smtpproxy.policy.rules import Network

Address: TypeAlias = IPv4Address | IPv6Address

KEPT_ADDRESSES: Final = 4096
"""Parsed addresses of late; a gateway has few of its own, and clients come again."""


@lru_cache(KEPT_ADDRESSES)
def plain_address(text: str) -> Address:
    """Parse the address of a socket; an IPv4 peer of an IPv6 socket is an IPv4 peer, a zone is left out."""
    address = ip_address(text.partition("%")[0])
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address


def select_policy(policies: Sequence[Policy], source: Address, destination: Address, kind: PortKind) -> Policy | None:
    """Return the first enabled policy that takes this traffic, or ``None``: then the connection is closed.

    Args:
        policies: in the configured order.
        source: the client's address.
        destination: the address that the client dialled.
        kind: the kind of port that it dialled.
    """
    for policy in policies:
        takes_port = policy.enabled and kind in policy.tls_support.ports
        if takes_port and _within(source, policy.source) and _within(destination, policy.destination):
            return policy
    return None


def _within(address: Address, networks: Sequence[Network]) -> bool:
    return any(address in network for network in networks)
