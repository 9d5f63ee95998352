from __future__ import annotations

from datetime import timedelta
from ipaddress import ip_address

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from smtpproxy.authority.description import describe
from tests.pki import NOW, Wanted, make_leaf, make_root


def test_a_leaf_in_words() -> None:
    address = x509.IPAddress(ip_address("2001:db8::1"))
    certificate = make_leaf(
        make_root(), Wanted(names=("mx.example.net", "*.example.org"), extra_names=(address,))
    ).certificate
    described = describe(certificate)
    assert described is not None
    assert described.subject == "CN=mx.example.net"
    assert described.issuer == "CN=Test Root"
    assert described.dns_names == ("mx.example.net", "*.example.org")
    assert described.ip_addresses == ("2001:db8::1",)
    assert described.valid_until - described.valid_from == timedelta(days=91)
    assert bytes.fromhex(described.sha256) == certificate.fingerprint(hashes.SHA256())
    assert bytes.fromhex(described.fingerprint.replace(":", "")).hex() == described.sha256


@pytest.mark.parametrize(
    ("key", "kind"),
    [
        (ec.generate_private_key(ec.SECP384R1()), "ECDSA P-384"),
        (ec.generate_private_key(ec.SECP256K1()), "ECDSA secp256k1"),
        (rsa.generate_private_key(65537, 2048), "RSA 2048"),
    ],
)
def test_kinds_of_keys(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey, kind: str) -> None:
    described = describe(make_leaf(None, Wanted(key=key)).certificate)
    assert described is not None
    assert described.key == kind


def test_a_key_that_mail_does_not_use() -> None:
    key = ed25519.Ed25519PrivateKey.generate()
    name = x509.Name([])
    certificate = x509.CertificateBuilder(name, name, key.public_key(), 1, NOW, NOW + timedelta(days=1)).sign(key, None)
    described = describe(certificate)
    assert described is not None
    assert (described.key, described.subject, described.dns_names) == ("Ed25519", "", ())


def test_control_characters_of_a_name_are_escaped() -> None:
    described = describe(make_leaf(None, Wanted(common_name="a\x1b[31mb\x07ü")).certificate)
    assert described is not None
    assert described.subject == "CN=a\\x1b[31mb\\x07ü"
