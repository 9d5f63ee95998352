"""Check whether what a policy takes finds its way: not back to the gateway, and from upstream back through it.

Only what the configuration itself says is known here; `smtpproxy firewall check` looks at the machine.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from smtpproxy.config.addresses import ANY, is_loopback
from smtpproxy.config.near import some
from smtpproxy.policy.model import Direction, InterceptionMode, SourceAddress

if TYPE_CHECKING:
    from collections.abc import Iterator

    from smtpproxy.policy.model import Policy

_WANTED: Final = "name the server, {host: NAME, smtp: 25, smtps: 465}"
_RULES: Final = "'smtpproxy firewall apply' makes the rules and routes"
_ASIDE: Final = {
    InterceptionMode.EXPLICIT: "clients dial the gateway, so servers may have another way to them",
    InterceptionMode.PROXY_PROTOCOL: "a balancer dials the gateway, so servers may have another way to clients",
}
"""Modes in which the gateway need not be in the path, and why that matters."""


def loop_problem(policy: Policy, listen: tuple[str, ...]) -> str | None:
    """Return why all that a policy takes would be dialled at the gateway again, ``None`` if that is not known.

    Args:
        policy: the policy.
        listen: the addresses of `interception.listen`.
    """
    own = list(_own_destinations(policy, listen))
    if policy.upstream is not None or not own or len(own) < len(policy.destination):
        return None
    return f"clients of this policy dial the gateway itself at {some(own)}; {_WANTED}"


def loop_notice(policy: Policy, listen: tuple[str, ...], mode: InterceptionMode) -> str | None:
    """Return what of a policy would be dialled at the gateway again, or at its balancer; ``None`` for nothing known."""
    if policy.upstream is not None:
        return None
    if own := list(_own_destinations(policy, listen)):
        return f"who dials the gateway itself at {some(own)} is told 421, since there is no server behind; {_WANTED}"
    if mode is InterceptionMode.PROXY_PROTOCOL and policy.direction is Direction.INBOUND:
        return f"what clients dialled may be the balancer itself, which would dial the gateway again; {_WANTED}"
    return None


def source_notice(policy: Policy, listen: tuple[str, ...], mode: InterceptionMode) -> str | None:
    """Return what keeps, or may keep, upstream's answers to clients' own addresses from coming back."""
    if policy.source_address is not SourceAddress.CLIENT:
        return None
    if policy.upstream and (is_loopback(policy.upstream.host) or policy.upstream.host in listen):
        return (
            f"with client {policy.upstream.host}, which is this machine, answers clients past the gateway, so that no "
            "connection comes about unless the client is on this machine too; use gateway"
        )
    if mode in _ASIDE:
        return (
            f"with client upstream's answers must come back through the gateway: {_ASIDE[mode]}; let their route to "
            f"clients lead here ({_RULES} that it takes on this machine), or use gateway"
        )
    if mode is InterceptionMode.REDIRECT:
        return f"with client upstream's answers take more than a redirection to come back; {_RULES}"
    return None


def _own_destinations(policy: Policy, listen: tuple[str, ...]) -> Iterator[str]:
    """Yield the single addresses that a policy names and that the gateway surely has."""
    for network in policy.destination:
        host = str(network.network_address)
        if network.prefixlen == network.max_prefixlen and network not in ANY and (host in listen or is_loopback(host)):
            yield host
