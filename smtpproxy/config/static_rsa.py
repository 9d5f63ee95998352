"""Check that clients of inbound policies without forward secrecy can be shown an RSA key.

Source: RFC 5246 s7.4.2, s8.1.1 (static RSA: the certificate's RSA key decrypts the key exchange).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from smtpproxy.policy.model import Direction, Pfs, PortKind
from smtpproxy.policy.rules import SenderEncryption

if TYPE_CHECKING:
    from collections.abc import Sequence

    from smtpproxy.authority.credentials import Credential
    from smtpproxy.policy.model import Policy, TlsProfile


def static_rsa_profiles(policy: Policy) -> list[str]:
    """Return the TLS profiles under which clients of ``policy`` need a Proxy Server certificate with an RSA key.

    Outbound there is none: a leaf is minted with whichever key the client needs.
    """
    if policy.direction is not Direction.INBOUND or not policy.enabled:
        return []
    return list(dict.fromkeys(profile.name for profile in _client_profiles(policy) if profile.pfs is Pfs.NONE))


def static_rsa_problem(profiles: Sequence[str], credentials: Sequence[Credential]) -> str | None:
    """Return why no handshake under ``profiles`` can succeed, and what to do."""
    if not profiles or any(credential.has_rsa_key for credential in credentials):
        return None
    return (
        f"{_named(profiles)} has pfs: none, and static RSA needs a Proxy Server certificate with an RSA key, which no "
        "entry of certificates.proxy_server has; add one, or choose a profile with pfs: allowed or required"
    )


def static_rsa_notice(profiles: Sequence[str], credentials: Sequence[Credential]) -> str | None:
    """Return which of several certificates fail under ``profiles``, and what to do."""
    numbers = [number for number, credential in enumerate(credentials) if not credential.has_rsa_key]
    if not profiles or not numbers:
        return None
    keys = " and ".join(f"certificates.proxy_server[{number}]" for number in numbers)
    return (
        f"{_named(profiles)} has pfs: none, so the handshake fails for clients that are shown {keys}, without an RSA "
        "key; list one with an RSA key first and for each name"
    )


def _client_profiles(policy: Policy) -> list[TlsProfile]:
    """Return the profiles that the client leg may come to use."""
    action, ports = policy.action, policy.tls_support.ports
    found = [action.implicit_profile] if PortKind.SMTPS in ports else []
    taken = any(rule.sender is not SenderEncryption.NONE for rule in action.starttls.rules)
    if PortKind.SMTP in ports and action.starttls.enabled and taken:
        found.append(action.starttls.profile)
    return found


def _named(profiles: Sequence[str]) -> str:
    return "TLS profile " + " and ".join(profiles)
