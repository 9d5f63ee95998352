from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from smtpproxy.tls.public_key import CertificateSyntaxError, subject_public_key
from tests.pki import Wanted, make_leaf


@pytest.mark.parametrize(
    "key",
    [
        ec.generate_private_key(ec.SECP256R1()),
        ec.generate_private_key(ec.SECP521R1()),
        rsa.generate_private_key(65537, 2048),
    ],
)
def test_it_is_the_key_as_the_library_encodes_it(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> None:
    names = tuple(f"mx{number}.example.net" for number in range(50))  # lengths of two octets
    leaf = make_leaf(None, Wanted(names, key=key)).certificate
    wanted = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    assert subject_public_key(leaf.public_bytes(Encoding.DER)) == wanted


def test_what_is_cut_anywhere_before_the_key_is_refused() -> None:
    der = make_leaf(None).certificate.public_bytes(Encoding.DER)
    end = der.index(subject_public_key(der)) + len(subject_public_key(der))
    for at in range(end):
        with pytest.raises(CertificateSyntaxError):
            subject_public_key(der[:at])


@pytest.mark.parametrize("octets", [b"", b"0", b"\x30\x80", b"\x30\x84\xff\xff\xff\xff", b"\x30\xff" * 20])
def test_what_is_no_certificate_is_refused(octets: bytes) -> None:
    with pytest.raises(CertificateSyntaxError):
        subject_public_key(octets)


def test_a_bare_key_is_no_certificate() -> None:
    key = ed25519.Ed25519PrivateKey.generate().public_key()
    with pytest.raises(CertificateSyntaxError):
        subject_public_key(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))
