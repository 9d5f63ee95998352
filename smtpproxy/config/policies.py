"""Make policies of the main file's sections."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from smtpproxy.policy.model import Direction, PeerPolicies, Policy, UpstreamHost

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from smtpproxy.config.gateway_file import EmbeddedSection, PolicySection
    from smtpproxy.policy.model import ProxyAction
    from smtpproxy.policy.rules import Network

DEFAULT_ACTIONS: Final = {
    Direction.OUTBOUND: "SMTP-Outgoing.Standard",
    Direction.INBOUND: "SMTP-Incoming.Standard",
}


def action_name(section: PolicySection) -> str:
    """Return the name of a policy's proxy action, given or by default."""
    return section.proxy_action or DEFAULT_ACTIONS[section.direction]


def make_policy(
    section: PolicySection, actions: Mapping[str, ProxyAction | None], embedded: EmbeddedSection | None
) -> Policy | None:
    """Return a policy, ``None`` if its proxy action or its upstream is not to be had."""
    action = actions.get(action_name(section))
    upstream = make_upstream(section, embedded)
    if action is None or upstream is None:
        return None
    return Policy(
        name=section.name,
        direction=section.direction,
        source=_flat(section.source),
        destination=_flat(section.destination),
        tls_support=section.tls_support,
        action=action,
        upstream=upstream,
        enabled=section.enabled,
        peer_policies=PeerPolicies(section.peer_policies.dane, section.peer_policies.mta_sts),
    )


def make_upstream(section: PolicySection, embedded: EmbeddedSection | None) -> UpstreamHost | None:
    """Return where a policy's sessions are opened anew, ``None`` for an embedded server that is not there."""
    target = section.upstream or embedded
    return UpstreamHost(target.host, target.smtp, target.smtps) if target else None


def _flat(networks: Sequence[tuple[Network, ...]]) -> tuple[Network, ...]:
    return tuple(dict.fromkeys(network for group in networks for network in group))
