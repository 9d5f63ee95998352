"""Say which combinations of a TLS profile make no sense, and what a profile asks of a leaf's key.

Source: RFC 8446 s2.2, s4.1.1 (every key exchange of TLS 1.3 has forward secrecy, but for a bare PSK, not used here).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from smtpproxy.policy.model import Pfs
from smtpproxy.tls.facts import TlsVersion

if TYPE_CHECKING:
    from smtpproxy.policy.model import TlsProfile


def profile_problem(profile: TlsProfile) -> str | None:
    """Return why a profile cannot be carried out and what to change, ``None`` if it can."""
    if profile.pfs is Pfs.NONE and profile.minimum_version >= TlsVersion.TLS1_3:
        return (
            "pfs: none leaves no key exchange for minimum_protocol: tls1.3, whose every key exchange has forward "
            "secrecy; choose pfs: allowed or required, or minimum_protocol: tls1.2"
        )
    return None


def needs_rsa(profile: TlsProfile) -> bool:
    """Return whether clients can only be shown an RSA key: every suite of TLS 1.2 that they may choose demands one."""
    if profile.pfs is Pfs.NONE:
        return True
    below_tls13 = profile.minimum_version < TlsVersion.TLS1_3
    return below_tls13 and bool(profile.ciphers) and not any("ECDSA" in name for name in profile.ciphers)
