"""Select the policy for a connection: first match wins."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address

from smtpproxy.policy.model import Network, Policy, PortKind


def select_policy(policies: Sequence[Policy], source: str, destination: str, kind: PortKind) -> Policy | None:
    """Return the first enabled policy that takes this traffic, or ``None``: then the connection is closed.

    Args:
        policies: in the configured order.
        source: the client's IP address.
        destination: the IP address that the client dialled.
        kind: the kind of port that it dialled.
    """
    client, dialled = _address(source), _address(destination)
    for policy in policies:
        takes_port = policy.enabled and kind in policy.tls_support.ports
        if takes_port and _within(client, policy.source) and _within(dialled, policy.destination):
            return policy
    return None


def _address(text: str) -> IPv4Address | IPv6Address:
    """An IPv4 client of an IPv6 socket is an IPv4 client: its mapped address is taken for what it maps."""
    address = ip_address(text.partition("%")[0])
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address


def _within(address: IPv4Address | IPv6Address, networks: Sequence[Network]) -> bool:
    return any(address in network for network in networks)
