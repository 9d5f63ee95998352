"""Say what a policy's TLS profiles mean for its peers: old versions, and certificates that no suite fits.

Source: RFC 8996 (TLS 1.0 and 1.1 must not be used); RFC 5246 s7.4.2 (the suite names the kind of the server's key).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from smtpproxy.policy.model import Direction, PortKind
from smtpproxy.policy.profiles import fits_ecdsa, fits_rsa
from smtpproxy.tls.facts import TlsVersion

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from smtpproxy.authority.credentials import Credential
    from smtpproxy.policy.model import Policy, TlsProfile

_NAMES: Final = {TlsVersion.TLS1_0: "TLS 1.0", TlsVersion.TLS1_1: "TLS 1.1"}


def profiles_in_use(policy: Policy) -> dict[PortKind, TlsProfile]:
    """Return the TLS profile of each kind of port on which a policy speaks TLS."""
    action, ports = policy.action, policy.tls_support.ports
    found = {}
    if PortKind.SMTP in ports and action.starttls.enabled:
        found[PortKind.SMTP] = action.starttls.profile
    if PortKind.SMTPS in ports:
        found[PortKind.SMTPS] = action.implicit_profile
    return found


def profile_notices(policy: Policy, credentials: Sequence[Credential]) -> Iterator[str]:
    """Yield what an administrator should know of the profiles of an enabled policy.

    Args:
        policy: with its proxy action.
        credentials: the Proxy Server certificates.
    """
    if not policy.enabled:
        return
    for profile in dict.fromkeys(profiles_in_use(policy).values()):
        if profile.is_legacy:
            yield (
                f"TLS profile {profile.name} is a legacy one: it takes {_NAMES[profile.minimum_version]}, which RFC "
                "8996 forbids, and keys and digests of any strength; keep it to hosts that speak nothing newer"
            )
        if policy.direction is Direction.INBOUND:
            yield from _unfit(profile, credentials)


def _unfit(profile: TlsProfile, credentials: Sequence[Credential]) -> Iterator[str]:
    for number, credential in enumerate(credentials):
        fits = fits_rsa(profile) if credential.has_rsa_key else fits_ecdsa(profile)
        if not fits:
            kind = "RSA" if credential.has_rsa_key else "ECDSA"
            yield (
                f"ciphers of TLS profile {profile.name} have none for the {kind} key of "
                f"certificates.proxy_server[{number}], so clients that are shown it need TLS 1.3; add one"
            )
