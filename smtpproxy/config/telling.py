"""Check whether upstream can take what it is told of the client."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from smtpproxy.policy.model import PortKind, SendClient, TlsAction

if TYPE_CHECKING:
    from smtpproxy.policy.model import Policy

REPLACES_ADDRESS: Final = frozenset({SendClient.PROXY_V2, SendClient.XCLIENT})
"""What makes upstream take the client's address for that of its own client."""


def telling_problem(policy: Policy, *, embedded: bool) -> str | None:
    """Return why a policy's sessions would all be refused, ``None`` if nothing says so.

    Args:
        policy: the policy.
        embedded: whether its upstream is the embedded server.
    """
    how = policy.send_client
    if embedded and how is not SendClient.NONE:
        return "the embedded server takes none of it; use none, or name a server"
    if how is SendClient.XCLIENT and not policy.action.esmtp.enabled:
        return f"xclient needs EHLO, and {policy.action.name} has esmtp.enabled: false; use proxy_v2"
    if how is SendClient.XCLIENT and _passes_implicit_tls(policy):
        return (
            f"{policy.action.name} lets TLS of port 465 pass, where nobody could be told, and clients could say "
            "XCLIENT themselves; use proxy_v2, or none of allow in tls"
        )
    return None


def _passes_implicit_tls(policy: Policy) -> bool:
    tls = policy.action.tls
    actions = {tls.action, *(exception.action for exception in tls.exceptions)}
    return PortKind.SMTPS in policy.tls_support.ports and TlsAction.ALLOW in actions


def telling_notice(policy: Policy) -> str | None:
    """Return what is to be known of a policy that tells servers which nobody has configured for it."""
    how = policy.send_client
    if policy.upstream is not None or how not in REPLACES_ADDRESS:
        return None
    return f"every server that clients dial must be configured to take {how.value} from the gateway; others get no mail"
