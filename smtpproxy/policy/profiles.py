"""Say which combinations of a TLS profile make no sense, and what a profile asks of a leaf's key.

Source: RFC 8446 s2.2, s4.1.1 (every key exchange of TLS 1.3 has forward secrecy, but for a bare PSK, not used here).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from smtpproxy.policy.model import CertificateValidation, Ocsp, Pfs, SecondOpinion
from smtpproxy.tls.facts import TlsVersion

if TYPE_CHECKING:
    from collections.abc import Iterator

    from smtpproxy.policy.model import TlsProfile

_ECDSA: Final = "ECDHE-ECDSA-"


def profile_problem(profile: TlsProfile) -> str | None:
    """Return why a profile cannot be carried out and what to change, ``None`` if it can."""
    if profile.pfs is Pfs.NONE and profile.minimum_version >= TlsVersion.TLS1_3:
        return (
            "pfs: none leaves no key exchange for minimum_protocol: tls1.3, whose every key exchange has forward "
            "secrecy; choose pfs: allowed or required, or minimum_protocol: tls1.2"
        )
    return None


def unexamined_key(profile: TlsProfile) -> str | None:
    """Return the key of an examination that a profile asks for in vain, as no chain is looked at; else ``None``."""
    if profile.certificate_validation is not CertificateValidation.OFF:
        return None
    if profile.ocsp is not Ocsp.DISABLED:
        return "ocsp"
    return "chain_second_opinion" if profile.chain_second_opinion is SecondOpinion.ENFORCE else None


def profile_notices(profile: TlsProfile) -> Iterator[tuple[str, str]]:
    """Yield each key of a profile that has no effect, and why."""
    if profile.ciphers and profile.minimum_version >= TlsVersion.TLS1_3:
        yield "ciphers", "never used, since minimum_protocol: tls1.3 leaves out what they are of; see tls13_ciphers"
    if profile.tls13_ciphers and profile.pfs is Pfs.NONE:
        yield "tls13_ciphers", "never used, since pfs: none leaves out TLS 1.3"
    if profile.crl and profile.certificate_validation is CertificateValidation.OFF:
        yield "crl", "upstreams are not looked for in it, since certificate_validation is off"


def needs_rsa(profile: TlsProfile) -> bool:
    """Return whether clients can only be shown an RSA key: every suite of TLS 1.2 that they may choose demands one."""
    return profile.pfs is Pfs.NONE or not fits_ecdsa(profile)


def fits_ecdsa(profile: TlsProfile) -> bool:
    """Return whether a client of TLS 1.2 can be shown an ECDSA key; true as well if there are none of these."""
    if not profile.ciphers or profile.minimum_version >= TlsVersion.TLS1_3:
        return True
    return any(name.startswith(_ECDSA) for name in profile.ciphers)


def fits_rsa(profile: TlsProfile) -> bool:
    """Return the same for an RSA key; clients are not offered DHE."""
    if not profile.ciphers or profile.minimum_version >= TlsVersion.TLS1_3:
        return True
    return any(not name.startswith((_ECDSA, "DHE-")) for name in profile.ciphers)
