"""Make policies of the main file's sections."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from smtpproxy.config.addresses import is_loopback
from smtpproxy.policy.model import Direction, InterceptionMode, PeerPolicies, Policy, SourceAddress, UpstreamHost

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from smtpproxy.config.gateway_file import EmbeddedSection, PolicySection
    from smtpproxy.policy.model import ProxyAction
    from smtpproxy.policy.rules import Network

EMBEDDED: Final = "embedded"
ORIGINAL_DESTINATION: Final = "original_destination"

DEFAULT_ACTIONS: Final = {
    Direction.OUTBOUND: "SMTP-Outgoing.Standard",
    Direction.INBOUND: "SMTP-Incoming.Standard",
}


def action_name(section: PolicySection) -> str:
    """Return the name of a policy's proxy action, given or by default."""
    return section.proxy_action or DEFAULT_ACTIONS[section.direction]


def make_policy(
    section: PolicySection,
    actions: Mapping[str, ProxyAction | None],
    embedded: EmbeddedSection | None,
    mode: InterceptionMode,
) -> Policy | None:
    """Return a policy, ``None`` if its proxy action or its upstream is not to be had."""
    action = actions.get(action_name(section))
    if action is None or (section.upstream == EMBEDDED and embedded is None):
        return None
    return Policy(
        name=section.name,
        direction=section.direction,
        source=_flat(section.source),
        destination=_flat(section.destination),
        tls_support=section.tls_support,
        action=action,
        upstream=make_upstream(section, embedded),
        enabled=section.enabled,
        peer_policies=PeerPolicies(section.peer_policies.dane, section.peer_policies.mta_sts),
        send_client=section.send_client,
        source_address=section.source_address or default_source(section.upstream, mode),
    )


def make_upstream(section: PolicySection, embedded: EmbeddedSection | None) -> UpstreamHost | None:
    """Return where a policy's sessions are opened anew, ``None`` for where the client dialled."""
    target = embedded if section.upstream == EMBEDDED else section.upstream
    if target is None or isinstance(target, str):
        return None
    return UpstreamHost(target.host, target.smtp, target.smtps)


def default_source(upstream: object, mode: InterceptionMode) -> SourceAddress:
    """Return the address that upstream sees if nothing is said of it: the client's where that can work by itself."""
    host = getattr(upstream, "host", "127.0.0.1" if upstream == EMBEDDED else "")
    intercepts = mode is InterceptionMode.TPROXY
    return SourceAddress.CLIENT if intercepts and not is_loopback(host) else SourceAddress.GATEWAY


def _flat(networks: Sequence[tuple[Network, ...]]) -> tuple[Network, ...]:
    return tuple(dict.fromkeys(network for group in networks for network in group))
