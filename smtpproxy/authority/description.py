"""Say what a certificate is, for people and for programs that show it.

Source: RFC 5280 s4.1.2 (fields), s4.2.1.6 (names); RFC 4514 (distinguished names as text).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import SignatureAlgorithmOID

if TYPE_CHECKING:
    from datetime import datetime

_CURVES = {"secp256r1": "P-256", "secp384r1": "P-384", "secp521r1": "P-521"}
_SIGNATURES = {
    oid: name.replace("_WITH_", " with ").replace("_", "-")
    for name, oid in vars(SignatureAlgorithmOID).items()
    if isinstance(oid, x509.ObjectIdentifier)
}
_DAMAGE = (
    ValueError,
    TypeError,
    UnsupportedAlgorithm,
    x509.DuplicateExtension,
    x509.InvalidVersion,
    x509.UnsupportedGeneralNameType,
)


@dataclass(frozen=True, slots=True)
class Description:
    """A certificate in words, none of which has a control character.

    Args:
        subject: its distinguished name; empty for none.
        dns_names: the DNS names that it is for.
        ip_addresses: the IP addresses that it is for.
        issuer: the distinguished name of what certifies it.
        key: kind and size of its key, such as ``ECDSA P-256``.
        signature: how it is signed, such as ``ECDSA with SHA256``.
        valid_from: start of validity, aware.
        valid_until: end of validity, aware.
        sha256: its fingerprint in lower-case hex.
    """

    subject: str
    dns_names: tuple[str, ...]
    ip_addresses: tuple[str, ...]
    issuer: str
    key: str
    signature: str
    valid_from: datetime
    valid_until: datetime
    sha256: str

    @property
    def fingerprint(self) -> str:
        """The fingerprint as other programs print it: upper-case pairs with colons."""
        return bytes.fromhex(self.sha256).hex(":").upper()


def describe(certificate: x509.Certificate) -> Description | None:
    """Return what a certificate is, ``None`` for one that is damaged."""
    try:
        names = _names(certificate)
        return Description(
            subject=_printable(certificate.subject.rfc4514_string()),
            dns_names=tuple(map(_printable, names.get_values_for_type(x509.DNSName))),
            ip_addresses=tuple(map(str, names.get_values_for_type(x509.IPAddress))),
            issuer=_printable(certificate.issuer.rfc4514_string()),
            key=_key_kind(certificate.public_key()),
            signature=_signature_kind(certificate),
            valid_from=certificate.not_valid_before_utc,
            valid_until=certificate.not_valid_after_utc,
            sha256=certificate.fingerprint(hashes.SHA256()).hex(),
        )
    except _DAMAGE:
        return None


def _names(certificate: x509.Certificate) -> x509.SubjectAlternativeName:
    try:
        return certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return x509.SubjectAlternativeName([])


def _key_kind(key: object) -> str:
    if isinstance(key, rsa.RSAPublicKey):
        return f"RSA {key.key_size}"
    if isinstance(key, ec.EllipticCurvePublicKey):
        return f"ECDSA {_CURVES.get(key.curve.name, key.curve.name)}"
    return type(key).__name__.removesuffix("PublicKey")


def _signature_kind(certificate: x509.Certificate) -> str:
    oid = certificate.signature_algorithm_oid
    return _SIGNATURES.get(oid, oid.dotted_string)


def _printable(text: str) -> str:
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)
