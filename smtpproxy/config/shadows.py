"""Find policies that never match because earlier ones take all of their traffic."""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network, collapse_addresses
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from smtpproxy.policy.model import Policy, PortKind
    from smtpproxy.policy.rules import Network


def shadows(policy: Policy, earlier: Sequence[Policy]) -> list[Policy]:
    """Return the policies that together leave nothing to ``policy``: for each kind of port the first that takes all.

    Args:
        policy: the policy in question.
        earlier: those before it.

    Returns:
        Nothing if there is traffic that ``policy`` gets.
    """
    found = [_shadow(policy, earlier, kind) for kind in sorted(policy.tls_support.ports, key=lambda kind: kind.value)]
    named = [each for each in found if each is not None]
    return list(dict.fromkeys(named)) if len(named) == len(found) else []


def _shadow(policy: Policy, earlier: Sequence[Policy], kind: PortKind) -> Policy | None:
    for other in earlier:
        takes = other.enabled and kind in other.tls_support.ports
        if takes and _within(policy.source, other.source) and _within(policy.destination, other.destination):
            return other
    return None


def _within(inner: Sequence[Network], outer: Sequence[Network]) -> bool:
    ipv4 = list(collapse_addresses(network for network in outer if isinstance(network, IPv4Network)))
    ipv6 = list(collapse_addresses(network for network in outer if isinstance(network, IPv6Network)))
    return all(
        any(network.subnet_of(each) for each in ipv4)
        if isinstance(network, IPv4Network)
        else any(network.subnet_of(each) for each in ipv6)
        for network in inner
    )
