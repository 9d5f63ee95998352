"""Select the policy for a connection: first match wins."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
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


class Obstacle(Enum):
    """Why a policy does not take a connection; the first of these that holds."""

    DISABLED = "it is disabled"
    PORT = "its TLS Support does not take this port"
    SOURCE = "the source is in none of its networks"
    DESTINATION = "the destination is in none of its networks"


@dataclass(frozen=True, slots=True)
class Traffic:
    """What a connection is selected by.

    Args:
        kind: the kind of port that the client dialled.
        source: the client's address; ``None``, in a question, for any that a policy takes.
        destination: the address that the client dialled; ``None`` as above.
    """

    kind: PortKind
    source: Address | None = None
    destination: Address | None = None


@dataclass(frozen=True, slots=True)
class PolicyTried:
    """A policy that was looked at; without an obstacle it is the one."""

    policy: Policy
    obstacle: Obstacle | None


def trace_selection(policies: Sequence[Policy], traffic: Traffic) -> Iterator[PolicyTried]:
    """Yield each policy that is looked at, in order; the last has no obstacle, unless no policy takes the traffic."""
    for policy in policies:
        obstacle = _obstacle(policy, traffic)
        yield PolicyTried(policy, obstacle)
        if obstacle is None:
            return


def select_policy(policies: Sequence[Policy], source: Address, destination: Address, kind: PortKind) -> Policy | None:
    """Return the first enabled policy that takes this traffic, or ``None``: then the connection is closed.

    Args:
        policies: in the configured order.
        source: the client's address.
        destination: the address that the client dialled.
        kind: the kind of port that it dialled.
    """
    tried = trace_selection(policies, Traffic(kind, source, destination))
    return next((each.policy for each in tried if each.obstacle is None), None)


def _obstacle(policy: Policy, traffic: Traffic) -> Obstacle | None:
    if not policy.enabled:
        return Obstacle.DISABLED
    if traffic.kind not in policy.tls_support.ports:
        return Obstacle.PORT
    if not _within(traffic.source, policy.source):
        return Obstacle.SOURCE
    return None if _within(traffic.destination, policy.destination) else Obstacle.DESTINATION


def _within(address: Address | None, networks: Sequence[Network]) -> bool:
    return address is None or any(address in network for network in networks)
