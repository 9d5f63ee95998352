"""Policies that cannot work because of this machine's own addresses.

A client that dials the gateway itself, as it does where a router translates the address of a mail server into the
gateway's, leaves no other address behind: to dial it again would be a loop. And a server on this machine answers a
client's own address past the gateway.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from smtpproxy.firewall.parameters import Finding
from smtpproxy.policy.model import Direction, SourceAddress

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from smtpproxy.policy.model import Policy
    from smtpproxy.policy.rules import Network
    from smtpproxy.policy.selection import Address

_SERVER: Final = "name the server as its upstream"


def own_findings(policies: Sequence[Policy], own: Sequence[Address]) -> list[Finding]:
    """Return what is found about policies and this machine's addresses.

    Args:
        policies: all; those disabled are passed over.
        own: the machine's addresses.
    """
    enabled = [policy for policy in policies if policy.enabled]
    return [finding for policy in enabled for finding in (*_loops(policy, own), *_answers(policy, own))]


def _loops(policy: Policy, own: Sequence[Address]) -> Iterator[Finding]:
    if policy.direction is not Direction.INBOUND or policy.upstream is not None:
        return
    for network in policy.destination:
        here = [str(address) for address in own if address in network and network.prefixlen]
        if here and _is_host(network):
            host = network.network_address
            text = f"policy '{policy.name}': {host} is this machine, where no server is behind; {_SERVER}"
            yield Finding(text, is_fault=True)
        elif here:
            text = f"policy '{policy.name}': who dials {', '.join(here)}, this machine itself, is told 421"
            yield Finding(text, is_fault=False)


def _is_host(network: Network) -> bool:
    return network.prefixlen == network.max_prefixlen


def _answers(policy: Policy, own: Sequence[Address]) -> Iterator[Finding]:
    if policy.source_address is SourceAddress.CLIENT and policy.upstream and policy.upstream.host in map(str, own):
        text = (
            f"policy '{policy.name}': {policy.upstream.host} is this machine, and answers clients past the gateway; "
            "give it source_address: gateway"
        )
        yield Finding(text, is_fault=True)
