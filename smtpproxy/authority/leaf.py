"""State what a server's leaf certificate is made of, and sign it.

Source: RFC 5280 s4.1.2, s4.2.1 (fields, extensions and their criticality); RFC 5246 s7.4.2 (key usage that a key
exchange asks for); RFC 9525 s2 (names stand in the subject alternative name, the CN is none); CA/Browser Forum
Baseline Requirements s7.1.2.7 (flags of a server leaf).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID

if TYPE_CHECKING:
    from datetime import datetime

    from smtpproxy.authority.credentials import Credential, PrivateKey, PublicKey

MAX_COMMON_NAME_CHARACTERS = 64
"""ub-common-name (RFC 5280 appendix A.1)."""

_NO_NAME = "server without a name"


@dataclass(frozen=True, slots=True)
class LeafRequest:
    """What a leaf certifies.

    Args:
        common_name: the subject's CN, for people; left out if empty or too long.
        names: DNS names and IP addresses, in this order; may be empty.
        key: the public key that is certified.
        not_before: start of validity, aware.
        not_after: end of validity, aware, inclusive.
    """

    common_name: str
    names: tuple[x509.GeneralName, ...]
    key: PublicKey
    not_before: datetime
    not_after: datetime


def sign_leaf(request: LeafRequest, signer: Credential) -> x509.Certificate:
    """Return a server's leaf with a random serial number, signed by ``signer``."""
    subject = _subject(request)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(signer.certificate.subject)
        .public_key(request.key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(request.not_before.replace(microsecond=0))
        .not_valid_after(request.not_after.replace(microsecond=0))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(leaf_key_usage(request.key), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(request.key), critical=False)
        .add_extension(authority_key_identifier(signer.certificate), critical=False)
    )
    if request.names:  # critical if nothing else names the subject (RFC 5280 s4.2.1.6)
        builder = builder.add_extension(x509.SubjectAlternativeName(request.names), critical=not subject.rdns)
    return builder.sign(signer.key, digest_for(signer.key))


def leaf_key_usage(key: PublicKey) -> x509.KeyUsage:
    """Return the key usage of a leaf: signatures, and with an RSA key the static key exchange of TLS 1.2 too."""
    return _key_usage(digital_signature=True, key_encipherment=isinstance(key, rsa.RSAPublicKey))


def authority_key_usage() -> x509.KeyUsage:
    """Return the key usage of an authority: certificates and revocation lists."""
    return _key_usage(authority=True)


def _key_usage(
    *, digital_signature: bool = False, key_encipherment: bool = False, authority: bool = False
) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=digital_signature,
        content_commitment=False,
        key_encipherment=key_encipherment,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=authority,
        crl_sign=authority,
        encipher_only=False,
        decipher_only=False,
    )


def digest_for(key: PrivateKey) -> hashes.SHA256 | hashes.SHA384 | hashes.SHA512:
    """Return the digest that goes with a signing key: as strong as its curve, SHA-256 for RSA."""
    match key:
        case ec.EllipticCurvePrivateKey(curve=ec.SECP384R1()):
            return hashes.SHA384()
        case ec.EllipticCurvePrivateKey(curve=ec.SECP521R1()):
            return hashes.SHA512()
        case _:
            return hashes.SHA256()


def _subject(request: LeafRequest) -> x509.Name:
    if 0 < len(request.common_name) <= MAX_COMMON_NAME_CHARACTERS:
        return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, request.common_name)])
    if request.names:
        return x509.Name([])
    # Strict verifiers refuse a certificate that names its subject nowhere; an organization is never taken for a host.
    return x509.Name([x509.NameAttribute(x509.NameOID.ORGANIZATION_NAME, _NO_NAME)])


def authority_key_identifier(issuer: x509.Certificate) -> x509.AuthorityKeyIdentifier:
    """Return what in a certificate names the key of its issuer."""
    identifier = issuer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier)
