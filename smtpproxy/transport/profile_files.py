"""What the files of a TLS profile hold, loaded once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric import ec, rsa

    from smtpproxy.transport.trust import TrustStore


@dataclass(frozen=True, slots=True, eq=False)
class OwnCertificate:
    """What an upstream that asks is shown: the chain, leaf first, and the leaf's key; the same as itself only."""

    certificates: tuple[x509.Certificate, ...]
    key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey

    def __repr__(self) -> str:
        return f"OwnCertificate({self.certificates[0].subject.rfc4514_string()})"


class ProfileFiles(NamedTuple):
    """What goes with a profile.

    Args:
        trust: whom the peers of either leg are verified against.
        shown: to an upstream that asks for a certificate, ``None`` for nothing.
    """

    trust: TrustStore
    shown: OwnCertificate | None = None
