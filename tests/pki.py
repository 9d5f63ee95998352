"""Certificates of every kind, good and bad, for tests of handshakes; nothing of them is taken from the package."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TypeAlias

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

Key: TypeAlias = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey

NOW = datetime.now(UTC).replace(microsecond=0)
DAY = timedelta(days=1)


@dataclass(frozen=True)
class Pair:
    """A certificate, its key, and what is sent behind it."""

    certificate: x509.Certificate
    key: Key
    issuers: tuple[x509.Certificate, ...] = ()

    @property
    def chain(self) -> tuple[x509.Certificate, ...]:
        return (self.certificate, *self.issuers)

    @property
    def pem(self) -> bytes:
        return b"".join(each.public_bytes(Encoding.PEM) for each in self.chain)

    @property
    def key_pem(self) -> bytes:
        return self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


@dataclass(frozen=True)
class Wanted:
    """What a certificate should be like; the defaults make a good server leaf."""

    names: tuple[str, ...] = ("mx.example.net",)
    common_name: str | None = "mx.example.net"
    key: Key = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))
    not_before: datetime = NOW - DAY
    not_after: datetime = NOW + 90 * DAY
    purposes: tuple[x509.ObjectIdentifier, ...] = (ExtendedKeyUsageOID.SERVER_AUTH,)
    authority: bool = False
    path_length: int | None = None
    extra_names: tuple[x509.GeneralName, ...] = ()
    extensions: tuple[x509.ExtensionType, ...] = ()


def make_root(common_name: str = "Test Root", wanted: Wanted | None = None) -> Pair:
    wanted = wanted or Wanted((), common_name, purposes=(), authority=True)
    return Pair(_sign(wanted, None), wanted.key)


def make_intermediate(signer: Pair, common_name: str, path_length: int | None = None) -> Pair:
    wanted = Wanted((), common_name, purposes=(), authority=True, path_length=path_length)
    return Pair(_sign(wanted, signer), wanted.key, _behind(signer))


def make_leaf(signer: Pair | None, wanted: Wanted | None = None) -> Pair:
    """Return a leaf, self-signed without a signer."""
    wanted = wanted or Wanted()
    return Pair(_sign(wanted, signer), wanted.key, _behind(signer) if signer else ())


def _behind(signer: Pair) -> tuple[x509.Certificate, ...]:
    root = signer.certificate.issuer == signer.certificate.subject
    return () if root else signer.chain


def _sign(wanted: Wanted, signer: Pair | None) -> x509.Certificate:
    subject = _name(wanted.common_name)
    issuer_key = signer.key if signer else wanted.key
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(signer.certificate.subject if signer else subject)
        .public_key(wanted.key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(wanted.not_before)
        .not_valid_after(wanted.not_after)
        .add_extension(x509.BasicConstraints(ca=wanted.authority, path_length=wanted.path_length), critical=True)
        .add_extension(usage_of(authority=wanted.authority), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(wanted.key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), critical=False)
    )
    if wanted.purposes:
        builder = builder.add_extension(x509.ExtendedKeyUsage(wanted.purposes), critical=False)
    for extension in wanted.extensions:
        builder = builder.add_extension(extension, critical=False)
    names = [*map(_general_name, wanted.names), *wanted.extra_names]
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=not subject.rdns)
    return builder.sign(issuer_key, hashes.SHA256())


def usage_of(*, authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not authority,
        content_commitment=False,
        key_encipherment=not authority,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=authority,
        crl_sign=authority,
        encipher_only=False,
        decipher_only=False,
    )


def _name(common_name: str | None) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)] if common_name else [])


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)
