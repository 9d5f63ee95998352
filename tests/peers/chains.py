"""Chains for tests of what is examined beyond OpenSSL's verdict."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from smtpproxy.tls.facts import Chain, TlsFacts, TlsVersion
from smtpproxy.transport.trust import TrustStore, load_trust
from smtpproxy.transport.verification import parse_peer_certificate
from tests.pki import DAY, NOW, Pair, Wanted, make_leaf, usage_of

if TYPE_CHECKING:
    from pathlib import Path


def der_of(*certificates: x509.Certificate) -> tuple[bytes, ...]:
    return tuple(each.public_bytes(Encoding.DER) for each in certificates)


def trust_in(folder: Path, root: Pair) -> TrustStore:
    path = folder / "root.pem"
    path.write_bytes(root.certificate.public_bytes(Encoding.PEM))
    return load_trust(path)


def facts_about(pair: Pair, chain: Chain = Chain.VALID) -> TlsFacts:
    """Return what a handshake with a server of that certificate has established."""
    leaf, *issuers = der_of(*pair.chain)
    return TlsFacts(
        TlsVersion.TLS1_3,
        "TLS_AES_128_GCM_SHA256",
        server_name="mx.example.net",
        peer=parse_peer_certificate(leaf, tuple(issuers)),
        chain=chain,
    )


def lax_root(name: str = "Lax Root") -> Pair:
    """Return a root that OpenSSL takes and the second verifier does not: it has critical policy constraints."""
    key = ec.generate_private_key(ec.SECP256R1())
    return Pair(_authority(name, key, x509.PolicyConstraints(0, None)), key)


def maze(root: Pair, rooms: int) -> Pair:
    """Return a leaf of ``root`` with issuers that all have its name and key: each leads to every other."""
    assert isinstance(root.key, ec.EllipticCurvePrivateKey)
    leaf = make_leaf(root, Wanted(common_name=None))
    (common_name,) = root.certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    issuers = (_authority(str(common_name.value), root.key) for _ in range(rooms))
    return Pair(leaf.certificate, leaf.key, tuple(issuers))


def _authority(
    common_name: str, key: ec.EllipticCurvePrivateKey, constraints: x509.PolicyConstraints | None = None
) -> x509.Certificate:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(NOW - DAY)
        .not_valid_after(NOW + DAY)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(usage_of(authority=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key()), critical=False)
    )
    if constraints is not None:
        builder = builder.add_extension(constraints, critical=True)
    return builder.sign(key, hashes.SHA256())
