"""Find policies that never match because earlier ones take all of their traffic."""

from __future__ import annotations

from typing import TYPE_CHECKING

from smtpproxy.policy.shadowing import networks_cover

if TYPE_CHECKING:
    from collections.abc import Sequence

    from smtpproxy.policy.model import Policy, PortKind


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
        if (
            takes
            and networks_cover(other.source, policy.source)
            and networks_cover(other.destination, policy.destination)
        ):
            return other
    return None
